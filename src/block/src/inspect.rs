//! What the `trireme block` commands show.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use trireme_chunk::Encoding;
use trireme_model::{AnyHistogram, Labels, Matcher};

use crate::error::at;
use crate::scan::block_dirs;
use crate::{Block, BlockError, BlockMeta, CHUNKS_DIR, IndexReader, Samples};

/// One line of `block ls`.
#[derive(Clone, Debug)]
pub struct BlockListing {
    /// The meta.
    pub meta: BlockMeta,
    /// Bytes of all files.
    pub size_bytes: u64,
}

/// Metas and sizes of all blocks in a directory, by ULID. Blocks without a readable meta are given as errors.
pub fn list_blocks(dir: &Path) -> Result<Vec<Result<BlockListing, BlockError>>, BlockError> {
    Ok(block_dirs(dir)?
        .into_iter()
        .map(|(_, path)| listing(&path))
        .collect())
}

fn listing(path: &Path) -> Result<BlockListing, BlockError> {
    let meta = BlockMeta::read(path)?;
    let chunks = path.join(CHUNKS_DIR);
    let size_bytes = files_size(path)?
        + if chunks.is_dir() {
            files_size(&chunks)?
        } else {
            0
        };
    Ok(BlockListing { meta, size_bytes })
}

fn files_size(dir: &Path) -> Result<u64, BlockError> {
    let mut sum = 0;
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let meta = entry.and_then(|e| e.metadata()).map_err(at(dir))?;
        sum += if meta.is_file() { meta.len() } else { 0 };
    }
    Ok(sum)
}

/// Chunks of one encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodingStats {
    /// Number of chunks.
    pub chunks: u64,
    /// Bytes of their data.
    pub bytes: u64,
    /// Samples in them.
    pub samples: u64,
}

/// What `block analyze` shows; the lists are sorted by number, the greatest first.
#[derive(Clone, Debug, Default)]
pub struct BlockAnalysis {
    /// Series.
    pub series: u64,
    /// Distinct label names and values.
    pub symbols: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Chunks by encoding.
    pub encodings: BTreeMap<Encoding, EncodingStats>,
    /// Label names by number of values.
    pub values_of_names: Vec<(String, u64)>,
    /// Label pairs by number of series.
    pub series_of_pairs: Vec<((String, String), u64)>,
    /// Metric names by number of series.
    pub series_of_metrics: Vec<(String, u64)>,
}

/// Counts what a block is made of; lists hold at most `limit` entries. Reads the whole block.
pub fn analyze(block: &Block, limit: usize) -> Result<BlockAnalysis, BlockError> {
    let index = block.index();
    let mut analysis = BlockAnalysis {
        series: index.all_postings()?.len() as u64,
        symbols: index.symbol_count() as u64,
        index_bytes: index.file_len(),
        ..BlockAnalysis::default()
    };

    count_pairs(index, limit, &mut analysis)?;

    let mut series = index.reader();

    let mut chunks = block.chunks().reader();
    for id in index.all_postings()?.iter() {
        for chunk in series.read(id)?.chunks {
            let (encoding, data, _) = chunks.read(chunk.reference)?;
            let stats = analysis.encodings.entry(encoding).or_default();
            stats.chunks += 1;
            stats.bytes += data.len() as u64;
            stats.samples += sample_count(encoding, &data);
        }
    }

    Ok(analysis)
}

/// Counts series by label pair, and values by label name.
fn count_pairs(
    index: &IndexReader,
    limit: usize,
    analysis: &mut BlockAnalysis,
) -> Result<(), BlockError> {
    let names: Vec<&str> = index.label_names().collect();
    let mut pairs = Top::new(limit);
    let mut metrics = Top::new(limit);

    let mut values = Top::new(limit);
    for name in names {
        values.offer(name.to_owned(), index.value_count(name) as u64);
        index.each_value(name, "", &mut |value, reference| {
            let series = index.list(reference)?.len() as u64;
            pairs.offer((name.to_owned(), value.to_owned()), series);
            if name == trireme_model::METRIC_NAME {
                metrics.offer(value.to_owned(), series);
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }

    analysis.values_of_names = values.finish();
    analysis.series_of_pairs = pairs.finish();
    analysis.series_of_metrics = metrics.finish();

    Ok(())
}

/// Samples by the header of a chunk.
fn sample_count(encoding: Encoding, data: &[u8]) -> u64 {
    let [high, low, ..] = data else { return 0 };
    // Flags share the first byte in encodings 5 and 6.
    let with_flags = matches!(encoding, Encoding::HistogramSt | Encoding::FloatHistogramSt);
    let high = if with_flags { high & 0x3f } else { *high };
    u64::from(u16::from_be_bytes([high, *low]))
}

/// The greatest entries of a list that need not fit in memory.
struct Top<K> {
    limit: usize,
    entries: Vec<(K, u64)>,
}

impl<K: Ord> Top<K> {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            entries: Vec::new(),
        }
    }

    fn offer(&mut self, key: K, n: u64) {
        self.entries.push((key, n));
        if self.entries.len() > self.limit * 2 + 64 {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.entries
            .sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        self.entries.truncate(self.limit);
    }

    fn finish(mut self) -> Vec<(K, u64)> {
        self.cut();
        self.entries
    }
}

/// One sample of a dump.
#[derive(Clone, Debug, PartialEq)]
pub enum DumpValue<'a> {
    /// A float.
    Float(f64),
    /// A histogram.
    Histogram(&'a AnyHistogram),
}

/// Gives all samples of `[start, end]` (ms, inclusive) to `each`, series by series, in time order.
pub fn dump(
    block: &Block,
    matchers: &[Matcher],
    start: i64,
    end: i64,
    each: &mut dyn FnMut(&Labels, i64, DumpValue<'_>),
) -> Result<(), BlockError> {
    let mut samples = Samples::default();
    block.for_each(matchers, start, end, &mut |series| {
        samples.clear();
        block.read_series(&series, start, end, &mut samples)?;
        let mut histograms = samples.histograms.iter().peekable();
        for (t, v) in samples.times.iter().zip(&samples.values) {
            while let Some(h) = histograms.next_if(|h| h.t < *t) {
                each(&series.labels, h.t, DumpValue::Histogram(&h.h));
            }
            each(&series.labels, *t, DumpValue::Float(*v));
        }
        histograms.for_each(|h| each(&series.labels, h.t, DumpValue::Histogram(&h.h)));
        Ok(())
    })
}
