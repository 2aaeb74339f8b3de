//! Parts of a checkpoint as bytes.

use std::borrow::Cow;
use std::slice::ChunksExact;

use bytes::{Buf, BufMut};
use trireme_base::{Boot, Incarnation, StreamId};
use trireme_chunk::XorAppender;
use trireme_model::SeriesKey;
use trireme_wire::entry::{decode_histogram, push_to_run, read_run};

use crate::bucket::{Bucket, BucketId, ClosedChunk, LateSample};
use crate::histograms::HistogramBucket;
use crate::series::Series;
use crate::starts::Starts;

pub(super) const MAGIC: &[u8; 8] = b"TRIRMCKP";
/// What is written. Older ones are still read: version 1 does not say how many series a tenant and a pair has, version 2
/// counts the buckets of a series and the bytes of an open chunk in 16 bits, version 3 has histograms of an open run whole and
/// a text for every name, and no version before 5 has a checksum of the version itself.
pub(super) const VERSION: u32 = 5;
/// The last version whose number no checksum covers.
pub(super) const VERSION_UNPROVEN: u32 = 4;
/// What a file begins with: its magic, its version and a checksum of both. It stays so in all later versions.
pub(super) const START_BYTES: usize = 16;
/// What it begins with up to [`VERSION_UNPROVEN`].
pub(super) const START_BYTES_UNPROVEN: usize = 12;

/// Kinds of parts.
pub(super) mod part {
    pub const HEADER: u8 = 1;
    pub const STREAM: u8 = 2;
    pub const TENANT: u8 = 3;
    pub const NAMES: u8 = 4;
    pub const PAIRS: u8 = 5;
    pub const SERIES: u8 = 6;
    pub const EXTRAS: u8 = 7;
    pub const STARTS: u8 = 8;
    pub const END: u8 = 255;
    /// Kind, length u32, CRC32C u32.
    pub const HEADER_BYTES: usize = 9;
}

pub(super) fn put_stream(out: &mut Vec<u8>, stream: StreamId) {
    out.put_u64_le(stream.incarnation.0);
    out.put_u32_le(stream.boot.0);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32_le(bytes.len() as u32);
    out.put_slice(bytes);
}

pub(super) fn put_series(out: &mut Vec<u8>, slot: u32, series: &Series, pairs: &[u32]) {
    out.put_u32_le(slot);
    out.put_u128_le(series.key.0);
    out.put_u32_le(series.tenant);
    out.put_u32_le(series.own_ref);
    out.put_u16_le(pairs.len() as u16);
    pairs.iter().for_each(|id| out.put_u32_le(*id));
    out.put_u32_le(series.buckets().count() as u32);
    series.buckets().for_each(|bucket| put_bucket(out, bucket));
    out.put_u32_le(series.histograms.as_ref().map_or(0, |h| h.iter().len()) as u32);

    for (id, bucket) in series.histograms.iter().flat_map(|h| h.iter()) {
        out.put_i64_le(id.window);
        out.put_i64_le(id.cut);
        put_closed(out, &bucket.closed);
        put_bytes(out, &bucket.open);
    }
}

/// The start timestamps of a series; nothing if it has none.
pub(super) fn put_starts(out: &mut Vec<u8>, slot: u32, series: &Series) {
    for bucket in series.buckets() {
        let Some(starts) = bucket
            .starts
            .as_ref()
            .filter(|starts| !starts.entries().is_empty())
        else {
            continue;
        };

        out.put_u32_le(slot);
        out.put_i64_le(bucket.id.window);
        out.put_i64_le(bucket.id.cut);
        out.put_u32_le(starts.entries().len() as u32);

        for (from, start) in starts.entries() {
            out.put_i64_le(*from);
            out.put_i64_le(*start);
        }
    }
}

fn put_closed(out: &mut Vec<u8>, closed: &[ClosedChunk]) {
    out.put_u32_le(closed.len() as u32);
    for chunk in closed {
        out.put_u32_le(chunk.file);
        out.put_u32_le(chunk.offset);
        out.put_u32_le(chunk.min);
        out.put_u32_le(chunk.max);
        out.put_u16_le(chunk.len);
        out.put_u16_le(chunk.count);
    }
}

fn put_bucket(out: &mut Vec<u8>, bucket: &Bucket) {
    out.put_i64_le(bucket.id.window);
    out.put_i64_le(bucket.id.cut);
    out.put_i64_le(bucket.max);
    out.put_u8(bucket.samples_max);
    out.put_u32_le(bucket.bytes.len() as u32);

    if !bucket.bytes.is_empty() {
        out.put_i64_le(bucket.open_min);
        out.put_slice(&bucket.open.to_bytes());
        out.put_slice(&bucket.bytes);
    }

    put_closed(out, &bucket.closed);
    let late = bucket.late.as_deref().map_or(&[][..], Vec::as_slice);
    out.put_u32_le(late.len() as u32);

    for sample in late {
        out.put_i64_le(sample.t);
        out.put_u64_le(sample.v.to_bits());
        out.put_i64_le(sample.start);
    }
}

/// Room behind the samples of an open chunk that is loaded.
const OPEN_ROOM_BYTES: usize = 2 * XorAppender::SAMPLE_BYTES_MAX;
/// File, offset, min, max u32; length, count u16.
const CLOSED_BYTES: usize = 20;

/// Closed chunks as they are in the file.
#[derive(Clone, Copy)]
pub(super) struct FoundChunks<'a>(&'a [u8]);

impl FoundChunks<'_> {
    pub fn iter(self) -> impl ExactSizeIterator<Item = ClosedChunk> {
        self.0.chunks_exact(CLOSED_BYTES).map(|mut b| ClosedChunk {
            file: b.get_u32_le(),
            offset: b.get_u32_le(),
            min: b.get_u32_le(),
            max: b.get_u32_le(),
            len: b.get_u16_le(),
            count: b.get_u16_le(),
        })
    }
}

/// A bucket in the file: checked, and nothing built of it yet.
pub(super) struct FoundBucket<'a> {
    pub id: BucketId,
    max: i64,
    samples_max: u8,
    /// Its lowest time, its state and its bytes.
    open: Option<(i64, XorAppender, &'a [u8])>,
    pub closed: FoundChunks<'a>,
    late: ChunksExact<'a, u8>,
}

impl FoundBucket<'_> {
    pub fn build(self) -> Bucket {
        let mut bucket = Bucket::new(self.id, 0);
        (bucket.max, bucket.samples_max) = (self.max, self.samples_max);

        if let Some((min, open, bytes)) = self.open {
            (bucket.open_min, bucket.open) = (min, open);
            // With some room, because most series are written to soon.
            bucket.bytes = Vec::with_capacity(bytes.len() + OPEN_ROOM_BYTES);
            bucket.bytes.extend_from_slice(bytes);
        }

        bucket.closed = self.closed.iter().collect();
        if self.late.len() > 0 {
            bucket.late = Some(Box::new(
                self.late
                    .map(|mut b: &[u8]| LateSample {
                        t: b.get_i64_le(),
                        v: f64::from_bits(b.get_u64_le()),
                        start: if b.is_empty() { 0 } else { b.get_i64_le() },
                    })
                    .collect(),
            ));
        }

        bucket
    }
}

/// A bucket of histograms in the file: checked, and nothing built of it yet.
pub(super) struct FoundHistograms<'a> {
    pub id: BucketId,
    pub closed: FoundChunks<'a>,
    open: Cow<'a, [u8]>,
}

impl FoundHistograms<'_> {
    pub fn build(self) -> HistogramBucket {
        HistogramBucket {
            open: self.open.into_owned(),
            closed: self.closed.iter().collect(),
            noted: 0,
        }
    }
}

/// Reads parts; every step is checked, because a checksum does not protect against a defect of the writer.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    version: u32,
}

/// The bytes of a part end too early or hold a value out of range.
pub(super) struct Malformed;

type Read<T> = Result<T, Malformed>;

impl<'a> Reader<'a> {
    /// Reads bytes of a file of this version.
    pub fn new(bytes: &'a [u8], version: u32) -> Self {
        Self {
            rest: bytes,
            version,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// A count that had 16 bits before version 3.
    pub fn wide(&mut self) -> Read<u32> {
        if self.version >= 3 {
            self.u32()
        } else {
            self.u16().map(u32::from)
        }
    }

    pub fn need(&self, bytes: usize) -> Read<()> {
        if self.rest.len() < bytes {
            Err(Malformed)
        } else {
            Ok(())
        }
    }

    pub fn u8(&mut self) -> Read<u8> {
        self.need(1).map(|()| self.rest.get_u8())
    }

    pub fn u16(&mut self) -> Read<u16> {
        self.need(2).map(|()| self.rest.get_u16_le())
    }

    pub fn u32(&mut self) -> Read<u32> {
        self.need(4).map(|()| self.rest.get_u32_le())
    }

    pub fn u64(&mut self) -> Read<u64> {
        self.need(8).map(|()| self.rest.get_u64_le())
    }

    pub fn i64(&mut self) -> Read<i64> {
        self.need(8).map(|()| self.rest.get_i64_le())
    }

    pub fn u128(&mut self) -> Read<u128> {
        self.need(16).map(|()| self.rest.get_u128_le())
    }

    pub fn take(&mut self, bytes: usize) -> Read<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(bytes).ok_or(Malformed)?;
        self.rest = tail;
        Ok(head)
    }

    pub fn bytes(&mut self) -> Read<&'a [u8]> {
        let n = self.u32()? as usize;
        self.take(n)
    }

    pub fn str(&mut self) -> Read<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    pub fn stream(&mut self) -> Read<StreamId> {
        Ok(StreamId {
            incarnation: Incarnation(self.u64()?),
            boot: Boot(self.u32()?),
        })
    }

    /// A count of things of at least `each` bytes, so that it can be trusted for an allocation.
    pub fn count(&mut self, each: usize) -> Read<usize> {
        let n = self.u32()? as usize;
        self.need(n.checked_mul(each).ok_or(Malformed)?)?;
        Ok(n)
    }

    /// The fixed part of a series: slot, key, tenant, own reference; then its pairs.
    pub fn series_head(&mut self, pairs: &mut Vec<u32>) -> Read<(u32, SeriesKey, u32, u32)> {
        let head = (
            self.u32()?,
            SeriesKey(self.u128()?),
            self.u32()?,
            self.u32()?,
        );

        let n = usize::from(self.u16()?);
        let ids = self.take(n * 4)?;
        pairs.clear();
        pairs.extend(
            ids.chunks_exact(4)
                .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        );

        Ok(head)
    }

    pub fn bucket(&mut self) -> Read<FoundBucket<'a>> {
        let id = BucketId {
            window: self.i64()?,
            cut: self.i64()?,
        };
        let max = self.i64()?;
        let samples_max = self.u8()?;
        let len = self.wide()? as usize;

        let mut open = None;
        if len > 0 {
            let min = self.i64()?;
            let state = self
                .take(XorAppender::STATE_BYTES)?
                .try_into()
                .map_err(|_| Malformed)?;
            let bytes = self.take(len)?;
            open = Some((
                min,
                XorAppender::from_bytes(state, bytes).map_err(|_| Malformed)?,
                bytes,
            ));
        }

        let closed = self.closed()?;
        let late_bytes = if self.version >= 3 { 24 } else { 16 };
        let n = self.count(late_bytes)?;
        let late = self.take(n * late_bytes)?.chunks_exact(late_bytes);

        Ok(FoundBucket {
            id,
            max,
            samples_max,
            open,
            closed,
            late,
        })
    }

    /// Start timestamps of one bucket: slot, bucket, entries.
    pub fn starts(&mut self) -> Read<(u32, BucketId, Starts)> {
        let slot = self.u32()?;
        let id = BucketId {
            window: self.i64()?,
            cut: self.i64()?,
        };
        let entries = (0..self.count(16)?)
            .map(|_| Ok((self.i64()?, self.i64()?)))
            .collect::<Read<_>>()?;

        Ok((slot, id, Starts::from_entries(entries).ok_or(Malformed)?))
    }

    fn closed(&mut self) -> Read<FoundChunks<'a>> {
        let n = self.count(CLOSED_BYTES)?;
        Ok(FoundChunks(self.take(n * CLOSED_BYTES)?))
    }

    pub fn histogram_bucket(&mut self) -> Read<FoundHistograms<'a>> {
        let id = BucketId {
            window: self.i64()?,
            cut: self.i64()?,
        };
        let closed = self.closed()?;
        let open = if self.version >= 4 {
            let run = self.bytes()?;
            if read_run(run).any(|sample| sample.is_err()) {
                return Err(Malformed);
            }
            Cow::Borrowed(run)
        } else {
            Cow::Owned(self.whole_histograms()?)
        };

        Ok(FoundHistograms { id, closed, open })
    }

    /// Samples of an open run as they were stored before version 4, each whole.
    fn whole_histograms(&mut self) -> Read<Vec<u8>> {
        let mut run = Vec::new();
        for _ in 0..self.count(8)? {
            let t = self.i64()?;
            let (sample, used) = decode_histogram(self.rest, t).map_err(|_| Malformed)?;
            self.take(used)?;
            push_to_run(&mut run, &sample).map_err(|_| Malformed)?;
        }

        Ok(run)
    }
}
