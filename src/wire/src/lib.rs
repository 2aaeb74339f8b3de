//! What nodes speak, and what their log holds: records, frames and calls.
//!
//! A [`batch`] is what a client sent, whatever protocol brought it (`trireme_remote`). It becomes an [`entry`] of a shard, and the
//! entry the payload of a [`record`], which is the same bytes on disk, on the way to a peer and on the peer's disk. Nodes talk in
//! [`frame`]s; [`rpc`] has the table of calls, [`mod@rebuild`] and [`blocks`] the messages of two.
//!
//! Readers trust nothing: sizes are bounded before anything is allocated for them. Each has a fuzz target. Formats, and how they may
//! change, are described in `docs/formats`.
//!
//! Absent on purpose: I/O, time, and any knowledge of what the bytes are for.

pub mod batch;
pub mod blocks;
pub mod entry;
pub mod frame;
pub mod rebuild;
pub mod record;
pub mod rpc;
