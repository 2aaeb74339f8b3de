//! Payload of a [`RecordKind::Samples`](crate::record::RecordKind::Samples) record: series definitions once, then
//! samples by reference.
//!
//! ```text
//! varint tenant length, tenant
//! sections, any number of each kind, each: kind u8, body length u32 LE, body
//!   1 definitions       per series: varint reference, varint length, canonical label bytes
//!   2 floats            per sample: control byte, then what its bits ask for (see `value`)
//!   3 start timestamps  runs over the floats of the record in order: varint run length, zigzag delta to the last run
//!   4 histograms        see `histogram`
//!   5 exemplars         varint reference, zigzag t delta, f64 LE, varint length, label bytes
//!   6 metadata          name, unit and help each as varint length and bytes, type u8
//!   7 definitions       labels written once per record, see `definitions`
//! ```
//!
//! Deltas of references and timestamps start from 0 in every section, so that each can be read alone. Readers
//! trust nothing: every count and length is checked against the bytes that are there.
//!
//! ```
//! use trireme_wire::entry::{EntryReader, EntryWriter};
//! let mut writer = EntryWriter::new(0, "team-a");
//! writer.define(7, b"labels");
//! writer.float(7, 1_000, 42.0);
//! let draft = writer.finish();
//! let entry = EntryReader::new(draft.payload()).unwrap();
//! assert_eq!(entry.floats().next().unwrap().unwrap().v, 42.0);
//! ```

mod batch;
pub mod decimal;
mod definitions;
mod error;
mod histogram;
mod reader;
mod refs;
mod run;
mod value;
mod varint;
mod writer;

pub use batch::{decode_batch, encode_batch, encode_part};
pub use definitions::Definitions;
pub use error::EntryError;
pub use histogram::{decode_histogram, encode_histogram};
pub use reader::{EntryReader, ExemplarEntry, FloatEntry, HistogramEntry, MetadataEntry};
pub use refs::{read_marker, read_release, write_marker, write_release};
pub use run::{push_to_run, read_run, run_times};
pub use writer::EntryWriter;

/// Section kinds.
mod section {
    pub const DEFINITIONS: u8 = 1;
    pub const FLOATS: u8 = 2;
    pub const START_TIMESTAMPS: u8 = 3;
    pub const HISTOGRAMS: u8 = 4;
    pub const EXEMPLARS: u8 = 5;
    pub const METADATA: u8 = 6;
    pub const DEFINITIONS_BY_LABEL: u8 = 7;
    pub const LAST: u8 = DEFINITIONS_BY_LABEL;
    pub const HEADER_BYTES: usize = 5;
}

#[cfg(test)]
mod tests;
