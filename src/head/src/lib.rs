//! The head: the newest samples of all tenants in memory, in shards.
//!
//! A [`Shard`] owns the series whose key falls to it. One writer at a time feeds it: batches of clients
//! ([`Shard::ingest`]), which it answers with what must go to the log, and records of other streams or of a replay
//! ([`Shard::apply`]). Samples are a set: whatever the order of streams, the same records give the same content, the
//! same digests and the same cuts (I2, I3).
//!
//! Readers take the lock for as long as it takes to copy the chunks of one series. Full chunks are on disk already;
//! the log and a checkpoint make everything survive a crash.
//!
//! What is absent on purpose: no thread, no clock, no log. The caller says what time it is and carries drafts to
//! the log in the order in which they were given out.

mod apply;
mod bucket;
mod checkpoint;
mod chunkfile;
mod collect;
mod cut;
mod digest;
mod error;
mod files;
mod histograms;
mod index;
mod ingest;
mod keys;
mod options;
mod output;
mod prefetch;
mod read;
mod series;
mod shard;
mod slab;
mod state;
mod stats;
mod streams;
mod tenant;
mod validate;

pub use apply::Applied;
pub use checkpoint::{CHECKPOINT_FILE, CheckpointReport, Recovered};
pub use cut::{CutManifest, CutSource, CutWindow, cut_windows};
pub use digest::WindowDigest;
pub use error::HeadError;
pub use options::{IngestLimits, ShardOptions};
pub use output::IngestOutput;
pub use read::{Cardinality, HeadSeries};
pub use shard::{Shard, StreamState};
pub use stats::ShardStats;
