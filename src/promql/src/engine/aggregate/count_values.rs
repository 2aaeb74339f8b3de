//! `count_values`: how many elements have each value.

use hashbrown::HashMap;
use trireme_model::{Labels, quote};

use super::groups::Grouping;
use crate::ast::Aggregate;
use crate::engine::block::Block;
use crate::engine::eval::Evaluator;
use crate::engine::labels::is_valid_name;
use crate::engine::row::{Cell, Meta, Row};
use crate::engine::stream::Stream;
use crate::error::QueryError;

/// A float as a label value: all digits, never an exponent.
fn format_value(v: f64) -> String {
    if v.is_infinite() {
        return if v > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    format!("{v}")
}

impl<'q> Evaluator<'q> {
    pub(super) fn count_values(
        &self,
        a: &'q Aggregate,
        label: &str,
        stream: Stream<'q>,
    ) -> Result<Stream<'q>, QueryError> {
        if !is_valid_name(label) {
            return Err(QueryError::execution(format!(
                "invalid label name {}",
                quote(label)
            )));
        }

        let steps = stream.steps;
        let grouping = Grouping::new(a, Some(label));
        let mut values = Values {
            evaluator: *self,
            grouping,
            label,
            out: Block::new(steps),
            row_of: HashMap::new(),
        };

        let mut floats_of_series: HashMap<u64, usize> = HashMap::new();
        stream.for_each(self.query, |series, row| {
            floats_of_series.clear();
            let base = &stream.metas[series].labels;
            for step in 0..steps {
                let at = match row.cell(step) {
                    Cell::Empty => continue,
                    Cell::Float(v) => match floats_of_series.get(&v.to_bits()) {
                        Some(at) => *at,
                        None => {
                            let at = values.row(base, &format_value(v))?;
                            floats_of_series.insert(v.to_bits(), at);
                            at
                        }
                    },
                    Cell::Histogram(h) => values.row(base, &h.to_string())?,
                };

                values.count(at, step);
            }

            Ok(())
        })?;

        Ok(values.out.into_stream())
    }
}

/// The result under construction.
struct Values<'a, 'q> {
    evaluator: Evaluator<'q>,
    grouping: Grouping<'a>,
    label: &'a str,
    out: Block,
    /// Row of each element of the result.
    row_of: HashMap<Labels, usize>,
}

impl Values<'_, '_> {
    /// The row of a value in the group of a series.
    fn row(&mut self, series: &Labels, value: &str) -> Result<usize, QueryError> {
        let mut builder = series.to_builder();
        builder.set(self.label, value);
        let labels = self.grouping.of(&builder.finish());
        if let Some(at) = self.row_of.get(&labels) {
            return Ok(*at);
        }

        let steps = self.out.steps;
        let at = self.out.rows.len();
        self.out.held.hold(&self.evaluator.query.budget, steps)?;
        self.out.push(Meta::new(labels.clone()), Row::empty(steps));
        self.row_of.insert(labels, at);
        Ok(at)
    }

    #[inline]
    fn count(&mut self, at: usize, step: usize) {
        let row = &mut self.out.rows[at];
        let count = match row.cell(step) {
            Cell::Float(count) => count,
            _ => 0.0,
        };
        row.set_float(step, count + 1.0);
    }
}
