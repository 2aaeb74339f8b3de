//! `changes` and `resets`: what happens from sample to sample.

use super::range::RangeCall;
use super::rate::is_start_reset;
use crate::engine::range::Extension;
use crate::engine::row::Out;
use crate::error::QueryError;
use crate::select::HistogramPoint;

/// A sample of either kind.
#[derive(Clone, Copy)]
enum Point<'a> {
    Float { t: i64, st: i64, v: f64 },
    Histogram { st: i64, point: &'a HistogramPoint },
}

/// Counts pairs of successive samples of which `is` holds; a change of kind always counts.
fn count(call: &RangeCall<'_>, is: impl Fn(Point<'_>, Point<'_>) -> bool) -> Option<Out> {
    let (mut f, mut h) = first_indexes(call)?;
    let w = call.window;
    let mut prev: Option<Point<'_>> = None;

    let mut n = 0u64;
    while f < w.t.len() || h < w.h.len() {
        let float_next = h >= w.h.len() || (f < w.t.len() && w.t[f] < w.h[h].t);
        let current = if float_next {
            f += 1;
            Point::Float {
                t: w.t[f - 1],
                st: call.float_st(f - 1),
                v: w.v[f - 1],
            }
        } else {
            h += 1;
            Point::Histogram {
                st: call.histogram_st(h - 1),
                point: &w.h[h - 1],
            }
        };

        if prev.is_some_and(|prev| is(prev, current)) {
            n += 1;
        }

        prev = Some(current);
    }

    Some(Out::Float(n as f64))
}

/// Where to begin: in anchored ranges with the one sample before the range that is the newest; `None` if no sample
/// is inside.
fn first_indexes(call: &RangeCall<'_>) -> Option<(usize, usize)> {
    if call.extension != Extension::Anchored {
        return Some((0, 0));
    }

    let w = call.window;
    let floats_before = w.t.partition_point(|t| *t <= call.start);
    let histograms_before = w.h.partition_point(|p| p.t <= call.start);
    if floats_before == w.t.len() && histograms_before == w.h.len() {
        return None;
    }

    Some(match (floats_before, histograms_before) {
        (0, 0) => (0, 0),
        (f, 0) => (f - 1, 0),
        (0, h) => (0, h - 1),
        (f, h) if w.t[f - 1] >= w.h[h - 1].t => (f - 1, h),
        (f, h) => (f, h - 1),
    })
}

pub(crate) fn changes(call: &mut RangeCall<'_>) -> Result<Option<Out>, QueryError> {
    Ok(count(call, |a, b| match (a, b) {
        (Point::Float { v: a, .. }, Point::Float { v: b, .. }) => {
            a != b && !(a.is_nan() && b.is_nan())
        }
        (Point::Histogram { point: a, .. }, Point::Histogram { point: b, .. }) => !b.h.equals(&a.h),
        _ => true,
    }))
}

pub(crate) fn resets(call: &mut RangeCall<'_>) -> Result<Option<Out>, QueryError> {
    Ok(count(call, |a, b| match (a, b) {
        (
            Point::Float {
                t: t0,
                st: st0,
                v: v0,
            },
            Point::Float { t, st, v },
        ) => v < v0 || is_start_reset(st0, t0, st, t),
        (Point::Histogram { st: st0, point: a }, Point::Histogram { st, point: b }) => {
            is_start_reset(st0, a.t, st, b.t) || b.h.detect_reset(&a.h)
        }
        _ => true,
    }))
}
