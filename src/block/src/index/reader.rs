//! Reading an index.

use std::sync::Arc;

use bytes::Bytes;

use super::postings::Postings;
use super::series::{self, Scratch, SeriesEntry};
use super::symbols::Symbols;
use super::table::{EachValue, PostingsTable};
use super::toc::Toc;
use super::{HEADER_BYTES, INDEX_FILE, MAGIC, SERIES_ALIGN, VERSION};
use crate::codec::{Cursor, Malformed, checked};
use crate::error::io_at;
use crate::pages::{Pages, Window};
use crate::{BlockError, RangeRead};

/// Bytes of a list that are fetched ahead: a longer one says how long it is in its first.
const LIST_HEAD_BYTES: u64 = 4 << 10;
/// The most bytes of a varint that says a length.
const LENGTH_BYTES: usize = 5;

/// An open index. In memory are its label names and the places of some symbols and entries of the postings table; all else
/// is read when needed.
pub struct IndexReader {
    file: Arc<dyn RangeRead>,
    pub(super) toc: Toc,
    symbols: Symbols,
    table: PostingsTable,
}

impl IndexReader {
    /// Opens an index and checks everything but series entries and postings lists.
    pub fn open(file: Arc<dyn RangeRead>) -> Result<Self, BlockError> {
        let len = file.len();

        if len < HEADER_BYTES + Toc::BYTES as u64 {
            return Err(BlockError::corrupt(
                INDEX_FILE,
                format!("is only {len} bytes long"),
            ));
        }

        check_header(&*file)?;

        let toc = read(&*file, len - Toc::BYTES as u64, Toc::BYTES)?;
        let toc = Toc::parse(&toc, len).map_err(in_part("TOC"))?;
        let content = section(&*file, toc.symbols).map_err(|e| e.within("symbols"))?;
        let symbols = Symbols::parse(&content, toc.symbols + 4).map_err(in_part("symbols"))?;
        let content =
            section(&*file, toc.postings_table).map_err(|e| e.within("postings table"))?;
        let table = PostingsTable::parse(&content, toc.postings_table + 4)
            .map_err(in_part("postings table"))?;

        Ok(Self {
            file,
            toc,
            symbols,
            table,
        })
    }

    /// Length of the file.
    pub fn file_len(&self) -> u64 {
        self.file.len()
    }

    /// Memory of the places that are kept (bytes).
    pub fn memory_bytes(&self) -> usize {
        self.symbols.memory_bytes() + self.table.memory_bytes()
    }

    /// The file.
    pub(crate) fn file(&self) -> &dyn RangeRead {
        &*self.file
    }

    /// Number of symbols.
    pub fn symbol_count(&self) -> usize {
        self.symbols.len()
    }

    /// Label names, sorted.
    pub fn label_names(&self) -> impl Iterator<Item = &str> {
        self.table.names()
    }

    /// Number of values of a label.
    pub fn value_count(&self, name: &str) -> usize {
        self.table.value_count(name)
    }

    /// Gives the values of a label from the first that is not below `from`, sorted, each with a reference for
    /// [`Self::list`], until `each` ends it.
    pub fn each_value(
        &self,
        name: &str,
        from: &str,
        each: &mut EachValue<'_>,
    ) -> Result<(), BlockError> {
        self.table
            .each_value(name, from, &mut self.table_pages(), each)
    }

    fn table_pages(&self) -> Pages<'_> {
        Pages::new(&*self.file, self.table.part())
    }

    /// Where the list of a label pair is, if there is one.
    pub(crate) fn find(&self, name: &str, value: &str) -> Result<Option<u64>, BlockError> {
        self.table.find(name, value, &mut self.table_pages())
    }

    /// Says that lists will be read.
    pub(crate) fn want_lists(&self, references: &[u64]) {
        if self.file.is_far() {
            references
                .iter()
                .for_each(|at| self.file.want(*at..at.saturating_add(LIST_HEAD_BYTES)));
        }
    }

    /// Says that entries of series will be read, each at most `bytes_max` long.
    pub(crate) fn want_series(&self, ids: &[u32], bytes_max: u64) {
        if self.file.is_far() {
            ids.iter()
                .map(|id: &u32| u64::from(*id) * SERIES_ALIGN)
                .for_each(|at| self.file.want(at..at.saturating_add(bytes_max)));
        }
    }

    /// All series.
    pub fn all_postings(&self) -> Result<Postings, BlockError> {
        self.postings("", "")
    }

    /// Series that have a label pair; empty if none has.
    pub fn postings(&self, name: &str, value: &str) -> Result<Postings, BlockError> {
        match self.table.find(name, value, &mut self.table_pages())? {
            Some(reference) => self.list(reference),
            None => Ok(Postings::default()),
        }
    }

    /// The list of a reference from [`Self::each_value`].
    pub fn list(&self, reference: u64) -> Result<Postings, BlockError> {
        let content = section(&*self.file, reference).map_err(|e| e.within("postings"))?;
        Postings::parse(content).map_err(|e| e.at(format!("{INDEX_FILE}: postings at {reference}")))
    }

    /// A series. For many of them use [`IndexReader::reader`].
    pub fn series(&self, id: u32) -> Result<SeriesEntry, BlockError> {
        self.reader().read(id)
    }

    /// Reads series one after the other.
    pub fn reader(&self) -> SeriesReader<'_> {
        SeriesReader {
            index: self,
            window: Window::new(&*self.file),
            symbols: self.symbol_pages(),
            scratch: Scratch::default(),
        }
    }

    fn symbol_pages(&self) -> Pages<'_> {
        Pages::new(&*self.file, self.symbols.part())
    }

    /// The text of a symbol's number.
    pub(crate) fn symbol(&self, number: u64) -> Result<String, BlockError> {
        self.symbols
            .get(number, &mut self.symbol_pages())
            .map(str::to_owned)
    }
}

/// Adds the part of an index to what is wrong with it.
fn in_part(part: &'static str) -> impl FnOnce(Malformed) -> BlockError {
    move |e| e.at(format!("{INDEX_FILE}: {part}"))
}

fn check_header(file: &dyn RangeRead) -> Result<(), BlockError> {
    let header = read(file, 0, HEADER_BYTES as usize)?;
    let mut c = Cursor::new(&header);
    if c.u32() != Ok(MAGIC) {
        return Err(BlockError::corrupt(
            INDEX_FILE,
            "does not begin with the magic number of an index",
        ));
    }

    match c.u8().map_err(in_part("header"))? {
        VERSION => Ok(()),
        version => {
            let what = format!("index version {version}");
            Err(BlockError::Unsupported {
                place: INDEX_FILE.into(),
                what,
            })
        }
    }
}

/// One pass over series of an index; cheapest in the order of their ids.
pub struct SeriesReader<'a> {
    index: &'a IndexReader,
    window: Window<'a>,
    symbols: Pages<'a>,
    scratch: Scratch,
}

impl SeriesReader<'_> {
    /// A series.
    pub fn read(&mut self, id: u32) -> Result<SeriesEntry, BlockError> {
        self.read_extent(id).map(|(entry, _)| entry)
    }

    /// Symbol numbers of the labels of the series that was read last.
    pub(crate) fn numbers(&self) -> &[(u64, u64)] {
        &self.scratch.numbers
    }

    /// A series and where its entry ends.
    pub(crate) fn read_extent(&mut self, id: u32) -> Result<(SeriesEntry, u64), BlockError> {
        let offset = u64::from(id) * SERIES_ALIGN;
        if offset < self.index.toc.series {
            let error = Malformed("stands before the series section");
            return Err(at_series(id, error));
        }

        let rest = self.index.file.len().saturating_sub(offset);
        let head = self
            .window
            .get(offset, LENGTH_BYTES.min(rest as usize))
            .map_err(io_at(INDEX_FILE))?;
        let mut c = Cursor::new(&head);
        let len = entry_length(&mut c, rest).map_err(|e| at_series(id, e))?;
        let start = offset + c.position() as u64;
        let region = self.window.get(start, len + 4).map_err(io_at(INDEX_FILE))?;
        let content = checked(&region).map_err(|e| at_series(id, e))?;
        let entry = series::parse(
            content,
            &self.index.symbols,
            &mut self.symbols,
            &mut self.scratch,
        );

        let entry = entry.map_err(|e| e.within(&format!("series {id}")))?;
        Ok((entry, start + len as u64 + 4))
    }
}

fn at_series(id: u32, e: Malformed) -> BlockError {
    e.at(format!("{INDEX_FILE}: series {id}"))
}

/// Length of an entry, which with its checksum is no longer than `rest`.
fn entry_length(c: &mut Cursor<'_>, rest: u64) -> Result<usize, Malformed> {
    usize::try_from(c.uvarint()?)
        .ok()
        .filter(|len| *len as u64 + 4 <= rest)
        .ok_or(Malformed("is longer than the file"))
}

/// The parts of an index that [`IndexReader::open`] reads: from 0 to the end of the symbols, and from the begin of the
/// postings table to the end of the file. A store that keeps copies of them opens the index without the rest.
pub fn header_ranges(file: &dyn RangeRead) -> Result<[std::ops::Range<u64>; 2], BlockError> {
    let len = file.len();
    if len < HEADER_BYTES + Toc::BYTES as u64 {
        return Err(BlockError::corrupt(
            INDEX_FILE,
            format!("is only {len} bytes long"),
        ));
    }

    let toc = read(file, len - Toc::BYTES as u64, Toc::BYTES)?;
    let toc = Toc::parse(&toc, len).map_err(|e| e.at(format!("{INDEX_FILE}: TOC")))?;
    let symbols = Cursor::new(&read(file, toc.symbols, 4)?)
        .u32()
        .map_err(|e| e.at(INDEX_FILE))?;

    let symbols_end = toc.symbols + 8 + u64::from(symbols);
    if symbols_end > toc.postings_table {
        return Err(BlockError::corrupt(
            INDEX_FILE,
            "symbols reach into the postings table",
        ));
    }

    Ok([0..symbols_end, toc.postings_table..len])
}

fn read(file: &dyn RangeRead, offset: u64, len: usize) -> Result<Bytes, BlockError> {
    file.read_at(offset, len).map_err(io_at(INDEX_FILE))
}

/// Where parts of the file begin and end, for the check that nothing lies between them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gaps {
    /// End of the symbols.
    pub(crate) series_start: u64,
    /// Begin of the postings; none in files of older writers, which have obsolete sections between.
    pub(crate) series_end: Option<u64>,
    /// Begin of the postings table.
    pub(crate) postings_end: u64,
    /// End of the postings table.
    pub(crate) table_end: u64,
    /// Begin of the TOC.
    pub(crate) toc: u64,
}

impl Gaps {
    pub(crate) fn of(index: &IndexReader) -> Self {
        let toc = &index.toc;
        let plain = toc.label_indices == toc.postings && toc.label_table == toc.postings_table;
        Self {
            series_start: index.symbols.part().end + 4,
            series_end: plain.then_some(toc.postings),
            postings_end: toc.postings_table,
            table_end: index.table.part().end + 4,
            toc: index.file.len() - Toc::BYTES as u64,
        }
    }
}

/// Reads `length u32 | content | crc32` and answers the content.
pub(crate) fn section(file: &dyn RangeRead, offset: u64) -> Result<Bytes, BlockError> {
    let len = Cursor::new(&read(file, offset, 4)?)
        .u32()
        .map_err(|e| e.at(INDEX_FILE))?;

    let fits = offset + 8 + u64::from(len) <= file.len();
    if !fits {
        return Err(BlockError::corrupt(
            INDEX_FILE,
            format!("section at {offset} is longer than the file"),
        ));
    }

    let region = read(file, offset + 4, len as usize + 4)?;
    let content = checked(&region)
        .map_err(|e| e.at(format!("{INDEX_FILE}: section at {offset}")))?
        .len();

    Ok(region.slice(..content))
}
