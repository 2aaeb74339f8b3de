//! What a copy of a peer's snapshot keeps on the disk of a machine, and how it is installed: as `trireme-node` does it.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use trireme_base::NodeName;
use trireme_replication::{Have, RebuildReason};
use trireme_storage::ENDED;
use trireme_wire::rebuild::Manifest;

use crate::mutation::Mutation;

/// A rebuild of one machine, over restarts of its process.
#[derive(Debug, Default)]
pub struct Staging {
    /// The directory is new, and whether there is anything to copy is not known yet.
    pub is_undecided: bool,
    /// Why one is needed, while one is.
    pub reason: Option<RebuildReason>,
    /// Whose snapshot is being copied.
    pub copy: Option<(NodeName, Manifest)>,
    /// Everything is there: the next start installs it.
    pub is_ready: bool,
}

/// A copied file, or the place of a part of it.
fn place(dir: &Path, path: &str, is_whole: bool) -> PathBuf {
    let file = dir.join("rebuild").join(path);
    if is_whole {
        file
    } else {
        file.with_extension("part")
    }
}

/// Where the copied head of a shard is.
pub fn head_of(dir: &Path, shard: u16) -> PathBuf {
    place(dir, &format!("head/{shard:03}"), true)
}

/// Where the copied list of streams that have ended is.
pub fn ended_of(dir: &Path) -> PathBuf {
    place(dir, ENDED, true)
}

/// What is here of a file.
pub fn have(dir: &Path, path: &str, bytes: u64) -> Have {
    let length = |place: PathBuf| fs::metadata(place).map(|m| m.len()).ok();
    let is_block = path.starts_with("blocks/") && length(dir.join(path)) == Some(bytes);
    if is_block || length(place(dir, path, true)) == Some(bytes) {
        return Have::Whole;
    }
    Have::Part(length(place(dir, path, false)).unwrap_or(0))
}

/// Puts bytes at `offset` of a file that is not whole.
pub fn write(dir: &Path, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let part = place(dir, path, false);
    fs::create_dir_all(part.parent().unwrap_or(dir))?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(part)?;

    file.set_len(offset)?;
    file.write_all_at(bytes, offset)
}

/// A file is all there: gives it its name if it is that of the source; answers whether it is.
pub fn check(dir: &Path, path: &str, bytes: &[u8]) -> io::Result<bool> {
    if bytes.is_empty() {
        write(dir, path, 0, &[])?;
    }

    let part = place(dir, path, false);

    let is_equal = fs::read(&part)? == bytes;
    if is_equal {
        fs::rename(part, place(dir, path, true))?;
    }

    Ok(is_equal)
}

/// Bytes of a file of a snapshot.
pub fn read(path: &Path, offset: u64, bytes: u64) -> io::Result<Vec<u8>> {
    let mut data = vec![0; bytes as usize];
    File::open(path)?.read_exact_at(&mut data, offset)?;
    Ok(data)
}

impl Staging {
    /// Nothing is missing that logs could not give.
    pub fn is_complete(&self) -> bool {
        self.reason.is_none() && !self.is_undecided
    }

    /// Begins to copy a snapshot. What was copied of the head belongs to another one.
    pub fn begin(&mut self, dir: &Path, source: NodeName, manifest: Manifest) -> io::Result<()> {
        remove(&dir.join("rebuild/head"))?;
        self.copy = Some((source, manifest));
        Ok(())
    }

    /// Nothing is to be rebuilt any more.
    pub fn clear(&mut self, dir: &Path) -> io::Result<()> {
        *self = Self::default();
        remove(&dir.join("rebuild"))
    }

    /// Puts what was copied into its place.
    pub fn install(&mut self, dir: &Path, mutation: Option<Mutation>) -> io::Result<()> {
        let Some((_, manifest)) = self.copy.take().filter(|_| self.is_ready) else {
            return Ok(());
        };

        let copied = |path: &str| place(dir, path, true);
        let wanted: BTreeSet<&str> = manifest
            .files
            .iter()
            .map(|file| file.path.as_str())
            .collect();

        for path in wanted.iter().filter(|path| path.starts_with("blocks/")) {
            let target = dir.join(path);
            if target.exists() || mutation == Some(Mutation::InstallHeadAlone) {
                continue;
            }
            fs::create_dir_all(target.parent().unwrap_or(dir))?;
            fs::rename(copied(path), target)?;
        }

        remove(&dir.join("head"))?;
        fs::rename(dir.join("rebuild/head"), dir.join("head"))?;
        self.clear(dir)
    }
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
