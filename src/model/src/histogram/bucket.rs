//! Buckets with their bounds.

use std::fmt;

use super::bounds::upper_bound;
use super::display::format_float;
use super::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Span};

/// One bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// True if the lower bound belongs to the bucket.
    pub lower_inclusive: bool,
    /// True if the upper bound belongs to the bucket.
    pub upper_inclusive: bool,
    /// Number of observations.
    pub count: f64,
    /// Index in its schema; meaningless for the zero bucket.
    pub index: i32,
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.lower_inclusive { "[" } else { "(" })?;
        write!(
            f,
            "{},{}",
            format_float(self.lower),
            format_float(self.upper)
        )?;

        f.write_str(if self.upper_inclusive { "]" } else { ")" })?;
        write!(f, ":{}", format_float(self.count))
    }
}

impl Bucket {
    /// The bucket without what the zero bucket covers as well: its observations are beyond the zero threshold.
    fn beside_zero(mut self, h: &FloatHistogram) -> Self {
        let threshold = h.zero_threshold;
        if self.upper < 0.0 && self.upper > -threshold {
            self.upper = -threshold;
        } else if self.lower > 0.0 && self.lower < threshold {
            self.lower = threshold;
        }
        self
    }
}

/// Which part of a histogram to walk over next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Negative,
    Zero,
    Positive,
    Done,
}

/// Walks over all buckets, those with count 0 included, in order of their bounds, upwards or downwards. A bucket that
/// reaches into the zero bucket is given from the zero threshold on.
#[derive(Clone, Debug)]
pub struct Buckets<'a> {
    histogram: &'a FloatHistogram,
    upwards: bool,
    part: Part,
    cursor: Cursor,
}

/// A place among the buckets of one sign.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    span: usize,
    in_span: u32,
    bucket: usize,
    index: i32,
}

impl Cursor {
    /// Before the first bucket.
    fn first(spans: &[Span]) -> Self {
        Self {
            span: 0,
            in_span: 0,
            bucket: 0,
            index: spans.first().map_or(0, |s| s.offset),
        }
    }

    /// Takes the next bucket in rising index order.
    fn forward(&mut self, spans: &[Span], counts: &[f64]) -> Option<(i32, f64)> {
        while self.in_span >= spans.get(self.span)?.length {
            self.span += 1;
            self.in_span = 0;
            self.index = self.index.wrapping_add(spans.get(self.span)?.offset);
        }

        let item = (self.index, *counts.get(self.bucket)?);
        self.in_span += 1;
        self.bucket += 1;
        self.index = self.index.wrapping_add(1);

        Some(item)
    }

    /// After the last bucket. `span` counts the spans not yet used up, `in_span` the buckets left in the last of them.
    fn last(spans: &[Span], counts: &[f64]) -> Self {
        let index = spans.iter().fold(0i32, |at, s| {
            at.wrapping_add(s.offset).wrapping_add(s.length as i32)
        });
        Self {
            span: spans.len(),
            in_span: spans.last().map_or(0, |s| s.length),
            bucket: counts.len(),
            index,
        }
    }

    /// Takes the next bucket in falling index order.
    fn backward(&mut self, spans: &[Span], counts: &[f64]) -> Option<(i32, f64)> {
        while self.in_span == 0 {
            self.index = self
                .index
                .wrapping_sub(spans.get(self.span.checked_sub(1)?)?.offset);
            self.span -= 1;
            self.in_span = spans.get(self.span.checked_sub(1)?)?.length;
        }

        self.in_span -= 1;
        self.bucket = self.bucket.checked_sub(1)?;
        self.index = self.index.wrapping_sub(1);

        Some((self.index, *counts.get(self.bucket)?))
    }
}

impl Iterator for Buckets<'_> {
    type Item = Bucket;

    fn next(&mut self) -> Option<Bucket> {
        loop {
            match self.part {
                Part::Negative => {
                    if let Some(bucket) = self.next_of(false) {
                        return Some(bucket);
                    }
                    self.part = if self.upwards { Part::Zero } else { Part::Done };
                }
                Part::Zero => {
                    let h = self.histogram;
                    if self.upwards {
                        self.part = Part::Positive;
                        self.cursor = Cursor::first(&h.positive_spans);
                    } else {
                        self.part = Part::Negative;
                        self.cursor = Cursor::first(&h.negative_spans);
                    }
                    if h.zero_count > 0.0 {
                        return Some(h.zero_bucket());
                    }
                }
                Part::Positive => {
                    if let Some(bucket) = self.next_of(true) {
                        return Some(bucket);
                    }
                    self.part = if self.upwards { Part::Done } else { Part::Zero };
                }
                Part::Done => return None,
            }
        }
    }
}

impl Buckets<'_> {
    /// The next of the positive buckets, or of the negative ones.
    #[inline]
    fn next_of(&mut self, positive: bool) -> Option<Bucket> {
        let h = self.histogram;
        let (spans, counts) = if positive {
            (&h.positive_spans, &h.positive_buckets)
        } else {
            (&h.negative_spans, &h.negative_buckets)
        };

        // Negative buckets rise towards zero, so upwards is backwards in their list.
        let item = if self.upwards == positive {
            self.cursor.forward(spans, counts)
        } else {
            self.cursor.backward(spans, counts)
        };
        let (index, count) = item?;

        Some(h.bucket(index, count, positive).beside_zero(h))
    }
}

impl FloatHistogram {
    /// True if bounds are listed in `custom_values`.
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// All buckets from the lowest bounds to the highest; the zero bucket only if it is populated.
    pub fn buckets(&self) -> Buckets<'_> {
        let cursor = Cursor::last(&self.negative_spans, &self.negative_buckets);
        Buckets {
            histogram: self,
            upwards: true,
            part: Part::Negative,
            cursor,
        }
    }

    /// All buckets from the highest bounds to the lowest; the zero bucket only if it is populated.
    pub fn buckets_reversed(&self) -> Buckets<'_> {
        let cursor = Cursor::last(&self.positive_spans, &self.positive_buckets);
        Buckets {
            histogram: self,
            upwards: false,
            part: Part::Positive,
            cursor,
        }
    }

    /// The bucket around zero.
    pub fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
            index: 0,
        }
    }

    /// A bucket of this layout.
    pub(super) fn bucket(&self, index: i32, count: f64, positive: bool) -> Bucket {
        let below = upper_bound(index.wrapping_sub(1), self.schema, &self.custom_values);
        let above = upper_bound(index, self.schema, &self.custom_values);
        let (lower, upper) = if positive {
            (below, above)
        } else {
            (-above, -below)
        };

        let custom = self.uses_custom_buckets();
        Bucket {
            lower,
            upper,
            lower_inclusive: if custom { index == 0 } else { lower < 0.0 },
            upper_inclusive: custom || upper > 0.0,
            count,
            index,
        }
    }

    /// Index and count of the positive buckets, rising.
    pub(super) fn positive(&self) -> impl Iterator<Item = (i32, f64)> + '_ {
        let mut cursor = Cursor::first(&self.positive_spans);
        std::iter::from_fn(move || cursor.forward(&self.positive_spans, &self.positive_buckets))
    }

    /// Index and count of the negative buckets, rising index.
    pub(super) fn negative(&self) -> impl Iterator<Item = (i32, f64)> + '_ {
        let mut cursor = Cursor::first(&self.negative_spans);
        std::iter::from_fn(move || cursor.forward(&self.negative_spans, &self.negative_buckets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> FloatHistogram {
        FloatHistogram {
            zero_threshold: 0.5,
            zero_count: 2.0,
            count: 12.0,
            positive_spans: vec![
                Span {
                    offset: 0,
                    length: 2,
                },
                Span {
                    offset: 1,
                    length: 1,
                },
            ],
            positive_buckets: vec![1.0, 2.0, 3.0],
            negative_spans: vec![
                Span {
                    offset: 1,
                    length: 1,
                },
                Span {
                    offset: 0,
                    length: 1,
                },
            ],
            negative_buckets: vec![1.0, 3.0],
            ..FloatHistogram::default()
        }
    }

    #[test]
    fn walks_upwards_and_downwards_over_the_same_buckets() {
        let h = sample();
        let up: Vec<_> = h.buckets().map(|b| (b.lower, b.upper, b.count)).collect();
        assert_eq!(
            up,
            [
                (-4.0, -2.0, 3.0),
                (-2.0, -1.0, 1.0),
                (-0.5, 0.5, 2.0),
                (0.5, 1.0, 1.0),
                (1.0, 2.0, 2.0),
                (4.0, 8.0, 3.0)
            ]
        );

        let mut down: Vec<_> = h
            .buckets_reversed()
            .map(|b| (b.lower, b.upper, b.count))
            .collect();

        down.reverse();
        assert_eq!(up, down);
    }

    #[test]
    fn buckets_begin_where_the_zero_bucket_ends() {
        let h = FloatHistogram {
            zero_threshold: 0.6,
            zero_count: 2.0,
            positive_spans: vec![Span {
                offset: 0,
                length: 1,
            }],
            positive_buckets: vec![3.0],
            negative_spans: vec![Span {
                offset: 0,
                length: 1,
            }],
            negative_buckets: vec![1.0],
            ..FloatHistogram::default()
        };

        let up: Vec<_> = h.buckets().map(|b| (b.lower, b.upper)).collect();
        assert_eq!(up, [(-1.0, -0.6), (-0.6, 0.6), (0.6, 1.0)]);
    }

    #[test]
    fn survives_spans_that_promise_more_buckets_than_there_are() {
        let mut h = sample();
        h.positive_spans[1].length = 100;
        h.negative_spans.push(Span {
            offset: i32::MAX,
            length: u32::MAX,
        });

        assert!(h.buckets().count() <= 6);
        assert!(h.buckets_reversed().count() <= 6);
    }
}
