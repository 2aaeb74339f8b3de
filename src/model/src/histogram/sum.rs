//! Sums of many histograms with compensated rounding errors.

use super::flat::{Count, Flat, merge};
use super::{AddOutcome, FloatHistogram, HistogramError, ResetHint};

/// One step of Neumaier's improved Kahan summation: adds `v` to `sum` and its rounding error to `compensation`.
#[inline]
pub fn kahan_add(v: f64, sum: f64, compensation: f64) -> (f64, f64) {
    let total = sum + v;
    let compensation = if total.is_infinite() {
        0.0
    } else if sum.abs() >= v.abs() {
        compensation + ((sum - total) + v)
    } else {
        compensation + ((v - total) + sum)
    };

    (total, compensation)
}

/// A sum and its rounding error.
#[derive(Clone, Copy, Debug, Default)]
struct Exact {
    sum: f64,
    compensation: f64,
}

impl Exact {
    fn of(v: f64) -> Self {
        Self {
            sum: v,
            compensation: 0.0,
        }
    }

    fn add(self, v: f64) -> Self {
        let (sum, compensation) = kahan_add(v, self.sum, self.compensation);
        Self { sum, compensation }
    }

    fn scale(self, f: f64) -> Self {
        Self {
            sum: self.sum * f,
            compensation: self.compensation * f,
        }
    }

    fn total(self) -> f64 {
        self.sum + self.compensation
    }
}

impl Count for Exact {
    fn plus(self, other: Self) -> Self {
        let added = self.add(other.sum);
        Self {
            compensation: added.compensation + other.compensation,
            ..added
        }
    }

    fn is_populated(self) -> bool {
        self.sum != 0.0 || self.compensation != 0.0
    }
}

/// A running sum of histograms.
#[derive(Clone, Debug)]
pub struct HistogramSum {
    hint: ResetHint,
    count: Exact,
    sum: Exact,
    flat: Flat<Exact>,
}

impl HistogramSum {
    /// A sum of one histogram.
    pub fn new(h: &FloatHistogram) -> Self {
        Self {
            hint: h.reset_hint,
            count: Exact::of(h.count),
            sum: Exact::of(h.sum),
            flat: Flat::of(h, Exact::of),
        }
    }

    /// Adds another histogram.
    pub fn add(&mut self, h: &FloatHistogram) -> Result<AddOutcome, HistogramError> {
        if self.flat.is_custom() != h.uses_custom_buckets() {
            return Err(HistogramError::IncompatibleSchema);
        }

        let mut hint = FloatHistogram {
            reset_hint: self.hint,
            ..FloatHistogram::default()
        };
        let reset_collision = hint.merge_hint(h.reset_hint);

        self.hint = hint.reset_hint;
        self.count = self.count.add(h.count);
        self.sum = self.sum.add(h.sum);

        let bounds_reconciled = if self.flat.has_layout_of(h) {
            self.add_in_place(h);
            false
        } else {
            self.add_reconciled(h)
        };

        Ok(AddOutcome {
            reset_collision,
            bounds_reconciled,
        })
    }

    /// Adds the buckets of a histogram of the same layout.
    fn add_in_place(&mut self, h: &FloatHistogram) {
        self.flat.zero = self.flat.zero.add(h.zero_count);
        let positive = self.flat.positive.iter_mut().zip(h.positive());
        positive.for_each(|(sum, (_, count))| sum.1 = sum.1.add(count));
        let negative = self.flat.negative.iter_mut().zip(h.negative());
        negative.for_each(|(sum, (_, count))| sum.1 = sum.1.add(count));
    }

    /// Brings both to one layout and adds the buckets; true if the custom bounds differed.
    fn add_reconciled(&mut self, h: &FloatHistogram) -> bool {
        let mut other = Flat::of(h, |c| c);
        let bounds_reconciled = self.flat.unify(&mut other);
        self.flat.zero = self.flat.zero.add(other.zero);
        merge(
            &mut self.flat.positive,
            &other.positive,
            Exact::add,
            Exact::of,
        );
        merge(
            &mut self.flat.negative,
            &other.negative,
            Exact::add,
            Exact::of,
        );

        bounds_reconciled
    }

    /// Multiplies everything by a positive factor.
    pub fn scale(&mut self, factor: f64) {
        self.each(|v| v.scale(factor));
    }

    fn each(&mut self, f: impl Fn(Exact) -> Exact) {
        self.count = f(self.count);
        self.sum = f(self.sum);
        self.flat.zero = f(self.flat.zero);
        for (_, count) in self.flat.positive.iter_mut().chain(&mut self.flat.negative) {
            *count = f(*count);
        }
    }

    /// True if a count or the sum has become infinite.
    pub fn has_overflow(&self) -> bool {
        [self.count, self.sum, self.flat.zero]
            .iter()
            .chain(self.flat.positive.iter().map(|(_, c)| c))
            .chain(self.flat.negative.iter().map(|(_, c)| c))
            .any(|v| v.sum.is_infinite())
    }

    /// The sum so far, compacted.
    pub fn total(&self) -> FloatHistogram {
        self.of_each(Exact::total)
    }

    /// The rounded sum, and what rounding took from it: adding both to another sum loses nothing.
    pub fn parts(&self) -> [FloatHistogram; 2] {
        [self.of_each(|v| v.sum), self.of_each(|v| v.compensation)]
    }

    fn of_each(&self, f: impl Fn(Exact) -> f64) -> FloatHistogram {
        let mut out = FloatHistogram {
            reset_hint: self.hint,
            count: f(self.count),
            sum: f(self.sum),
            ..FloatHistogram::default()
        };

        Flat {
            schema: self.flat.schema,
            zero_threshold: self.flat.zero_threshold,
            zero: f(self.flat.zero),
            positive: each_count(&self.flat.positive, &f),
            negative: each_count(&self.flat.negative, &f),
            custom_values: self.flat.custom_values.clone(),
        }
        .store(&mut out);

        out
    }
}

fn each_count(buckets: &[(i32, Exact)], f: impl Fn(Exact) -> f64) -> Vec<(i32, f64)> {
    buckets.iter().map(|(i, count)| (*i, f(*count))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Span;

    #[test]
    fn small_terms_survive_large_ones() {
        let h = |v: f64| FloatHistogram {
            count: v,
            sum: v,
            positive_spans: vec![Span {
                offset: 0,
                length: 1,
            }],
            positive_buckets: vec![v],
            ..FloatHistogram::default()
        };

        let mut sum = HistogramSum::new(&h(1.0));
        for v in [1e100, 1.0, -1e100] {
            sum.add(&h(v)).expect("same schema");
        }

        let total = sum.total();
        assert_eq!(
            (total.count, total.sum, total.positive_buckets[0]),
            (2.0, 2.0, 2.0)
        );

        assert!(!sum.has_overflow());
    }
}
