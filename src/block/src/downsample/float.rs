//! Chunks of floats.

use trireme_chunk::{Encoding, XorAppender};

use super::input::{FloatStep, FloatSteps};
use super::{Finished, Sink, Windows};
use crate::BlockError;
use crate::aggregates::put_column;

/// The floats of a series.
pub(super) struct Floats {
    windows: Windows,
    /// The window under way; there is none without a chunk.
    window: Option<Window>,
    counter: Counter,
    columns: [XorColumn; 5],
    /// Times of the first and of the last step of the chunk under way; `None` before its first step.
    times: Option<(i64, i64)>,
    steps: u64,
    scratch: Vec<u8>,
    /// Steps in all chunks of the series so far.
    pub(super) steps_written: u64,
}

/// The samples of a window so far.
struct Window {
    /// Where its step will stand.
    end: i64,
    /// Time of its last sample.
    last: i64,
    count: f64,
    sum: f64,
    min: f64,
    max: f64,
}

/// A counter over resets.
#[derive(Default)]
struct Counter {
    /// Grows by each rise, and by the whole value after a reset.
    total: f64,
    /// The last sample as it is.
    last: f64,
}

impl Counter {
    fn start(v: f64) -> Self {
        Self { total: v, last: v }
    }

    fn advance(&mut self, v: f64) {
        self.total += if v < self.last { v } else { v - self.last };
        self.last = v;
    }
}

/// A column under way.
struct XorColumn {
    open: XorAppender,
    bytes: Vec<u8>,
}

impl Default for XorColumn {
    fn default() -> Self {
        let mut bytes = Vec::new();
        Self {
            open: XorAppender::start(&mut bytes),
            bytes,
        }
    }
}

impl XorColumn {
    fn append(&mut self, t: i64, v: f64) {
        self.open.append(&mut self.bytes, t, v);
    }

    fn clear(&mut self) {
        self.open = XorAppender::start(&mut self.bytes);
    }
}

/// Number of the counter's column.
const COUNTER: usize = 4;

impl Floats {
    pub(super) fn new(windows: Windows) -> Self {
        Self {
            windows,
            window: None,
            counter: Counter::default(),
            columns: Default::default(),
            times: None,
            steps: 0,
            scratch: Vec::new(),
            steps_written: 0,
        }
    }

    /// Adds a raw sample.
    pub(super) fn add_sample(&mut self, t: i64, v: f64, sink: Sink<'_>) -> Result<(), BlockError> {
        if v.is_nan() {
            return Ok(());
        }

        let end = self.windows.end_of(t);
        if self.window.as_ref().is_some_and(|window| window.end != end) {
            self.end_window();
            if self
                .times
                .is_some_and(|(_, last)| self.windows.is_full(self.steps, last, t))
            {
                self.end_chunk(sink)?;
            }
        }

        match self.is_open() {
            true => self.counter.advance(v),
            false => self.start_chunk(t, v),
        }

        self.add_to_window(
            end,
            FloatStep {
                t,
                count: 1.0,
                sum: v,
                min: v,
                max: v,
            },
        );

        Ok(())
    }

    /// Adds windows of a finer level: all of a chunk, as what its counter lost to resets is known at its end only.
    pub(super) fn add_steps(
        &mut self,
        chunk: &FloatSteps,
        sink: Sink<'_>,
    ) -> Result<(), BlockError> {
        let (Some(first), Some((first_t, first_v))) = (chunk.steps.first(), chunk.counter.first())
        else {
            return Ok(());
        };

        self.begin_steps(first.t, (*first_t, *first_v), sink)?;

        let mut counter = chunk.counter.iter().skip(1).peekable();

        let mut before = *first_t;
        for step in &chunk.steps {
            let end = self.windows.end_of(step.t);
            if self.window.as_ref().is_some_and(|window| window.end != end) {
                self.end_window();
            }
            while let Some((t, v)) = counter.next_if(|(t, _)| *t <= step.t) {
                self.follow(&mut before, *t, *v);
            }
            self.add_to_window(end, *step);
        }

        counter.for_each(|(t, v)| self.follow(&mut before, *t, *v));
        Ok(())
    }

    /// Makes room for the windows of a chunk, the first of which is at `t`; its counter begins with `first`.
    fn begin_steps(&mut self, t: i64, first: (i64, f64), sink: Sink<'_>) -> Result<(), BlockError> {
        let closed = u64::from(self.window.is_some());
        if self.steps + closed >= super::STEPS_WANTED {
            self.close(Some(t), sink)?;
        }

        match self.is_open() {
            true => self.counter.advance(first.1),
            false => self.start_chunk(first.0, first.1),
        }
        Ok(())
    }

    /// Takes a sample of a counter's column: one at the time of the one before says what that was really.
    fn follow(&mut self, before: &mut i64, t: i64, v: f64) {
        match t > *before {
            true => self.counter.advance(v),
            false => self.counter.last = v,
        }
        *before = t;
    }

    fn is_open(&self) -> bool {
        self.window.is_some() || self.times.is_some()
    }

    fn start_chunk(&mut self, t: i64, v: f64) {
        self.columns.iter_mut().for_each(XorColumn::clear);
        self.columns[COUNTER].append(t, v);
        self.counter = Counter::start(v);
        self.steps = 0;
    }

    fn add_to_window(&mut self, end: i64, step: FloatStep) {
        match &mut self.window {
            Some(window) => {
                window.last = step.t;
                window.count += step.count;
                window.sum += step.sum;
                window.min = window.min.min(step.min);
                window.max = window.max.max(step.max);
            }
            none => {
                let FloatStep {
                    t,
                    count,
                    sum,
                    min,
                    max,
                } = step;
                *none = Some(Window {
                    end,
                    last: t,
                    count,
                    sum,
                    min,
                    max,
                });
            }
        }
    }

    /// Writes the step of the window under way, at its end.
    fn end_window(&mut self) {
        if let Some(window) = self.window.take() {
            self.write_step(window.end, &window);
        }
    }

    fn write_step(&mut self, t: i64, window: &Window) {
        let values = [
            window.count,
            window.sum,
            window.min,
            window.max,
            self.counter.total,
        ];

        self.columns
            .iter_mut()
            .zip(values)
            .for_each(|(column, v)| column.append(t, v));
        self.times = Some((self.times.map_or(t, |(first, _)| first), t));
        self.steps += 1;
    }

    /// Ends the chunk under way; what comes next in the series is at `next` or later.
    pub(super) fn close(&mut self, next: Option<i64>, sink: Sink<'_>) -> Result<(), BlockError> {
        if let Some(window) = self.window.take() {
            let is_shared = next.is_some_and(|t| self.windows.end_of(t) == window.end);
            self.write_step(if is_shared { window.last } else { window.end }, &window);
        }
        self.end_chunk(sink)
    }

    fn end_chunk(&mut self, sink: Sink<'_>) -> Result<(), BlockError> {
        let Some((first, last)) = self.times.take() else {
            return Ok(());
        };

        self.columns[COUNTER].append(last, self.counter.last);

        self.scratch.clear();
        for column in &self.columns {
            put_column(&mut self.scratch, Some((Encoding::Xor, &column.bytes)));
        }

        self.steps_written += std::mem::take(&mut self.steps);
        sink(Finished {
            data: &self.scratch,
            first,
            last,
        })
    }
}
