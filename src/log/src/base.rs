//! Positions below which the log need not hold anything: what was trimmed, or came with a snapshot.
//!
//! ```text
//! "TRIRMBAS", version u32, count u32, per stream: incarnation u64, boot u32, seq u64; CRC32C of all before
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use bytes::{Buf, BufMut};
use trireme_base::{Boot, Incarnation, StreamId};

use crate::{LogError, disk};

const MAGIC: &[u8; 8] = b"TRIRMBAS";
const VERSION: u32 = 1;
const ENTRY_BYTES: usize = 20;
pub(crate) const FILE: &str = "base";

pub(crate) type Positions = BTreeMap<StreamId, u64>;

/// Reads the file; no file means nothing was trimmed yet.
pub(crate) fn load(dir: &Path) -> Result<Positions, LogError> {
    let path = dir.join(FILE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Positions::new()),
        Err(error) => return Err(LogError::io("read", &path, error)),
    };
    decode(&bytes).map_err(|what| LogError::Corrupt { path, what })
}

/// Replaces the file durably.
pub(crate) fn store(dir: &Path, positions: &Positions) -> Result<(), LogError> {
    let mut out = Vec::with_capacity(20 + positions.len() * ENTRY_BYTES);
    out.put_slice(MAGIC);
    out.put_u32_le(VERSION);
    out.put_u32_le(positions.len() as u32);
    for (stream, seq) in positions {
        out.put_u64_le(stream.incarnation.0);
        out.put_u32_le(stream.boot.0);
        out.put_u64_le(*seq);
    }
    let crc = crc32c::crc32c(&out);
    out.put_u32_le(crc);
    let path = dir.join(FILE);
    disk::replace(&path, &out).map_err(|e| LogError::io("replace", &path, e))
}

fn decode(bytes: &[u8]) -> Result<Positions, &'static str> {
    let (body, mut crc) = bytes.split_at_checked(bytes.len().wrapping_sub(4)).ok_or("cut off")?;
    if crc.get_u32_le() != crc32c::crc32c(body) {
        return Err("checksum does not fit");
    }
    let mut rest = body.strip_prefix(MAGIC.as_slice()).ok_or("not a base file")?;
    if rest.len() < 8 || rest.get_u32_le() != VERSION {
        return Err("version is unknown to this version");
    }
    let count = rest.get_u32_le() as usize;
    if rest.len() != count * ENTRY_BYTES {
        return Err("length does not fit");
    }
    let mut positions = Positions::new();
    for _ in 0..count {
        let incarnation = Incarnation(rest.get_u64_le());
        let boot = Boot(rest.get_u32_le());
        positions.insert(StreamId { incarnation, boot }, rest.get_u64_le());
    }
    Ok(positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_any_flipped_byte() {
        let dir = tempfile::tempdir().expect("temp dir");
        let stream = StreamId { incarnation: Incarnation(5), boot: Boot(6) };
        let positions = Positions::from([(stream, 7)]);
        assert!(load(dir.path()).expect("no file").is_empty());
        store(dir.path(), &positions).expect("stored");
        assert_eq!(load(dir.path()).expect("just stored"), positions);
        let bytes = std::fs::read(dir.path().join(FILE)).expect("there");
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(decode(&bad).is_err(), "byte {at}");
            assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
