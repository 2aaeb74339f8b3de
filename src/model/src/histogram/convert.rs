//! From integer to float counts and back.

use std::sync::Arc;

use super::{AnyHistogram, FloatHistogram, Histogram};

impl Histogram {
    /// The same histogram with absolute float counts.
    pub fn to_float(&self) -> FloatHistogram {
        FloatHistogram {
            reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count as f64,
            count: self.count as f64,
            sum: self.sum,
            positive_spans: self.positive_spans.clone(),
            positive_buckets: absolute_counts(&self.positive_buckets),
            negative_spans: self.negative_spans.clone(),
            negative_buckets: absolute_counts(&self.negative_buckets),
            custom_values: self.custom_values.clone(),
        }
    }
}

/// What integer buckets hold; each is written as the difference to the one before.
fn absolute_counts(deltas: &[i64]) -> Vec<f64> {
    let mut count = 0i64;
    deltas
        .iter()
        .map(|delta| {
            count = count.wrapping_add(*delta);
            count as f64
        })
        .collect()
}

/// The first whole number that has no neighbour among doubles.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

impl FloatHistogram {
    /// The same histogram with integer counts; `None` if a count is no whole number below 2^53, where every
    /// integer has a double of its own.
    pub fn to_integer(&self) -> Option<Histogram> {
        Some(Histogram {
            reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: whole_count(self.zero_count)?.cast_unsigned(),
            count: whole_count(self.count)?.cast_unsigned(),
            sum: self.sum,
            positive_spans: self.positive_spans.clone(),
            positive_buckets: deltas_of(&self.positive_buckets)?,
            negative_spans: self.negative_spans.clone(),
            negative_buckets: deltas_of(&self.negative_buckets)?,
            custom_values: self.custom_values.clone(),
        })
    }
}

/// Whole counts, each as the difference to the one before.
fn deltas_of(counts: &[f64]) -> Option<Vec<i64>> {
    let mut before = 0;
    counts
        .iter()
        .map(|count| {
            let count = whole_count(*count)?;
            Some(count - std::mem::replace(&mut before, count))
        })
        .collect()
}

fn whole_count(count: f64) -> Option<i64> {
    let is_whole = (0.0..WHOLE_MAX).contains(&count) && count.fract() == 0.0;
    is_whole.then_some(count as i64)
}

impl AnyHistogram {
    /// The float form; shared if it is one already.
    pub fn to_float(&self) -> Arc<FloatHistogram> {
        match self {
            Self::Int(h) => Arc::new(h.to_float()),
            Self::Float(h) => Arc::clone(h),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Span;

    #[test]
    fn deltas_become_absolute_counts() {
        let h = Histogram {
            count: 8,
            positive_spans: vec![Span {
                offset: 0,
                length: 3,
            }],
            positive_buckets: vec![2, 1, -1],
            ..Histogram::default()
        };

        assert_eq!(h.to_float().positive_buckets, [2.0, 3.0, 2.0]);
        assert_eq!(h.to_float().to_integer(), Some(h));
    }

    #[test]
    fn counts_that_are_no_integers_stay_floats() {
        for count in [0.5, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            let h = FloatHistogram {
                count,
                ..FloatHistogram::default()
            };
            assert_eq!(h.to_integer(), None, "{count}");
            let h = FloatHistogram {
                negative_buckets: vec![count],
                ..FloatHistogram::default()
            };
            assert_eq!(h.to_integer(), None, "{count}");
        }
    }
}
