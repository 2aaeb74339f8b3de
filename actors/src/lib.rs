//! The actors of a node, and the parts that they share.
//!
//! An actor is a supervised shell: it owns a mailbox, a timer and I/O, and hands work to synchronous code. They stand in
//! the order of a sample's way: `front`, `ingest`, `replicator`, `block_writer`, `uploader`, `compactor`, `scrubber`,
//! `query_shard`, `membership`. `policy` is the table of how each kind runs, is bounded and is restarted; `supervisor` and `canary`
//! notice what died and start it anew; `delivery` is the one file that calls actix's send functions.
//!
//! The other files know no actor. A write goes through `write_path`, `route` and `forward`, is stored by a
//! `shard_writer`, waits in `commits`, and comes back from the log through `store`. A cut is in `cutting`, the local
//! blocks are in `shelf`.
//!
//! A message carries a batch, never a sample. A mailbox that is full is an answer to the sender, never a wait without end.

mod block_writer;
mod canary;
mod clock_watch;
mod closing;
mod commits;
mod compactor;
mod completeness;
mod cutting;
mod delivery;
mod forward;
mod front;
mod gate;
mod head_metrics;
mod ingest;
mod lane;
mod ledger;
mod limits;
mod membership;
mod neighbours;
mod policy;
mod ports;
mod query_shard;
mod replay;
mod replicator;
mod route;
mod scrubber;
mod shard_writer;
mod shelf;
mod snapshots;
mod store;
mod supervisor;
mod turn;
mod unlogged;
mod uploader;
mod write_path;

pub use block_writer::{
    BlockWriter, BlockWriterMetrics, BlockWriterOptions, BlockWriterParts, BlockWriterPorts,
    Checkpoint, GetWindows, TakeSnapshot, close_window,
};
pub use canary::Canary;
pub use clock_watch::{CLOCK_EVERY, ClockMetrics, ClockWatch};
pub use closing::Windows;
pub use commits::{CommitReceiver, Commits, Committed};
pub use compactor::{Compacting, CompactingMetrics, CompactingParts};
pub use completeness::{Completeness, RebuildState, note_missing};
pub use cutting::snapshot::ENDED;
pub use cutting::{
    BlockStyle, CheckpointDone, CutDone, Cutting, CuttingError, NextCut, SettledBlocks, Written,
};
pub use forward::{
    CALL_PART, CALL_PART_VERSION, CALL_WRITE, CALL_WRITE_VERSION, ForwardMetrics, Forwarder,
    OutcomeMessage, PASSES_MAX,
};
pub use front::{Front, FrontPorts, GetHealth, MemberHealth, PeerHealth, Substitute};
pub use gate::{Gate, GateState};
pub use head_metrics::HeadMetrics;
pub use ingest::{CloseWindow, CollectSeries, Ingest, IngestParts, IngestPorts, NotePositions};
pub use lane::{Lane, LaneReady};
pub use ledger::ApplyLedger;
pub use limits::LimitsTable;
pub use membership::{GetRing, Membership};
pub use neighbours::{Bystander, NeighbourGroup, Neighbours};
pub use policy::{ActorKind, POLICIES, Placement, Policy, policy};
pub use ports::MailboxMetrics;
pub use query_shard::{Evaluate, EvaluateError, QueryShard, evaluate};
pub use replay::{Replay, ReplayProgress};
pub use replicator::{Replicator, ReplicatorParts};
pub use route::{Route, Routes};
pub use scrubber::{Scrubber, ScrubberMetrics, ScrubberOptions, ScrubberParts};
pub use shard_writer::{ShardWriter, ShardWriterParts, WriterMark};
pub use shelf::{Shelf, ShelfBlock};
pub use snapshots::Snapshots;
pub use store::{Store, StoreMetrics, StoreParts};
pub use supervisor::{
    Start, StartError, Started, Supervisor, SupervisorDoor, SupervisorHandle, SupervisorParts,
};
pub use unlogged::Unlogged;
pub use uploader::{Uploader, UploaderMetrics, UploaderParts};
pub use write_path::{IngestBatch, ShardAnswer, WritePath};
