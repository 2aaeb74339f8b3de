//! Functions of native histograms.

use trireme_model::{Bucket, FloatHistogram, kahan_add};

use super::Notice;
use crate::annotations as notes;

/// A function of one histogram.
pub(crate) type HistogramFunction = fn(&FloatHistogram) -> f64;

/// Finds a function that is applied to each histogram of a vector.
pub(crate) fn histogram_function(name: &str) -> Option<HistogramFunction> {
    Some(match name {
        "histogram_count" => |h| h.count,
        "histogram_sum" => |h| h.sum,
        "histogram_avg" => |h| h.sum / h.count,
        "histogram_stddev" => |h| variance(h).sqrt(),
        "histogram_stdvar" => variance,
        _ => return None,
    })
}

/// Estimated variance, each bucket's observations taken to be at its middle (geometric for exponential buckets).
fn variance(h: &FloatHistogram) -> f64 {
    let mean = h.sum / h.count;
    let mut sum = 0.0;

    let mut compensation = 0.0;
    for bucket in h.buckets().filter(|b| b.count != 0.0) {
        let middle = if h.uses_custom_buckets() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
        };
        let delta = middle - mean;
        (sum, compensation) = kahan_add(bucket.count * delta * delta, sum, compensation);
    }

    (sum + compensation) / h.count
}

/// A zero bucket reaches only to the side that has observations, if it is only one.
fn one_sided(h: &FloatHistogram, bucket: &mut Bucket) {
    let negative = !h.negative_buckets.is_empty();
    let positive = !h.positive_buckets.is_empty();
    if positive && !negative {
        bucket.lower = 0.0;
    } else if negative && !positive {
        bucket.upper = 0.0;
    }
}

/// The `q` quantile: exponential inside exponential buckets, linear inside custom ones and the zero bucket.
pub(crate) fn quantile(q: f64, h: &FloatHistogram, notice: &mut Notice<'_>) -> f64 {
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    if h.count == 0.0 || q.is_nan() {
        return f64::NAN;
    }

    // NaN observations are in the count but in no bucket, as if above all others: then only counting upwards is right.
    let upwards = h.sum.is_nan() || q < 0.5;
    let mut rank = if upwards {
        q * h.count
    } else {
        (1.0 - q) * h.count
    };

    let mut up = h.buckets();
    let mut down = h.buckets_reversed();
    let mut next = || if upwards { up.next() } else { down.next() };
    let mut count = 0.0;

    let mut found = None;
    while let Some(bucket) = next() {
        if bucket.count == 0.0 {
            continue;
        }
        count += bucket.count;
        found = Some(bucket);
        if count >= rank {
            break;
        }
    }

    let Some(mut bucket) = found else {
        if h.sum.is_nan() {
            notice.add(notes::quantile_nan_result);
        }
        return f64::NAN;
    };

    if h.uses_custom_buckets() {
        if bucket.upper <= 0.0 && bucket.lower == f64::NEG_INFINITY {
            return bucket.upper;
        }
        if bucket.upper == f64::INFINITY && bucket.lower != f64::NEG_INFINITY {
            return bucket.lower;
        }
        bucket.lower = known_lower(&bucket);
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        one_sided(h, &mut bucket);
    }

    let in_buckets = count;
    // Rounding can make the sum of the buckets greater than the count.
    count = f64::min(count, h.count);

    if count < rank {
        if h.sum.is_nan() {
            notice.add(notes::quantile_nan_result);
            return f64::NAN;
        }
        return bucket.upper;
    }

    rank = if upwards {
        rank - (count - bucket.count)
    } else {
        count - rank
    };

    if h.sum.is_nan() {
        let all = in_buckets + std::iter::from_fn(next).map(|b| b.count).sum::<f64>();
        if all < h.count {
            notice.add(notes::quantile_nan_skew);
        }
    }

    inside(&bucket, rank / bucket.count, h.uses_custom_buckets())
}

/// The lower bound of a custom bucket; the first one is taken to start at 0.
fn known_lower(bucket: &Bucket) -> f64 {
    if bucket.lower == f64::NEG_INFINITY {
        0.0
    } else {
        bucket.lower
    }
}

/// The value below which a fraction of a bucket's observations is.
fn inside(b: &Bucket, fraction: f64, linear: bool) -> f64 {
    if linear || (b.lower <= 0.0 && b.upper >= 0.0) {
        return b.lower + (b.upper - b.lower) * fraction;
    }

    let lower = b.lower.abs().log2();

    let upper = b.upper.abs().log2();
    if b.lower > 0.0 {
        (lower + (upper - lower) * fraction).exp2()
    } else {
        -(upper + (lower - upper) * (1.0 - fraction)).exp2()
    }
}

/// The part of the observations between two values.
pub(crate) fn fraction(lower: f64, upper: f64, h: &FloatHistogram, notice: &mut Notice<'_>) -> f64 {
    if h.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }

    let mut count = h.count;
    if h.sum.is_nan() {
        // NaN observations are in no bucket and so in no fraction.
        count = h.buckets().map(|b| b.count).sum();
        if count < h.count {
            notice.add(notes::fraction_nan);
        }
    }

    let below_upper = rank_of(upper, h).map_or(count, |rank| f64::min(rank, count));
    let below_lower = rank_of(lower, h).map_or(count, |rank| f64::min(rank, count));
    (below_upper - below_lower) / h.count
}

/// Number of observations below `v`; `None` if `v` is above all buckets.
fn rank_of(v: f64, h: &FloatHistogram) -> Option<f64> {
    let mut rank = 0.0;
    for mut bucket in h.buckets() {
        let custom = h.uses_custom_buckets();

        // Custom buckets have none around zero; their first one is taken to start there if it can.
        let zero = !custom && bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if zero {
            one_sided(h, &mut bucket);
        } else if custom && bucket.lower == f64::NEG_INFINITY && bucket.upper > 0.0 {
            bucket.lower = 0.0;
        }

        if bucket.lower >= v {
            return Some(rank);
        }

        if bucket.upper > v {
            return Some(if custom || zero {
                // Nothing is known about the spread below the first bound: all of it counts.
                if bucket.lower == f64::NEG_INFINITY {
                    bucket.count
                } else {
                    rank + bucket.count * (v - bucket.lower) / (bucket.upper - bucket.lower)
                }
            } else {
                rank + bucket.count * exponential_part(&bucket, v)
            });
        }

        rank += bucket.count;
    }

    None
}

/// Which part of an exponential bucket is below `v`.
fn exponential_part(bucket: &Bucket, v: f64) -> f64 {
    let lower = bucket.lower.abs().log2();
    let upper = bucket.upper.abs().log2();
    let at = v.abs().log2();
    if v > 0.0 {
        (at - lower) / (upper - lower)
    } else {
        1.0 - (at - upper) / (lower - upper)
    }
}

#[cfg(test)]
mod tests {
    use trireme_model::{Labels, Span};

    use super::*;
    use crate::annotations::Notes;
    use crate::ast::PosRange;

    #[test]
    fn quantiles_are_exponential_inside_exponential_buckets() {
        let h = FloatHistogram {
            count: 4.0,
            sum: 10.0,
            positive_spans: vec![Span {
                offset: 1,
                length: 2,
            }],
            positive_buckets: vec![2.0, 2.0],
            ..FloatHistogram::default()
        };

        let labels = Labels::empty();
        let mut notes = Notes::default();
        let mut notice = Notice {
            labels: &labels,
            pos: PosRange::default(),
            notes: &mut notes,
        };

        assert!((quantile(0.25, &h, &mut notice) - 2f64.sqrt()).abs() < 1e-12);
        assert!((quantile(0.75, &h, &mut notice) - 8f64.sqrt()).abs() < 1e-12);
        assert!((fraction(1.0, 8f64.sqrt(), &h, &mut notice) - 0.75).abs() < 1e-12);
        assert!(notes.is_empty());
    }
}
