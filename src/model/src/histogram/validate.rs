//! Checks of histograms that come from outside.

use super::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Histogram, Span, SpanOutOfRange};

/// What is wrong with a histogram.
#[derive(Debug, thiserror::Error, Clone, PartialEq)]
pub enum HistogramInvalid {
    /// Not -4..=8 and not the custom schema.
    #[error("histogram has an invalid schema {0}")]
    Schema(i32),
    /// A bucket index over 32 bits.
    #[error(transparent)]
    SpanRange(#[from] SpanOutOfRange),
    /// Spans that overlap.
    #[error("span number {0} has a negative offset")]
    SpanOffset(usize),
    /// Spans and counts do not fit.
    #[error("spans need {wanted} buckets, have {found} buckets")]
    BucketNumber {
        /// By the spans.
        wanted: u64,
        /// By the counts.
        found: usize,
    },
    /// A count below zero.
    #[error("bucket number {0} has a negative count")]
    NegativeBucket(usize),
    /// The total does not fit the buckets.
    #[error("the buckets hold {in_buckets} observations, but the count field is {count}")]
    Count {
        /// Sum of the buckets.
        in_buckets: f64,
        /// The count field.
        count: f64,
    },
    /// A negative or NaN total or zero bucket.
    #[error("the histogram has a negative count")]
    NegativeCount,
    /// Custom bounds that do not rise, or are NaN or infinite.
    #[error("custom bounds must rise and be finite")]
    CustomBounds,
    /// Custom buckets together with a zero bucket or negative buckets, or bounds in an exponential schema.
    #[error("custom and exponential buckets do not go together")]
    MixedLayout,
}

impl FloatHistogram {
    /// Checks that the parts fit together.
    pub fn validate(&self) -> Result<(), HistogramInvalid> {
        check_layout(
            self.schema,
            &self.custom_values,
            self.zero_count != 0.0 || !self.negative_spans.is_empty(),
        )?;

        let positive = check_float_buckets(&self.positive_spans, &self.positive_buckets)?;
        let negative = check_float_buckets(&self.negative_spans, &self.negative_buckets)?;
        check_custom_reach(self.schema, &self.positive_spans, &self.custom_values)?;

        if self.zero_count < 0.0 || self.count < 0.0 {
            return Err(HistogramInvalid::NegativeCount);
        }

        let in_buckets = positive + negative + self.zero_count;
        // Float counts may differ by rounding, and NaN observations count without being in a bucket.
        if in_buckets > self.count * (1.0 + 1e-9) + 1e-9 {
            return Err(HistogramInvalid::Count {
                in_buckets,
                count: self.count,
            });
        }

        Ok(())
    }
}

impl Histogram {
    /// Checks that the parts fit together.
    pub fn validate(&self) -> Result<(), HistogramInvalid> {
        check_layout(
            self.schema,
            &self.custom_values,
            self.zero_count != 0 || !self.negative_spans.is_empty(),
        )?;

        let positive = check_int_buckets(&self.positive_spans, &self.positive_buckets)?;
        let negative = check_int_buckets(&self.negative_spans, &self.negative_buckets)?;
        check_custom_reach(self.schema, &self.positive_spans, &self.custom_values)?;

        let in_buckets = positive
            .saturating_add(negative)
            .saturating_add(self.zero_count);
        let fits = if self.sum.is_nan() {
            in_buckets <= self.count
        } else {
            in_buckets == self.count
        };

        if fits {
            return Ok(());
        }

        Err(HistogramInvalid::Count {
            in_buckets: in_buckets as f64,
            count: self.count as f64,
        })
    }
}

fn check_layout(
    schema: i32,
    custom_values: &[f64],
    has_others: bool,
) -> Result<(), HistogramInvalid> {
    if schema == CUSTOM_BUCKETS_SCHEMA {
        if has_others {
            return Err(HistogramInvalid::MixedLayout);
        }
        let rises = custom_values.windows(2).all(|w| w[0] < w[1]);
        let finite = custom_values.iter().all(|v| v.is_finite());
        return if rises && finite {
            Ok(())
        } else {
            Err(HistogramInvalid::CustomBounds)
        };
    }

    if !(-4..=8).contains(&schema) {
        return Err(HistogramInvalid::Schema(schema));
    }

    if custom_values.is_empty() {
        Ok(())
    } else {
        Err(HistogramInvalid::MixedLayout)
    }
}

fn check_custom_reach(schema: i32, spans: &[Span], bounds: &[f64]) -> Result<(), HistogramInvalid> {
    let end: i64 = spans
        .iter()
        .map(|s| i64::from(s.offset) + i64::from(s.length))
        .sum();
    let starts_below = spans.first().is_some_and(|s| s.offset < 0);
    if schema == CUSTOM_BUCKETS_SCHEMA && (starts_below || end > bounds.len() as i64 + 1) {
        return Err(HistogramInvalid::CustomBounds);
    }

    Ok(())
}

fn check_spans(spans: &[Span], buckets: usize) -> Result<(), HistogramInvalid> {
    if let Some(at) = spans.iter().skip(1).position(|s| s.offset < 0) {
        return Err(HistogramInvalid::SpanOffset(at + 2));
    }

    Span::check_reach(spans)?;

    let wanted: u64 = spans.iter().map(|s| u64::from(s.length)).sum();
    if wanted == buckets as u64 {
        Ok(())
    } else {
        Err(HistogramInvalid::BucketNumber {
            wanted,
            found: buckets,
        })
    }
}

fn check_float_buckets(spans: &[Span], counts: &[f64]) -> Result<f64, HistogramInvalid> {
    check_spans(spans, counts.len())?;
    if let Some(at) = counts.iter().position(|c| *c < 0.0) {
        return Err(HistogramInvalid::NegativeBucket(at + 1));
    }
    Ok(counts.iter().sum())
}

fn check_int_buckets(spans: &[Span], deltas: &[i64]) -> Result<u64, HistogramInvalid> {
    check_spans(spans, deltas.len())?;
    let mut count = 0i64;

    let mut total = 0u64;
    for (at, delta) in deltas.iter().enumerate() {
        count = count.wrapping_add(*delta);
        let Ok(absolute) = u64::try_from(count) else {
            return Err(HistogramInvalid::NegativeBucket(at + 1));
        };
        total = total.saturating_add(absolute);
    }

    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_indexes_reach_from_one_above_the_least_to_the_greatest_of_32_bits() {
        let check = |spans: &[(i32, u32)]| {
            let spans: Vec<Span> = spans
                .iter()
                .map(|(offset, length)| Span {
                    offset: *offset,
                    length: *length,
                })
                .collect();
            Span::check_reach(&spans).map_err(|e| e.to_string())
        };

        let why = ": histogram has a span whose bucket index is out of range";
        let at_end = |n: u32, verb: &str, index: i64| {
            Err(format!(
                "span number {n} {verb} at bucket index {index}{why}"
            ))
        };

        assert_eq!(check(&[(i32::MAX, 1)]), Ok(()));
        assert_eq!(check(&[(i32::MAX - 1, 2)]), Ok(()));
        assert_eq!(check(&[(i32::MIN + 1, 1)]), Ok(()));
        assert_eq!(check(&[(i32::MIN, 1)]), at_end(1, "starts", -2_147_483_648));
        assert_eq!(check(&[(i32::MAX, 2)]), at_end(1, "ends", 2_147_483_648));
        assert_eq!(
            check(&[(i32::MAX, 1), (0, 1)]),
            at_end(2, "ends", 2_147_483_648)
        );
        assert_eq!(
            check(&[(i32::MAX - 1, 1), (1, 1)]),
            at_end(2, "ends", 2_147_483_648)
        );
    }

    #[test]
    fn refuses_parts_that_do_not_fit() {
        let good = Histogram {
            count: 3,
            positive_spans: vec![Span {
                offset: 0,
                length: 2,
            }],
            positive_buckets: vec![1, 1],
            ..Histogram::default()
        };

        assert_eq!(good.validate(), Ok(()));
        assert_eq!(good.to_float().validate(), Ok(()));
        let cases: [(Histogram, HistogramInvalid); 4] = [
            (
                Histogram {
                    schema: 9,
                    ..good.clone()
                },
                HistogramInvalid::Schema(9),
            ),
            (
                Histogram {
                    positive_buckets: vec![1],
                    ..good.clone()
                },
                HistogramInvalid::BucketNumber {
                    wanted: 2,
                    found: 1,
                },
            ),
            (
                Histogram {
                    positive_buckets: vec![1, -2],
                    ..good.clone()
                },
                HistogramInvalid::NegativeBucket(2),
            ),
            (
                Histogram {
                    count: 4,
                    ..good.clone()
                },
                HistogramInvalid::Count {
                    in_buckets: 3.0,
                    count: 4.0,
                },
            ),
        ];

        for (h, error) in cases {
            assert_eq!(h.validate(), Err(error));
        }
    }
}
