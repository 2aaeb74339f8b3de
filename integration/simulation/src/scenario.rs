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
    /// Wall clocks that jump, one of them by up to a year, some killed processes.
    Clocks,
    /// All of the above.
    Mixed,
    /// A replica that is away for longer than the others wait for it.
    Away,
    /// Bits that flip in the synced log of one replica while it is down, and sectors that it cannot read any more.
    Damage,
    /// A disk that is replaced by an empty one; in half of the runs when streams have ended, of which no log has anything.
    Wiped,
    /// Disks that stand still, machines that are stopped and replays that take long, each up to a minute.
    Stalls,
    /// Tenants that come and go, histograms and metadata, packed logs, some crashes.
    Tenants,
    /// Hundreds of starts.
    Lives,
    /// Shards that are mended while the log writes, writers that die, full disks, some crashes.
    Writers,
    /// Members join, count, drain, leave and are replaced under partitions and crashes, and queries are made.
    Rings,
    /// A replica that is away for longer than the others keep their logs, and copies what it lacks from one of them.
    Behind,
    /// A data directory that is set back to an older state, and a second machine that says to be somebody else.
    Copies,
    /// Checkpoints that cannot be read any more, under crashes inside checkpoints and cuts.
    Checkpoints,
}

impl Kind {
    /// Kinds that seeds have.
    pub const ALL: [Self; 16] = [
        Self::Crashes,
        Self::Network,
        Self::Disks,
        Self::Clocks,
        Self::Mixed,
        Self::Away,
        Self::Damage,
        Self::Wiped,
        Self::Stalls,
        Self::Tenants,
        Self::Lives,
        Self::Writers,
        Self::Rings,
        Self::Behind,
        Self::Copies,
        Self::Checkpoints,
    ];

    /// The kind of a seed.
    pub fn of(seed: u64) -> Self {
        let kinds = Self::ALL.len() as u64;
        match Self::ALL[(seed % kinds) as usize] {
            // These take long.
            Self::Lives if !(seed / kinds).is_multiple_of(4) => Self::Mixed,
            kind => kind,
        }
    }

    /// The kind with this name, as `Debug` prints it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| format!("{kind:?}") == name)
    }
}

/// What senders send.
#[derive(Debug, Clone, Default)]
pub struct Load {
    /// Senders move on to a tenant that nobody knows yet, and pause until their old series are let go.
    pub moves: bool,
    /// Nobody sends between these two times, so that all series are let go.
    pub quiet: Option<(Duration, Duration)>,
    /// Until then there is nothing but metadata.
    pub only_metadata_until: Duration,
    /// Every other series has histograms.
    pub has_histograms: bool,
    /// Some requests bring metadata, some nothing else.
    pub has_metadata: bool,
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
    /// Machines that may become members later.
    pub spares: usize,
    /// One machine more, which says to be one of the others.
    pub has_twin: bool,
    /// How long faults go on.
    pub disturbed: Duration,
    /// Mean time between faults.
    pub fault_every: Duration,
    /// Longest time of a fault that ends by itself.
    pub fault_max: Duration,
    /// Longest time from a start to the end of its replay.
    pub replay_max: Duration,
    /// Time between two checkpoints of a process.
    pub checkpoint_every: Duration,
    /// Longest time between the end of a process and the next start.
    pub down_max: Duration,
    /// A wall clock may be off by up to a year.
    pub has_years: bool,
    /// Whether log that all replicas have is let go.
    pub trims: bool,
    /// Length of a segment of the log.
    pub segment_bytes: u64,
    /// Log kept for replicas that are away.
    pub log_retention_bytes: u64,
    /// Whether a replica may have to copy what no log has any more.
    pub may_rebuild: bool,
    /// The log's thread writes between two steps of a shard's writer.
    pub races: bool,
    /// Records are packed on the disk.
    pub packs: bool,
    /// What is sent.
    pub load: Load,
    /// How long a replica that is away holds cuts up.
    pub seal_after: Duration,
    /// Blocks must be equal byte for byte, not only their samples.
    ///
    /// Not so where a replica was given up, because what it brings back later goes to a later cut of the others; nor where
    /// a part of its log was destroyed after it was cut; nor where markers a year ahead are worked around, because how far
    /// ahead one is goes by what a replica has cut.
    pub equal_blocks: bool,
}

impl Scenario {
    /// The scenario of a seed.
    pub fn of(seed: u64) -> Self {
        Self::with(Kind::of(seed), seed)
    }

    /// The scenario of a seed as if it were of another kind.
    pub fn with(kind: Kind, seed: u64) -> Self {
        let mut rng = SeededRng::new(seed ^ 0x7472_6972_656d_6531);
        let lenient = matches!(
            kind,
            Kind::Away | Kind::Damage | Kind::Wiped | Kind::Behind | Kind::Copies
        );
        let is_spoiled = matches!(kind, Kind::Damage | Kind::Wiped | Kind::Copies);
        let large = matches!(kind, Kind::Network | Kind::Mixed | Kind::Crashes) && rng.chance(0.15);
        let has_years = kind == Kind::Clocks && rng.chance(0.7);
        let plain = Self {
            seed,
            kind,
            voters: if large { 5 } else { 3 },
            has_joining: !is_spoiled && rng.chance(0.15),
            spares: 0,
            has_twin: false,
            has_years,
            disturbed: Duration::from_secs(40 + rng.below(40)),
            fault_every: Duration::from_millis(1_500 + rng.below(4_000)),
            fault_max: Duration::from_secs(if kind == Kind::Away { 25 } else { 9 }),
            replay_max: Duration::from_millis(400),
            checkpoint_every: Duration::from_secs(15),
            down_max: Duration::from_secs(6),
            trims: !is_spoiled,
            segment_bytes: 12_000,
            log_retention_bytes: 1 << 40,
            may_rebuild: false,
            races: false,
            packs: false,
            load: Load::default(),
            seal_after: Duration::from_secs(if lenient { 8 } else { 3_600 }),
            equal_blocks: !lenient && !has_years,
        };

        match kind {
            Kind::Stalls => Self {
                fault_max: Duration::from_secs(60),
                replay_max: Duration::from_secs(60),
                fault_every: plain.fault_every * 3,
                disturbed: plain.disturbed * 2,
                packs: rng.chance(0.3),
                ..plain
            },
            Kind::Tenants => Self {
                packs: rng.chance(0.5),
                load: Load {
                    moves: true,
                    has_histograms: true,
                    has_metadata: true,
                    ..Load::default()
                },
                ..plain
            },
            Kind::Lives => Self {
                fault_every: Duration::from_millis(100 + rng.below(400)),
                down_max: Duration::from_millis(300),
                checkpoint_every: Duration::from_millis(300),
                replay_max: Duration::from_millis(100),
                segment_bytes: 2_000,
                packs: rng.chance(0.3),
                ..plain
            },
            // As with lives. Segments do not fill up: a log has everything of a stream that goes on, and lets go of one that has
            // ended where a start began another segment. What the new disk lacks is then in ended streams alone.
            Kind::Wiped if rng.chance(0.5) => Self {
                fault_every: Duration::from_millis(200 + rng.below(400)),
                fault_max: Duration::from_millis(300),
                down_max: Duration::from_millis(300),
                replay_max: Duration::from_millis(100),
                checkpoint_every: Duration::from_millis(300),
                segment_bytes: 1 << 20,
                trims: true,
                may_rebuild: true,
                ..plain
            },
            Kind::Writers => Self {
                races: true,
                load: Load {
                    moves: rng.chance(0.5),
                    ..Load::default()
                },
                packs: rng.chance(0.3),
                ..plain
            },
            // Whoever joins takes everything from the logs.
            Kind::Rings => Self {
                spares: 3,
                has_joining: false,
                trims: false,
                equal_blocks: false,
                seal_after: Duration::from_secs(8),
                ..plain
            },
            // One at a time: where two have let go of what the other lacks, no copy of one of them helps.
            Kind::Behind => Self {
                disturbed: plain.disturbed * 2,
                fault_every: plain.fault_every * 2,
                has_joining: false,
                segment_bytes: 2_000,
                log_retention_bytes: 6_000,
                may_rebuild: true,
                ..plain
            },
            Kind::Copies => Self {
                has_twin: rng.chance(0.5),
                ..plain
            },
            Kind::Checkpoints => Self {
                disturbed: plain.disturbed * 2,
                segment_bytes: 2_000,
                load: Load {
                    moves: true,
                    has_metadata: true,
                    ..Load::default()
                },
                ..plain
            },
            _ => plain,
        }
    }

    /// Machines that are members of the group, or may be.
    pub fn members(&self) -> usize {
        self.voters + usize::from(self.has_joining) + self.spares
    }

    /// Members to which senders send.
    pub fn targets(&self) -> usize {
        self.voters + self.spares
    }
}
