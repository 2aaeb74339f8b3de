//! Functions over ranges: each series is read once, the range slides over its columns.

use std::sync::Arc;

use trireme_model::{Labels, ResetHint, is_stale};

use super::Evaluator;
use super::histogram_stats::Stats;
use super::query::Query;
use super::row::{Cell, Meta, Row, Tag};
use super::scalar::Scalar;
use super::steps::{Steps, TimeShift};
use super::stream::{Rows, Stream, Worker};
use super::tally::{Relation, Tally};
use crate::annotations::{self as notes, Notes};
use crate::ast::{Expr, MatrixSelector, PosRange, Subquery};
use crate::error::QueryError;
use crate::functions::range::{RangeCall, RangeFunction};
use crate::functions::window::{Sliding, Window};
use crate::functions::{Notice, rate};
use crate::select::{Columns, SelectHints, SeriesRead};

/// So many samples are worked on between two looks at whether to go on.
const SAMPLES_UNCHECKED_MAX: usize = 200_000;

/// How samples outside the range take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extension {
    /// They do not.
    None,
    /// The one before the left edge.
    Anchored,
    /// Those around both edges.
    Smoothed,
}

/// A range vector: which series, and which range at which step.
pub(crate) struct Range<'q> {
    pub(crate) metas: Vec<Meta>,
    source: Source<'q>,
    pub(crate) shift: TimeShift,
    /// Length of the range (ms).
    pub(crate) range_ms: i64,
    pub(crate) extension: Extension,
    pub(crate) pos: PosRange,
}

enum Source<'q> {
    Stored {
        series: Vec<Box<dyn SeriesRead>>,
        stats: Stats,
    },
    Computed {
        rows: Arc<dyn Rows + 'q>,
        steps: Steps,
    },
}

impl<'q> Range<'q> {
    /// Reads the samples of a series that any of `steps` needs; stale markers left out.
    pub(crate) fn read(
        &self,
        query: &Query<'_>,
        steps: &Steps,
        series: usize,
        worker: &mut Worker,
        columns: &mut Columns,
    ) -> Result<(), QueryError> {
        match &self.source {
            Source::Stored {
                series: stored,
                stats,
            } => {
                let (from, to) = self.bounds(steps, query.options.lookback_ms);
                stored[series].read_within(
                    from,
                    to,
                    query.series_samples_max(steps.count),
                    columns,
                )?;
                stats.apply(columns);
                drop_stale(columns);
                if !query.options.start_timestamps {
                    columns.float_st.clear();
                }
            }
            Source::Computed { rows, steps } => {
                read_computed(rows.as_ref(), steps, series, worker, columns)?;
            }
        }
        Ok(())
    }

    /// True for a subquery.
    pub(crate) fn is_computed(&self) -> bool {
        matches!(self.source, Source::Computed { .. })
    }

    /// First and last time of which samples are needed (ms, inclusive).
    fn bounds(&self, steps: &Steps, lookback: i64) -> (i64, i64) {
        range_bounds(&self.shift, steps, self.range_ms, self.extension, lookback)
    }
}

/// Computes a series and appends its samples.
fn read_computed(
    rows: &dyn Rows,
    steps: &Steps,
    series: usize,
    worker: &mut Worker,
    columns: &mut Columns,
) -> Result<(), QueryError> {
    let mut row = worker.take_row(steps.count);
    rows.fill(series, worker, &mut row)?;
    for step in 0..steps.count {
        match row.cell(step) {
            Cell::Empty => {}
            Cell::Float(v) => columns.push_float(steps.time(step), v),
            Cell::Histogram(h) => columns.push_histogram(steps.time(step), 0, without_hint(h)),
        }
    }
    worker.give_row(row);
    Ok(())
}

pub(crate) fn range_bounds(
    shift: &TimeShift,
    steps: &Steps,
    range_ms: i64,
    extension: Extension,
    lookback: i64,
) -> (i64, i64) {
    let (first, last) = shift.bounds(steps);
    let from = first.saturating_sub(range_ms).saturating_add(1);
    match extension {
        Extension::None => (from, last),
        Extension::Anchored => (from.saturating_sub(lookback), last),
        Extension::Smoothed => (from.saturating_sub(lookback), last.saturating_add(lookback)),
    }
}

/// Counts what each step's window, from (exclusive) and to (inclusive, ms), consumes, and what of that none before it read.
pub(crate) fn count_by_step(
    tally: &Tally,
    columns: &Columns,
    steps: &Steps,
    window: impl Fn(i64) -> (i64, i64),
) {
    let mut sliding = Sliding::default();

    let mut unread = i64::MIN;
    for step in 0..steps.count {
        let (from, to) = window(steps.time(step));
        let window = sliding.advance(columns, from, to);
        let new_floats = window.t.iter().filter(|t| **t > unread).count();
        let new_histograms = window.h.iter().filter(|p| p.t > unread);
        let read = new_floats + new_histograms.map(|p| p.h.size_in_samples()).sum::<usize>();
        tally.count_at(step, window.len() as u64, read as u64);
        unread = unread.max(to);
    }
}

/// The steps inside a subquery around which there are `steps`; `None` if no window holds one. They are multiples of the
/// resolution: the first after the left edge, the last not after the right one.
pub(crate) fn inner_steps(
    s: &Subquery,
    shift: TimeShift,
    steps: &Steps,
    default_ms: i64,
) -> Option<Steps> {
    let step = s.step.as_ref().map_or(default_ms, |step| step.ms).max(1);
    let (first, last) = shift.bounds(steps);
    let after = first.saturating_sub(s.range.ms);
    let start = after
        .div_euclid(step)
        .saturating_add(1)
        .saturating_mul(step);
    if start > last {
        return None;
    }

    let count = usize::try_from((last - start) / step)
        .unwrap_or(usize::MAX)
        .saturating_add(1);

    Some(Steps { start, step, count })
}

/// Removes stale markers.
pub(crate) fn drop_stale(columns: &mut Columns) {
    if columns.float_v.iter().any(|v| is_stale(*v)) {
        let mut kept = 0;
        for at in 0..columns.float_v.len() {
            if is_stale(columns.float_v[at]) {
                continue;
            }
            columns.float_t[kept] = columns.float_t[at];
            columns.float_v[kept] = columns.float_v[at];
            if !columns.float_st.is_empty() {
                columns.float_st[kept] = columns.float_st[at];
            }
            kept += 1;
        }

        columns.float_t.truncate(kept);
        columns.float_v.truncate(kept);
        columns.float_st.truncate(kept);
    }
    columns.histograms.retain(|p| !is_stale(p.h.sum));
}

/// A subquery may leave out the sample that was a reset, or give it twice, so that hints mean nothing any more.
fn without_hint(h: &Arc<trireme_model::FloatHistogram>) -> Arc<trireme_model::FloatHistogram> {
    match h.reset_hint {
        ResetHint::Unknown | ResetHint::Gauge => Arc::clone(h),
        ResetHint::Reset | ResetHint::NotReset => {
            let mut h = (**h).clone();
            h.reset_hint = ResetHint::Unknown;
            Arc::new(h)
        }
    }
}

/// A function applied to a range vector.
struct RangeRows<'q> {
    query: &'q Query<'q>,
    range: Range<'q>,
    steps: Steps,
    function: RangeFunction,
    /// The other arguments, in order.
    scalars: Vec<Scalar>,
    /// Where the first argument stands.
    pos: PosRange,
    /// Where the last of the other arguments stands.
    scalar_pos: PosRange,
    /// `rate` and `increase` look whether the metric looks like a counter.
    wants_counter: bool,
    /// What [`rate::plain`] has to compute, if it can stand for `function`.
    plain: Option<rate::Kind>,
    tally: Arc<Tally>,
}

/// The samples of a series, histograms by their size.
pub(crate) fn weight(columns: &Columns) -> u64 {
    columns.weight() as u64
}

impl Rows for RangeRows<'_> {
    fn fill(&self, series: usize, worker: &mut Worker, row: &mut Row) -> Result<(), QueryError> {
        let mut columns = worker.take_columns();
        self.range
            .read(self.query, &self.steps, series, worker, &mut columns)?;

        let labels = &self.range.metas[series].labels;
        let may_reset =
            columns.float_v.windows(2).any(|w| w[1] < w[0]) || !columns.float_st.is_empty();
        if let Some(kind) = self.plain
            && columns.histograms.is_empty()
            && columns.float_st.is_empty()
        {
            self.fill_plain(kind, may_reset, &columns, row)?;
        } else {
            self.fill_each(series, may_reset, &columns, worker, row)?;
        }

        worker.give_columns(columns);
        if self.wants_counter {
            self.note_if_no_counter(labels, row, worker);
        }

        Ok(())
    }
}

impl RangeRows<'_> {
    /// Any function over any samples.
    fn fill_each(
        &self,
        series: usize,
        may_reset: bool,
        columns: &Columns,
        worker: &mut Worker,
        row: &mut Row,
    ) -> Result<(), QueryError> {
        let (before, after) = self.reach();
        let mut sliding = Sliding::default();
        let mut sizes = Sizes::default();
        let mut scratch = std::mem::take(&mut worker.floats);
        let mut call = self.call(series, may_reset, &mut worker.notes, &mut scratch);

        for step in 0..self.steps.count {
            call.eval_t = self.steps.time(step);
            call.end = self.range.shift.apply(call.eval_t);
            call.start = call.end.saturating_sub(self.range.range_ms);

            call.window = sliding.advance(
                columns,
                call.start.saturating_sub(before),
                call.end.saturating_add(after),
            );
            if call.window.is_empty() {
                continue;
            }

            sizes.add(&call.window, self.query)?;
            for (into, scalar) in call.scalars.iter_mut().zip(&self.scalars) {
                *into = scalar.at(step);
            }

            if let Some(out) = (self.function)(&mut call)? {
                row.set(step, out);
            }
        }

        worker.floats = scratch;
        self.query.budget.check(sizes.floats_max)?;
        self.count_consumed(columns, sizes.total)
    }

    /// A call for a series; the window and its times are still to be set.
    fn call<'a>(
        &'a self,
        series: usize,
        may_reset: bool,
        notes: &'a mut Notes,
        scratch: &'a mut Vec<f64>,
    ) -> RangeCall<'a> {
        RangeCall {
            window: Window::default(),
            start: 0,
            end: 0,
            eval_t: 0,
            range_ms: self.range.range_ms,
            extension: self.range.extension,
            lookback_ms: self.query.options.lookback_ms,
            scalars: [0.0; 2],
            scalar_pos: self.scalar_pos,
            may_reset,
            notice: Notice {
                labels: &self.range.metas[series].labels,
                pos: self.pos,
                notes,
            },
            scratch,
            start_timestamps: self.query.options.start_timestamps,
        }
    }

    /// The most frequent functions over the most frequent samples, without a look at what these samples cannot be.
    fn fill_plain(
        &self,
        kind: rate::Kind,
        may_reset: bool,
        columns: &Columns,
        row: &mut Row,
    ) -> Result<(), QueryError> {
        let shift = &self.range.shift;
        let range_ms = self.range.range_ms;
        let length_s = range_ms as f64 / 1000.0;
        let mut sliding = Sliding::default();
        let mut sizes = Sizes::default();
        for step in 0..self.steps.count {
            let end = shift.apply(self.steps.time(step));
            let start = end.saturating_sub(range_ms);
            let window = sliding.advance(columns, start, end);
            if window.t.is_empty() {
                continue;
            }

            sizes.add(&window, self.query)?;

            let edges = rate::Edges {
                start,
                end,
                length_s,
            };
            if let Some(v) = rate::plain(&window, edges, may_reset, kind) {
                row.set_float(step, v);
            }
        }

        self.query.budget.check(sizes.floats_max)?;
        self.count_consumed(columns, sizes.total)
    }

    /// Counts `total` samples in windows over the samples of one series. Those of a subquery were counted where they were
    /// read.
    fn count_consumed(&self, columns: &Columns, total: u64) -> Result<(), QueryError> {
        if self.range.is_computed() {
            return Ok(());
        }

        let (before, after) = self.reach();
        let length = self
            .range
            .range_ms
            .saturating_add(before)
            .saturating_add(after);

        // Windows that touch or overlap read all there is between the first and the last.
        let apart =
            self.range.shift.at.is_none() && self.steps.count > 1 && self.steps.step > length;
        let read = if apart { total } else { weight(columns) };

        self.tally.count(total, read);
        if self.tally.is_by_step() {
            count_by_step(&self.tally, columns, &self.steps, |t| {
                let end = self.range.shift.apply(t);
                let start = end.saturating_sub(self.range.range_ms);
                (start.saturating_sub(before), end.saturating_add(after))
            });
        }

        self.query.count_read(read)
    }

    /// How far before and after the range samples take part (ms).
    fn reach(&self) -> (i64, i64) {
        let lookback = self.query.options.lookback_ms;
        match self.range.extension {
            Extension::None => (0, 0),
            Extension::Anchored => (lookback, 0),
            Extension::Smoothed => (lookback, lookback),
        }
    }

    fn note_if_no_counter(&self, labels: &Labels, row: &Row, worker: &mut Worker) {
        let name = labels.metric_name();
        let counts = ["_total", "_sum", "_count", "_bucket"]
            .iter()
            .any(|end| name.ends_with(end));

        let by_label = self.query.options.type_and_unit_labels;
        if name.is_empty()
            || (!by_label && counts)
            || !(0..row.steps()).any(|i| row.tag(i) == Tag::Float)
        {
            return;
        }

        if !by_label {
            worker
                .notes
                .add(notes::possible_non_counter(name, self.pos));
            return;
        }

        let kind = labels.get("__type__").unwrap_or("");
        if kind != "counter" && kind != "histogram" {
            worker
                .notes
                .add(notes::possible_non_counter_label(name, kind, self.pos));
        }
    }
}

/// How large the windows over a series were so far.
#[derive(Default)]
struct Sizes {
    total: u64,
    /// Limits are looked at for each window with histograms, but of floats only for the largest.
    floats_max: usize,
    /// Since the query was last looked at.
    unchecked: usize,
}

impl Sizes {
    #[inline]
    fn add(&mut self, window: &Window<'_>, query: &Query<'_>) -> Result<(), QueryError> {
        let size = if window.h.is_empty() {
            self.floats_max = self.floats_max.max(window.t.len());
            window.t.len()
        } else {
            let size = window.len();
            query.budget.check(size)?;
            size
        };

        self.total += size as u64;
        self.unchecked += size;
        if self.unchecked > SAMPLES_UNCHECKED_MAX {
            query.check()?;
            self.unchecked = 0;
        }

        Ok(())
    }
}

impl<'q> Evaluator<'q> {
    /// The range vector that a selector or subquery stands for.
    pub(crate) fn range(
        &self,
        expr: &'q Expr,
        hints: SelectHints,
    ) -> Result<Range<'q>, QueryError> {
        match expr.unwrap_parens() {
            Expr::Matrix(m) => self.stored_range(m, hints),
            Expr::Subquery(s) => self.computed_range(s),
            _ => Err(QueryError::Internal(
                "a range vector was expected".to_owned(),
            )),
        }
    }

    fn stored_range(
        &self,
        m: &MatrixSelector,
        mut hints: SelectHints,
    ) -> Result<Range<'q>, QueryError> {
        let selector = &m.selector;
        let extension = match (selector.anchored, selector.smoothed) {
            (true, _) => Extension::Anchored,
            (_, true) => Extension::Smoothed,
            _ => Extension::None,
        };

        let shift = self.shift(selector.at, selector.offset.ms);
        let lookback = self.query.options.lookback_ms;
        let (from, to) = range_bounds(&shift, &self.steps, m.range.ms, extension, lookback);

        hints.range_ms = m.range.ms;
        let series = self.select(&selector.matchers, from, to, hints)?;
        Ok(Range {
            metas: super::selector::metas_of(&series),
            source: Source::Stored {
                series,
                stats: self.stats,
            },
            shift,
            range_ms: m.range.ms,
            extension,
            pos: m.pos,
        })
    }

    fn computed_range(&self, s: &'q Subquery) -> Result<Range<'q>, QueryError> {
        let shift = self.shift(s.at, s.offset.ms);
        let range = |metas, source| Range {
            metas,
            source,
            shift,
            range_ms: s.range.ms,
            extension: Extension::None,
            pos: s.pos,
        };

        let Some(steps) = inner_steps(s, shift, &self.steps, self.query.options.subquery_step_ms)
        else {
            let nothing = Source::Stored {
                series: Vec::new(),
                stats: Stats::Off,
            };
            return Ok(range(Vec::new(), nothing));
        };

        // Each thread holds the samples of one series at a time.
        let threads = self.query.options.threads.max(1);
        if steps.count.saturating_mul(threads) > self.query.options.samples_max {
            return Err(QueryError::TooManySamples);
        }

        // Resets are to be found by the buckets, of which a subquery may skip the telling sample.
        let relation = Relation::Subquery {
            shift,
            range_ms: s.range.ms,
        };
        let tally = self
            .query
            .new_tally(steps, relation, self.tally, self.steps.count);
        let inner = Evaluator {
            query: self.query,
            steps,
            stats: Stats::Never,
            tally,
        };

        let stream = inner.vector_or_scalar(&s.expr)?;
        let (metas, rows) = stream.into_parts();
        Ok(range(metas, Source::Computed { rows, steps }))
    }

    /// Applies a function to a range vector.
    pub(crate) fn range_function(
        &self,
        range: Range<'q>,
        name: &str,
        function: RangeFunction,
        scalars: Vec<Scalar>,
        (pos, scalar_pos): (PosRange, PosRange),
    ) -> Result<Stream<'q>, QueryError> {
        let metas = range.metas.clone();
        let plain = rate::kind(name).filter(|_| range.extension == Extension::None);
        let rows = RangeRows {
            query: self.query,
            range,
            steps: self.steps,
            function,
            scalars,
            pos,
            scalar_pos,
            wants_counter: matches!(name, "rate" | "increase"),
            plain,
            tally: self.query.tally(self.tally),
        };

        let stream = Stream::new(metas, self.steps.count, Box::new(rows));
        // absent_over_time only looks whether there is anything, under whatever name.
        if matches!(
            name,
            "last_over_time" | "first_over_time" | "absent_over_time"
        ) {
            Ok(stream)
        } else {
            stream.drop_names(self.query)
        }
    }
}
