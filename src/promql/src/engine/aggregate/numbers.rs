//! `sum`, `avg`, `min`, `max`, `count`, `group`, `stddev`, `stdvar`: one value per group and step.

mod partial;

use hashbrown::HashMap;
use trireme_model::{Labels, kahan_add};

use super::Groups;
use super::groups::Dropped;
use crate::annotations::{self as notes, HistogramOperation};
use crate::ast::{Aggregate, AggregateOp};
use crate::engine::block::Block;
use crate::engine::eval::Evaluator;
use crate::engine::query::Held;
use crate::engine::row::{Cell, Out, Row};
use crate::engine::stream::Stream;
use crate::error::QueryError;
use crate::functions::over_time::{FloatMean, HistogramMean};

/// What a group has had at a step.
const FLOAT: u8 = 1;
const HISTOGRAM: u8 = 2;
/// Its histograms do not go together.
const BROKEN: u8 = 4;

/// State of all groups at all steps; the cell of group g at step s is g × steps + s.
struct Cells<'q> {
    op: AggregateOp,
    seen: Vec<u8>,
    floats: Floats,
    histograms: HashMap<usize, HistogramMean>,
    held: Held,
    evaluator: Evaluator<'q>,
    pos: crate::ast::PosRange,
}

/// What is kept of the floats.
enum Floats {
    /// Sum and compensation.
    Sums(Vec<(f64, f64)>),
    Means(Vec<FloatMean>),
    /// Least, greatest or count.
    Values(Vec<f64>),
    /// Count, mean, sum of squared distances from the mean.
    Spreads(Vec<(f64, f64, f64)>),
}

impl Floats {
    fn new(op: AggregateOp, cells: usize) -> Self {
        match op {
            AggregateOp::Sum => Self::Sums(vec![(0.0, 0.0); cells]),
            AggregateOp::Avg => Self::Means(vec![FloatMean::default(); cells]),
            AggregateOp::Stddev | AggregateOp::Stdvar => {
                Self::Spreads(vec![(0.0, 0.0, 0.0); cells])
            }
            _ => Self::Values(vec![0.0; cells]),
        }
    }

    #[inline]
    fn add(&mut self, op: AggregateOp, cell: usize, v: f64, first: bool) {
        match self {
            Self::Sums(sums) => {
                let (sum, compensation) = sums[cell];
                sums[cell] = if first {
                    (v, 0.0)
                } else {
                    kahan_add(v, sum, compensation)
                };
            }
            Self::Means(means) => means[cell].add(v),
            Self::Values(values) => {
                let value = &mut values[cell];
                match op {
                    AggregateOp::Min if first || v < *value || value.is_nan() => *value = v,
                    AggregateOp::Max if first || v > *value || value.is_nan() => *value = v,
                    AggregateOp::Count => *value += 1.0,
                    AggregateOp::Group => *value = 1.0,
                    _ => {}
                }
            }
            Self::Spreads(spreads) => widen(&mut spreads[cell], v, first),
        }
    }

    fn value(&self, op: AggregateOp, cell: usize) -> f64 {
        match self {
            Self::Sums(sums) => sums[cell].0 + sums[cell].1,
            Self::Means(means) => means[cell].value(),
            Self::Values(values) => values[cell],
            Self::Spreads(spreads) => {
                let (count, _, squares) = spreads[cell];
                if op == AggregateOp::Stddev {
                    (squares / count).sqrt()
                } else {
                    squares / count
                }
            }
        }
    }
}

/// Adds a value to count, mean and squares.
#[inline]
fn widen((count, mean, squares): &mut (f64, f64, f64), v: f64, first: bool) {
    *count += 1.0;
    if first {
        *mean = v;
        *squares = if v.is_finite() { 0.0 } else { f64::NAN };
    } else {
        let delta = v - *mean;
        *mean += delta / *count;
        *squares += delta * (v - *mean);
    }
}

impl Cells<'_> {
    fn add(&mut self, group: usize, series: &Labels, row: &Row) -> Result<(), QueryError> {
        self.add_floats(group * row.steps(), row);
        if row.has_floats_only() {
            return Ok(());
        }

        for step in 0..row.steps() {
            let Cell::Histogram(h) = row.cell(step) else {
                continue;
            };

            let cell = group * row.steps() + step;
            match self.op {
                AggregateOp::Sum | AggregateOp::Avg => {
                    self.add_histogram(cell, series.metric_name(), h)?;
                }
                AggregateOp::Count | AggregateOp::Group => {
                    let first = self.seen[cell] == 0;
                    self.seen[cell] |= FLOAT;
                    self.floats.add(self.op, cell, 0.0, first);
                }
                _ => {
                    let note = notes::histogram_ignored_in_aggregation(self.op.as_str(), self.pos);
                    self.evaluator.query.note(note);
                }
            }
        }

        Ok(())
    }

    /// Adds the floats of a series to the cells from `base` on.
    #[inline]
    fn add_floats(&mut self, base: usize, row: &Row) {
        let seen = &mut self.seen[base..base + row.steps()];
        if let Floats::Sums(sums) = &mut self.floats {
            // The most frequent one, without a look at the operator for each value.
            let sums = &mut sums[base..base + row.steps()];
            for (step, v) in row.floats() {
                let sum = &mut sums[step];
                let seen = &mut seen[step];
                if *seen & BROKEN == 0 {
                    *sum = if *seen & FLOAT == 0 {
                        (v, 0.0)
                    } else {
                        kahan_add(v, sum.0, sum.1)
                    };
                    *seen |= FLOAT;
                }
            }
        } else {
            for (step, v) in row.floats() {
                let seen = &mut seen[step];
                if *seen & BROKEN == 0 {
                    let first = *seen & FLOAT == 0;
                    *seen |= FLOAT;
                    self.floats.add(self.op, base + step, v, first);
                }
            }
        }
    }

    fn add_histogram(
        &mut self,
        cell: usize,
        metric: &str,
        h: &trireme_model::FloatHistogram,
    ) -> Result<(), QueryError> {
        if self.seen[cell] & BROKEN != 0 {
            return Ok(());
        }

        self.seen[cell] |= HISTOGRAM;
        if let Some(state) = self.histograms.get_mut(&cell) {
            if !state.add(h) {
                self.seen[cell] |= BROKEN;
                self.evaluator
                    .query
                    .note(notes::mixed_exponential_custom(metric, self.pos));
            }
        } else {
            self.held
                .hold(&self.evaluator.query.budget, h.size_in_samples())?;
            self.histograms
                .insert(cell, HistogramMean::new(h, self.op == AggregateOp::Avg));
        }

        Ok(())
    }

    /// The result of a cell.
    fn value(&self, cell: usize) -> Option<Out> {
        let query = self.evaluator.query;
        let seen = self.seen[cell];
        if seen & (FLOAT | HISTOGRAM) == FLOAT | HISTOGRAM {
            query.note(notes::mixed_floats_histograms_agg(self.pos));
            return None;
        }
        if seen & BROKEN != 0 || seen == 0 {
            return None;
        }

        if seen & FLOAT != 0 {
            return Some(Out::Float(self.floats.value(self.op, cell)));
        }

        let state = self.histograms.get(&cell)?;
        if state.resets_collide() {
            query.note(notes::counter_reset_collision(
                HistogramOperation::Aggregate,
                self.pos,
            ));
        }

        Some(Out::histogram(state.value()))
    }
}

impl<'q> Evaluator<'q> {
    pub(super) fn numbers(
        &self,
        a: &Aggregate,
        stream: Stream<'q>,
    ) -> Result<Stream<'q>, QueryError> {
        let steps = stream.steps;
        let groups = Groups::new(a, &stream.metas);
        let mut state = self.cells(a, groups.len() * steps)?;
        let mut dropped = Dropped::new(&stream.metas, groups.len(), steps);

        stream.for_each(self.query, |series, row| {
            let group = groups.of_series[series];
            let meta = &stream.metas[series];
            dropped.see(group, meta, row);
            state.add(group, &meta.labels, row)
        })?;

        self.results(a, groups.labels, &state, &dropped, steps)
    }

    fn cells(&self, a: &Aggregate, cells: usize) -> Result<Cells<'q>, QueryError> {
        let mut held = Held::default();
        held.hold(&self.query.budget, cells)?;
        Ok(Cells {
            op: a.op,
            seen: vec![0; cells],
            floats: Floats::new(a.op, cells),
            histograms: HashMap::new(),
            held,
            evaluator: *self,
            pos: a.expr.pos(),
        })
    }

    fn results(
        &self,
        a: &Aggregate,
        labels: Vec<Labels>,
        state: &Cells<'_>,
        dropped: &Dropped,
        steps: usize,
    ) -> Result<Stream<'q>, QueryError> {
        let mut out = Block::new(steps);
        for (group, labels) in labels.into_iter().enumerate() {
            let mut row = Row::empty(steps);
            for step in 0..steps {
                if let Some(value) = state.value(group * steps + step) {
                    row.set(step, value);
                }
            }
            if !row.is_empty() {
                out.held.hold(&self.query.budget, row.samples())?;
                dropped.push(&mut out, group, labels, row);
            }
        }

        if state.histograms.values().any(|h| h.reconciled) {
            self.query.note(notes::mismatched_custom_buckets(
                HistogramOperation::Aggregate,
                a.expr.pos(),
            ));
        }

        Ok(out.into_stream())
    }
}
