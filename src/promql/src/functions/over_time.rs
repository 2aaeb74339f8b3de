//! Aggregations of the samples of a range.

use std::sync::Arc;

use trireme_model::{FloatHistogram, HistogramSum, ResetHint, kahan_add};

use super::range::RangeCall;
use crate::annotations::{self as notes, HistogramOperation};
use crate::engine::row::Out;
use crate::error::QueryError;
use crate::partial::PartialHistogram;

type Result<T> = std::result::Result<T, QueryError>;

pub(crate) fn count(call: &mut RangeCall<'_>) -> Result<Option<Out>> {
    let w = call.window;
    if w.counts.is_empty() {
        return Ok(Some(Out::Float((w.t.len() + w.h.len()) as f64)));
    }
    let times = w.t.iter().copied().chain(w.h.iter().map(|p| p.t));
    Ok(Some(Out::Float(times.map(|t| w.count_at(t)).sum())))
}

pub(crate) fn present(_: &mut RangeCall<'_>) -> Result<Option<Out>> {
    Ok(Some(Out::Float(1.0)))
}

pub(crate) fn first(call: &mut RangeCall<'_>) -> Result<Option<Out>> {
    let w = call.window;
    Ok(match (w.t.first(), w.h.first()) {
        (Some(t), Some(p)) if *t >= p.t => Some(Out::Histogram(Arc::clone(&p.h))),
        (Some(_), _) => Some(Out::Float(w.v[0])),
        (None, p) => p.map(|p| Out::Histogram(Arc::clone(&p.h))),
    })
}

pub(crate) fn last(call: &mut RangeCall<'_>) -> Result<Option<Out>> {
    let w = call.window;
    Ok(match (w.t.last(), w.h.last()) {
        (Some(t), Some(p)) if *t <= p.t => Some(Out::Histogram(Arc::clone(&p.h))),
        (Some(_), _) => w.v.last().map(|v| Out::Float(*v)),
        (None, p) => p.map(|p| Out::Histogram(Arc::clone(&p.h))),
    })
}

pub(crate) fn ts_of_first(call: &mut RangeCall<'_>) -> Result<Option<Out>> {
    let w = call.window;
    let t =
        w.t.first()
            .copied()
            .into_iter()
            .chain(w.h.first().map(|p| p.t))
            .min();

    Ok(t.map(|t| Out::Float(t as f64 / 1000.0)))
}

pub(crate) fn ts_of_last(call: &mut RangeCall<'_>) -> Result<Option<Out>> {
    let w = call.window;
    let t =
        w.t.last()
            .copied()
            .into_iter()
            .chain(w.h.last().map(|p| p.t))
            .max();

    Ok(t.map(|t| Out::Float(t as f64 / 1000.0)))
}

/// The float that `better` prefers over all before it, and its time (ms). NaN is only kept if nothing else is there.
fn best(call: &mut RangeCall<'_>, better: impl Fn(f64, f64) -> bool) -> Option<(i64, f64)> {
    let w = call.window;
    let mut best = (*w.t.first()?, w.v[0]);
    call.note_ignored_histograms();

    for (t, v) in w.t.iter().zip(w.v) {
        if better(*v, best.1) || best.1.is_nan() {
            best = (*t, *v);
        }
    }

    Some(best)
}

pub(crate) fn min(call: &mut RangeCall<'_>) -> Result<Option<Out>> {
    Ok(best(call, |v, best| v < best).map(|(_, v)| Out::Float(v)))
}

pub(crate) fn max(call: &mut RangeCall<'_>) -> Result<Option<Out>> {
    Ok(best(call, |v, best| v > best).map(|(_, v)| Out::Float(v)))
}

pub(crate) fn ts_of_min(call: &mut RangeCall<'_>) -> Result<Option<Out>> {
    Ok(best(call, |v, best| v <= best).map(|(t, _)| Out::Float(t as f64 / 1000.0)))
}

pub(crate) fn ts_of_max(call: &mut RangeCall<'_>) -> Result<Option<Out>> {
    Ok(best(call, |v, best| v >= best).map(|(t, _)| Out::Float(t as f64 / 1000.0)))
}

/// True (after saying so) if the range has both kinds of samples.
fn is_mixed(call: &mut RangeCall<'_>) -> bool {
    let mixed = !call.window.t.is_empty() && !call.window.h.is_empty();
    if mixed {
        call.notice.add(notes::mixed_floats_histograms);
    }
    mixed
}

pub(crate) fn sum(call: &mut RangeCall<'_>) -> Result<Option<Out>> {
    if is_mixed(call) {
        return Ok(None);
    }
    if !call.window.h.is_empty() {
        return Ok(aggregate_histograms(call, false).map(Out::histogram));
    }

    let mut sum = 0.0;

    let mut compensation = 0.0;
    for v in call.window.v {
        (sum, compensation) = kahan_add(*v, sum, compensation);
    }

    Ok(Some(Out::Float(if f64::is_infinite(sum) {
        sum
    } else {
        sum + compensation
    })))
}

pub(crate) fn avg(call: &mut RangeCall<'_>) -> Result<Option<Out>> {
    if is_mixed(call) {
        return Ok(None);
    }

    if !call.window.h.is_empty() {
        let mean = match call.window.counts.is_empty() {
            true => aggregate_histograms(call, true),
            false => mean_of_means(call),
        };
        return Ok(mean.map(Out::histogram));
    }

    if !call.window.counts.is_empty() {
        let w = call.window;
        let mut sum = 0.0;
        let mut compensation = 0.0;
        let mut count = 0.0;
        for (t, v) in w.t.iter().zip(w.v) {
            let n = w.count_at(*t);
            (sum, compensation) = kahan_add(v * n, sum, compensation);
            count += n;
        }
        return Ok(Some(Out::Float((sum + compensation) / count)));
    }

    let mut mean = FloatMean::default();
    for v in call.window.v {
        mean.add(*v);
    }

    Ok(Some(Out::Float(mean.value())))
}

/// A running mean: sum and count as long as the sum does not overflow, from then on the mean is adjusted by each value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FloatMean {
    count: f64,
    /// Sum or, once incremental, mean.
    value: f64,
    compensation: f64,
    incremental: bool,
}

impl FloatMean {
    pub(crate) fn add(&mut self, v: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.value = v;
            return;
        }

        if !self.incremental {
            let (sum, compensation) = kahan_add(v, self.value, self.compensation);
            if !sum.is_infinite() {
                (self.value, self.compensation) = (sum, compensation);
                return;
            }
            self.incremental = true;
            self.value /= self.count - 1.0;
            self.compensation /= self.count - 1.0;
        }

        let q = (self.count - 1.0) / self.count;
        (self.value, self.compensation) =
            kahan_add(v / self.count, q * self.value, q * self.compensation);
    }

    /// Count, sum (or mean, if incremental), compensation, and whether it is incremental.
    pub(crate) fn parts(&self) -> (f64, f64, f64, bool) {
        (self.count, self.value, self.compensation, self.incremental)
    }

    pub(crate) fn from_parts(count: f64, value: f64, compensation: f64, incremental: bool) -> Self {
        Self {
            count,
            value,
            compensation,
            incremental,
        }
    }

    /// Adds all values of another mean.
    pub(crate) fn merge(&mut self, mut other: Self) {
        if self.count == 0.0 {
            *self = other;
            return;
        }

        if !self.incremental && !other.incremental {
            let (sum, compensation) = kahan_add(other.value, self.value, self.compensation);
            let (sum, compensation) = kahan_add(other.compensation, sum, compensation);
            if !sum.is_infinite() {
                (self.count, self.value, self.compensation) =
                    (self.count + other.count, sum, compensation);
                return;
            }
        }

        self.make_incremental();
        other.make_incremental();

        let count = self.count + other.count;
        let mine = self.count / count;
        let theirs = other.count / count;
        let mean = mine * self.value;
        let compensation = mine * self.compensation;
        let (mean, compensation) = kahan_add(theirs * other.value, mean, compensation);

        (self.value, self.compensation) =
            kahan_add(theirs * other.compensation, mean, compensation);
        self.count = count;
    }

    /// From a sum to a mean.
    fn make_incremental(&mut self) {
        if !self.incremental {
            self.value /= self.count;
            self.compensation /= self.count;
            self.incremental = true;
        }
    }

    pub(crate) fn value(&self) -> f64 {
        if self.incremental {
            self.value + self.compensation
        } else {
            self.value / self.count + self.compensation / self.count
        }
    }
}

/// A running sum or mean of histograms, with what has to be said about it.
#[derive(Clone, Debug)]
pub(crate) struct HistogramMean {
    sum: HistogramSum,
    count: f64,
    incremental: bool,
    mean: bool,
    reset_seen: bool,
    not_reset_seen: bool,
    /// Custom bounds had to be reconciled.
    pub(crate) reconciled: bool,
}

impl HistogramMean {
    /// Starts with one histogram, for a mean or for a sum.
    pub(crate) fn new(h: &FloatHistogram, mean: bool) -> Self {
        let mut out = Self {
            sum: HistogramSum::new(h),
            count: 1.0,
            incremental: false,
            mean,
            reset_seen: false,
            not_reset_seen: false,
            reconciled: false,
        };

        out.see(h);
        out
    }

    fn see(&mut self, h: &FloatHistogram) {
        self.reset_seen |= h.reset_hint == ResetHint::Reset;
        self.not_reset_seen |= h.reset_hint == ResetHint::NotReset;
    }

    /// Adds a histogram; false if its schema does not go with the others.
    pub(crate) fn add(&mut self, h: &FloatHistogram) -> bool {
        self.see(h);
        self.count += 1.0;

        if !self.incremental {
            let before = self.mean.then(|| self.sum.clone());
            let Ok(outcome) = self.sum.add(h) else {
                return false;
            };
            self.reconciled |= outcome.bounds_reconciled;
            let Some(before) = before.filter(|_| self.sum.has_overflow()) else {
                return true;
            };
            self.incremental = true;
            self.sum = before;
            self.sum.scale(1.0 / (self.count - 1.0));
        }

        let mut part = h.clone();
        part.div(self.count);
        self.sum.scale((self.count - 1.0) / self.count);

        let Ok(outcome) = self.sum.add(&part) else {
            return false;
        };

        self.reconciled |= outcome.bounds_reconciled;
        true
    }

    /// The state for another process.
    pub(crate) fn part(&self, step: u32) -> PartialHistogram {
        PartialHistogram {
            step,
            sum: self.sum.parts(),
            count: self.count,
            incremental: self.incremental,
            reset_seen: self.reset_seen,
            not_reset_seen: self.not_reset_seen,
            reconciled: self.reconciled,
        }
    }

    /// A state of another process.
    pub(crate) fn from_part(part: &PartialHistogram, mean: bool) -> Self {
        let mut sum = HistogramSum::new(&part.sum[0]);
        // Both have one schema: the sum was never of two.
        let _ = sum.add(&part.sum[1]);

        Self {
            sum,
            count: part.count,
            incremental: part.incremental,
            mean,
            reset_seen: part.reset_seen,
            not_reset_seen: part.not_reset_seen,
            reconciled: part.reconciled,
        }
    }

    /// Adds all histograms of another state; false if their schema does not go with these.
    pub(crate) fn merge(&mut self, part: &PartialHistogram) -> bool {
        self.reset_seen |= part.reset_seen;
        self.not_reset_seen |= part.not_reset_seen;
        self.reconciled |= part.reconciled;

        let count = self.count + part.count;

        let before = self.mean.then(|| self.sum.clone());
        if !self.incremental && !part.incremental {
            if !self.add_both(&part.sum) {
                return false;
            }
            let Some(before) = before.filter(|_| self.sum.has_overflow()) else {
                self.count = count;
                return true;
            };
            self.sum = before;
        }

        // From sums to means, and from these to a weighted mean.
        self.sum.scale(share(self.count, self.incremental, count));

        let mut theirs = part.sum.clone();
        theirs
            .iter_mut()
            .for_each(|h| h.mul(share(part.count, part.incremental, count)));
        (self.count, self.incremental) = (count, true);

        self.add_both(&theirs)
    }

    fn add_both(&mut self, parts: &[FloatHistogram; 2]) -> bool {
        for h in parts {
            let Ok(outcome) = self.sum.add(h) else {
                return false;
            };
            self.reconciled |= outcome.bounds_reconciled;
        }
        true
    }

    /// True if some followed a reset and others did not.
    pub(crate) fn resets_collide(&self) -> bool {
        self.reset_seen && self.not_reset_seen
    }

    pub(crate) fn value(&self) -> FloatHistogram {
        let mut out = self.sum.total();
        if self.mean && !self.incremental {
            out.div(self.count);
        }
        out.compact();
        out
    }
}

/// The weight of a part with `n` of `count`, by which its mean, or its sum, is multiplied.
fn share(n: f64, incremental: bool, count: f64) -> f64 {
    if incremental { n / count } else { 1.0 / count }
}

fn aggregate_histograms(call: &mut RangeCall<'_>, mean: bool) -> Option<FloatHistogram> {
    let (first, rest) = call.window.h.split_first()?;

    let mut state = HistogramMean::new(&first.h, mean);
    for point in rest {
        if !state.add(&point.h) {
            call.notice.add(notes::mixed_exponential_custom);
            return None;
        }
    }

    let pos = call.notice.pos;
    if state.resets_collide() {
        call.notice.add_note(notes::counter_reset_collision(
            HistogramOperation::Aggregate,
            pos,
        ));
    }

    if state.reconciled {
        call.notice.add_note(notes::mismatched_custom_buckets(
            HistogramOperation::Aggregate,
            pos,
        ));
    }

    Some(state.value())
}

/// The mean of histograms some of which are the mean of several.
fn mean_of_means(call: &mut RangeCall<'_>) -> Option<FloatHistogram> {
    let w = call.window;
    let mut sum = None::<HistogramMean>;

    let mut count = 0.0;
    for point in w.h {
        let n = w.count_at(point.t);
        count += n;
        let mut weighted = FloatHistogram::clone(&point.h);

        weighted.mul(n);
        let is_added = match &mut sum {
            Some(sum) => sum.add(&weighted),
            none => {
                *none = Some(HistogramMean::new(&weighted, false));
                true
            }
        };

        if !is_added {
            call.notice.add(notes::mixed_exponential_custom);
            return None;
        }
    }

    let mut mean = sum?.value();
    mean.div(count);
    Some(mean)
}

/// Variance by Welford's method with compensated sums.
fn variance(call: &mut RangeCall<'_>) -> Option<f64> {
    if call.window.v.is_empty() {
        return None;
    }

    call.note_ignored_histograms();
    let mut count = 0.0;
    let mut mean = 0.0;
    let mut mean_c = 0.0;
    let mut aux = 0.0;

    let mut aux_c = 0.0;
    for v in call.window.v {
        count += 1.0;
        let delta = v - (mean + mean_c);
        (mean, mean_c) = kahan_add(delta / count, mean, mean_c);
        (aux, aux_c) = kahan_add(delta * (v - (mean + mean_c)), aux, aux_c);
    }

    Some((aux + aux_c) / count)
}

pub(crate) fn stddev(call: &mut RangeCall<'_>) -> Result<Option<Out>> {
    Ok(variance(call).map(|v| Out::Float(v.sqrt())))
}

pub(crate) fn stdvar(call: &mut RangeCall<'_>) -> Result<Option<Out>> {
    Ok(variance(call).map(Out::Float))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_survive_sums_that_overflow() {
        let mut mean = FloatMean::default();
        for v in [f64::MAX, f64::MAX, f64::MAX, -f64::MAX] {
            mean.add(v);
        }
        assert!((mean.value() / (f64::MAX / 2.0) - 1.0).abs() < 1e-9);
    }
}
