//! `rate`, `increase` and `delta` over anchored and smoothed ranges: no extrapolation, the samples around the edges
//! say what happened up to them.

mod floats;

use std::borrow::Cow;

pub(crate) use floats::{edges_and_between, floats};

use trireme_model::{FloatHistogram, ResetHint};

use super::Notice;
use super::range::RangeCall;
use super::rate::{Kind, add_noted, sub_noted};
use crate::annotations as notes;
use crate::engine::range::Extension;
use crate::select::HistogramPoint;

/// The value at `t` on the line between two points; a counter that fell is taken to have restarted from 0.
pub(crate) fn interpolate(a: (i64, f64), b: (i64, f64), t: i64, counter: bool) -> f64 {
    let from = if counter && b.1 < a.1 { 0.0 } else { a.1 };
    from + (b.1 - from) * (t - a.0) as f64 / (b.0 - a.0) as f64
}

/// The histogram at `t` between two points; a counter that was reset is taken to have restarted empty.
pub(crate) fn interpolate_histograms(
    a: &HistogramPoint,
    b: &HistogramPoint,
    t: i64,
    counter: bool,
    notice: &mut Notice<'_>,
) -> Option<FloatHistogram> {
    if t == a.t {
        return Some((*a.h).clone());
    }

    let mut out = (*b.h).clone();
    if t == b.t {
        return Some(out);
    }
    if a.h.uses_custom_buckets() != b.h.uses_custom_buckets() {
        notice.add(notes::mixed_exponential_custom);
        return None;
    }

    let fraction = (t - a.t) as f64 / (b.t - a.t) as f64;
    if counter && b.h.detect_reset(&a.h) {
        out.mul(fraction);
        return Some(out);
    }

    sub_noted(&mut out, &a.h, notice)?;
    out.mul(fraction);
    add_noted(&mut out, &a.h, notice)?;

    Some(out)
}

/// First and last sample that take part, by index; there is at least one.
fn bounds(call: &RangeCall<'_>, t: impl Fn(usize) -> i64, len: usize) -> (usize, usize) {
    let first = first_where(len - 1, |i| t(i) > call.start).saturating_sub(1);
    match call.extension {
        Extension::Smoothed => (first, first_where(len - 1, |i| t(i) >= call.end)),
        _ => (first, len - 1),
    }
}

/// The first number below `len` of which `is` holds, `len` if there is none.
fn first_where(len: usize, is: impl Fn(usize) -> bool) -> usize {
    (0..len).position(is).unwrap_or(len)
}

pub(crate) fn histograms(call: &mut RangeCall<'_>, kind: Kind) -> Option<FloatHistogram> {
    let points = call.window.h;
    let smoothed = call.extension == Extension::Smoothed;
    let (first, last) = bounds(call, |i| points[i].t, points.len());
    if points[last].t <= call.start || (smoothed && points[first].t > call.end) {
        return None;
    }

    check_layouts(call, first, last, kind.counter)?;
    let left = left_edge(call, first, kind.counter)?;
    let right = right_edge(call, last, kind.counter)?;

    if !kind.counter
        && (left.reset_hint != ResetHint::Gauge || right.reset_hint != ResetHint::Gauge)
    {
        call.notice.add(notes::not_gauge);
    }

    let mut result = right.clone();
    sub_noted(&mut result, &left, &mut call.notice)?;

    if kind.counter {
        for lost in lost_at_resets(call, first, last, &left, &right) {
            add_noted(&mut result, &lost, &mut call.notice)?;
        }
    }

    if kind.per_second {
        result.div(call.range_s());
    }

    result.reset_hint = ResetHint::Gauge;
    result.compact();
    Some(result)
}

/// None if the histograms do not go together.
fn check_layouts(call: &mut RangeCall<'_>, first: usize, last: usize, counter: bool) -> Option<()> {
    let points = call.window.h;
    let custom = points[first].h.uses_custom_buckets();
    for point in &points[first..=last] {
        if point.h.uses_custom_buckets() != custom {
            call.notice.add(notes::mixed_exponential_custom);
            return None;
        }
        if counter && point.h.reset_hint == ResetHint::Gauge {
            call.notice.add(notes::not_counter);
        }
    }
    Some(())
}

/// What stands for the left edge.
fn left_edge(call: &mut RangeCall<'_>, first: usize, counter: bool) -> Option<FloatHistogram> {
    let points = call.window.h;
    let smoothed = call.extension == Extension::Smoothed;
    if smoothed && points[first].t < call.start && first + 1 < points.len() {
        let a = &points[first];
        let b = &points[first + 1];
        return interpolate_histograms(a, b, call.start, counter, &mut call.notice);
    }
    Some((*points[first].h).clone())
}

/// What stands for the right edge.
fn right_edge(call: &mut RangeCall<'_>, last: usize, counter: bool) -> Option<FloatHistogram> {
    let points = call.window.h;
    let smoothed = call.extension == Extension::Smoothed;
    if smoothed && last > 0 && points[last].t > call.end {
        let a = &points[last - 1];
        let b = &points[last];
        return interpolate_histograms(a, b, call.end, counter, &mut call.notice);
    }
    Some((*points[last].h).clone())
}

/// The counters as they were before each reset inside the range.
fn lost_at_resets<'a>(
    call: &RangeCall<'a>,
    first: usize,
    last: usize,
    left: &'a FloatHistogram,
    right: &FloatHistogram,
) -> Vec<Cow<'a, FloatHistogram>> {
    let points = call.window.h;
    let smoothed = call.extension == Extension::Smoothed;
    let mut prev = left;

    let mut from = first + 1;
    if smoothed
        && points[first].t < call.start
        && points
            .get(first + 1)
            .is_some_and(|next| next.h.detect_reset(&points[first].h))
    {
        // The interpolation at the left edge has dealt with this reset.
        prev = &points[first + 1].h;
        from += 1;
    }

    // The last sample is there as `right`, which carries its hint: it must not be compared with itself.
    if from > last {
        return Vec::new();
    }

    let mut lost = Vec::new();
    for point in &points[from..last] {
        if point.h.detect_reset(prev) {
            lost.push(Cow::Borrowed(prev));
        }
        prev = &point.h;
    }

    if right.detect_reset(prev) {
        lost.push(Cow::Borrowed(prev));
    }

    lost
}
