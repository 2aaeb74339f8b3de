//! A replica group in one thread and virtual time.
//!
//! A run is decided by its seed: which faults come when, what senders send, how long everything takes. The parts are the
//! product's own: log with its recovery and replay, head, links, group view, commits, cuts, checkpoints, blocks, frames.
//! Replaced are threads, sockets, clocks and the disk under the log, by an event loop that does what their shells do. After
//! the faults everything is mended, and the [promises](World::run) must hold.
//!
//! | module | what |
//! |---|---|
//! | `scenario`, `mutation` | what a seed decides; known bugs to put in |
//! | `world`, `world/*` | the event loop, machines, senders, faults, the end |
//! | `machine`, `process`, `process/*`, `request` | a computer, its process, what the shells do |
//! | `disk`, `disk/*`, `staging`, `clock`, `race`, `network`, `sender` | what the machines stand on |
//! | `history`, `content` | what was sent and acknowledged, what nodes have, and the comparison |
//!
//! Absent: the rebuild of a new or damaged disk, and Raft; the cluster tests have them.

mod clock;
mod content;
mod disk;
mod history;
mod machine;
mod mutation;
mod network;
mod process;
mod race;
mod request;
mod scenario;
mod sender;
mod staging;
mod trace;
mod world;

pub use mutation::Mutation;
pub use scenario::{Kind, Load, Scenario};
pub use trace::Trace;
pub use world::World;

/// What happened in a run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Events handled.
    pub events: u64,
    /// Faults of all kinds.
    pub faults: u64,
    /// Processes started.
    pub starts: u64,
    /// Processes killed.
    pub kills: u64,
    /// Machines that lost power.
    pub power_cuts: u64,
    /// Connections given up by a node.
    pub hang_ups: u64,
    /// Reads of a log because a peer was behind.
    pub catch_up_reads: u64,
    /// Segments of logs let go.
    pub trimmed: u64,
    /// Streams of earlier starts that a replica has let go by the end.
    pub ended: u64,
    /// Those that it had let go before the last fault.
    pub ended_under_faults: u64,
    /// Blocks written, by all replicas.
    pub blocks: u64,
    /// Requests answered 2xx.
    pub stored: u64,
    /// Attempts that had to be repeated.
    pub retried: u64,
    /// Samples acknowledged.
    pub acked: u64,
    /// Bits flipped.
    pub flips: u64,
    /// Disks replaced.
    pub wipes: u64,
    /// Changes of the ring.
    pub ring_changes: u64,
    /// Queries that were called complete.
    pub queries: u64,
    /// Nodes that needed a copy of a peer.
    pub rebuilds: u64,
    /// Copies that were installed.
    pub copies: u64,
    /// Sectors lost.
    pub bad_sectors: u64,
    /// Data directories set back to an older state.
    pub set_back: u64,
    /// Processes that were refused by the other members.
    pub refused: u64,
}

impl Summary {
    /// Adds another run.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.faults += other.faults;
        self.starts += other.starts;
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
        self.hang_ups += other.hang_ups;
        self.catch_up_reads += other.catch_up_reads;
        self.trimmed += other.trimmed;
        self.ended += other.ended;
        self.ended_under_faults += other.ended_under_faults;
        self.blocks += other.blocks;
        self.stored += other.stored;
        self.retried += other.retried;
        self.acked += other.acked;
        self.flips += other.flips;
        self.wipes += other.wipes;
        self.ring_changes += other.ring_changes;
        self.queries += other.queries;
        self.rebuilds += other.rebuilds;
        self.copies += other.copies;
        self.bad_sectors += other.bad_sectors;
        self.set_back += other.set_back;
        self.refused += other.refused;
    }
}

/// A run that broke a promise.
#[derive(Debug)]
pub struct Failure {
    /// What is wrong.
    pub problem: String,
    /// What happened, if it was noted.
    pub trace: Trace,
}

/// Runs a seed; `trace` is given back with a failure.
pub fn run(seed: u64, mutation: Option<Mutation>, trace: Trace) -> Result<Summary, Failure> {
    run_scenario(Scenario::of(seed), mutation, trace)
}

/// Runs what a seed decides, perhaps for another kind than its own.
pub fn run_scenario(
    scenario: Scenario,
    mutation: Option<Mutation>,
    trace: Trace,
) -> Result<Summary, Failure> {
    let failed = |problem: String| Failure {
        problem,
        trace: Trace::default(),
    };
    let root = tempfile::Builder::new()
        .prefix("trireme-simulation-")
        .tempdir_in(memory_dir());
    let root = root.map_err(|e| failed(format!("no directory for the disks: {e}")))?;
    let world = World::new(scenario, mutation, root.path(), trace);
    let mut world = world.map_err(|e| failed(format!("{e:#}")))?;

    world.run().map_err(|problem| Failure {
        problem,
        trace: world.into_trace(),
    })
}

/// A memory file system where there is one: nothing here has to survive anything real.
fn memory_dir() -> std::path::PathBuf {
    let memory = std::path::PathBuf::from("/dev/shm");
    if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    }
}
