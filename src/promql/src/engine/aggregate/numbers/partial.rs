//! States of groups as shards hand them over.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use trireme_model::{Labels, kahan_add};

use super::{BROKEN, Cells, FLOAT, Floats, HISTOGRAM};
use crate::annotations as notes;
use crate::ast::{Aggregate, AggregateOp};
use crate::engine::aggregate::Groups;
use crate::engine::aggregate::groups::Dropped;
use crate::engine::aggregate::partial::bucket_bytes;
use crate::engine::eval::Evaluator;
use crate::engine::stream::Stream;
use crate::error::QueryError;
use crate::functions::over_time::{FloatMean, HistogramMean};
use crate::partial::{Partial, PartialGroup};

/// The mean of a cell is incremental; a bit beside those of [`super::Cells`].
const INCREMENTAL: u8 = 8;

impl Floats {
    /// The cells of one group.
    fn export(&self, from: usize, out: &mut PartialGroup) {
        let steps = out.seen.len();
        match self {
            Self::Sums(sums) => {
                (out.values, out.compensations) = sums[from..from + steps].iter().copied().unzip();
            }
            Self::Values(values) => out.values = values[from..from + steps].to_vec(),
            Self::Means(means) => {
                for (mean, seen) in means[from..from + steps].iter().zip(&mut out.seen) {
                    let (count, value, compensation, incremental) = mean.parts();
                    out.values.push(value);
                    out.compensations.push(compensation);
                    out.counts.push(count);
                    *seen |= if incremental { INCREMENTAL } else { 0 };
                }
            }
            // Not among the operators that are evaluated in parts.
            Self::Spreads(_) => {}
        }
    }

    /// Adds a cell of a shard; `first` if there was no float yet.
    fn import(
        &mut self,
        op: AggregateOp,
        cell: usize,
        group: &PartialGroup,
        step: usize,
        first: bool,
    ) {
        let value = group.values[step];
        match self {
            Self::Sums(sums) => {
                let (sum, compensation) = sums[cell];
                let more = group.compensations[step];
                sums[cell] = if first {
                    (value, more)
                } else {
                    let (sum, compensation) = kahan_add(value, sum, compensation);
                    kahan_add(more, sum, compensation)
                };
            }
            Self::Means(means) => {
                let incremental = group.seen[step] & INCREMENTAL != 0;
                let more = FloatMean::from_parts(
                    group.counts[step],
                    value,
                    group.compensations[step],
                    incremental,
                );
                means[cell].merge(more);
            }
            Self::Values(values) if op == AggregateOp::Count => values[cell] += value,
            Self::Values(_) | Self::Spreads(_) => self.add(op, cell, value, first),
        }
    }
}

/// What one step of a group takes in an answer.
fn step_bytes(op: AggregateOp) -> usize {
    let columns = match op {
        AggregateOp::Sum => 2,
        AggregateOp::Avg => 3,
        _ => 1,
    };
    size_of::<u8>() + columns * size_of::<f64>()
}

/// Checks that the columns of a shard's group have the right length, because it comes from another process.
fn check(group: &PartialGroup, op: AggregateOp, steps: usize) -> Result<(), QueryError> {
    let summed = matches!(op, AggregateOp::Sum | AggregateOp::Avg);
    let fits = group.seen.len() == steps
        && group.values.len() == steps
        && (!summed || group.compensations.len() == steps)
        && (op != AggregateOp::Avg || group.counts.len() == steps)
        && group.histograms.iter().all(|h| (h.step as usize) < steps);

    if fits {
        Ok(())
    } else {
        Err(QueryError::Internal(
            "a shard's answer has columns of a wrong length".into(),
        ))
    }
}

/// The groups of all shards.
#[derive(Default)]
struct Merged<'a> {
    number_of: HashMap<&'a Labels, usize>,
    labels: Vec<Labels>,
    /// Whether each of them is to lose its name.
    dropped: Vec<bool>,
}

impl<'a> Merged<'a> {
    fn of(groups: &[&'a PartialGroup]) -> Self {
        let mut merged = Self::default();
        for group in groups {
            if let Entry::Vacant(place) = merged.number_of.entry(&group.labels) {
                place.insert(merged.labels.len());
                merged.labels.push(group.labels.clone());
                merged.dropped.push(group.drop_name);
            }
        }
        merged
    }
}

impl<'q> Evaluator<'q> {
    /// The states of the groups of a shard.
    pub(in crate::engine::aggregate) fn partial_numbers(
        &self,
        a: &Aggregate,
        stream: &Stream<'q>,
    ) -> Result<Vec<PartialGroup>, QueryError> {
        let steps = stream.steps;
        let groups = Groups::new(a, &stream.metas);
        let mut state = self.cells(a, groups.len() * steps)?;
        let mut is_counted = vec![false; groups.len()];

        stream.for_each(self.query, |series, row| {
            let group = groups.of_series[series];
            let labels = &stream.metas[series].labels;
            state.add(group, labels, row)?;
            if is_counted[group] || row.is_empty() {
                return Ok(());
            }
            // A group that has anything is handed over for all steps.
            is_counted[group] = true;
            let of_labels = groups.labels[group].as_bytes().len() + labels.as_bytes().len();
            self.query
                .count_partial(of_labels + steps * step_bytes(a.op))
        })?;

        let mut out = exported(&groups, stream, &state);

        for (cell, histograms) in &state.histograms {
            let part = histograms.part((cell % steps) as u32);
            self.query
                .count_partial(part.sum.iter().map(bucket_bytes).sum())?;
            out[cell / steps].histograms.push(part);
        }

        out.retain(|group| group.seen.iter().any(|seen| *seen != 0));
        Ok(out)
    }

    /// The result of all shards' states.
    pub(in crate::engine::aggregate) fn merge_numbers(
        &self,
        a: &Aggregate,
        parts: &[&'q Partial],
    ) -> Result<Stream<'q>, QueryError> {
        let steps = self.steps.count;
        let mut order: Vec<&PartialGroup> = parts.iter().flat_map(|part| &part.groups).collect();
        order.sort_by(|x, y| x.first.cmp(&y.first));

        for group in &order {
            check(group, a.op, steps)?;
        }

        let Merged {
            number_of,
            labels,
            dropped,
        } = Merged::of(&order);

        let mut state = self.cells(a, labels.len() * steps)?;
        for group in order {
            state.merge(number_of[&group.labels] * steps, group)?;
        }

        self.results(
            a,
            labels,
            &state,
            &Dropped::of_groups(&dropped, steps),
            steps,
        )
    }
}

/// The groups with the states of their floats.
fn exported(groups: &Groups, stream: &Stream<'_>, state: &Cells<'_>) -> Vec<PartialGroup> {
    let steps = stream.steps;
    let mut out: Vec<PartialGroup> = Vec::with_capacity(groups.len());
    for (series, group) in groups.of_series.iter().enumerate() {
        if *group == out.len() {
            let meta = &stream.metas[series];
            let from = group * steps;
            let mut next = PartialGroup {
                labels: groups.labels[*group].clone(),
                first: meta.labels.clone(),
                drop_name: meta.drop_name,
                seen: state.seen[from..from + steps].to_vec(),
                ..PartialGroup::default()
            };
            state.floats.export(from, &mut next);
            out.push(next);
        }
    }

    out
}

impl Cells<'_> {
    /// Adds a shard's state of a group, whose cells here start at `from`.
    fn merge(&mut self, from: usize, group: &PartialGroup) -> Result<(), QueryError> {
        for (step, theirs) in group.seen.iter().enumerate() {
            let seen = &mut self.seen[from + step];
            if theirs & FLOAT != 0 {
                self.floats
                    .import(self.op, from + step, group, step, *seen & FLOAT == 0);
            }
            *seen |= theirs & (FLOAT | HISTOGRAM | BROKEN);
        }

        for part in &group.histograms {
            let cell = from + part.step as usize;
            if let Some(state) = self.histograms.get_mut(&cell) {
                if !state.merge(part) {
                    self.seen[cell] |= BROKEN;
                    let note = notes::mixed_exponential_custom(group.first.metric_name(), self.pos);
                    self.evaluator.query.note(note);
                }
            } else {
                self.held
                    .hold(&self.evaluator.query.budget, part.sum[0].size_in_samples())?;
                self.histograms.insert(
                    cell,
                    HistogramMean::from_part(part, self.op == AggregateOp::Avg),
                );
            }
        }

        Ok(())
    }
}
