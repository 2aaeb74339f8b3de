//! An open block.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use trireme_chunk::Encoding;
use trireme_model::{Labels, Matcher};

use crate::chunks::{ChunkPass, chunk_place};
use crate::error::{at, chunk_at};
use crate::index::{ChunkMeta, INDEX_FILE, IndexReader};
use crate::select::{Selection, select};
use crate::{BlockError, BlockMeta, ChunkReader, Interval, LocalFile, Samples, Tombstones};

/// Reading the labels of a series takes about as long as looking whether so many lists meet those that were found.
const VALUES_PER_SERIES: usize = 8;

/// What a chunk takes where its block does not say how long the longest is (bytes).
const CHUNK_BYTES: u64 = 1 << 10;
/// Length, encoding and checksum of a chunk.
const CHUNK_FRAME_BYTES: u64 = 10;
/// A longer chunk is fetched when it is read.
const CHUNK_BYTES_MAX: u64 = 64 << 10;
/// What a series takes in the index where the block does not say it (bytes).
const ENTRY_BYTES: u64 = 512;
/// A longer one is fetched when it is read.
const ENTRY_BYTES_MAX: u64 = 64 << 10;

/// A block that can be read from any thread.
pub struct Block {
    meta: BlockMeta,
    index: IndexReader,
    chunks: ChunkReader,
    tombstones: Tombstones,
    in_doubt: AtomicBool,
}

/// A series that matched, with the chunks that may hold samples of the time range asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockSeries {
    /// Its labels.
    pub labels: Labels,
    /// Chunks in time order, without overlap.
    pub chunks: Vec<ChunkMeta>,
    /// Intervals to leave out.
    pub deleted: Vec<Interval>,
}

impl Block {
    /// Opens a block directory and checks meta, index sections, chunk file headers and tombstones.
    ///
    /// Series, lists and chunks are checked when they are read; [`Block::verify`] checks all of them.
    pub fn open(dir: &Path) -> Result<Self, BlockError> {
        let meta = BlockMeta::read(dir)?;
        let path = dir.join(INDEX_FILE);
        let index = IndexReader::open(Arc::new(LocalFile::open(&path).map_err(at(&path))?))?;
        let chunks = ChunkReader::open_dir(dir)?;
        let tombstones = Tombstones::read(dir)?;
        Ok(Self::from_parts(meta, index, chunks, tombstones))
    }

    /// A block whose files are somewhere else.
    pub fn from_parts(
        meta: BlockMeta,
        index: IndexReader,
        chunks: ChunkReader,
        tombstones: Tombstones,
    ) -> Self {
        Self {
            meta,
            index,
            chunks,
            tombstones,
            in_doubt: AtomicBool::new(false),
        }
    }

    /// Puts the block in doubt if a reader's error says that its files are not what was written.
    pub fn note_error(&self, error: &BlockError) {
        if error.is_damage() {
            self.in_doubt.store(true, Ordering::Release);
        }
    }

    /// True if the block was put in doubt since the last call.
    pub fn take_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::Acquire) && self.in_doubt.swap(false, Ordering::AcqRel)
    }

    /// Memory of what is kept of its index (bytes).
    pub fn memory_bytes(&self) -> usize {
        self.index.memory_bytes()
    }

    /// Its meta.
    pub fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    /// Its index.
    pub fn index(&self) -> &IndexReader {
        &self.index
    }

    /// Its chunk files.
    pub fn chunks(&self) -> &ChunkReader {
        &self.chunks
    }

    /// What is deleted in it.
    pub fn tombstones(&self) -> &Tombstones {
        &self.tombstones
    }

    /// Series in label order that satisfy all matchers and have a chunk that overlaps `[start, end]` (ms, inclusive).
    pub fn select(
        &self,
        matchers: &[Matcher],
        start: i64,
        end: i64,
    ) -> Result<Vec<BlockSeries>, BlockError> {
        let mut found = Vec::new();
        self.for_each(matchers, start, end, &mut |series| {
            found.push(series);
            Ok(())
        })?;
        Ok(found)
    }

    /// Like [`Block::select`], one series at a time, for callers that bound their memory or want to stop.
    pub fn for_each(
        &self,
        matchers: &[Matcher],
        start: i64,
        end: i64,
        each: &mut dyn FnMut(BlockSeries) -> Result<(), BlockError>,
    ) -> Result<(), BlockError> {
        if !self.meta.overlaps(start, end) {
            return Ok(());
        }

        let selection = select(&self.index, matchers)?;
        self.want_entries(&selection.ids);

        let mut series = self.index.reader();
        for id in &selection.ids {
            let mut entry = series.read(*id)?;
            entry.chunks.retain(|c| c.overlaps(start, end));
            if !entry.chunks.is_empty() && selection.accepts(&entry.labels) {
                let deleted = self.tombstones.of(*id).to_vec();
                each(BlockSeries {
                    labels: entry.labels,
                    chunks: entry.chunks,
                    deleted,
                })?;
            }
        }

        Ok(())
    }

    /// Reads one chunk as it is, tombstones not applied.
    pub fn read_chunk(&self, chunk: &ChunkMeta) -> Result<(Encoding, Bytes), BlockError> {
        self.chunks.read(chunk.reference)
    }

    /// Says that [`Block::read_series`] will be called, to files far away; gives the bytes that it will read there, at most.
    pub fn want_series(&self, series: &BlockSeries, start: i64, end: i64) -> u64 {
        let wanted = series
            .chunks
            .iter()
            .filter(|c| c.overlaps(start, end))
            .map(|c| c.reference);

        let stats = self
            .meta
            .thanos
            .as_ref()
            .map(|thanos| thanos.index_stats.chunk_max_size);

        let longest = stats.filter(|bytes| *bytes > 0).unwrap_or(CHUNK_BYTES);
        self.chunks.want(
            wanted,
            longest
                .saturating_add(CHUNK_FRAME_BYTES)
                .min(CHUNK_BYTES_MAX),
        )
    }

    /// Appends the samples of `[start, end]` (ms, inclusive) that are not deleted to `out`.
    pub fn read_series(
        &self,
        series: &BlockSeries,
        start: i64,
        end: i64,
        out: &mut Samples,
    ) -> Result<(), BlockError> {
        self.read_some(series, start, end, usize::MAX, out)
    }

    /// As [`Block::read_series`], but no further than the chunk with which `out` has more than `samples_max` samples.
    pub fn read_some(
        &self,
        series: &BlockSeries,
        start: i64,
        end: i64,
        samples_max: usize,
        out: &mut Samples,
    ) -> Result<(), BlockError> {
        let wanted: Vec<&ChunkMeta> = series
            .chunks
            .iter()
            .filter(|c| c.overlaps(start, end))
            .collect();

        let mut chunks = self.reader_of(&wanted);

        for chunk in wanted {
            if out.times.len() + out.histograms.len() > samples_max {
                return Ok(());
            }
            let (encoding, data, _) = chunks.read(chunk.reference)?;
            let floats = out.times.len();
            let histograms = out.histograms.len();
            out.append_chunk(encoding, &data)
                .map_err(|e| chunk_at(chunk_place(chunk.reference))(e))?;
            let whole = chunk.min_time >= start && chunk.max_time <= end;
            if !whole || !series.deleted.is_empty() {
                out.trim(floats, histograms, start, end, &series.deleted);
            }
        }

        Ok(())
    }

    /// A reader that knows which chunks it is to read.
    fn reader_of(&self, wanted: &[&ChunkMeta]) -> ChunkPass<'_> {
        let mut chunks = self.chunks.reader();
        if let (Some(first), Some(last)) = (wanted.first(), wanted.last()) {
            chunks.expect(first.reference..=last.reference);
        }
        chunks
    }

    /// Sorted label names of all series, or of those that satisfy the matchers.
    pub fn label_names(&self, matchers: &[Matcher]) -> Result<Vec<String>, BlockError> {
        if matchers.is_empty() {
            return Ok(self.index.label_names().map(str::to_owned).collect());
        }

        let mut names = BTreeSet::new();
        self.for_each_labels(&select(&self.index, matchers)?, &mut |labels| {
            for (name, _) in labels
                .iter()
                .filter(|(n, _)| !names.contains(*n))
                .collect::<Vec<_>>()
            {
                names.insert(name.to_owned());
            }
        })?;

        Ok(names.into_iter().collect())
    }

    /// Sorted values of a label among all series, or among those that satisfy the matchers, but for those that are `known`.
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        known: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<String>, BlockError> {
        if name.is_empty() {
            return Ok(Vec::new());
        }

        if matchers.is_empty() {
            return self.all_label_values(name, known);
        }

        let selection = select(&self.index, matchers)?;

        if selection.is_decided()
            && self.index.value_count(name) <= selection.ids.len() * VALUES_PER_SERIES
        {
            return self.values_of_lists(name, &selection, known);
        }

        let mut found = BTreeSet::new();
        self.for_each_labels(&selection, &mut |labels| {
            if let Some(value) = labels
                .get(name)
                .filter(|v| !known(v) && !found.contains(*v))
            {
                found.insert(value.to_owned());
            }
        })?;

        Ok(found.into_iter().collect())
    }

    fn all_label_values(
        &self,
        name: &str,
        known: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<String>, BlockError> {
        let mut values = Vec::new();
        self.index.each_value(name, "", &mut |value, _| {
            if !known(value) {
                values.push(value.to_owned());
            }
            Ok(ControlFlow::Continue(()))
        })?;

        Ok(values)
    }

    /// The values of a label whose lists have a series of the selection.
    fn values_of_lists(
        &self,
        name: &str,
        selection: &Selection<'_>,
        known: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<String>, BlockError> {
        let mut found = Vec::new();
        self.index.each_value(name, "", &mut |value, reference| {
            if !known(value) && self.index.list(reference)?.meets(&selection.ids) {
                found.push(value.to_owned());
            }
            Ok(ControlFlow::Continue(()))
        })?;

        Ok(found)
    }

    /// True if there is a series that satisfies all matchers.
    pub fn has_series(&self, matchers: &[Matcher]) -> Result<bool, BlockError> {
        let selection = select(&self.index, matchers)?;
        if selection.is_decided() {
            return Ok(!selection.ids.is_empty());
        }
        let mut found = false;
        self.for_each_labels(&selection, &mut |_| found = true)?;
        Ok(found)
    }

    /// Says that entries of the index will be read.
    fn want_entries(&self, ids: &[u32]) {
        let stats = self
            .meta
            .thanos
            .as_ref()
            .map(|thanos| thanos.index_stats.series_max_size);
        let longest = stats.filter(|bytes| *bytes > 0).unwrap_or(ENTRY_BYTES);
        self.index.want_series(ids, longest.min(ENTRY_BYTES_MAX));
    }

    fn for_each_labels(
        &self,
        selection: &Selection<'_>,
        each: &mut dyn FnMut(&Labels),
    ) -> Result<(), BlockError> {
        self.want_entries(&selection.ids);

        let mut series = self.index.reader();
        for id in &selection.ids {
            let labels = series.read(*id)?.labels;
            if selection.accepts(&labels) {
                each(&labels);
            }
        }

        Ok(())
    }
}
