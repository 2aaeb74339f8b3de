//! `topk`, `bottomk`, `limitk`, `limit_ratio`: some of the elements, as they are.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use hashbrown::HashMap;
use trireme_model::{Labels, format_float};
use xxhash_rust::xxh64::Xxh64;

use super::Groups;
use crate::annotations as notes;
use crate::ast::{Aggregate, AggregateOp};
use crate::engine::block::Block;
use crate::engine::eval::Evaluator;
use crate::engine::query::Held;
use crate::engine::row::{Cell, Row};
use crate::engine::scalar::Scalar;
use crate::engine::stream::Stream;
use crate::error::QueryError;
use crate::functions::sort::by_value;

/// An element that is kept so far. The greatest is the one to be replaced first: the worst value, NaN before all
/// others. Between equal ones their labels decide, so that the choice does not depend on the order in which series
/// come.
struct Kept<'a> {
    value: f64,
    labels: &'a [u8],
    series: usize,
    top: bool,
}

impl Ord for Kept<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_value = by_value(self.value, other.value, self.top);
        by_value
            .then_with(|| self.labels.cmp(other.labels))
            .then(self.series.cmp(&other.series))
    }
}

impl PartialOrd for Kept<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Kept<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Kept<'_> {}

/// The part of [0, 1) that a label set falls to; the same label set always to the same, here and in Prometheus: names and
/// values are hashed in the form in which its ordinary build keeps them, each after its length.
fn hash_ratio(labels: &Labels) -> f64 {
    let mut hash = Xxh64::new(0);
    for (name, value) in labels.iter() {
        for text in [name, value] {
            let [low, middle, high, ..] = (text.len() as u64).to_le_bytes();
            match text.len() {
                0..255 => hash.update(&[low]),
                _ => hash.update(&[255, low, middle, high]),
            }
            hash.update(text.as_bytes());
        }
    }

    hash.digest() as f64 / u64::MAX as f64
}

impl<'q> Evaluator<'q> {
    /// Checks that `k` is a number that can count; false if it is below 1 at all steps.
    fn check_k(&self, param: &Scalar) -> Result<bool, QueryError> {
        let (min, max, any_nan) = self.param_range(param);
        if any_nan {
            return Err(QueryError::execution("Parameter value is NaN"));
        }

        if min <= i64::MIN as f64 {
            let min = format_float(min);
            return Err(QueryError::execution(format!(
                "Scalar value {min} underflows int64"
            )));
        }

        if max >= i64::MAX as f64 {
            let max = format_float(max);
            return Err(QueryError::execution(format!(
                "Scalar value {max} overflows int64"
            )));
        }

        Ok(max >= 1.0)
    }

    pub(super) fn top(
        &self,
        a: &Aggregate,
        stream: Stream<'q>,
        param: &Scalar,
    ) -> Result<Stream<'q>, QueryError> {
        let steps = stream.steps;
        if !self.chooses_any(&stream, param)? {
            return Ok(Stream::empty(steps));
        }

        let groups = Groups::new(a, &stream.metas);
        let mut held = Held::default();
        let heaps = self.best(a, &stream, &groups, param, &mut held)?;
        let mut out = self.chosen(&stream, heaps)?;

        out.held.merge(held);
        Ok(out.into_stream())
    }

    /// False if nothing is chosen at any step.
    fn chooses_any(&self, stream: &Stream<'q>, param: &Scalar) -> Result<bool, QueryError> {
        let any = self.check_k(param)?;
        if !any {
            // What is wrong with the elements is said all the same.
            stream.for_each(self.query, |_, _| Ok(()))?;
        }
        Ok(any)
    }

    /// The elements that are kept of each group at each step.
    fn best<'a>(
        &self,
        a: &Aggregate,
        stream: &'a Stream<'q>,
        groups: &Groups,
        param: &Scalar,
        held: &mut Held,
    ) -> Result<Vec<BinaryHeap<Kept<'a>>>, QueryError> {
        let steps = stream.steps;
        let top = a.op == AggregateOp::Topk;
        held.hold(&self.query.budget, groups.len() * steps)?;

        let mut heaps: Vec<BinaryHeap<Kept<'a>>> = Vec::new();
        heaps.resize_with(groups.len() * steps, BinaryHeap::new);
        stream.for_each(self.query, |series, row| {
            let group = groups.of_series[series];
            for (step, value) in row.floats() {
                let k = param.at(step).max(0.0) as usize;
                let heap = &mut heaps[group * steps + step];
                let kept = Kept {
                    value,
                    labels: stream.metas[series].labels.as_bytes(),
                    series,
                    top,
                };

                if heap.len() < k {
                    held.hold(&self.query.budget, 1)?;
                    heap.push(kept);
                } else if let Some(mut worst) = heap.peek_mut()
                    && kept < *worst
                {
                    *worst = kept;
                }
            }

            self.note_ignored_histograms(row, a.op, a.pos);
            Ok(())
        })?;

        Ok(heaps)
    }

    /// The elements that are left in the end, as rows.
    fn chosen(
        &self,
        stream: &Stream<'q>,
        heaps: Vec<BinaryHeap<Kept<'_>>>,
    ) -> Result<Block, QueryError> {
        let steps = stream.steps;
        let mut out = Block::new(steps);

        let mut row_of: HashMap<usize, usize> = HashMap::new();
        for (cell, heap) in heaps.into_iter().enumerate() {
            for kept in heap.into_sorted_vec() {
                let at = match row_of.get(&kept.series) {
                    Some(at) => *at,
                    None => {
                        let row = Row::empty(steps);
                        out.held.hold(&self.query.budget, steps * 9 / 16)?;
                        out.push(stream.metas[kept.series].clone(), row);
                        row_of.insert(kept.series, out.rows.len() - 1);
                        out.rows.len() - 1
                    }
                };
                out.rows[at].set_float(cell % steps, kept.value);
            }
        }

        Ok(out)
    }

    pub(super) fn limit(
        &self,
        a: &Aggregate,
        stream: Stream<'q>,
        param: &Scalar,
    ) -> Result<Stream<'q>, QueryError> {
        let steps = stream.steps;
        if !self.chooses_any(&stream, param)? {
            return Ok(Stream::empty(steps));
        }

        let groups = Groups::new(a, &stream.metas);
        let mut held = Held::default();
        held.hold(&self.query.budget, groups.len() * steps)?;

        let mut counts = vec![0u64; groups.len() * steps];
        let mut out = Block::new(steps);
        stream.for_each(self.query, |series, row| {
            let first = groups.of_series[series] * steps;
            let counts = &mut counts[first..first + steps];
            if keep_first(row, counts, param) {
                out.held.hold(&self.query.budget, row.samples())?;
                out.push(stream.metas[series].clone(), std::mem::take(row));
            }

            Ok(())
        })?;

        Ok(out.into_stream())
    }

    pub(super) fn limit_ratio(
        &self,
        a: &Aggregate,
        stream: Stream<'q>,
        param: Scalar,
    ) -> Result<Stream<'q>, QueryError> {
        let (min, max, any_nan) = self.param_range(&param);
        if any_nan {
            return Err(QueryError::execution("Ratio value is NaN"));
        }

        let pos = a.param.as_ref().map_or(a.pos, |p| p.pos());
        if max > 1.0 {
            self.query.note(notes::invalid_ratio(max, 1.0, pos));
        }

        if min < -1.0 {
            self.query.note(notes::invalid_ratio(min, -1.0, pos));
        }

        let ratios: Vec<f64> = stream
            .metas
            .iter()
            .map(|meta| hash_ratio(&meta.labels))
            .collect();

        Ok(stream.map(move |series, row, _| {
            for step in 0..row.steps() {
                let limit = param.at(step);
                let ratio = ratios[series];
                let keep = is_chosen(ratio, limit);
                if !keep {
                    row.clear(step);
                }
            }
            Ok(())
        }))
    }
}

/// Keeps what is not yet enough of a group at a step, counts it, and clears the rest; true if anything is kept.
#[inline]
fn keep_first(row: &mut Row, counts: &mut [u64], param: &Scalar) -> bool {
    let mut any = false;
    for (step, count) in counts.iter_mut().enumerate() {
        if matches!(row.cell(step), Cell::Empty) {
            continue;
        }
        if *count < param.at(step).max(0.0) as u64 {
            *count += 1;
            any = true;
        } else {
            row.clear(step);
        }
    }
    any
}

/// True if a series of that ratio is among the first, or with a negative limit among the last.
#[inline]
fn is_chosen(ratio: f64, limit: f64) -> bool {
    if limit >= 0.0 {
        ratio < limit || limit >= 1.0
    } else {
        ratio >= 1.0 + limit
    }
}
