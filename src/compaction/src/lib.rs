//! Merges blocks of the bucket into larger ones, and downsamples them.
//!
//! ```text
//! listed blocks ──▶ plan: jobs ──▶ merge: one local block ──▶ publish, read back ──▶ mark the sources ──▶ delete them later
//!                                └▶ downsample: likewise ──▶ publish, read back
//! ```
//!
//! [`plan`] is a pure function of what the bucket holds, the time and limits. [`Compactor`] does the jobs: it reads sources
//! series by series from the local disk or the bucket, writes the result beside, uploads it, and marks the sources once it
//! was read back. [`Compactor::finish`] does what a crash left undone, and deletes sources when their time has come. A block that
//! is downsampled stays; coarse blocks of its parts go as merged blocks do.
//!
//! - The result's bytes, and so its name, follow from the samples and the range alone. Whoever does a job twice makes the
//!   same block twice, which is harmless; so nobody has to be kept from it.
//! - A source is marked only when a block that holds all of it was read back from the bucket. A crash at any instruction
//!   leaves what the next run finishes.
//! - Samples of several blocks are united as queries unite them, so no answer changes.
//! - Memory is that of one part of one series, of pieces of the sources, and of what the index writer keeps.
//!
//! - A block whose retention is over is marked by the word of clock and newest sample together, and not while a coarser block is
//!   still to be made of it. It is deleted only if that is so still when the mark has aged.
//!
//! Absent on purpose: whose turn it is (`actors`).

mod coarsen;
mod error;
mod finish;
mod merge;
mod plan;
mod retention;
mod run;
mod unite;

pub use error::CompactionError;
pub use finish::{Finished, is_ours};
pub use plan::{Job, Limits, Plan, Streams, bytes_of, plan};
pub use retention::{Retention, expired};
pub use run::{Compactor, CompactorParts, Done, FindLocal, ReadBytes};
