//! Log records: the unit that is written to disk, sent to peers and written to their disks, byte for byte.
//!
//! ```text
//! offset  size  field (integers little endian)
//!      0     4  length of everything after the CRC field
//!      4     4  CRC32C of everything after this field
//!      8     8  stream: incarnation of the origin's data directory
//!     16     4  stream: boot of the origin
//!     20     8  seq, counted from 1 without gaps within a stream
//!     28     2  shard, or 0xFFFF for all
//!     30     1  kind of payload
//!     31     1  flags, 0 for now
//!     32     n  payload
//! ```

use bytes::Bytes;
use trireme_base::{Boot, Incarnation, StreamId};

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 32;
/// Largest record, header included. A larger batch is split by its origin.
pub const RECORD_BYTES_MAX: usize = 32 << 20;
/// Shard number of a record that every shard reads.
pub const ALL_SHARDS: u16 = u16::MAX;

/// What a record's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// Series definitions and samples of one tenant and shard.
    Samples = 1,
    /// The origin closed a window: payload is its number k as `i64` (window k covers `[k*w, (k+1)*w)`).
    WindowClosed = 2,
    /// The origin released series references.
    Release = 3,
}

impl RecordKind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Samples, Self::WindowClosed, Self::Release]
            .into_iter()
            .find(|k| *k as u8 == byte)
    }
}

/// Why bytes are not a record.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum RecordError {
    /// The bytes end before the record does.
    #[error("record is cut off: {have} of {need} bytes")]
    Short {
        /// Bytes there are.
        have: usize,
        /// Bytes there should be.
        need: usize,
    },
    /// The length field is out of range.
    #[error("record length {0} is out of range")]
    Length(usize),
    /// The checksum does not fit.
    #[error("record checksum is {got:08x}, expected {want:08x}")]
    Checksum {
        /// Computed.
        got: u32,
        /// Stored.
        want: u32,
    },
    /// The kind byte is unknown: the record comes from a newer version.
    #[error("record kind {0} is unknown to this version")]
    Kind(u8),
}

/// A complete, checked record.
#[derive(Clone, PartialEq, Eq)]
pub struct Record(Bytes);

impl Record {
    /// Checks the first record in `bytes` and splits it off.
    pub fn read(bytes: &mut Bytes) -> Result<Self, RecordError> {
        let need = Self::total_len(bytes)?;
        let want = read_u32(bytes, 4);
        let got = crc32c::crc32c(&bytes[8..need]);
        if got != want {
            return Err(RecordError::Checksum { got, want });
        }

        let kind = bytes[30];
        RecordKind::from_byte(kind).ok_or(RecordError::Kind(kind))?;
        Ok(Self(bytes.split_to(need)))
    }

    /// Length in bytes of the first record in `bytes`; checks that all of it is there, not its checksum.
    pub fn total_len(bytes: &[u8]) -> Result<usize, RecordError> {
        if bytes.len() < HEADER_BYTES {
            return Err(RecordError::Short {
                have: bytes.len(),
                need: HEADER_BYTES,
            });
        }

        let need = read_u32(bytes, 0) as usize + 8;
        if !(HEADER_BYTES..=RECORD_BYTES_MAX).contains(&need) {
            return Err(RecordError::Length(need));
        }

        if bytes.len() < need {
            return Err(RecordError::Short {
                have: bytes.len(),
                need,
            });
        }

        Ok(need)
    }

    /// The whole record as stored and sent.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The stream it belongs to.
    pub fn stream(&self) -> StreamId {
        StreamId {
            incarnation: Incarnation(read_u64(&self.0, 8)),
            boot: Boot(read_u32(&self.0, 16)),
        }
    }

    /// Its place in the stream, from 1.
    pub fn seq(&self) -> u64 {
        read_u64(&self.0, 20)
    }

    /// The shard that applies it, or [`ALL_SHARDS`].
    pub fn shard(&self) -> u16 {
        u16::from_le_bytes([self.0[28], self.0[29]])
    }

    /// What the payload is.
    pub fn kind(&self) -> RecordKind {
        RecordKind::from_byte(self.0[30]).expect("BUG: checked when the record was made")
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.0[HEADER_BYTES..]
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} {}#{} shard {} {} bytes",
            self.kind(),
            self.stream(),
            self.seq(),
            self.shard(),
            self.0.len()
        )
    }
}

/// A record of this node's own stream before the log has given it its seq.
#[derive(Clone)]
pub struct RecordDraft {
    bytes: Vec<u8>,
}

impl RecordDraft {
    /// An empty draft; append the payload to [`RecordDraft::payload_mut`].
    pub fn new(shard: u16, kind: RecordKind) -> Self {
        let mut bytes = Vec::with_capacity(4096);
        bytes.resize(HEADER_BYTES, 0);
        bytes[28..30].copy_from_slice(&shard.to_le_bytes());
        bytes[30] = kind as u8;
        Self { bytes }
    }

    /// The buffer; bytes before [`HEADER_BYTES`] belong to the header and must stay.
    pub fn payload_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The payload so far.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// Length so far, header included.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True while there is no payload.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() <= HEADER_BYTES
    }

    /// Fills in stream, seq and checksum. Panics if the draft is over [`RECORD_BYTES_MAX`].
    pub fn seal(mut self, stream: StreamId, seq: u64) -> Record {
        assert!(
            self.bytes.len() <= RECORD_BYTES_MAX,
            "BUG: record was not split by its origin"
        );

        if self.bytes.capacity() > self.bytes.len() + self.bytes.len() / 4 {
            // Records stay in memory for followers: what growing set aside would stay with them.
            self.bytes.shrink_to_fit();
        }

        let length = (self.bytes.len() - 8) as u32;
        self.bytes[0..4].copy_from_slice(&length.to_le_bytes());
        self.bytes[8..16].copy_from_slice(&stream.incarnation.0.to_le_bytes());
        self.bytes[16..20].copy_from_slice(&stream.boot.0.to_le_bytes());
        self.bytes[20..28].copy_from_slice(&seq.to_le_bytes());

        let crc = crc32c::crc32c(&self.bytes[8..]);
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        Record(Bytes::from(self.bytes))
    }
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("BUG: four bytes"))
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("BUG: eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        let stream = StreamId {
            incarnation: Incarnation(7),
            boot: Boot(2),
        };
        let mut draft = RecordDraft::new(3, RecordKind::Samples);

        draft.payload_mut().extend_from_slice(b"payload");
        let record = draft.seal(stream, 9);
        assert_eq!(
            (record.stream(), record.seq(), record.shard()),
            (stream, 9, 3)
        );
        assert_eq!(
            Record::read(&mut record.bytes().clone()).as_ref(),
            Ok(&record)
        );

        for bit in 0..record.bytes().len() * 8 {
            let mut bad = record.bytes().to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::read(&mut Bytes::from(bad)).is_err(), "bit {bit}");
        }
    }
}
