//! Watches the free space under the data directory.

use std::path::Path;
use std::sync::Arc;

use prometheus::IntGauge;
use slog::{Logger, info, warn};
use trireme_log::{Log, LogError};
use trireme_storage::{Gate, GateState};

use crate::datadir::Held;

/// Bytes that may be written under `data_dir` by work that can wait: writes of clients need the last of the room above
/// `free_min` themselves.
pub(crate) fn room(data_dir: &Path, free_min: u64) -> u64 {
    free(data_dir)
        .unwrap_or(0)
        .saturating_sub(free_min.saturating_mul(2))
}

/// Free bytes under a directory; `None` if the system does not say.
fn free(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Closes the write gate while there is less than `free_min` bytes of room, and opens it again; ends the log of a data
/// directory that was taken away.
pub(crate) struct DiskWatch {
    pub(crate) dir: Held,
    pub(crate) wal: Arc<Log>,
    pub(crate) free_min: u64,
    pub(crate) gate: Arc<Gate>,
    pub(crate) free: IntGauge,
    pub(crate) log: Logger,
}

impl DiskWatch {
    /// Looks once. Some room beyond the bound is asked for before the gate opens again, so that it does not flap.
    pub(crate) fn look(&self) {
        let data_dir = self.dir.path();
        if !self.dir.is_there() {
            // Told once: the log stays as it is.
            self.wal.give_up(&LogError::Unlinked {
                path: data_dir.to_owned(),
            });
            return;
        }

        let Some(free) = free(data_dir) else { return };
        self.free.set(i64::try_from(free).unwrap_or(i64::MAX));

        match self.gate.state() {
            GateState::Open if free < self.free_min => {
                self.gate.set(GateState::DiskFull);
                warn!(self.log, "disk is nearly full, writes are refused"; "bytes" => free, "min" => self.free_min);
            }
            GateState::DiskFull if free > self.free_min + self.free_min / 4 => {
                self.gate.set(GateState::Open);
                info!(self.log, "disk has room again, writes are taken"; "bytes" => free);
            }
            _ => {}
        }
    }
}
