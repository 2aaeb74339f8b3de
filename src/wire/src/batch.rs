//! The one internal form of a write request, whatever protocol brought it.
//!
//! A batch borrows nothing and copies little: for remote write 1.0 `label_bytes` *is* the inflated body and each
//! series points into it. Series of a request are routed to shards by index, so that a batch is shared, not split.

use std::ops::Range;

use trireme_model::{Exemplar, FloatSample, MetricMetadata, SeriesKey};

/// One write request of one tenant.
#[derive(Debug, Default)]
pub struct Batch {
    /// Holds every series' label bytes (the wire form of [`trireme_model::Labels`], perhaps not canonical).
    pub label_bytes: Vec<u8>,
    /// Series in request order; a label set may occur more than once.
    pub series: Vec<BatchSeries>,
    /// Float samples of all series.
    pub samples: Vec<FloatSample>,
    /// Start timestamps (ms) parallel to `samples`, or empty when the request has none; 0 means unset.
    pub start_timestamps: Vec<i64>,
    /// Native histogram samples of all series.
    pub histograms: Vec<trireme_model::HistogramSample>,
    /// Exemplars of all series.
    pub exemplars: Vec<Exemplar>,
    /// Metadata by metric family name.
    pub metadata: Vec<(String, MetricMetadata)>,
}

/// One series of a batch; every range indexes into the batch's vectors.
#[derive(Debug, Clone)]
pub struct BatchSeries {
    /// Hash of the label bytes as they came. For a sender that sorts its labels it is the series' identity;
    /// for any other it is an alias that the owning shard resolves once.
    pub key: SeriesKey,
    /// Bytes in `label_bytes`.
    pub labels: Range<u32>,
    /// Entries in `samples`.
    pub samples: Range<u32>,
    /// Entries in `histograms`.
    pub histograms: Range<u32>,
    /// Entries in `exemplars`.
    pub exemplars: Range<u32>,
}

impl Batch {
    /// Label bytes of a series.
    #[inline]
    pub fn labels_of(&self, series: &BatchSeries) -> &[u8] {
        &self.label_bytes[series.labels.start as usize..series.labels.end as usize]
    }

    /// Float samples of a series, in the order sent.
    #[inline]
    pub fn samples_of(&self, series: &BatchSeries) -> &[FloatSample] {
        &self.samples[series.samples.start as usize..series.samples.end as usize]
    }
}
