//! What selectors consumed, step by step where steps of one kind have to become steps of another.
//!
//! A query has the steps that it was asked for; inside a subquery there are others, and below what is the same at all steps
//! there is one. Each set of steps has a tally. At the end the tallies inside are added to those around them: a step of a
//! subquery counts for every window that holds it, and what was read for it only for the first one.

use std::sync::atomic::{AtomicU64, Ordering};

use super::steps::{Steps, TimeShift};

/// Samples consumed by windows, and samples read anew for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Consumed {
    pub(crate) total: u64,
    pub(crate) read: u64,
}

impl Consumed {
    fn add(&mut self, total: u64, read: u64) {
        self.total = self.total.saturating_add(total);
        self.read = self.read.saturating_add(read);
    }
}

/// Whose steps a tally belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Relation {
    /// The query's.
    Query,
    /// A single one that stands for all steps around it.
    Once,
    /// Those of a subquery with this range (ms) and shift.
    Subquery { shift: TimeShift, range_ms: i64 },
}

/// Counters of one set of steps.
#[derive(Debug)]
pub(crate) struct Tally {
    steps: Steps,
    relation: Relation,
    /// Number of the tally around this one; its own for the query's.
    around: usize,
    total: AtomicU64,
    read: AtomicU64,
    /// By step, where the sums do not suffice.
    by_step: Vec<(AtomicU64, AtomicU64)>,
}

impl Tally {
    /// `wanted`: the query's own steps are to be told apart, for its answer.
    pub(crate) fn of_query(steps: Steps, wanted: bool) -> Self {
        Self::with_steps(steps, Relation::Query, 0, wanted)
    }

    pub(crate) fn new(steps: Steps, relation: Relation, around: usize, outer_steps: usize) -> Self {
        // With one step around, all that is inside belongs to it.
        let apart = matches!(relation, Relation::Subquery { .. }) && outer_steps > 1;
        Self::with_steps(steps, relation, around, apart)
    }

    fn with_steps(steps: Steps, relation: Relation, around: usize, apart: bool) -> Self {
        let mut by_step = Vec::new();
        by_step.resize_with(if apart { steps.count } else { 0 }, Default::default);
        Self {
            steps,
            relation,
            around,
            total: AtomicU64::new(0),
            read: AtomicU64::new(0),
            by_step,
        }
    }

    /// True if [`Tally::count_at`] has to be told of each step.
    pub(crate) fn is_by_step(&self) -> bool {
        !self.by_step.is_empty()
    }

    /// Counts for all steps together.
    pub(crate) fn count(&self, total: u64, read: u64) {
        self.total.fetch_add(total, Ordering::Relaxed);
        self.read.fetch_add(read, Ordering::Relaxed);
    }

    /// Counts for one step.
    pub(crate) fn count_at(&self, step: usize, total: u64, read: u64) {
        if let Some((t, r)) = self.by_step.get(step) {
            t.fetch_add(total, Ordering::Relaxed);
            r.fetch_add(read, Ordering::Relaxed);
        }
    }

    /// Total and read of each step (ms), where steps are told apart.
    pub(crate) fn steps(&self) -> Vec<(i64, u64, u64)> {
        let steps = (0..self.by_step.len()).map(|step| (step, self.at(step)));
        steps
            .map(|(step, sum)| (self.steps.time(step), sum.total, sum.read))
            .collect()
    }

    fn at(&self, step: usize) -> Consumed {
        self.by_step
            .get(step)
            .map(|(t, r): &(AtomicU64, AtomicU64)| Consumed {
                total: t.load(Ordering::Relaxed),
                read: r.load(Ordering::Relaxed),
            })
            .unwrap_or_default()
    }

    /// Adds what is inside to the tally around.
    fn fold_into(&self, outer: &Self) {
        let total = self.total.load(Ordering::Relaxed);

        let read = self.read.load(Ordering::Relaxed);
        match self.relation {
            Relation::Query => {}
            Relation::Once => {
                let times = outer.steps.count as u64;
                outer.count(total.saturating_mul(times), read);
                (0..outer.by_step.len()).for_each(|step| outer.count_at(step, total, 0));
                outer.count_at(0, 0, read);
            }
            Relation::Subquery { .. } if !self.is_by_step() => {
                outer.count(total, read);
                outer.count_at(0, total, read);
            }
            Relation::Subquery { shift, range_ms } => self.fold_windows(outer, shift, range_ms),
        }
    }

    fn fold_windows(&self, outer: &Self, shift: TimeShift, range_ms: i64) {
        let sums: Vec<Consumed> = (0..self.by_step.len())
            .scan(Consumed::default(), |sum, step| {
                let here = self.at(step);
                sum.add(here.total, here.read);
                Some(*sum)
            })
            .collect();

        // The first step not yet read for a window.
        let mut unread = 0;

        for step in 0..outer.steps.count {
            let end = shift.apply(outer.steps.time(step));
            let first = self.steps.first_after(end.saturating_sub(range_ms));
            let past = self.steps.first_after(end).max(first);
            let here = sum_before(&sums, past);
            let total = here.total - sum_before(&sums, first).total;
            let from = first.max(unread).min(past);
            let read = here.read - sum_before(&sums, from).read;
            unread = unread.max(past);

            outer.count(total, read);
            outer.count_at(step, total, read);
        }
    }
}

/// The sum over all tallies, of which those inside come after those around them.
pub(crate) fn sum(tallies: &[std::sync::Arc<Tally>]) -> Consumed {
    for tally in tallies.iter().skip(1).rev() {
        tally.fold_into(&tallies[tally.around]);
    }

    let Some(query) = tallies.first() else {
        return Consumed::default();
    };

    Consumed {
        total: query.total.load(Ordering::Relaxed),
        read: query.read.load(Ordering::Relaxed),
    }
}

/// What was consumed before a step.
#[inline]
fn sum_before(sums: &[Consumed], step: usize) -> Consumed {
    step.checked_sub(1)
        .map_or_else(Consumed::default, |i| sums[i])
}
