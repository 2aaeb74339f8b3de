//! `quantile` over series.

use super::Groups;
use super::groups::Dropped;
use crate::annotations as notes;
use crate::ast::{Aggregate, AggregateOp, PosRange};
use crate::engine::block::Block;
use crate::engine::eval::Evaluator;
use crate::engine::query::Held;
use crate::engine::row::{Row, Tag};
use crate::engine::scalar::Scalar;
use crate::engine::stream::Stream;
use crate::error::QueryError;
use crate::functions::quantile::quantile;

impl<'q> Evaluator<'q> {
    pub(super) fn quantile(
        &self,
        a: &Aggregate,
        stream: Stream<'q>,
        param: &Scalar,
    ) -> Result<Stream<'q>, QueryError> {
        self.note_invalid_quantiles_of(a, param);

        let steps = stream.steps;
        let groups = Groups::new(a, &stream.metas);
        let mut held = Held::default();

        held.hold(&self.query.budget, groups.len() * steps)?;
        let mut values: Vec<Vec<f64>> = vec![Vec::new(); groups.len() * steps];
        let mut dropped = Dropped::new(&stream.metas, groups.len(), steps);

        stream.for_each(self.query, |series, row| {
            let group = groups.of_series[series];
            dropped.see(group, &stream.metas[series], row);

            let mut floats = 0;
            for (step, v) in row.floats() {
                values[group * steps + step].push(v);
                floats += 1;
            }

            self.note_ignored_histograms(row, a.op, a.expr.pos());

            held.hold(&self.query.budget, floats)
        })?;

        let mut out = Block::new(steps);
        for (group, labels) in groups.labels.into_iter().enumerate() {
            let first = group * steps;
            let row = quantiles(&mut values[first..first + steps], param);
            if !row.is_empty() {
                out.held.hold(&self.query.budget, row.samples())?;
                dropped.push(&mut out, group, labels, row);
            }
        }

        Ok(out.into_stream())
    }

    fn note_invalid_quantiles_of(&self, a: &Aggregate, param: &Scalar) {
        let pos = a.param.as_ref().map_or(a.pos, |p| p.pos());
        let (min, max, any_nan) = self.param_range(param);

        let invalid = [(any_nan, f64::NAN), (max > 1.0, max), (min < 0.0, min)];
        for (_, q) in invalid.into_iter().filter(|(is, _)| *is) {
            self.query.note(notes::invalid_quantile(q, pos));
        }
    }

    /// Says that an operator leaves out the histograms of a series, if it has any.
    #[inline]
    pub(super) fn note_ignored_histograms(&self, row: &Row, op: AggregateOp, pos: PosRange) {
        let has_any =
            !row.has_floats_only() && (0..row.steps()).any(|i| row.tag(i) == Tag::Histogram);
        if has_any {
            let note = notes::histogram_ignored_in_aggregation(op.as_str(), pos);
            self.query.note(note);
        }
    }
}

/// The quantiles of a group, from its values at each step.
fn quantiles(values: &mut [Vec<f64>], param: &Scalar) -> Row {
    let mut row = Row::empty(values.len());
    for (step, values) in values.iter_mut().enumerate() {
        if !values.is_empty() {
            row.set_float(step, quantile(param.at(step), values));
        }
    }
    row
}
