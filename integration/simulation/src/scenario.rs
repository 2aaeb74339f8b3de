//! What a seed decides before anything runs.

use std::time::Duration;

use trireme_base::SeededRng;

/// Which faults a run has. A seed's kind is its remainder, so that every kind comes up equally often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Killed processes and power cuts, at any moment and at chosen effects.
    Crashes,
    /// Partitions of every shape, lost connections, some crashes.
    Network,
    /// Slow, stuck, failing and full disks, some crashes.
    Disks,
    /// Wall clocks that jump, some killed processes.
    Clocks,
    /// All of the above.
    Mixed,
    /// A replica that is away for longer than the others wait for it.
    Away,
    /// Bits that flip in the synced log of one replica while it is down.
    Damage,
    /// A disk that is replaced by an empty one.
    Wiped,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Crashes,
        Self::Network,
        Self::Disks,
        Self::Clocks,
        Self::Mixed,
        Self::Away,
        Self::Damage,
        Self::Wiped,
    ];

    /// The kind of a seed.
    pub fn of(seed: u64) -> Self {
        Self::ALL[(seed % Self::ALL.len() as u64) as usize]
    }
}

/// A run before its first event.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Where everything comes from.
    pub seed: u64,
    /// Which faults.
    pub kind: Kind,
    /// Members whose copies count.
    pub voters: usize,
    /// One member more, whose copy does not count yet.
    pub has_joining: bool,
    /// How long faults go on.
    pub disturbed: Duration,
    /// Mean time between faults.
    pub fault_every: Duration,
    /// Whether log that all replicas have is let go.
    pub trims: bool,
    /// How long a replica that is away holds cuts up.
    pub seal_after: Duration,
    /// Blocks must be equal byte for byte, not only their samples.
    ///
    /// Not so where a replica was given up, because what it brings back later goes to a later cut of the others; nor where
    /// a part of its log was destroyed after it was cut.
    pub equal_blocks: bool,
}

impl Scenario {
    /// The scenario of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = SeededRng::new(seed ^ 0x7472_6972_656d_6531);
        let kind = Kind::of(seed);
        let lenient = matches!(kind, Kind::Away | Kind::Damage | Kind::Wiped);
        let large = matches!(kind, Kind::Network | Kind::Mixed | Kind::Crashes) && rng.chance(0.15);
        Self {
            seed,
            kind,
            voters: if large { 5 } else { 3 },
            has_joining: !matches!(kind, Kind::Damage | Kind::Wiped) && rng.chance(0.15),
            disturbed: Duration::from_secs(40 + rng.below(40)),
            fault_every: Duration::from_millis(1_500 + rng.below(4_000)),
            trims: !matches!(kind, Kind::Damage | Kind::Wiped),
            seal_after: Duration::from_secs(if lenient { 8 } else { 3_600 }),
            equal_blocks: !lenient,
        }
    }

    /// Members of the group.
    pub fn members(&self) -> usize {
        self.voters + usize::from(self.has_joining)
    }
}
