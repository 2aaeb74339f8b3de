//! Full chunks on disk: append-only files of a shard, deleted when their last chunk is cut.
//!
//! ```text
//! "TRIRMCHK", version u32, number u32; then chunks: CRC32C u32 of the bytes, bytes
//! ```
//!
//! Chunks are written with ordinary writes and read with `pread`, so they cost no memory of this process; the page
//! cache keeps what is used. A file is not synced by itself: the log still holds its samples until a checkpoint
//! has synced it.
//!
//! A disk that refuses a file or a write costs memory and nothing else: chunks stay in the buffer until it takes them, and
//! no checkpoint is written meanwhile. A file whose sync failed may have lost what was written to it, and the system says so
//! once only; so no more goes to it, and its chunks are written to another before the next checkpoint.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::READ;
use crate::{HeadError, files};

/// Directory of the files in a shard's.
pub(crate) const CHUNKS_DIR: &str = "chunks";

const MAGIC: &[u8; 8] = b"TRIRMCHK";
const VERSION: u32 = 1;
const HEADER_BYTES: u32 = 16;
const CRC_BYTES: u32 = 4;
/// A file takes no more chunks when it has so many bytes.
const FILE_BYTES_MAX: u32 = 64 << 20;
/// Bytes of the longest chunk.
pub(crate) const CHUNK_BYTES_MAX: usize = u16::MAX as usize;
/// Bytes collected before a write.
const BUFFER_BYTES: usize = 128 << 10;
/// The newest checkpoint and the one before it are on disk.
const CHECKPOINTS_KEPT: u8 = 2;

/// Where a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkPlace {
    pub file: u32,
    pub offset: u32,
    pub len: u16,
}

impl ChunkPlace {
    /// True if files of these lengths hold it.
    pub fn is_within(self, files: &FileLengths) -> bool {
        let end = u64::from(self.offset) + u64::from(CRC_BYTES) + u64::from(self.len);
        files.get(&self.file).is_some_and(|length| end <= *length)
    }
}

/// A chunk that was found, in memory or still to be read.
pub(crate) enum ChunkData {
    Bytes(Vec<u8>),
    OnDisk {
        file: Arc<File>,
        path: Arc<Path>,
        offset: u32,
        len: u16,
    },
    /// Its file is not there.
    Missing(HeadError),
}

impl ChunkData {
    /// The chunk's bytes, checked; those of a file are read into `buffer`.
    pub fn load<'a>(&'a self, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], HeadError> {
        let (file, path, offset, len) = match self {
            Self::Bytes(bytes) => return Ok(bytes),
            Self::Missing(error) => return Err(error.clone()),
            Self::OnDisk {
                file,
                path,
                offset,
                len,
            } => (file, path, *offset, *len),
        };

        buffer.resize(CRC_BYTES as usize + usize::from(len), 0);
        file.read_exact_at(buffer, u64::from(offset))
            .map_err(|e| HeadError::io(READ, path, e))?;

        let (want, bytes) = buffer
            .split_first_chunk()
            .expect("BUG: the buffer begins with the checksum");

        if crc32c::crc32c(bytes) != u32::from_le_bytes(*want) {
            return Err(HeadError::corrupt(
                path,
                format!("chunk at {offset}: checksum does not fit"),
            ));
        }

        Ok(bytes)
    }
}

/// A file to be synced.
pub(crate) struct SyncFile {
    pub number: u32,
    file: Arc<File>,
    pub path: Arc<Path>,
}

impl SyncFile {
    /// Makes what was written durable.
    pub fn sync(&self) -> Result<(), HeadError> {
        self.file
            .sync_data()
            .map_err(|e| HeadError::io("sync", &self.path, e))
    }
}

/// Length of each chunk file by its number.
pub(crate) type FileLengths = BTreeMap<u32, u64>;

struct OpenFile {
    /// `None` until the disk has taken it.
    file: Option<Arc<File>>,
    path: Arc<Path>,
    /// Chunks that are still needed.
    live: u32,
    /// A sync of it failed.
    is_suspect: bool,
    /// Checkpoints that were published while no chunk of it was needed.
    unneeded: u8,
}

impl OpenFile {
    fn new(file: Option<File>, path: PathBuf) -> Self {
        let file = file.map(Arc::new);
        let path = Arc::from(path);
        Self {
            file,
            path,
            live: 0,
            is_suspect: false,
            unneeded: 0,
        }
    }
}

/// The file being written.
#[derive(Clone, Copy)]
struct Active {
    number: u32,
    /// Its length with what is in the buffer.
    end: u32,
}

/// The chunk files of a shard.
pub(crate) struct ChunkFiles {
    dir: PathBuf,
    files: BTreeMap<u32, OpenFile>,
    active: Option<Active>,
    /// The end of the active file that is not written yet.
    buffer: Vec<u8>,
    /// The buffer is written out when it has so many bytes; more after the disk refused.
    flush_at: usize,
    next: u32,
    /// The last failure of a read or write that nobody was told of; for the shard's statistics.
    pub failed: Option<HeadError>,
    /// The next sync fails.
    #[cfg(test)]
    pub fail_sync: bool,
}

impl ChunkFiles {
    /// Opens the files of a directory; those that no chunk is claimed in are deleted by [`ChunkFiles::published`].
    pub fn open(dir: &Path) -> Result<Self, HeadError> {
        files::make_dir(dir)?;

        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(dir).map_err(|e| HeadError::io("list", dir, e))? {
            let path = entry.map_err(|e| HeadError::io("list", dir, e))?.path();
            let Some(number) = file_number(&path) else {
                continue;
            };
            let file = File::open(&path).map_err(|e| HeadError::io("open", &path, e))?;
            let open = OpenFile::new(Some(file), path);
            files.insert(number, open);
        }

        let next = files.keys().next_back().map_or(1, |n| n + 1);
        Ok(Self {
            dir: dir.to_owned(),
            files,
            active: None,
            buffer: Vec::new(),
            flush_at: BUFFER_BYTES,
            next,
            failed: None,
            #[cfg(test)]
            fail_sync: false,
        })
    }

    /// Appends a chunk. `None` if it is over 65,535 bytes, or if the disk has refused for gigabytes; `failed` then says
    /// why.
    pub fn append(&mut self, chunk: &[u8]) -> Option<ChunkPlace> {
        let Ok(len) = u16::try_from(chunk.len()) else {
            let what = format!(
                "a chunk has {} bytes, at most {CHUNK_BYTES_MAX} can be kept",
                chunk.len()
            );
            self.failed = Some(HeadError::Settings(what));
            return None;
        };

        if self
            .active
            .is_none_or(|active| active.end >= FILE_BYTES_MAX)
            && let Err(error) = self.roll()
        {
            self.failed = Some(error);
        }

        let Active {
            number,
            end: offset,
        } = self.active?;
        let end = offset.checked_add(CRC_BYTES + u32::from(len))?;

        self.buffer
            .extend_from_slice(&crc32c::crc32c(chunk).to_le_bytes());
        self.buffer.extend_from_slice(chunk);
        self.active = Some(Active { number, end });
        self.files
            .get_mut(&number)
            .expect("BUG: the active file is open")
            .live += 1;

        if self.buffer.len() >= self.flush_at
            && let Err(error) = self.flush()
        {
            self.failed = Some(error);
        }

        Some(ChunkPlace {
            file: number,
            offset,
            len,
        })
    }

    /// Begins another file. What the disk does not take of the one before stays there, and that is gone on with.
    fn roll(&mut self) -> Result<(), HeadError> {
        self.flush()?;
        let number = self.next;
        let path = self.dir.join(format!("{number:08}.chunks"));

        self.next += 1;
        self.files.insert(number, OpenFile::new(None, path));
        self.buffer.extend_from_slice(MAGIC);
        self.buffer.extend_from_slice(&VERSION.to_le_bytes());
        self.buffer.extend_from_slice(&number.to_le_bytes());
        self.active = Some(Active {
            number,
            end: HEADER_BYTES,
        });

        Ok(())
    }

    /// Hands the buffer to the file, which is made if it is new. What the disk refuses stays in the buffer and is tried
    /// again when as much again has come.
    pub fn flush(&mut self) -> Result<(), HeadError> {
        let done = self.write_out();
        self.flush_at = if done.is_ok() {
            BUFFER_BYTES
        } else {
            self.buffer.len() + BUFFER_BYTES
        };
        done
    }

    fn write_out(&mut self) -> Result<(), HeadError> {
        let Some(Active { number, end }) = self.active else {
            return Ok(());
        };

        let open = self
            .files
            .get_mut(&number)
            .expect("BUG: the active file is open");
        let file = match &open.file {
            Some(file) => file,
            None => {
                let made = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .open(&open.path);
                let made = made.map_err(|e| HeadError::io("create", &open.path, e))?;
                open.file.insert(Arc::new(made))
            }
        };

        let at = u64::from(end) - self.buffer.len() as u64;
        file.write_all_at(&self.buffer, at)
            .map_err(|e| HeadError::io("write", &open.path, e))?;
        self.buffer.clear();

        Ok(())
    }

    /// Flushes and answers the files to sync before a checkpoint may rely on them.
    pub fn flush_for_sync(&mut self) -> Result<Vec<SyncFile>, HeadError> {
        self.flush()?;
        let trusted = self.files.iter().filter(|(_, open)| !open.is_suspect);
        Ok(trusted
            .filter_map(|(number, open): (&u32, &OpenFile)| {
                let file = open.file.clone()?;
                Some(SyncFile {
                    number: *number,
                    file,
                    path: open.path.clone(),
                })
            })
            .collect())
    }

    /// A sync of a file failed: what was written to it since the last one may be lost, though it can still be read.
    pub fn distrust(&mut self, number: u32) {
        if let Some(open) = self.files.get_mut(&number) {
            open.is_suspect = true;
        }
    }

    /// Leaves a file that is distrusted, so that its chunks can be moved; true if there is any with chunks.
    pub fn leave_suspects(&mut self) -> Result<bool, HeadError> {
        let active = self
            .active
            .and_then(|active| self.files.get(&active.number));
        if active.is_some_and(|open| open.is_suspect) {
            self.flush()?;
            self.active = None;
        }

        Ok(self
            .files
            .values()
            .any(|open| open.is_suspect && open.live > 0))
    }

    /// Writes a chunk of a distrusted file to another one; answers its new place. `None` for any other chunk.
    pub fn move_chunk(&mut self, place: ChunkPlace) -> Option<ChunkPlace> {
        if !self
            .files
            .get(&place.file)
            .is_some_and(|open| open.is_suspect)
        {
            return None;
        }

        let moved = self.get(place).load(&mut Vec::new()).map(<[u8]>::to_vec);
        match moved {
            Ok(bytes) => {
                let moved = self.append(&bytes)?;
                self.release(place);
                Some(moved)
            }
            Err(error) => {
                // It stays where it is, and whoever reads it is told.
                self.failed = Some(error);
                None
            }
        }
    }

    /// Lengths of the files as they are on disk, by number.
    pub fn lengths(&self) -> Result<FileLengths, HeadError> {
        let written = self
            .files
            .iter()
            .filter_map(|(number, open)| Some((number, open.file.as_ref()?, open)));
        written
            .map(|(number, file, open): (&u32, &Arc<File>, &OpenFile)| {
                let meta = file
                    .metadata()
                    .map_err(|e| HeadError::io("look at", &open.path, e))?;
                Ok((*number, meta.len()))
            })
            .collect()
    }

    /// Finds a chunk; what is still in the buffer is copied.
    pub fn get(&self, place: ChunkPlace) -> ChunkData {
        if let Some(active) = self.active
            && active.number == place.file
        {
            let flushed = active.end as usize - self.buffer.len();
            if let Some(at) = (place.offset as usize).checked_sub(flushed) {
                let from = at + CRC_BYTES as usize;
                return ChunkData::Bytes(self.buffer[from..from + usize::from(place.len)].to_vec());
            }
        }

        let open = self.files.get(&place.file);

        let found = open.and_then(|open| Some((open.file.clone()?, open.path.clone())));
        match found {
            Some((file, path)) => ChunkData::OnDisk {
                file,
                path,
                offset: place.offset,
                len: place.len,
            },
            None => {
                let what = format!("chunk file {} is missing", place.file);
                ChunkData::Missing(HeadError::corrupt(&self.dir, what))
            }
        }
    }

    /// Counts a chunk found in a checkpoint.
    pub fn claim(&mut self, place: ChunkPlace) -> Result<(), HeadError> {
        let dir = &self.dir;
        self.files
            .get_mut(&place.file)
            .ok_or_else(|| {
                HeadError::corrupt(dir, format!("chunk file {} is missing", place.file))
            })?
            .live += 1;

        Ok(())
    }

    /// Lets a chunk go; deletes its file with its last chunk.
    pub fn release(&mut self, place: ChunkPlace) {
        let Some(open) = self.files.get_mut(&place.file) else {
            return;
        };

        open.live = open.live.saturating_sub(1);
        let is_active = self
            .active
            .is_some_and(|active| active.number == place.file);
        if open.live > 0 || is_active {
            return;
        }

        // What a chunk that was moved had in it is in no block: the checkpoints on disk still name its old place.
        if !open.is_suspect {
            self.delete(place.file);
        }
    }

    /// A checkpoint has its name now. Deletes files without a chunk that neither it nor the one before it can name.
    pub fn published(&mut self) {
        let active = self.active.map(|active| active.number);

        let mut unneeded = Vec::new();
        for (number, open) in &mut self.files {
            if open.live > 0 || active == Some(*number) {
                continue;
            }
            open.unneeded += 1;
            if open.unneeded == CHECKPOINTS_KEPT {
                unneeded.push(*number);
            }
        }

        unneeded.into_iter().for_each(|number| self.delete(number));
    }

    fn delete(&mut self, number: u32) {
        if let Some(open) = self.files.remove(&number)
            && open.file.is_some()
        {
            // A file that stays behind is deleted by a later process.
            let _ = std::fs::remove_file(&open.path);
        }
    }

    /// Paths of the files in use, for a snapshot to a peer.
    pub fn paths(&self) -> Vec<PathBuf> {
        let written = self.files.values().filter(|open| open.file.is_some());
        written.map(|open| open.path.to_path_buf()).collect()
    }
}

/// The number in the name of a chunk file.
fn file_number(path: &Path) -> Option<u32> {
    let stem = path.file_stem()?.to_str()?;
    let number = stem.parse().ok()?;
    path.extension()
        .is_some_and(|e| e == "chunks")
        .then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_disk_refuses_stays_in_memory_until_it_does_not() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = dir.path().join("chunks");
        let mut files = ChunkFiles::open(&home).expect("opens");

        std::fs::remove_dir(&home).expect("empty");
        let chunk = |n: u32| vec![n as u8; 500];
        let places: Vec<_> = (0..1_000)
            .map(|n| files.append(&chunk(n)).expect("kept"))
            .collect();
        assert!(files.failed.is_some() && files.flush_for_sync().is_err());

        std::fs::create_dir(&home).expect("made");
        files.flush().expect("taken now");

        for (n, place) in places.iter().enumerate() {
            let data = files.get(*place);
            assert_eq!(
                data.load(&mut Vec::new()).expect("readable"),
                chunk(n as u32)
            );
        }

        assert_eq!(files.lengths().expect("there").len(), 1);
        assert!(files.append(&vec![0; CHUNK_BYTES_MAX + 1]).is_none());
    }

    #[test]
    fn chunks_leave_a_file_that_was_not_synced_and_the_file_stays_for_the_last_checkpoint() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut files = ChunkFiles::open(dir.path()).expect("opens");
        let places: Vec<_> = (0..10)
            .map(|n| files.append(&[n; 100]).expect("appended"))
            .collect();

        files.flush().expect("written");
        assert!(!files.leave_suspects().expect("none") && files.move_chunk(places[0]).is_none());
        files.distrust(places[0].file);

        assert!(files.leave_suspects().expect("one"));

        for (n, place) in places.iter().enumerate() {
            let moved = files.move_chunk(*place).expect("moved");
            assert_ne!(moved.file, place.file);
            let data = files.get(moved);
            assert_eq!(
                data.load(&mut Vec::new()).expect("readable"),
                [n as u8; 100]
            );
        }

        let to_sync = files.flush_for_sync().expect("flushed");
        assert_eq!(
            to_sync.iter().map(|file| file.number).collect::<Vec<_>>(),
            [places[0].file + 1]
        );
        assert_eq!(std::fs::read_dir(dir.path()).expect("dir").count(), 2);
    }

    #[test]
    fn reads_back_what_is_buffered_and_what_is_written_and_deletes_empty_files() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut files = ChunkFiles::open(dir.path()).expect("opens");
        let chunk = |n: u32| vec![n as u8; 300 + n as usize % 50];
        let places: Vec<_> = (0..2_000)
            .map(|n| files.append(&chunk(n)).expect("appended"))
            .collect();
        let read = |files: &ChunkFiles, place| {
            let data = files.get(place);
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

        again.published();
        again.published();
        assert_eq!(read(&again, places[7]), chunk(7));
        places.iter().for_each(|place| again.release(*place));
        assert_eq!(std::fs::read_dir(dir.path()).expect("dir").count(), 0);
    }
}
