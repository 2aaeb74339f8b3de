//! Cutting a histogram at a value: what is left below or above it.
//!
//! Buckets that the value falls into are split by interpolation: linear in custom buckets and the zero bucket,
//! exponential elsewhere. The sum is estimated anew from the middles of what is left. Nothing is known about the
//! spread inside a bucket that reaches to infinity, so such a bucket is dropped unless all of it is to be kept.

use super::FloatHistogram;
use super::bucket::Bucket;
use super::flat::roll_up;

/// What is left of a bucket: a count and the value that stands for it in the sum.
struct Rest {
    count: f64,
    middle: f64,
}

/// What is left of all buckets so far.
#[derive(Default)]
struct Left {
    count: f64,
    sum: f64,
    changed: bool,
}

impl Left {
    /// The buckets with the counts that `rest` leaves of them.
    fn cut(
        &mut self,
        buckets: impl Iterator<Item = (i32, f64)>,
        rest: impl Fn(i32, f64) -> Rest,
    ) -> Vec<(i32, f64)> {
        buckets
            .map(|(index, present)| {
                if present == 0.0 {
                    return (index, present);
                }

                let rest = rest(index, present);
                self.add(present, &rest);
                (index, rest.count)
            })
            .collect()
    }

    /// Adds the rest of a bucket that held `present`.
    fn add(&mut self, present: f64, rest: &Rest) {
        self.count += rest.count;
        self.sum += rest.middle * rest.count;
        self.changed |= rest.count != present;
    }
}

impl FloatHistogram {
    /// Keeps the observations below `at`.
    pub fn keep_below(&self, at: f64) -> Self {
        self.trimmed(at, true)
    }

    /// Keeps the observations above `at`.
    pub fn keep_above(&self, at: f64) -> Self {
        self.trimmed(at, false)
    }

    fn trimmed(&self, at: f64, below: bool) -> Self {
        let mut left = Left::default();
        let positive = left.cut(self.positive(), |index, count| {
            let bucket = self.bucket(index, count, true);
            rest_of_bucket(&bucket, at, below, true, self.uses_custom_buckets())
        });
        let negative = left.cut(self.negative(), |index, count| {
            let bucket = self.bucket(index, count, false);
            rest_of_bucket(&bucket, at, below, false, self.uses_custom_buckets())
        });

        let mut out = self.clone();
        if self.zero_count > 0.0 {
            let has_positive = self.positive().any(|(_, count)| count != 0.0);
            let has_negative = self.negative().any(|(_, count)| count != 0.0);
            let zero = self.zero_bucket();
            let rest = rest_of_zero_bucket(&zero, at, below, has_negative, has_positive);
            out.zero_count = rest.count;
            left.add(self.zero_count, &rest);
        }

        if left.changed {
            out.count = left.count;
            out.sum = left.sum;
            (out.positive_spans, out.positive_buckets) = roll_up(&positive);
            (out.negative_spans, out.negative_buckets) = roll_up(&negative);
        }

        out
    }
}

fn rest_of_bucket(b: &Bucket, at: f64, below: bool, positive: bool, custom: bool) -> Rest {
    let (inside, outside) = if below {
        (b.upper <= at, b.lower >= at)
    } else {
        (b.lower >= at, b.upper <= at)
    };

    if inside {
        return Rest {
            count: b.count,
            middle: middle(b.lower, b.upper, positive, custom),
        };
    }

    // A NaN is neither: like everything that is not clearly inside, it keeps nothing.
    if outside || at.is_nan() {
        return Rest {
            count: 0.0,
            middle: 0.0,
        };
    }

    if b.lower.is_infinite() || b.upper.is_infinite() {
        return rest_of_infinite_bucket(b, at, below);
    }

    let under = b.count * fraction_below(b, at, positive, custom);
    if below {
        Rest {
            count: under,
            middle: middle(b.lower, at, positive, custom),
        }
    } else {
        Rest {
            count: b.count - under,
            middle: middle(at, b.upper, positive, custom),
        }
    }
}

/// `at` lies inside a bucket that has an infinite bound.
fn rest_of_infinite_bucket(b: &Bucket, at: f64, below: bool) -> Rest {
    let none = Rest {
        count: 0.0,
        middle: 0.0,
    };

    if b.lower == f64::NEG_INFINITY {
        // The first custom bucket of a histogram of positive values is taken to start at 0.
        let starts_at_zero = b.upper > 0.0 && b.upper.is_finite();
        return match below {
            true if at > 0.0 && starts_at_zero => Rest {
                count: b.count * at / b.upper,
                middle: at / 2.0,
            },
            true if b.upper <= 0.0 => Rest {
                count: b.count,
                middle: at,
            },
            false if at >= 0.0 && starts_at_zero => Rest {
                count: b.count * (1.0 - at / b.upper),
                middle: (at + b.upper) / 2.0,
            },
            _ => none,
        };
    }

    if below {
        none
    } else {
        Rest {
            count: b.count,
            middle: at,
        }
    }
}

/// Part of the observations at or below `at`, which lies inside the bucket.
fn fraction_below(b: &Bucket, at: f64, positive: bool, linear: bool) -> f64 {
    if linear {
        return (at - b.lower) / (b.upper - b.lower);
    }

    let lower = b.lower.abs().log2();
    let upper = b.upper.abs().log2();

    let at = at.abs().log2();
    if positive {
        (at - lower) / (upper - lower)
    } else {
        1.0 - (at - upper) / (lower - upper)
    }
}

fn rest_of_zero_bucket(
    b: &Bucket,
    at: f64,
    below: bool,
    has_negative: bool,
    has_positive: bool,
) -> Rest {
    // With observations on one side only, those near zero are taken to be on that side as well.
    let lower = if has_positive && !has_negative {
        0.0
    } else {
        b.lower
    };

    let upper = if has_negative && !has_positive {
        0.0
    } else {
        b.upper
    };

    let none = Rest {
        count: 0.0,
        middle: 0.0,
    };
    let all = Rest {
        count: b.count,
        middle: (lower + upper) / 2.0,
    };

    match below {
        true if at <= lower => none,
        true if at >= upper => all,
        true => Rest {
            count: b.count * ((at - lower) / (upper - lower)),
            middle: (lower + at) / 2.0,
        },
        false if at <= lower => all,
        false if at >= upper => none,
        false => Rest {
            count: b.count * ((upper - at) / (upper - lower)),
            middle: (at + upper) / 2.0,
        },
    }
}

/// The value that stands for an interval.
fn middle(lower: f64, upper: f64, positive: bool, linear: bool) -> f64 {
    if lower.is_infinite() {
        return match upper {
            u if u.is_infinite() => 0.0,
            u if u > 0.0 => u / 2.0,
            u => u,
        };
    }

    if upper.is_infinite() {
        return lower;
    }
    if linear {
        return (lower + upper) / 2.0;
    }

    let mean = (lower * upper).abs().sqrt();
    if positive { mean } else { -mean }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Span;

    #[test]
    fn keeps_whole_buckets_and_splits_the_one_that_is_cut() {
        let h = FloatHistogram {
            count: 9.0,
            sum: 100.0,
            zero_threshold: 0.001,
            zero_count: 1.0,
            positive_spans: vec![Span {
                offset: 1,
                length: 2,
            }],
            positive_buckets: vec![4.0, 4.0],
            ..FloatHistogram::default()
        };

        let below = h.keep_below(2.0);
        assert_eq!(
            (below.count, below.positive_buckets.as_slice()),
            (5.0, [4.0].as_slice())
        );

        let split = h.keep_above(8f64.sqrt());
        assert!(
            (split.count - 2.0).abs() < 1e-12,
            "half of (2,4] on a log scale"
        );

        assert_eq!(split.zero_count, 0.0);
        assert!(
            h.keep_below(100.0).equals(&h),
            "nothing cut: nothing changes, not even the sum"
        );
    }
}
