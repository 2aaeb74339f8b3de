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
    /// The node is about to stop: it still takes what clients send, and says that it is not ready, so that they move.
    Draining = 4,
    /// The node stops: another member takes the write.
    Stopping = 5,
}

impl GateState {
    const ALL: [Self; 6] =
        [Self::Starting, Self::Open, Self::DiskFull, Self::LogFailed, Self::Draining, Self::Stopping];

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
            Self::Stopping => "stopping",
        }
    }

    /// True if a client's write is taken here.
    pub fn takes_writes(self) -> bool {
        matches!(self, Self::Open | Self::Draining)
    }

    /// True if the process may go from this state to `next`: a failed log stays failed, and a stop is the end.
    fn leads_to(self, next: Self) -> bool {
        match self {
            Self::Stopping => false,
            Self::LogFailed => next == Self::Stopping,
            Self::Draining => matches!(next, Self::LogFailed | Self::Stopping),
            Self::Starting | Self::Open | Self::DiskFull => next != self,
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

    /// True while the node is ready: clients should come here.
    pub fn is_open(&self) -> bool {
        self.state() == GateState::Open
    }

    /// Moves to `next` where that is possible; the answer says whether anything changed.
    pub fn set(&self, next: GateState) -> bool {
        let moved = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
            let now = GateState::ALL.into_iter().find(|s| *s as u8 == now)?;
            now.leads_to(next).then_some(next as u8)
        });
        moved.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_log_stays_failed_and_a_stop_is_the_end() {
        let gate = Gate::default();
        assert_eq!(gate.state(), GateState::Starting);
        assert!(gate.set(GateState::Open) && gate.is_open());
        assert!(gate.set(GateState::DiskFull) && gate.set(GateState::Open));
        assert!(
            gate.set(GateState::LogFailed) && !gate.set(GateState::Open) && !gate.set(GateState::Draining)
        );
        assert!(gate.set(GateState::Stopping) && !gate.set(GateState::Open));
    }

    #[test]
    fn a_draining_node_takes_writes_and_never_gets_ready_again() {
        let gate = Gate::default();
        assert!(gate.set(GateState::Open) && gate.set(GateState::Draining));
        assert!(gate.state().takes_writes() && !gate.is_open());
        assert!(!gate.set(GateState::Open) && !gate.set(GateState::DiskFull));
        assert!(gate.set(GateState::Stopping) && !gate.state().takes_writes());
    }
}
