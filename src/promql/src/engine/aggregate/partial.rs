//! Aggregations whose shards were evaluated elsewhere.

use trireme_model::FloatHistogram;

use super::{Evaluator, hints_of};
use crate::annotations::{Note, Severity};
use crate::ast::{Aggregate, AggregateOp};
use crate::engine::block::Block;
use crate::engine::eval::is_step_invariant;
use crate::engine::row::{Cell, Meta, Row};
use crate::engine::stream::Stream;
use crate::error::QueryError;
use crate::partial::{Partial, PartialNote, PartialRow};
pub(super) fn chooses(op: AggregateOp) -> bool {
    matches!(
        op,
        AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk
    )
}

impl<'q> Evaluator<'q> {
    /// Evaluates an aggregation over a shard's series, with its notes.
    pub(crate) fn partial(&self, a: &'q Aggregate) -> Result<Partial, QueryError> {
        let invariant =
            is_step_invariant(&a.expr) && a.param.as_ref().is_none_or(|p| is_step_invariant(p));
        let here = if invariant {
            self.at_first_step()
        } else {
            *self
        };

        let mut out = Partial {
            pos: a.pos,
            steps: here.steps.count,
            ..Partial::default()
        };

        if chooses(a.op) {
            let block = here.aggregate(a)?.collect(self.query)?;
            for (meta, row) in block.metas.into_iter().zip(&block.rows) {
                let row = exported(meta, row);
                self.query.count_partial(row_bytes(&row))?;
                out.rows.push(row);
            }
        } else {
            let stream = here.vector(&a.expr, hints_of(a))?;
            out.groups = here.partial_numbers(a, &stream)?;
        }

        out.notes = self.exported_notes();

        Ok(out)
    }

    fn exported_notes(&self) -> Vec<PartialNote> {
        let notes = self.query.take_notes().into_notes();
        notes
            .map(|n| PartialNote {
                warning: n.severity == Severity::Warning,
                text: n.text,
                pos: n.pos,
            })
            .collect()
    }

    /// What shards have of an aggregation, if they were asked; its notes become those of the query.
    pub(super) fn given(&self, a: &Aggregate) -> Result<Option<Vec<&'q Partial>>, QueryError> {
        let given = self.query.given;
        let parts: Vec<&Partial> = given
            .iter()
            .filter_map(|shard| shard.nodes.iter().find(|node| node.pos == a.pos))
            .collect();
        if parts.is_empty() {
            return Ok(None);
        }

        if parts.len() != given.len()
            || !parts
                .iter()
                .all(|part: &&Partial| part.steps == self.steps.count)
            || self.steps.start != self.query.start_ms
        {
            return Err(QueryError::Internal(
                "answers of shards do not go together".into(),
            ));
        }

        for note in parts.iter().flat_map(|part| &part.notes) {
            let severity = if note.warning {
                Severity::Warning
            } else {
                Severity::Info
            };
            self.query.note(Note {
                severity,
                text: note.text.clone(),
                pos: note.pos,
                mended: None,
            });
        }

        Ok(Some(parts))
    }

    /// The elements that shards chose, to choose again among them.
    pub(super) fn merge_rows(&self, parts: &[&'q Partial]) -> Result<Stream<'q>, QueryError> {
        let steps = self.steps.count;
        let mut rows: Vec<&PartialRow> = parts.iter().flat_map(|part| &part.rows).collect();

        // The order in which storages give their series.
        rows.sort_by(|a, b| a.labels.cmp(&b.labels));

        let mut block = Block::new(steps);
        for given in rows {
            let mut row = Row::empty(steps);

            for (step, v) in &given.floats {
                row.set_float(known(*step, steps)?, *v);
            }

            for (step, h) in &given.histograms {
                row.set_histogram(known(*step, steps)?, h.clone());
            }

            block.held.hold(&self.query.budget, row.samples())?;
            block.push(
                Meta {
                    labels: given.labels.clone(),
                    drop_name: given.drop_name,
                },
                row,
            );
        }

        Ok(block.into_stream())
    }
}

/// The step of that number, which comes from another process.
#[inline]
fn known(step: u32, steps: usize) -> Result<usize, QueryError> {
    let step = step as usize;
    if step >= steps {
        return Err(QueryError::Internal(
            "a shard's answer has a step that does not exist".into(),
        ));
    }
    Ok(step)
}

fn exported(meta: Meta, row: &Row) -> PartialRow {
    let mut out = PartialRow {
        labels: meta.labels,
        drop_name: meta.drop_name,
        floats: Vec::new(),
        histograms: Vec::new(),
    };

    for step in 0..row.steps() {
        match row.cell(step) {
            Cell::Empty => {}
            Cell::Float(v) => out.floats.push((step as u32, v)),
            Cell::Histogram(h) => out.histograms.push((step as u32, h.clone())),
        }
    }

    out
}

/// What a row takes in an answer, at least.
fn row_bytes(row: &PartialRow) -> usize {
    // A step takes a byte or more beside its value.
    let floats = row.floats.len() * (1 + size_of::<f64>());
    let histograms = row
        .histograms
        .iter()
        .map(|(_, h)| 1 + bucket_bytes(h))
        .sum::<usize>();

    row.labels.as_bytes().len() + floats + histograms
}

/// What the buckets of a histogram take in an answer.
pub(super) fn bucket_bytes(h: &FloatHistogram) -> usize {
    (h.positive_buckets.len() + h.negative_buckets.len()) * size_of::<f64>()
}
