//! Downsampled blocks: for each window of 5 minutes or 1 hour what a query may want to know of its samples.
//!
//! [`downsample_block`] is a function of the block it reads: the same samples give the same bytes, and the same block the same
//! name on every node. It reads chunk by chunk and keeps one open chunk in memory.
//!
//! - A step stands at the last millisecond of its window, whenever the samples of it were. Only where a chunk has to end
//!   inside a window, it stands at its last sample, and the next chunk begins with a step of the same window.
//! - NaN and stale markers are left out, as they are by Thanos.
//! - Floats and histograms do not share a chunk. Chunks of 5 minutes end where an hour ends, so that those of 1 hour, which
//!   are made of whole ones, have a step for an hour each.
//!
//! The chunks are those of the module `aggregates`; floats are in `float`, histograms in `histogram`.

mod float;
mod histogram;
mod input;

use std::ops::ControlFlow;
use std::path::Path;

use trireme_model::Labels;

use self::float::Floats;
use self::histogram::Histograms;
use self::input::Input;
use crate::aggregates::AGGREGATES;
use crate::chunks::ChunkPass;
use crate::encode::SampleCounts;
use crate::write::BlockFiles;
use crate::{Block, BlockError, BlockMeta, BlockParent, SeriesEntry, WriteOptions};

/// Windows of the first level (ms).
pub const RESOLUTION_5M_MS: i64 = 5 * 60 * 1000;
/// Windows of the second level (ms).
pub const RESOLUTION_1H_MS: i64 = 60 * 60 * 1000;

/// A chunk with so many steps ends as soon as it can.
const STEPS_WANTED: u64 = 120;
/// `thanos.source` of such blocks, as Thanos names it.
const SOURCE: &str = "compactor";

/// A resolution as people write it: `raw`, `5m`, `1h`.
pub fn resolution_text(resolution_ms: i64) -> String {
    match resolution_ms {
        0 => "raw".to_owned(),
        RESOLUTION_5M_MS => "5m".to_owned(),
        RESOLUTION_1H_MS => "1h".to_owned(),
        other => format!("{other}ms"),
    }
}

/// Why a block was not downsampled.
#[derive(Debug, thiserror::Error)]
pub enum DownsampleError {
    /// The block cannot be read, or has something that no downsampled one can hold.
    #[error(transparent)]
    Source(BlockError),
    /// The result cannot be written, or is none that there is.
    #[error(transparent)]
    Write(BlockError),
    /// Whoever asked for it wants it no more.
    #[error("stopped")]
    Stopped,
}

/// How far a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DownsampleProgress {
    /// Series that are done.
    pub series: u64,
    /// All series of the block.
    pub series_total: u64,
    /// Samples, or steps, that were read.
    pub samples: u64,
}

/// Writes the block that `source` gives at `resolution_ms` under `dir/<ULID>`; none if it has no samples that count.
///
/// 5 minutes are made of raw samples, 1 hour of these or of 5 minutes. Time range, labels, level, sources and parents are
/// those of `source`. Appears whole, as blocks of [`crate::write_block`] do. `each` is called after every series and may stop
/// the work, which leaves nothing behind.
pub fn downsample_block(
    source: &Block,
    dir: &Path,
    resolution_ms: i64,
    each: &mut dyn FnMut(DownsampleProgress) -> ControlFlow<()>,
) -> Result<Option<BlockMeta>, DownsampleError> {
    use DownsampleError::{Source, Write};

    let meta = source.meta();
    check_levels(meta.resolution_ms(), resolution_ms).map_err(Write)?;
    let options = options_for(meta, resolution_ms);
    let files = BlockFiles::create(dir, meta.range(), options.segment_bytes_max).map_err(Write)?;

    let all = source.index().all_postings().map_err(Source)?;
    let mut progress = DownsampleProgress {
        series: 0,
        series_total: all.len() as u64,
        samples: 0,
    };

    let mut entries = source.index().reader();
    let mut pass = Pass {
        source,
        chunks: source.chunks().reader(),
        input: Input::default(),
        series: Series::new(resolution_ms, meta.max_time),
        files,
    };

    let mut before: Option<Labels> = None;
    for id in all.iter() {
        let entry = entries.read(id).map_err(Source)?;
        if before
            .as_ref()
            .is_some_and(|before| *before >= entry.labels)
        {
            let what = format!("series {} is out of order or there twice", entry.labels);
            return Err(Source(BlockError::Corrupt {
                place: meta.ulid.to_string(),
                what,
            }));
        }

        progress.samples += pass.add(id, &entry)?;
        before = Some(entry.labels);
        progress.series += 1;

        if each(progress).is_break() {
            return Err(DownsampleError::Stopped);
        }
    }

    pass.files.finish(&options).map_err(Write)
}

/// Reading one block and writing another.
struct Pass<'a> {
    source: &'a Block,
    chunks: ChunkPass<'a>,
    input: Input,
    series: Series,
    files: BlockFiles<'a>,
}

impl Pass<'_> {
    /// Adds a series; answers how many samples, or steps, it has.
    fn add(&mut self, id: u32, entry: &SeriesEntry) -> Result<u64, DownsampleError> {
        use DownsampleError::{Source, Write};

        let mut samples = 0;
        for chunk in &entry.chunks {
            let (encoding, data, _) = self.chunks.read_any(chunk.reference).map_err(Source)?;
            self.input
                .read(chunk, encoding, &data, self.source.tombstones().of(id))
                .map_err(Source)?;
            samples += self.input.len() as u64;
            add_chunk(&mut self.series, &self.input, &mut self.files)?;
        }

        self.series
            .end(&entry.labels, &mut self.files)
            .map_err(Write)?;
        Ok(samples)
    }
}

/// What is in a chunk may be what fails, or the writing of those that it ends.
fn add_chunk(
    series: &mut Series,
    input: &Input,
    files: &mut BlockFiles<'_>,
) -> Result<(), DownsampleError> {
    let mut is_written = true;
    let added = series.add(input, &mut |chunk: Finished<'_>| {
        let written = chunk.write(files);
        is_written = written.is_ok();
        written
    });
    added.map_err(|error| match is_written {
        true => DownsampleError::Source(error),
        false => DownsampleError::Write(error),
    })
}

/// A level is made of a finer one.
fn check_levels(from_ms: i64, to_ms: i64) -> Result<(), BlockError> {
    let is_possible = [RESOLUTION_5M_MS, RESOLUTION_1H_MS].contains(&to_ms)
        && (from_ms == 0 || (from_ms < to_ms && to_ms % from_ms == 0));
    if is_possible {
        return Ok(());
    }

    let what =
        format!("windows of {to_ms} ms cannot be made of a block with windows of {from_ms} ms");
    Err(BlockError::Input(what))
}

/// What the new meta takes over.
fn options_for(meta: &BlockMeta, resolution_ms: i64) -> WriteOptions {
    let compaction = &meta.compaction;
    let sources = if compaction.sources.is_empty() {
        vec![meta.ulid]
    } else {
        compaction.sources.clone()
    };

    let parents: Vec<BlockParent> = compaction.parents.clone();
    WriteOptions {
        external_labels: meta.external_labels().cloned().unwrap_or_default(),
        source: SOURCE.into(),
        resolution_ms,
        level: compaction.level,
        sources,
        parents,
        hints: compaction.hints.clone(),
        ..WriteOptions::default()
    }
}

/// A finished chunk.
pub(crate) struct Finished<'a> {
    data: &'a [u8],
    first: i64,
    last: i64,
}

impl Finished<'_> {
    fn write(&self, files: &mut BlockFiles<'_>) -> Result<(), BlockError> {
        files.add_chunk(AGGREGATES, self.data, self.first..=self.last)
    }
}

/// Receives the chunks of a series in order of time.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(Finished<'_>) -> Result<(), BlockError>;

/// Where windows are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    resolution: i64,
    /// No step is later.
    last: i64,
}

impl Windows {
    /// Time of the step of the window in which `t` is.
    pub(crate) fn end_of(&self, t: i64) -> i64 {
        let start = t
            .div_euclid(self.resolution)
            .saturating_mul(self.resolution);
        start
            .saturating_add(self.resolution - 1)
            .min(self.last.max(t))
    }

    /// True if a chunk with so many steps is to end with the one at `step`, the next sample being at `next`.
    pub(crate) fn is_full(&self, steps: u64, step: i64, next: i64) -> bool {
        steps >= STEPS_WANTED && hour(step) != hour(next)
    }
}

fn hour(t: i64) -> i64 {
    t.div_euclid(RESOLUTION_1H_MS)
}

/// The series that is being downsampled.
struct Series {
    floats: Floats,
    histograms: Histograms,
}

impl Series {
    fn new(resolution: i64, end: i64) -> Self {
        let windows = Windows {
            resolution,
            last: end.saturating_sub(1),
        };
        Self {
            floats: Floats::new(windows),
            histograms: Histograms::new(windows),
        }
    }

    /// Adds a chunk, which is behind the one before.
    fn add(&mut self, input: &Input, sink: Sink<'_>) -> Result<(), BlockError> {
        let Some(first) = input.first_time() else {
            return Ok(());
        };
        match input {
            Input::Floats(samples) => {
                self.histograms.close(Some(first), sink)?;
                samples
                    .iter()
                    .try_for_each(|(t, v)| self.floats.add_sample(t, v, sink))
            }
            Input::Histograms(samples) => {
                self.floats.close(Some(first), sink)?;
                samples
                    .iter()
                    .try_for_each(|sample| self.histograms.add_sample(sample, sink))
            }
            Input::FloatSteps(steps) => {
                self.histograms.close(Some(first), sink)?;
                self.floats.add_steps(steps, sink)
            }
            Input::HistogramSteps(steps) => {
                self.floats.close(Some(first), sink)?;
                steps
                    .iter()
                    .try_for_each(|step| self.histograms.add_step(step.clone(), sink))
            }
        }
    }

    fn end(&mut self, labels: &Labels, files: &mut BlockFiles<'_>) -> Result<(), BlockError> {
        let sink: Sink<'_> = &mut |chunk| chunk.write(files);
        self.floats.close(None, sink)?;
        self.histograms.close(None, sink)?;

        let counts = SampleCounts {
            floats: std::mem::take(&mut self.floats.steps_written),
            histograms: std::mem::take(&mut self.histograms.steps_written),
        };

        files.end_series(labels, counts)
    }
}
