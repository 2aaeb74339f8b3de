//! A disk under a page cache, with errors on command.
//!
//! Files are real ones: they show what a process sees. What is on the disk under them is kept beside. A sync takes what is
//! dirty to the disk; one that fails leaves it clean in the cache and never writes it again, as Linux does.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use trireme_log::disk::{Disk, DiskFile, ReadFile, RealDisk};

#[derive(Clone, Default)]
pub struct CachedDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<PathBuf, Content>,
    /// Errors of the next syncs, `None` for one that succeeds.
    sync_errors: Vec<Option<i32>>,
    /// Errors of the next creations.
    create_errors: Vec<i32>,
    /// What of which file cannot be read.
    unreadable: Vec<(PathBuf, Range<u64>)>,
}

#[derive(Default)]
struct Content {
    cached: Vec<u8>,
    on_disk: Vec<u8>,
    dirty: Vec<Range<usize>>,
}

impl CachedDisk {
    /// The next sync fails with this error of the system.
    pub fn fail_sync(&self, error: i32) {
        self.0.lock().sync_errors.push(Some(error));
    }

    /// The next `count` files cannot be made.
    pub fn fail_creations(&self, error: i32, count: usize) {
        self.0
            .lock()
            .create_errors
            .extend(std::iter::repeat_n(error, count));
    }

    /// A part of a file cannot be read any more.
    pub fn spoil(&self, path: &Path, range: Range<u64>) {
        self.0.lock().unreadable.push((path.to_owned(), range));
    }

    /// Writes to `dir` what a power cut leaves of the segments.
    pub fn after_power_cut(&self, dir: &Path) {
        std::fs::create_dir_all(dir).unwrap();
        for (path, content) in &self.0.lock().files {
            if path.exists() {
                std::fs::write(dir.join(path.file_name().unwrap()), &content.on_disk).unwrap();
            }
        }
    }
}

impl Disk for CachedDisk {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.0.lock();
        if let Some(error) = state.create_errors.pop() {
            return Err(io::Error::from_raw_os_error(error));
        }

        let file = RealDisk.create(path, bytes)?;
        let zeros = vec![0; bytes as usize];
        let content = Content {
            cached: zeros.clone(),
            on_disk: zeros,
            dirty: Vec::new(),
        };

        state.files.insert(path.to_owned(), content);
        Ok(Box::new(CachedFile {
            path: path.to_owned(),
            disk: self.clone(),
            file,
            at: 0,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        Ok(Box::new(SpoiltFile {
            path: path.to_owned(),
            disk: self.clone(),
            file: File::open(path)?,
        }))
    }
}

struct CachedFile {
    path: PathBuf,
    disk: CachedDisk,
    file: Box<dyn DiskFile>,
    at: usize,
}

impl DiskFile for CachedFile {
    fn write_all(&mut self, buffers: &mut [IoSlice<'_>]) -> io::Result<()> {
        let all: Vec<u8> = buffers.iter().flat_map(|b| b.iter().copied()).collect();
        let range = self.at..self.at + all.len();
        let mut state = self.disk.0.lock();

        let content = state.files.get_mut(&self.path).unwrap();
        if content.cached.len() < range.end {
            content.cached.resize(range.end, 0);
        }

        content.cached[range.clone()].copy_from_slice(&all);
        content.dirty.push(range.clone());
        self.at = range.end;

        self.file.write_all(buffers)
    }

    fn rewind(&mut self, offset: u64) -> io::Result<()> {
        self.at = offset as usize;
        self.file.rewind(offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let fails = if state.sync_errors.is_empty() {
            None
        } else {
            state.sync_errors.remove(0)
        };

        let content = state.files.get_mut(&self.path).unwrap();
        let dirty = std::mem::take(&mut content.dirty);
        if let Some(error) = fails {
            return Err(io::Error::from_raw_os_error(error));
        }

        content.on_disk.resize(content.cached.len(), 0);
        for range in dirty {
            let end = range.end.min(content.cached.len());
            let range = range.start.min(end)..end;
            content.on_disk[range.clone()].copy_from_slice(&content.cached[range]);
        }

        Ok(())
    }

    fn shrink(&mut self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state
            .files
            .get_mut(&self.path)
            .unwrap()
            .cached
            .truncate(bytes as usize);

        self.file.shrink(bytes)
    }

    fn publish(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.file.publish(from, to)?;
        let mut state = self.disk.0.lock();
        let content = state.files.remove(from).unwrap();
        state.files.insert(to.to_owned(), content);
        self.path = to.to_owned();
        Ok(())
    }
}

struct SpoiltFile {
    path: PathBuf,
    disk: CachedDisk,
    file: File,
}

impl ReadFile for SpoiltFile {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset + buffer.len() as u64;
        if self
            .disk
            .0
            .lock()
            .unreadable
            .iter()
            .any(|(path, range): &(PathBuf, Range<u64>)| {
                *path == self.path && range.start < end && offset < range.end
            })
        {
            return Err(io::Error::from_raw_os_error(5));
        }

        ReadFile::read_exact_at(&self.file, buffer, offset)
    }
}
