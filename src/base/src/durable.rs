//! Small files that a power cut leaves whole: as they were, or as they are to be.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Replaces `path` by `bytes`, by way of `path` with the extension `tmp`. When this returns, the new content survives a
/// power cut.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let tmp = path.with_extension("tmp");
    let mut file = File::create(&tmp)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&tmp, path)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Removes a file that need not be there. Its name is gone for good after [`sync_dir`].
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the names in a directory durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_removed_once() {
        let dir = tempfile::tempdir().expect("a directory");

        let path = dir.path().join("note");
        for text in ["a longer text", "short"] {
            replace(&path, text.as_bytes()).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("readable"), text);
        }

        assert_eq!(
            fs::read_dir(dir.path()).expect("readable").count(),
            1,
            "nothing else is left"
        );

        remove_if_there(&path).expect("removed");
        remove_if_there(&path).expect("gone already");
        assert!(!path.exists() && remove_if_there(dir.path()).is_err());
    }
}
