//! Bytes of segment and batch headers.

use bytes::{Buf, BufMut};
use trireme_base::Incarnation;

pub(crate) const SEGMENT_HEADER_BYTES: usize = 40;
pub(crate) const BATCH_HEADER_BYTES: usize = 32;
/// Newest version of the segment format; a reader refuses later ones.
const VERSION: u32 = 2;
/// Version of segments without compressed batches: releases that know no others can read those.
const VERSION_PLAIN: u32 = 1;

const SEGMENT_MAGIC: &[u8; 8] = b"TRIRMLOG";
const BATCH_MAGIC: &[u8; 4] = b"TBAT";
const PACKED_BATCH_MAGIC: &[u8; 4] = b"TBAZ";

/// First bytes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub number: u64,
    pub incarnation: Incarnation,
    pub created_ms: i64,
    /// Batches in it may be compressed.
    pub packed: bool,
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = [0u8; SEGMENT_HEADER_BYTES];
        let mut buf = &mut out[..];
        buf.put_slice(SEGMENT_MAGIC);
        buf.put_u32_le(if self.packed { VERSION } else { VERSION_PLAIN });
        buf.put_u64_le(self.number);
        buf.put_u64_le(self.incarnation.0);
        buf.put_i64_le(self.created_ms);
        let crc = crc32c::crc32c(&out[..36]);
        out[36..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes = bytes.get(..SEGMENT_HEADER_BYTES).ok_or("segment header is cut off")?;
        if &bytes[..8] != SEGMENT_MAGIC {
            return Err("not a log segment");
        }
        let mut crc = &bytes[36..];
        if crc.get_u32_le() != crc32c::crc32c(&bytes[..36]) {
            return Err("segment header checksum does not fit");
        }
        let mut rest = &bytes[8..];
        let version = rest.get_u32_le();
        if !(VERSION_PLAIN..=VERSION).contains(&version) {
            return Err("segment format version is unknown to this version");
        }
        Ok(Self {
            number: rest.get_u64_le(),
            incarnation: Incarnation(rest.get_u64_le()),
            created_ms: rest.get_i64_le(),
            packed: version > VERSION_PLAIN,
        })
    }
}

/// Stands before the records of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// Bytes of records that follow.
    pub body_bytes: u32,
    /// Counted from 0 in each segment; tells this batch from leftovers of a failed write.
    pub ordinal: u64,
    /// Everything in this segment before this offset was synced when the batch was written. Tells a torn tail
    /// (which nobody was promised) from damage to what was once durable.
    pub synced_to: u64,
    /// Records in the batch.
    pub records: u32,
    /// Records stand in it as `compress.rs` says.
    pub packed: bool,
}

impl BatchHeader {
    pub fn encode(&self) -> [u8; BATCH_HEADER_BYTES] {
        let mut out = [0u8; BATCH_HEADER_BYTES];
        let mut buf = &mut out[..];
        buf.put_slice(if self.packed { PACKED_BATCH_MAGIC } else { BATCH_MAGIC });
        buf.put_u32_le(self.body_bytes);
        buf.put_u64_le(self.ordinal);
        buf.put_u64_le(self.synced_to);
        buf.put_u32_le(self.records);
        let crc = crc32c::crc32c(&out[..28]);
        out[28..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..BATCH_HEADER_BYTES)?;
        let packed = bytes.starts_with(PACKED_BATCH_MAGIC);
        if !packed && !bytes.starts_with(BATCH_MAGIC) {
            return None;
        }
        let mut rest = &bytes[4..];
        let header = Self {
            body_bytes: rest.get_u32_le(),
            ordinal: rest.get_u64_le(),
            synced_to: rest.get_u64_le(),
            records: rest.get_u32_le(),
            packed,
        };
        (rest.get_u32_le() == crc32c::crc32c(&bytes[..28])).then_some(header)
    }

    /// Finds the next thing in `bytes` that may be a header.
    pub fn find(bytes: &[u8]) -> Option<usize> {
        bytes.windows(4).position(|w| w == BATCH_MAGIC || w == PACKED_BATCH_MAGIC)
    }
}

/// File name of a segment.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:012}.log")
}

/// Number of a segment file name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 12).then(|| digits.parse().ok())?
}
