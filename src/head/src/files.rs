//! Small durable files.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::HeadError;

/// Replaces `path` by `bytes`, durably and whole or not at all.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), HeadError> {
    let tmp = path.with_extension("tmp");
    let mut file = File::create(&tmp).map_err(|e| HeadError::io("create", &tmp, e))?;
    file.write_all(bytes).map_err(|e| HeadError::io("write", &tmp, e))?;
    file.sync_all().map_err(|e| HeadError::io("sync", &tmp, e))?;
    drop(file);
    publish(&tmp, path)
}

/// Gives a finished file its name, durably.
pub(crate) fn publish(tmp: &Path, path: &Path) -> Result<(), HeadError> {
    std::fs::rename(tmp, path).map_err(|e| HeadError::io("rename", tmp, e))?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Makes the names of a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), HeadError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| HeadError::io("sync", dir, e))
}
