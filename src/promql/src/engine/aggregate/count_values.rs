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
        let mut out = Block::new(steps);
        let mut row_of: HashMap<Labels, usize> = HashMap::new();
        let mut floats_of_series: HashMap<u64, usize> = HashMap::new();

        stream.for_each(self.query, |series, row| {
            floats_of_series.clear();
            let base = &stream.metas[series].labels;
            let mut find = |out: &mut Block, value: &str| -> Result<usize, QueryError> {
                let mut builder = base.to_builder();
                builder.set(label, value);
                let labels = grouping.of(&builder.finish());
                if let Some(at) = row_of.get(&labels) {
                    return Ok(*at);
                }
                out.held.hold(&self.query.budget, steps)?;
                out.push(Meta::new(labels.clone()), Row::empty(steps));
                row_of.insert(labels, out.rows.len() - 1);
                Ok(out.rows.len() - 1)
            };

            for step in 0..steps {
                let at = match row.cell(step) {
                    Cell::Empty => continue,
                    Cell::Float(v) => match floats_of_series.get(&v.to_bits()) {
                        Some(at) => *at,
                        None => {
                            let at = find(&mut out, &format_value(v))?;
                            floats_of_series.insert(v.to_bits(), at);
                            at
                        }
                    },
                    Cell::Histogram(h) => find(&mut out, &h.to_string())?,
                };

                let count = match out.rows[at].cell(step) {
                    Cell::Float(count) => count,
                    _ => 0.0,
                };

                out.rows[at].set_float(step, count + 1.0);
            }

            Ok(())
        })?;

        Ok(out.into_stream())
    }
}
