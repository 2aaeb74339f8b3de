//! Float samples of one series, window and cut.

mod merge;

use std::sync::Arc;

use bytes::BufMut;
use trireme_chunk::{XorAppender, XorIterator};
use trireme_model::prefer;

use crate::chunkfile::{CHUNK_BYTES_MAX, ChunkData, ChunkFiles, ChunkPlace};
use crate::starts::Starts;
use crate::{HeadError, ShardOptions};

pub(crate) use merge::{Floats, Part, keep_readable, merge};

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
    /// Nothing that was at hand is of this time, but not everything was.
    Unchecked,
    /// The same sample was there.
    Duplicate,
    /// Another value was there for the timestamp; the rule decides when it is read.
    Conflict,
}

/// The bit of [`ClosedChunk::count`] that says which of two forms a chunk has. Of floats: out-of-order samples, with start
/// timestamps of their own. Of histograms: a run of differences, and not of whole samples as earlier versions wrote.
const MARK: u16 = 1 << 15;

/// A full chunk. Times are relative to the window's start, which fits because windows are at most 40 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClosedChunk {
    pub file: u32,
    pub offset: u32,
    pub min: u32,
    pub max: u32,
    pub len: u16,
    /// Samples, and a bit that says of which kind.
    pub count: u16,
}

impl ClosedChunk {
    /// Samples in it.
    pub fn samples(&self) -> u16 {
        self.count & !MARK
    }

    /// True if it has the form that is marked.
    pub fn is_marked(&self) -> bool {
        self.count & MARK != 0
    }

    /// The same with the mark.
    pub fn marked(self) -> Self {
        Self {
            count: self.count | MARK,
            ..self
        }
    }

    /// `base` is the start of the window, `min` and `max` are times.
    pub fn new(place: ChunkPlace, base: i64, min: i64, max: i64, count: u16) -> Self {
        let ChunkPlace { file, offset, len } = place;
        Self {
            file,
            offset,
            min: relative(min, base),
            max: relative(max, base),
            len,
            count,
        }
    }

    /// True if it may hold times of `start..=end`.
    pub fn overlaps(&self, base: i64, start: i64, end: i64) -> bool {
        base.saturating_add(i64::from(self.max)) >= start
            && base.saturating_add(i64::from(self.min)) <= end
    }

    /// It was moved.
    pub fn put_at(&mut self, place: ChunkPlace) {
        (self.file, self.offset, self.len) = (place.file, place.offset, place.len);
    }

    pub fn place(&self) -> ChunkPlace {
        ChunkPlace {
            file: self.file,
            offset: self.offset,
            len: self.len,
        }
    }
}

/// A time as it is kept beside the start of its window.
fn relative(t: i64, base: i64) -> u32 {
    u32::try_from(t.saturating_sub(base).max(0)).unwrap_or(u32::MAX)
}

/// A sample that came out of order: time, value, start timestamp (ms, 0 = unset).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LateSample {
    pub t: i64,
    pub v: f64,
    pub start: i64,
}

/// Samples of one series, window and cut.
///
/// Samples that come in order go to the open chunk. Others wait in a small sorted list, which becomes a closed chunk
/// when it is long. Chunks may therefore overlap; reading merges them by the one rule. No insert reads a closed chunk: a
/// sample that repeats one in there is kept until then.
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
    pub late: Option<Box<Vec<LateSample>>>,
    /// Start timestamps of samples that came in order; readers share them. None while no sample had one.
    pub starts: Option<Arc<Starts>>,
    /// First time in the open chunk.
    pub open_min: i64,
    /// Greatest time of all; `i64::MIN` while empty.
    pub max: i64,
    /// The open chunk is closed with so many samples.
    pub samples_max: u8,
    /// The last note of it, see [`Recent`](crate::recent::Recent).
    pub noted: u32,
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
            noted: 0,
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
        self.insert_late(files, options, LateSample { t, v, start })
    }

    fn start_at(&self, t: i64) -> i64 {
        self.starts.as_ref().map_or(0, |starts| starts.at(t))
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
        let full = self.open.count() >= u16::from(self.samples_max)
            || self.bytes.len() >= options.chunk_bytes_max;

        if full {
            self.close(files, options);
        }
    }

    /// Moves the open chunk to a file. If the disk refuses, the chunk stays open and the next sample tries again. What the
    /// appender knows of the last sample stays, so that its repetition is still seen.
    #[cold]
    fn close(&mut self, files: &mut ChunkFiles, options: &ShardOptions) {
        let Some(place) = files.append(&self.bytes) else {
            return;
        };

        let chunk = ClosedChunk::new(
            place,
            self.base(options),
            self.open_min,
            self.max,
            self.open.count(),
        );

        self.push_closed(chunk);
        self.bytes = Vec::new();
        self.samples_max = options.chunk_samples_max.min(255) as u8;
    }

    fn push_closed(&mut self, chunk: ClosedChunk) {
        grow(&mut self.closed);
        self.closed.push(chunk);
    }

    /// Adds a sample that is not the newest. It is compared with what is at hand: the list, the open chunk and the last
    /// sample before it. What is in closed chunks is compared when it is read.
    #[cold]
    fn insert_late(
        &mut self,
        files: &mut ChunkFiles,
        options: &ShardOptions,
        new: LateSample,
    ) -> Placed {
        let at_hand = self.at_hand(new.t).unwrap_or_else(|error| {
            files.failed = Some(error);
            [None, None]
        });
        let known = at_hand.iter().flatten().copied().reduce(prefer_sample);
        let placed = match known {
            None if self.has_closed_at(options, new.t) => Placed::Unchecked,
            None => Placed::New,
            Some(_)
                if at_hand
                    .iter()
                    .flatten()
                    .any(|old: &(f64, i64)| old.0.to_bits() == new.v.to_bits()) =>
            {
                Placed::Duplicate
            }
            Some(_) => Placed::Conflict,
        };

        if known.is_none_or(|(v, start): (f64, i64)| {
            let better = prefer_sample((v, start), (new.v, new.start));
            (better.0.to_bits(), better.1) != (v.to_bits(), start)
        }) {
            self.keep_late(files, options, new);
        }

        placed
    }

    fn has_closed_at(&self, options: &ShardOptions, t: i64) -> bool {
        let base = self.base(options);
        self.closed.iter().any(|chunk| chunk.overlaps(base, t, t))
    }

    /// The samples (value, start timestamp) of a time in the list and in the open chunk.
    fn at_hand(&self, t: i64) -> Result<[Option<(f64, i64)>; 2], HeadError> {
        let late = self.late.as_ref().and_then(|late| {
            let at = late.binary_search_by_key(&t, |sample| sample.t).ok()?;
            Some((late[at].v, late[at].start))
        });
        let open = if self.open.count() == 0 {
            None
        } else if t == self.open.last_time() {
            Some(self.open.last_value())
        } else if !self.bytes.is_empty() && t >= self.open_min {
            find(&self.bytes, t)?
        } else {
            None
        };

        Ok([late, open.map(|v| (v, self.start_at(t)))])
    }

    fn keep_late(&mut self, files: &mut ChunkFiles, options: &ShardOptions, new: LateSample) {
        self.max = self.max.max(new.t);

        let late = self.late.get_or_insert_default();
        match late.binary_search_by_key(&new.t, |sample| sample.t) {
            Ok(at) => {
                let old = &mut late[at];
                (old.v, old.start) = prefer_sample((old.v, old.start), (new.v, new.start));
            }
            Err(at) => late.insert(at, new),
        }

        if late.len() < usize::from(options.chunk_samples_max) {
            return;
        }

        let min = late[0].t;
        let max = late[late.len() - 1].t;
        let count = late.len() as u16;

        if let Some(place) = files.append(&encode_late(late)) {
            self.late = None;
            self.push_closed(ClosedChunk::new(place, self.base(options), min, max, count).marked());
        }
    }

    /// The newest sample (time, value, start timestamp), if it ends the open chunk and nothing else is as new. `None`
    /// says nothing.
    pub fn newest_at_hand(&self, options: &ShardOptions) -> Option<(i64, f64, i64)> {
        let t = self.open.last_time();
        let v = self.open.last_value();
        let late = self.late.as_ref().and_then(|late| late.last());
        let is_newest =
            self.open.count() > 0 && self.max == t && late.is_none_or(|late| late.t < t);
        if !is_newest {
            return None;
        }

        // A chunk of late samples may reach as far.
        let base = self.base(options);
        let is_alone = self
            .closed
            .iter()
            .all(|chunk| !chunk.overlaps(base, t, i64::MAX));

        is_alone.then(|| (t, v, self.start_at(t)))
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
    ) {
        if self.max < start {
            return;
        }

        let base = self.base(options);

        for chunk in &self.closed {
            if chunk.overlaps(base, start, end) {
                let min = base.saturating_add(i64::from(chunk.min));
                let data = files.get(chunk.place());
                out.push(if chunk.is_marked() {
                    Part::late_chunk(min, data)
                } else {
                    Part::chunk(min, data, self.starts.clone())
                });
            }
        }

        if !self.bytes.is_empty() && self.open_min <= end {
            out.push(Part::chunk(
                self.open_min,
                ChunkData::Bytes(self.bytes.clone()),
                self.starts.clone(),
            ));
        }

        if let Some(late) = &self.late {
            out.push(Part::samples(late.to_vec()));
        }
    }

    /// Samples in it; times stored twice count twice.
    pub fn count(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|c| u64::from(c.samples())).sum();
        let open = if self.bytes.is_empty() {
            0
        } else {
            u64::from(self.open.count())
        };
        closed + open + self.late.as_ref().map_or(0, |l| l.len() as u64)
    }

    /// Lets the files go.
    pub fn release(&self, files: &mut ChunkFiles) {
        self.closed
            .iter()
            .for_each(|chunk| files.release(chunk.place()));
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
            + self.closed.capacity() * size_of::<ClosedChunk>()
            + self
                .late
                .as_ref()
                .map_or(0, |l| 24 + l.capacity() * size_of::<LateSample>())
            + self.starts.as_ref().map_or(0, |s| 40 + s.heap_bytes())
    }
}

/// Makes room for another one: in small steps while there are few, because there are millions of such lists, and without
/// copying a long one each time.
pub(crate) fn grow<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / 4).max(1));
    }
}

/// A chunk of out-of-order samples, by time: length of the XOR chunk u16, XOR chunk, then where the start timestamp changes
/// (from this time i64, start i64).
fn encode_late(samples: &[LateSample]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + samples.len() * 8);
    out.put_u16_le(0);
    let mut bytes = Vec::with_capacity(samples.len() * 8);
    let mut chunk = XorAppender::start(&mut bytes);

    samples
        .iter()
        .for_each(|sample| chunk.append(&mut bytes, sample.t, sample.v));
    out[..2].copy_from_slice(&(bytes.len() as u16).to_le_bytes());
    out.extend_from_slice(&bytes);

    let mut start = 0;
    for sample in samples {
        if sample.start != start {
            start = sample.start;
            out.put_i64_le(sample.t);
            out.put_i64_le(start);
        }
    }

    out
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
