//! `quantile` over series.

use super::Groups;
use super::groups::Dropped;
use crate::annotations as notes;
use crate::ast::Aggregate;
use crate::engine::block::Block;
use crate::engine::eval::Evaluator;
use crate::engine::query::Held;
use crate::engine::row::{Cell, Row};
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
        let param_pos = a.param.as_ref().map_or(a.pos, |p| p.pos());
        let (min, max, any_nan) = self.param_range(param);

        let invalid = [(any_nan, f64::NAN), (max > 1.0, max), (min < 0.0, min)];
        for (_, q) in invalid.into_iter().filter(|(is, _)| *is) {
            self.query.note(notes::invalid_quantile(q, param_pos));
        }

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

            if !row.has_floats_only()
                && (0..steps).any(|i| matches!(row.cell(i), Cell::Histogram(_)))
            {
                self.query.note(notes::histogram_ignored_in_aggregation(
                    "quantile",
                    a.expr.pos(),
                ));
            }

            held.hold(&self.query.budget, floats)
        })?;

        let mut out = Block::new(steps);
        for (group, labels) in groups.labels.into_iter().enumerate() {
            let mut row = Row::empty(steps);
            for step in 0..steps {
                let values = &mut values[group * steps + step];
                if !values.is_empty() {
                    row.set_float(step, quantile(param.at(step), values));
                }
            }
            if !row.is_empty() {
                out.held.hold(&self.query.budget, row.samples())?;
                dropped.push(&mut out, group, labels, row);
            }
        }

        Ok(out.into_stream())
    }
}
