//! Rebuilding this node from a peer, and helping a peer to rebuild.
//!
//! ```text
//!  driver  ── asks ──▶ trireme_replication::Rebuild (what next?)
//!    │  ◀─ Fetch, Check ─
//!    ├── calls ──▶ server of a peer ── files of its snapshot
//!    └── writes ─▶ staging: rebuild/ in the data directory
//!                    │  all there
//!                    └── ready ──▶ the process starts anew ──▶ install: renames, before anything is opened
//! ```
//!
//! Installing needs no code of its own beyond renames: a peer's checkpoints are read like this node's own, and the log
//! behind them, this node's part of it included, is replayed or fetched as after any restart.

mod driver;
mod install;
mod server;
mod staging;

pub(crate) use driver::spawn;
pub(crate) use install::install;
pub(crate) use server::{ServerMetrics, SnapshotServer};
pub(crate) use staging::{Found, Staging};
