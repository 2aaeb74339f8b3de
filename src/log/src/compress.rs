//! Records in a compressed batch: each by itself, so that a torn or damaged one costs no other.
//!
//! ```text
//! offset  size  field (integers little endian)
//!      0     4  bytes of payload as stored; equal to the payload's length: not compressed
//!      4    32  header of the record, as in a plain batch; its checksum is that of the record before compression
//!     36     n  payload as stored, a zstd frame or plain
//! ```

use bytes::{Buf, Bytes};
use trireme_wire::record::{HEADER_BYTES, RECORD_BYTES_MAX, Record, RecordError};
use zstd::bulk::{Compressor, Decompressor};

/// Bytes that a record costs here beyond those of a plain batch, at most.
pub(crate) const OVERHEAD_BYTES: usize = 4;
/// The fastest of zstd's ordinary levels: the log's thread has a disk to keep busy.
const LEVEL: i32 = 1;

/// Why a stored record cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("record cannot be decompressed: {0}")]
    Zstd(std::io::Error),
}

/// Compresses records; its buffers serve one batch after another.
pub(crate) struct Packer {
    zstd: Compressor<'static>,
    payload: Vec<u8>,
    body: Vec<u8>,
}

impl Packer {
    /// Fails when there is no memory for zstd's tables.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            zstd: Compressor::new(LEVEL)?,
            payload: Vec::new(),
            body: Vec::new(),
        })
    }

    /// The body of a batch, good until the next call.
    pub fn pack<'a>(&mut self, records: impl Iterator<Item = &'a Record>) -> &[u8] {
        self.body.clear();
        for record in records {
            let (header, plain) = record.bytes().split_at(HEADER_BYTES);
            self.payload.clear();
            self.payload
                .reserve(zstd::zstd_safe::compress_bound(plain.len()));

            let smaller = self
                .zstd
                .compress_to_buffer(plain, &mut self.payload)
                .is_ok_and(|n| n < plain.len());
            let stored = if smaller {
                self.payload.as_slice()
            } else {
                plain
            };

            self.body
                .extend_from_slice(&(stored.len() as u32).to_le_bytes());
            self.body.extend_from_slice(header);
            self.body.extend_from_slice(stored);
        }

        &self.body
    }
}

/// Reads what a [`Packer`] wrote.
#[derive(Default)]
pub(crate) struct Unpacker(Option<Decompressor<'static>>);

impl Unpacker {
    /// Length in bytes of the first stored record in `bytes`; checks that all of it is there.
    pub fn stored_len(bytes: &[u8]) -> Result<usize, RecordError> {
        let Some(mut stored) = bytes.get(..4) else {
            return Err(RecordError::Short {
                have: bytes.len(),
                need: OVERHEAD_BYTES + HEADER_BYTES,
            });
        };

        let stored = stored.get_u32_le() as usize;
        let need = OVERHEAD_BYTES + HEADER_BYTES + stored;
        if stored > RECORD_BYTES_MAX {
            return Err(RecordError::Length(stored));
        }

        if bytes.len() < need {
            return Err(RecordError::Short {
                have: bytes.len(),
                need,
            });
        }

        Ok(need)
    }

    /// Restores and checks the first stored record in `bytes` and splits it off.
    pub fn read(&mut self, bytes: &mut Bytes) -> Result<Record, UnpackError> {
        let end = Self::stored_len(bytes)?;
        let mut plain = bytes.slice(OVERHEAD_BYTES..end);
        let length = plain.slice(..4).get_u32_le() as usize + 8;
        if !(HEADER_BYTES..=RECORD_BYTES_MAX).contains(&length) {
            return Err(RecordError::Length(length).into());
        }

        if length != plain.len() {
            plain = self.restore(&plain, length).map_err(UnpackError::Zstd)?;
        }

        let record = Record::read(&mut plain)?;
        bytes.advance(end);
        Ok(record)
    }

    fn restore(&mut self, stored: &[u8], length: usize) -> std::io::Result<Bytes> {
        let zstd = match &mut self.0 {
            Some(zstd) => zstd,
            empty => empty.insert(Decompressor::new()?),
        };
        let (header, payload) = stored.split_at(HEADER_BYTES);
        let mut out = vec![0; length];

        out[..HEADER_BYTES].copy_from_slice(header);
        let written = zstd.decompress_to_buffer(payload, &mut out[HEADER_BYTES..])?;
        out.truncate(HEADER_BYTES + written);

        Ok(out.into())
    }
}
