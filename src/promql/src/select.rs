//! What the engine reads from: series chosen by matchers, each read once into reusable columns.

use std::sync::Arc;

use trireme_base::ErrorKind;
use trireme_model::{AnyHistogram, FloatHistogram, Labels, Matcher};

use crate::cancel::{Cancel, Stop};

/// Storage as the engine sees it.
pub trait Select: Send + Sync {
    /// Finds the series that satisfy all matchers of `request` and may have samples in its time range.
    ///
    /// Label sets are distinct. Their order is free, but should be the same for the same data, because
    /// equal elements of an answer (`topk` with ties, an unsorted vector) keep it.
    fn select(&self, request: &SelectRequest, cancel: &Cancel) -> Result<SeriesSet, SelectError>;
}

/// What a selector of a query needs.
#[derive(Clone, Debug)]
pub struct SelectRequest {
    /// All of them must match; an absent label counts as "". Never empty.
    pub matchers: Vec<Matcher>,
    /// First millisecond of which samples may be needed (inclusive).
    pub start_ms: i64,
    /// Last millisecond of which samples may be needed (inclusive).
    pub end_ms: i64,
    /// What the engine will do with the samples; using them is optional.
    pub hints: SelectHints,
}

/// What becomes of the samples, for storages that can do a part of the work or read coarser data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectHints {
    /// Step of the query (ms), 0 for an instant query.
    pub step_ms: i64,
    /// Window of the range selector (ms), 0 for an instant selector.
    pub range_ms: i64,
    /// The function or aggregation directly around the selector, or "".
    pub func: String,
    /// Labels of the aggregation around the selector.
    pub grouping: Vec<String>,
    /// True if the aggregation is `by (grouping)`, false for `without (grouping)`.
    pub by: bool,
}

/// The chosen series.
#[derive(Default)]
pub struct SeriesSet {
    /// Distinct label sets.
    pub series: Vec<Box<dyn SeriesRead>>,
    /// Texts that become warnings of the result, for example that a peer did not answer.
    pub warnings: Vec<String>,
}

/// One series that can be read.
pub trait SeriesRead: Send + Sync {
    /// Its labels.
    fn labels(&self) -> &Labels;

    /// Appends the samples of `[start_ms, end_ms]` to `out`, oldest first, each timestamp once, stale markers included. An
    /// error once `out` weighs more than `samples_max` ([`Columns::check_within`]), as soon as that is known: a series of many
    /// years is not read to its end only to be refused.
    ///
    /// The caller has cleared `out`. Called once per selector and query, from any thread.
    fn read_within(
        &self,
        start_ms: i64,
        end_ms: i64,
        samples_max: usize,
        out: &mut Columns,
    ) -> Result<(), SelectError>;

    /// As [`SeriesRead::read_within`], however many samples there are.
    fn read(&self, start_ms: i64, end_ms: i64, out: &mut Columns) -> Result<(), SelectError> {
        self.read_within(start_ms, end_ms, usize::MAX, out)
    }

    /// Says that the samples of `[start_ms, end_ms]` will be read. Gives the bytes, at most, that have to come from far away
    /// for that; 0 for storages that are near.
    fn want(&self, _start_ms: i64, _end_ms: i64) -> u64 {
        0
    }

    /// Appends the newest sample of `[start_ms, end_ms]` to `out`, and perhaps older ones. In all else like
    /// [`SeriesRead::read`], and for storages that find it without decoding the others.
    fn read_newest(
        &self,
        start_ms: i64,
        end_ms: i64,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        self.read(start_ms, end_ms, out)
    }
}

/// Samples of one series by column. A timestamp is either among the floats or among the histograms.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// Timestamps of the floats (ms), rising.
    pub float_t: Vec<i64>,
    /// Values of the floats.
    pub float_v: Vec<f64>,
    /// Start timestamps (ms, 0 = unset) of the floats: empty if none is set, else one for each float.
    pub float_st: Vec<i64>,
    /// Histograms by rising timestamp; a stale marker has the stale NaN as its sum.
    pub histograms: Vec<HistogramPoint>,
    /// How many raw samples those of downsampled data stand for, by rising timestamp. The others stand for themselves.
    pub counts: Vec<Counted>,
}

/// A sample that is the mean of several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counted {
    /// Milliseconds since the epoch.
    pub t: i64,
    /// How many.
    pub n: f64,
}

/// One histogram sample as the engine works on it.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramPoint {
    /// Milliseconds since the epoch.
    pub t: i64,
    /// Start timestamp (ms), 0 when unset.
    pub st: i64,
    /// The histogram.
    pub h: Arc<FloatHistogram>,
    /// True if it was sent with integer counts. Expressions do not care, readers of raw samples do.
    pub is_integer: bool,
}

impl Columns {
    /// Empties all columns and keeps their memory.
    pub fn clear(&mut self) {
        self.float_t.clear();
        self.float_v.clear();
        self.float_st.clear();
        self.histograms.clear();
        self.counts.clear();
    }

    /// Appends a float without a start timestamp.
    #[inline]
    pub fn push_float(&mut self, t: i64, v: f64) {
        self.float_t.push(t);
        self.float_v.push(v);
        if !self.float_st.is_empty() {
            self.float_st.push(0);
        }
    }

    /// Appends a float with its start timestamp (ms, 0 = unset).
    #[inline]
    pub fn push_float_st(&mut self, t: i64, st: i64, v: f64) {
        if st != 0 && self.float_st.is_empty() {
            self.float_st.resize(self.float_t.len(), 0);
            self.float_t.push(t);
            self.float_v.push(v);
            self.float_st.push(st);
            return;
        }

        let has_st = !self.float_st.is_empty();
        self.float_t.push(t);
        self.float_v.push(v);

        if has_st {
            self.float_st.push(st);
        }
    }

    /// Appends a histogram with float counts.
    #[inline]
    pub fn push_histogram(&mut self, t: i64, st: i64, h: Arc<FloatHistogram>) {
        self.histograms.push(HistogramPoint {
            t,
            st,
            h,
            is_integer: false,
        });
    }

    /// Appends a histogram as it is stored.
    #[inline]
    pub fn push_stored_histogram(&mut self, t: i64, st: i64, h: &AnyHistogram) {
        let is_integer = matches!(h, AnyHistogram::Int(_));
        self.histograms.push(HistogramPoint {
            t,
            st,
            h: h.to_float(),
            is_integer,
        });
    }

    /// The samples, histograms by their size.
    pub fn weight(&self) -> usize {
        self.float_t.len()
            + self
                .histograms
                .iter()
                .map(|p| p.h.size_in_samples())
                .sum::<usize>()
    }

    /// Fails if they weigh more than `samples_max`.
    pub fn check_within(&self, samples_max: usize) -> Result<(), SelectError> {
        // Each weighs one or more, and most are floats.
        let is_over = self.len() > samples_max
            || (!self.histograms.is_empty() && self.weight() > samples_max);
        if is_over {
            Err(SelectError::TooManySamples)
        } else {
            Ok(())
        }
    }

    /// Number of samples of both kinds.
    pub fn len(&self) -> usize {
        self.float_t.len() + self.histograms.len()
    }

    /// True without samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why series could not be selected or read.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum SelectError {
    /// The query was canceled or timed out while reading.
    #[error("{0}")]
    Stopped(#[from] Stop),
    /// The request is more than this storage may answer.
    #[error("{0}")]
    Limited(String),
    /// One series has more samples than the query may hold.
    #[error("a series has too many samples")]
    TooManySamples,
    /// The storage cannot answer now.
    #[error("{0}")]
    Unavailable(String),
    /// Stored data failed its checks.
    #[error("{0}")]
    Corrupt(String),
    /// Anything else.
    #[error("{0}")]
    Internal(String),
}

impl SelectError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Stopped(stop) => stop.kind(),
            Self::Limited(_) => ErrorKind::Limited,
            Self::TooManySamples => ErrorKind::TooLarge,
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Corrupt(_) => ErrorKind::Corrupt,
            Self::Internal(_) => ErrorKind::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_timestamps_are_padded_once_one_is_set() {
        let mut columns = Columns::default();
        columns.push_float(1, 1.0);
        columns.push_float_st(2, 0, 1.0);
        assert!(columns.float_st.is_empty());
        columns.push_float_st(3, 2, 1.0);
        columns.push_float(4, 1.0);
        assert_eq!(columns.float_st, [0, 0, 2, 0]);
    }
}
