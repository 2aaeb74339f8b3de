//! Series entries: labels and chunks.

use trireme_model::{Labels, push_label};

use super::symbols::Symbols;
use crate::BlockError;
use crate::codec::{Cursor, Malformed, put_uvarint, put_varint};
use crate::index::INDEX_FILE;
use crate::pages::Pages;

/// Where a chunk is and what time it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChunkMeta {
    /// First sample (ms).
    pub min_time: i64,
    /// Last sample (ms, inclusive).
    pub max_time: i64,
    /// Number of the chunk file (from 0) in the upper, offset in it in the lower 32 bits.
    pub reference: u64,
}

impl ChunkMeta {
    /// True if the chunk has a sample in `[start, end]` (ms, both inclusive), or may have.
    pub fn overlaps(&self, start: i64, end: i64) -> bool {
        self.min_time <= end && start <= self.max_time
    }
}

/// A series as the index has it.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesEntry {
    /// Its labels.
    pub labels: Labels,
    /// Its chunks in time order; they do not overlap.
    pub chunks: Vec<ChunkMeta>,
}

/// Writes the chunk part of an entry.
pub(super) fn put_chunks(out: &mut Vec<u8>, chunks: &[ChunkMeta]) {
    put_uvarint(out, chunks.len() as u64);

    let mut last: Option<&ChunkMeta> = None;
    for chunk in chunks {
        match last {
            None => put_varint(out, chunk.min_time),
            Some(last) => put_uvarint(out, chunk.min_time.wrapping_sub(last.max_time) as u64),
        }
        put_uvarint(out, chunk.max_time.wrapping_sub(chunk.min_time) as u64);
        match last {
            None => put_uvarint(out, chunk.reference),
            Some(last) => put_varint(out, chunk.reference.wrapping_sub(last.reference) as i64),
        }
        last = Some(chunk);
    }
}

/// What a pass over series keeps from one to the next.
#[derive(Default)]
pub(super) struct Scratch {
    /// Symbol numbers of the labels of the last series.
    pub(super) numbers: Vec<(u64, u64)>,
    wire: Vec<u8>,
    name: String,
    last_name: String,
}

/// Reads an entry without length and checksum; `pages` are those of the symbols.
pub(super) fn parse(
    content: &[u8],
    symbols: &Symbols,
    pages: &mut Pages<'_>,
    scratch: &mut Scratch,
) -> Result<SeriesEntry, BlockError> {
    let mut c = Cursor::new(content);
    let labels = parse_labels(&mut c, symbols, pages, scratch)?;
    let chunks = parse_chunks(&mut c).map_err(at_index)?;
    if !c.is_empty() {
        return Err(at_index(Malformed("has bytes behind its last chunk")));
    }

    Ok(SeriesEntry { labels, chunks })
}

fn at_index(e: Malformed) -> BlockError {
    e.at(INDEX_FILE)
}

fn parse_labels(
    c: &mut Cursor<'_>,
    symbols: &Symbols,
    pages: &mut Pages<'_>,
    scratch: &mut Scratch,
) -> Result<Labels, BlockError> {
    let Scratch {
        numbers,
        wire,
        name,
        last_name,
    } = scratch;

    numbers.clear();
    wire.clear();
    last_name.clear();

    let n = c.uvarint().map_err(at_index)?;
    for _ in 0..n {
        let name_number = c.uvarint().map_err(at_index)?;
        let value_number = c.uvarint().map_err(at_index)?;
        numbers.push((name_number, value_number));
        name.clear();
        name.push_str(symbols.get(name_number, pages)?);
        let value = symbols.get(value_number, pages)?;
        if *name <= *last_name || value.is_empty() {
            return Err(at_index(Malformed("has labels out of order or empty")));
        }
        push_label(wire, name.as_bytes(), value.as_bytes());
        std::mem::swap(name, last_name);
    }

    Ok(Labels::from_canonical_unchecked(wire))
}

fn parse_chunks(c: &mut Cursor<'_>) -> Result<Vec<ChunkMeta>, Malformed> {
    let n = c.uvarint()?;
    // A chunk takes three bytes or more.
    if n > c.remaining() as u64 / 3 {
        return Err(Malformed("counts more chunks than it has bytes"));
    }

    let mut chunks: Vec<ChunkMeta> = Vec::with_capacity(n as usize);

    let overflow = Malformed("has a chunk time over 64 bits");
    for _ in 0..n {
        let last = chunks.last().copied();
        let min_time = match &last {
            None => c.varint()?,
            Some(last) => last
                .max_time
                .checked_add_unsigned(c.uvarint()?)
                .ok_or(overflow)?,
        };

        let max_time = min_time
            .checked_add_unsigned(c.uvarint()?)
            .ok_or(overflow)?;
        let reference = match &last {
            None => c.uvarint()?,
            Some(last) => last.reference.wrapping_add(c.varint()? as u64),
        };
        if last.is_some_and(|last| min_time <= last.max_time) {
            return Err(Malformed("has chunks that overlap"));
        }

        chunks.push(ChunkMeta {
            min_time,
            max_time,
            reference,
        });
    }

    Ok(chunks)
}
