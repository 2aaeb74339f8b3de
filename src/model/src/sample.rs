//! Float samples, exemplars, metadata, and the one rule for conflicting values.

use std::cmp::Ordering;

use crate::Labels;

/// Bits of the NaN that marks a series as stale. Compare bits: other NaNs are ordinary values.
pub const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// True for the stale marker only.
#[inline]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN
}

/// One float sample.
#[derive(Clone, Copy, Debug)]
pub struct FloatSample {
    /// Milliseconds since the epoch.
    pub t: i64,
    /// The value; NaN payloads are kept bit for bit.
    pub v: f64,
}

/// Decides between two values for one series and timestamp; every replica decides alike, whatever came first.
///
/// The greater number wins; a number beats NaN, NaN beats a stale marker, ties go to the greater bit pattern.
#[inline]
pub fn prefer(a: f64, b: f64) -> f64 {
    match rank(a).cmp(&rank(b)) {
        Ordering::Greater => a,
        Ordering::Less => b,
        Ordering::Equal if rank(a) == NUMBER && a > b => a,
        Ordering::Equal if rank(a) == NUMBER && b > a => b,
        Ordering::Equal if a.to_bits() >= b.to_bits() => a,
        Ordering::Equal => b,
    }
}

/// The rank of a value that is a number.
const NUMBER: u8 = 2;

#[inline]
fn rank(v: f64) -> u8 {
    match (is_stale(v), v.is_nan()) {
        (true, _) => 0,
        (_, true) => 1,
        _ => NUMBER,
    }
}

/// A sample's link to a trace. Its order is by time, then value, then labels; a NaN is equal to the same NaN.
#[derive(Clone, Debug)]
pub struct Exemplar {
    /// The exemplar's own labels, for example `trace_id`.
    pub labels: Labels,
    /// Observed value.
    pub v: f64,
    /// Milliseconds since the epoch.
    pub t: i64,
}

impl Ord for Exemplar {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.t.cmp(&other.t).then_with(|| {
            self.v
                .total_cmp(&other.v)
                .then_with(|| self.labels.cmp(&other.labels))
        })
    }
}

impl PartialOrd for Exemplar {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Exemplar {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Exemplar {}

/// Kind of a metric as its exposer declared it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum MetricType {
    /// Not declared.
    #[default]
    Unknown,
    /// Only goes up, save for resets.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations in buckets.
    Histogram,
    /// Buckets that may go down.
    GaugeHistogram,
    /// Precomputed quantiles.
    Summary,
    /// Constant 1 with information in labels.
    Info,
    /// A set of booleans.
    StateSet,
}

impl MetricType {
    /// By number.
    const ALL: [Self; 8] = [
        Self::Unknown,
        Self::Counter,
        Self::Gauge,
        Self::Histogram,
        Self::GaugeHistogram,
        Self::Summary,
        Self::Info,
        Self::StateSet,
    ];

    /// Its number, 0 to 7, in remote write, in the log and between nodes.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The type with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Name in Prometheus's API and exposition format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }
}

/// Type, unit and help of a metric. In their order a declared type comes behind an undeclared one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MetricMetadata {
    /// Declared type.
    pub kind: MetricType,
    /// Unit such as `seconds`; may be empty.
    pub unit: String,
    /// Help text; may be empty.
    pub help: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflict_rule_is_commutative_and_ranks_numbers_over_nan_over_stale() {
        let stale = f64::from_bits(STALE_NAN);
        let nan = f64::from_bits(0x7ff8_0000_0000_0001);
        let values = [
            stale,
            nan,
            -0.0,
            0.0,
            1.0,
            -1.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ];

        for a in values {
            for b in values {
                assert_eq!(prefer(a, b).to_bits(), prefer(b, a).to_bits(), "{a} {b}");
            }
        }

        assert_eq!(prefer(1.0, 2.0), 2.0);
        assert_eq!(prefer(nan, f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert!(!is_stale(prefer(stale, nan)));
    }
}
