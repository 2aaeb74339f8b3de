//! Buckets as plain lists of (index, count), the form in which histograms are combined.
//!
//! Spans are compact to keep and awkward to merge. Arithmetic unrolls both operands, brings them to one schema,
//! one set of custom bounds and one zero bucket, merges the lists, and rolls the result up again.

use super::bounds::{mapped_index, reduced_index, shared_bounds, upper_bound};
use super::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Span};

/// What a bucket holds: a plain count, or a count with its rounding error.
pub(super) trait Count: Copy {
    /// Adds two contents.
    fn plus(self, other: Self) -> Self;
    /// True unless the bucket is empty.
    fn is_populated(self) -> bool;
}

impl Count for f64 {
    fn plus(self, other: Self) -> Self {
        self + other
    }

    fn is_populated(self) -> bool {
        self != 0.0
    }
}

/// Bucket layout and contents of a histogram.
#[derive(Clone, Debug)]
pub(super) struct Flat<T> {
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) zero: T,
    /// Rising index.
    pub(super) positive: Vec<(i32, T)>,
    /// Rising index.
    pub(super) negative: Vec<(i32, T)>,
    pub(super) custom_values: Vec<f64>,
}

impl<T: Count> Flat<T> {
    pub(super) fn of(h: &FloatHistogram, wrap: impl Fn(f64) -> T) -> Self {
        Self {
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            zero: wrap(h.zero_count),
            positive: h.positive().map(|(i, c)| (i, wrap(c))).collect(),
            negative: h.negative().map(|(i, c)| (i, wrap(c))).collect(),
            custom_values: h.custom_values.clone(),
        }
    }

    /// True if `h` has the same buckets, populated or not, and nothing has to be reconciled.
    pub(super) fn has_layout_of(&self, h: &FloatHistogram) -> bool {
        self.schema == h.schema
            && self.zero_threshold == h.zero_threshold
            && self.custom_values == h.custom_values
            && have_same_indexes(&self.positive, h.positive())
            && have_same_indexes(&self.negative, h.negative())
    }

    pub(super) fn is_custom(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Brings both to one layout. True if custom bounds differed and only the shared ones are left.
    ///
    /// Both must use custom buckets or neither.
    pub(super) fn unify<U: Count>(&mut self, other: &mut Flat<U>) -> bool {
        if self.is_custom() {
            if self.custom_values == other.custom_values {
                return false;
            }
            let shared = shared_bounds(&self.custom_values, &other.custom_values);
            self.keep_bounds(&shared);
            other.keep_bounds(&shared);
            return true;
        }

        self.unify_zero_buckets(other);
        let schema = self.schema.min(other.schema);
        self.reduce(schema);
        other.reduce(schema);

        false
    }

    fn keep_bounds(&mut self, bounds: &[f64]) {
        let from = std::mem::take(&mut self.custom_values);
        remap(&mut self.positive, |i| mapped_index(i, &from, bounds));
        self.custom_values = bounds.to_vec();
    }

    /// Merges buckets until the schema is `schema`; a finer one changes nothing.
    pub(super) fn reduce(&mut self, schema: i32) {
        if self.is_custom() || schema >= self.schema {
            return;
        }
        let from = self.schema;
        remap(&mut self.positive, |i| reduced_index(i, from, schema));
        remap(&mut self.negative, |i| reduced_index(i, from, schema));
        self.schema = schema;
    }

    /// Widens zero buckets until both have the same width and no populated bucket is cut in two.
    fn unify_zero_buckets<U: Count>(&mut self, other: &mut Flat<U>) {
        // Each round takes at least one bucket into a zero bucket, so the number of rounds is bounded.
        let rounds_max = 4
            + 2 * (self.positive.len() + self.negative.len())
            + 2 * (other.positive.len() + other.negative.len());
        for _ in 0..rounds_max {
            if self.zero_threshold == other.zero_threshold {
                return;
            }
            if self.zero_threshold < other.zero_threshold {
                self.widen_zero_bucket(other.zero_threshold);
            } else {
                other.widen_zero_bucket(self.zero_threshold);
            }
        }
    }

    /// Makes the zero bucket reach at least to `threshold`, further if that falls into a populated bucket.
    pub(super) fn widen_zero_bucket(&mut self, threshold: f64) {
        if threshold == self.zero_threshold {
            return;
        }

        let (zero, threshold) = self.zero_bucket_for(threshold);
        self.zero = zero;
        self.zero_threshold = threshold;

        let schema = self.schema;
        let outside = |(i, _): &(i32, T)| upper_bound(i.wrapping_sub(1), schema, &[]) >= threshold;
        self.positive.retain(outside);
        self.negative.retain(outside);
    }

    /// Contents and width of the zero bucket if it had to reach at least to `threshold` (not below the present one).
    pub(super) fn zero_bucket_for(&self, mut threshold: f64) -> (T, f64) {
        if threshold == self.zero_threshold {
            return (self.zero, threshold);
        }
        // A threshold inside a populated bucket moves to that bucket's end, which can only happen once per bucket.
        'again: loop {
            let mut zero = self.zero;
            for buckets in [&self.positive, &self.negative] {
                for (index, count) in buckets {
                    if upper_bound(index.wrapping_sub(1), self.schema, &[]) >= threshold {
                        break;
                    }
                    zero = zero.plus(*count);
                    let upper = upper_bound(*index, self.schema, &[]);
                    if upper > threshold && count.is_populated() {
                        threshold = upper;
                        continue 'again;
                    }
                }
            }

            return (zero, threshold);
        }
    }
}

impl Flat<f64> {
    /// Rolls the buckets up into `h`, empty ones left out.
    pub(super) fn store(self, h: &mut FloatHistogram) {
        h.schema = self.schema;
        h.zero_threshold = self.zero_threshold;
        h.zero_count = self.zero;
        (h.positive_spans, h.positive_buckets) = roll_up(&self.positive);
        (h.negative_spans, h.negative_buckets) = roll_up(&self.negative);
        h.custom_values = self.custom_values;
    }
}

/// Gives buckets new indexes (in the same order) and merges those that fall together.
fn remap<T: Count>(buckets: &mut Vec<(i32, T)>, map: impl Fn(i32) -> i32) {
    let mut kept = 0;
    for at in 0..buckets.len() {
        let (index, count) = buckets[at];
        let index = map(index);
        if kept > 0 && buckets[kept - 1].0 == index {
            buckets[kept - 1].1 = buckets[kept - 1].1.plus(count);
        } else {
            buckets[kept] = (index, count);
            kept += 1;
        }
    }

    buckets.truncate(kept);
}

fn have_same_indexes<T>(a: &[(i32, T)], mut b: impl Iterator<Item = (i32, f64)>) -> bool {
    a.iter()
        .all(|(index, _)| b.next().is_some_and(|(other, _)| *index == other))
        && b.next().is_none()
}

/// Merges `b` into `a`: `both` where the two have a bucket, `only_b` where just `b` has one. Indexes rise in both.
pub(super) fn merge<T: Copy>(
    a: &mut Vec<(i32, T)>,
    b: &[(i32, f64)],
    both: impl Fn(T, f64) -> T,
    only_b: impl Fn(f64) -> T,
) {
    if a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.0 == y.0) {
        for (x, y) in a.iter_mut().zip(b) {
            x.1 = both(x.1, y.1);
        }
        return;
    }

    *a = merged(a, b, both, only_b);
}

/// Both lists as one; see [`merge`].
fn merged<T: Copy>(
    a: &[(i32, T)],
    b: &[(i32, f64)],
    both: impl Fn(T, f64) -> T,
    only_b: impl Fn(f64) -> T,
) -> Vec<(i32, T)> {
    let mut out = Vec::with_capacity(a.len() + b.len());
    let mut i = 0;
    let mut j = 0;

    loop {
        match (a.get(i), b.get(j)) {
            (None, None) => return out,
            (Some(x), Some(y)) if x.0 == y.0 => {
                out.push((x.0, both(x.1, y.1)));
                i += 1;
                j += 1;
            }
            (Some(x), y) if y.is_none_or(|y| x.0 < y.0) => {
                out.push(*x);
                i += 1;
            }
            (_, Some(y)) => {
                out.push((y.0, only_b(y.1)));
                j += 1;
            }
            (Some(_), None) => unreachable!("BUG: taken above"),
        }
    }
}

/// Spans and counts of the populated buckets.
pub(super) fn roll_up(buckets: &[(i32, f64)]) -> (Vec<Span>, Vec<f64>) {
    let mut spans: Vec<Span> = Vec::new();
    let mut counts = Vec::with_capacity(buckets.len());

    let mut next = 0i32;
    for (index, count) in buckets.iter().filter(|(_, c)| *c != 0.0) {
        match spans.last_mut() {
            Some(span) if *index == next => span.length += 1,
            _ => spans.push(Span {
                offset: index.wrapping_sub(next),
                length: 1,
            }),
        }
        next = index.wrapping_add(1);
        counts.push(*count);
    }

    (spans, counts)
}
