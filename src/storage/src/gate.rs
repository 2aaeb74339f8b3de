//! Whether this node takes writes at the moment; read on every request, so it is one atomic.

use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};

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
    /// The ring does not have this node yet: a member takes the write.
    Outside = 6,
    /// The ring drains this node: a member that stays takes the write.
    Leaving = 7,
    /// The ring does not have this node any more.
    Left = 8,
    /// The clock is not that of the group: a member with a right one takes the write.
    WrongClock = 9,
    /// Others go by a later ring, which this node cannot take: another member takes the write.
    Uninformed = 10,
}

impl GateState {
    const ALL: [Self; 11] = [
        Self::Starting,
        Self::Open,
        Self::DiskFull,
        Self::LogFailed,
        Self::Draining,
        Self::Stopping,
        Self::Outside,
        Self::Leaving,
        Self::Left,
        Self::WrongClock,
        Self::Uninformed,
    ];

    /// True if another member may take a write in this node's place.
    pub fn is_forwarded(self) -> bool {
        use GateState::*;
        matches!(
            self,
            DiskFull | LogFailed | Stopping | Outside | Leaving | Left | WrongClock | Uninformed
        )
    }

    /// For people and `/-/ready`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Starting => "starting: recovering from disk",
            Self::Open => "ready",
            Self::DiskFull => "the disk is full or below storage.disk_free_min",
            Self::LogFailed => {
                "the log failed and takes nothing more (the node's log says why); look at the disk and restart the node"
            }
            Self::Draining => "draining: the node is about to stop",
            Self::Stopping => "stopping",
            Self::Outside => {
                "not in the ring yet: add this node with `trireme ring join` at a member of the cluster"
            }
            Self::Leaving => "the ring drains this node; others take its writes",
            Self::Left => "this node has left the ring; stop it",
            Self::WrongClock => {
                "the clock of this node is not that of its peers; set it, for example by NTP"
            }
            Self::Uninformed => {
                "the other members go by a later ring, which this node cannot take; its log says why (can it write ring/?)"
            }
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
            // What the ring and the clocks say is kept apart.
            Self::Outside | Self::Leaving | Self::Left | Self::WrongClock | Self::Uninformed => {
                false
            }
        }
    }
}

/// What closes a gate that would be open, for as long as it holds; of several the first one is shown.
const CONDITIONS: [GateState; 2] = [GateState::WrongClock, GateState::Uninformed];

/// The gate; starts as [`GateState::Starting`].
///
/// Three things close it independently of each other: what happens on the node, what the ring says of it, and conditions
/// that others see in it.
#[derive(Debug)]
pub struct Gate {
    node: AtomicU8,
    ring: AtomicU8,
    /// A bit for each of [`CONDITIONS`] that holds.
    conditions: AtomicU16,
}

impl Default for Gate {
    fn default() -> Self {
        let node = GateState::Starting as u8;
        let ring = GateState::Open as u8;
        Self {
            node: AtomicU8::new(node),
            ring: AtomicU8::new(ring),
            conditions: AtomicU16::new(0),
        }
    }
}

fn state_in(byte: &AtomicU8) -> GateState {
    let byte = byte.load(Ordering::Acquire);
    GateState::ALL
        .into_iter()
        .find(|s| *s as u8 == byte)
        .expect("BUG: only states are stored")
}

impl Gate {
    /// The state now.
    pub fn state(&self) -> GateState {
        match state_in(&self.node) {
            state @ (GateState::Open | GateState::Draining) => match state_in(&self.ring) {
                GateState::Open => CONDITIONS
                    .into_iter()
                    .find(|c| self.holds(*c))
                    .unwrap_or(state),
                of_ring => of_ring,
            },
            state => state,
        }
    }

    /// What the ring says of this node: `Open`, `Outside`, `Leaving` or `Left`. It closes the gate of a node that would be
    /// open otherwise.
    pub fn set_by_ring(&self, state: GateState) {
        self.ring.store(state as u8, Ordering::Release);
    }

    /// Says whether a majority contradicts this node's clock; the answer says whether that changed.
    pub fn set_wrong_clock(&self, is_wrong: bool) -> bool {
        self.set_condition(GateState::WrongClock, is_wrong)
    }

    /// True while a majority contradicts this node's clock.
    pub fn has_wrong_clock(&self) -> bool {
        self.holds(GateState::WrongClock)
    }

    /// Others go by a later ring than this node. True if that is news.
    pub fn set_uninformed(&self, is_uninformed: bool) -> bool {
        self.set_condition(GateState::Uninformed, is_uninformed)
    }

    fn set_condition(&self, condition: GateState, holds: bool) -> bool {
        let bit = 1 << condition as u8;
        let before = match holds {
            true => self.conditions.fetch_or(bit, Ordering::AcqRel),
            false => self.conditions.fetch_and(!bit, Ordering::AcqRel),
        };
        (before & bit != 0) != holds
    }

    fn holds(&self, condition: GateState) -> bool {
        self.conditions.load(Ordering::Acquire) & (1 << condition as u8) != 0
    }

    /// True once the ring does not have this node any more, also while it stops.
    pub fn has_left(&self) -> bool {
        state_in(&self.ring) == GateState::Left
    }

    /// True while the node is ready: clients should come here.
    pub fn is_open(&self) -> bool {
        self.state() == GateState::Open
    }

    /// Moves to `next` where that is possible; the answer says whether anything changed.
    pub fn set(&self, next: GateState) -> bool {
        let moved = self
            .node
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
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
    fn the_ring_closes_a_gate_that_would_be_open() {
        let gate = Gate::default();
        gate.set_by_ring(GateState::Leaving);
        assert_eq!(gate.state(), GateState::Starting);
        gate.set(GateState::Open);
        assert!(gate.state() == GateState::Leaving && !gate.is_open());
        gate.set_by_ring(GateState::Open);
        assert!(gate.is_open());
    }

    #[test]
    fn a_wrong_clock_closes_a_gate_that_would_be_open() {
        let gate = Gate::default();
        assert!(gate.set_wrong_clock(true) && !gate.set_wrong_clock(true));
        assert_eq!(gate.state(), GateState::Starting);
        gate.set(GateState::Open);

        assert!(gate.state() == GateState::WrongClock && !gate.state().takes_writes());
        assert!(gate.state().is_forwarded());
        gate.set_by_ring(GateState::Outside);
        assert_eq!(gate.state(), GateState::Outside);
        gate.set_by_ring(GateState::Open);

        assert!(gate.set_wrong_clock(false) && gate.is_open());
    }

    #[test]
    fn a_node_that_does_not_know_the_ring_is_closed_until_it_does() {
        let gate = Gate::default();
        gate.set(GateState::Open);
        assert!(gate.set_uninformed(true) && !gate.set_uninformed(true));
        assert!(gate.state() == GateState::Uninformed && gate.state().is_forwarded());

        gate.set_by_ring(GateState::Left);
        assert_eq!(
            gate.state(),
            GateState::Left,
            "what it knows of itself says more"
        );

        gate.set_by_ring(GateState::Open);
        assert!(gate.set_uninformed(false) && gate.is_open());
    }

    #[test]
    fn a_failed_log_stays_failed_and_a_stop_is_the_end() {
        let gate = Gate::default();
        assert_eq!(gate.state(), GateState::Starting);
        assert!(gate.set(GateState::Open) && gate.is_open());
        assert!(gate.set(GateState::DiskFull) && gate.set(GateState::Open));
        assert!(
            gate.set(GateState::LogFailed)
                && !gate.set(GateState::Open)
                && !gate.set(GateState::Draining)
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
