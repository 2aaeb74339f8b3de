//! The actors of a node, and the parts that they share.
//!
//! An actor is a supervised shell: it owns a mailbox, a timer and I/O, and hands work to synchronous code. They stand in
//! the order of a sample's way: `front`, `ingest`, `replicator`, `block_writer`, `uploader`, `compactor`, `scrubber`,
//! `query_shard`, `membership`. `policy` is the table of how each kind runs, is bounded and is restarted; `supervisor` and `canary`
//! notice what died and start it anew; `delivery` is the one file that calls actix's send functions.
//!
//! Nothing is decided here that a library crate could decide: what is stored and cut is in `trireme_storage`, where a write goes in
//! `trireme_write`, what is merged in `trireme_compaction`. `turn` says which of the live members does a job that any could do.
//!
//! A message carries a batch, never a sample. A mailbox that is full is an answer to the sender, never a wait without end.

mod block_writer;
mod canary;
mod compactor;
mod delivery;
mod front;
mod ingest;
mod membership;
mod policy;
mod ports;
mod query_shard;
mod replicator;
mod scrubber;
mod supervisor;
mod turn;
mod uploader;

pub use block_writer::{
    BlockWriter, BlockWriterMetrics, BlockWriterOptions, BlockWriterParts, BlockWriterPorts,
    Checkpoint, GetWindows, TakeSnapshot, close_window,
};
pub use canary::Canary;
pub use compactor::{Compacting, CompactingMetrics, CompactingParts};
pub use front::{Front, FrontPorts, GetHealth, MemberHealth, PeerHealth};
pub use ingest::{CloseWindow, CollectSeries, Ingest, IngestParts, IngestPorts, NotePositions};
pub use membership::{GetRing, Membership};
pub use policy::{ActorKind, POLICIES, Placement, Policy, policy};
pub use ports::MailboxMetrics;
pub use query_shard::{Evaluate, EvaluateError, QueryShard, evaluate};
pub use replicator::{Replicator, ReplicatorParts};
pub use scrubber::{Scrubber, ScrubberMetrics, ScrubberOptions, ScrubberParts};
pub use supervisor::{
    Start, StartError, Started, Supervisor, SupervisorDoor, SupervisorHandle, SupervisorParts,
};
pub use uploader::{Uploader, UploaderMetrics, UploaderParts};
