//! The node's write-ahead log: one physical, segmented, checksummed, group-committed file sequence that holds the
//! records of all streams, so that three logical logs share one fsync.
//!
//! A thread of its own owns the files. When its [`Bell`] rings it takes whatever has arrived, gives own records their
//! seq, writes one batch, tells the observer (which pushes to peers), syncs once, and tells the observer what is durable
//! now. Everything that arrives during a sync goes into the next batch. Queues are bounded; a full one answers
//! [`AppendError::Busy`].
//!
//! What this crate does not do: it never looks into a payload, never talks to a peer and never decides what may be
//! forgotten; it is told.
//!
//! ```
//! use std::sync::Arc;
//! use trireme_base::{Boot, Incarnation, StreamId, SystemClock};
//! use trireme_log::{CompletionTag, Log, LogOptions, NoObserver};
//! use trireme_wire::record::{RecordDraft, RecordKind};
//!
//! let dir = std::env::temp_dir().join(format!("trireme-log-doc-{}", std::process::id()));
//! let own = StreamId { incarnation: Incarnation(1), boot: Boot(1) };
//! let (log, found) =
//!     Log::open(&dir, LogOptions::default(), own, &[], Arc::new(NoObserver), Arc::new(SystemClock::new())).unwrap();
//! assert!(found.positions.is_empty());
//! let mut draft = RecordDraft::new(0, RecordKind::Samples);
//! draft.payload_mut().extend_from_slice(b"payload");
//! log.append_own(vec![draft], CompletionTag(1)).unwrap();
//! log.flush().unwrap();
//! assert_eq!(log.durable_positions(), [(own, 1)]);
//! log.close();
//! # std::fs::remove_dir_all(dir).unwrap();
//! ```
//!
//! The file formats are described byte by byte in `docs/formats/log.md`.

mod base;
mod bell;
mod compress;
pub mod disk;
mod error;
mod format;
mod log;
mod observer;
mod options;
mod plan;
mod read;
mod recent;
mod recovery;
mod replay;
mod rolling;
mod salvage;
mod scan;
mod segment;
mod shared;
mod stats;
mod summary;
mod trim;
mod without_thread;
mod writer;

pub use bell::{Bell, LastRings};
pub use error::{AppendError, LogError};
pub use log::{Foreign, Log};
pub use observer::{LogObserver, NoObserver, OwnPlace, SyncReport};
pub use options::{CompletionTag, Durability, LogOptions};
pub use plan::ReplayPlan;
pub use recovery::{Damage, Recovered, TailCut};
pub use replay::{ReplayReport, ReplayWatch};
pub use stats::LogStats;
