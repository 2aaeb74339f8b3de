//! Reading parts of files, wherever they are.

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;
use memmap2::Mmap;

/// A file of fixed content that can be read at any offset, from any thread.
pub trait RangeRead: Send + Sync {
    /// Length of the file.
    fn len(&self) -> u64;

    /// Exactly `len` bytes at `offset`; an `UnexpectedEof` error if the file ends before.
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes>;

    /// True if the file has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The error for reading behind the end.
pub fn past_end(offset: u64, len: usize, file_len: u64) -> io::Error {
    let text = format!("cannot read {len} bytes at {offset} of a file of {file_len}");
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}

impl RangeRead for Bytes {
    fn len(&self) -> u64 {
        Bytes::len(self) as u64
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let file_len = RangeRead::len(self);
        let end = offset.checked_add(len as u64).filter(|end| *end <= file_len);
        let end = end.ok_or_else(|| past_end(offset, len, file_len))?;
        Ok(self.slice(offset as usize..end as usize))
    }
}

/// A memory-mapped local file; what it answers shares the map, without copies.
#[derive(Clone, Debug)]
pub struct MmapFile(Bytes);

impl MmapFile {
    /// Maps a file that nobody changes any more, as those of a finished block.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Self(Bytes::new()));
        }
        // SAFETY: files of finished blocks are never written or truncated by this program, only unlinked,
        // which leaves the map valid. Another program that truncates them would end this one with SIGBUS;
        // the data directory is ours alone (it has a lock file).
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self(Bytes::from_owner(map)))
    }

    /// The whole file.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl RangeRead for MmapFile {
    fn len(&self) -> u64 {
        RangeRead::len(&self.0)
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        self.0.read_at(offset, len)
    }
}
