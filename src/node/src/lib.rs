//! Builds every part of a node in order and owns the list by which it stops.

mod admin;
mod after_replay;
mod answers;
mod api_settings;
mod block_server;
mod bucket;
mod calls;
mod catalog;
mod cluster;
mod datadir;
mod disk;
mod drain;
mod ground;
mod http;
mod io_threads;
mod membership;
mod node;
mod open_files;
mod outside;
mod panics;
mod rebuild;
mod recovery;
mod replaying;
mod replicators;
mod ring;
mod scrub;
mod self_monitoring;
mod sink;
mod spread;
mod staff;
mod stop;
mod storage;
mod tenants;

pub use bucket::{Store, check as check_bucket, open as open_bucket};
pub use datadir::{DataDir, DataDirError};
pub use node::{End, run};
