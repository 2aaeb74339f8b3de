//! A disk with a page cache and with faults, under the log.
//!
//! Files are real ones on a memory file system. What was not synced is remembered, and a power cut takes it away, or
//! some sectors of it. Checkpoints, manifests and blocks are written by their crates in the usual way: whole and durable,
//! or not at all.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use trireme_base::SeededRng;
use trireme_log::Log;
use trireme_log::disk::{Disk, DiskFile};

use trireme_replication::PositionVector;

use crate::mutation::Mutation;

const SECTOR: u64 = 512;
/// Bytes before the first batch of a segment.
const SEGMENT_HEADER_BYTES: u64 = 68;
/// A batch without records, as the end of a segment has it. Nothing is lost with it.
const EMPTY_BATCH_BYTES: u64 = 32;

#[derive(Default)]
struct State {
    /// The log that is written now.
    log: Weak<Log>,
    /// What that log had when everything that was called written was synced.
    safe: PositionVector,
    /// Ranges written and not synced, by file.
    unsynced: BTreeMap<PathBuf, Vec<(u64, u64)>>,
    /// Ranges of writes that failed half way, by file, until that is synced: nobody calls them written.
    torn: BTreeMap<PathBuf, Vec<(u64, u64)>>,
    /// Bytes that still fit; `None` while there is plenty.
    free_bytes: Option<u64>,
    fails_next_sync: bool,
    /// A sync has failed: what it was for may be gone although the process lives on.
    sync_failed: bool,
    /// There were records among what it was for.
    has_lost_records: bool,
    /// The known bug: a sync that does nothing.
    lies_at_sync: bool,
    /// The known bug: a write that did not fit is called a success.
    lies_at_write: bool,
    /// The known bug: a sync that failed is called a success.
    hides_sync_errors: bool,
    /// Such a write has happened.
    has_torn: bool,
}

impl State {
    /// Everything that was called written is safe.
    fn is_safe(&self) -> bool {
        !self.unsynced.values().any(|ranges| have_records(ranges)) && !self.has_lost_records && !self.has_torn
    }
}

fn have_records(ranges: &[(u64, u64)]) -> bool {
    ranges.iter().any(|(_, bytes)| *bytes > EMPTY_BATCH_BYTES)
}

/// The disk of one machine.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    /// With the bug put in, if it is one of disks.
    pub fn new(mutation: Option<Mutation>) -> Self {
        let state = State {
            lies_at_sync: mutation == Some(Mutation::AckBeforeFsync),
            lies_at_write: mutation == Some(Mutation::AckTornWrite),
            hides_sync_errors: mutation == Some(Mutation::IgnoreSyncError),
            ..State::default()
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// From now on only so many bytes fit; `None` ends that.
    pub fn set_free_bytes(&self, free_bytes: Option<u64>) {
        self.0.lock().free_bytes = free_bytes;
    }

    /// True while it is full or will be soon.
    pub fn is_short(&self) -> bool {
        self.0.lock().free_bytes.is_some()
    }

    /// The next sync fails with EIO.
    pub fn fail_next_sync(&self) {
        self.0.lock().fails_next_sync = true;
    }

    /// It has room and fails no more.
    pub fn mend(&self) {
        let mut state = self.0.lock();
        state.free_bytes = None;
        state.fails_next_sync = false;
    }

    /// How far the streams were at the last sync after which everything that was called written was on the disk.
    pub fn safe(&self) -> PositionVector {
        self.0.lock().safe.clone()
    }

    /// A start has synced the segment that an earlier process was writing; it has written nothing itself yet.
    pub fn note_start(&self, log: &Arc<Log>) {
        let mut state = self.0.lock();
        state.log = Arc::downgrade(log);
        state.safe = log.written_positions().into_iter().collect();
        state.unsynced.clear();
        state.torn.clear();
        state.sync_failed = false;
        state.has_lost_records = false;
        state.has_torn = false;
    }

    /// The machine stops at once.
    pub fn cut_power(&self, rng: &mut SeededRng) {
        let mut state = self.0.lock();
        let mut unsynced = std::mem::take(&mut state.unsynced);
        for (path, ranges) in std::mem::take(&mut state.torn) {
            unsynced.entry(path).or_default().extend(ranges);
        }
        state.fails_next_sync = false;
        state.sync_failed = false;
        state.has_lost_records = false;
        state.has_torn = false;
        drop(state);
        for (path, ranges) in unsynced {
            lose(&path, &ranges, rng);
        }
    }

    /// The process ends; the page cache stays, save for what a failed sync has dropped.
    pub fn kill(&self, rng: &mut SeededRng) {
        if self.0.lock().sync_failed {
            self.cut_power(rng);
        }
        self.0.lock().has_torn = false;
    }

    /// Flips a bit of what a segment under `dir` has durably; false if there is nothing yet.
    pub fn flip_bit(&self, dir: &Path, rng: &mut SeededRng) -> io::Result<bool> {
        let mut segments = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "log") {
                segments.push(path);
            }
        }
        segments.sort();
        if segments.is_empty() {
            return Ok(false);
        }
        let path = &segments[rng.below(segments.len() as u64) as usize];
        let bytes = std::fs::metadata(path)?.len();
        if bytes <= SEGMENT_HEADER_BYTES {
            return Ok(false);
        }
        let at = SEGMENT_HEADER_BYTES + rng.below(bytes - SEGMENT_HEADER_BYTES);
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        byte[0] ^= 1 << rng.below(8);
        file.write_all_at(&byte, at)?;
        Ok(true)
    }
}

/// Takes unsynced ranges of a file away: all, none, from somewhere on, or any sectors.
fn lose(path: &Path, ranges: &[(u64, u64)], rng: &mut SeededRng) {
    // A segment that was trimmed meanwhile is nobody's any more.
    let Ok(file) = OpenOptions::new().write(true).open(path) else { return };
    let Ok(length) = file.metadata().map(|m| m.len()) else { return };
    let mode = rng.below(4);
    let total: u64 = ranges.iter().map(|(_, len)| len).sum();
    let keep_first = if mode == 2 { rng.below(total + 1) } else { 0 };
    let mut seen = 0;
    for (from, len) in ranges {
        let end = (from + len).min(length);
        let mut at = *from;
        while at < end {
            let next = ((at / SECTOR + 1) * SECTOR).min(end);
            let kept = match mode {
                0 => 0,
                1 => next - at,
                2 => keep_first.saturating_sub(seen).min(next - at),
                _ if rng.chance(0.5) => next - at,
                _ => 0,
            };
            let zeros = vec![0; (next - at - kept) as usize];
            // The memory file system has room for what was there already.
            let _ = file.write_all_at(&zeros, at + kept);
            seen += next - at;
            at = next;
        }
    }
}

struct SimFile {
    path: PathBuf,
    file: File,
    at: u64,
    disk: SimDisk,
}

impl Disk for SimDisk {
    fn create(&self, path: &Path, _: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.0.lock();
        // What an earlier file of that name held went with it.
        state.unsynced.remove(path);
        state.torn.remove(path);
        if state.free_bytes == Some(0) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        drop(state);
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Box::new(SimFile { path: path.to_owned(), file, at: 0, disk: self.clone() }))
    }
}

impl DiskFile for SimFile {
    fn write_all(&mut self, buffers: &mut [IoSlice<'_>]) -> io::Result<()> {
        let all: Vec<u8> = buffers.iter().flat_map(|b| b.iter().copied()).collect();
        let mut state = self.disk.0.lock();
        let room = state.free_bytes.unwrap_or(u64::MAX).min(all.len() as u64);
        if let Some(free) = &mut state.free_bytes {
            *free -= room;
        }
        self.file.write_all_at(&all[..room as usize], self.at)?;
        let is_torn = room < all.len() as u64;
        let fails = is_torn && !state.lies_at_write;
        if room > 0 {
            let ranges = if fails { &mut state.torn } else { &mut state.unsynced };
            ranges.entry(self.path.clone()).or_default().push((self.at, room));
        }
        if fails {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.has_torn |= is_torn;
        self.at += all.len() as u64;
        Ok(())
    }

    fn rewind(&mut self, offset: u64) -> io::Result<()> {
        self.at = offset;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        if std::mem::take(&mut state.fails_next_sync) {
            state.sync_failed = true;
            state.has_lost_records |=
                state.unsynced.get(&self.path).is_some_and(|ranges| have_records(ranges));
            if state.hides_sync_errors {
                return Ok(());
            }
            return Err(io::Error::other("simulated EIO"));
        }
        if !state.lies_at_sync {
            state.unsynced.remove(&self.path);
            state.torn.remove(&self.path);
        }
        // The log may have written more by the time anybody asks.
        if state.is_safe()
            && let Some(log) = state.log.upgrade()
        {
            state.safe.merge(&log.written_positions().into_iter().collect());
        }
        Ok(())
    }

    fn shrink(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn publish(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)?;
        let mut state = self.disk.0.lock();
        if let Some(ranges) = state.unsynced.remove(from) {
            state.unsynced.insert(to.to_owned(), ranges);
        }
        if let Some(ranges) = state.torn.remove(from) {
            state.torn.insert(to.to_owned(), ranges);
        }
        self.path = to.to_owned();
        Ok(())
    }
}
