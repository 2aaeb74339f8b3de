//! Native histograms.
//!
//! The shape follows Prometheus: a schema decides the bucket bounds (exponential -4..=8, or -53 with
//! `custom_values` as upper bounds), spans say which buckets are there.

mod arithmetic;
mod bounds;
mod bucket;
mod convert;
mod display;
mod equality;
mod flat;
mod reset;
mod sum;
mod trim;
mod validate;

use std::sync::Arc;

pub use arithmetic::{AddOutcome, HistogramError};
pub use bucket::{Bucket, Buckets};
pub use display::format_float;
pub use sum::{HistogramSum, kahan_add};
pub use validate::HistogramInvalid;

/// Schema of histograms with custom bucket bounds.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// A run of consecutive buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// Gap to the previous span, or index of the first bucket for the first span.
    pub offset: i32,
    /// Number of buckets.
    pub length: u32,
}

impl Span {
    /// Says which of `spans` has a bucket whose index is not in -2^31 + 1 to 2^31 - 1, as Prometheus bounds it.
    pub fn check_reach(spans: &[Self]) -> Result<(), SpanOutOfRange> {
        let mut end = 0i64;
        for (at, span) in spans.iter().enumerate() {
            let begin = end + i64::from(span.offset);
            end = begin + i64::from(span.length);

            if begin <= i64::from(i32::MIN) {
                return Err(SpanOutOfRange {
                    number: at + 1,
                    verb: "starts",
                    index: begin,
                });
            }

            if end - 1 > i64::from(i32::MAX) {
                return Err(SpanOutOfRange {
                    number: at + 1,
                    verb: "ends",
                    index: end - 1,
                });
            }
        }

        Ok(())
    }
}

/// A span with a bucket whose index does not fit 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "span number {number} {verb} at bucket index {index}: histogram has a span whose bucket index is out of range"
)]
pub struct SpanOutOfRange {
    /// Number of the span, from 1.
    pub number: usize,
    /// Which end of it: `starts` or `ends`.
    verb: &'static str,
    /// Index of that bucket.
    pub index: i64,
}

/// What is known about a counter reset before a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ResetHint {
    /// Not known.
    #[default]
    Unknown,
    /// This sample follows a reset.
    Reset,
    /// There was no reset.
    NotReset,
    /// A gauge histogram: resets have no meaning.
    Gauge,
}

/// Histogram with integer counts; bucket counts are deltas to the previous bucket.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Histogram {
    /// What is known about resets.
    pub reset_hint: ResetHint,
    /// Resolution.
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: u64,
    /// All observations.
    pub count: u64,
    /// Sum of the observations; the stale NaN marks a stale sample.
    pub sum: f64,
    /// Layout of positive buckets.
    pub positive_spans: Vec<Span>,
    /// Deltas of positive buckets.
    pub positive_buckets: Vec<i64>,
    /// Layout of negative buckets.
    pub negative_spans: Vec<Span>,
    /// Deltas of negative buckets.
    pub negative_buckets: Vec<i64>,
    /// Upper bounds for [`CUSTOM_BUCKETS_SCHEMA`].
    pub custom_values: Vec<f64>,
}

/// Histogram with float counts; bucket counts are absolute. Everything in queries is of this form.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct FloatHistogram {
    /// What is known about resets.
    pub reset_hint: ResetHint,
    /// Resolution.
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// Sum of the observations; the stale NaN marks a stale sample.
    pub sum: f64,
    /// Layout of positive buckets.
    pub positive_spans: Vec<Span>,
    /// Counts of positive buckets.
    pub positive_buckets: Vec<f64>,
    /// Layout of negative buckets.
    pub negative_spans: Vec<Span>,
    /// Counts of negative buckets.
    pub negative_buckets: Vec<f64>,
    /// Upper bounds for [`CUSTOM_BUCKETS_SCHEMA`].
    pub custom_values: Vec<f64>,
}

/// Either form, as it was sent and is stored.
#[derive(Clone, Debug, PartialEq)]
pub enum AnyHistogram {
    /// Integer counts.
    Int(Arc<Histogram>),
    /// Float counts.
    Float(Arc<FloatHistogram>),
}

/// One histogram sample.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSample {
    /// Milliseconds since the epoch.
    pub t: i64,
    /// Start timestamp (ms), 0 when unset.
    pub st: i64,
    /// The histogram.
    pub h: AnyHistogram,
}

#[cfg(test)]
mod tests;
