//! Every label name and value once, sorted by bytes; elsewhere they are meant by their number.

use std::ops::Range;

use crate::BlockError;
use crate::codec::{Cursor, Malformed};
use crate::error::io_at;
use crate::index::INDEX_FILE;
use crate::pages::Pages;

/// Every how many symbols the offset is kept in memory.
const STEP: usize = 8;

/// The symbol section of an open index. The symbols themselves stay in the file.
pub(super) struct Symbols {
    /// Where the section's content is in the file.
    part: Range<u64>,
    count: usize,
    /// Offset in the content of every [`STEP`]th symbol.
    offsets: Vec<u32>,
}

impl Symbols {
    /// Takes the section without length and checksum, which stands at `start` in the file; checks order and UTF-8 of all
    /// symbols.
    pub(super) fn parse(content: &[u8], start: u64) -> Result<Self, Malformed> {
        let mut c = Cursor::new(content);
        let count = c.u32()? as usize;
        if count > c.remaining() {
            return Err(Malformed("counts more symbols than it has bytes"));
        }

        let mut offsets = Vec::with_capacity(count / STEP + 1);

        let mut last: Option<&str> = None;
        for i in 0..count {
            if i % STEP == 0 {
                let at = u32::try_from(c.position()).map_err(|_| Malformed("is over 4 GiB"))?;
                offsets.push(at);
            }
            let symbol = c.text()?;
            if last.is_some_and(|last| last >= symbol) {
                return Err(Malformed("is not sorted"));
            }
            last = Some(symbol);
        }

        if !c.is_empty() {
            return Err(Malformed("has bytes behind its last symbol"));
        }

        Ok(Self {
            part: start..start + content.len() as u64,
            count,
            offsets,
        })
    }

    /// Where the section's content is in the file.
    pub(super) fn part(&self) -> Range<u64> {
        self.part.clone()
    }

    /// Memory of the places that are kept (bytes).
    pub(super) fn memory_bytes(&self) -> usize {
        self.offsets.capacity() * 4
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The symbol of a number; `pages` are those of [`Symbols::part`].
    pub(super) fn get<'p>(
        &self,
        number: u64,
        pages: &'p mut Pages<'_>,
    ) -> Result<&'p str, BlockError> {
        let number = usize::try_from(number).ok().filter(|n| *n < self.count);
        let number =
            number.ok_or_else(|| at_symbols(Malformed("names a symbol that does not exist")))?;
        let step = number / STEP;
        let end = self
            .offsets
            .get(step + 1)
            .map_or(self.part.end - self.part.start, |end| u64::from(*end));
        let bytes = pages
            .get(u64::from(self.offsets[step])..end)
            .map_err(io_at(INDEX_FILE))?;

        let mut c = Cursor::new(bytes);
        for _ in 0..number % STEP {
            c.string().map_err(at_symbols)?;
        }

        c.text().map_err(at_symbols)
    }
}

fn at_symbols(e: Malformed) -> BlockError {
    e.at(format!("{INDEX_FILE}: symbols"))
}
