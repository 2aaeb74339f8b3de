//! The parts of a checkpoint file, one after another through one buffer.
//!
//! Not through a mapping: pages of a mapped file count as memory of the process, and a start must not need much more
//! than what it builds.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Buf;

use super::codec::{self, part};
use crate::HeadError;
use crate::error::READ;

/// Reads the parts of one file.
pub(super) struct Parts<'a> {
    file: File,
    path: &'a Path,
    /// Version of the file.
    pub version: u32,
    /// Length of the file.
    pub bytes: u64,
    /// Where the next part starts.
    at: u64,
    /// Where the part behind the last one that was begun starts, if that is known.
    behind: Option<u64>,
    buffer: Vec<u8>,
}

impl<'a> Parts<'a> {
    /// Opens a checkpoint and checks that it is one.
    pub fn open(file: File, path: &'a Path) -> Result<Self, HeadError> {
        let bytes = file
            .metadata()
            .map_err(|e| HeadError::io("look at", path, e))?
            .len();
        let mut parts = Self {
            file,
            path,
            version: 0,
            bytes,
            at: 0,
            behind: None,
            buffer: Vec::new(),
        };

        parts.version = parts.read_version()?;
        Ok(parts)
    }

    /// The version that the file says it has. A later one is believed only if its checksum fits: the number alone may be a bit
    /// that the disk has turned, and then another copy is needed and not another release.
    fn read_version(&mut self) -> Result<u32, HeadError> {
        let mut start = [0; codec::START_BYTES_UNPROVEN];
        self.read_into(&mut start)?;
        let mut rest = start
            .strip_prefix(codec::MAGIC)
            .ok_or_else(|| self.bad("not a checkpoint"))?;

        let version = rest.get_u32_le();
        if (1..=codec::VERSION_UNPROVEN).contains(&version) {
            return Ok(version);
        }

        let mut crc = [0; codec::START_BYTES - codec::START_BYTES_UNPROVEN];
        self.read_into(&mut crc)?;
        if u32::from_le_bytes(crc) != crc32c::crc32c(&start) {
            return Err(self.bad("its first bytes are damaged"));
        }

        match version {
            codec::VERSION => Ok(version),
            _ => Err(HeadError::Version {
                path: self.path.to_owned(),
            }),
        }
    }

    fn bad(&self, what: impl Into<String>) -> HeadError {
        HeadError::corrupt(self.path, what)
    }

    fn read_into(&mut self, out: &mut [u8]) -> Result<(), HeadError> {
        if out.len() as u64 > self.bytes - self.at {
            return Err(self.bad("cut off"));
        }

        self.file
            .read_exact(out)
            .map_err(|e| HeadError::io(READ, self.path, e))?;
        self.at += out.len() as u64;

        Ok(())
    }

    /// The next part: where it starts, its kind and its body. Its checksum fits.
    pub fn next(&mut self) -> Result<(u64, u8, &[u8]), HeadError> {
        let at = self.at;
        self.behind = None;
        let mut head = [0; part::HEADER_BYTES];

        self.read_into(&mut head)?;
        let mut rest = &head[..];
        let kind = rest.get_u8();
        let length = rest.get_u32_le() as usize;
        let crc = rest.get_u32_le();
        if length as u64 > self.bytes - self.at {
            return Err(self.bad(format!("part at {at} is damaged")));
        }

        self.behind = Some(self.at + length as u64);
        let mut body = std::mem::take(&mut self.buffer);
        body.resize(length, 0);

        let read = self.read_into(&mut body);
        self.buffer = body;
        read?;

        if crc32c::crc32c(&self.buffer) != crc {
            return Err(self.bad(format!("part at {at} is damaged")));
        }

        Ok((at, kind, &self.buffer))
    }

    /// Goes to the part behind one that could not be read; false if nobody knows where that is.
    pub fn pass(&mut self) -> bool {
        let Some(behind) = self.behind else {
            return false;
        };
        self.at = behind;
        self.file.seek(SeekFrom::Start(behind)).is_ok()
    }
}
