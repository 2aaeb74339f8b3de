//! Small durable files.

use std::path::Path;

use trireme_base::durable;

use crate::HeadError;
use crate::checkpoint::{CHECKPOINT_FILE, DAMAGED_FILE, PREVIOUS_FILE};

/// Replaces `path` by `bytes`, durably and whole or not at all.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), HeadError> {
    durable::replace(path, bytes).map_err(|e| HeadError::io("replace", path, e))
}

/// Gives a finished file its name, durably.
pub(crate) fn publish(tmp: &Path, path: &Path) -> Result<(), HeadError> {
    std::fs::rename(tmp, path).map_err(|e| HeadError::io("rename", tmp, e))?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Gives a finished checkpoint its name, durably; the one that had it stays as the one before.
pub(crate) fn publish_checkpoint(tmp: &Path, path: &Path) -> Result<(), HeadError> {
    let previous = path.with_file_name(PREVIOUS_FILE);
    let link = previous.with_extension("link");

    // Left by a crash.
    let _ = std::fs::remove_file(&link);

    match std::fs::hard_link(path, &link) {
        Ok(()) => {
            std::fs::rename(&link, &previous).map_err(|e| HeadError::io("rename", &link, e))?;
            // Two names of one file: the rename does nothing then.
            let _ = std::fs::remove_file(&link);
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(HeadError::io("link", path, error)),
    }

    publish(tmp, path)
}

/// The checkpoint before the newest takes its place; the newest, which cannot be read, is kept under another name.
pub(crate) fn put_back(dir: &Path) -> Result<(), HeadError> {
    let newest = dir.join(CHECKPOINT_FILE);
    if newest.exists() {
        let aside = dir.join(DAMAGED_FILE);
        std::fs::rename(&newest, &aside).map_err(|e| HeadError::io("rename", &newest, e))?;
    }
    publish(&dir.join(PREVIOUS_FILE), &newest)
}

/// Makes the names of a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), HeadError> {
    durable::sync_dir(dir).map_err(|e| HeadError::io("sync", dir, e))
}

/// Makes a directory, and its name and that of its parent durable.
pub(crate) fn make_dir(dir: &Path) -> Result<(), HeadError> {
    if dir.is_dir() {
        return Ok(());
    }

    std::fs::create_dir_all(dir).map_err(|e| HeadError::io("create", dir, e))?;
    for above in dir
        .ancestors()
        .skip(1)
        .take(2)
        .filter(|above| above.is_dir())
    {
        sync_dir(above)?;
    }

    Ok(())
}
