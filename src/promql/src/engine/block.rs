//! Instant vectors over all steps, held in memory.

use hashbrown::HashMap;

use super::query::Held;
use super::row::{Cell, Meta, Row, Tag};
use super::stream::{Rows, Stream, Worker};
use crate::error::QueryError;

/// Series with all their columns.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) steps: usize,
    pub(crate) metas: Vec<Meta>,
    pub(crate) rows: Vec<Row>,
    /// The part of the sample budget that the rows take.
    pub(crate) held: Held,
}

impl Block {
    pub(crate) fn new(steps: usize) -> Self {
        Self {
            steps,
            ..Self::default()
        }
    }

    pub(crate) fn push(&mut self, meta: Meta, row: Row) {
        self.metas.push(meta);
        self.rows.push(row);
    }

    /// Takes over the part of the sample budget that another block's rows, which are now here, take.
    pub(crate) fn adopt(&mut self, other: &mut Self) {
        self.held.merge(std::mem::take(&mut other.held));
    }

    pub(crate) fn into_stream<'q>(self) -> Stream<'q> {
        let metas = self.metas;
        let steps = self.steps;
        Stream::new(
            metas,
            steps,
            Box::new(Kept {
                rows: self.rows,
                _held: self.held,
            }),
        )
    }

    /// The same single step at each of `steps` steps.
    pub(crate) fn repeat<'q>(self, steps: usize) -> Stream<'q> {
        let metas = self.metas;
        Stream::new(
            metas,
            steps,
            Box::new(Repeated {
                rows: self.rows,
                _held: self.held,
            }),
        )
    }

    /// Merges series with the same labels (and the same say about the name); fails if two have a sample at the same
    /// step.
    pub(crate) fn merge_equal_labels(self) -> Result<Self, QueryError> {
        let mut out = Self {
            steps: self.steps,
            held: self.held,
            ..Self::default()
        };

        let mut by_labels: HashMap<_, usize> = HashMap::with_capacity(self.metas.len());
        for (meta, row) in self.metas.into_iter().zip(self.rows) {
            let key = (meta.labels.clone(), meta.drop_name);
            let Some(&at) = by_labels.get(&key) else {
                by_labels.insert(key, out.rows.len());
                out.push(meta, row);
                continue;
            };

            let into = &mut out.rows[at];
            for step in (0..self.steps).filter(|s| row.tag(*s) != Tag::Empty) {
                if into.tag(step) != Tag::Empty {
                    return Err(same_labelset());
                }
                into.copy(step, row.cell(step));
            }
        }

        Ok(out)
    }
}

/// The error when two results cannot be told apart.
pub(crate) fn same_labelset() -> QueryError {
    QueryError::execution("vector cannot contain metrics with the same labelset")
}

struct Kept {
    rows: Vec<Row>,
    _held: Held,
}

impl Rows for Kept {
    fn fill(&self, series: usize, _: &mut Worker, row: &mut Row) -> Result<(), QueryError> {
        row.clone_from(&self.rows[series]);
        Ok(())
    }
}

struct Repeated {
    rows: Vec<Row>,
    _held: Held,
}

impl Rows for Repeated {
    fn fill(&self, series: usize, _: &mut Worker, row: &mut Row) -> Result<(), QueryError> {
        let cell = self.rows[series].cell(0);
        if !matches!(cell, Cell::Empty) {
            for step in 0..row.steps() {
                row.copy(step, cell);
            }
        }
        Ok(())
    }
}
