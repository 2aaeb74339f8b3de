//! Prometheus's block format: index, chunks, tombstones, meta; read and write.
//!
//! A block is a directory named by a ULID that holds a window of samples and is never changed, save for its
//! `meta.json` and `tombstones`. [`write_block`] makes one from series in label order, [`Block`] reads one, from a
//! local directory or through any [`RangeRead`]. What is written is read by Prometheus (2.42 was tried) and Thanos;
//! what they write is read here. Bytes and ULID follow from the samples, so replicas write the same block.
//!
//! - A block appears whole: it is written beside its place, synced, and renamed.
//! - Files are read with `pread`, never mapped: a sector that cannot be read is an error of one read.
//! - [`downsample_block`] makes a block of 5 minute or 1 hour windows, as Thanos has them; [`Block::read_aggregate`] reads it.
//! - What a checksum or a bound contradicts is an error that names file and place ([`verify_block`] finds all of them);
//!   [`scan_all`] sets such blocks aside and goes on with the others.
//!
//! Absent on purpose: the object store (`bucket`), what is cut when (`head`, `actors`), and any cache.

mod aggregates;
mod block;
mod chunks;
mod codec;
mod downsample;
mod encode;
mod error;
mod files;
mod handles;
mod incoming;
mod index;
mod inspect;
mod meta;
mod name;
mod pages;
mod range;
mod reread;
mod samples;
mod scan;
mod select;
mod source;
mod thanos;
mod tombstones;
mod verify;
mod write;

pub use aggregates::{Aggregate, AggregateSamples, Counted};
pub use block::{Block, BlockSeries};
pub use chunks::{CHUNKS_DIR, ChunkReader, SEGMENT_BYTES_MAX, segment_name};
pub use downsample::{
    DownsampleError, DownsampleProgress, RESOLUTION_1H_MS, RESOLUTION_5M_MS, downsample_block,
    resolution_text,
};
pub use encode::ChunkEncodings;
pub use error::BlockError;
pub use incoming::{Incoming, block_files, is_block_file};
pub use index::{
    ChunkMeta, INDEX_FILE, IndexReader, Postings, SeriesEntry, SeriesReader, header_ranges,
};
pub use inspect::{
    BlockAnalysis, BlockListing, DumpValue, EncodingStats, analyze, dump, list_blocks,
};
pub use meta::{BlockCompaction, BlockMeta, BlockParent, BlockStats, META_FILE, TriremeMeta};
pub use range::{LocalFile, RangeRead, past_end};
pub use reread::Reread;
pub use samples::Samples;
pub use scan::{Quarantined, Scan, scan_all, scan_blocks, set_aside, set_aside_blocks};
pub use source::{IterSource, SeriesInput, SeriesSource};
pub use thanos::{
    DeletionMark, NoCompactMark, NoDownsampleMark, ThanosDownsample, ThanosFile, ThanosHash,
    ThanosIndexStats, ThanosMeta,
};
pub use tombstones::{Interval, TOMBSTONES_FILE, Tombstones};
pub use verify::{Fault, verify_block};
pub use write::{CHUNK_SAMPLES_MAX, WriteOptions, hex, write_block};
