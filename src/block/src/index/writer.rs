//! Writing an index in one pass over the series.
//!
//! Symbols must stand before the series but are known only after the last one. So series wait in a spill file
//! with provisional symbol numbers. In memory stay the distinct strings and four bytes per label of a series.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use sha2::Sha256;
use trireme_model::Labels;

use super::series::{ChunkMeta, put_chunks};
use super::toc::Toc;
use super::{MAGIC, SERIES_ALIGN, VERSION};
use crate::BlockError;
use crate::codec::{Cursor, put_string, put_uvarint};
use crate::error::at;
use crate::files::HashedFile;

/// Collects series, then writes the file.
pub(crate) struct IndexWriter {
    spill_path: PathBuf,
    spill: BufWriter<File>,
    symbols: HashMap<Box<str>, u32>,
    series: u64,
    last: Option<Labels>,
    scratch: Vec<u8>,
}

/// What the index writer found out.
pub(crate) struct IndexSizes {
    /// Longest series entry (bytes).
    pub(crate) series_bytes_max: u64,
}

impl IndexWriter {
    /// Keeps series in a new file at `spill_path` until the index is written.
    pub(crate) fn create(spill_path: PathBuf) -> Result<Self, BlockError> {
        let file = File::create_new(&spill_path).map_err(at(&spill_path))?;
        let spill = BufWriter::with_capacity(1 << 18, file);
        let symbols = HashMap::new();

        Ok(Self {
            spill_path,
            spill,
            symbols,
            series: 0,
            last: None,
            scratch: Vec::new(),
        })
    }

    /// Adds the next series in label order.
    pub(crate) fn add(&mut self, labels: &Labels, chunks: &[ChunkMeta]) -> Result<(), BlockError> {
        if self.last.as_ref().is_some_and(|last| last >= labels) {
            return Err(BlockError::Input(format!(
                "series {labels} is out of order or there twice"
            )));
        }

        self.scratch.clear();
        put_uvarint(&mut self.scratch, labels.len() as u64);

        for text in labels.iter().flat_map(|(name, value)| [name, value]) {
            let number = self.number(text)?;
            put_uvarint(&mut self.scratch, u64::from(number));
        }

        put_chunks(&mut self.scratch, chunks);
        let len = u32::try_from(self.scratch.len());
        let len = len.map_err(|_| BlockError::TooLarge("a series entry over 4 GiB"))?;
        let written = self
            .spill
            .write_all(&len.to_be_bytes())
            .and_then(|()| self.spill.write_all(&self.scratch));

        written.map_err(at(&self.spill_path))?;
        self.series += 1;
        self.last = Some(labels.clone());

        Ok(())
    }

    /// The number of a symbol until they are sorted.
    fn number(&mut self, text: &str) -> Result<u32, BlockError> {
        if let Some(number) = self.symbols.get(text) {
            return Ok(*number);
        }

        let number = u32::try_from(self.symbols.len())
            .map_err(|_| BlockError::TooLarge("more than 2^32 symbols"))?;
        self.symbols.insert(text.into(), number);
        Ok(number)
    }

    /// Series so far.
    pub(crate) fn series(&self) -> u64 {
        self.series
    }

    /// Writes the index file, durable, and removes the spill file.
    pub(crate) fn finish(
        self,
        path: PathBuf,
        digest: &mut Sha256,
    ) -> Result<IndexSizes, BlockError> {
        let Self {
            spill_path,
            spill,
            symbols,
            series,
            ..
        } = self;

        let spill = spill
            .into_inner()
            .map_err(|e| at(&spill_path)(e.into_error()))?;

        drop(spill);
        let out = Output {
            file: HashedFile::create(path)?,
            digest,
        };
        let series_bytes_max = write_index(out, &spill_path, series, symbols)?;
        fs::remove_file(&spill_path).map_err(at(&spill_path))?;

        Ok(IndexSizes { series_bytes_max })
    }
}

/// Writes an index file, durable; answers the size of the largest entry.
fn write_index(
    mut out: Output<'_>,
    spill_path: &Path,
    series: u64,
    symbols: HashMap<Box<str>, u32>,
) -> Result<u64, BlockError> {
    let (sorted, rank) = sort_symbols(symbols);
    let mut header = MAGIC.to_be_bytes().to_vec();

    header.push(VERSION);
    out.write(&header)?;
    let mut toc = Toc {
        symbols: out.file.position(),
        ..Toc::default()
    };

    write_symbols(&mut out, &sorted)?;
    toc.series = out.file.position();
    let spill = File::open(spill_path).map_err(at(spill_path))?;
    let reader = BufReader::with_capacity(1 << 18, spill);
    let mut pass = SeriesPass {
        pairs: BTreeMap::new(),
        all: Vec::new(),
        series_bytes_max: 0,
    };

    pass.run(&mut out, reader, series, &rank)
        .map_err(|e| e.unwrap_io(spill_path))?;
    toc.label_indices = out.file.position();
    toc.postings = toc.label_indices;

    let table = write_postings(&mut out, &pass, &sorted)?;
    toc.postings_table = out.file.position();
    toc.label_table = toc.postings_table;
    write_section(&mut out, &table)?;
    out.write(&toc.to_bytes())?;
    out.file.finish()?;

    Ok(pass.series_bytes_max)
}

/// Symbols in order, each with the number it had until now, and by that number the new one.
fn sort_symbols(symbols: HashMap<Box<str>, u32>) -> (Vec<(Box<str>, u32)>, Vec<u32>) {
    let mut sorted: Vec<(Box<str>, u32)> = symbols.into_iter().collect();
    sorted.sort_unstable();

    let mut rank = vec![0u32; sorted.len()];
    for (i, (_, provisional)) in sorted.iter().enumerate() {
        rank[*provisional as usize] = i as u32;
    }

    (sorted, rank)
}

struct Output<'a> {
    file: HashedFile,
    digest: &'a mut Sha256,
}

impl Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BlockError> {
        self.file.write(self.digest, bytes)
    }

    fn pad(&mut self, align: u64) -> Result<(), BlockError> {
        self.file.pad(self.digest, align)
    }
}

/// `length u32 | content | crc32`.
fn write_section(out: &mut Output<'_>, content: &[u8]) -> Result<(), BlockError> {
    let len = u32::try_from(content.len())
        .map_err(|_| BlockError::TooLarge("an index section over 4 GiB"))?;
    out.write(&len.to_be_bytes())?;
    out.write(content)?;
    out.write(&crc32c::crc32c(content).to_be_bytes())
}

fn write_symbols(out: &mut Output<'_>, sorted: &[(Box<str>, u32)]) -> Result<(), BlockError> {
    let mut content = (sorted.len() as u32).to_be_bytes().to_vec();
    for (text, _) in sorted {
        put_string(&mut content, text.as_bytes());
    }
    write_section(out, &content)
}

/// What one pass over the spilled series collects.
struct SeriesPass {
    /// (name, value) by rank to series.
    pairs: BTreeMap<(u32, u32), Vec<u32>>,
    all: Vec<u32>,
    series_bytes_max: u64,
}

/// An error of the pass: of the spill file or of the output.
enum PassError {
    Spill(std::io::Error),
    Block(BlockError),
}

impl PassError {
    fn unwrap_io(self, path: &std::path::Path) -> BlockError {
        match self {
            Self::Spill(source) => at(path)(source),
            Self::Block(error) => error,
        }
    }
}

impl From<BlockError> for PassError {
    fn from(error: BlockError) -> Self {
        Self::Block(error)
    }
}

impl SeriesPass {
    fn run(
        &mut self,
        out: &mut Output<'_>,
        mut spill: impl Read,
        series: u64,
        rank: &[u32],
    ) -> Result<(), PassError> {
        let mut record = Vec::new();
        let mut entry = Vec::new();

        let mut prefix = Vec::new();
        for _ in 0..series {
            read_record(&mut spill, &mut record)?;
            out.pad(SERIES_ALIGN)?;

            let id = u32::try_from(out.file.position() / SERIES_ALIGN);
            let id = id.map_err(|_| BlockError::TooLarge("series over 64 GiB"))?;
            self.all.push(id);
            entry.clear();
            self.renumber(&record, rank, id, &mut entry);
            self.write_entry(out, &mut prefix, &entry)?;
        }

        Ok(())
    }

    /// Writes an entry between its length and its checksum.
    fn write_entry(
        &mut self,
        out: &mut Output<'_>,
        prefix: &mut Vec<u8>,
        entry: &[u8],
    ) -> Result<(), BlockError> {
        prefix.clear();
        put_uvarint(prefix, entry.len() as u64);
        out.write(prefix)?;

        let crc = crc32c::crc32c(entry);
        out.write(entry)?;
        out.write(&crc.to_be_bytes())?;
        self.series_bytes_max = self
            .series_bytes_max
            .max((prefix.len() + entry.len() + 4) as u64);
        Ok(())
    }

    /// Copies a spilled entry with final symbol numbers and notes its pairs.
    fn renumber(&mut self, record: &[u8], rank: &[u32], id: u32, entry: &mut Vec<u8>) {
        let mut c = Cursor::new(record);
        let labels = own_number(&mut c);

        put_uvarint(entry, labels);
        for _ in 0..labels {
            let name = rank[own_number(&mut c) as usize];
            let value = rank[own_number(&mut c) as usize];
            put_uvarint(entry, u64::from(name));
            put_uvarint(entry, u64::from(value));
            self.pairs.entry((name, value)).or_default().push(id);
        }

        entry.extend_from_slice(&record[c.position()..]);
    }
}

/// The next entry of the spill file.
fn read_record(spill: &mut impl Read, record: &mut Vec<u8>) -> Result<(), PassError> {
    let mut len = [0; 4];
    spill.read_exact(&mut len).map_err(PassError::Spill)?;
    record.resize(u32::from_be_bytes(len) as usize, 0);
    spill.read_exact(record).map_err(PassError::Spill)
}

fn own_number(c: &mut Cursor<'_>) -> u64 {
    c.uvarint().expect("BUG: the spill file is our own")
}

/// Writes all lists and answers the table of their offsets.
fn write_postings(
    out: &mut Output<'_>,
    pass: &SeriesPass,
    sorted: &[(Box<str>, u32)],
) -> Result<Vec<u8>, BlockError> {
    let count = u32::try_from(pass.pairs.len() + 1);
    let count = count.map_err(|_| BlockError::TooLarge("more than 2^32 label pairs"))?;
    let mut table = count.to_be_bytes().to_vec();
    let mut content = Vec::new();
    let lists = pass.pairs.iter().map(|((name, value), ids)| {
        let name = &*sorted[*name as usize].0;
        let value = &*sorted[*value as usize].0;
        ((name, value), ids)
    });
    for ((name, value), ids) in std::iter::once((("", ""), &pass.all)).chain(lists) {
        out.pad(4)?;
        put_place(&mut table, (name, value), out.file.position());
        content.clear();
        content.extend_from_slice(&(ids.len() as u32).to_be_bytes());
        content.extend(ids.iter().flat_map(|id| id.to_be_bytes()));
        write_section(out, &content)?;
    }

    // The table's own length field is read as a u32 at any offset: no alignment needed.
    Ok(table)
}

/// Adds where the list of a label pair is.
fn put_place(table: &mut Vec<u8>, (name, value): (&str, &str), offset: u64) {
    table.push(2);
    put_string(table, name.as_bytes());
    put_string(table, value.as_bytes());
    put_uvarint(table, offset);
}
