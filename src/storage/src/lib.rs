//! The node's local engine: the shards of the head, the log and the local blocks as one thing that loses nothing.
//!
//! A sample comes in by a [`ShardWriter`], is applied to its shard and queued for the log; [`Commits`] says when a quorum has
//! it. Records of peers come in by the [`Store`], wait in a [`ApplyQueue`] for their shard and are counted in the [`ApplyTracker`].
//! [`Cutting`] turns a window of the head into a block among the [`LocalBlocks`], writes checkpoints and takes snapshots for peers.
//! [`Completeness`] knows what is missing here, so that nobody takes this replica's answer for the whole. The [`Gate`] says whether
//! the node takes writes, and [`ClockWatch`] whether its clock may be believed when a sample is refused for its time.
//!
//! # Invariants
//!
//! - What is in the head is in the log, or waits in [`PendingAppends`] until it is, in the order in which it was applied.
//! - A block is seen by nobody before the manifest of its cut is durable, and a cut lets go of nothing before that.
//! - A checkpoint covers only records that are durable in the log.
//! - What could not be applied is known before anything outlives it.
//!
//! # Lock order
//!
//! A thread that holds one of these takes only those below it:
//!
//! 1. `Cutting::alone`: one cut, checkpoint or snapshot at a time.
//! 2. `PendingAppends::turn`: one for each shard, of which nobody holds two. It makes "applied and queued" one step for a checkpoint.
//! 3. the shard's own state, inside `trireme_head`.
//! 4. `LocalBlocks::placing`, and then the list of its blocks.
//! 5. all others: waiters, positions, ends, the group's view in the hub. Nobody takes a second one while one of them is held.
//!
//! # Not here
//!
//! Actors, timers and threads: who calls decides when. Where a write goes that this node does not store is in `trireme_write`;
//! what goes over the wire is in `trireme_transport`; the bucket is none of this crate's business.

mod apply_queue;
mod apply_tracker;
mod clock_watch;
mod closing;
mod commits;
mod completeness;
mod cutting;
mod gate;
mod head_metrics;
mod ingest_batch;
mod limits;
mod local_blocks;
mod pending_appends;
mod replay;
mod shard_writer;
mod snapshots;
mod store;

pub use apply_queue::{ApplyQueue, ApplyReady, TURN_RECORDS};
pub use apply_tracker::ApplyTracker;
pub use clock_watch::{CLOCK_EVERY, ClockMetrics, ClockWatch};
pub use closing::Windows;
pub use commits::{CommitReceiver, Commits, Committed};
pub use completeness::{Completeness, RebuildState, note_missing};
pub use cutting::snapshot::ENDED;
pub use cutting::{
    BlockStyle, CheckpointDone, CutDone, Cutting, CuttingError, NextCut, SettledBlocks, Written,
};
pub use gate::{Gate, GateState};
pub use head_metrics::HeadMetrics;
pub use ingest_batch::{IngestBatch, ShardAnswer};
pub use limits::LimitsTable;
pub use local_blocks::{LocalBlock, LocalBlocks};
pub use pending_appends::PendingAppends;
pub use replay::{Replay, ReplayProgress};
pub use shard_writer::{PoisonFlag, ShardWriter, ShardWriterParts};
pub use snapshots::Snapshots;
pub use store::{Store, StoreMetrics, StoreParts};
