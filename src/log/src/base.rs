//! What the log need not have, and what it must have.
//!
//! Positions below which it need not hold anything (what was trimmed, or came with a snapshot), the numbers of the
//! oldest and the newest segment, so that a file that somebody deletes is missed, and the streams that have ended.
//!
//! ```text
//! "TRIRMBAS", version u32, first segment u64, newest segment u64, count u32,
//! per stream: incarnation u64, boot u32, seq u64
//! version 3: count u32, per incarnation: incarnation u64, boot u32, digest u64
//! CRC32C of all before
//! ```
//!
//! As long as no stream has ended, version 2 is written, which the release before reads.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::{Buf, BufMut};
use trireme_base::{Boot, End, Ended, Incarnation, StreamId, durable, is_unreadable};

use crate::LogError;

const MAGIC: &[u8; 8] = b"TRIRMBAS";
const VERSION: u32 = 3;
/// Version without streams that have ended.
const VERSION_NO_ENDED: u32 = 2;
/// Version without numbers of segments.
const VERSION_PLAIN: u32 = 1;
const ENTRY_BYTES: usize = 20;
const ENDED_BYTES: usize = 20;
pub(crate) const FILE: &str = "base";

pub(crate) type Positions = BTreeMap<StreamId, u64>;

/// Content of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Base {
    /// Below this nothing need be here.
    pub positions: Positions,
    /// Number of the oldest segment that is needed; 0 if none was trimmed, or if that is not known.
    pub first: u64,
    /// Number of the newest segment that was made; 0 if that is not known.
    pub newest: u64,
    /// Nobody will ask for anything of these.
    pub ended: Ended,
}

impl Base {
    /// Per stream where the checkpoints stand, or what the log need not have, whichever is further. `covered` is what the
    /// checkpoints have; streams that have ended do not count.
    pub fn raised_by(&self, covered: &[(StreamId, u64)]) -> Positions {
        let mut positions = self.positions.clone();
        for (stream, seq) in covered {
            if !self.ended.has(*stream) {
                let have = positions.entry(*stream).or_default();
                *have = (*have).max(*seq);
            }
        }
        positions
    }
}

/// Why a file cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unusable {
    Damaged(&'static str),
    Newer(u32),
}

/// Writes which streams have ended into a file of its own, durably, for a snapshot.
pub(crate) fn store_ended(path: &Path, ended: &Ended) -> Result<(), LogError> {
    replace(
        path,
        &Base {
            ended: ended.clone(),
            ..Base::default()
        },
    )
}

/// Reads what [`store_ended`] wrote; no file means that none has ended.
pub(crate) fn load_ended(path: &Path) -> Result<Result<Ended, String>, LogError> {
    Ok(read(path)?.map(|base| base.ended))
}

/// Reads the file; no file means nothing was trimmed yet. A damaged one is answered with what is wrong: everything in it
/// follows from the checkpoints and the segments.
pub(crate) fn load(dir: &Path) -> Result<Result<Base, String>, LogError> {
    read(&dir.join(FILE))
}

fn read(path: &Path) -> Result<Result<Base, String>, LogError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Ok(Base::default()));
        }
        Err(error) if is_unreadable(&error) => return Ok(Err(error.to_string())),
        Err(error) => return Err(LogError::io("read", path, error)),
    };
    match decode(&bytes) {
        Ok(base) => Ok(Ok(base)),
        Err(Unusable::Damaged(what)) => Ok(Err(what.to_owned())),
        Err(Unusable::Newer(version)) => Err(LogError::Newer {
            path: path.to_owned(),
            version,
            known: VERSION,
        }),
    }
}

/// Replaces the file durably.
pub(crate) fn store(dir: &Path, base: &Base) -> Result<(), LogError> {
    replace(&dir.join(FILE), base)
}

fn replace(path: &Path, base: &Base) -> Result<(), LogError> {
    let bytes = base.positions.len() * ENTRY_BYTES + base.ended.len() * ENDED_BYTES;
    let mut out = Vec::with_capacity(44 + bytes);
    out.put_slice(MAGIC);
    out.put_u32_le(if base.ended.is_empty() {
        VERSION_NO_ENDED
    } else {
        VERSION
    });

    out.put_u64_le(base.first);
    out.put_u64_le(base.newest);
    out.put_u32_le(base.positions.len() as u32);

    for (stream, seq) in &base.positions {
        out.put_u64_le(stream.incarnation.0);
        out.put_u32_le(stream.boot.0);
        out.put_u64_le(*seq);
    }

    if !base.ended.is_empty() {
        put_ended(&mut out, &base.ended);
    }

    let crc = crc32c::crc32c(&out);
    out.put_u32_le(crc);
    durable::replace(path, &out).map_err(|e| LogError::io("replace", path, e))
}

fn put_ended(out: &mut Vec<u8>, ended: &Ended) {
    out.put_u32_le(ended.len() as u32);
    for (incarnation, end) in ended.iter() {
        out.put_u64_le(incarnation.0);
        out.put_u32_le(end.before.0);
        out.put_u64_le(end.digest);
    }
}

fn decode(bytes: &[u8]) -> Result<Base, Unusable> {
    let damaged = Unusable::Damaged;
    let mut rest = body_of(bytes)?;
    let too_short = damaged("base file is cut off");
    let mut base = Base::default();

    let version = rest.try_get_u32_le();
    match version {
        Ok(VERSION_PLAIN) => {}
        Ok(VERSION_NO_ENDED | VERSION) if rest.len() >= 16 => {
            base.first = rest.get_u64_le();
            base.newest = rest.get_u64_le();
        }
        Ok(VERSION_NO_ENDED | VERSION) | Err(_) => return Err(too_short),
        Ok(later) => return Err(Unusable::Newer(later)),
    }

    let count = rest.try_get_u32_le().map_err(|_| too_short)? as usize;
    let misfit = damaged("length of the base file does not fit");
    base.positions = read_positions(&mut rest, count).ok_or(misfit)?;

    let count = if version == Ok(VERSION) {
        rest.try_get_u32_le().map_err(|_| too_short)?
    } else {
        0
    };

    if rest.len() != count as usize * ENDED_BYTES {
        return Err(misfit);
    }

    base.ended = read_ended(rest, count);
    Ok(base)
}

/// What stands between the magic number and the checksum, which must fit.
fn body_of(bytes: &[u8]) -> Result<&[u8], Unusable> {
    let parts = bytes.split_at_checked(bytes.len().wrapping_sub(4));
    let (body, mut crc) = parts.ok_or(Unusable::Damaged("base file is cut off"))?;
    if crc.get_u32_le() != crc32c::crc32c(body) {
        return Err(Unusable::Damaged("base file checksum does not fit"));
    }

    body.strip_prefix(MAGIC.as_slice())
        .ok_or(Unusable::Damaged("not a base file"))
}

fn read_positions(rest: &mut &[u8], count: usize) -> Option<Positions> {
    if rest.len() < count * ENTRY_BYTES {
        return None;
    }

    let mut positions = Positions::new();
    for _ in 0..count {
        let incarnation = Incarnation(rest.get_u64_le());
        let boot = Boot(rest.get_u32_le());
        positions.insert(StreamId { incarnation, boot }, rest.get_u64_le());
    }
    Some(positions)
}

/// Reads entries, which are there.
fn read_ended(mut rest: &[u8], count: u32) -> Ended {
    let mut ended = Ended::default();
    for _ in 0..count {
        let incarnation = Incarnation(rest.get_u64_le());
        let end = End {
            before: Boot(rest.get_u32_le()),
            digest: rest.get_u64_le(),
        };
        ended.raise(incarnation, end);
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_any_flipped_byte() {
        let dir = tempfile::tempdir().expect("temp dir");
        let stream = StreamId {
            incarnation: Incarnation(5),
            boot: Boot(6),
        };
        let base = Base {
            positions: Positions::from([(stream, 7)]),
            first: 3,
            newest: 9,
            ..Base::default()
        };

        let end = |boot, digest| End {
            before: Boot(boot),
            digest,
        };
        let ended = [(Incarnation(5), end(6, 7)), (Incarnation(1), end(2, 8))]
            .into_iter()
            .collect();

        assert_eq!(load(dir.path()).expect("no file"), Ok(Base::default()));
        for (base, version) in [(base.clone(), 2), (Base { ended, ..base }, 3)] {
            store(dir.path(), &base).expect("stored");
            assert_eq!(load(dir.path()).expect("just stored"), Ok(base));
            let bytes = std::fs::read(dir.path().join(FILE)).expect("there");
            assert_eq!(bytes[8], version);
            for at in 0..bytes.len() {
                let mut bad = bytes.clone();
                bad[at] ^= 1;
                assert!(decode(&bad).is_err(), "byte {at}");
                assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
            }
        }
    }

    #[test]
    fn reads_version_1_and_refuses_a_later_one() {
        let file = |version: u32| {
            let mut out = MAGIC.to_vec();
            out.put_u32_le(version);
            out.put_u32_le(1);
            out.put_u64_le(5);
            out.put_u32_le(6);
            out.put_u64_le(7);
            let crc = crc32c::crc32c(&out);
            out.put_u32_le(crc);
            out
        };

        let stream = StreamId {
            incarnation: Incarnation(5),
            boot: Boot(6),
        };
        let positions = Positions::from([(stream, 7)]);

        assert_eq!(
            decode(&file(1)),
            Ok(Base {
                positions,
                ..Base::default()
            })
        );

        assert_eq!(decode(&file(4)), Err(Unusable::Newer(4)));
    }
}
