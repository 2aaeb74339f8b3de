//! Bytes on the wire: remote write in, log records between disk and peers, frames between nodes.

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
