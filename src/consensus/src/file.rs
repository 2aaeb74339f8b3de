//! A small file that is either the old or the new version, whole.
//!
//! ```text
//! trireme-ring 2 crc32c=1a2b3c4d bytes=1234\n
//! {"epoch":7,...}
//! ```
//!
//! The checksum is that of magic and version, `trireme-ring 2`, and the body behind them, so that a turned bit in the version is
//! damage and not another release. Version 1, whose checksum is the body's alone, is still read.
//!
//! The ring and the log of its changes are a few kilobytes, so every change writes the file anew: to a second file, fsync,
//! rename, fsync of the directory. A crash in between leaves the old version; a damaged file shows by its checksum.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use trireme_base::durable;

const MAGIC: &str = "trireme-ring";
const VERSION: u32 = 2;
/// The checksum leaves the version out.
const VERSION_UNPROVEN: u32 = 1;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file system.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not what was written.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// How that shows.
        reason: String,
    },
    /// Written by a later release.
    #[error(
        "{path} has version {version}, this release knows {VERSION}: run the release that wrote it, or a later one"
    )]
    Version {
        /// Which file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

/// Reads a file; `None` if there is none.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(FileError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    parse(path, &bytes).map(Some)
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, FileError> {
    let (version, body) = checked(bytes).map_err(|reason| damaged(path, reason))?;
    if !(VERSION_UNPROVEN..=VERSION).contains(&version) {
        return Err(FileError::Version {
            path: path.to_owned(),
            version,
        });
    }

    serde_json::from_slice(body).map_err(|e| damaged(path, &e.to_string()))
}

fn damaged(path: &Path, reason: &str) -> FileError {
    FileError::Damaged {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

/// Version and body of a file whose header fits it; or what is wrong.
fn checked(bytes: &[u8]) -> Result<(u32, &[u8]), &'static str> {
    let end = bytes.iter().position(|b| *b == b'\n').ok_or("no header")?;
    let header = std::str::from_utf8(&bytes[..end]).map_err(|_| "header is no text")?;
    let body = &bytes[end + 1..];
    let mut words = header.split(' ');
    if words.next() != Some(MAGIC) {
        return Err("not a ring file");
    }

    let version: u32 = words
        .next()
        .and_then(|w| w.parse().ok())
        .ok_or("no version")?;

    let crc = field(words.next(), "crc32c=").ok_or("no checksum")?;
    let length = field(words.next(), "bytes=").ok_or("no length")?;
    if length != body.len().to_string() {
        return Err("its length is not what its header says");
    }

    if crc != format!("{:08x}", checksum(version, body)) {
        return Err("its checksum does not match");
    }

    Ok((version, body))
}

fn field<'a>(word: Option<&'a str>, key: &str) -> Option<&'a str> {
    word.and_then(|word| word.strip_prefix(key))
}

fn checksum(version: u32, body: &[u8]) -> u32 {
    if version == VERSION_UNPROVEN {
        return crc32c::crc32c(body);
    }
    let start = crc32c::crc32c(format!("{MAGIC} {version}").as_bytes());
    crc32c::crc32c_append(start, body)
}

/// Replaces a file; when this returns, the new version survives a power cut.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let body = serde_json::to_vec(value)?;
    let header = format!(
        "{MAGIC} {VERSION} crc32c={:08x} bytes={}\n",
        checksum(VERSION, &body),
        body.len()
    );
    durable::replace(path, &[header.as_bytes(), &body].concat())
}

/// Keeps a copy of a damaged file, for whoever wants to look at it.
pub(crate) fn keep_copy(path: &Path) -> io::Result<()> {
    fs::copy(path, path.with_extension("damaged")).map(drop)
}

/// Puts a damaged file aside, for whoever wants to look at it.
pub(crate) fn set_aside(path: &Path) -> io::Result<()> {
    fs::rename(path, path.with_extension("damaged"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_back_or_known_to_be_damaged_whatever_byte_changes() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("ring");
        assert!(read::<Vec<u64>>(&path).expect("readable").is_none());

        let value = vec![7_u64; 20];
        write(&path, &value).expect("writable");
        assert_eq!(
            read::<Vec<u64>>(&path).expect("readable"),
            Some(value.clone())
        );

        let bytes = fs::read(&path).expect("readable");
        for i in 0..bytes.len() {
            let mut torn = bytes.clone();
            for bit in 0..8 {
                torn[i] = bytes[i] ^ (1 << bit);
                let read = parse::<Vec<u64>>(&path, &torn);
                assert!(
                    matches!(read, Err(FileError::Damaged { .. })),
                    "byte {i} changed: {read:?}"
                );
            }
            assert!(
                parse::<Vec<u64>>(&path, &bytes[..i]).is_err(),
                "cut off at {i}"
            );
        }
    }

    #[test]
    fn an_earlier_version_is_read_and_a_later_one_is_named() {
        let path = Path::new("ring");
        let file = |version: u32| {
            let crc = checksum(version, b"7");
            format!("{MAGIC} {version} crc32c={crc:08x} bytes=1\n7").into_bytes()
        };

        for version in [1, 2] {
            assert_eq!(parse::<u64>(path, &file(version)).expect("readable"), 7);
        }

        assert!(matches!(
            parse::<u64>(path, &file(3)),
            Err(FileError::Version { version: 3, .. })
        ));
    }

    #[test]
    fn a_crash_before_the_rename_leaves_the_old_version() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("ring");
        write(&path, &1_u64).expect("writable");

        // What a crash leaves behind: a half-written second file.
        fs::write(path.with_extension("tmp"), "trireme-ring 1 crc").expect("writable");
        assert_eq!(read::<u64>(&path).expect("readable"), Some(1));
        write(&path, &2_u64).expect("writable");
        assert_eq!(read::<u64>(&path).expect("readable"), Some(2));
    }
}
