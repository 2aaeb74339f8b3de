//! Proving that a start can read a checkpoint.

use std::fs::File;
use std::path::Path;

use super::CHECKPOINT_FILE;
use super::load::{Into, Loader};
use super::parts::Parts;
use crate::chunkfile::{CHUNKS_DIR, ChunkFiles, FileLengths};
use crate::{HeadError, ShardOptions};

/// Reads a checkpoint as a start would, without building anything from it: every part, every reference, every chunk that
/// it names lies within its file.
pub(super) fn verify(
    path: &Path,
    options: &ShardOptions,
    files: &FileLengths,
) -> Result<(), HeadError> {
    let file = File::open(path).map_err(|e| HeadError::io("open", path, e))?;
    let parts = Parts::open(file, path)?;
    Loader::new(options, path, &parts, Into::Nothing(files)).load(parts)
}

/// Checks the files of a shard that were copied to `dir` and are not in use: that a start with these options could read
/// them. A directory without a checkpoint passes.
pub fn verify_checkpoint(dir: &Path, options: &ShardOptions) -> Result<(), HeadError> {
    let path = dir.join(CHECKPOINT_FILE);
    if !path.exists() {
        return Ok(());
    }

    verify(
        &path,
        options,
        &ChunkFiles::open(&dir.join(CHUNKS_DIR))?.lengths()?,
    )
}
