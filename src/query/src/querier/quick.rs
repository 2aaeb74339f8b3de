//! Whether a question takes so little that handing it to another thread would be most of the work.
//!
//! The answer comes from the lengths of lists, without looking at a series. It is a guess on the safe side: whatever is
//! not known at once is not quick. Two things must never be done to find out, because they can take as long as they like:
//! compiling a regular expression, and opening a block.

use std::cell::Cell;
use std::sync::Arc;

use trireme_block::Aggregate;
use trireme_model::Matcher;
use trireme_promql::ast::{AggregateOp, DurationArg, Expr, Subquery, VectorSelector};
use trireme_promql::parse;

use super::Querier;
use crate::{Asked, QueryContext, Scope, Selection, Source};

/// A unit is about five nanoseconds; this many are less than half a millisecond.
const QUICK_UNITS: u64 = 80_000;
/// Samples are taken to be this far apart (ms).
const SAMPLE_DISTANCE_MS: u64 = 15_000;
/// Finding a series, its labels and its place in the answer.
const SERIES_UNITS: u64 = 300;
/// Decoding a sample.
const SAMPLE_UNITS: u64 = 2;
/// Evaluating a series at a step.
const STEP_UNITS: u64 = 8;
/// A series at a step in any part of an expression, a step in a part without series, and a sample of a subquery.
const PART_UNITS: u64 = 2;
/// Longest text that is parsed to find out.
const TEXT_BYTES_MAX: usize = 4_096;
/// Functions whose effort the number of series and samples does not tell: they make labels, sort, or read series that
/// the expression does not show.
const NEVER_QUICK: [&str; 5] = [
    "info",
    "label_join",
    "label_replace",
    "mad_over_time",
    "quantile_over_time",
];
/// Looking at one label of a series, or at one value of a label.
const LABEL_UNITS: u64 = 20;

/// The times at which an expression is evaluated.
#[derive(Clone, Copy)]
struct Times {
    start_ms: i64,
    end_ms: i64,
    steps: u64,
}

/// Operators in a text that is parsed to find out: their tree is not too high for any thread's stack.
const OPERATORS_MAX: usize = 200;

/// Most bytes of patterns that are compiled to find out, and how many of their characters may stand for any other: each of
/// those takes about 10 us to compile, all together less than the thread change that they save.
const PATTERN_BYTES_MAX: usize = 256;
const WILDCARDS_MAX: usize = 4;

/// True if expressions and selectors of these texts are parsed in an instant on any thread: they are short, with few
/// operators, and have no regular expression whose compilation takes long.
pub fn is_light<'a>(texts: impl IntoIterator<Item = &'a str>) -> bool {
    let mut bytes_left = TEXT_BYTES_MAX;
    let mut patterns = PlainPatterns {
        bytes: 0,
        wildcards: 0,
    };

    texts.into_iter().all(|text| {
        let left = bytes_left.checked_sub(text.len());
        bytes_left = left.unwrap_or(0);
        left.is_some() && operators(text) <= OPERATORS_MAX && patterns.take_all(text)
    })
}

/// The patterns of some texts, as long as they are short and made of letters, alternatives and a few wildcards: `a.*`,
/// `a|b`, `.+`. Classes, counts and escapes are left to the pool.
struct PlainPatterns {
    bytes: usize,
    wildcards: usize,
}

impl PlainPatterns {
    /// True if all patterns of `text` are plain. What only looks like one, inside of a string, may make it false.
    fn take_all(&mut self, text: &str) -> bool {
        let mut rest = text;
        while let Some(at) = rest.find("=~").into_iter().chain(rest.find("!~")).min() {
            rest = &rest[at + 2..];
            if !self.take(rest.trim_start()) {
                return false;
            }
        }

        true
    }

    /// True if the string literal that `text` begins with is a plain pattern.
    fn take(&mut self, text: &str) -> bool {
        let Some(quote) = text
            .chars()
            .next()
            .filter(|c| matches!(c, '"' | '\'' | '`'))
        else {
            return false;
        };

        let Some((pattern, _)) = text[1..].split_once(quote) else {
            return false;
        };

        self.bytes += pattern.len();
        self.wildcards += pattern.bytes().filter(|b| *b == b'.').count();
        self.bytes <= PATTERN_BYTES_MAX
            && self.wildcards <= WILDCARDS_MAX
            && pattern
                .bytes()
                .all(|b: u8| b.is_ascii_alphanumeric() || b"_-:/|.*+() ".contains(&b))
    }
}

/// At least as many as the text has operators.
fn operators(text: &str) -> usize {
    let signs = text.bytes().filter(|b| b"+-*/%^=<>".contains(b)).count();
    let words = ["or", "and", "unless", "atan2"];
    let lower = text.to_ascii_lowercase();

    signs
        + words
            .iter()
            .map(|word| lower.matches(word).count())
            .sum::<usize>()
}

/// A guess in the making.
struct Guess<'a> {
    querier: &'a Querier,
    context: &'a QueryContext,
    lookback_ms: i64,
    units: u64,
}

impl Querier {
    /// The expression of a text, if it is valid and parsed in an instant.
    fn parse_light(&self, text: &str) -> Option<Arc<Expr>> {
        if let Some(expr) = self.parsed.get(text) {
            return Some(expr);
        }
        if !is_light([text]) {
            return None;
        }

        let expr = Arc::new(parse(text, &self.parser).ok()?);
        self.parsed.keep(text, &expr);
        Some(expr)
    }

    /// See [`Queries::is_quick`](crate::Queries::is_quick).
    pub(super) fn guess_quick(&self, context: &QueryContext, asked: &Asked<'_>) -> bool {
        let lookback_ms = self.engine.options().lookback_ms;
        let mut guess = Guess {
            querier: self,
            context,
            lookback_ms,
            units: 0,
        };

        let known = match asked {
            Asked::Expr {
                text,
                start_ms,
                end_ms,
                step_ms,
                lookback,
            } => {
                guess.lookback_ms = lookback.map_or(guess.lookback_ms, |d| {
                    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
                });

                let start_ms = *start_ms;
                let end_ms = *end_ms;
                let steps = end_ms
                    .saturating_sub(start_ms)
                    .checked_div(*step_ms)
                    .unwrap_or(0);
                let times = Times {
                    start_ms,
                    end_ms,
                    steps: units_of(steps).saturating_add(1),
                };

                self.parse_light(text)
                    .and_then(|expr| guess.expr(&expr, times))
                    .is_some()
            }
            Asked::Series(selection) => guess.series(selection, SERIES_UNITS).is_some(),
            Asked::LabelNames(selection) => guess.names(selection).is_some(),
            Asked::LabelValues(name, selection) => guess.values(name, selection).is_some(),
        };

        // Joining the series of replicas takes about as long again.
        let doubled = if context.replica_labels.is_empty() {
            1
        } else {
            2
        };

        known && guess.units.saturating_mul(doubled) <= QUICK_UNITS
    }
}

impl Guess<'_> {
    fn add(&mut self, units: u64) -> Option<()> {
        self.units = self.units.saturating_add(units);
        (self.units <= QUICK_UNITS).then_some(())
    }

    /// The sum of what the sources say of themselves, if all are in memory and know.
    fn total(
        &self,
        start_ms: i64,
        end_ms: i64,
        of_source: impl Fn(&dyn Source) -> Option<usize>,
    ) -> Option<u64> {
        let context = self.context;
        let sources = self.querier.catalog.head_sources(&Scope {
            tenant: context.tenant.clone(),
            start_ms,
            end_ms,
            local_only: context.local_only,
            max_source_resolution_ms: context.max_source_resolution_ms,
            aggregate: Aggregate::default(),
            moments: None,
        })?;

        let mut total = 0u64;
        for source in &sources {
            total = total.saturating_add(of_source(source.as_ref())? as u64);
        }

        Some(total)
    }

    /// Series that match at most; `None` if that is not known at once or already too much.
    fn found(&mut self, matchers: &[Matcher], start_ms: i64, end_ms: i64) -> Option<u64> {
        let entries = Cell::new(0usize);
        let series = self.total(start_ms, end_ms, |source| {
            let effort = source.effort(matchers)?;
            entries.set(entries.get().saturating_add(effort.entries));
            Some(effort.series)
        })?;

        self.add(entries.get() as u64)?;
        Some(series)
    }

    fn series(&mut self, selection: &Selection, units: u64) -> Option<()> {
        selection.matchers.iter().try_for_each(|set| {
            let series = self.found(set, selection.start_ms, selection.end_ms)?;
            self.add(series.saturating_mul(units))
        })
    }

    fn names(&mut self, selection: &Selection) -> Option<()> {
        match selection.matchers.is_empty() {
            // A few series decide; the names themselves are few.
            true => self
                .found(&[], selection.start_ms, selection.end_ms)
                .map(drop),
            false => self.series(selection, LABEL_UNITS),
        }
    }

    fn values(&mut self, name: &str, selection: &Selection) -> Option<()> {
        let start_ms = selection.start_ms;
        let end_ms = selection.end_ms;
        let values = self.total(start_ms, end_ms, |source| source.value_count(name))?;

        self.add(values.saturating_mul(LABEL_UNITS))?;
        if selection.matchers.is_empty() {
            return Some(());
        }

        // Either the series are looked at, or the lists of all values are gone through.
        let before = self.units;
        if self.series(selection, LABEL_UNITS).is_some() {
            return Some(());
        }

        self.units = before;
        let all = self.found(&[], start_ms, end_ms)?;
        let sets = selection.matchers.len() as u64;

        self.add(all.saturating_mul(2).saturating_mul(sets))?;
        self.series(selection, 0)
    }

    /// Adds what an expression takes, and answers how many series it has at most.
    fn expr(&mut self, expr: &Expr, times: Times) -> Option<u64> {
        self.add(times.steps.saturating_mul(PART_UNITS))?;
        match expr {
            Expr::Vector(v) => self.selector(v, self.lookback_ms, times, false),
            Expr::Matrix(m) => self.selector(&m.selector, plain(&m.range)?, times, true),
            Expr::Subquery(s) => self.subquery(s, times),
            Expr::Call(c) if NEVER_QUICK.contains(&c.func.name) => None,
            Expr::Aggregate(a) if a.op == AggregateOp::CountValues => None,
            _ => {
                let mut series = 0u64;
                for child in expr.children() {
                    series = series.saturating_add(self.expr(child, times)?);
                }
                self.add(
                    series
                        .saturating_mul(times.steps)
                        .saturating_mul(PART_UNITS),
                )?;
                Some(series)
            }
        }
    }

    fn selector(
        &mut self,
        selector: &VectorSelector,
        range_ms: i64,
        times: Times,
        is_range: bool,
    ) -> Option<u64> {
        if selector.at.is_some() {
            return None;
        }

        let offset = plain(&selector.offset)?;
        let start_ms = times
            .start_ms
            .saturating_sub(offset)
            .saturating_sub(range_ms);
        let end_ms = times.end_ms.saturating_sub(offset);
        let series = self.found(&selector.matchers, start_ms, end_ms)?;
        let samples = |ms: i64| units_of(ms) / SAMPLE_DISTANCE_MS + 1;
        let read = samples(end_ms.saturating_sub(start_ms));
        let per_series = match (is_range, times.steps) {
            // Only the newest sample is read.
            (false, 1) => STEP_UNITS,
            (false, steps) => read * SAMPLE_UNITS + steps * STEP_UNITS,
            (true, steps) => {
                read * SAMPLE_UNITS + steps.saturating_mul(STEP_UNITS + samples(range_ms) / 2)
            }
        };

        self.add(series.saturating_mul(per_series.saturating_add(SERIES_UNITS)))?;
        Some(series)
    }

    fn subquery(&mut self, s: &Subquery, times: Times) -> Option<u64> {
        if s.at.is_some() {
            return None;
        }

        let range_ms = plain(&s.range)?;
        let offset = plain(&s.offset)?;
        let default_ms = self.querier.engine.options().subquery_step_ms;
        let step_ms = s.step.as_ref().map_or(Some(default_ms), plain)?.max(1);
        let start_ms = times
            .start_ms
            .saturating_sub(offset)
            .saturating_sub(range_ms);
        let end_ms = times.end_ms.saturating_sub(offset);
        let steps = units_of(end_ms.saturating_sub(start_ms) / step_ms).saturating_add(1);
        let series = self.expr(
            &s.expr,
            Times {
                start_ms,
                end_ms,
                steps,
            },
        )?;

        let window = units_of(range_ms / step_ms).saturating_add(1);
        // What has no series still has a sample at each of its steps.
        let samples = series
            .max(1)
            .saturating_mul(times.steps)
            .saturating_mul(window);

        self.add(samples.saturating_mul(PART_UNITS))?;
        Some(series)
    }
}

/// A duration that does not have to be computed.
fn plain(duration: &DurationArg) -> Option<i64> {
    duration.expr.is_none().then_some(duration.ms)
}

fn units_of(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

#[cfg(test)]
mod tests;
