//! Reading the files of a block on disk again, to find bytes that have changed since they were written.
//!
//! Reads of an open block show what memory has, not what the disk has. Here the pages of a file are dropped from memory
//! before and after, where the system does that: the disk is asked, and what queries use is not pushed out.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};
use sha2::{Digest, Sha256};
use ulid::Ulid;

use crate::error::at;
use crate::name::is_named_by;
use crate::{
    Block, BlockError, BlockMeta, CHUNKS_DIR, INDEX_FILE, META_FILE, Tombstones, hex, segment_name,
};

/// Bytes of one step.
const PIECE_BYTES: usize = 1 << 20;

/// A block directory that is being read again, a piece at a time, so that the caller sets the pace.
///
/// Of a block of ours the digest and the name are held against the bytes of chunk files and index; meta and tombstones
/// have checksums in themselves, and at the end the block must open. A block of another program has no digest: all of
/// its checksums are looked at, in one step.
pub struct Reread {
    dir: PathBuf,
    meta: BlockMeta,
    /// Files that follow.
    files: VecDeque<PathBuf>,
    open: Option<(PathBuf, File)>,
    digest: Sha256,
    buffer: Vec<u8>,
}

impl Reread {
    /// Begins with meta and tombstones. The block must be the one named `ulid`, whatever its directory is called.
    ///
    /// Errors for which [`BlockError::is_damage`] is true mean that the block is bad; a sector that the disk cannot
    /// read is damage, too. Others say nothing about it.
    pub fn begin(dir: &Path, ulid: Ulid) -> Result<Self, BlockError> {
        let meta = BlockMeta::read(dir)?;
        if meta.ulid != ulid {
            return Err(BlockError::corrupt(
                META_FILE,
                format!("names block {} instead of {ulid}", meta.ulid),
            ));
        }

        if !meta.crc_matches() {
            return Err(BlockError::corrupt(
                META_FILE,
                "its checksum does not fit its content",
            ));
        }

        Tombstones::read(dir)?;
        let mut files: VecDeque<PathBuf> = (0..)
            .map(|number| dir.join(CHUNKS_DIR).join(segment_name(number)))
            .take_while(|path| path.exists())
            .collect();

        files.push_back(dir.join(INDEX_FILE));
        Ok(Self {
            dir: dir.to_owned(),
            meta,
            files,
            open: None,
            digest: Sha256::new(),
            buffer: Vec::new(),
        })
    }

    /// What the block says of itself.
    pub fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    /// Reads the next piece and answers its length in bytes; `None` once everything was read and is right. Errors are
    /// those of [`Reread::begin`].
    pub fn step(&mut self) -> Result<Option<usize>, BlockError> {
        if self.meta.trireme.is_none() {
            return self.look_whole().map(|()| None);
        }
        loop {
            let Some((path, file)) = &mut self.open else {
                let Some(path) = self.files.pop_front() else {
                    return self.judge().map(|()| None);
                };
                let file = File::open(&path).map_err(at(&path))?;
                forget(&file);
                self.open = Some((path, file));
                continue;
            };

            self.buffer.resize(PIECE_BYTES, 0);
            let read = file.read(&mut self.buffer).map_err(at(path))?;
            if read > 0 {
                self.digest.update(&self.buffer[..read]);
                return Ok(Some(read));
            }

            forget(file);
            self.open = None;
        }
    }

    /// Does what was read fit digest and name, and is it a block?
    fn judge(&mut self) -> Result<(), BlockError> {
        let digest: [u8; 32] = std::mem::take(&mut self.digest).finalize().into();

        let said = self.meta.trireme.as_ref().map(|own| own.digest.as_str());
        if said != Some(&hex(&digest)) || !is_named_by(&self.meta, &digest) {
            let place = self.dir.display().to_string();
            return Err(BlockError::corrupt(
                place,
                "chunk files and index do not have the block's digest",
            ));
        }

        Block::open(&self.dir).map(drop)
    }

    fn look_whole(&self) -> Result<(), BlockError> {
        let block = Block::open(&self.dir)?;
        match block.verify().into_iter().next() {
            None => Ok(()),
            Some(fault) => Err(BlockError::corrupt(fault.place, fault.what)),
        }
    }
}

/// Drops the pages of a file from memory. It is no more than advice, so failing changes nothing.
fn forget(file: &File) {
    let _ = fadvise(file, 0, None, Advice::DontNeed);
}
