//! Copies of index headers on the local disk.
//!
//! ```text
//! "TRIHDR01" | index length u64 | length of the first part u64 | begin of the second part u64 | crc32c u32
//!            | first part: index header and symbols | second part: postings table and TOC
//! ```
//!
//! Integers are big endian; the checksum is over everything else. The file is a cache: a bad one is made again.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use trireme_block::{BlockError, LocalFile, RangeRead, header_ranges};
use ulid::Ulid;

use crate::BucketError;

const MAGIC: &[u8; 8] = b"TRIHDR01";
/// Magic, three lengths and the checksum.
const FRONT_BYTES: usize = 36;
/// Bytes checked at once.
const PIECE_BYTES: u64 = 1 << 20;

/// An index of which two parts are on the local disk.
struct WithHeader {
    rest: Arc<dyn RangeRead>,
    parts: Parts,
}

impl RangeRead for WithHeader {
    fn len(&self) -> u64 {
        self.rest.len()
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let end = offset.saturating_add(len as u64);
        let Parts { file, first_len, second_at } = &self.parts;
        let front = FRONT_BYTES as u64;
        if end <= *first_len {
            return file.read_at(front + offset, len);
        }
        if offset >= *second_at && end <= self.rest.len() {
            return file.read_at(front + first_len + (offset - second_at), len);
        }
        self.rest.read_at(offset, len)
    }
}

/// Puts the copy in `dir` before an index; makes it if it is missing or bad.
pub(crate) fn with_header(
    dir: &Path,
    ulid: Ulid,
    index: Arc<dyn RangeRead>,
) -> Result<Arc<dyn RangeRead>, BucketError> {
    let path = dir.join(ulid.to_string());
    if let Some(parts) = load(&path, index.len()) {
        return Ok(overlay(parts, index));
    }
    let ranges = header_ranges(&*index)?;
    let content = build(&*index, &ranges).map_err(|source| io_at(&path, source))?;
    save(dir, &path, &content).map_err(|source| io_at(&path, source))?;
    // Read from the disk rather than kept in memory.
    match load(&path, index.len()) {
        Some(parts) => Ok(overlay(parts, index)),
        None => Ok(index),
    }
}

/// Removes the copies of blocks for which `keep` is false.
pub(crate) fn retain(dir: &Path, keep: &dyn Fn(Ulid) -> bool) -> Result<(), BucketError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(io_at(dir, e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| io_at(dir, e))?;
        let ulid = entry.file_name().to_str().and_then(|n| Ulid::from_string(n).ok());
        if ulid.is_some_and(|ulid| !keep(ulid)) {
            std::fs::remove_file(entry.path()).map_err(|e| io_at(&entry.path(), e))?;
        }
    }
    Ok(())
}

/// A copy: the first part, and behind it the second.
struct Parts {
    file: LocalFile,
    first_len: u64,
    /// Where in the index the second part begins.
    second_at: u64,
}

fn overlay(parts: Parts, rest: Arc<dyn RangeRead>) -> Arc<dyn RangeRead> {
    Arc::new(WithHeader { rest, parts })
}

/// A copy that is whole and of an index of this length.
fn load(path: &Path, index_len: u64) -> Option<Parts> {
    let file = LocalFile::open(path).ok()?;
    let front = file.read_at(0, FRONT_BYTES).ok()?;
    let number = |at: usize| front[at..at + 8].try_into().map(u64::from_be_bytes).ok();
    let (first_len, second_at) = (number(16)?, number(24)?);
    let second_len = index_len.checked_sub(second_at)?;
    let parts_len = file.len() - FRONT_BYTES as u64;
    let fits = front[..8] == *MAGIC && number(8)? == index_len;
    if !fits || first_len.checked_add(second_len)? != parts_len {
        return None;
    }

    let mut crc = crc32c::crc32c(&front[..32]);
    let mut at = FRONT_BYTES as u64;
    while at < file.len() {
        let bytes = (file.len() - at).min(PIECE_BYTES);
        crc = crc32c::crc32c_append(crc, &file.read_at(at, bytes as usize).ok()?);
        at += bytes;
    }
    (front[32..] == crc.to_be_bytes()).then_some(Parts { file, first_len, second_at })
}

fn build(index: &dyn RangeRead, ranges: &[Range<u64>; 2]) -> io::Result<Vec<u8>> {
    let [first, second] = ranges;
    let mut out = MAGIC.to_vec();
    for number in [index.len(), first.end, second.start] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&[0; 4]);
    for range in ranges {
        out.extend_from_slice(&index.read_at(range.start, (range.end - range.start) as usize)?);
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out[..32]), &out[FRONT_BYTES..]);
    out[32..FRONT_BYTES].copy_from_slice(&crc.to_be_bytes());
    Ok(out)
}

/// Writes the copy under another name first: a reader may have the old one open.
fn save(dir: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, content)?;
    std::fs::rename(&temporary, path)
}

fn io_at(path: &Path, source: io::Error) -> BucketError {
    BlockError::Io { place: path.display().to_string(), source }.into()
}
