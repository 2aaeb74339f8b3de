//! What one pass over a file has read of it.
//!
//! A pass reads thousands of small things that lie near each other. Each of these two keeps what was read last, so that a
//! thing costs a call to the system only where nothing near it was read before. They live as long as the pass, and so
//! need no lock.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use crate::RangeRead;

/// Bytes of a page: what file systems and disks give at least.
const PAGE_BYTES: u64 = 4096;
/// Pages that are kept.
const SLOTS: usize = 64;

/// Pages of a part of a file that is read here and there.
pub(crate) struct Pages<'a> {
    file: &'a dyn RangeRead,
    /// The part; nothing outside of it is read.
    part: Range<u64>,
    slots: Vec<Option<(u64, Bytes)>>,
    /// What lies across pages.
    joined: Vec<u8>,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(file: &'a dyn RangeRead, part: Range<u64>) -> Self {
        Self {
            file,
            part,
            slots: Vec::new(),
            joined: Vec::new(),
        }
    }

    /// The bytes of a range of the part, counted from its begin.
    pub(crate) fn get(&mut self, range: Range<u64>) -> io::Result<&[u8]> {
        if range.is_empty() {
            return Ok(&[]);
        }

        let first = range.start / PAGE_BYTES;

        let last = (range.end - 1) / PAGE_BYTES;
        if first == last {
            let skip = first * PAGE_BYTES;
            let page = self.page(first)?;
            let within = (range.start - skip) as usize..(range.end - skip) as usize;
            return page.get(within.clone()).ok_or_else(|| {
                crate::past_end(range.start, within.len(), skip + page.len() as u64)
            });
        }

        let start = self.part.start + range.start;
        let whole = self
            .file
            .read_at(start, (range.end - range.start) as usize)?;

        self.joined.clear();
        self.joined.extend_from_slice(&whole);
        Ok(&self.joined)
    }

    fn page(&mut self, number: u64) -> io::Result<&Bytes> {
        if self.slots.is_empty() {
            self.slots.resize(SLOTS, None);
        }

        let slot = &mut self.slots[number as usize % SLOTS];
        if slot.as_ref().is_none_or(|(known, _)| *known != number) {
            let start = self.part.start + number * PAGE_BYTES;
            let end = (start + PAGE_BYTES).min(self.part.end);
            let len = end.saturating_sub(start) as usize;
            *slot = Some((number, self.file.read_at(start, len)?));
        }

        let (_, page) = slot.as_ref().expect("just filled");
        Ok(page)
    }
}

/// Bytes read at once where nothing near was read before.
const FIRST_BYTES: u64 = 1024;
/// Bytes read at once where one thing after the other is read.
const AHEAD_BYTES_MAX: u64 = 64 << 10;
/// What is skipped between things that still lie one after the other.
const SKIPPED_BYTES_MAX: u64 = 4096;

/// The place of a file that was read last, for things that are read in the order in which they lie.
pub(crate) struct Window<'a> {
    file: &'a dyn RangeRead,
    start: u64,
    bytes: Bytes,
    /// Bytes that were read the last time.
    ahead: u64,
    /// Bytes to read where nothing near was read before.
    expected: u64,
}

impl<'a> Window<'a> {
    pub(crate) fn new(file: &'a dyn RangeRead) -> Self {
        Self {
            file,
            start: 0,
            bytes: Bytes::new(),
            ahead: FIRST_BYTES,
            expected: FIRST_BYTES,
        }
    }

    /// So many bytes will be asked for, and a little more: they are read at once, within a bound.
    pub(crate) fn expect(&mut self, bytes: u64) {
        self.expected = (bytes + FIRST_BYTES).min(AHEAD_BYTES_MAX);
    }

    /// Exactly `len` bytes at `offset`.
    pub(crate) fn get(&mut self, offset: u64, len: usize) -> io::Result<Bytes> {
        let end = offset.saturating_add(len as u64);
        let known = self.start..self.start + self.bytes.len() as u64;
        if known.start <= offset && end <= known.end {
            let from = (offset - known.start) as usize;
            return Ok(self.bytes.slice(from..from + len));
        }
        if self.file.is_far() {
            return self.file.read_at(offset, len);
        }

        let follows =
            offset >= known.start && offset <= known.end + SKIPPED_BYTES_MAX && !known.is_empty();
        self.ahead = if follows {
            (self.ahead * 2).min(AHEAD_BYTES_MAX)
        } else {
            self.expected
        };

        self.bytes = self.read_ahead(offset, len)?;
        self.start = offset;
        Ok(self.bytes.slice(..len))
    }

    /// Reads what is asked for, and as far ahead as there is something.
    fn read_ahead(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let end = offset.saturating_add(len as u64);
        let file_end = self.file.len();
        let read_end = end.max(offset.saturating_add(self.ahead).min(file_end));
        let read = self.file.read_at(offset, (read_end - offset) as usize);

        match read {
            // What lies behind may be what cannot be read.
            Err(_) if read_end > end => self.file.read_at(offset, len),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A file that counts what is asked of it, and cannot read behind some byte.
    struct Counting(Bytes, AtomicUsize, u64);

    impl RangeRead for Counting {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
            self.1.fetch_add(1, Ordering::Relaxed);
            if offset + len as u64 > self.2 {
                return Err(io::Error::from_raw_os_error(5));
            }
            self.0.read_at(offset, len)
        }
    }

    fn file(readable: u64) -> Counting {
        let bytes: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        Counting(bytes.into(), AtomicUsize::new(0), readable)
    }

    #[test]
    fn a_window_reads_ahead_where_things_follow_each_other() {
        let file = file(u64::MAX);

        let mut window = Window::new(&file);
        for at in (0..200_000u64).step_by(100) {
            assert_eq!(
                window.get(at, 100).expect("inside")[..],
                file.0[at as usize..at as usize + 100]
            );
        }

        let calls = file.1.load(Ordering::Relaxed);
        assert!(calls < 15, "{calls}");
        assert_eq!(
            window.get(299_990, 10).expect("inside")[..],
            file.0[299_990..]
        );

        assert!(window.get(299_991, 10).is_err(), "behind the end");
    }

    #[test]
    fn what_cannot_be_read_costs_nothing_that_lies_before_it() {
        let file = file(5_000);
        let mut window = Window::new(&file);
        for at in (0..5_000u64).step_by(50) {
            window.get(at, 50).expect("readable");
        }
        assert!(window.get(5_000, 50).is_err());
    }

    #[test]
    fn pages_are_read_once_and_never_outside_of_their_part() {
        let file = file(200_000);

        let mut pages = Pages::new(&file, 1_000..200_000);
        for _ in 0..3 {
            for at in (0..190_000u64).step_by(1_999) {
                let want = &file.0[1_000 + at as usize..1_020 + at as usize];
                assert_eq!(pages.get(at..at + 20).expect("inside"), want);
            }
        }

        let calls = file.1.load(Ordering::Relaxed);
        assert!(calls <= 60, "{calls}");
        assert!(pages.get(198_990..199_001).is_err());
        assert!(pages.get(0..0).expect("nothing").is_empty());
    }
}
