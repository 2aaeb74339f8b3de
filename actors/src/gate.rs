//! Whether this node takes writes at the moment; read on every request, so it is one atomic.

use std::sync::atomic::{AtomicU8, Ordering};

/// State of the node's write path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum GateState {
    /// Recovering from disk.
    Starting = 0,
    /// Takes writes.
    Open = 1,
    /// The disk is full or too full: a member with room takes the write.
    DiskFull = 2,
    /// The log failed for good in this process.
    LogFailed = 3,
    /// An operator asked for it, or the node stops.
    Draining = 4,
}

impl GateState {
    const ALL: [Self; 5] = [Self::Starting, Self::Open, Self::DiskFull, Self::LogFailed, Self::Draining];

    /// For people and `/-/ready`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Starting => "starting: recovering from disk",
            Self::Open => "ready",
            Self::DiskFull => "the disk is full or below storage.disk_free_min",
            Self::LogFailed => {
                "the log failed (an fsync error is final); look at the disk and restart the node"
            }
            Self::Draining => "draining: the node is about to stop",
        }
    }
}

/// The gate; starts as [`GateState::Starting`].
#[derive(Debug, Default)]
pub struct Gate(AtomicU8);

impl Gate {
    /// The state now.
    pub fn state(&self) -> GateState {
        let byte = self.0.load(Ordering::Acquire);
        GateState::ALL.into_iter().find(|s| *s as u8 == byte).expect("BUG: only states are stored")
    }

    /// True while the node takes writes.
    pub fn is_open(&self) -> bool {
        self.state() == GateState::Open
    }

    /// Moves to `next`. Draining and a failed log are final for the process; the answer says whether anything changed.
    pub fn set(&self, next: GateState) -> bool {
        let moved = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
            let is_final = now == GateState::Draining as u8
                || (now == GateState::LogFailed as u8 && next != GateState::Draining);
            (!is_final && now != next as u8).then_some(next as u8)
        });
        moved.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_log_stays_failed_and_draining_is_the_end() {
        let gate = Gate::default();
        assert_eq!(gate.state(), GateState::Starting);
        assert!(gate.set(GateState::Open) && gate.is_open());
        assert!(gate.set(GateState::DiskFull) && gate.set(GateState::Open));
        assert!(gate.set(GateState::LogFailed) && !gate.set(GateState::Open));
        assert!(gate.set(GateState::Draining) && !gate.set(GateState::Open));
    }
}
