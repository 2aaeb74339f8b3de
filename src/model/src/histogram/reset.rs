//! Detection of counter resets.

use super::bounds::upper_bound;
use super::flat::Flat;
use super::{FloatHistogram, ResetHint};

impl FloatHistogram {
    /// True if a counter of this kind must have been reset between `previous` and this sample.
    ///
    /// The hint decides if it says anything. Otherwise: any count (not the sum) went down, a populated bucket is
    /// gone, the resolution became finer, or the zero bucket became narrower or now cuts a populated bucket.
    pub fn detect_reset(&self, previous: &Self) -> bool {
        match self.reset_hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }

        if self.count < previous.count {
            return true;
        }
        if self.uses_custom_buckets() {
            return !previous.uses_custom_buckets() || self.custom_buckets_fell(previous);
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }

        if previous.uses_custom_buckets() {
            return true;
        }
        if self.schema == previous.schema && self.zero_threshold == previous.zero_threshold {
            // The usual case needs no lists.
            return self.zero_count < previous.zero_count || self.any_bucket_fell(previous);
        }

        self.bucket_fell_below_reduced(previous)
    }

    /// Compares buckets of one layout with those of a finer one, brought to this one first.
    fn bucket_fell_below_reduced(&self, previous: &Self) -> bool {
        let mut before = Flat::of(previous, |c| c);
        let (zero, threshold) = before.zero_bucket_for(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero_count < zero {
            return true;
        }

        before.widen_zero_bucket(self.zero_threshold);
        before.reduce(self.schema);

        let outside =
            |bucket: &(i32, f64)| upper_bound(bucket.0, self.schema, &[]) > self.zero_threshold;
        before.positive.retain(outside);
        before.negative.retain(outside);

        fell(self.positive().filter(outside), before.positive.into_iter())
            || fell(self.negative().filter(outside), before.negative.into_iter())
    }

    /// Compares buckets of the same schema.
    fn any_bucket_fell(&self, previous: &Self) -> bool {
        let same = self.positive_spans == previous.positive_spans
            && self.negative_spans == previous.negative_spans
            && self.positive_buckets.len() == previous.positive_buckets.len()
            && self.negative_buckets.len() == previous.negative_buckets.len();
        if same {
            return any_lower(&self.positive_buckets, &previous.positive_buckets)
                || any_lower(&self.negative_buckets, &previous.negative_buckets);
        }

        fell(self.positive(), previous.positive()) || fell(self.negative(), previous.negative())
    }

    fn custom_buckets_fell(&self, previous: &Self) -> bool {
        if self.custom_values == previous.custom_values {
            return self.any_bucket_fell(previous);
        }
        let mut now = Flat::of(self, |c| c);
        let mut before = Flat::of(previous, |c| c);
        now.unify(&mut before);
        fell(now.positive.into_iter(), before.positive.into_iter())
    }
}

fn any_lower(now: &[f64], before: &[f64]) -> bool {
    now.iter().zip(before).any(|(now, before)| now < before)
}

/// True if a populated bucket of `before` is missing or has a lower count in `now`.
fn fell(
    mut now: impl Iterator<Item = (i32, f64)>,
    before: impl Iterator<Item = (i32, f64)>,
) -> bool {
    let mut current = now.next();
    for (index, count) in before {
        while current.is_some_and(|(i, _)| i < index) {
            current = now.next();
        }
        let gone_or_less = match current {
            Some((i, c)) if i == index => c < count,
            _ => count != 0.0,
        };
        if gone_or_less {
            return true;
        }
    }

    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Span;

    fn h(schema: i32, counts: &[f64]) -> FloatHistogram {
        FloatHistogram {
            schema,
            count: counts.iter().sum(),
            zero_threshold: 0.1,
            positive_spans: vec![Span {
                offset: 0,
                length: counts.len() as u32,
            }],
            positive_buckets: counts.to_vec(),
            ..FloatHistogram::default()
        }
    }

    #[test]
    fn finds_resets_in_buckets_counts_and_layout() {
        assert!(!h(0, &[1.0, 2.0]).detect_reset(&h(0, &[1.0, 2.0])));
        assert!(!h(0, &[1.0, 2.0, 9.0]).detect_reset(&h(0, &[1.0, 2.0])));
        assert!(
            h(0, &[3.0, 1.0]).detect_reset(&h(0, &[1.0, 2.0])),
            "a bucket fell"
        );
        assert!(
            h(0, &[1.0]).detect_reset(&h(0, &[1.0, 2.0])),
            "the count fell"
        );

        assert!(
            h(1, &[9.0, 9.0]).detect_reset(&h(0, &[1.0, 2.0])),
            "finer resolution"
        );
        assert!(
            !h(0, &[9.0, 9.0]).detect_reset(&h(1, &[1.0, 1.0, 1.0])),
            "coarser resolution"
        );

        let wide = FloatHistogram {
            zero_threshold: 0.7,
            ..h(0, &[9.0, 9.0])
        };
        assert!(
            wide.detect_reset(&h(0, &[1.0, 2.0])),
            "the zero bucket cuts (0.5, 1]"
        );

        let reset = FloatHistogram {
            reset_hint: ResetHint::Reset,
            ..h(0, &[9.0])
        };
        assert!(reset.detect_reset(&h(0, &[1.0])));
    }
}
