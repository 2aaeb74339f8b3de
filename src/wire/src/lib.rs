//! Bytes on the wire: remote write in, log records between disk and peers, frames between nodes.

pub mod batch;
pub mod record;
