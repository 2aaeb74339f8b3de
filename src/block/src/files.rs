//! Files that are written once, and directories that outlive a crash.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use trireme_base::durable;

use crate::BlockError;
use crate::error::at;

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), BlockError> {
    durable::sync_dir(dir).map_err(at(dir))
}

/// Replaces a small file, durably and whole or not at all.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), BlockError> {
    durable::replace(path, bytes).map_err(at(path))
}

/// Reads a small file whole, or refuses it for its size.
pub(crate) fn read_capped(path: &Path, bytes_max: u64) -> Result<Vec<u8>, BlockError> {
    let file = File::open(path).map_err(at(path))?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(at(path))?;

    if bytes.len() as u64 > bytes_max {
        return Err(BlockError::corrupt(
            path.display().to_string(),
            format!("over {bytes_max} bytes"),
        ));
    }

    Ok(bytes)
}

/// A file being appended to; every byte also goes into a digest that outlives the file.
pub(crate) struct HashedFile {
    path: PathBuf,
    out: BufWriter<File>,
    position: u64,
}

impl HashedFile {
    pub(crate) fn create(path: PathBuf) -> Result<Self, BlockError> {
        let file = File::create_new(&path).map_err(at(&path))?;
        Ok(Self {
            path,
            out: BufWriter::with_capacity(1 << 18, file),
            position: 0,
        })
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn write(&mut self, digest: &mut Sha256, bytes: &[u8]) -> Result<(), BlockError> {
        digest.update(bytes);
        self.position += bytes.len() as u64;
        self.out.write_all(bytes).map_err(at(&self.path))
    }

    /// Appends zeros up to a multiple of `align`.
    pub(crate) fn pad(&mut self, digest: &mut Sha256, align: u64) -> Result<(), BlockError> {
        let missing = self.position.next_multiple_of(align) - self.position;
        self.write(digest, &[0; 16][..missing as usize])
    }

    /// Makes the content durable.
    pub(crate) fn finish(mut self) -> Result<(), BlockError> {
        self.out
            .flush()
            .and_then(|()| self.out.get_ref().sync_all())
            .map_err(at(&self.path))
    }
}

/// A directory under construction; removed when dropped before it was published.
pub(crate) struct TempDir {
    path: Option<PathBuf>,
}

impl TempDir {
    /// Prefix of names that a start removes.
    pub(crate) const PREFIX: &'static str = "tmp-";

    /// Makes a new directory in `parent`.
    pub(crate) fn create(parent: &Path, name: &str) -> Result<Self, BlockError> {
        fs::create_dir_all(parent).map_err(at(parent))?;
        // Writers of one process may work on the same window (cut and late block); names only need to differ.
        for n in 0..10_000 {
            let path = parent.join(format!("{}{name}-{n}", Self::PREFIX));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path: Some(path) }),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(at(&path)(e)),
            }
        }

        Err(BlockError::Input(format!(
            "{} is full of temporary directories",
            parent.display()
        )))
    }

    pub(crate) fn path(&self) -> &Path {
        self.path.as_deref().expect("BUG: used after publishing")
    }

    /// Gives the finished directory its name; false if one of that name is there already.
    pub(crate) fn publish(&mut self, to: &Path) -> Result<bool, BlockError> {
        sync_dir(self.path())?;
        match fs::rename(self.path(), to) {
            Ok(()) => self.path = None,
            // A directory that is not empty is never replaced.
            Err(_) if to.exists() => return Ok(false),
            Err(e) => return Err(at(to)(e)),
        }

        sync_dir(to.parent().unwrap_or(Path::new(".")))?;
        Ok(true)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // A start removes what is left.
            let _ = fs::remove_dir_all(path);
        }
    }
}
