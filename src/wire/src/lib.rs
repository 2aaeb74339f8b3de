//! Bytes that leave or enter a process: requests of clients, records of the log, frames and calls between nodes.
//!
//! What clients send becomes a [`batch`], whatever protocol brought it: [`rw1`] and [`rw2`] read the two versions of
//! remote write, [`otlp`] reads OpenTelemetry's metrics, [`snappy`] inflates behind a cap; [`mod@read`] takes a remote
//! read request apart. A batch becomes an [`entry`] of a shard, and the entry the payload of a [`record`], which is
//! the same bytes on disk, on the way to a peer and on the peer's disk. Nodes talk in [`frame`]s; what a replica asks
//! another one for is in [`mod@rebuild`] and [`blocks`].
//!
//! Readers trust nothing: sizes are bounded before anything is allocated for them, and what a body may take when it is
//! decoded is lent first ([`Lend`]). Each has a fuzz target. Formats are described in `docs/formats`; how they may
//! change is in `docs/evolution.md`.
//!
//! Absent on purpose: I/O, time, and any knowledge of what the bytes are for.

pub mod batch;
pub mod blocks;
pub mod entry;
pub mod frame;
pub mod otlp;
pub mod prompb;
pub mod read;
pub mod rebuild;
pub mod record;
pub mod rw1;
pub mod rw2;
pub mod snappy;

pub use prompb::{Boundless, DecodeError, DecodeLimits, Decoded, Lend};
