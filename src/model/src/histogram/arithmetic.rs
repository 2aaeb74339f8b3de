//! Scaling, addition and subtraction.

use super::flat::{Flat, merge, roll_up};
use super::{FloatHistogram, ResetHint, Span};

/// Why two histograms cannot be combined.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum HistogramError {
    /// One has exponential buckets and the other custom ones.
    #[error(
        "cannot apply this operation on histograms with a mix of exponential and custom bucket schemas"
    )]
    IncompatibleSchema,
}

/// What happened while two histograms were combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AddOutcome {
    /// One was marked as following a reset, the other as not: the result is marked as unknown.
    pub reset_collision: bool,
    /// Custom bounds differed; the result has only those that both had.
    pub bounds_reconciled: bool,
}

impl FloatHistogram {
    /// Multiplies all counts and the sum; a negative factor makes a gauge.
    pub fn mul(&mut self, factor: f64) {
        self.scale(|v| v * factor);
        if factor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// Divides all counts and the sum; a negative divisor makes a gauge, 0 removes all buckets.
    pub fn div(&mut self, divisor: f64) {
        self.scale(|v| v / divisor);
        if divisor == 0.0 {
            self.positive_spans.clear();
            self.positive_buckets.clear();
            self.negative_spans.clear();
            self.negative_buckets.clear();
        } else if divisor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    fn scale(&mut self, f: impl Fn(f64) -> f64) {
        self.zero_count = f(self.zero_count);
        self.count = f(self.count);
        self.sum = f(self.sum);

        for count in self
            .positive_buckets
            .iter_mut()
            .chain(&mut self.negative_buckets)
        {
            *count = f(*count);
        }
    }

    /// Adds `other`. Schemas, zero buckets and custom bounds are brought to what both can express.
    pub fn add(&mut self, other: &Self) -> Result<AddOutcome, HistogramError> {
        self.combine(other, |a, b| a + b)
    }

    /// Subtracts `other`; see [`FloatHistogram::add`]. The hint is merged as for an addition.
    pub fn sub(&mut self, other: &Self) -> Result<AddOutcome, HistogramError> {
        self.combine(other, |a, b| a - b)
    }

    fn combine(
        &mut self,
        other: &Self,
        f: impl Fn(f64, f64) -> f64,
    ) -> Result<AddOutcome, HistogramError> {
        if self.uses_custom_buckets() != other.uses_custom_buckets() {
            return Err(HistogramError::IncompatibleSchema);
        }

        let reset_collision = self.merge_hint(other.reset_hint);
        self.count = f(self.count, other.count);
        self.sum = f(self.sum, other.sum);

        let bounds_reconciled = if self.has_layout_of(other) {
            self.combine_in_place(other, f);
            false
        } else {
            self.combine_reconciled(other, f)
        };

        Ok(AddOutcome {
            reset_collision,
            bounds_reconciled,
        })
    }

    /// Combines the buckets with those of a histogram of the same layout.
    fn combine_in_place(&mut self, other: &Self, f: impl Fn(f64, f64) -> f64) {
        self.zero_count = f(self.zero_count, other.zero_count);
        for (a, b) in self
            .positive_buckets
            .iter_mut()
            .zip(&other.positive_buckets)
        {
            *a = f(*a, *b);
        }

        for (a, b) in self
            .negative_buckets
            .iter_mut()
            .zip(&other.negative_buckets)
        {
            *a = f(*a, *b);
        }
    }

    /// Brings both to one layout and combines their buckets; true if the custom bounds differed.
    fn combine_reconciled(&mut self, other: &Self, f: impl Fn(f64, f64) -> f64) -> bool {
        let mut a = Flat::of(self, |c| c);
        let mut b = Flat::of(other, |c| c);
        let bounds_reconciled = a.unify(&mut b);

        a.zero = f(a.zero, b.zero);
        merge(&mut a.positive, &b.positive, &f, |c| f(0.0, c));
        merge(&mut a.negative, &b.negative, &f, |c| f(0.0, c));
        a.store(self);

        bounds_reconciled
    }

    fn has_layout_of(&self, other: &Self) -> bool {
        self.schema == other.schema
            && self.zero_threshold == other.zero_threshold
            && self.positive_spans == other.positive_spans
            && self.negative_spans == other.negative_spans
            && self.custom_values == other.custom_values
            && self.positive_buckets.len() == other.positive_buckets.len()
            && self.negative_buckets.len() == other.negative_buckets.len()
    }

    /// Sets the hint of a sum. True if one operand follows a reset and the other does not.
    pub(super) fn merge_hint(&mut self, other: ResetHint) -> bool {
        use ResetHint::{Gauge, Unknown};

        match (self.reset_hint, other) {
            (a, b) if a == b => {}
            (Gauge, _) | (Unknown, Unknown) => {}
            (_, Gauge) => self.reset_hint = Gauge,
            (Unknown, _) => {}
            (_, Unknown) => self.reset_hint = Unknown,
            _ => {
                self.reset_hint = Unknown;
                return true;
            }
        }

        false
    }

    /// Removes empty buckets and joins spans.
    pub fn compact(&mut self) {
        if !is_compact(&self.positive_spans, &self.positive_buckets) {
            let flat: Vec<_> = self.positive().collect();
            (self.positive_spans, self.positive_buckets) = roll_up(&flat);
        }

        if !is_compact(&self.negative_spans, &self.negative_buckets) {
            let flat: Vec<_> = self.negative().collect();
            (self.negative_spans, self.negative_buckets) = roll_up(&flat);
        }
    }

    /// Merges buckets until the schema is `schema`. Custom buckets and finer schemas stay as they are.
    pub fn reduce_resolution(&mut self, schema: i32) {
        if self.uses_custom_buckets() || schema >= self.schema {
            return;
        }
        let mut flat = Flat::of(self, |c| c);
        flat.reduce(schema);
        flat.store(self);
    }

    /// True if a count or the sum is infinite.
    pub fn has_overflow(&self) -> bool {
        [self.zero_count, self.count, self.sum]
            .iter()
            .chain(&self.positive_buckets)
            .chain(&self.negative_buckets)
            .any(|v| v.is_infinite())
    }

    /// What the histogram weighs against a sample limit, in floats of 16 bytes, as Prometheus counts it.
    pub fn size_in_samples(&self) -> usize {
        let spans = self.positive_spans.len() + self.negative_spans.len();
        let floats =
            self.positive_buckets.len() + self.negative_buckets.len() + self.custom_values.len();
        (168 + 8 * (spans + floats) + 8) / 16
    }
}

/// True if no bucket is empty and no two spans could be one.
fn is_compact(spans: &[Span], counts: &[f64]) -> bool {
    counts.iter().all(|c| *c != 0.0)
        && spans
            .iter()
            .enumerate()
            .all(|(i, s)| s.length > 0 && (i == 0 || s.offset != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CUSTOM_BUCKETS_SCHEMA, Span};

    fn positive(schema: i32, offset: i32, counts: &[f64]) -> FloatHistogram {
        FloatHistogram {
            schema,
            count: counts.iter().sum(),
            sum: 1.0,
            positive_spans: vec![Span {
                offset,
                length: counts.len() as u32,
            }],
            positive_buckets: counts.to_vec(),
            ..FloatHistogram::default()
        }
    }

    fn listed(h: &FloatHistogram) -> Vec<(i32, f64)> {
        h.positive().collect()
    }

    #[test]
    fn adds_buckets_of_different_layouts_at_the_coarser_schema() {
        let mut a = positive(0, 0, &[1.0, 2.0]);
        a.add(&positive(1, 1, &[1.0, 1.0, 1.0, 1.0]))
            .expect("both exponential");
        assert_eq!(a.schema, 0);
        assert_eq!(listed(&a), [(0, 1.0), (1, 4.0), (2, 2.0)]);
        assert_eq!((a.count, a.sum), (7.0, 2.0));
    }

    #[test]
    fn widens_the_zero_bucket_over_populated_buckets() {
        let mut a = positive(0, 0, &[1.0, 2.0, 4.0]);
        a.zero_threshold = 0.25;
        a.zero_count = 1.0;

        let mut b = positive(0, 3, &[8.0]);
        b.zero_threshold = 1.5;
        b.zero_count = 16.0;
        a.add(&b).expect("both exponential");
        assert_eq!(a.zero_threshold, 2.0);
        assert_eq!(a.zero_count, 20.0);
        assert_eq!(listed(&a), [(2, 4.0), (3, 8.0)]);
    }

    #[test]
    fn subtraction_drops_buckets_that_become_empty_after_compaction() {
        let mut a = positive(0, 0, &[1.0, 2.0, 3.0]);
        a.sub(&positive(0, 0, &[1.0, 1.0, 3.0]))
            .expect("both exponential");
        a.compact();
        assert_eq!(listed(&a), [(1, 1.0)]);
    }

    #[test]
    fn custom_buckets_meet_at_shared_bounds() {
        let custom = |bounds: &[f64], counts: &[f64]| FloatHistogram {
            custom_values: bounds.to_vec(),
            ..positive(CUSTOM_BUCKETS_SCHEMA, 0, counts)
        };
        let mut a = custom(&[1.0, 2.0, 3.0], &[1.0, 1.0, 1.0, 1.0]);
        let outcome = a
            .add(&custom(&[2.0, 4.0], &[10.0, 20.0, 40.0]))
            .expect("both custom");
        assert!(outcome.bounds_reconciled);

        assert_eq!(a.custom_values, [2.0]);
        assert_eq!(listed(&a), [(0, 12.0), (1, 62.0)]);
        assert_eq!(
            a.add(&positive(0, 0, &[1.0])),
            Err(HistogramError::IncompatibleSchema)
        );
    }

    #[test]
    fn hints_merge_towards_gauge_and_report_collisions() {
        let with = |hint| FloatHistogram {
            reset_hint: hint,
            ..FloatHistogram::default()
        };
        let mut a = with(ResetHint::Reset);
        assert!(
            a.add(&with(ResetHint::NotReset))
                .expect("same schema")
                .reset_collision
        );

        assert_eq!(a.reset_hint, ResetHint::Unknown);
        a.add(&with(ResetHint::Gauge)).expect("same schema");
        assert_eq!(a.reset_hint, ResetHint::Gauge);
    }
}
