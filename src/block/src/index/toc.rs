//! The last bytes of an index: where its sections are.

use crate::codec::{Cursor, Malformed, checked};

/// Offsets of the sections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Toc {
    pub(super) symbols: u64,
    pub(super) series: u64,
    /// Obsolete; the end of the series.
    pub(super) label_indices: u64,
    /// Obsolete; where the postings table is.
    pub(super) label_table: u64,
    pub(super) postings: u64,
    pub(super) postings_table: u64,
}

impl Toc {
    /// Six offsets and a checksum.
    pub(super) const BYTES: usize = 52;

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let offsets = [
            self.symbols,
            self.series,
            self.label_indices,
            self.label_table,
            self.postings,
            self.postings_table,
        ];

        let mut out = [0; Self::BYTES];
        for (slot, offset) in out.chunks_exact_mut(8).zip(offsets) {
            slot.copy_from_slice(&offset.to_be_bytes());
        }

        let crc = crc32c::crc32c(&out[..48]);
        out[48..].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads the TOC of a file of `file_len` bytes.
    pub(super) fn parse(bytes: &[u8], file_len: u64) -> Result<Self, Malformed> {
        let mut c = Cursor::new(checked(bytes)?);
        let toc = Self {
            symbols: c.u64()?,
            series: c.u64()?,
            label_indices: c.u64()?,
            label_table: c.u64()?,
            postings: c.u64()?,
            postings_table: c.u64()?,
        };

        let end = file_len.saturating_sub(Self::BYTES as u64);
        if [toc.symbols, toc.series, toc.postings, toc.postings_table]
            .iter()
            .any(|offset| *offset > end)
        {
            return Err(Malformed("points behind the end of the file"));
        }

        if toc.series < toc.symbols {
            return Err(Malformed("has its sections out of order"));
        }

        Ok(toc)
    }
}
