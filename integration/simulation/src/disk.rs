//! A disk with a page cache and with faults, under the log.
//!
//! Files are real ones on a memory file system. What was not synced is remembered, and a power cut takes it away, or
//! some sectors of it. What a failed sync was for stays in memory, where it can be read, until the power goes or the system
//! needs the memory. Checkpoints, manifests and blocks are written by their crates in the usual way: whole and durable,
//! or not at all.
//!
//! | module | what |
//! |---|---|
//! | `file` | files as the log sees them |
//! | `ranges` | which bytes of which file, and losing them |
//! | `truth` | what the disk has, as nobody in the simulated world knows it |

mod file;
mod ranges;
mod truth;

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use trireme_base::{SeededRng, StreamId};
use trireme_log::Log;
use trireme_replication::PositionVector;

use crate::clock::SimClock;
use crate::mutation::Mutation;
use ranges::Ranges;

const SECTOR: u64 = 512;
/// Bytes before the first batch of a segment.
const SEGMENT_HEADER_BYTES: u64 = 68;

/// How a sync fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncFault {
    /// EIO.
    Io,
    /// ENOSPC: there was no room for what `write` took.
    Full,
}

/// Where a log is, and what it may do without.
#[derive(Clone)]
pub struct Place {
    /// Its directory.
    pub dir: PathBuf,
    /// What the checkpoints of its process covered when it started.
    pub covered: Vec<(StreamId, u64)>,
    /// For reading it.
    pub clock: SimClock,
}

#[derive(Default)]
struct State {
    /// The log that is written now.
    log: Weak<Log>,
    place: Option<Place>,
    /// How far that log's streams were when everything that was called written was on the disk.
    safe: PositionVector,
    /// Ranges written and not synced.
    unsynced: Ranges,
    /// Ranges of writes that failed half way, until the file is synced: nobody calls them written.
    torn: Ranges,
    /// Ranges that an earlier process left unsynced.
    left: Ranges,
    /// Ranges whose sync failed: memory has them and calls them clean, the disk does not have them.
    failed: Ranges,
    /// Sectors that cannot be read.
    bad: Ranges,
    /// Bytes that still fit; `None` while there is plenty.
    free_bytes: Option<u64>,
    next_sync: Option<SyncFault>,
    /// There were records among what a failed sync was for, and they are nowhere else on the disk yet.
    has_lost_records: bool,
    /// A write that did not fit was called a success.
    has_torn: bool,
    mutation: Option<Mutation>,
}

impl State {
    /// Everything that was called written is safe.
    fn is_safe(&self) -> bool {
        !self.unsynced.have_records() && !self.has_lost_records && !self.has_torn
    }

    /// All that the disk does not have for good.
    fn in_memory(&self) -> [&Ranges; 4] {
        [&self.unsynced, &self.torn, &self.left, &self.failed]
    }

    fn all(&mut self) -> [&mut Ranges; 5] {
        [
            &mut self.unsynced,
            &mut self.torn,
            &mut self.left,
            &mut self.failed,
            &mut self.bad,
        ]
    }

    /// Looks how far the streams are on the disk.
    fn look(&self) -> io::Result<PositionVector> {
        let Some(place) = &self.place else {
            return Ok(PositionVector::new());
        };
        let lost = self.in_memory().into_iter().chain([&self.bad]);
        truth::on_disk(place, &lost.collect::<Vec<_>>())
    }
}

/// The disk of one machine.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    /// With the bug put in, if it is one of disks.
    pub fn new(mutation: Option<Mutation>) -> Self {
        Self(Arc::new(Mutex::new(State {
            mutation,
            ..State::default()
        })))
    }

    /// From now on only so many bytes fit; `None` ends that.
    pub fn set_free_bytes(&self, free_bytes: Option<u64>) {
        self.0.lock().free_bytes = free_bytes;
    }

    /// True while it is full or will be soon.
    pub fn is_short(&self) -> bool {
        self.0.lock().free_bytes.is_some()
    }

    /// The next sync fails.
    pub fn fail_next_sync(&self, fault: SyncFault) {
        self.0.lock().next_sync = Some(fault);
    }

    /// It has room and fails no more.
    pub fn mend(&self) {
        let mut state = self.0.lock();
        state.free_bytes = None;
        state.next_sync = None;
    }

    /// How far the streams are on the disk, as of the last look.
    pub fn safe(&self) -> PositionVector {
        self.0.lock().safe.clone()
    }

    /// A start has opened its log. Answers how far the streams are on the disk.
    pub fn note_start(&self, log: &Arc<Log>, place: Place) -> io::Result<PositionVector> {
        let mut guard = self.0.lock();
        let state = &mut *guard;
        state.log = Arc::downgrade(log);
        state.place = Some(place);
        state.has_lost_records = false;
        state.has_torn = false;
        state.left.take(&mut state.unsynced);
        state.left.take(&mut state.torn);
        state.all().into_iter().for_each(Ranges::prune);

        let is_plain =
            state.in_memory().iter().all(|ranges| ranges.is_empty()) && state.bad.is_empty();
        state.safe = match is_plain {
            true => log.written_positions().into_iter().collect(),
            false => state.look()?,
        };

        Ok(state.safe.clone())
    }

    /// The machine stops at once.
    pub fn cut_power(&self, rng: &mut SeededRng) {
        let mut state = self.0.lock();
        let mut lost = Ranges::default();
        let State {
            unsynced,
            torn,
            left,
            failed,
            ..
        } = &mut *state;

        for ranges in [unsynced, torn, left, failed] {
            lost.take(ranges);
        }

        state.next_sync = None;
        state.has_torn = false;
        drop(state);
        lost.lose(rng);
    }

    /// The process ends. The page cache stays, save for what is clean there if memory is short.
    pub fn kill(&self, rng: &mut SeededRng) {
        let mut failed = Ranges::default();
        {
            let mut state = self.0.lock();
            state.has_torn = false;
            if rng.chance(0.3) {
                failed.take(&mut state.failed);
            }
        }

        failed.lose(rng);
    }

    /// What it was told last was lost with the power: the sectors in which synced ranges end were being written again, and
    /// cannot be read any more, or have something else in them.
    pub fn lose_ends(&self, rng: &mut SeededRng) -> u64 {
        let mut state = self.0.lock();
        let ends = state.unsynced.begins();

        let mut lost = 0;
        for (path, from) in ends {
            let sector = from / SECTOR * SECTOR;
            if sector == from {
                continue;
            }
            lost += 1;
            match rng.chance(0.5) {
                true => state.bad.push(&path, sector, SECTOR),
                false => ranges::garble(&path, sector, from - sector, rng),
            }
        }

        lost
    }

    /// A sector of a segment under `dir` cannot be read from now on; false if there is nothing yet.
    pub fn lose_sector(&self, dir: &Path, rng: &mut SeededRng) -> io::Result<bool> {
        let Some((path, bytes)) = any_segment(dir, rng)? else {
            return Ok(false);
        };
        let sector = rng.below(bytes / SECTOR + 1) * SECTOR;
        self.0.lock().bad.push(&path, sector, SECTOR);
        Ok(true)
    }

    /// Flips a bit of what a segment under `dir` has durably; false if there is nothing yet.
    pub fn flip_bit(&self, dir: &Path, rng: &mut SeededRng) -> io::Result<bool> {
        let Some((path, bytes)) = any_segment(dir, rng)? else {
            return Ok(false);
        };

        let at = SEGMENT_HEADER_BYTES + rng.below(bytes - SEGMENT_HEADER_BYTES);
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut byte = [0];

        file.read_exact_at(&mut byte, at)?;
        byte[0] ^= 1 << rng.below(8);
        file.write_all_at(&byte, at)?;

        Ok(true)
    }

    /// Everything under the machine's directory was replaced, by something durable.
    pub fn note_replaced(&self) {
        let mut state = self.0.lock();
        state
            .all()
            .into_iter()
            .for_each(|ranges| *ranges = Ranges::default());
    }
}

/// A segment under `dir` that holds something, and its length.
fn any_segment(dir: &Path, rng: &mut SeededRng) -> io::Result<Option<(PathBuf, u64)>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "log") {
            segments.push(path);
        }
    }

    segments.sort();
    if segments.is_empty() {
        return Ok(None);
    }

    let path = segments.swap_remove(rng.below(segments.len() as u64) as usize);
    let bytes = std::fs::metadata(&path)?.len();
    Ok((bytes > SEGMENT_HEADER_BYTES).then_some((path, bytes)))
}
