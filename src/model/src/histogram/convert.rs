//! From integer to float counts.

use std::sync::Arc;

use super::{AnyHistogram, FloatHistogram, Histogram};

impl Histogram {
    /// The same histogram with absolute float counts.
    pub fn to_float(&self) -> FloatHistogram {
        let absolute = |deltas: &[i64]| {
            let mut count = 0i64;
            deltas
                .iter()
                .map(|delta| {
                    count = count.wrapping_add(*delta);
                    count as f64
                })
                .collect()
        };
        FloatHistogram {
            reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count as f64,
            count: self.count as f64,
            sum: self.sum,
            positive_spans: self.positive_spans.clone(),
            positive_buckets: absolute(&self.positive_buckets),
            negative_spans: self.negative_spans.clone(),
            negative_buckets: absolute(&self.negative_buckets),
            custom_values: self.custom_values.clone(),
        }
    }
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
            positive_spans: vec![Span { offset: 0, length: 3 }],
            positive_buckets: vec![2, 1, -1],
            ..Histogram::default()
        };
        assert_eq!(h.to_float().positive_buckets, [2.0, 3.0, 2.0]);
    }
}
