//! `rate`, `increase`, `delta`, `irate`, `idelta`.

use std::sync::Arc;

use trireme_model::{FloatHistogram, ResetHint};

use super::extended;
use super::range::RangeCall;
use super::window::Window;
use crate::annotations::{self as notes, HistogramOperation};
use crate::engine::range::Extension;
use crate::engine::row::Out;
use crate::error::QueryError;
use crate::select::HistogramPoint;

/// What is computed from first to last.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Resets are made up for.
    pub(crate) counter: bool,
    /// Per second.
    pub(crate) per_second: bool,
}

pub(crate) fn rate(call: &mut RangeCall<'_>) -> Result<Option<Out>, QueryError> {
    Ok(over_range(
        call,
        Kind {
            counter: true,
            per_second: true,
        },
    ))
}

pub(crate) fn increase(call: &mut RangeCall<'_>) -> Result<Option<Out>, QueryError> {
    Ok(over_range(
        call,
        Kind {
            counter: true,
            per_second: false,
        },
    ))
}

pub(crate) fn delta(call: &mut RangeCall<'_>) -> Result<Option<Out>, QueryError> {
    Ok(over_range(
        call,
        Kind {
            counter: false,
            per_second: false,
        },
    ))
}

/// What the functions compute that [`plain`] can do.
pub(crate) fn kind(name: &str) -> Option<Kind> {
    match name {
        "rate" => Some(Kind {
            counter: true,
            per_second: true,
        }),
        "increase" => Some(Kind {
            counter: true,
            per_second: false,
        }),
        "delta" => Some(Kind {
            counter: false,
            per_second: false,
        }),
        _ => None,
    }
}

/// True if a counter started anew between two samples, by their start timestamps (ms, 0 = unset).
///
/// The same start as before is the same run. A start after the sample or at it is invalid or unknown. A start at the
/// previous sample is how a stream of deltas looks, but also how the second sample of a counter with unknown start does;
/// the previous start tells them apart.
pub(crate) fn is_start_reset(prev_st: i64, prev_t: i64, st: i64, t: i64) -> bool {
    if st == prev_st || st == 0 || st >= t || st < prev_t {
        return false;
    }
    st > prev_t || (prev_st < prev_t && prev_st != 0)
}

/// True if a sample claims to have started before the previous sample, but not when that one did.
fn overlaps(prev_st: i64, prev_t: i64, st: i64) -> bool {
    st != 0 && st < prev_t && st != prev_st
}

fn over_range(call: &mut RangeCall<'_>, kind: Kind) -> Option<Out> {
    if !call.window.h.is_empty() && !call.window.t.is_empty() {
        call.notice.add(notes::mixed_floats_histograms);
        return None;
    }

    let histograms = !call.window.h.is_empty();
    match (call.extension, histograms) {
        (Extension::None, false) => extrapolated_floats(call, kind).map(Out::Float),
        (Extension::None, true) => extrapolated_histograms(call, kind).map(Out::histogram),
        (_, false) => extended::floats(call, kind).map(Out::Float),
        (_, true) => extended::histograms(call, kind).map(Out::histogram),
    }
}

/// Increase over the sampled part of the range, and where that part lies.
struct Sampled {
    first_t: i64,
    last_t: i64,
    samples: usize,
    /// Start timestamp of the first sample, if it is inside the range and usable.
    start_inside: Option<i64>,
    /// How many of the increase the first value is (`first / increase`), if both are counts above 0.
    first_share: Option<f64>,
}

/// Where a range lies.
#[derive(Clone, Copy)]
pub(crate) struct Edges {
    /// Left edge (ms, exclusive).
    pub(crate) start: i64,
    /// Right edge (ms, inclusive).
    pub(crate) end: i64,
    /// Seconds from one to the other.
    pub(crate) length_s: f64,
}

impl Edges {
    fn of(call: &RangeCall<'_>) -> Self {
        Self {
            start: call.start,
            end: call.end,
            length_s: call.range_s(),
        }
    }
}

/// The factor that turns the increase between first and last sample into that of the whole range.
///
/// If the samples reach close to an edge (1.1 times their mean distance), they are taken to go on to the edge;
/// otherwise for half their distance, and for counters not further left than where they would have been 0.
#[inline]
fn extrapolation(range: Edges, s: &Sampled, kind: Kind) -> Option<f64> {
    let mut to_start = (s.first_t - range.start) as f64 / 1000.0;
    let mut to_end = (range.end - s.last_t) as f64 / 1000.0;
    let mut sampled = (s.last_t - s.first_t) as f64 / 1000.0;
    let distance = if s.samples > 1 {
        sampled / (s.samples - 1) as f64
    } else {
        0.0
    };

    let threshold = distance * 1.1;
    if let Some(st) = s.start_inside {
        // There was a 0 at the start timestamp, so nothing has to be guessed on the left.
        to_start = 0.0;
        sampled = (s.last_t - st) as f64 / 1000.0;
    } else if s.samples < 2 {
        return None;
    } else {
        if to_start >= threshold {
            to_start = distance / 2.0;
        }
        if let (true, Some(share)) = (kind.counter, s.first_share) {
            let to_zero = sampled * share;
            if to_zero < to_start {
                to_start = to_zero;
            }
        }
    }

    if to_end >= threshold {
        to_end = distance / 2.0;
    }

    let mut factor = if sampled == 0.0 {
        1.0
    } else {
        (sampled + to_start + to_end) / sampled
    };

    if kind.per_second {
        factor /= range.length_s;
    }

    Some(factor)
}

/// The first sample's start timestamp if it lies inside the range and before the sample.
fn start_inside(call: &RangeCall<'_>, kind: Kind, st: i64, first_t: i64) -> Option<i64> {
    (kind.counter && st != 0 && st > call.start && st < first_t).then_some(st)
}

/// The result for floats without start timestamps, of which there is at least one. `may_reset` is false if no value of
/// the series is below its predecessor.
#[inline]
pub(crate) fn plain(window: &Window<'_>, range: Edges, may_reset: bool, kind: Kind) -> Option<f64> {
    let t = window.t;
    let v = window.v;
    let last = t.len() - 1;

    let mut increase = v[last] - v[0];
    if kind.counter && may_reset {
        for pair in v.windows(2) {
            if pair[1] < pair[0] {
                increase += pair[0];
            }
        }
    }

    let first_share = (increase > 0.0 && v[0] >= 0.0).then(|| v[0] / increase);
    let sampled = Sampled {
        first_t: t[0],
        last_t: t[last],
        samples: last + 1,
        start_inside: None,
        first_share,
    };

    Some(increase * extrapolation(range, &sampled, kind)?)
}

fn extrapolated_floats(call: &mut RangeCall<'_>, kind: Kind) -> Option<f64> {
    if call.window.st.is_empty() {
        return plain(&call.window, Edges::of(call), call.may_reset, kind);
    }

    let t = call.window.t;
    let v = call.window.v;
    let last = t.len() - 1;

    let mut increase = v[last] - v[0];
    if kind.counter && call.may_reset {
        add_lost_floats(call, &mut increase);
    }

    let start_inside = start_inside(call, kind, call.float_st(0), t[0]);
    let first_share = (increase > 0.0 && v[0] >= 0.0).then(|| v[0] / increase);

    if start_inside.is_some() {
        increase += v[0];
    }

    let sampled = Sampled {
        first_t: t[0],
        last_t: t[last],
        samples: last + 1,
        start_inside,
        first_share,
    };

    Some(increase * extrapolation(Edges::of(call), &sampled, kind)?)
}

/// Adds what was lost at resets between the floats of a window.
fn add_lost_floats(call: &mut RangeCall<'_>, increase: &mut f64) {
    let t = call.window.t;
    let v = call.window.v;
    let mut overlap = false;
    for i in 1..t.len() {
        let prev_st = call.float_st(i - 1);
        let st = call.float_st(i);
        if !overlap && overlaps(prev_st, t[i - 1], st) {
            overlap = true;
            call.notice.add(notes::start_time_overlap);
        }
        if v[i] < v[i - 1] || is_start_reset(prev_st, t[i - 1], st, t[i]) {
            *increase += v[i - 1];
        }
    }
}

fn extrapolated_histograms(call: &mut RangeCall<'_>, kind: Kind) -> Option<FloatHistogram> {
    let points = call.window.h;
    let last = points.len() - 1;
    let mut increase = if last > 0 {
        Some(histogram_increase(call, kind)?)
    } else {
        None
    };

    let first = &points[0];
    let start_inside = start_inside(call, kind, call.histogram_st(0), first.t);
    let first_share = increase
        .as_ref()
        .filter(|h| h.count > 0.0 && first.h.count >= 0.0);
    let first_share = first_share.map(|h| first.h.count / h.count);

    if start_inside.is_some() {
        match &mut increase {
            None => increase = Some((*first.h).clone()),
            Some(h) => add_noted(h, &first.h, &mut call.notice)?,
        }
    }

    let sampled = Sampled {
        first_t: first.t,
        last_t: points[last].t,
        samples: last + 1,
        start_inside,
        first_share,
    };

    let factor = extrapolation(Edges::of(call), &sampled, kind)?;
    let mut increase = increase?;
    increase.mul(factor);

    Some(increase)
}

/// Last minus first, plus what was lost at resets in between; `None` if the layouts do not go together.
fn histogram_increase(call: &mut RangeCall<'_>, kind: Kind) -> Option<FloatHistogram> {
    let points = call.window.h;
    let first = &points[0];
    let second = &points[1];
    let last = &points[points.len() - 1];

    if kind.counter && (is_gauge(first) || is_gauge(last)) {
        call.notice.add(notes::not_counter);
    }

    // With a reset right after the first sample its layout does not matter: it counts as nothing.
    let mut prev = Arc::clone(&first.h);

    if kind.counter && (is_started(call, 1) || second.h.detect_reset(&first.h)) {
        prev = Arc::new(FloatHistogram {
            schema: second.h.schema,
            custom_values: second.h.custom_values.clone(),
            ..FloatHistogram::default()
        });
    }

    let schema = common_schema(call, &prev, kind.counter)?;

    let mut increase = (*last.h).clone();
    increase.reduce_resolution(schema);
    sub_noted(&mut increase, &prev, &mut call.notice)?;

    if kind.counter {
        add_lost(call, &mut increase, prev)?;
    } else if !is_gauge(first) || !is_gauge(last) {
        call.notice.add(notes::not_gauge);
    }

    increase.reset_hint = ResetHint::Gauge;
    increase.compact();
    Some(increase)
}

fn is_gauge(point: &HistogramPoint) -> bool {
    point.h.reset_hint == ResetHint::Gauge
}

/// True if start timestamps say that a histogram began anew after the one before.
fn is_started(call: &RangeCall<'_>, i: usize) -> bool {
    let a = &call.window.h[i - 1];
    let b = &call.window.h[i];
    is_start_reset(call.histogram_st(i - 1), a.t, call.histogram_st(i), b.t)
}

/// The coarsest schema of `first` and the other histograms, of gauges only of the last; none if they do not go together.
fn common_schema(call: &mut RangeCall<'_>, first: &FloatHistogram, counter: bool) -> Option<i32> {
    let points = call.window.h;
    let last = &points[points.len() - 1];
    let custom = first.uses_custom_buckets();
    if last.h.uses_custom_buckets() != custom {
        call.notice.add(notes::mixed_exponential_custom);
        return None;
    }

    let mut schema = last.h.schema.min(first.schema);
    if !counter {
        return Some(schema);
    }

    for point in &points[1..points.len() - 1] {
        if is_gauge(point) {
            call.notice.add(notes::not_counter);
        }
        schema = schema.min(point.h.schema);
        if point.h.uses_custom_buckets() != custom {
            call.notice.add(notes::mixed_exponential_custom);
            return None;
        }
    }

    Some(schema)
}

/// Adds what was lost at resets; `prev` is the first histogram.
fn add_lost(
    call: &mut RangeCall<'_>,
    increase: &mut FloatHistogram,
    mut prev: Arc<FloatHistogram>,
) -> Option<()> {
    let points = call.window.h;
    let mut overlap = false;
    for i in 1..points.len() {
        let prev_st = call.histogram_st(i - 1);
        if !overlap && overlaps(prev_st, points[i - 1].t, call.histogram_st(i)) {
            overlap = true;
            call.notice.add(notes::start_time_overlap);
        }

        if is_started(call, i) || points[i].h.detect_reset(&prev) {
            add_noted(increase, &prev, &mut call.notice)?;
        }

        prev = Arc::clone(&points[i].h);
    }

    Some(())
}

/// Adds and says what had to be done for it; `None` if it cannot be done.
pub(crate) fn add_noted(
    into: &mut FloatHistogram,
    other: &FloatHistogram,
    notice: &mut super::Notice<'_>,
) -> Option<()> {
    let outcome = into.add(other);
    noted(outcome, HistogramOperation::Add, notice)
}

/// Subtracts and says what had to be done for it; `None` if it cannot be done.
pub(crate) fn sub_noted(
    from: &mut FloatHistogram,
    other: &FloatHistogram,
    notice: &mut super::Notice<'_>,
) -> Option<()> {
    let outcome = from.sub(other);
    noted(outcome, HistogramOperation::Sub, notice)
}

fn noted(
    outcome: Result<trireme_model::AddOutcome, trireme_model::HistogramError>,
    operation: HistogramOperation,
    notice: &mut super::Notice<'_>,
) -> Option<()> {
    match outcome {
        Err(_) => {
            notice.add(notes::mixed_exponential_custom);
            None
        }
        Ok(outcome) => {
            if outcome.bounds_reconciled {
                notice.add_note(notes::mismatched_custom_buckets(operation, notice.pos));
            }
            Some(())
        }
    }
}

pub(crate) fn irate(call: &mut RangeCall<'_>) -> Result<Option<Out>, QueryError> {
    Ok(between_last_two(call, true))
}

pub(crate) fn idelta(call: &mut RangeCall<'_>) -> Result<Option<Out>, QueryError> {
    Ok(between_last_two(call, false))
}

/// One of the last two samples.
#[derive(Clone, Copy)]
enum Late<'a> {
    Float { t: i64, st: i64, v: f64 },
    Histogram { st: i64, point: &'a HistogramPoint },
}

impl Late<'_> {
    fn t(&self) -> i64 {
        match self {
            Self::Float { t, .. } => *t,
            Self::Histogram { point, .. } => point.t,
        }
    }
}

fn between_last_two(call: &mut RangeCall<'_>, is_rate: bool) -> Option<Out> {
    let late = late_samples(call);
    let [.., a, b] = late.as_slice() else {
        return None;
    };

    let interval = b.t() - a.t();
    if interval == 0 {
        return None;
    }

    let seconds = interval as f64 / 1000.0;
    match (a, b) {
        (
            Late::Float {
                t: t0,
                st: st0,
                v: v0,
            },
            Late::Float { t, st, v },
        ) => {
            let reset = is_rate && (v < v0 || is_start_reset(*st0, *t0, *st, *t));
            let change = if reset { *v } else { v - v0 };
            Some(Out::Float(if is_rate { change / seconds } else { change }))
        }
        (Late::Histogram { st: st0, point: p0 }, Late::Histogram { st, point: p }) => {
            let is_reset = is_start_reset(*st0, p0.t, *st, p.t);
            let change = histogram_change(call, (p0, p), is_reset, is_rate)?;
            Some(Out::histogram(match is_rate {
                true => per_second(change, seconds),
                false => change,
            }))
        }
        _ => {
            call.notice.add(notes::mixed_floats_histograms);
            None
        }
    }
}

/// The last two floats and the last two histograms, in order of time.
fn late_samples<'a>(call: &RangeCall<'a>) -> Vec<Late<'a>> {
    let window = call.window;
    let floats = window.t.len();
    let histograms = window.h.len();

    let mut late: Vec<Late<'_>> = Vec::with_capacity(4);
    for i in floats.saturating_sub(2)..floats {
        late.push(Late::Float {
            t: window.t[i],
            st: call.float_st(i),
            v: window.v[i],
        });
    }

    for i in histograms.saturating_sub(2)..histograms {
        late.push(Late::Histogram {
            st: call.histogram_st(i),
            point: &window.h[i],
        });
    }

    late.sort_by_key(Late::t);
    late
}

/// The change from one histogram to the next; with a reset in between, all of the latter.
fn histogram_change(
    call: &mut RangeCall<'_>,
    (before, after): (&HistogramPoint, &HistogramPoint),
    is_start_reset: bool,
    is_rate: bool,
) -> Option<FloatHistogram> {
    let gauges = [before, after].map(is_gauge);
    if is_rate && gauges.contains(&true) {
        call.notice.add(notes::not_counter);
    }
    if !is_rate && gauges.contains(&false) {
        call.notice.add(notes::not_gauge);
    }

    let mut change = (*after.h).clone();
    if !is_rate || (!is_start_reset && !after.h.detect_reset(&before.h)) {
        sub_noted(&mut change, &before.h, &mut call.notice)?;
    }

    change.reset_hint = ResetHint::Gauge;
    change.compact();
    Some(change)
}

fn per_second(mut change: FloatHistogram, seconds: f64) -> FloatHistogram {
    change.div(seconds);
    change
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_timestamps_show_resets_of_deltas_and_of_counters() {
        assert!(!is_start_reset(0, 100, 0, 200), "unset");
        assert!(!is_start_reset(50, 100, 50, 200), "same run");
        assert!(is_start_reset(50, 100, 150, 200), "started in the gap");
        assert!(is_start_reset(50, 100, 100, 200), "delta");
        assert!(!is_start_reset(0, 100, 100, 200), "unknown start");
        assert!(!is_start_reset(100, 100, 100, 200), "unknown start");
        assert!(
            !is_start_reset(150, 100, 100, 200),
            "invalid previous start"
        );

        assert!(!is_start_reset(50, 100, 200, 200), "start at the sample");
        assert!(
            !is_start_reset(150, 100, 150, 200),
            "the same start, after the previous sample"
        );
    }
}
