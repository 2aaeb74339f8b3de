//! What clients speak: requests of senders and readers as they come in.
//!
//! Whatever protocol brought it, what a sender writes becomes a [`Batch`](trireme_wire::batch::Batch): [`rw1`] and [`rw2`] read the
//! two versions of remote write, [`otlp`] reads OpenTelemetry's metrics, and [`snappy`] inflates behind a cap. [`mod@read`] takes a
//! remote read request apart. [`prompb`] has the messages of Prometheus that these have in common.
//!
//! Readers trust nothing: sizes are bounded before anything is allocated for them, and what a body may take when it is decoded is
//! lent first ([`Lend`]). Each has a fuzz target.
//!
//! Absent on purpose: I/O, time, HTTP (`trireme_api`), and what nodes speak among themselves (`trireme_wire`).

pub mod otlp;
pub mod prompb;
pub mod read;
pub mod rw1;
pub mod rw2;
pub mod snappy;

pub use prompb::{Boundless, DecodeError, DecodeLimits, Decoded, Lend};
