//! Reading parts of files, wherever they are.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::handles::Handle;

/// A file of fixed content that can be read at any offset, from any thread.
pub trait RangeRead: Send + Sync {
    /// Length of the file.
    fn len(&self) -> u64;

    /// Exactly `len` bytes at `offset`; an `UnexpectedEof` error if the file ends before.
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes>;

    /// True if bytes come from far away, in pieces that are kept: then to read more than is needed is of no use.
    fn is_far(&self) -> bool {
        false
    }

    /// Says that a range will be read soon; for files far away, which then fetch it together with others.
    fn want(&self, _range: Range<u64>) {}

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
        let end = offset
            .checked_add(len as u64)
            .filter(|end| *end <= file_len);
        let end = end.ok_or_else(|| past_end(offset, len, file_len))?;
        Ok(self.slice(offset as usize..end as usize))
    }
}

/// A local file that nobody changes any more, as those of a finished block.
///
/// It is read by calls and not through a map: a sector that the disk cannot read is an error of that read, where a map
/// would end the process with SIGBUS. How many files are open at a time is bounded for all of them together.
#[derive(Debug)]
pub struct LocalFile {
    path: PathBuf,
    len: u64,
    handle: Handle,
}

impl LocalFile {
    /// Opens a file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            len,
            handle: Handle::new(file),
        })
    }

    fn file(&self) -> io::Result<Arc<File>> {
        self.handle.get(|| File::open(&self.path))
    }
}

impl RangeRead for LocalFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        // Before anything is reserved for a length that a damaged file may have made up.
        if offset
            .checked_add(len as u64)
            .is_none_or(|end| end > self.len)
        {
            return Err(past_end(offset, len, self.len));
        }

        let mut bytes = vec![0; len];
        self.file()?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes.into())
    }
}
