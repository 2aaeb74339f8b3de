//! Histograms of either kind taken apart into layout and numbers.

use std::sync::Arc;

use trireme_model::{
    AnyHistogram, CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Histogram, ResetHint, Span, is_stale,
};

use super::form::{Float, Form, Int};
use super::layout::{Layout, bucket_count};
use crate::ChunkError;

/// One histogram: what it shares with its chunk, and its own numbers.
#[derive(Clone, Debug)]
pub(super) struct Parts<F: Form> {
    pub(super) hint: ResetHint,
    pub(super) layout: Layout,
    pub(super) count: F::Num,
    pub(super) zero_count: F::Num,
    pub(super) sum: f64,
    pub(super) positive: Vec<F::Num>,
    pub(super) negative: Vec<F::Num>,
}

impl<F: Form> Parts<F> {
    pub(super) fn is_stale(&self) -> bool {
        is_stale(self.sum)
    }

    /// A stale marker, of which only the sum counts.
    pub(super) fn stale(sum: f64) -> Self {
        Self {
            hint: ResetHint::Unknown,
            layout: Layout::default(),
            count: F::Num::default(),
            zero_count: F::Num::default(),
            sum,
            positive: Vec::new(),
            negative: Vec::new(),
        }
    }

    /// Memory it takes, roughly.
    pub(super) fn bytes(&self) -> usize {
        let layout =
            self.layout.positive.len() + self.layout.negative.len() + self.layout.custom.len();
        200 + 8 * (layout + self.positive.len() + self.negative.len())
    }

    /// Refuses what the format cannot hold, and empties a stale sample as Prometheus does.
    fn checked(self) -> Result<Self, ChunkError> {
        if self.is_stale() {
            return Ok(Self {
                hint: self.hint,
                ..Self::stale(self.sum)
            });
        }

        let layout = &self.layout;
        layout.check().map_err(ChunkError::BadHistogram)?;

        let counts = [
            (&layout.positive, self.positive.len()),
            (&layout.negative, self.negative.len()),
        ];

        if counts
            .iter()
            .any(|(spans, buckets)| bucket_count(spans) != *buckets as u64)
        {
            let what = "spans and buckets differ in number";
            return Err(ChunkError::BadHistogram(what));
        }

        Ok(self)
    }
}

fn layout(h: (i32, f64, &[Span], &[Span], &[f64])) -> Layout {
    let (schema, zero_threshold, positive, negative, custom) = h;
    let custom = if schema == CUSTOM_BUCKETS_SCHEMA {
        custom.to_vec()
    } else {
        Vec::new()
    };

    Layout {
        schema,
        zero_threshold,
        positive: positive.to_vec(),
        negative: negative.to_vec(),
        custom,
    }
}

impl Parts<Int> {
    pub(super) fn of_int(h: &Histogram) -> Result<Self, ChunkError> {
        let shape = (
            h.schema,
            h.zero_threshold,
            &h.positive_spans[..],
            &h.negative_spans[..],
            &h.custom_values[..],
        );
        Self {
            hint: h.reset_hint,
            layout: layout(shape),
            count: h.count as i64,
            zero_count: h.zero_count as i64,
            sum: h.sum,
            positive: h.positive_buckets.clone(),
            negative: h.negative_buckets.clone(),
        }
        .checked()
    }
}

impl Parts<Float> {
    pub(super) fn of_float(h: &FloatHistogram) -> Result<Self, ChunkError> {
        let shape = (
            h.schema,
            h.zero_threshold,
            &h.positive_spans[..],
            &h.negative_spans[..],
            &h.custom_values[..],
        );
        Self {
            hint: h.reset_hint,
            layout: layout(shape),
            count: h.count,
            zero_count: h.zero_count,
            sum: h.sum,
            positive: h.positive_buckets.clone(),
            negative: h.negative_buckets.clone(),
        }
        .checked()
    }
}

/// A kind of histogram that can be put together again.
pub(super) trait Assemble: Form {
    fn assemble(parts: Parts<Self>) -> AnyHistogram;
}

impl Assemble for Int {
    fn assemble(p: Parts<Self>) -> AnyHistogram {
        AnyHistogram::Int(Arc::new(Histogram {
            reset_hint: p.hint,
            schema: p.layout.schema,
            zero_threshold: p.layout.zero_threshold,
            zero_count: p.zero_count as u64,
            count: p.count as u64,
            sum: p.sum,
            positive_spans: p.layout.positive,
            positive_buckets: p.positive,
            negative_spans: p.layout.negative,
            negative_buckets: p.negative,
            custom_values: p.layout.custom,
        }))
    }
}

impl Assemble for Float {
    fn assemble(p: Parts<Self>) -> AnyHistogram {
        AnyHistogram::Float(Arc::new(FloatHistogram {
            reset_hint: p.hint,
            schema: p.layout.schema,
            zero_threshold: p.layout.zero_threshold,
            zero_count: p.zero_count,
            count: p.count,
            sum: p.sum,
            positive_spans: p.layout.positive,
            positive_buckets: p.positive,
            negative_spans: p.layout.negative,
            negative_buckets: p.negative,
            custom_values: p.layout.custom,
        }))
    }
}
