//! What a start must know about the last cut.
//!
//! ```text
//! "TRIRMCUT", version u32, cut i64, shards u32, per shard: streams u32, per stream: incarnation u64, boot u32, seq u64
//! version 2: count u32, per window that was left: cut i64, window i64, length of the tenant u16, tenant
//! CRC32C of all before
//! ```

use std::path::Path;

use bytes::{Buf, BufMut};
use trireme_base::{Boot, Incarnation, StreamId};
use trireme_model::Tenant;

use crate::cut::LeftWindow;
use crate::error::READ;
use crate::{HeadError, files};

const MAGIC: &[u8; 8] = b"TRIRMCUT";
/// Without anything left.
const VERSION_PLAIN: u32 = 1;
const VERSION: u32 = 2;

/// The last cut of a node: its number, and how far each shard had applied each stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CutManifest {
    /// Number of the cut.
    pub cut: i64,
    /// Per shard what [`crate::Shard::begin_cut`] answered.
    pub positions: Vec<Vec<(StreamId, u64)>>,
    /// What it and earlier cuts took and could not write.
    pub left: Vec<LeftWindow>,
}

impl CutManifest {
    /// Replaces the file durably; the blocks of the cut must be durable before.
    pub fn store(&self, path: &Path) -> Result<(), HeadError> {
        let mut out = Vec::new();
        out.put_slice(MAGIC);

        // An earlier release can read what has nothing new in it.
        out.put_u32_le(if self.left.is_empty() {
            VERSION_PLAIN
        } else {
            VERSION
        });

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

        if !self.left.is_empty() {
            put_left(&mut out, &self.left);
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
        let (body, mut crc) = bytes
            .split_at_checked(bytes.len().wrapping_sub(4))
            .ok_or_else(|| bad("cut off"))?;
        if crc.get_u32_le() != crc32c::crc32c(body) {
            return Err(bad("checksum does not fit"));
        }

        let mut rest = body
            .strip_prefix(MAGIC.as_slice())
            .ok_or_else(|| bad("not a cut manifest"))?;
        if rest.len() < 16 {
            return Err(bad("cut off"));
        }

        let version = rest.get_u32_le();
        if !(VERSION_PLAIN..=VERSION).contains(&version) {
            return Err(HeadError::Version {
                path: path.to_owned(),
            });
        }

        let mut this = Self {
            cut: rest.get_i64_le(),
            ..Self::default()
        };

        for _ in 0..rest.get_u32_le() {
            let shard = positions(&mut rest).ok_or_else(|| bad("cut off"))?;
            this.positions.push(shard);
        }

        if version == VERSION {
            this.left = left(&mut rest).ok_or_else(|| bad("cut off"))?;
        }

        Ok(this)
    }
}

fn put_left(out: &mut Vec<u8>, left: &[LeftWindow]) {
    out.put_u32_le(left.len() as u32);
    for LeftWindow {
        cut,
        tenant,
        window,
    } in left
    {
        out.put_i64_le(*cut);
        out.put_i64_le(*window);
        out.put_u16_le(tenant.as_str().len() as u16);
        out.put_slice(tenant.as_str().as_bytes());
    }
}

/// How far one shard had applied each stream.
fn positions(rest: &mut &[u8]) -> Option<Vec<(StreamId, u64)>> {
    let count = rest.try_get_u32_le().ok()? as usize;
    if rest.len() < count.saturating_mul(20) {
        return None;
    }

    let all = (0..count).map(|_| {
        let stream = StreamId {
            incarnation: Incarnation(rest.get_u64_le()),
            boot: Boot(rest.get_u32_le()),
        };
        (stream, rest.get_u64_le())
    });
    Some(all.collect())
}

fn left(rest: &mut &[u8]) -> Option<Vec<LeftWindow>> {
    let mut all = Vec::new();
    for _ in 0..rest.try_get_u32_le().ok()? {
        let cut = rest.try_get_i64_le().ok()?;
        let window = rest.try_get_i64_le().ok()?;
        let length = usize::from(rest.try_get_u16_le().ok()?);
        let (name, behind) = rest.split_at_checked(length)?;
        *rest = behind;
        let tenant = Tenant::new(std::str::from_utf8(name).ok()?).ok()?;
        all.push(LeftWindow {
            cut,
            tenant,
            window,
        });
    }

    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_any_flipped_byte() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("cut");
        assert_eq!(CutManifest::load(&path).expect("no file"), None);

        let stream = StreamId {
            incarnation: Incarnation(5),
            boot: Boot(6),
        };
        let plain = CutManifest {
            cut: -3,
            positions: vec![vec![(stream, 7)], vec![]],
            left: vec![],
        };

        let tenant = Tenant::new("t").expect("a name");
        let left = vec![LeftWindow {
            cut: -4,
            tenant,
            window: 9,
        }];

        for manifest in [plain.clone(), CutManifest { left, ..plain }] {
            manifest.store(&path).expect("stored");
            assert_eq!(CutManifest::load(&path).expect("stored"), Some(manifest));
        }

        let bytes = std::fs::read(&path).expect("there");
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            let is_damage = |bytes: &[u8]| {
                matches!(
                    CutManifest::decode(&path, bytes),
                    Err(HeadError::Corrupt { .. })
                )
            };
            assert!(is_damage(&bad) && is_damage(&bytes[..at]), "byte {at}");
        }
    }
}
