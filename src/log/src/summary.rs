//! What a segment holds, so that it need not be read to know.
//!
//! Kept in memory for every segment, and beside each closed one as `NUMBER.idx`, because a start must not read
//! gigabytes of log that only wait for a slow peer. A missing or bad `.idx` only means that the segment is read.
//!
//! ```text
//! "TRIRMIDX", version u32, segment bytes u64, damaged u8, streams u32,
//! per stream: incarnation u64, boot u32, first seq u64, last seq u64, places u32, per place: seq u64, offset u64
//! CRC32C of all before
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use bytes::{Buf, BufMut};
use trireme_base::{Boot, Incarnation, StreamId};

const MAGIC: &[u8; 8] = b"TRIRMIDX";
const VERSION: u32 = 1;
/// A place is noted at most once in so many bytes of the segment and stream.
const PLACE_BYTES: u64 = 256 << 10;

/// Records of one stream in one segment that follow each other without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamRange {
    pub first: u64,
    pub last: u64,
    /// (seq, offset of the batch that holds it), ascending, sparse.
    pub places: Vec<(u64, u64)>,
}

/// Contents of one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Length up to the end of the last batch.
    pub bytes: u64,
    /// Some record in it cannot be read.
    pub damaged: bool,
    pub streams: BTreeMap<StreamId, StreamRange>,
}

impl Summary {
    /// Notes a record in the batch at `offset`. A gap starts the stream's range over.
    pub fn note(&mut self, stream: StreamId, seq: u64, offset: u64) {
        let range = self.streams.entry(stream).or_insert_with(|| StreamRange {
            first: seq,
            last: seq,
            places: vec![(seq, offset)],
        });

        if seq != range.last && seq != range.last + 1 {
            // What is missing between is covered by a checkpoint, or was given up.
            *range = StreamRange {
                first: seq,
                last: seq,
                places: vec![(seq, offset)],
            };
        }

        range.last = seq;
        let known = range.places.last().map_or(0, |(_, at)| *at);
        if offset >= known + PLACE_BYTES {
            range.places.push((seq, offset));
        }
    }

    /// Where to start reading for `seq` of a stream, if it is in this segment.
    pub fn place(&self, stream: StreamId, seq: u64) -> Option<u64> {
        let range = self.streams.get(&stream)?;
        if !(range.first..=range.last).contains(&seq) {
            return None;
        }
        let at = range.places.partition_point(|(s, _)| *s <= seq);
        range.places[..at].last().map(|(_, offset)| *offset)
    }

    /// Forgets what stands behind `last`: it cannot be read in order and will come again.
    pub fn cut(&mut self, stream: StreamId, last: u64) {
        let Some(range) = self.streams.get_mut(&stream) else {
            return;
        };
        if range.first > last {
            self.streams.remove(&stream);
        } else {
            range.last = range.last.min(last);
            range.places.retain(|(seq, _)| *seq <= last);
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_slice(MAGIC);
        out.put_u32_le(VERSION);
        out.put_u64_le(self.bytes);
        out.put_u8(u8::from(self.damaged));
        out.put_u32_le(self.streams.len() as u32);

        for (stream, range) in &self.streams {
            out.put_u64_le(stream.incarnation.0);
            out.put_u32_le(stream.boot.0);
            out.put_u64_le(range.first);
            out.put_u64_le(range.last);
            out.put_u32_le(range.places.len() as u32);
            for (seq, offset) in &range.places {
                out.put_u64_le(*seq);
                out.put_u64_le(*offset);
            }
        }

        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        out
    }

    /// Reads a sidecar file; `None` when it is missing or not to be trusted.
    pub fn load(path: &Path) -> Option<Self> {
        Self::decode(&std::fs::read(path).ok()?)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, mut crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc.get_u32_le() != crc32c::crc32c(body) {
            return None;
        }

        let mut rest = body.strip_prefix(MAGIC.as_slice())?;
        if rest.len() < 17 || rest.get_u32_le() != VERSION {
            return None;
        }

        let mut summary = Self {
            bytes: rest.get_u64_le(),
            damaged: rest.get_u8() != 0,
            streams: BTreeMap::new(),
        };

        for _ in 0..rest.get_u32_le() {
            let (stream, range) = read_range(&mut rest)?;
            summary.streams.insert(stream, range);
        }

        rest.is_empty().then_some(summary)
    }
}

/// What a segment has of a stream.
fn read_range(rest: &mut &[u8]) -> Option<(StreamId, StreamRange)> {
    if rest.len() < 32 {
        return None;
    }

    let stream = StreamId {
        incarnation: Incarnation(rest.get_u64_le()),
        boot: Boot(rest.get_u32_le()),
    };
    let first = rest.get_u64_le();
    let last = rest.get_u64_le();
    let places = rest.get_u32_le() as usize;
    if rest.len() < places.checked_mul(16)? {
        return None;
    }

    let places = (0..places)
        .map(|_| (rest.get_u64_le(), rest.get_u64_le()))
        .collect();

    let range = StreamRange {
        first,
        last,
        places,
    };
    Some((stream, range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_place_to_read_from_and_round_trips() {
        let stream = StreamId {
            incarnation: Incarnation(1),
            boot: Boot(1),
        };

        let mut summary = Summary::default();
        for seq in 10..1_000 {
            summary.note(stream, seq, seq * 4096);
        }

        summary.bytes = 1_000 * 4096;
        assert_eq!(summary.place(stream, 9), None);
        assert_eq!(summary.place(stream, 1_000), None);

        for seq in 10..1_000 {
            let place = summary.place(stream, seq).expect("in range");
            assert!(
                place <= seq * 4096 && seq * 4096 - place <= PLACE_BYTES,
                "{seq}"
            );
        }

        let bytes = summary.encode();
        assert_eq!(Summary::decode(&bytes), Some(summary));

        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            assert_eq!(Summary::decode(&bad), None);
            assert_eq!(Summary::decode(&bytes[..at]), None);
        }
    }
}
