//! What all parts of one running query share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use trireme_model::{Patterns, Regexp, RegexpError};

use super::steps::Steps;
use super::tally::{self, Consumed, Relation, Tally};
use crate::annotations::{Note, Notes};
use crate::cancel::Cancel;
use crate::error::QueryError;
use crate::options::EngineOptions;
use crate::partial::Partials;
use crate::room::Room;
use crate::select::Select;
use crate::value::QueryStats;

/// Longest label value that a function makes, in bytes.
const LABEL_VALUE_BYTES_MAX: usize = 1 << 20;
/// Samples that a query may hold without taking room of the node, so that small queries work beside large ones: 1 MiB.
const FREE_SAMPLES: usize = 1 << 16;
/// Room is taken in steps of so many samples, or queries would all count at one place.
const ROOM_STEP: usize = 1 << 16;
/// So many samples of a series may be read whatever the limit: windows are counted exactly, what is read for them is not.
const SERIES_SAMPLES_FREE: usize = 1 << 16;
/// So many for several windows, of which each may be within the limit: 64 MiB.
const WINDOWS_SAMPLES_FREE: usize = 1 << 22;
/// So many bytes of labels count as a sample in the budget.
const BYTES_PER_SAMPLE: usize = 16;

/// Cells of vectors between two looks whether a query has to stop: some tens of microseconds.
const CELLS_BETWEEN_LOOKS: usize = 1 << 14;

/// Looks once in a while whether a query has to stop, for loops of which one pass is too short for a look at the clock.
pub(crate) struct Pace<'q> {
    query: &'q Query<'q>,
    cells_left: usize,
}

impl Pace<'_> {
    /// So many cells are worked on next. Fails if the query has to stop.
    #[inline]
    pub(crate) fn work(&mut self, cells: usize) -> Result<(), QueryError> {
        match self.cells_left.checked_sub(cells) {
            Some(left) => self.cells_left = left,
            None => {
                self.query.check()?;
                self.cells_left = CELLS_BETWEEN_LOOKS;
            }
        }
        Ok(())
    }
}

/// A running query.
pub(crate) struct Query<'q> {
    pub(crate) select: &'q dyn Select,
    pub(crate) options: EngineOptions,
    pub(crate) cancel: Cancel,
    /// First and last step of the whole query (ms); `@ start()` and `end()` mean these, also inside subqueries.
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// Step of the whole query (ms), 0 for an instant query.
    pub(crate) step_ms: i64,
    pub(crate) budget: Arc<Budget>,
    /// Aggregations that were evaluated elsewhere, one entry a shard.
    pub(crate) given: &'q [Partials],
    notes: Mutex<Notes>,
    patterns: Mutex<Patterns>,
    /// The query's own first, each of the others after the one around it.
    tallies: Mutex<Vec<Arc<Tally>>>,
    /// What shards consumed.
    elsewhere: Consumed,
    /// The most that shards held, together: they are done at about the same time, and before this goes on.
    peak_elsewhere: u64,
    series: AtomicU64,
    /// Samples read, of all steps; only with [`EngineOptions::query_cost`].
    read: AtomicU64,
    prepare_ns: AtomicU64,
    /// Bytes of a shard's states so far.
    partial_bytes: AtomicUsize,
}

impl<'q> Query<'q> {
    pub(crate) fn new(
        select: &'q dyn Select,
        options: EngineOptions,
        cancel: Cancel,
        (start_ms, end_ms, step_ms): (i64, i64, i64),
        steps: Steps,
        given: &'q [Partials],
        room: Arc<Room>,
    ) -> Self {
        let elsewhere = stats_elsewhere(given);
        let tally = Tally::of_query(steps, options.per_step_stats);
        let budget = Budget::new(options.samples_max, room);

        Self {
            select,
            options,
            cancel,
            start_ms,
            end_ms,
            step_ms,
            budget: Arc::new(budget),
            given,
            notes: Mutex::default(),
            patterns: Mutex::default(),
            tallies: Mutex::new(vec![Arc::new(tally)]),
            elsewhere: Consumed {
                total: elsewhere.total_samples,
                read: elsewhere.samples_read,
            },
            peak_elsewhere: elsewhere.peak_samples,
            series: AtomicU64::new(elsewhere.series),
            read: AtomicU64::new(elsewhere.samples_read),
            prepare_ns: AtomicU64::new(
                u64::try_from(elsewhere.prepare.as_nanos()).unwrap_or(u64::MAX),
            ),
            partial_bytes: AtomicUsize::new(0),
        }
    }

    /// Compiles a regular expression of the query; all of them are bounded together, and equal ones compiled once.
    pub(crate) fn pattern(&self, pattern: &str) -> Result<Regexp, RegexpError> {
        self.patterns
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .compile(pattern)
    }

    /// Counts the bytes of a label value that `function` is about to make, before they are made. They count as long as the
    /// query runs.
    pub(crate) fn count_label_bytes(&self, function: &str, bytes: usize) -> Result<(), QueryError> {
        if bytes > LABEL_VALUE_BYTES_MAX {
            return Err(QueryError::execution(format!(
                "{function}(): a label value would have {bytes} bytes or more, the limit is {LABEL_VALUE_BYTES_MAX}"
            )));
        }

        self.check()?;
        let samples = bytes.div_ceil(BYTES_PER_SAMPLE);
        let held = self
            .budget
            .held
            .fetch_add(samples, Ordering::Relaxed)
            .saturating_add(samples);

        match self.budget.cover(held) {
            Err(QueryError::TooManySamples) => Err(QueryError::execution(format!(
                "{function}(): the query would hold too many bytes of labels in memory; \
                 {BYTES_PER_SAMPLE} bytes count as a sample (query.max_samples)"
            ))),
            other => other,
        }
    }

    /// For a loop that must not outlive the query.
    pub(crate) fn pace(&'q self) -> Pace<'q> {
        Pace {
            query: self,
            cells_left: 0,
        }
    }

    /// Fails if the query has to stop.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        Ok(self.cancel.check()?)
    }

    pub(crate) fn note(&self, note: Note) {
        self.notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(note);
    }

    pub(crate) fn merge_notes(&self, notes: Notes) {
        if !notes.is_empty() {
            self.notes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .merge(notes);
        }
    }

    /// Takes the notes out, at the end of the query.
    pub(crate) fn take_notes(&self) -> Notes {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn count_series(&self, n: usize) -> Result<(), QueryError> {
        self.series.fetch_add(n as u64, Ordering::Relaxed);
        self.check_cost()
    }

    /// Counts samples read against the limit of the query's cost.
    pub(crate) fn count_read(&self, n: u64) -> Result<(), QueryError> {
        if !self.options.query_cost {
            return Ok(());
        }
        self.read.fetch_add(n, Ordering::Relaxed);
        self.check_cost()
    }

    /// Fails if the query has cost more than it may.
    pub(crate) fn check_cost(&self) -> Result<(), QueryError> {
        if !self.options.query_cost {
            return Ok(());
        }
        if is_over(&self.series, self.options.series_max) {
            return Err(QueryError::TooManySeries);
        }

        if is_over(&self.read, self.options.samples_read_max) {
            return Err(QueryError::TooManySamplesRead);
        }

        Ok(())
    }

    /// Counts bytes of a shard's states, before they are made where that is possible.
    pub(crate) fn count_partial(&self, bytes: usize) -> Result<(), QueryError> {
        let max = self.options.partial_bytes_max;
        let before = self.partial_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > max {
            Err(QueryError::PartialTooLarge(max))
        } else {
            Ok(())
        }
    }

    /// Most samples to be read at once of one series, for windows of so many steps.
    pub(crate) fn series_samples_max(&self, steps: usize) -> usize {
        let max = self.options.samples_max;
        match steps {
            0 | 1 => max
                .saturating_sub(self.budget.held.load(Ordering::Relaxed))
                .max(SERIES_SAMPLES_FREE),
            _ => max.max(WINDOWS_SAMPLES_FREE),
        }
    }

    /// `ns` nanoseconds were spent on choosing series.
    pub(crate) fn count_prepare(&self, ns: u64) {
        self.prepare_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// The tally of this number.
    pub(crate) fn tally(&self, number: usize) -> Arc<Tally> {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&tallies[number])
    }

    /// A tally for other steps inside those of tally `around`, of which there are `outer_steps`; its number.
    pub(crate) fn new_tally(
        &self,
        steps: Steps,
        relation: Relation,
        around: usize,
        outer_steps: usize,
    ) -> usize {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.push(Arc::new(Tally::new(steps, relation, around, outer_steps)));
        tallies.len() - 1
    }

    /// What each step consumed, here and elsewhere.
    fn by_step(&self, tally: &Tally) -> Vec<(i64, u64, u64)> {
        let mut steps = tally.steps();
        for (step, more) in self.given.iter().flat_map(|p| steps_of(&p.stats)) {
            if let Some((_, total, read)) = steps.get_mut(step) {
                *total = total.saturating_add(more.0);
                *read = read.saturating_add(more.1);
            }
        }

        steps
    }

    /// What the query cost. To be asked once, at its end.
    pub(crate) fn stats(&self) -> QueryStats {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let consumed = tally::sum(&tallies);
        let read = match self.options.query_cost {
            true => self.read.load(Ordering::Relaxed),
            false => consumed.read.saturating_add(self.elsewhere.read),
        };

        QueryStats {
            total_samples: consumed.total.saturating_add(self.elsewhere.total),
            samples_read: read,
            peak_samples: (self.budget.peak.load(Ordering::Relaxed) as u64)
                .max(self.peak_elsewhere),
            series: self.series.load(Ordering::Relaxed),
            prepare: Duration::from_nanos(self.prepare_ns.load(Ordering::Relaxed)),
            by_step: tallies
                .first()
                .map(|query| self.by_step(query))
                .unwrap_or_default(),
        }
    }
}

/// What was counted where shards were evaluated.
fn stats_elsewhere(given: &[Partials]) -> QueryStats {
    let mut sum = QueryStats::default();
    for stats in given.iter().map(|part| &part.stats) {
        sum.total_samples += stats.total_samples;
        sum.samples_read += stats.samples_read;
        sum.peak_samples += stats.peak_samples;
        sum.series += stats.series;
        // Shards choose their series at the same time.
        sum.prepare = sum.prepare.max(stats.prepare);
    }
    sum
}

/// True if there is a limit, and the count is above it.
fn is_over(count: &AtomicU64, max: u64) -> bool {
    max > 0 && count.load(Ordering::Relaxed) > max
}

/// Number of each step, with its total and read samples.
fn steps_of(stats: &QueryStats) -> impl Iterator<Item = (usize, (u64, u64))> {
    stats
        .by_step
        .iter()
        .map(|(_, total, read)| (*total, *read))
        .enumerate()
}

/// Samples in memory against the limit.
#[derive(Debug)]
pub(crate) struct Budget {
    held: AtomicUsize,
    peak: AtomicUsize,
    max: usize,
    /// How many samples may be held before more room is needed.
    covered: AtomicUsize,
    room: Arc<Room>,
}

/// A part of the budget, given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct Held {
    budget: Option<Arc<Budget>>,
    samples: usize,
}

impl Held {
    /// Takes `n` samples more.
    pub(crate) fn hold(&mut self, budget: &Arc<Budget>, n: usize) -> Result<(), QueryError> {
        self.samples += n;
        let held = budget
            .held
            .fetch_add(n, Ordering::Relaxed)
            .saturating_add(n);

        self.budget.get_or_insert_with(|| Arc::clone(budget));
        budget.peak.fetch_max(held, Ordering::Relaxed);
        budget.cover(held)
    }
}

impl Held {
    /// Takes over what `other` holds.
    pub(crate) fn merge(&mut self, mut other: Self) {
        self.samples += std::mem::take(&mut other.samples);
        if self.budget.is_none() {
            self.budget = other.budget.take();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.held.fetch_sub(self.samples, Ordering::Relaxed);
        }
    }
}

impl Budget {
    fn new(max: usize, room: Arc<Room>) -> Self {
        let held = AtomicUsize::new(0);
        let peak = AtomicUsize::new(0);
        let covered = AtomicUsize::new(FREE_SAMPLES);

        Self {
            held,
            peak,
            max,
            covered,
            room,
        }
    }

    /// Checks that `held` samples are within the query's limit and the node's.
    #[inline]
    fn cover(&self, held: usize) -> Result<(), QueryError> {
        if held > self.max {
            return Err(QueryError::TooManySamples);
        }
        if held > self.covered.load(Ordering::Relaxed) {
            self.take_room(held)
        } else {
            Ok(())
        }
    }

    #[cold]
    fn take_room(&self, held: usize) -> Result<(), QueryError> {
        // Threads of the query that come here at once may take a step each; it is given back with the rest.
        while self.covered.load(Ordering::Relaxed) < held {
            if !self.room.take(ROOM_STEP) {
                return Err(QueryError::NodeFull);
            }
            self.covered.fetch_add(ROOM_STEP, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Checks that `n` samples more fit for a moment.
    #[inline]
    pub(crate) fn check(&self, n: usize) -> Result<(), QueryError> {
        let held = self.held.load(Ordering::Relaxed).saturating_add(n);
        if held > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(held, Ordering::Relaxed);
        }
        self.cover(held)
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.room.give_back(*self.covered.get_mut() - FREE_SAMPLES);
    }
}
