//! From streams to results.

use std::sync::Arc;

use super::block::{Block, same_labelset};
use super::eval::{Evaluator, unexpected};
use super::labels::{are_distinct, without_metadata};
use super::range::Extension;
use super::row::{Cell, Meta, Row};
use super::stream::Worker;
use crate::ast::{Expr, ValueType};
use crate::error::QueryError;
use crate::functions::Notice;
use crate::functions::extended::edges_and_between;
use crate::functions::range::RangeCall;
use crate::functions::window::Sliding;
use crate::select::{Columns, SelectHints};
use crate::value::{Sample, SampleValue, Series, Value};

impl<'q> Evaluator<'q> {
    /// Evaluates at the only step.
    pub(super) fn instant_result(&self, expr: &'q Expr) -> Result<Value, QueryError> {
        let t = self.steps.start;
        match expr.value_type() {
            ValueType::Scalar => Ok(Value::Scalar {
                t,
                v: self.scalar(expr)?.at(0),
            }),
            ValueType::String => match expr.unwrap_parens() {
                Expr::String(s) => Ok(Value::String {
                    t,
                    v: s.value.to_string(),
                }),
                other => Err(unexpected("a string", other)),
            },
            ValueType::Vector => self.vector_result(expr),
            ValueType::Matrix => self.matrix_result(expr),
        }
    }

    /// The elements of a vector at the only step.
    fn vector_result(&self, expr: &'q Expr) -> Result<Value, QueryError> {
        let t = self.steps.start;
        let block = self
            .vector(expr, SelectHints::default())?
            .collect(self.query)?;
        let mut samples = Vec::with_capacity(block.rows.len());
        let block = with_final_names(block);
        if !are_distinct(&block.metas) {
            return Err(same_labelset());
        }

        for (meta, row) in block.metas.iter().zip(&block.rows) {
            let value = match row.cell(0) {
                Cell::Empty => continue,
                Cell::Float(v) => SampleValue::Float(v),
                Cell::Histogram(h) => SampleValue::Histogram(Arc::clone(h)),
            };
            samples.push(Sample {
                labels: meta.labels.clone(),
                t,
                value,
            });
        }

        Ok(Value::Vector(samples))
    }

    /// Evaluates at all steps.
    pub(super) fn range_result(&self, expr: &'q Expr) -> Result<Value, QueryError> {
        let stream = if expr.value_type() == ValueType::Scalar {
            let value = self.scalar(expr)?;
            self.vector_of_scalar(value)
        } else {
            self.vector(expr, SelectHints::default())?
        };

        let block = with_final_names(stream.collect(self.query)?);
        let block = if are_distinct(&block.metas) {
            block
        } else {
            block.merge_equal_labels()?
        };

        let mut out = Vec::with_capacity(block.rows.len());
        for (meta, row) in block.metas.iter().zip(&block.rows) {
            out.push(self.series_of(meta, row));
        }

        out.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(Value::Matrix(out))
    }

    fn series_of(&self, meta: &Meta, row: &Row) -> Series {
        let mut series = Series {
            labels: meta.labels.clone(),
            floats: Vec::with_capacity(row.floats().count()),
            histograms: Vec::new(),
        };

        for step in 0..row.steps() {
            let t = self.steps.time(step);
            match row.cell(step) {
                Cell::Empty => {}
                Cell::Float(v) => series.floats.push((t, v)),
                Cell::Histogram(h) => series.histograms.push((t, Arc::clone(h))),
            }
        }

        series
    }

    /// The samples of a range selector or subquery at the only step.
    fn matrix_result(&self, expr: &'q Expr) -> Result<Value, QueryError> {
        let range = self.range(expr, SelectHints::default())?;
        let mut worker = Worker::default();
        let mut columns = Columns::default();

        let mut metas = range.metas.clone();
        for meta in metas.iter_mut().filter(|meta| meta.drop_name) {
            meta.labels = without_metadata(&meta.labels);
        }

        let lookback = self.query.options.lookback_ms;
        let end = range.shift.apply(self.steps.start);
        let start = end.saturating_sub(range.range_ms);
        let (before, after) = match range.extension {
            Extension::None => (0, 0),
            Extension::Anchored => (lookback, 0),
            Extension::Smoothed => (lookback, lookback),
        };

        let mut out: Vec<Series> = Vec::new();
        let tally = self.query.tally(self.tally);

        let mut held = super::query::Held::default();
        for (series, meta) in metas.into_iter().enumerate() {
            self.query.check()?;
            columns.clear();
            range.read(self.query, &self.steps, series, &mut worker, &mut columns)?;

            let mut sliding = Sliding::default();
            let window = sliding.advance(
                &columns,
                start.saturating_sub(before),
                end.saturating_add(after),
            );

            held.hold(&self.query.budget, window.len())?;
            if !range.is_computed() {
                let size = window.len() as u64;
                tally.count(size, size);
                tally.count_at(0, size, size);
                self.query.count_read(size)?;
            }

            let mut floats: Vec<_> = window
                .t
                .iter()
                .copied()
                .zip(window.v.iter().copied())
                .collect();

            if range.extension != Extension::None {
                if !window.h.is_empty() {
                    return Err(no_histograms(range.extension));
                }

                let call = RangeCall {
                    window,
                    start,
                    end,
                    eval_t: self.steps.start,
                    range_ms: range.range_ms,
                    extension: range.extension,
                    lookback_ms: lookback,
                    scalars: [0.0; 2],
                    scalar_pos: range.pos,
                    may_reset: true,
                    start_timestamps: false,
                    notice: Notice {
                        labels: &meta.labels,
                        pos: range.pos,
                        notes: &mut worker.notes,
                    },
                    scratch: &mut Vec::new(),
                };

                floats = edges_and_between(&call);
            }

            let histograms: Vec<_> = window.h.iter().map(|p| (p.t, Arc::clone(&p.h))).collect();
            if !floats.is_empty() || !histograms.is_empty() {
                out.push(Series {
                    labels: meta.labels,
                    floats,
                    histograms,
                });
            }
        }

        self.query.merge_notes(worker.notes);
        out.sort_by(|a, b| a.labels.cmp(&b.labels));
        merged(out).map(Value::Matrix)
    }
}

fn no_histograms(extension: Extension) -> QueryError {
    let name = if extension == Extension::Anchored {
        "anchored"
    } else {
        "smoothed"
    };
    QueryError::Execution(format!("{name} modifier is not supported with histograms"))
}

/// Removes the names that are marked to be removed.
fn with_final_names(mut block: Block) -> Block {
    for meta in block.metas.iter_mut().filter(|meta| meta.drop_name) {
        meta.labels = without_metadata(&meta.labels);
        meta.drop_name = false;
    }
    block
}

/// Merges series (sorted by labels) that became equal; fails if two have a sample at the same time.
fn merged(series: Vec<Series>) -> Result<Vec<Series>, QueryError> {
    let mut out: Vec<Series> = Vec::with_capacity(series.len());
    for next in series {
        match out.last_mut() {
            Some(last) if last.labels == next.labels => {
                last.floats.extend(next.floats);
                last.histograms.extend(next.histograms);
                last.floats.sort_by_key(|(t, _)| *t);
                last.histograms.sort_by_key(|(t, _)| *t);
                let twice = last.floats.windows(2).any(|w| w[0].0 == w[1].0)
                    || last.histograms.windows(2).any(|w| w[0].0 == w[1].0);
                if twice {
                    return Err(same_labelset());
                }
            }
            _ => out.push(next),
        }
    }

    Ok(out)
}
