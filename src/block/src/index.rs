//! The `index` file: symbols, series, postings.
//!
//! ```text
//! magic BAAAD700 | version 2 | symbols | series, each at a multiple of 16 | postings lists | postings table | TOC
//! ```
//!
//! Integers are big endian, checksums CRC32C. `docs/formats/prometheus-block.md` has every byte.

mod postings;
mod reader;
mod series;
mod symbols;
mod table;
mod toc;
mod writer;

pub use postings::Postings;
pub(crate) use reader::Gaps;
pub use reader::{IndexReader, SeriesReader, header_ranges};
pub use series::{ChunkMeta, SeriesEntry};
pub(crate) use writer::IndexWriter;

/// First bytes of the file.
const MAGIC: u32 = 0xbaaa_d700;
/// The only version that is read and written.
const VERSION: u8 = 2;
/// Magic and version.
const HEADER_BYTES: u64 = 5;
/// Series entries stand at multiples of this; a series is named by offset / alignment.
const SERIES_ALIGN: u64 = 16;
/// Name of the file.
pub const INDEX_FILE: &str = "index";
