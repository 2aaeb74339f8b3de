//! How far the start of this node is with the log behind its checkpoints.
//!
//! Writes are taken as soon as the checkpoints are loaded. What stands in the log behind them is applied meanwhile, and
//! until that is done the head is not whole: queries wait, records of peers stay in their lanes, and neither a cut nor
//! a checkpoint is made.

use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use trireme_log::{ReplayPlan, ReplayWatch};

/// Where the replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Done,
    /// It failed or was told to stop; this process never gets a whole head.
    Ended,
}

/// For `GET /api/v1/status/walreplay`: numbers of log segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayProgress {
    /// First segment to be read.
    pub first: u64,
    /// Last segment to be read.
    pub last: u64,
    /// The segment being read.
    pub current: u64,
    /// Everything is applied.
    pub done: bool,
}

/// The replay as the rest of the node sees it.
#[derive(Debug)]
pub struct Replay {
    phase: Mutex<Phase>,
    changed: Condvar,
    watch: ReplayWatch,
    segments: OnceLock<(u64, u64)>,
}

impl Default for Replay {
    fn default() -> Self {
        Self {
            phase: Mutex::new(Phase::Running),
            changed: Condvar::new(),
            watch: ReplayWatch::default(),
            segments: OnceLock::new(),
        }
    }
}

impl Replay {
    /// What will be read is known.
    pub(crate) fn planned(&self, plan: &ReplayPlan) {
        if let Some(segments) = plan.segments() {
            let _ = self.segments.set(segments);
        }
    }

    /// Everything is applied.
    pub(crate) fn done(&self) {
        self.set(Phase::Done);
    }

    /// It will never be done in this process.
    pub fn ended(&self) {
        if !self.is_done() {
            self.set(Phase::Ended);
        }
    }

    fn set(&self, phase: Phase) {
        *self.phase.lock() = phase;
        self.changed.notify_all();
    }

    /// True once the head holds everything that the log does.
    pub fn is_done(&self) -> bool {
        *self.phase.lock() == Phase::Done
    }

    /// True while records are being applied.
    pub fn is_running(&self) -> bool {
        *self.phase.lock() == Phase::Running
    }

    /// Waits until the replay is done, for `patience` at most; says whether it is. Blocks.
    pub fn wait(&self, patience: Duration) -> bool {
        let mut phase = self.phase.lock();
        if *phase != Phase::Done {
            self.changed.wait_for(&mut phase, patience);
        }
        *phase == Phase::Done
    }

    /// What the replay itself looks at.
    pub fn watch(&self) -> &ReplayWatch {
        &self.watch
    }

    /// How far it is.
    pub fn progress(&self) -> ReplayProgress {
        let (first, last) = self.segments.get().copied().unwrap_or_default();
        let done = self.is_done();
        let current = if done {
            last
        } else {
            self.watch.segment().clamp(first, last)
        };

        ReplayProgress {
            first,
            last,
            current,
            done,
        }
    }
}
