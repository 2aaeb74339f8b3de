//! Watches the free space under the data directory.

use std::path::Path;
use std::sync::Arc;

use prometheus::IntGauge;
use slog::{Logger, info, warn};
use trireme_actors::{Gate, GateState};

/// Closes the write gate while there is less than `free_min` bytes of room, and opens it again.
pub(crate) struct DiskWatch {
    pub(crate) free_min: u64,
    pub(crate) gate: Arc<Gate>,
    pub(crate) free: IntGauge,
    pub(crate) log: Logger,
}

impl DiskWatch {
    /// Looks once. Some room beyond the bound is asked for before the gate opens again, so that it does not flap.
    pub(crate) fn look(&self, data_dir: &Path) {
        let Ok(stat) = rustix::fs::statvfs(data_dir) else { return };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
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
