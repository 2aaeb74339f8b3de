//! Float samples of one series, window and cut.

mod merge;

use std::sync::Arc;

use trireme_chunk::{XorAppender, XorIterator};
use trireme_model::prefer;

use crate::chunkfile::{CHUNK_BYTES_MAX, ChunkData, ChunkFiles, ChunkPlace};
use crate::starts::Starts;
use crate::{HeadError, ShardOptions};

pub(crate) use merge::{Floats, Part, merge};

/// Samples in an open chunk, even if the disk refuses full ones; more go to the sorted list.
const SAMPLES_MAX: u16 = 10_000;
/// Bytes of an open chunk before another sample: what a chunk file takes, whatever the sample needs.
const BYTES_MAX: usize = CHUNK_BYTES_MAX - XorAppender::SAMPLE_BYTES_MAX;

/// Which bucket a sample belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BucketId {
    /// Window of the timestamp.
    pub window: i64,
    /// The cut that takes it into a block; equal to the window unless the sample is late.
    pub cut: i64,
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    New,
    /// The same sample was there.
    Duplicate,
    /// Another value was there for the timestamp; the rule decides when it is read.
    Conflict,
}

/// A full chunk. Times are relative to the window's start, which fits because windows are at most 40 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClosedChunk {
    pub file: u32,
    pub offset: u32,
    pub min: u32,
    pub max: u32,
    pub len: u16,
    pub count: u16,
}

impl ClosedChunk {
    /// `base` is the start of the window, `min` and `max` are times.
    pub fn new(place: ChunkPlace, base: i64, min: i64, max: i64, count: u16) -> Self {
        let relative = |t: i64| u32::try_from(t.saturating_sub(base).max(0)).unwrap_or(u32::MAX);
        let ChunkPlace { file, offset, len } = place;
        Self { file, offset, min: relative(min), max: relative(max), len, count }
    }

    /// True if it may hold times of `start..=end`.
    pub fn overlaps(&self, base: i64, start: i64, end: i64) -> bool {
        base.saturating_add(i64::from(self.max)) >= start && base.saturating_add(i64::from(self.min)) <= end
    }

    /// It was moved.
    pub fn put_at(&mut self, place: ChunkPlace) {
        (self.file, self.offset, self.len) = (place.file, place.offset, place.len);
    }

    pub fn place(&self) -> ChunkPlace {
        ChunkPlace { file: self.file, offset: self.offset, len: self.len }
    }
}

/// Samples of one series, window and cut.
///
/// Samples that come in order go to the open chunk. Others wait in a small sorted list, which becomes a closed chunk
/// when it is long. Chunks may therefore overlap; reading merges them by the one rule.
#[derive(Debug)]
// A box takes 8 bytes where a vector takes 24, in a struct of which there are millions.
#[allow(clippy::box_collection)]
pub(crate) struct Bucket {
    pub id: BucketId,
    pub open: XorAppender,
    /// Bytes of the open chunk; empty when there is none.
    pub bytes: Vec<u8>,
    pub closed: Vec<ClosedChunk>,
    /// Out-of-order samples, by time, each time once.
    pub late: Option<Box<Vec<(i64, f64)>>>,
    /// Start timestamps; readers share them. None while no sample had one.
    pub starts: Option<Arc<Starts>>,
    /// First time in the open chunk.
    pub open_min: i64,
    /// Greatest time of all; `i64::MIN` while empty.
    pub max: i64,
    /// The open chunk is closed with so many samples.
    pub samples_max: u8,
}

impl Bucket {
    /// `stagger` spreads the first closing of chunks over time, so that not all series grow and shrink together.
    pub fn new(id: BucketId, stagger: u32) -> Self {
        Self {
            id,
            open: XorAppender::EMPTY,
            bytes: Vec::new(),
            closed: Vec::new(),
            late: None,
            starts: None,
            open_min: 0,
            max: i64::MIN,
            samples_max: 30 + (stagger % 91) as u8,
        }
    }

    /// Start of the window.
    fn base(&self, options: &ShardOptions) -> i64 {
        self.id.window.saturating_mul(options.window_ms)
    }

    /// Adds a sample with its start timestamp (ms, 0 = unset).
    #[inline]
    pub fn insert(
        &mut self,
        files: &mut ChunkFiles,
        options: &ShardOptions,
        t: i64,
        v: f64,
        start: i64,
    ) -> Placed {
        if t > self.max && self.open.count() < SAMPLES_MAX && self.bytes.len() <= BYTES_MAX {
            self.append(files, options, t, v);
            if start != 0 || self.starts.is_some() {
                Arc::make_mut(self.starts.get_or_insert_default()).push(t, start);
            }
            return Placed::New;
        }
        if t == self.open.last_time() && self.open.count() > 0 && self.late.is_none() {
            let is_same = v.to_bits() == self.open.last_value().to_bits();
            if is_same && start == self.start_at(t) {
                return Placed::Duplicate;
            }
            // A closed chunk may hold a third value, and then its start is the one that counts.
            if start == 0 && self.starts.is_none() {
                self.keep_late(files, options, t, v);
                return Placed::Conflict;
            }
        }
        self.insert_out_of_order(files, options, t, v, start)
    }

    pub fn start_at(&self, t: i64) -> i64 {
        self.starts.as_ref().map_or(0, |starts| starts.at(t))
    }

    /// Decides the start timestamp of a time that may have a sample with `old` as its value by now: the one of the value
    /// that is read, and of equal values the greatest, so that it does not matter which came first.
    fn resolve_start(&mut self, t: i64, old: Option<f64>, v: f64, start: i64) {
        if start == 0 && self.starts.is_none() {
            return;
        }
        let starts = Arc::make_mut(self.starts.get_or_insert_default());
        match old {
            Some(old) => {
                let (_, start) = prefer_sample((old, starts.at(t)), (v, start));
                starts.set(t, start);
            }
            None => starts.set(t, start),
        }
    }

    #[inline]
    fn append(&mut self, files: &mut ChunkFiles, options: &ShardOptions, t: i64, v: f64) {
        if self.bytes.is_empty() {
            self.bytes.reserve_exact(48);
            self.open = XorAppender::start(&mut self.bytes);
            self.open_min = t;
        } else if self.bytes.capacity() - self.bytes.len() < XorAppender::SAMPLE_BYTES_MAX {
            // Small steps: the buffers of a million series are most of the head's memory.
            self.bytes.reserve_exact((self.bytes.len() / 4).max(32));
        }
        self.open.append(&mut self.bytes, t, v);
        self.max = t;
        let full =
            self.open.count() >= u16::from(self.samples_max) || self.bytes.len() >= options.chunk_bytes_max;
        if full {
            self.close(files, options);
        }
    }

    /// Moves the open chunk to a file. If the disk refuses, the chunk stays open and the next sample tries again.
    #[cold]
    fn close(&mut self, files: &mut ChunkFiles, options: &ShardOptions) {
        let Some(place) = files.append(&self.bytes) else { return };
        self.push_closed(options, place, self.open_min, self.max, self.open.count());
        self.bytes = Vec::new();
        self.samples_max = options.chunk_samples_max.min(255) as u8;
        self.open = XorAppender::EMPTY;
    }

    fn push_closed(&mut self, options: &ShardOptions, place: ChunkPlace, min: i64, max: i64, count: u16) {
        let chunk = ClosedChunk::new(place, self.base(options), min, max, count);
        self.closed.reserve_exact(1);
        self.closed.push(chunk);
    }

    /// Adds a sample that is not the newest: looks whether it is there already.
    #[cold]
    fn insert_out_of_order(
        &mut self,
        files: &mut ChunkFiles,
        options: &ShardOptions,
        t: i64,
        v: f64,
        start: i64,
    ) -> Placed {
        // What cannot be read cannot be compared; the sample is kept and merged when it is read.
        let (placed, old) = self.look_up(files, options, t, v).unwrap_or_else(|error| {
            files.failed = Some(error);
            (Placed::New, None)
        });
        self.resolve_start(t, old, v, start);
        if placed != Placed::Duplicate {
            self.keep_late(files, options, t, v);
        }
        placed
    }

    /// What inserting a sample will be, and the value that its time has so far.
    fn look_up(
        &self,
        files: &ChunkFiles,
        options: &ShardOptions,
        t: i64,
        v: f64,
    ) -> Result<(Placed, Option<f64>), HeadError> {
        let (mut placed, mut known) = (Placed::New, None);
        let mut see = |old: f64| {
            known = Some(known.map_or(old, |known| prefer(known, old)));
            if old.to_bits() == v.to_bits() {
                placed = Placed::Duplicate;
            } else if placed == Placed::New {
                placed = Placed::Conflict;
            }
        };
        if let Some(late) = &self.late
            && let Ok(at) = late.binary_search_by_key(&t, |(t, _)| *t)
        {
            see(late[at].1);
        }
        if !self.bytes.is_empty() && t >= self.open_min {
            find(&self.bytes, t)?.into_iter().for_each(&mut see);
        }
        let base = self.base(options);
        for chunk in &self.closed {
            if chunk.overlaps(base, t, t) {
                let data = files.get(chunk.place())?;
                find(data.load(&mut Vec::new())?, t)?.into_iter().for_each(&mut see);
            }
        }
        Ok((placed, known))
    }

    fn keep_late(&mut self, files: &mut ChunkFiles, options: &ShardOptions, t: i64, v: f64) {
        self.max = self.max.max(t);
        let late = self.late.get_or_insert_default();
        match late.binary_search_by_key(&t, |(t, _)| *t) {
            Ok(at) => late[at].1 = prefer(late[at].1, v),
            Err(at) => late.insert(at, (t, v)),
        }
        if late.len() >= usize::from(options.chunk_samples_max) {
            let mut bytes = Vec::with_capacity(late.len() * 8);
            let mut chunk = XorAppender::start(&mut bytes);
            late.iter().for_each(|(t, v)| chunk.append(&mut bytes, *t, *v));
            let (min, max) = (late[0].0, late[late.len() - 1].0);
            if let Some(place) = files.append(&bytes) {
                self.late = None;
                self.push_closed(options, place, min, max, chunk.count());
            }
        }
    }

    /// The newest sample (time, value, start timestamp), if it ends the open chunk and nothing else is as new. `None`
    /// says nothing.
    pub fn newest_at_hand(&self, options: &ShardOptions) -> Option<(i64, f64, i64)> {
        let (t, v) = (self.open.last_time(), self.open.last_value());
        let late = self.late.as_ref().and_then(|late| late.last());
        let is_newest = self.open.count() > 0 && self.max == t && late.is_none_or(|(late, _)| *late < t);
        // A chunk of late samples may reach as far.
        let base = self.base(options);
        let is_alone = || self.closed.iter().all(|chunk| !chunk.overlaps(base, t, i64::MAX));
        (is_newest && is_alone()).then(|| (t, v, self.start_at(t)))
    }

    /// Samples of this bucket in memory and on disk, as parts to be decoded without the shard's lock. `None` when
    /// nothing lies in `start..=end`.
    pub fn parts(
        &self,
        files: &ChunkFiles,
        options: &ShardOptions,
        start: i64,
        end: i64,
        out: &mut Vec<Part>,
    ) -> Result<(), HeadError> {
        if self.max < start {
            return Ok(());
        }
        let base = self.base(options);
        let starts = || self.starts.clone();
        for chunk in &self.closed {
            if chunk.overlaps(base, start, end) {
                let min = base.saturating_add(i64::from(chunk.min));
                out.push(Part::chunk(min, files.get(chunk.place())?, starts()));
            }
        }
        if !self.bytes.is_empty() && self.open_min <= end {
            out.push(Part::chunk(self.open_min, ChunkData::Bytes(self.bytes.clone()), starts()));
        }
        if let Some(late) = &self.late {
            out.push(Part::samples(late.to_vec(), starts()));
        }
        Ok(())
    }

    /// Samples in it; times stored twice count twice.
    pub fn count(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|c| u64::from(c.count)).sum();
        closed + u64::from(self.open.count()) + self.late.as_ref().map_or(0, |l| l.len() as u64)
    }

    /// Lets the files go.
    pub fn release(&self, files: &mut ChunkFiles) {
        self.closed.iter().for_each(|chunk| files.release(chunk.place()));
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
            + self.closed.capacity() * size_of::<ClosedChunk>()
            + self.late.as_ref().map_or(0, |l| 24 + l.capacity() * 16)
            + self.starts.as_ref().map_or(0, |s| 40 + s.heap_bytes())
    }
}

/// Value at a time of a chunk.
fn find(chunk: &[u8], t: i64) -> Result<Option<f64>, HeadError> {
    for sample in XorIterator::new(chunk)? {
        let (at, v) = sample?;
        if at >= t {
            return Ok((at == t).then_some(v));
        }
    }
    Ok(None)
}

/// Of two samples (value, start timestamp) of one time the one that is read.
fn prefer_sample(a: (f64, i64), b: (f64, i64)) -> (f64, i64) {
    if a.0.to_bits() == b.0.to_bits() {
        (a.0, a.1.max(b.1))
    } else if prefer(a.0, b.0).to_bits() == a.0.to_bits() {
        a
    } else {
        b
    }
}

#[cfg(test)]
mod tests;
