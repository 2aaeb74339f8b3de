//! Copies of index headers on the local disk.
//!
//! ```text
//! "TRIHDR01" | index length u64 | length of the first part u64 | begin of the second part u64 | crc32c u32
//!            | first part: index header and symbols, or all of a small index | second part: postings table and TOC
//! ```
//!
//! Integers are big endian; the checksum is over everything else. The file is a cache: a bad one is made again.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use trireme_block::{BlockError, LocalFile, RangeRead, header_ranges, past_end};
use ulid::Ulid;

use crate::BucketError;
use crate::remote::{Object, Remote};

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
        let Parts {
            file,
            first_len,
            second_at,
        } = &self.parts;

        let front = FRONT_BYTES as u64;
        if end <= *first_len {
            return file.read_at(front + offset, len);
        }
        if offset >= *second_at && end <= self.rest.len() {
            return file.read_at(front + first_len + (offset - second_at), len);
        }

        self.rest.read_at(offset, len)
    }

    fn is_far(&self) -> bool {
        self.parts.first_len < self.rest.len() && self.rest.is_far()
    }

    fn want(&self, range: Range<u64>) {
        let is_here = range.end <= self.parts.first_len || range.start >= self.parts.second_at;
        if !is_here {
            self.rest.want(range);
        }
    }
}

/// Indexes up to this length are copied whole: one request then saves all later ones but those for samples.
const WHOLE_BYTES_MAX: u64 = 1 << 20;
/// What is fetched first of the begin and the end of longer ones; mostly that is all of both parts.
const FRONT_READ_BYTES: u64 = 128 << 10;
const TAIL_READ_BYTES: u64 = 512 << 10;
/// Requests after which an index is given up whose parts are never complete.
const ATTEMPTS_MAX: usize = 8;

/// Puts the copy in `dir` before an index, if it is there and good.
pub(crate) fn over(
    dir: &Path,
    ulid: Ulid,
    index: &Arc<dyn RangeRead>,
) -> Option<Arc<dyn RangeRead>> {
    let parts = load(&dir.join(ulid.to_string()), index.len())?;
    Some(Arc::new(WithHeader {
        rest: Arc::clone(index),
        parts,
    }))
}

/// Why there is no copy.
pub(crate) enum CopyError {
    /// The index cannot be read, or is none.
    Index(BucketError),
    /// The local disk does not take it.
    Disk(io::Error),
}

impl From<BucketError> for CopyError {
    fn from(error: BucketError) -> Self {
        Self::Index(error)
    }
}

impl From<BlockError> for CopyError {
    fn from(error: BlockError) -> Self {
        Self::Index(error.into())
    }
}

/// Makes the copy of an index in `dir`, and gives its length.
pub(crate) async fn fetch(remote: &Remote, index: &Object, dir: &Path) -> Result<u64, CopyError> {
    if index.len == 0 {
        return Err(BlockError::Corrupt {
            place: index.path.to_string(),
            what: "is empty".into(),
        }
        .into());
    }

    let mut known = fetch_ends(remote, index).await?;
    let content = complete(remote, index, &mut known).await?;
    let dir = dir.to_owned();
    let name = index.id.ulid.to_string();
    let len = content.len() as u64;
    let saved = tokio::task::spawn_blocking(move || save(&dir, &dir.join(name), &content));

    saved
        .await
        .unwrap_or_else(|e| Err(io::Error::other(e)))
        .map_err(CopyError::Disk)?;

    Ok(len)
}

/// The front and the end of an index, or all of a short one.
async fn fetch_ends(remote: &Remote, index: &Object) -> Result<Pieces, CopyError> {
    let mut known = Pieces {
        len: index.len,
        pieces: Vec::new(),
        lacking: Mutex::new(None),
    };

    if index.len <= WHOLE_BYTES_MAX {
        known.add(0, get(remote, index, 0..index.len).await?);
    } else {
        let front = 0..FRONT_READ_BYTES;
        let tail = index.len - TAIL_READ_BYTES..index.len;
        let both =
            futures::future::join(get(remote, index, front), get(remote, index, tail.clone()))
                .await;
        known.add(0, both.0?);
        known.add(tail.start, both.1?);
    }

    Ok(known)
}

/// Fetches what is lacking until the copy can be built.
async fn complete(
    remote: &Remote,
    index: &Object,
    known: &mut Pieces,
) -> Result<Vec<u8>, CopyError> {
    for _ in 0..ATTEMPTS_MAX {
        let built = known.build();
        let Some(lacking) = known.lacking.lock().take() else {
            return Ok(built?);
        };
        let bytes = get(remote, index, lacking.clone()).await?;
        known.add(lacking.start, bytes);
    }

    Err(BlockError::Corrupt {
        place: index.path.to_string(),
        what: "has no end".into(),
    }
    .into())
}

/// Bytes of all copies, after those were removed that were made longest ago where all are longer than `bytes_max`.
pub(crate) fn keep_within(dir: &Path, bytes_max: u64) -> io::Result<u64> {
    let mut copies = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };

    for entry in entries {
        let entry = entry?;
        let meta = entry.metadata()?;
        copies.push((meta.modified()?, meta.len(), entry.path()));
    }

    let mut bytes: u64 = copies.iter().map(|(_, len, _)| len).sum();
    copies.sort_unstable();

    for (_, len, path) in copies {
        if bytes <= bytes_max {
            break;
        }
        std::fs::remove_file(path)?;
        bytes -= len;
    }

    Ok(bytes)
}

async fn get(remote: &Remote, index: &Object, range: Range<u64>) -> Result<Bytes, BucketError> {
    let bytes = remote
        .range(&index.path, range.start, range.end, None)
        .await;
    bytes.map_err(|e| {
        BlockError::Io {
            place: index.path.to_string(),
            source: e.into(),
        }
        .into()
    })
}

/// Parts of an index that came so far.
struct Pieces {
    len: u64,
    /// By offset; they do not overlap.
    pieces: Vec<(u64, Bytes)>,
    /// What a read did not find.
    lacking: Mutex<Option<Range<u64>>>,
}

impl Pieces {
    fn add(&mut self, offset: u64, bytes: Bytes) {
        let at = self.pieces.partition_point(|(known, _)| *known < offset);
        self.pieces.insert(at, (offset, bytes));
    }

    /// The bytes of the copy.
    fn build(&self) -> Result<Vec<u8>, BucketError> {
        if self.len <= WHOLE_BYTES_MAX {
            // Only an index that can be opened is worth it.
            header_ranges(self)?;
            return build(self, &[0..self.len, self.len..self.len]).map_err(|e| self.io(e));
        }
        let ranges = header_ranges(self)?;
        build(self, &ranges).map_err(|e| self.io(e))
    }

    fn io(&self, source: io::Error) -> BucketError {
        BlockError::Io {
            place: "index".into(),
            source,
        }
        .into()
    }

    /// Notes what is not here yet: up to the next piece that is.
    fn lack(&self, at: u64, end: u64) -> io::Error {
        let next = self
            .pieces
            .iter()
            .map(|(start, _)| *start)
            .find(|start| *start > at);
        *self.lacking.lock() = Some(at..next.unwrap_or(end).min(end));
        io::Error::new(io::ErrorKind::WouldBlock, "is not here yet")
    }
}

impl RangeRead for Pieces {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let end = offset
            .checked_add(len as u64)
            .filter(|end| *end <= self.len);
        let end = end.ok_or_else(|| past_end(offset, len, self.len))?;
        let mut at = offset;

        let mut out = Vec::new();
        for (start, bytes) in &self.pieces {
            let known = *start..*start + bytes.len() as u64;
            if !known.contains(&at) || at >= end {
                continue;
            }
            let upto = known.end.min(end);
            let part = (at - start) as usize..(upto - start) as usize;
            if at == offset && upto == end {
                return Ok(bytes.slice(part));
            }
            out.extend_from_slice(&bytes[part]);
            at = upto;
        }

        if at < end {
            return Err(self.lack(at, end));
        }

        Ok(out.into())
    }
}

/// Removes a copy, if there is one.
pub(crate) fn remove(dir: &Path, ulid: Ulid) {
    // What cannot be removed is not used either: its checksum was good, but its content was not.
    let _ = std::fs::remove_file(dir.join(ulid.to_string()));
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
        let ulid = entry
            .file_name()
            .to_str()
            .and_then(|n| Ulid::from_string(n).ok());
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

/// A copy that is whole and of an index of this length.
fn load(path: &Path, index_len: u64) -> Option<Parts> {
    let file = LocalFile::open(path).ok()?;
    let front = file.read_at(0, FRONT_BYTES).ok()?;
    let first_len = number(&front, 16)?;
    let second_at = number(&front, 24)?;
    let second_len = index_len.checked_sub(second_at)?;
    let parts_len = file.len() - FRONT_BYTES as u64;
    let fits = front[..8] == *MAGIC && number(&front, 8)? == index_len;
    if !fits || first_len.checked_add(second_len)? != parts_len {
        return None;
    }

    let crc = checksum(&file, &front)?;

    (front[32..] == crc.to_be_bytes()).then_some(Parts {
        file,
        first_len,
        second_at,
    })
}

fn number(front: &[u8], at: usize) -> Option<u64> {
    front[at..at + 8].try_into().map(u64::from_be_bytes).ok()
}

/// Over the numbers of the front and all that stands behind it.
fn checksum(file: &LocalFile, front: &[u8]) -> Option<u32> {
    let mut crc = crc32c::crc32c(&front[..32]);

    let mut at = FRONT_BYTES as u64;
    while at < file.len() {
        let bytes = (file.len() - at).min(PIECE_BYTES);
        crc = crc32c::crc32c_append(crc, &file.read_at(at, bytes as usize).ok()?);
        at += bytes;
    }
    Some(crc)
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
    BlockError::Io {
        place: path.display().to_string(),
        source,
    }
    .into()
}
