//! Samples of a series to chunks.

use std::ops::Range;

use trireme_chunk::{Appended, ChunkError, Encoding, HistogramAppender, Xor2Appender, XorAppender};
use trireme_model::{HistogramSample, ResetHint};

use crate::{BlockError, SeriesInput};

/// The count of chunks with start timestamps has 14 bits.
const CHUNK_SAMPLES_BOUND: usize = 0x3fff;

/// Which encodings chunks may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChunkEncodings {
    /// 1 to 3, which Prometheus reads since 2.40: start timestamps are dropped.
    #[default]
    Classic,
    /// A chunk with start timestamps keeps them in encoding 4 to 6, which Prometheus reads since 3.14; others are as in
    /// `Classic`.
    Starts,
    /// As `Starts`, and all floats are in encoding 4.
    Xor2,
}

impl ChunkEncodings {
    /// True if start timestamps are written.
    pub fn keep_starts(self) -> bool {
        self != Self::Classic
    }

    /// True if a chunk of floats with these starts is written in encoding 4.
    fn xor2(self, starts: &[i64]) -> bool {
        match self {
            Self::Classic => false,
            Self::Starts => starts.iter().any(|start| *start != 0),
            Self::Xor2 => true,
        }
    }
}

/// An encoded chunk and the times of its first and last sample (ms).
pub(crate) struct EncodedChunk<'a> {
    pub(crate) encoding: Encoding,
    pub(crate) data: &'a [u8],
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
}

/// Receives the chunks of a series in time order.
type Sink<'a> = &'a mut dyn FnMut(EncodedChunk<'_>) -> Result<(), BlockError>;

/// Counts of what was encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SampleCounts {
    pub(crate) floats: u64,
    pub(crate) histograms: u64,
}

/// Encodes series; keeps its buffer between them.
pub(crate) struct SeriesEncoder {
    window: Range<i64>,
    samples_max: usize,
    encodings: ChunkEncodings,
    buffer: Vec<u8>,
}

impl SeriesEncoder {
    /// For samples inside `window` (ms), at most `samples_max` a chunk.
    pub(crate) fn new(window: Range<i64>, samples_max: usize, encodings: ChunkEncodings) -> Self {
        let samples_max = samples_max.clamp(1, CHUNK_SAMPLES_BOUND);
        Self {
            window,
            samples_max,
            encodings,
            buffer: Vec::with_capacity(4096),
        }
    }

    /// Encodes all samples; runs of floats and of histograms alternate by time.
    pub(crate) fn encode(
        &mut self,
        series: &SeriesInput,
        sink: Sink<'_>,
    ) -> Result<SampleCounts, BlockError> {
        self.check(series)
            .map_err(|what| BlockError::Input(format!("series {}: {what}", series.labels)))?;
        let untied = without_ties(series);
        let floats = untied.as_ref().unwrap_or(series);
        self.encode_runs(floats, &series.histograms, sink)?;

        Ok(SampleCounts {
            floats: floats.times.len() as u64,
            histograms: series.histograms.len() as u64,
        })
    }

    fn encode_runs(
        &mut self,
        floats: &SeriesInput,
        histograms: &[HistogramSample],
        sink: Sink<'_>,
    ) -> Result<(), BlockError> {
        let times = &floats.times[..];
        let mut f = 0;
        let mut h = 0;
        while f < times.len() || h < histograms.len() {
            let next_histogram = histograms.get(h).map_or(i64::MAX, |s| s.t);
            let run = times[f..].partition_point(|t| *t < next_histogram);
            self.encode_floats(floats, f..f + run, sink)?;
            f += run;
            let next_float = times.get(f).copied().unwrap_or(i64::MAX);
            let run = histograms[h..].partition_point(|s| s.t < next_float);
            self.encode_histograms(&histograms[h..h + run], sink)?;
            h += run;
        }

        Ok(())
    }

    /// Says what is wrong with the series, if anything is.
    fn check(&self, series: &SeriesInput) -> Result<(), &'static str> {
        if series.times.len() != series.values.len() {
            return Err("times and values differ in number");
        }
        if !series.starts.is_empty() && series.starts.len() != series.times.len() {
            return Err("times and start timestamps differ in number");
        }

        let rising = series.times.is_sorted_by(|a, b| a < b)
            && series.histograms.is_sorted_by(|a, b| a.t < b.t);
        if !rising {
            return Err("samples are not in rising time order");
        }

        let ends = [
            series.times.first().copied(),
            series.times.last().copied(),
            series.histograms.first().map(|s| s.t),
            series.histograms.last().map(|s| s.t),
        ];

        if ends
            .into_iter()
            .flatten()
            .any(|t| !self.window.contains(&t))
        {
            return Err("a sample is outside the window of the block");
        }

        Ok(())
    }

    fn encode_floats(
        &mut self,
        floats: &SeriesInput,
        run: Range<usize>,
        sink: Sink<'_>,
    ) -> Result<(), BlockError> {
        if run.is_empty() {
            return Ok(());
        }

        // Chunks of equal size rather than full ones and a rest.
        let each = run.len().div_ceil(run.len().div_ceil(self.samples_max));

        for from in run.clone().step_by(each) {
            let chunk = from..(from + each).min(run.end);
            let starts = floats.starts.get(chunk.clone()).unwrap_or_default();
            if self.encodings.xor2(starts) {
                encode_xor2(floats, chunk, sink)?;
            } else {
                self.encode_xor(floats, chunk, sink)?;
            }
        }

        Ok(())
    }

    fn encode_xor(
        &mut self,
        floats: &SeriesInput,
        chunk: Range<usize>,
        sink: Sink<'_>,
    ) -> Result<(), BlockError> {
        let min_time = floats.times[chunk.start];
        let max_time = floats.times[chunk.end - 1];

        let mut appender = XorAppender::start(&mut self.buffer);
        for i in chunk {
            appender.append(&mut self.buffer, floats.times[i], floats.values[i]);
        }
        sink(EncodedChunk {
            encoding: Encoding::Xor,
            data: &self.buffer,
            min_time,
            max_time,
        })
    }

    fn encode_histograms(
        &mut self,
        samples: &[HistogramSample],
        sink: Sink<'_>,
    ) -> Result<(), BlockError> {
        let with_starts = self.encodings.keep_starts() && samples.iter().any(|s| s.st != 0);

        let mut open: Option<(HistogramAppender, i64)> = None;
        for sample in samples {
            let appender = open.as_mut().map(|(appender, _)| appender);
            let Some(hint) = self.hint_of_new(appender, sample)? else {
                continue;
            };

            let new = match with_starts {
                true => HistogramAppender::start_with_starts(sample, hint),
                false => HistogramAppender::start(sample, hint),
            };
            let new = new.map_err(refused)?;

            if let Some((full, min_time)) = open.replace((new, sample.t)) {
                finish_histograms(&full, min_time, sink)?;
            }
        }

        match open {
            Some((last, min_time)) => finish_histograms(&last, min_time, sink),
            None => Ok(()),
        }
    }

    /// How the chunk begins that a sample needs; none if the open one took it.
    fn hint_of_new(
        &self,
        open: Option<&mut HistogramAppender>,
        sample: &HistogramSample,
    ) -> Result<Option<ResetHint>, BlockError> {
        let Some(appender) = open else {
            return Ok(Some(ResetHint::Unknown));
        };
        if usize::from(appender.count()) >= self.samples_max {
            return appender.hint_for(sample).map(Some).map_err(refused);
        }

        match appender.append(sample).map_err(refused)? {
            Appended::NeedsNewChunk(hint) => Ok(Some(hint)),
            Appended::Done | Appended::Recoded => Ok(None),
        }
    }
}

fn encode_xor2(
    floats: &SeriesInput,
    chunk: Range<usize>,
    sink: Sink<'_>,
) -> Result<(), BlockError> {
    let min_time = floats.times[chunk.start];
    let max_time = floats.times[chunk.end - 1];

    let mut appender = Xor2Appender::default();
    for i in chunk {
        let start = floats.starts.get(i).copied().unwrap_or(0);
        let appended = appender.append(start, floats.times[i], floats.values[i]);
        appended.map_err(refused)?;
    }

    sink(EncodedChunk {
        encoding: Encoding::Xor2,
        data: appender.bytes(),
        min_time,
        max_time,
    })
}

fn refused(e: ChunkError) -> BlockError {
    BlockError::Input(e.to_string())
}

/// The floats without those that have a histogram's time; none if there are no such.
fn without_ties(series: &SeriesInput) -> Option<SeriesInput> {
    let mut times = series.times.iter();
    if series.histograms.is_empty() || !times.any(|t| has_histogram(series, *t)) {
        return None;
    }

    let mut floats = SeriesInput::default();
    for (i, t) in series.times.iter().enumerate() {
        if !has_histogram(series, *t) {
            floats.times.push(*t);
            floats.values.push(series.values[i]);
            floats.starts.extend(series.starts.get(i));
        }
    }

    Some(floats)
}

fn has_histogram(series: &SeriesInput, t: i64) -> bool {
    series.histograms.binary_search_by_key(&t, |s| s.t).is_ok()
}

fn finish_histograms(
    appender: &HistogramAppender,
    min_time: i64,
    sink: Sink<'_>,
) -> Result<(), BlockError> {
    sink(EncodedChunk {
        encoding: appender.encoding(),
        data: appender.bytes(),
        min_time,
        max_time: appender.last_time(),
    })
}
