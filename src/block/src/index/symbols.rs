//! Every label name and value once, sorted by bytes; elsewhere they are meant by their number.

use bytes::Bytes;

use crate::codec::{Cursor, Malformed};

/// Every how many symbols the offset is kept in memory.
const STEP: usize = 8;

/// The symbol section of an open index.
pub(super) struct Symbols {
    content: Bytes,
    count: usize,
    offsets: Vec<u32>,
}

impl Symbols {
    /// Takes the section without length and checksum; checks order and UTF-8 of all symbols.
    pub(super) fn parse(content: Bytes) -> Result<Self, Malformed> {
        let mut c = Cursor::new(&content);
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
        Ok(Self { content, count, offsets })
    }

    /// Bytes of the section without length and checksum.
    pub(super) fn content_len(&self) -> u64 {
        self.content.len() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The symbol of a number.
    pub(super) fn get(&self, number: u64) -> Result<&str, Malformed> {
        let number = usize::try_from(number).ok().filter(|n| *n < self.count);
        let number = number.ok_or(Malformed("names a symbol that does not exist"))?;
        let mut c = Cursor::from(&self.content, self.offsets[number / STEP] as usize);
        for _ in 0..number % STEP {
            c.string()?;
        }
        c.text()
    }
}
