//! Smoothed instant selectors: values between samples are interpolated, also from samples after the step.

use std::sync::Arc;

use trireme_model::ResetHint;

use super::Evaluator;
use super::histogram_stats::Stats;
use super::query::Query;
use super::row::{Out, Row};
use super::selector::metas_of;
use super::steps::{Steps, TimeShift};
use super::stream::{Rows, Stream, Worker};
use super::tally::Tally;
use crate::annotations as notes;
use crate::ast::{PosRange, VectorSelector};
use crate::error::QueryError;
use crate::functions::extended::{interpolate, interpolate_histograms};
use crate::functions::window::Window;
use crate::functions::{Notice, window::Sliding};
use crate::select::{Columns, SelectHints, SeriesRead};
struct SmoothedRows<'q> {
    query: &'q Query<'q>,
    series: Vec<Box<dyn SeriesRead>>,
    steps: Steps,
    shift: TimeShift,
    pos: PosRange,
    stats: Stats,
    tally: Arc<Tally>,
}

impl Rows for SmoothedRows<'_> {
    fn fill(&self, series: usize, worker: &mut Worker, row: &mut Row) -> Result<(), QueryError> {
        let lookback = self.query.options.lookback_ms;
        let mut columns = worker.take_columns();
        let source = &self.series[series];
        self.read(source.as_ref(), &mut columns)?;
        let mut sliding = Sliding::default();

        let mut total = 0;
        for step in 0..self.steps.count {
            let t = self.shift.apply(self.steps.time(step));
            let window = sliding.advance(
                &columns,
                t.saturating_sub(lookback),
                t.saturating_add(lookback),
            );

            total += window.len() as u64;
            self.query.budget.check(window.len())?;
            let mut notice = Notice {
                labels: source.labels(),
                pos: self.pos,
                notes: &mut worker.notes,
            };

            if let Some(out) = value_at(&window, t, &mut notice) {
                row.set(step, out);
            }
        }

        self.count_consumed(&columns, total)?;
        worker.give_columns(columns);
        Ok(())
    }
}

impl SmoothedRows<'_> {
    /// Reads the samples that any step needs.
    fn read(&self, source: &dyn SeriesRead, columns: &mut Columns) -> Result<(), QueryError> {
        let lookback = self.query.options.lookback_ms;
        let (first, last) = self.shift.bounds(&self.steps);
        source.read_within(
            first.saturating_sub(lookback - 1),
            last.saturating_add(lookback),
            self.query.series_samples_max(self.steps.count),
            columns,
        )?;

        self.stats.apply(columns);
        super::range::drop_stale(columns);
        Ok(())
    }

    /// Counts `total` samples in windows over the samples of a series.
    fn count_consumed(&self, columns: &Columns, total: u64) -> Result<(), QueryError> {
        let lookback = self.query.options.lookback_ms;
        let read = super::range::weight(columns);
        self.tally.count(total, read);

        if self.tally.is_by_step() {
            super::range::count_by_step(&self.tally, columns, &self.steps, |t| {
                let t = self.shift.apply(t);
                (t.saturating_sub(lookback), t.saturating_add(lookback))
            });
        }

        self.query.count_read(read)
    }
}

fn value_at(window: &Window<'_>, t: i64, notice: &mut Notice<'_>) -> Option<Out> {
    if !window.t.is_empty() && !window.h.is_empty() {
        notice.add(notes::mixed_floats_histograms);
        return None;
    }

    if window.h.is_empty() {
        return float_at(window, t).map(Out::Float);
    }

    let next = window.h.partition_point(|p| p.t < t);
    let exact = window.h.get(next).filter(|p| p.t == t);
    if let Some(point) = exact {
        return Some(Out::Histogram(Arc::clone(&point.h)));
    }

    let prev = &window.h[next.checked_sub(1)?];
    let Some(next) = window.h.get(next) else {
        // The hint is about two samples in a row, which a value carried on is not.
        let mut carried = (*prev.h).clone();
        carried.reset_hint = ResetHint::Unknown;
        return Some(Out::histogram(carried));
    };

    let is_counter = prev.h.reset_hint != ResetHint::Gauge || next.h.reset_hint != ResetHint::Gauge;
    interpolate_histograms(prev, next, t, is_counter, notice).map(Out::histogram)
}

/// A float, between two samples interpolated; behind the last one that one goes on.
#[inline]
fn float_at(window: &Window<'_>, t: i64) -> Option<f64> {
    let next = window.t.partition_point(|x| *x < t);
    if window.t.get(next) == Some(&t) {
        return Some(window.v[next]);
    }

    let prev = next.checked_sub(1)?;
    let Some(next_t) = window.t.get(next) else {
        return Some(window.v[prev]);
    };

    let a = (window.t[prev], window.v[prev]);
    let b = (*next_t, window.v[next]);
    Some(interpolate(a, b, t, false))
}

impl<'q> Evaluator<'q> {
    /// A smoothed instant selector.
    pub(crate) fn smoothed_selector(
        &self,
        selector: &VectorSelector,
        hints: SelectHints,
    ) -> Result<Stream<'q>, QueryError> {
        let lookback = self.query.options.lookback_ms;
        let shift = self.shift(selector.at, selector.offset.ms);
        let (first, last) = shift.bounds(&self.steps);
        let from = first.saturating_sub(lookback - 1);
        let series = self.select(
            &selector.matchers,
            from,
            last.saturating_add(lookback),
            hints,
        )?;

        let metas = metas_of(&series);
        let rows = SmoothedRows {
            query: self.query,
            series,
            steps: self.steps,
            shift,
            pos: selector.pos,
            stats: self.stats,
            tally: self.query.tally(self.tally),
        };

        Ok(Stream::new(metas, self.steps.count, Box::new(rows)))
    }
}
