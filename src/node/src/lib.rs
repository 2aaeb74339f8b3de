//! Builds every part of a node in order and owns the list by which it stops.
//!
//! [`run`] is the way in. It takes settings and goes through the floors of the house from below: `context` (time,
//! threads, metrics, the locked data directory), `storage` (log, head and local blocks, recovered), `cluster` (the mesh
//! and the ring), `actors`, `listeners` (queries and HTTP). Each floor adds to the list in `stop`, and the
//! node stops by that list backwards.
//!
//! - A node is ready for writes when its log is open, and for queries when the log behind the checkpoints is applied.
//! - A data directory belongs to one process ([`DataDir`]); what is wrong with it is said before anything is changed.
//! - The end of an essential part ends the node, in order, with the reason in the log.
//!
//! Logic that a unit test could reach without a node belongs into one of the crates below.

mod actors;
mod addresses;
mod admin;
mod after_replay;
mod answers;
mod api_settings;
mod block_server;
mod bucket;
mod calls;
mod catalog;
mod cluster;
mod compaction;
mod context;
mod datadir;
mod disk;
mod drain;
mod http;
mod io_threads;
mod listeners;
mod machine;
mod membership;
mod memory;
mod node;
mod open_files;
mod panics;
mod peer_queries;
mod rates;
mod rebuild;
mod recovery;
mod replaying;
mod replicators;
mod ring;
mod salvage;
mod scrub;
mod self_monitoring;
mod sink;
mod stop;
mod storage;
mod tenants;

pub use bucket::{Store, check as check_bucket, open as open_bucket, read_rules};
pub use compaction::compaction_limits;
pub use datadir::{DataDir, DataDirError};
pub use node::{End, run};
pub use salvage::{Salvaged, SalvagedBlock, salvage};
