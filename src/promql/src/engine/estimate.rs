//! What a query is expected to cost, without evaluating it.
//!
//! As in Prometheus: each selector's series are counted, a few of them are read to see how far apart samples are and how
//! much they weigh, and that is carried over to all steps in the way in which windows slide. What is read is bounded.

use super::histogram_stats::Stats;
use super::range::{Extension, range_bounds};
use super::steps::{Steps, TimeShift};
use super::{Engine, duration_context, eval, evaluation_steps, resolved};
use crate::ast::{At, Call, Expr, Subquery, VectorSelector};
use crate::cancel::Cancel;
use crate::error::QueryError;
use crate::options::{EngineOptions, QueryOptions};
use crate::select::{Columns, Select, SelectHints, SelectRequest, SeriesRead};

/// Series of a selector that are read to measure it.
const SERIES_MEASURED_MAX: usize = 50;
/// No further series is read to measure a selector once so many samples were: those of 50 full chunks.
const SAMPLES_MEASURED_MAX: usize = 50 * 120;
/// Distance of samples (ms) where none could be measured: the scrape interval of `status/config`.
const INTERVAL_MS: f64 = 60_000.0;

const INCOMPLETE: &str =
    "query cost estimate is incomplete: info() selects additional series at runtime";

/// What a query is expected to cost; it may come to more, or to less.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CostEstimate {
    /// Series that selectors choose, summed over selectors.
    pub series: u64,
    /// Samples of storage that are read, histograms by their size.
    pub samples_read: u64,
    /// What has to be said about it.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Estimates the cost of `expr` from `start_ms` to `end_ms`; `step_ms` 0 stands for an instant query at `start_ms`.
    ///
    /// Chooses the series of all selectors, and reads some of them.
    pub fn estimate(
        &self,
        select: &dyn Select,
        expr: &Expr,
        (start_ms, end_ms): (i64, i64),
        step_ms: i64,
        options: &QueryOptions,
        cancel: &Cancel,
    ) -> Result<CostEstimate, QueryError> {
        let range_ms = end_ms.saturating_sub(start_ms);
        if step_ms < 0 || range_ms < 0 {
            return Err(QueryError::execution(
                "start, end and step do not go together",
            ));
        }

        if step_ms > 0 {
            super::check_range_type(expr)?;
        }

        let expr = resolved(expr, duration_context(step_ms, range_ms))?;
        let options = self.options.with(options);
        let cancel = cancel.with_timeout(options.timeout);
        let steps = evaluation_steps(start_ms, range_ms, step_ms);

        let out = CostEstimate::default();
        let mut estimator = Estimator {
            select,
            options,
            cancel,
            start_ms,
            end_ms,
            out,
            columns: Columns::default(),
        };

        estimator.visit(&expr, steps, Stats::Off)?;

        let mut out = estimator.out;
        out.warnings.sort();
        out.warnings.dedup();

        Ok(out)
    }
}

struct Estimator<'a> {
    select: &'a dyn Select,
    options: EngineOptions,
    cancel: Cancel,
    start_ms: i64,
    end_ms: i64,
    out: CostEstimate,
    columns: Columns,
}

/// What a few series of a selector show.
#[derive(Debug, Default)]
struct Density {
    /// Distances of samples: their sum (ms) and their number.
    distance_ms: f64,
    distances: usize,
    /// Samples of the series that have any.
    samples: usize,
    series: usize,
    /// Weight of the first samples.
    weight: usize,
}

/// What of a selector's series is read.
#[derive(Clone, Copy, Debug)]
struct Reach {
    /// First and last time (ms, inclusive).
    from: i64,
    to: i64,
    /// Length of what one step reads (ms); `None` if that is a single sample.
    window_ms: Option<i64>,
}

impl Estimator<'_> {
    /// Adds the selectors of `expr`, which is evaluated at `steps`.
    fn visit(&mut self, expr: &Expr, steps: Steps, stats: Stats) -> Result<(), QueryError> {
        let once = steps.count > 1 && eval::is_step_invariant(expr);
        let steps = if once {
            Steps { count: 1, ..steps }
        } else {
            steps
        };

        match expr {
            Expr::Vector(v) => self.selector(v, self.instant_reach(v, steps), steps, stats),
            Expr::Matrix(m) => {
                let reach = self.range_reach(&m.selector, m.range.ms, steps);
                self.selector(&m.selector, reach, steps, stats)
            }
            Expr::Subquery(s) => match self.inner_steps(s, steps) {
                Some(inner) => self.visit(&s.expr, inner, Stats::Never),
                None => Ok(()),
            },
            Expr::Call(c) => self.call(c, steps, stats.inside(c.func.name)),
            Expr::Binary(_) => self.children(expr, steps, Stats::Off),
            _ => self.children(expr, steps, stats),
        }
    }

    fn children(&mut self, expr: &Expr, steps: Steps, stats: Stats) -> Result<(), QueryError> {
        expr.children()
            .into_iter()
            .try_for_each(|child| self.visit(child, steps, stats))
    }

    /// What the second argument of `info` chooses depends on the first one.
    fn call(&mut self, call: &Call, steps: Steps, stats: Stats) -> Result<(), QueryError> {
        let mut args = call.args.as_slice();
        if call.func.name == "info" {
            self.out.warnings.push(INCOMPLETE.to_owned());
            args = args.get(..1).unwrap_or_default();
        }
        args.iter()
            .try_for_each(|arg| self.visit(arg, steps, stats))
    }

    fn shift(&self, at: Option<At>, offset: i64) -> TimeShift {
        let at = at.map(|at| match at {
            At::Timestamp(t) => t,
            At::Start => self.start_ms,
            At::End => self.end_ms,
        });
        TimeShift { at, offset }
    }

    fn instant_reach(&self, v: &VectorSelector, steps: Steps) -> Reach {
        let lookback = self.options.lookback_ms;
        let (first, last) = self.shift(v.at, v.offset.ms).bounds(&steps);

        let from = first.saturating_sub(lookback - 1);
        match v.smoothed {
            true => {
                let window_ms = Some(lookback.saturating_mul(2));
                Reach {
                    from,
                    to: last.saturating_add(lookback),
                    window_ms,
                }
            }
            false => Reach {
                from,
                to: last,
                window_ms: None,
            },
        }
    }

    fn range_reach(&self, v: &VectorSelector, range_ms: i64, steps: Steps) -> Reach {
        let lookback = self.options.lookback_ms;
        let (extension, beyond) = match (v.anchored, v.smoothed) {
            (true, _) => (Extension::Anchored, lookback),
            (_, true) => (Extension::Smoothed, lookback.saturating_mul(2)),
            _ => (Extension::None, 0),
        };

        let shift = self.shift(v.at, v.offset.ms);
        let (from, to) = range_bounds(&shift, &steps, range_ms, extension, lookback);
        Reach {
            from,
            to,
            window_ms: Some(range_ms.saturating_add(beyond)),
        }
    }

    /// The steps inside a subquery, if there are any.
    fn inner_steps(&self, s: &Subquery, steps: Steps) -> Option<Steps> {
        super::range::inner_steps(
            s,
            self.shift(s.at, s.offset.ms),
            &steps,
            self.options.subquery_step_ms,
        )
    }

    fn selector(
        &mut self,
        v: &VectorSelector,
        reach: Reach,
        steps: Steps,
        stats: Stats,
    ) -> Result<(), QueryError> {
        self.cancel.check()?;
        let request = SelectRequest {
            matchers: v.matchers.clone(),
            start_ms: reach.from,
            end_ms: reach.to,
            hints: SelectHints::default(),
        };

        let set = self.select.select(&request, &self.cancel)?;
        self.out.warnings.extend(set.warnings);
        let series = set.series.len() as u64;

        self.out.series = self.out.series.saturating_add(series);
        if series == 0 {
            return Ok(());
        }

        let density = self.measure(&set.series, reach, stats)?;
        let mut samples = series.saturating_mul(samples_per_series(
            reach.window_ms,
            steps,
            density.interval_ms(),
        ));

        if reach.window_ms.is_some() && density.series > 0 {
            // No more is read than there is.
            let there = scaled(series, density.samples as f64 / density.series as f64);
            samples = samples.min(there);
        }

        let samples = scaled(samples, density.weight_per_series());
        self.out.samples_read = self.out.samples_read.saturating_add(samples);

        Ok(())
    }

    fn measure(
        &mut self,
        series: &[Box<dyn SeriesRead>],
        reach: Reach,
        stats: Stats,
    ) -> Result<Density, QueryError> {
        let mut density = Density::default();
        for series in series.iter().take(SERIES_MEASURED_MAX) {
            self.cancel.check()?;
            self.columns.clear();
            series.read(reach.from, reach.to, &mut self.columns)?;
            stats.apply(&mut self.columns);
            density.add(&self.columns);
            if density.samples >= SAMPLES_MEASURED_MAX {
                break;
            }
        }

        Ok(density)
    }
}

impl Density {
    /// How many floats a sample is as large as, on average.
    fn weight_per_series(&self) -> f64 {
        if self.series > 0 {
            self.weight as f64 / self.series as f64
        } else {
            1.0
        }
    }
}

impl Density {
    fn add(&mut self, columns: &Columns) {
        let Some((first, last, weight)) = extent(columns) else {
            return;
        };

        self.distance_ms += last.saturating_sub(first) as f64;
        self.distances += columns.len() - 1;
        self.samples += columns.len();
        self.series += 1;
        self.weight += weight;
    }

    fn interval_ms(&self) -> f64 {
        let measured = self.distance_ms / self.distances as f64;
        // Whole milliseconds, as Prometheus counts.
        if measured >= 1.0 {
            measured.trunc()
        } else {
            INTERVAL_MS
        }
    }
}

/// Time of the first and of the last sample, and the weight of the first one.
fn extent(columns: &Columns) -> Option<(i64, i64, usize)> {
    let floats = columns
        .float_t
        .first()
        .zip(columns.float_t.last())
        .map(|(a, b)| (*a, *b));

    let histograms = columns
        .histograms
        .first()
        .zip(columns.histograms.last())
        .map(|(a, b)| (a.t, b.t));

    Some(match (floats, histograms) {
        (None, None) => return None,
        (Some(f), None) => (f.0, f.1, 1),
        (None, Some(h)) => (h.0, h.1, columns.histograms[0].h.size_in_samples()),
        (Some(f), Some(h)) => {
            let weight = if f.0 <= h.0 {
                1
            } else {
                columns.histograms[0].h.size_in_samples()
            };
            (f.0.min(h.0), f.1.max(h.1), weight)
        }
    })
}

/// Samples that one series gives: a whole window, and what comes in with each further step.
fn samples_per_series(window_ms: Option<i64>, steps: Steps, interval_ms: f64) -> u64 {
    let Some(window_ms) = window_ms else {
        return steps.count as u64;
    };
    let window = (window_ms.max(0) as f64 / interval_ms).floor() as u64 + 1;
    let each = (steps.step as f64 / interval_ms).min(window as f64);
    let more = scaled(steps.count as u64 - 1, each);
    window.saturating_add(if steps.count > 1 { more } else { 0 })
}

/// `n * factor`, rounded; as it is if the factor says nothing.
fn scaled(n: u64, factor: f64) -> u64 {
    if factor > 0.0 {
        (n as f64 * factor).round() as u64
    } else {
        n
    }
}
