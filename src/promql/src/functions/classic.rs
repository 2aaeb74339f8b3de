//! Quantiles and fractions of classic histograms (cumulative buckets).

/// A cumulative bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ClassicBucket {
    pub(crate) upper: f64,
    /// Observations up to `upper`.
    pub(crate) count: f64,
}

/// Bounds between which counts had to be raised, and by how much at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Forced {
    pub(crate) bucket_min: f64,
    pub(crate) bucket_max: f64,
    pub(crate) diff_max: f64,
}

/// Relative differences up to this are rounding errors.
const TOLERANCE: f64 = 1e-12;

/// True if two counts differ by no more than rounding.
fn almost_equal(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }

    let sum = a.abs() + b.abs();
    let diff = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return diff < TOLERANCE * f64::MIN_POSITIVE;
    }

    diff / sum.min(f64::MAX) < TOLERANCE
}

/// Merges buckets with the same bound. They must be sorted by bound.
fn coalesce(buckets: &mut Vec<ClassicBucket>) {
    buckets.dedup_by(|b, a| {
        let same = a.upper == b.upper;
        if same {
            a.count += b.count;
        }
        same
    });
}

/// Takes back rounding errors, then raises counts that are below their predecessor.
fn make_monotonic(buckets: &mut [ClassicBucket]) -> Option<Forced> {
    let mut forced: Option<Forced> = None;

    let mut prev = buckets.first()?.count;
    for bucket in buckets.iter_mut().skip(1) {
        let current = bucket.count;
        if current == prev {
            continue;
        }

        if almost_equal(prev, current) {
            bucket.count = prev;
        } else if current < prev {
            bucket.count = prev;
            let f = forced.get_or_insert(Forced {
                bucket_min: bucket.upper,
                bucket_max: bucket.upper,
                diff_max: 0.0,
            });
            f.bucket_min = f.bucket_min.min(bucket.upper);
            f.bucket_max = f.bucket_max.max(bucket.upper);
            f.diff_max = f.diff_max.max(prev - current);
        } else {
            prev = current;
        }
    }

    forced
}

/// The `q` quantile, linear inside a bucket; what had to be mended. Buckets must be sorted by bound and not be empty.
pub(crate) fn quantile(q: f64, buckets: &mut Vec<ClassicBucket>) -> (f64, Option<Forced>) {
    if let Some(extreme) = extreme_quantile(q) {
        return (extreme, None);
    }

    if buckets.last().is_none_or(|b| b.upper != f64::INFINITY) {
        return (f64::NAN, None);
    }

    coalesce(buckets);
    let forced = make_monotonic(buckets);
    if buckets.len() < 2 {
        return (f64::NAN, forced);
    }

    let observations = buckets[buckets.len() - 1].count;
    if observations == 0.0 {
        return (f64::NAN, forced);
    }

    (at_rank(q * observations, buckets), forced)
}

/// The value of a quantile that is none, or outside of 0 to 1.
pub(super) fn extreme_quantile(q: f64) -> Option<f64> {
    if q.is_nan() {
        Some(f64::NAN)
    } else if q < 0.0 {
        Some(f64::NEG_INFINITY)
    } else if q > 1.0 {
        Some(f64::INFINITY)
    } else {
        None
    }
}

/// The value below which so many observations are, linear inside a bucket.
fn at_rank(rank: f64, buckets: &[ClassicBucket]) -> f64 {
    let last = buckets.len() - 1;
    let at = buckets[..last]
        .iter()
        .position(|b| b.count >= rank)
        .unwrap_or(last);
    if at == last {
        return buckets[last - 1].upper;
    }

    if at == 0 && buckets[0].upper <= 0.0 {
        return buckets[0].upper;
    }

    let (start, below) = if at > 0 {
        (buckets[at - 1].upper, buckets[at - 1].count)
    } else {
        (0.0, 0.0)
    };

    let in_bucket = buckets[at].count - below;
    start + (buckets[at].upper - start) * ((rank - below) / in_bucket)
}

/// The part of the observations between two values. Buckets must be sorted by bound and not be empty.
pub(crate) fn fraction(lower: f64, upper: f64, buckets: &mut Vec<ClassicBucket>) -> f64 {
    if buckets.last().is_none_or(|b| b.upper != f64::INFINITY) {
        return f64::NAN;
    }

    coalesce(buckets);
    let count = buckets.last().map_or(0.0, |b| b.count);
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }

    let below_upper = observations_below(upper, buckets);
    let below_lower = observations_below(lower, buckets);
    (below_upper.min(count) - below_lower.min(count)) / count
}

/// How many observations are below a value, linear inside a bucket.
fn observations_below(v: f64, buckets: &[ClassicBucket]) -> f64 {
    // Values are taken to be positive if the first bound is.
    let mut bucket_lower = if buckets[0].upper <= 0.0 {
        f64::NEG_INFINITY
    } else {
        0.0
    };

    let mut rank = 0.0;
    for b in buckets.iter() {
        if bucket_lower >= v {
            return rank;
        }
        if b.upper > v {
            return if bucket_lower == f64::NEG_INFINITY {
                b.count
            } else {
                rank + (b.count - rank) * (v - bucket_lower) / (b.upper - bucket_lower)
            };
        }
        rank = b.count;
        bucket_lower = b.upper;
    }

    rank
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(list: &[(f64, f64)]) -> Vec<ClassicBucket> {
        list.iter()
            .map(|(upper, count)| ClassicBucket {
                upper: *upper,
                count: *count,
            })
            .collect()
    }

    #[test]
    fn quantiles_are_linear_inside_buckets() {
        let b = || buckets(&[(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 25.0)]);
        assert_eq!(quantile(0.2, &mut b()).0, 0.5);
        assert_eq!(quantile(0.6, &mut b()).0, 1.5);
        assert_eq!(quantile(0.99, &mut b()).0, 2.0);
        assert!(quantile(0.5, &mut buckets(&[(1.0, 1.0)])).0.is_nan());
        assert_eq!(fraction(0.5, 1.5, &mut b()), 0.4);
    }

    #[test]
    fn falling_counts_are_raised_and_reported_but_rounding_errors_are_not() {
        let mut b = buckets(&[(1.0, 10.0), (2.0, 8.0), (f64::INFINITY, 20.0)]);
        let (_, forced) = quantile(0.5, &mut b);
        assert_eq!(
            forced,
            Some(Forced {
                bucket_min: 2.0,
                bucket_max: 2.0,
                diff_max: 2.0
            })
        );

        let mut b = buckets(&[(1.0, 10.0), (2.0, 10.0 - 1e-13), (f64::INFINITY, 20.0)]);
        assert_eq!(quantile(0.5, &mut b).1, None);
    }
}
