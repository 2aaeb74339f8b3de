//! Instant selectors: the newest sample of each series at each step.

use std::sync::Arc;

use trireme_model::{Labels, Matcher, is_stale};

use super::Evaluator;
use super::histogram_stats::Stats;
use super::query::Query;
use super::row::{Cell, Meta, Row};
use super::steps::{Steps, TimeShift};
use super::stream::{Rows, Stream, Worker};
use super::tally::Tally;
use crate::annotations::storage_warning;
use crate::ast::VectorSelector;
use crate::error::QueryError;
use crate::select::{Columns, SelectHints, SelectRequest, SeriesRead};

/// What of the sample becomes the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// Its value.
    Value,
    /// Its time in seconds.
    Timestamp,
    /// Its start time in seconds.
    StartTimestamp,
    /// Its time in milliseconds; histograms are an error, as info metrics have none.
    InfoTime,
}

/// Series of an instant selector.
struct InstantRows<'q> {
    query: &'q Query<'q>,
    series: Vec<Box<dyn SeriesRead>>,
    steps: Steps,
    shift: TimeShift,
    field: Field,
    stats: Stats,
    tally: Arc<Tally>,
}

/// A place in columns: the newest float and the newest histogram at or before a time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Newest {
    floats: usize,
    histograms: usize,
}

/// Which sample is the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    Float(usize),
    Histogram(usize),
}

impl Newest {
    /// Moves on to `t`, which must not be before the last one, and picks the newest sample at or before it.
    #[inline]
    pub(crate) fn advance(&mut self, columns: &Columns, t: i64) -> Option<Pick> {
        while columns.float_t.get(self.floats).is_some_and(|x| *x <= t) {
            self.floats += 1;
        }

        while columns
            .histograms
            .get(self.histograms)
            .is_some_and(|x| x.t <= t)
        {
            self.histograms += 1;
        }

        match (self.floats.checked_sub(1), self.histograms.checked_sub(1)) {
            (None, None) => None,
            (Some(f), None) => Some(Pick::Float(f)),
            (None, Some(h)) => Some(Pick::Histogram(h)),
            (Some(f), Some(h)) if columns.histograms[h].t >= columns.float_t[f] => {
                Some(Pick::Histogram(h))
            }
            (Some(f), Some(_)) => Some(Pick::Float(f)),
        }
    }
}

impl Rows for InstantRows<'_> {
    fn fill(&self, series: usize, worker: &mut Worker, row: &mut Row) -> Result<(), QueryError> {
        let lookback = self.query.options.lookback_ms;
        let mut columns = worker.take_columns();
        self.read(series, &mut columns)?;
        let mut newest = Newest::default();
        let mut total = 0;

        let by_step = self.tally.is_by_step();
        for step in 0..self.steps.count {
            let t = self.shift.apply(self.steps.time(step));
            let Some(pick) = newest.advance(&columns, t) else {
                continue;
            };

            let sample = Sample::of(pick, &columns);
            if sample.is_stale || sample.t <= t.saturating_sub(lookback) {
                continue;
            }

            total += sample.weight;
            if by_step {
                self.tally.count_at(step, sample.weight, sample.weight);
            }

            match self.field {
                Field::Value => row.copy(step, pick.cell(&columns)),
                Field::Timestamp => row.set_float(step, sample.t as f64 / 1000.0),
                Field::StartTimestamp => row.set_float(step, sample.st as f64 / 1000.0),
                Field::InfoTime if matches!(pick, Pick::Histogram(_)) => {
                    return Err(no_info_metric(self.series[series].labels()));
                }
                Field::InfoTime => row.set_float(step, sample.t as f64),
            }
        }

        self.tally.count(total, total);
        self.query.count_read(total)?;
        self.query.budget.check(row.samples())?;
        worker.give_columns(columns);

        Ok(())
    }
}

impl InstantRows<'_> {
    /// Reads the samples that any step needs.
    fn read(&self, series: usize, columns: &mut Columns) -> Result<(), QueryError> {
        let (first, last) = self.shift.bounds(&self.steps);
        let from = first.saturating_sub(self.query.options.lookback_ms - 1);

        let stored = &self.series[series];
        match self.steps.count {
            1 => stored.read_newest(from, last, columns)?,
            n => stored.read_within(from, last, self.query.series_samples_max(n), columns)?,
        }

        self.stats.apply(columns);
        Ok(())
    }
}

/// What is to be known of a sample before it is taken.
struct Sample {
    t: i64,
    /// Start timestamp, 0 when unset.
    st: i64,
    is_stale: bool,
    weight: u64,
}

impl Sample {
    #[inline]
    fn of(pick: Pick, columns: &Columns) -> Self {
        match pick {
            Pick::Float(i) => Self {
                t: columns.float_t[i],
                st: columns.float_st.get(i).copied().unwrap_or(0),
                is_stale: is_stale(columns.float_v[i]),
                weight: 1,
            },
            Pick::Histogram(i) => {
                let point = &columns.histograms[i];
                Self {
                    t: point.t,
                    st: point.st,
                    is_stale: is_stale(point.h.sum),
                    weight: point.h.size_in_samples() as u64,
                }
            }
        }
    }
}

fn no_info_metric(labels: &Labels) -> QueryError {
    let labels = super::labels::display(labels);
    QueryError::Execution(format!(
        "this should be an info metric, with float samples: {labels}"
    ))
}

impl Pick {
    pub(crate) fn cell(self, columns: &Columns) -> Cell<'_> {
        match self {
            Self::Float(i) => Cell::Float(columns.float_v[i]),
            Self::Histogram(i) => Cell::Histogram(&columns.histograms[i].h),
        }
    }
}

impl<'q> Evaluator<'q> {
    /// An instant selector; smoothed ones are elsewhere.
    pub(crate) fn instant_selector(
        &self,
        selector: &VectorSelector,
        field: Field,
        hints: SelectHints,
    ) -> Result<Stream<'q>, QueryError> {
        let shift = self.shift(selector.at, selector.offset.ms);
        self.newest_samples(&selector.matchers, shift, field, hints)
    }

    /// The newest sample of the series that match, at each step.
    pub(crate) fn newest_samples(
        &self,
        matchers: &[Matcher],
        shift: TimeShift,
        field: Field,
        hints: SelectHints,
    ) -> Result<Stream<'q>, QueryError> {
        let (first, last) = shift.bounds(&self.steps);
        let from = first.saturating_sub(self.query.options.lookback_ms - 1);
        let series = self.select(matchers, from, last, hints)?;
        let metas = metas_of(&series);
        let tally = self.query.tally(self.tally);
        let rows = InstantRows {
            query: self.query,
            series,
            steps: self.steps,
            shift,
            field,
            stats: self.stats,
            tally,
        };

        Ok(Stream::new(metas, self.steps.count, Box::new(rows)))
    }

    /// Finds the series of a selector.
    pub(crate) fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        mut hints: SelectHints,
    ) -> Result<Vec<Box<dyn SeriesRead>>, QueryError> {
        self.query.check()?;
        hints.step_ms = if self.steps.count > 1 {
            self.steps.step
        } else {
            0
        };

        let request = SelectRequest {
            matchers: matchers.to_vec(),
            start_ms,
            end_ms,
            hints,
        };

        let clock = self.query.cancel.clock();
        let begun = clock.map(|clock| clock.monotonic());
        let set = self.query.select.select(&request, &self.query.cancel)?;

        if let (Some(clock), Some(begun)) = (clock, begun) {
            let took = clock.monotonic().saturating_sub(begun);
            self.query
                .count_prepare(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }

        for text in set.warnings {
            self.query.note(storage_warning(text));
        }

        self.query.count_series(set.series.len())?;
        Ok(set.series)
    }
}

pub(crate) fn metas_of(series: &[Box<dyn SeriesRead>]) -> Vec<Meta> {
    series
        .iter()
        .map(|s| Meta::new(s.labels().clone()))
        .collect()
}
