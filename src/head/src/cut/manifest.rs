//! What a start must know about the last cut.
//!
//! ```text
//! "TRIRMCUT", version u32, cut i64, shards u32, per shard: streams u32, per stream: incarnation u64, boot u32, seq u64
//! CRC32C of all before
//! ```

use std::path::Path;

use bytes::{Buf, BufMut};
use trireme_base::{Boot, Incarnation, StreamId};

use crate::error::READ;
use crate::{HeadError, files};

const MAGIC: &[u8; 8] = b"TRIRMCUT";
const VERSION: u32 = 1;

/// The last cut of a node: its number, and how far each shard had applied each stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CutManifest {
    /// Number of the cut.
    pub cut: i64,
    /// Per shard what [`crate::Shard::begin_cut`] answered.
    pub positions: Vec<Vec<(StreamId, u64)>>,
}

impl CutManifest {
    /// Replaces the file durably; the blocks of the cut must be durable before.
    pub fn store(&self, path: &Path) -> Result<(), HeadError> {
        let mut out = Vec::new();
        out.put_slice(MAGIC);
        out.put_u32_le(VERSION);
        out.put_i64_le(self.cut);
        out.put_u32_le(self.positions.len() as u32);
        for shard in &self.positions {
            out.put_u32_le(shard.len() as u32);
            for (stream, seq) in shard {
                out.put_u64_le(stream.incarnation.0);
                out.put_u32_le(stream.boot.0);
                out.put_u64_le(*seq);
            }
        }
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        files::replace(path, &out)
    }

    /// Reads the file; `None` before the first cut.
    pub fn load(path: &Path) -> Result<Option<Self>, HeadError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(HeadError::io(READ, path, error)),
        };
        Self::decode(path, &bytes).map(Some)
    }

    fn decode(path: &Path, bytes: &[u8]) -> Result<Self, HeadError> {
        let bad = |what: &str| HeadError::corrupt(path, what);
        let (body, mut crc) =
            bytes.split_at_checked(bytes.len().wrapping_sub(4)).ok_or_else(|| bad("cut off"))?;
        if crc.get_u32_le() != crc32c::crc32c(body) {
            return Err(bad("checksum does not fit"));
        }
        let mut rest = body.strip_prefix(MAGIC.as_slice()).ok_or_else(|| bad("not a cut manifest"))?;
        if rest.len() < 16 {
            return Err(bad("cut off"));
        }
        if rest.get_u32_le() != VERSION {
            return Err(HeadError::Version { path: path.to_owned() });
        }
        let mut this = Self { cut: rest.get_i64_le(), positions: Vec::new() };
        for _ in 0..rest.get_u32_le() {
            let count = if rest.len() < 4 { return Err(bad("cut off")) } else { rest.get_u32_le() as usize };
            if rest.len() < count.saturating_mul(20) {
                return Err(bad("cut off"));
            }
            let one = |_| {
                let stream =
                    StreamId { incarnation: Incarnation(rest.get_u64_le()), boot: Boot(rest.get_u32_le()) };
                (stream, rest.get_u64_le())
            };
            this.positions.push((0..count).map(one).collect());
        }
        Ok(this)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_any_flipped_byte() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("cut");
        assert_eq!(CutManifest::load(&path).expect("no file"), None);
        let stream = StreamId { incarnation: Incarnation(5), boot: Boot(6) };
        let manifest = CutManifest { cut: -3, positions: vec![vec![(stream, 7)], vec![]] };
        manifest.store(&path).expect("stored");
        assert_eq!(CutManifest::load(&path).expect("stored"), Some(manifest));
        let bytes = std::fs::read(&path).expect("there");
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            let is_damage =
                |bytes: &[u8]| matches!(CutManifest::decode(&path, bytes), Err(HeadError::Corrupt { .. }));
            assert!(is_damage(&bad) && is_damage(&bytes[..at]), "byte {at}");
        }
    }
}
