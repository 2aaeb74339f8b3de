//! Chunks of histograms.
//!
//! A chunk ends where the buckets become others and where a counter was reset. So all its sums have one layout, and its counter
//! column needs nothing but the last histogram of each window: a reset is between two chunks, and seen as in raw samples.

use std::sync::Arc;

use trireme_chunk::{Appended, ChunkError, Encoding, HistogramAppender, XorAppender};
use trireme_model::{AnyHistogram, FloatHistogram, HistogramSample, ResetHint};

use super::input::HistogramStep;
use super::{Finished, Sink, Windows};
use crate::BlockError;
use crate::aggregates::put_column;

/// The histograms of a series.
pub(super) struct Histograms {
    windows: Windows,
    window: Option<Window>,
    chunk: Option<Chunk>,
    scratch: Vec<u8>,
    /// Steps in all chunks of the series so far.
    pub(super) steps_written: u64,
}

/// The histograms of a window so far.
struct Window {
    /// Where its step will stand.
    end: i64,
    /// Time of its last sample.
    last_t: i64,
    count: f64,
    sum: FloatHistogram,
    last: Arc<FloatHistogram>,
}

/// A chunk under way.
struct Chunk {
    counts: XorAppender,
    count_bytes: Vec<u8>,
    sums: HistogramAppender,
    lasts: HistogramAppender,
    first: i64,
    last: i64,
    /// The histogram of the last step.
    before: Arc<FloatHistogram>,
    steps: u64,
}

impl Histograms {
    pub(super) fn new(windows: Windows) -> Self {
        Self {
            windows,
            window: None,
            chunk: None,
            scratch: Vec::new(),
            steps_written: 0,
        }
    }

    /// Adds a raw sample.
    pub(super) fn add_sample(
        &mut self,
        sample: &HistogramSample,
        sink: Sink<'_>,
    ) -> Result<(), BlockError> {
        let h = sample.h.to_float();
        if h.sum.is_nan() {
            return Ok(());
        }

        self.add_step(
            HistogramStep {
                t: sample.t,
                count: 1.0,
                sum: Arc::clone(&h),
                last: h,
            },
            sink,
        )
    }

    /// Adds a window of a finer level.
    pub(super) fn add_step(
        &mut self,
        step: HistogramStep,
        sink: Sink<'_>,
    ) -> Result<(), BlockError> {
        let end = self.windows.end_of(step.t);
        let before = self.window.as_ref().map(|window| &window.last);

        let before = before.or(self.chunk.as_ref().map(|chunk| &chunk.before));
        if before.is_some_and(|before| !follows(before, &step.last)) {
            self.close(Some(step.t), sink)?;
        } else if self.window.as_ref().is_some_and(|window| window.end != end) {
            self.end_window(false, sink)?;
            if self
                .chunk
                .as_ref()
                .is_some_and(|chunk: &Chunk| self.windows.is_full(chunk.steps, chunk.last, step.t))
            {
                self.end_chunk(sink)?;
            }
        }

        self.add_to_window(end, step)
    }

    /// Adds it to the window that ends at `end`, which is the open one if there is any.
    fn add_to_window(&mut self, end: i64, step: HistogramStep) -> Result<(), BlockError> {
        match &mut self.window {
            Some(window) => {
                window.last_t = step.t;
                window.count += step.count;
                // Of one layout, so it cannot fail.
                window
                    .sum
                    .add(&step.sum)
                    .map_err(|e| BlockError::Input(e.to_string()))?;
                window.last = step.last;
            }
            none => {
                let sum = FloatHistogram::clone(&step.sum);
                let last_t = step.t;
                let count = step.count;
                let last = step.last;
                *none = Some(Window {
                    end,
                    last_t,
                    count,
                    sum,
                    last,
                });
            }
        }

        Ok(())
    }

    /// Ends the chunk under way; what comes next in the series is at `next` or later.
    pub(super) fn close(&mut self, next: Option<i64>, sink: Sink<'_>) -> Result<(), BlockError> {
        let end = self.window.as_ref().map(|window| window.end);
        let is_shared = end.is_some() && next.map(|t| self.windows.end_of(t)) == end;
        self.end_window(is_shared, sink)?;
        self.end_chunk(sink)
    }

    /// Writes the step of the window under way, at its last sample if others `share` it.
    fn end_window(&mut self, is_shared: bool, sink: Sink<'_>) -> Result<(), BlockError> {
        let Some(window) = self.window.take() else {
            return Ok(());
        };

        let t = if is_shared { window.last_t } else { window.end };
        let is_in = match &mut self.chunk {
            Some(chunk) => chunk.try_append(t, &window)?,
            None => false,
        };

        if !is_in {
            self.end_chunk(sink)?;
            self.chunk = Some(Chunk::start(t, &window)?);
        }

        Ok(())
    }

    fn end_chunk(&mut self, sink: Sink<'_>) -> Result<(), BlockError> {
        let Some(chunk) = self.chunk.take() else {
            return Ok(());
        };

        self.scratch.clear();
        let out = &mut self.scratch;
        put_column(out, Some((Encoding::Xor, &chunk.count_bytes)));
        put_column(out, Some((chunk.sums.encoding(), chunk.sums.bytes())));
        put_column(out, None);
        put_column(out, None);
        put_column(out, Some((chunk.lasts.encoding(), chunk.lasts.bytes())));
        self.steps_written += chunk.steps;

        sink(Finished {
            data: &self.scratch,
            first: chunk.first,
            last: chunk.last,
        })
    }
}

/// True if `next` can stand in a chunk behind `before`.
fn follows(before: &FloatHistogram, next: &FloatHistogram) -> bool {
    let is_gauge = next.reset_hint == ResetHint::Gauge;
    before.schema == next.schema
        && before.zero_threshold == next.zero_threshold
        && before.custom_values == next.custom_values
        && (before.reset_hint == ResetHint::Gauge) == is_gauge
        && (is_gauge || !next.detect_reset(before))
}

fn sample(t: i64, h: &FloatHistogram, hint: ResetHint) -> HistogramSample {
    let h = FloatHistogram {
        reset_hint: hint,
        ..h.clone()
    };
    HistogramSample {
        t,
        st: 0,
        h: AnyHistogram::Float(Arc::new(h)),
    }
}

/// The samples of a step in the columns of sums and of counters.
fn samples(t: i64, window: &Window) -> (HistogramSample, HistogramSample) {
    let hint = match window.last.reset_hint {
        ResetHint::Gauge => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    };
    // A sum may be less than the one before, which is no reset.
    (
        sample(t, &window.sum, ResetHint::Gauge),
        sample(t, &window.last, hint),
    )
}

fn bad(e: ChunkError) -> BlockError {
    BlockError::Input(e.to_string())
}

impl Chunk {
    fn start(t: i64, window: &Window) -> Result<Self, BlockError> {
        let (sum, last) = samples(t, window);
        let mut count_bytes = Vec::new();
        let mut counts = XorAppender::start(&mut count_bytes);

        counts.append(&mut count_bytes, t, window.count);
        Ok(Self {
            counts,
            count_bytes,
            sums: HistogramAppender::start(&sum, ResetHint::Gauge).map_err(bad)?,
            lasts: HistogramAppender::start(&last, ResetHint::Unknown).map_err(bad)?,
            first: t,
            last: t,
            before: Arc::clone(&window.last),
            steps: 1,
        })
    }

    /// Appends a step to all columns, or to none if one of them cannot take it.
    fn try_append(&mut self, t: i64, window: &Window) -> Result<bool, BlockError> {
        let (sum, last) = samples(t, window);
        let mut sums = self.sums.clone();

        let mut lasts = self.lasts.clone();
        for (column, sample) in [(&mut sums, &sum), (&mut lasts, &last)] {
            if matches!(
                column.append(sample).map_err(bad)?,
                Appended::NeedsNewChunk(_)
            ) {
                return Ok(false);
            }
        }

        (self.sums, self.lasts) = (sums, lasts);
        self.counts.append(&mut self.count_bytes, t, window.count);
        self.before = Arc::clone(&window.last);
        self.last = t;
        self.steps += 1;

        Ok(true)
    }
}
