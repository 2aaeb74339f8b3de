//! A computer: what outlives its process.

use std::path::{Path, PathBuf};

use trireme_base::{Boot, Incarnation, SeededRng, StreamId};
use trireme_replication::PositionVector;
use trireme_ring::Ring;

use crate::clock::SimClock;
use crate::disk::{Place, SimDisk};
use crate::mutation::Mutation;
use crate::process::{Interruption, Process};
use crate::staging::Staging;

/// How its log's disk does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// A sync takes milliseconds.
    Normal,
    /// A sync takes up to seconds.
    Slow,
    /// No sync ends.
    Stuck,
}

/// Where the process is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    /// When the log has written, peers have heard, and nothing is synced.
    BeforeSync,
    /// When the log is synced, and nobody has been told.
    AfterSync,
    /// In the upkeep.
    Upkeep(Interruption),
}

/// A computer.
pub struct Machine {
    /// Data directory.
    pub dir: PathBuf,
    /// Disk under the log.
    pub disk: SimDisk,
    /// Clocks.
    pub clock: SimClock,
    incarnation: Incarnation,
    boots: u32,
    /// Counts starts; events of an earlier process are void.
    pub life: u64,
    /// The running process.
    pub process: Option<Process>,
    /// What its log has safely, as nobody in the simulated world knows it.
    pub safe: PositionVector,
    /// What it had safely before its disk was replaced, and in which incarnation. Whoever has not met the new one cannot
    /// know that this is gone.
    pub before: Option<(Incarnation, PositionVector)>,
    /// How the disk does.
    pub pace: Pace,
    /// A written batch waits for its sync, or a write is planned.
    pub log_busy: bool,
    /// A look at the lanes is planned.
    pub lanes_busy: bool,
    /// Where to crash next, with power cut or without.
    pub crash: Option<(CrashPoint, bool)>,
    /// The shard whose writer dies as soon as something waits for it.
    pub dying: Option<usize>,
    /// Highest committed seq that was checked.
    pub checked: u64,
    /// Takes no connection before (us).
    pub silent_until: u64,
    /// The ring on its disk; `None` if rings do not change, or it is in none yet.
    pub ring: Option<Ring>,
    /// How far all streams were when everybody knew the ring of this epoch, as far as its process knows.
    pub fence: Option<(u64, PositionVector)>,
    /// Nothing happens on it before (us): its process is stopped, or it stands still as a whole.
    pub paused_until: u64,
    /// Nobody starts a process on it before (us).
    pub absent_until: u64,
    /// Nobody starts a process on it at all.
    pub is_idle: bool,
    /// Members have shown that its directory must not be used again.
    pub is_refused: bool,
    /// A rebuild, over restarts.
    pub staging: Staging,
    /// The next power cut takes the sectors in which synced ranges end.
    pub loses_ends: bool,
    backup: Option<Backup>,
}

/// A copy of a data directory as it was once.
#[derive(Debug, Clone)]
struct Backup {
    dir: PathBuf,
    incarnation: Incarnation,
    boots: u32,
}

impl Machine {
    /// A computer with an empty disk.
    pub fn new(dir: PathBuf, index: usize, clock: SimClock, mutation: Option<Mutation>) -> Self {
        Self {
            dir,
            disk: SimDisk::new(mutation),
            clock,
            incarnation: Incarnation(index as u64 + 1),
            boots: 0,
            life: 0,
            process: None,
            safe: PositionVector::new(),
            before: None,
            pace: Pace::Normal,
            log_busy: false,
            lanes_busy: false,
            crash: None,
            dying: None,
            checked: 0,
            silent_until: 0,
            ring: None,
            fence: None,
            paused_until: 0,
            absent_until: 0,
            is_idle: false,
            is_refused: false,
            staging: Staging::default(),
            loses_ends: false,
            backup: None,
        }
    }

    /// A start is counted; answers the stream it writes.
    pub fn count_start(&mut self, mutation: Option<Mutation>) -> StreamId {
        let counts = mutation != Some(Mutation::ReuseBoot) || self.boots == 0;
        self.boots += u32::from(counts);
        self.life += 1;
        self.log_busy = false;
        self.lanes_busy = false;
        self.checked = 0;
        self.dying = None;
        self.fence = None;

        StreamId {
            incarnation: self.incarnation,
            boot: Boot(self.boots),
        }
    }

    /// The disk is replaced by an empty one.
    pub fn wipe(&mut self, rng: &mut SeededRng, mutation: Option<Mutation>) -> std::io::Result<()> {
        self.disk.cut_power(rng);
        std::fs::remove_dir_all(&self.dir)?;
        std::fs::create_dir_all(&self.dir)?;
        self.disk.note_replaced();
        self.staging = Staging::default();
        self.is_refused = false;
        self.before = Some((self.incarnation, std::mem::take(&mut self.safe)));
        self.boots = 0;

        if mutation != Some(Mutation::ReuseSequence) {
            self.incarnation = Incarnation(self.incarnation.0 + 100);
        }

        Ok(())
    }

    /// While no process runs: copies the data directory.
    pub fn back_up(&mut self) -> std::io::Result<()> {
        let dir = self.dir.with_extension("backup");
        copy_tree(&self.dir, &dir)?;
        self.backup = Some(Backup {
            dir,
            incarnation: self.incarnation,
            boots: self.boots,
        });

        Ok(())
    }

    /// A process has run since the directory was copied, so that an older state can take its place.
    pub fn has_older_state(&self) -> bool {
        self.backup
            .as_ref()
            .is_some_and(|b: &Backup| b.incarnation == self.incarnation && b.boots < self.boots)
    }

    /// While no process runs: puts the copy back.
    pub fn set_back(&mut self) -> std::io::Result<()> {
        let Some(backup) = self.backup.clone() else {
            return Ok(());
        };

        copy_tree(&backup.dir, &self.dir)?;
        self.disk.note_replaced();
        self.before = Some((self.incarnation, self.safe.clone()));
        self.boots = backup.boots;

        Ok(())
    }

    /// What its log has safely may be gone from now on, and nobody else knows.
    pub fn note_damage(&mut self) {
        self.before = Some((self.incarnation, self.safe.clone()));
    }

    /// Notes what is safe after a sync.
    pub fn note_safe(&mut self) {
        self.safe.merge(&self.disk.safe());
    }

    /// A start has found this on the disk: nothing else is safe any more. It must not call more durable than that.
    pub fn note_found(&mut self) -> Result<(), String> {
        let Some(process) = &self.process else {
            return Ok(());
        };

        let place = Place {
            dir: self.dir.join("log"),
            covered: process.covered.clone(),
            clock: self.clock.clone(),
        };

        let found = self.disk.note_start(&process.log, place);
        self.safe = found.map_err(|e| format!("cannot look what is on the disk: {e}"))?;

        let durable: PositionVector = process.log.durable_positions().into_iter().collect();
        match self.safe.behind(&durable).next() {
            Some((stream, have, told)) => Err(format!(
                "{stream} is on the disk up to {have}, and the log calls it durable up to {told}"
            )),
            None => Ok(()),
        }
    }
}

/// Replaces a directory by a copy of another one.
fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }

    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let (entry, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
        let place = to.join(entry.file_name().unwrap_or_default());
        match kind.is_dir() {
            true => copy_tree(&entry, &place)?,
            false => drop(std::fs::copy(&entry, &place)?),
        }
    }

    Ok(())
}
