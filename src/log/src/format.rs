//! Bytes of segment and batch headers.

use bytes::{Buf, BufMut};
use trireme_base::Incarnation;

pub(crate) const SEGMENT_HEADER_BYTES: usize = 68;
pub(crate) const BATCH_HEADER_BYTES: usize = 32;
/// Version of the segment format that is written; a reader refuses later ones.
pub(crate) const VERSION: u32 = 3;
/// Bytes of the headers of versions 1 and 2.
const PLAIN_HEADER_BYTES: usize = 40;
/// From version 3 on the first bytes of every segment are magic, version and their checksum, so that a file of a later
/// release is told from a damaged one.
const VERSION_BYTES: usize = 16;

const SEGMENT_MAGIC: &[u8; 8] = b"TRIRMLOG";
const BATCH_MAGIC: &[u8; 4] = b"TBAT";
const PACKED_BATCH_MAGIC: &[u8; 4] = b"TBAZ";

/// First bytes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub number: u64,
    pub incarnation: Incarnation,
    pub created_ms: i64,
    /// Goes into the checksums of batch headers: senders choose payloads, and must not be able to make one that reads
    /// as a batch. Never leaves the disk. 0 in files of versions 1 and 2, which have none.
    pub salt: u64,
    /// The segment before this one and how far that was durable when this one was made; what stands behind that was
    /// logged again here. 0 if there was none, or in files of versions 1 and 2.
    pub previous: u64,
    pub previous_bytes: u64,
}

/// Why a file is no segment that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    Damaged(&'static str),
    /// It is whole, and of a later release.
    Newer(u32),
}

/// What of a segment's header is needed to read its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Offset of the first batch.
    pub start: u64,
    /// Goes into the checksums of batch headers; none in files of versions 1 and 2.
    seed: Option<u32>,
}

impl Layout {
    fn salted(salt: u64, number: u64) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&salt.to_le_bytes());
        bytes[8..].copy_from_slice(&number.to_le_bytes());
        Self {
            start: SEGMENT_HEADER_BYTES as u64,
            seed: Some(crc32c::crc32c(&bytes)),
        }
    }

    /// Checksum of a batch header that stands at `offset`.
    fn checksum(self, offset: u64, header: &[u8]) -> u32 {
        match self.seed {
            None => crc32c::crc32c(header),
            Some(seed) => {
                let place = crc32c::crc32c_append(seed, &offset.to_le_bytes());
                crc32c::crc32c_append(place, header)
            }
        }
    }
}

impl SegmentHeader {
    pub fn layout(&self) -> Layout {
        Layout::salted(self.salt, self.number)
    }

    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = [0u8; SEGMENT_HEADER_BYTES];
        out[..8].copy_from_slice(SEGMENT_MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());

        let crc = crc32c::crc32c(&out[..12]);
        out[12..VERSION_BYTES].copy_from_slice(&crc.to_le_bytes());

        let mut rest = &mut out[VERSION_BYTES..];
        rest.put_u64_le(self.number);
        rest.put_u64_le(self.incarnation.0);
        rest.put_i64_le(self.created_ms);
        rest.put_u64_le(self.salt);
        rest.put_u64_le(self.previous);
        rest.put_u64_le(self.previous_bytes);

        let crc = crc32c::crc32c(&out[..64]);
        out[64..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the header at the begin of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<(Self, Layout), Unusable> {
        let cut_off = Unusable::Damaged("segment header is cut off");
        let first = bytes.get(..VERSION_BYTES).ok_or(cut_off)?;
        if &first[..8] != SEGMENT_MAGIC {
            return Err(Unusable::Damaged("not a log segment"));
        }

        let version = (&first[8..]).get_u32_le();
        if version == 1 || version == 2 {
            return Self::decode_plain(bytes.get(..PLAIN_HEADER_BYTES).ok_or(cut_off)?);
        }
        check_sum(first)?;

        if version != VERSION {
            return Err(Unusable::Newer(version));
        }

        let bytes = bytes.get(..SEGMENT_HEADER_BYTES).ok_or(cut_off)?;
        check_sum(bytes)?;

        let header = Self::read(&bytes[VERSION_BYTES..]);
        Ok((header, header.layout()))
    }

    fn read(mut rest: &[u8]) -> Self {
        Self {
            number: rest.get_u64_le(),
            incarnation: Incarnation(rest.get_u64_le()),
            created_ms: rest.get_i64_le(),
            salt: rest.get_u64_le(),
            previous: rest.get_u64_le(),
            previous_bytes: rest.get_u64_le(),
        }
    }

    /// A header of version 1 or 2.
    fn decode_plain(bytes: &[u8]) -> Result<(Self, Layout), Unusable> {
        if (&bytes[36..]).get_u32_le() != crc32c::crc32c(&bytes[..36]) {
            return Err(Unusable::Damaged("segment header checksum does not fit"));
        }

        let mut rest = &bytes[12..];
        let header = Self {
            number: rest.get_u64_le(),
            incarnation: Incarnation(rest.get_u64_le()),
            created_ms: rest.get_i64_le(),
            salt: 0,
            previous: 0,
            previous_bytes: 0,
        };

        Ok((
            header,
            Layout {
                start: PLAIN_HEADER_BYTES as u64,
                seed: None,
            },
        ))
    }
}

/// The last four bytes are the checksum of those before.
fn check_sum(bytes: &[u8]) -> Result<(), Unusable> {
    let fits = bytes
        .split_last_chunk::<4>()
        .is_some_and(|(rest, crc)| u32::from_le_bytes(*crc) == crc32c::crc32c(rest));
    if !fits {
        return Err(Unusable::Damaged("segment header checksum does not fit"));
    }
    Ok(())
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
    /// The header of a batch at `offset`.
    pub fn encode(&self, layout: Layout, offset: u64) -> [u8; BATCH_HEADER_BYTES] {
        let mut out = [0u8; BATCH_HEADER_BYTES];
        let mut buf = &mut out[..];
        buf.put_slice(if self.packed {
            PACKED_BATCH_MAGIC
        } else {
            BATCH_MAGIC
        });

        buf.put_u32_le(self.body_bytes);
        buf.put_u64_le(self.ordinal);
        buf.put_u64_le(self.synced_to);
        buf.put_u32_le(self.records);

        let crc = layout.checksum(offset, &out[..28]);
        out[28..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the header of a batch at `offset`, if there is one.
    pub fn decode(bytes: &[u8], layout: Layout, offset: u64) -> Option<Self> {
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

        (rest.get_u32_le() == layout.checksum(offset, &bytes[..28])).then_some(header)
    }

    /// Finds the next thing in `bytes` that may be a header.
    pub fn find(bytes: &[u8]) -> Option<usize> {
        bytes
            .windows(4)
            .position(|w| w == BATCH_MAGIC || w == PACKED_BATCH_MAGIC)
    }
}

/// File name of a segment.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:012}.log")
}

/// Number of a segment file name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    numbered(name, ".log")
}

/// Number of the file name of a segment's summary.
pub(crate) fn summary_number(name: &str) -> Option<u64> {
    numbered(name, ".idx")
}

fn numbered(name: &str, ending: &str) -> Option<u64> {
    let digits = name.strip_suffix(ending)?;
    (digits.len() == 12).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        number: 7,
        incarnation: Incarnation(8),
        created_ms: 9,
        salt: 10,
        previous: 6,
        previous_bytes: 1_000,
    };

    #[test]
    fn tells_a_later_version_from_a_damaged_header() {
        let bytes = HEADER.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok((HEADER, HEADER.layout())));

        for at in 0..bytes.len() {
            let mut bad = bytes;
            bad[at] ^= 1;
            let read = SegmentHeader::decode(&bad);
            assert!(
                matches!(read, Err(Unusable::Damaged(_))),
                "byte {at}: {read:?}"
            );
        }

        let mut later = bytes;
        later[8..12].copy_from_slice(&9u32.to_le_bytes());
        let crc = crc32c::crc32c(&later[..12]);

        later[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&later), Err(Unusable::Newer(9)));
    }

    #[test]
    fn a_batch_header_reads_only_in_its_segment_and_at_its_place() {
        let header = BatchHeader {
            body_bytes: 10,
            ordinal: 3,
            synced_to: 68,
            records: 1,
            packed: false,
        };

        let bytes = header.encode(HEADER.layout(), 500);
        assert_eq!(
            BatchHeader::decode(&bytes, HEADER.layout(), 500),
            Some(header)
        );
        assert_eq!(BatchHeader::decode(&bytes, HEADER.layout(), 501), None);

        let others = [
            SegmentHeader { salt: 11, ..HEADER },
            SegmentHeader {
                number: 8,
                ..HEADER
            },
        ];

        for other in others {
            assert_eq!(BatchHeader::decode(&bytes, other.layout(), 500), None);
        }

        let plain = Layout {
            start: 40,
            seed: None,
        };

        assert_eq!(
            BatchHeader::decode(&bytes, plain, 500),
            None,
            "what a sender can compute"
        );
    }
}
