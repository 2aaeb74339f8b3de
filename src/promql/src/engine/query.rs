//! What all parts of one running query share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::annotations::{Note, Notes};
use crate::cancel::Cancel;
use crate::error::QueryError;
use crate::options::EngineOptions;
use crate::partial::Partials;
use crate::select::Select;
use crate::value::QueryStats;

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
    total_samples: AtomicU64,
    samples_read: AtomicU64,
    series: AtomicU64,
}

impl<'q> Query<'q> {
    pub(crate) fn new(
        select: &'q dyn Select,
        options: EngineOptions,
        cancel: Cancel,
        (start_ms, end_ms, step_ms): (i64, i64, i64),
        given: &'q [Partials],
    ) -> Self {
        let sum = |field: fn(&QueryStats) -> u64| AtomicU64::new(given.iter().map(|p| field(&p.stats)).sum());
        let budget = Budget { max: options.samples_max, ..Budget::default() };
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
            total_samples: sum(|s| s.total_samples),
            samples_read: sum(|s| s.samples_read),
            series: sum(|s| s.series),
        }
    }

    /// Fails if the query has to stop.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        Ok(self.cancel.check()?)
    }

    pub(crate) fn note(&self, note: Note) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).add(note);
    }

    pub(crate) fn merge_notes(&self, notes: Notes) {
        if !notes.is_empty() {
            self.notes.lock().unwrap_or_else(PoisonError::into_inner).merge(notes);
        }
    }

    /// Takes the notes out, at the end of the query.
    pub(crate) fn take_notes(&self) -> Notes {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn count_series(&self, n: usize) {
        self.series.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// `read` samples came from storage, `total` were looked at over all steps.
    pub(crate) fn count_samples(&self, read: u64, total: u64) {
        self.samples_read.fetch_add(read, Ordering::Relaxed);
        self.total_samples.fetch_add(total, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> QueryStats {
        QueryStats {
            total_samples: self.total_samples.load(Ordering::Relaxed),
            samples_read: self.samples_read.load(Ordering::Relaxed),
            peak_samples: self.budget.peak.load(Ordering::Relaxed) as u64,
            series: self.series.load(Ordering::Relaxed),
        }
    }
}

/// Samples in memory against the limit.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    held: AtomicUsize,
    peak: AtomicUsize,
    max: usize,
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
        let held = budget.held.fetch_add(n, Ordering::Relaxed).saturating_add(n);
        self.budget.get_or_insert_with(|| Arc::clone(budget));
        budget.peak.fetch_max(held, Ordering::Relaxed);
        if held > budget.max { Err(QueryError::TooManySamples) } else { Ok(()) }
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
    /// Checks that `n` samples more fit for a moment.
    #[inline]
    pub(crate) fn check(&self, n: usize) -> Result<(), QueryError> {
        let held = self.held.load(Ordering::Relaxed).saturating_add(n);
        if held > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(held, Ordering::Relaxed);
        }
        if held > self.max { Err(QueryError::TooManySamples) } else { Ok(()) }
    }
}
