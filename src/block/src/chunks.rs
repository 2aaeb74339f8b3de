//! Chunk files: `chunks/000001` and on.
//!
//! ```text
//! magic 85BD40DD | version 1 | 3 zero bytes | { length uvarint | encoding 1B | data | crc32 of encoding and data }*
//! ```

mod reader;
mod writer;

pub use reader::ChunkReader;
pub(crate) use reader::{ChunkPass, Extent, chunk_place};
pub(crate) use writer::ChunkWriter;

/// First bytes of a chunk file.
const MAGIC: u32 = 0x85bd_40dd;
/// Magic, version and padding.
const HEADER: [u8; 8] = [0x85, 0xbd, 0x40, 0xdd, 1, 0, 0, 0];
/// Directory of the chunk files.
pub const CHUNKS_DIR: &str = "chunks";
/// Size of a chunk file by default: Prometheus's.
pub const SEGMENT_BYTES_MAX: u64 = 512 << 20;

/// Name of a chunk file by its number from 0.
pub fn segment_name(number: usize) -> String {
    format!("{:06}", number + 1)
}
