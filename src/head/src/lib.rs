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
//! ```
//! use trireme_base::{Boot, Incarnation, StreamId};
//! use trireme_head::{IngestLimits, IngestOutput, Shard, ShardOptions};
//! use trireme_model::{FloatSample, Labels, MatchOp, Matcher, SeriesKey, Tenant};
//! use trireme_wire::batch::{Batch, BatchSeries};
//!
//! let dir = std::env::temp_dir().join(format!("trireme-head-doc-{}", std::process::id()));
//! let own = StreamId { incarnation: Incarnation(1), boot: Boot(1) };
//! let shard = Shard::new(ShardOptions::new(0, 1, 7_200_000, dir.clone(), own)).unwrap();
//! let marker = shard.close_window(236_110); // the first record of the own stream
//!
//! let (tenant, labels) = (Tenant::default(), Labels::from_pairs([("__name__", "up"), ("job", "node")]));
//! let batch = Batch {
//!     label_bytes: labels.as_bytes().to_vec(),
//!     samples: vec![FloatSample { t: 1_700_000_000_000, v: 1.0 }],
//!     series: vec![BatchSeries {
//!         key: SeriesKey::of(tenant.seed(), labels.as_bytes()),
//!         labels: 0..labels.as_bytes().len() as u32,
//!         samples: 0..1,
//!         histograms: 0..0,
//!         exemplars: 0..0,
//!     }],
//!     ..Batch::default()
//! };
//! let mut out = IngestOutput::default();
//! shard.ingest(&tenant, &batch, &[0], &IngestLimits::default(), 1_700_000_000_000, &mut out);
//! assert_eq!((out.outcome.samples, out.drafts.len()), (1, 1)); // the draft goes to the log, behind the marker
//!
//! let up = Matcher::new("__name__", MatchOp::Equal, "up").unwrap();
//! let found = shard.select(&tenant, &[up], 0, i64::MAX);
//! let (mut times, mut values) = (Vec::new(), Vec::new());
//! found[0].read(0, i64::MAX, &mut times, &mut values).unwrap();
//! assert_eq!((times, values), (vec![1_700_000_000_000], vec![1.0]));
//! # drop(marker);
//! # std::fs::remove_dir_all(dir).unwrap();
//! ```
//!
//! | module | what |
//! |---|---|
//! | `ingest`, `validate`, `output` | batches of clients: batched look-up, checks, drafts for the log |
//! | `apply`, `streams` | records of other streams, reference tables, which cut a sample belongs to |
//! | `bucket`, `histograms`, `chunkfile` | samples of a series, window and cut; full chunks on disk |
//! | `suspect`, `damage` | changes that panicked, chunks that cannot be read |
//! | `times`, `tenant` | what is kept per tenant |
//! | `index`, `keys`, `slab`, `state` | label pairs and postings, key table, series by slot |
//! | `read`, `recent`, `digest`, `stats`, `worst` | questions |
//! | `cut`, `checkpoint`, `collect` | blocks, restarts, letting series go |
//!
//! Change the bytes of a checkpoint and `docs/formats/checkpoint.md` together, and count up its version.
//!
//! What is absent on purpose: no thread, no clock, no log. The caller says what time it is and carries drafts to
//! the log in the order in which they were given out.

mod apply;
mod bucket;
mod checkpoint;
mod chunkfile;
mod collect;
mod cut;
mod damage;
mod digest;
mod error;
mod files;
mod histograms;
mod index;
mod ingest;
mod keys;
mod memory;
mod options;
mod output;
mod prefetch;
mod read;
mod recent;
mod series;
mod shard;
mod slab;
mod starts;
mod state;
mod stats;
mod streams;
mod suspect;
mod tenant;
mod times;
mod validate;
mod worst;

pub use apply::Applied;
pub use checkpoint::{
    CHECKPOINT_FILE, CheckpointPace, CheckpointReport, Recovered, covered_by_all, verify_checkpoint,
};
pub use cut::{CutManifest, CutSource, CutWindow, LeftWindow, cut_windows, left_windows};
pub use digest::WindowDigest;
pub use error::HeadError;
pub use memory::HeadMemory;
pub use options::{IngestLimits, OnSuspect, ShardOptions};
pub use output::IngestOutput;
pub use read::effort::Effort;
pub use read::{Counts, HeadSeries};
pub use recent::Moment;
pub use shard::{Shard, StreamState};
pub use stats::ShardStats;
pub use suspect::{PanicPoint, SET_ASIDE};
pub use times::TenantTimes;
pub use validate::is_refused_by_clock;
