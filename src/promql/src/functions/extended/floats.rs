//! Floats of anchored and smoothed ranges.
//!
//! A start timestamp says that the counter was 0 at that time, and that every sample before belongs to another run. So it
//! can stand in for a sample at an edge, and tells of resets that the values do not show.

use super::{bounds, interpolate};
use crate::engine::range::Extension;
use crate::functions::range::RangeCall;
use crate::functions::rate::{Kind, is_start_reset};

/// A sample, real or made up.
#[derive(Clone, Copy)]
struct Point {
    /// Milliseconds.
    t: i64,
    /// Start timestamp (ms), 0 when unset.
    st: i64,
    v: f64,
}

impl Point {
    /// Where a counter began: at 0.
    fn start(st: i64) -> Self {
        Self {
            t: st,
            st: 0,
            v: 0.0,
        }
    }

    /// True if the counter began after `after` and before this sample.
    fn starts_after(self, after: i64) -> bool {
        self.st != 0 && after < self.st && self.st < self.t
    }

    /// True if a counter started anew between this sample and the next one.
    fn is_reset_at(self, next: Self) -> bool {
        is_start_reset(self.st, self.t, next.st, next.t)
    }

    /// The value at `t` on the line to `next`.
    fn toward(self, next: Self, t: i64, counter: bool) -> f64 {
        interpolate((self.t, self.v), (next.t, next.v), t, counter)
    }
}

/// The floats of a call and its edges.
struct Edges<'a, 'b> {
    call: &'a RangeCall<'b>,
    smoothed: bool,
    /// Resets matter, and with them start timestamps.
    counter: bool,
    /// Starts at or before this time (ms) are too long ago to say anything.
    start_min: i64,
}

impl Edges<'_, '_> {
    fn point(&self, i: usize) -> Point {
        let st = if self.counter {
            self.call.float_st(i)
        } else {
            0
        };
        Point {
            t: self.call.window.t[i],
            st,
            v: self.call.window.v[i],
        }
    }

    /// What stands for the left edge.
    fn left(&self, first: usize) -> Point {
        let at = self.call.start;
        let sample = self.point(first);
        if sample.t > at {
            return Point {
                t: at,
                st: 0,
                v: self.before_first(sample, at),
            };
        }

        if sample.t == at || first + 1 == self.call.window.t.len() {
            return Point { t: at, ..sample };
        }

        let mut from = sample;
        let mut to = self.point(first + 1);
        if to.starts_after(at) {
            to = Point::start(to.st);
        } else if from.is_reset_at(to) {
            from = Point {
                st: to.st,
                ..Point::start(to.st)
            };
        }

        let v = match self.smoothed {
            true => from.toward(to, at, self.counter),
            false => from.v,
        };
        Point {
            t: at,
            st: from.st,
            v,
        }
    }

    /// What stands for the right edge.
    fn right(&self, last: usize) -> Point {
        let at = self.call.end;
        let sample = self.point(last);
        if sample.t <= at {
            return Point { t: at, ..sample };
        }

        if last == 0 {
            let v = match sample {
                _ if sample.starts_after(self.start_min) && sample.st > at => 0.0,
                _ => self.on_way_to(sample, at),
            };
            return Point { t: at, st: 0, v };
        }

        let mut before = self.point(last - 1);
        if sample.starts_after(at) {
            let end = Point::start(sample.st);
            return Point {
                t: at,
                st: before.st,
                v: before.toward(end, at, self.counter),
            };
        }

        if before.is_reset_at(sample) {
            before = Point::start(sample.st);
        }

        Point {
            t: at,
            st: 0,
            v: before.toward(sample, at, self.counter),
        }
    }

    /// The value at the left edge if the first sample comes later.
    fn before_first(&self, sample: Point, at: i64) -> f64 {
        let starts = sample.starts_after(self.start_min);
        if starts && (sample.st > at || !self.smoothed) {
            return 0.0;
        }
        self.on_way_to(sample, at)
    }

    /// The value before the first sample: on the way from where the counter began, or that of the sample.
    fn on_way_to(&self, sample: Point, at: i64) -> f64 {
        if sample.starts_after(self.start_min) {
            Point::start(sample.st).toward(sample, at, self.counter)
        } else {
            sample.v
        }
    }

    /// True if the counter of a sample began in reach and before the end.
    fn begins_in_reach(&self, sample: Point) -> bool {
        sample.starts_after(self.start_min) && sample.st <= self.call.end
    }

    /// What was lost at resets from one edge to the other.
    fn lost(&self, first: usize, last: usize, left: Point, right: Point) -> f64 {
        let start = self.call.start;
        let end = self.call.end;
        let inside = (first..=last)
            .map(|i| self.point(i))
            .filter(|p| p.t > start && p.t < end);
        let mut lost = 0.0;

        let mut prev = left;
        for next in inside.chain([right]) {
            if next.v < prev.v || prev.is_reset_at(next) {
                lost += prev.v;
            }
            prev = next;
        }

        lost
    }
}

/// `rate`, `increase` and `delta` of floats.
pub(crate) fn floats(call: &mut RangeCall<'_>, kind: Kind) -> Option<f64> {
    let t = call.window.t;
    let (first, last) = bounds(call, |i| t[i], t.len());
    let edges = Edges {
        call,
        smoothed: call.extension == Extension::Smoothed,
        counter: kind.counter,
        start_min: call.start.saturating_sub(call.lookback_ms),
    };

    // Without a sample in the range there may still be a counter that began before its end.
    let is_late = edges.smoothed && t[first] > call.end;
    if t[last] <= call.start || (is_late && !edges.begins_in_reach(edges.point(first))) {
        return None;
    }

    let left = edges.left(first);
    let right = edges.right(last);

    let mut result = right.v - left.v;
    if kind.counter {
        result += edges.lost(first, last, left, right);
    }

    Some(if kind.per_second {
        result / call.range_s()
    } else {
        result
    })
}

/// The samples of an anchored or smoothed range selector that stands alone: edge values and what is between.
pub(crate) fn edges_and_between(call: &RangeCall<'_>) -> Vec<(i64, f64)> {
    let t = call.window.t;
    let v = call.window.v;
    if t.is_empty() {
        return Vec::new();
    }

    let (first, last) = bounds(call, |i| t[i], t.len());
    let smoothed = call.extension == Extension::Smoothed;
    if t[last] <= call.start || (smoothed && t[first] > call.end) {
        return Vec::new();
    }

    let edges = Edges {
        call,
        smoothed,
        counter: false,
        start_min: call.start,
    };

    let left = edges.left(first).v;
    let right = edges.right(last).v;
    let inside = t
        .iter()
        .zip(v)
        .filter(|(t, _)| **t > call.start && **t < call.end)
        .map(|(t, v)| (*t, *v));

    std::iter::once((call.start, left))
        .chain(inside)
        .chain([(call.end, right)])
        .collect()
}
