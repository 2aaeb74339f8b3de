//! Prometheus's protobuf messages.
//!
//! Write requests are read by hand ([`crate::rw1`], [`crate::rw2`]), because a generated decoder allocates for every
//! label. The generated-style structs in [`v1`] and [`v2`] are the other side of their differential tests and what
//! test senders encode; [`read`] holds remote read's messages, which are small enough for prost in the server too.

#[cfg(test)]
pub(crate) mod arbitrary;
pub(crate) mod cursor;
mod error;
pub(crate) mod histogram;
mod limits;
pub mod read;
pub mod v1;
pub mod v2;

pub use error::DecodeError;
pub use histogram::check as check_histogram;
pub(crate) use limits::{BadHistograms, EXEMPLAR_LABEL_BYTES_MAX, Room, bound};
pub use limits::{Boundless, DecodeLimits, Lend};

use trireme_model::Rejections;
use trireme_wire::batch::Batch;

/// A decoded write request: what can be stored, and what was refused before anyone looked at the head.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Everything that is well formed.
    pub batch: Batch,
    /// Series and samples that the protocol itself forbids.
    pub rejections: Rejections,
    /// Exemplars that are left out, which the request succeeds without.
    pub dropped: Rejections,
    /// Samples and histograms of the batch in series of version 2 that came without metadata.
    pub without_metadata: u64,
    /// What was odd about an OTLP request that is stored nevertheless: how often, by Prometheus's categories.
    pub otlp_warnings: Vec<(&'static str, u64)>,
}
