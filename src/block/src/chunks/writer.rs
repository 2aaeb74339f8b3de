//! Writing chunk files.

use std::fs;
use std::path::PathBuf;

use sha2::Sha256;

use super::{HEADER, segment_name};
use crate::BlockError;
use crate::codec::put_uvarint;
use crate::error::at;
use crate::files::{HashedFile, sync_dir};

/// Appends chunks, file after file.
pub(crate) struct ChunkWriter {
    dir: PathBuf,
    segment_bytes_max: u64,
    open: Option<HashedFile>,
    segments: usize,
    scratch: Vec<u8>,
    chunk_bytes_max: u64,
}

impl ChunkWriter {
    /// Makes the directory.
    pub(crate) fn create(dir: PathBuf, segment_bytes_max: u64) -> Result<Self, BlockError> {
        fs::create_dir(&dir).map_err(at(&dir))?;
        let segment_bytes_max = segment_bytes_max.min(u64::from(u32::MAX));
        Ok(Self {
            dir,
            segment_bytes_max,
            open: None,
            segments: 0,
            scratch: Vec::new(),
            chunk_bytes_max: 0,
        })
    }

    /// Appends a chunk, `encoding` being its byte for that, and answers its reference.
    pub(crate) fn write(
        &mut self,
        digest: &mut Sha256,
        encoding: u8,
        data: &[u8],
    ) -> Result<u64, BlockError> {
        self.frame(encoding, data);
        let len = self.scratch.len() as u64;
        let full = self.open.take_if(|file| {
            file.position() > HEADER.len() as u64 && file.position() + len > self.segment_bytes_max
        });
        if let Some(file) = full {
            file.finish()?;
        }

        let file = match &mut self.open {
            Some(file) => file,
            None => {
                let file = self.create_file(digest)?;
                self.open.insert(file)
            }
        };

        let offset = u32::try_from(file.position())
            .map_err(|_| BlockError::TooLarge("a chunk file over 4 GiB"))?;
        file.write(digest, &self.scratch)?;
        self.chunk_bytes_max = self.chunk_bytes_max.max(len);

        Ok((self.segments as u64 - 1) << 32 | u64::from(offset))
    }

    /// Puts a chunk with length and checksum into the scratch.
    fn frame(&mut self, encoding: u8, data: &[u8]) {
        self.scratch.clear();
        put_uvarint(&mut self.scratch, data.len() as u64);
        let start = self.scratch.len();

        self.scratch.push(encoding);
        self.scratch.extend_from_slice(data);
        let crc = crc32c::crc32c(&self.scratch[start..]);

        self.scratch.extend_from_slice(&crc.to_be_bytes());
    }

    /// Begins the next file.
    fn create_file(&mut self, digest: &mut Sha256) -> Result<HashedFile, BlockError> {
        let mut file = HashedFile::create(self.dir.join(segment_name(self.segments)))?;
        file.write(digest, &HEADER)?;
        self.segments += 1;
        Ok(file)
    }

    /// Makes everything durable; answers the length of the longest chunk.
    pub(crate) fn finish(mut self) -> Result<u64, BlockError> {
        if let Some(file) = self.open.take() {
            file.finish()?;
        }
        sync_dir(&self.dir)?;
        Ok(self.chunk_bytes_max)
    }
}
