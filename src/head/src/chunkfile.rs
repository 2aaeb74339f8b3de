//! Full chunks on disk: append-only files of a shard, deleted when their last chunk is cut.
//!
//! ```text
//! "TRIRMCHK", version u32, number u32; then chunks: CRC32C u32 of the bytes, bytes
//! ```
//!
//! Chunks are written with ordinary writes and read with `pread`, so they cost no memory of this process; the page
//! cache keeps what is used. A file is not synced by itself: the log still holds its samples until a checkpoint
//! has synced it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::HeadError;

/// Directory of the files in a shard's.
pub(crate) const CHUNKS_DIR: &str = "chunks";

const MAGIC: &[u8; 8] = b"TRIRMCHK";
const VERSION: u32 = 1;
const HEADER_BYTES: u32 = 16;
const CRC_BYTES: u32 = 4;
/// A file takes no more chunks when it has so many bytes.
const FILE_BYTES_MAX: u32 = 64 << 20;
/// Bytes collected before a write.
const BUFFER_BYTES: usize = 128 << 10;

/// Where a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkPlace {
    pub file: u32,
    pub offset: u32,
    pub len: u16,
}

/// A chunk that was found, in memory or still to be read.
pub(crate) enum ChunkData {
    Bytes(Vec<u8>),
    OnDisk { file: Arc<File>, path: Arc<Path>, offset: u32, len: u16 },
}

impl ChunkData {
    /// The chunk's bytes, checked; those of a file are read into `buffer`.
    pub fn load<'a>(&'a self, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], HeadError> {
        let (file, path, offset, len) = match self {
            Self::Bytes(bytes) => return Ok(bytes),
            Self::OnDisk { file, path, offset, len } => (file, path, *offset, *len),
        };
        buffer.resize(CRC_BYTES as usize + usize::from(len), 0);
        file.read_exact_at(buffer, u64::from(offset)).map_err(|e| HeadError::io("read", path, e))?;
        let (want, bytes) = buffer.split_first_chunk().expect("BUG: the buffer begins with the checksum");
        if crc32c::crc32c(bytes) != u32::from_le_bytes(*want) {
            return Err(HeadError::corrupt(path, format!("chunk at {offset}: checksum does not fit")));
        }
        Ok(bytes)
    }
}

/// A file to be synced, with its name for the error.
pub(crate) type SyncFile = (Arc<File>, Arc<Path>);

struct OpenFile {
    file: Arc<File>,
    path: Arc<Path>,
    /// Chunks that are still needed.
    live: u32,
}

/// The chunk files of a shard.
pub(crate) struct ChunkFiles {
    dir: PathBuf,
    files: BTreeMap<u32, OpenFile>,
    /// File being written, its length with what is in the buffer, and that buffer.
    active: Option<(u32, u32)>,
    buffer: Vec<u8>,
    next: u32,
    /// The last failure of a read or write that nobody was told of; for the shard's statistics.
    pub failed: Option<HeadError>,
}

impl ChunkFiles {
    /// Opens the files of a directory; those that no chunk is claimed in are deleted by [`ChunkFiles::sweep`].
    pub fn open(dir: &Path) -> Result<Self, HeadError> {
        std::fs::create_dir_all(dir).map_err(|e| HeadError::io("create", dir, e))?;
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(dir).map_err(|e| HeadError::io("list", dir, e))? {
            let path = entry.map_err(|e| HeadError::io("list", dir, e))?.path();
            let stem = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse::<u32>().ok());
            let Some(number) = stem.filter(|_| path.extension().is_some_and(|e| e == "chunks")) else {
                continue;
            };
            let file = File::open(&path).map_err(|e| HeadError::io("open", &path, e))?;
            files.insert(number, OpenFile { file: Arc::new(file), path: Arc::from(path), live: 0 });
        }
        let next = files.keys().next_back().map_or(1, |n| n + 1);
        Ok(Self { dir: dir.to_owned(), files, active: None, buffer: Vec::new(), next, failed: None })
    }

    /// Appends a chunk. `None` when the disk refuses or the chunk is over 65,535 bytes; `failed` then says why.
    pub fn append(&mut self, chunk: &[u8]) -> Option<ChunkPlace> {
        let len = u16::try_from(chunk.len()).ok()?;
        let (file, offset) = match self.active {
            Some((file, end)) if end < FILE_BYTES_MAX => (file, end),
            _ => match self.create() {
                Ok(active) => active,
                Err(error) => {
                    self.failed = Some(error);
                    return None;
                }
            },
        };
        self.buffer.extend_from_slice(&crc32c::crc32c(chunk).to_le_bytes());
        self.buffer.extend_from_slice(chunk);
        self.active = Some((file, offset + CRC_BYTES + u32::from(len)));
        self.files.get_mut(&file).expect("BUG: the active file is open").live += 1;
        if self.buffer.len() >= BUFFER_BYTES {
            // If the write fails the bytes stay in the buffer and are tried again with the next chunk.
            if let Err(error) = self.flush() {
                self.failed = Some(error);
            }
        }
        Some(ChunkPlace { file, offset, len })
    }

    fn create(&mut self) -> Result<(u32, u32), HeadError> {
        self.flush()?;
        let number = self.next;
        let path = self.dir.join(format!("{number:08}.chunks"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(|e| HeadError::io("create", &path, e))?;
        self.next += 1;
        self.files.insert(number, OpenFile { file: Arc::new(file), path: Arc::from(path), live: 0 });
        self.buffer.extend_from_slice(MAGIC);
        self.buffer.extend_from_slice(&VERSION.to_le_bytes());
        self.buffer.extend_from_slice(&number.to_le_bytes());
        self.active = Some((number, HEADER_BYTES));
        Ok((number, HEADER_BYTES))
    }

    /// Hands the buffer to the file.
    pub fn flush(&mut self) -> Result<(), HeadError> {
        let Some((number, end)) = self.active else { return Ok(()) };
        let open = self.files.get(&number).expect("BUG: the active file is open");
        let at = u64::from(end) - self.buffer.len() as u64;
        open.file.write_all_at(&self.buffer, at).map_err(|e| HeadError::io("write", &open.path, e))?;
        self.buffer.clear();
        Ok(())
    }

    /// Flushes and answers the files to sync before a checkpoint may rely on them.
    pub fn flush_for_sync(&mut self) -> Result<Vec<SyncFile>, HeadError> {
        self.flush()?;
        Ok(self.files.values().map(|f| (f.file.clone(), f.path.clone())).collect())
    }

    /// Finds a chunk; what is still in the buffer is copied.
    pub fn get(&self, place: ChunkPlace) -> Result<ChunkData, HeadError> {
        if let Some((number, end)) = self.active
            && number == place.file
        {
            let flushed = end as usize - self.buffer.len();
            if let Some(at) = (place.offset as usize).checked_sub(flushed) {
                let from = at + CRC_BYTES as usize;
                return Ok(ChunkData::Bytes(self.buffer[from..from + usize::from(place.len)].to_vec()));
            }
        }
        let open = self.files.get(&place.file);
        let open = open
            .ok_or_else(|| HeadError::corrupt(&self.dir, format!("chunk file {} is missing", place.file)))?;
        let (file, path) = (open.file.clone(), open.path.clone());
        Ok(ChunkData::OnDisk { file, path, offset: place.offset, len: place.len })
    }

    /// Counts a chunk found in a checkpoint.
    pub fn claim(&mut self, place: ChunkPlace) -> Result<(), HeadError> {
        let dir = &self.dir;
        let missing = || HeadError::corrupt(dir, format!("chunk file {} is missing", place.file));
        self.files.get_mut(&place.file).ok_or_else(missing)?.live += 1;
        Ok(())
    }

    /// Lets a chunk go; deletes its file with its last chunk.
    pub fn release(&mut self, place: ChunkPlace) {
        let Some(open) = self.files.get_mut(&place.file) else { return };
        open.live = open.live.saturating_sub(1);
        let active = self.active.is_some_and(|(number, _)| number == place.file);
        if open.live == 0 && !active {
            self.delete(place.file);
        }
    }

    /// Deletes files without a chunk; after loading a checkpoint.
    pub fn sweep(&mut self) {
        let active = self.active.map(|(number, _)| number);
        let empty = |(n, f): (&u32, &OpenFile)| (f.live == 0 && Some(*n) != active).then_some(*n);
        let victims: Vec<u32> = self.files.iter().filter_map(empty).collect();
        victims.into_iter().for_each(|number| self.delete(number));
    }

    fn delete(&mut self, number: u32) {
        if let Some(open) = self.files.remove(&number) {
            // A file that stays behind is swept by the next start.
            let _ = std::fs::remove_file(&open.path);
        }
    }

    /// Paths of the files in use, for a snapshot to a peer.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.files.values().map(|f| f.path.to_path_buf()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_is_buffered_and_what_is_written_and_deletes_empty_files() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut files = ChunkFiles::open(dir.path()).expect("opens");
        let chunk = |n: u32| vec![n as u8; 300 + n as usize % 50];
        let places: Vec<_> = (0..2_000).map(|n| files.append(&chunk(n)).expect("appended")).collect();
        let read = |files: &ChunkFiles, place| {
            let data = files.get(place).expect("there");
            data.load(&mut Vec::new()).expect("readable").to_vec()
        };
        for (n, place) in places.iter().enumerate() {
            assert_eq!(read(&files, *place), chunk(n as u32));
        }
        files.flush().expect("written");
        let mut again = ChunkFiles::open(dir.path()).expect("opens");
        for place in &places {
            again.claim(*place).expect("file is there");
        }
        again.sweep();
        assert_eq!(read(&again, places[7]), chunk(7));
        places.iter().for_each(|place| again.release(*place));
        assert_eq!(std::fs::read_dir(dir.path()).expect("dir").count(), 0);
    }
}
