//! Bounds on one write request.

use crate::prompb::DecodeError;

/// How much one request may hold. The first group refuses the request, the second only the series concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Time series of a request.
    pub series_max: usize,
    /// Float and histogram samples of a request.
    pub samples_max: usize,
    /// Exemplars of a request.
    pub exemplars_max: usize,
    /// Metadata entries of a request.
    pub metadata_max: usize,
    /// Symbols of a remote write 2.0 request.
    pub symbols_max: usize,
    /// Histogram buckets of a request.
    pub buckets_max: usize,
    /// Bytes of label sets that remote write 2.0 references may expand to.
    pub label_bytes_max: usize,

    /// Labels of one series.
    pub labels_per_series_max: usize,
    /// Bytes of one series' labels.
    pub label_bytes_per_series_max: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            series_max: 500_000,
            samples_max: 2_000_000,
            exemplars_max: 200_000,
            metadata_max: 20_000,
            symbols_max: 2_000_000,
            buckets_max: 4_000_000,
            label_bytes_max: 256 << 20,
            labels_per_series_max: 64,
            label_bytes_per_series_max: 32 << 10,
        }
    }
}

/// Most bytes of an exemplar's labels: 128 characters, Prometheus's bound, of up to 4 bytes.
pub(crate) const EXEMPLAR_LABEL_BYTES_MAX: usize = 512;

/// How many histogram buckets a request may still hold.
pub(crate) struct BucketBudget {
    left: usize,
    limit: usize,
}

impl BucketBudget {
    pub(crate) fn new(limits: &DecodeLimits) -> Self {
        Self { left: limits.buckets_max, limit: limits.buckets_max }
    }

    /// Takes one bucket or span.
    pub(crate) fn take(&mut self) -> Result<(), DecodeError> {
        let over = DecodeError::TooMany { what: "histogram buckets", limit: self.limit };
        self.left = self.left.checked_sub(1).ok_or(over)?;
        Ok(())
    }
}

/// Fails if `have` is over `limit`.
#[inline]
pub(crate) fn bound(have: usize, limit: usize, what: &'static str) -> Result<(), DecodeError> {
    if have > limit { Err(DecodeError::TooMany { what, limit }) } else { Ok(()) }
}
