//! Bounds on one write request.

use trireme_model::Rejections;

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
    /// Memory of what a request decodes to, beside its body (bytes).
    pub decoded_bytes_max: usize,
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
            decoded_bytes_max: 320 << 20,
            label_bytes_max: 256 << 20,
            labels_per_series_max: 64,
            label_bytes_per_series_max: 32 << 10,
        }
    }
}

/// Most bytes of an exemplar's labels: 128 characters, Prometheus's bound, of up to 4 bytes.
pub(crate) const EXEMPLAR_LABEL_BYTES_MAX: usize = 512;

/// Lends a decoder the memory for what it makes of a body.
pub trait Lend {
    /// Makes the loan at least `bytes` large in all; false if there is no room for that now.
    #[must_use]
    fn grow_to(&mut self, bytes: usize) -> bool;
}

/// Lends whatever is asked for: for bodies that are known to be harmless.
pub struct Boundless;

impl Lend for Boundless {
    fn grow_to(&mut self, _: usize) -> bool {
        true
    }
}

/// Memory is borrowed in steps of half of what was taken so far, and of this at most (bytes).
const LOAN_STEP_BYTES: usize = 256 << 10;

/// What one request may still hold, in numbers and in memory. Whatever is kept of a body is taken from here *before* it is
/// kept: some two bytes of a body can become hundreds.
pub(crate) struct Room<'a> {
    samples_left: usize,
    buckets_left: usize,
    exemplars_left: usize,
    metadata_left: usize,
    limits: DecodeLimits,
    taken_bytes: usize,
    lent_bytes: usize,
    lender: &'a mut dyn Lend,
}

/// Memory of a float sample, in a vector that may have grown to twice its length (bytes).
const SAMPLE_BYTES: usize = 48;
/// Memory of a series' entry likewise, without its labels (bytes).
const SERIES_BYTES: usize = 96;
/// Memory of a histogram without buckets (bytes).
const HISTOGRAM_BYTES: usize = 320;
/// Memory of a bucket or span (bytes).
const BUCKET_BYTES: usize = 16;
/// Memory of an exemplar without its labels (bytes).
const EXEMPLAR_BYTES: usize = 128;
/// Memory of a metadata entry without its texts (bytes).
const METADATA_BYTES: usize = 192;

impl<'a> Room<'a> {
    pub(crate) fn new(limits: &DecodeLimits, lender: &'a mut dyn Lend) -> Self {
        Self {
            samples_left: limits.samples_max,
            buckets_left: limits.buckets_max,
            exemplars_left: limits.exemplars_max,
            metadata_left: limits.metadata_max,
            limits: limits.clone(),
            taken_bytes: 0,
            lent_bytes: 0,
            lender,
        }
    }

    /// Takes a float sample.
    #[inline]
    pub(crate) fn sample(&mut self) -> Result<(), DecodeError> {
        self.samples_left = less(self.samples_left, "samples", self.limits.samples_max)?;
        self.bytes(SAMPLE_BYTES)
    }

    /// Takes a native histogram; its buckets are taken one by one.
    pub(crate) fn histogram(&mut self) -> Result<(), DecodeError> {
        self.samples_left = less(self.samples_left, "samples", self.limits.samples_max)?;
        self.bytes(HISTOGRAM_BYTES)
    }

    /// Takes one bucket or span.
    #[inline]
    pub(crate) fn bucket(&mut self) -> Result<(), DecodeError> {
        self.buckets_left = less(
            self.buckets_left,
            "histogram buckets",
            self.limits.buckets_max,
        )?;
        self.bytes(BUCKET_BYTES)
    }

    /// Takes an exemplar with so many bytes of labels.
    pub(crate) fn exemplar(&mut self, label_bytes: usize) -> Result<(), DecodeError> {
        self.exemplars_left = less(self.exemplars_left, "exemplars", self.limits.exemplars_max)?;
        self.bytes(EXEMPLAR_BYTES + label_bytes)
    }

    /// Takes an entry of metadata with so many bytes of text.
    pub(crate) fn metadata(&mut self, text_bytes: usize) -> Result<(), DecodeError> {
        self.metadata_left = less(
            self.metadata_left,
            "metadata entries",
            self.limits.metadata_max,
        )?;
        self.bytes(METADATA_BYTES + text_bytes)
    }

    /// Takes a series with so many bytes of labels that are kept beside the body.
    #[inline]
    pub(crate) fn series(&mut self, label_bytes: usize) -> Result<(), DecodeError> {
        self.bytes(SERIES_BYTES + label_bytes)
    }

    /// Takes memory for something else.
    #[inline]
    pub(crate) fn bytes(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.taken_bytes += bytes;
        if self.taken_bytes <= self.lent_bytes {
            return Ok(());
        }
        self.borrow_more()
    }

    #[cold]
    fn borrow_more(&mut self) -> Result<(), DecodeError> {
        let wanted = self.taken_bytes + (self.taken_bytes / 2).min(LOAN_STEP_BYTES);
        let limit = self.limits.decoded_bytes_max;

        // Said apart from a lack of memory, which passes: this request will never fit.
        if self.taken_bytes > limit {
            return Err(DecodeError::TooMany {
                what: "bytes after decoding",
                limit,
            });
        }

        if !self.lender.grow_to(wanted) {
            return Err(DecodeError::NoRoom { bytes: wanted });
        }

        self.lent_bytes = wanted;
        Ok(())
    }
}

#[inline]
fn less(left: usize, what: &'static str, limit: usize) -> Result<usize, DecodeError> {
    left.checked_sub(1)
        .ok_or(DecodeError::TooMany { what, limit })
}

/// Histograms of a series that are refused: the first reason stands for all, which may be millions.
#[derive(Default)]
pub(crate) struct BadHistograms {
    pub(crate) count: u64,
    first: Option<String>,
}

impl BadHistograms {
    pub(crate) fn add(&mut self, why: String) {
        self.count += 1;
        self.first.get_or_insert(why);
    }

    /// Counts them in `rejections`, with `series` to name the first one's series.
    pub(crate) fn reject(self, rejections: &mut Rejections, series: impl FnOnce() -> String) {
        if let Some(why) = self.first {
            rejections.add("invalid histogram", self.count, || {
                format!("{}: {why}", series())
            });
        }
    }
}

/// Fails if `have` is over `limit`.
#[inline]
pub(crate) fn bound(have: usize, limit: usize, what: &'static str) -> Result<(), DecodeError> {
    if have > limit {
        Err(DecodeError::TooMany { what, limit })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
