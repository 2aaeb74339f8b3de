//! A block that is copied from somewhere else: whole, checked and synced before it has its name.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use ulid::Ulid;

use crate::error::at;
use crate::files::TempDir;
use crate::{BlockError, CHUNKS_DIR, INDEX_FILE, META_FILE, Reread, TOMBSTONES_FILE};

/// A block under construction beside the others. Dropping it removes it; after a crash [`crate::scan_blocks`] does.
pub struct Incoming {
    ulid: Ulid,
    temporary: TempDir,
    open: Option<(String, File)>,
}

impl Incoming {
    /// Begins a copy of the block `ulid` in `dir`, which is made if it is missing.
    pub fn begin(dir: &Path, ulid: Ulid) -> Result<Self, BlockError> {
        let temporary = TempDir::create(dir, &format!("copy-{ulid}"))?;
        let chunks = temporary.path().join(CHUNKS_DIR);
        fs::create_dir(&chunks).map_err(at(&chunks))?;

        Ok(Self {
            ulid,
            temporary,
            open: None,
        })
    }

    /// The block's name.
    pub fn ulid(&self) -> Ulid {
        self.ulid
    }

    /// Appends bytes to a file, one file after another; empty ones are made by no bytes. `name` must satisfy
    /// [`is_block_file`].
    pub fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), BlockError> {
        let path = self.temporary.path().join(name);
        if self.open.as_ref().is_none_or(|(open, _)| open != name) {
            self.sync()?;
            if !is_block_file(name) {
                return Err(BlockError::corrupt(name, "is no file of a block"));
            }
            let file = File::create_new(&path).map_err(at(&path))?;
            self.open = Some((name.to_owned(), file));
        }

        match &mut self.open {
            Some((_, file)) => file.write_all(bytes).map_err(at(&path)),
            None => Ok(()),
        }
    }

    /// Everything was appended: makes it durable and begins to check it. The copy must not be given its name before
    /// all steps of the answer went well.
    pub fn reread(&mut self) -> Result<Reread, BlockError> {
        self.sync()?;
        crate::files::sync_dir(&self.temporary.path().join(CHUNKS_DIR))?;
        Reread::begin(self.temporary.path(), self.ulid)
    }

    /// Gives the copy its name in the directory it was begun in; false if a block of that name is there already.
    pub fn publish(mut self) -> Result<bool, BlockError> {
        let parent = self
            .temporary
            .path()
            .parent()
            .unwrap_or(Path::new("."))
            .to_owned();
        self.temporary.publish(&parent.join(self.ulid.to_string()))
    }

    fn sync(&mut self) -> Result<(), BlockError> {
        match self.open.take() {
            Some((name, file)) => file.sync_all().map_err(at(Path::new(&name))),
            None => Ok(()),
        }
    }
}

/// True for the path of a file inside a block directory, with `/`: what may be copied, and to where.
pub fn is_block_file(name: &str) -> bool {
    matches!(name, META_FILE | INDEX_FILE | TOMBSTONES_FILE)
        || name
            .split_once('/')
            .is_some_and(|(dir, file)| dir == CHUNKS_DIR && is_segment(file))
}

fn is_segment(name: &str) -> bool {
    name.len() == 6 && name.bytes().all(|b| b.is_ascii_digit())
}

/// Paths and lengths (bytes) of a block's files, `meta.json` last: a copy is no block without it.
pub fn block_files(dir: &Path) -> Result<Vec<(String, u64)>, BlockError> {
    let mut found = Vec::new();
    for (place, prefix) in [(dir.to_owned(), ""), (dir.join(CHUNKS_DIR), "chunks/")] {
        for entry in fs::read_dir(&place).map_err(at(&place))? {
            let entry = entry.map_err(at(&place))?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let meta = entry.metadata().map_err(at(&place))?;
            if meta.is_file() && is_block_file(&name) {
                found.push((name, meta.len()));
            }
        }
    }

    found.sort_unstable_by_key(|(name, _)| (name == META_FILE, name.clone()));
    Ok(found)
}
