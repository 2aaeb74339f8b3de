//! Remote write 2.0: `io.prometheus.write.v2.Request`. Histograms are [`super::v1::Histogram`].

use super::v1::Histogram;

/// Content type's `proto` parameter.
pub const PROTO: &str = "io.prometheus.write.v2.Request";

/// One request. Fields 1 to 3 are reserved, so that version 1 bytes never decode as version 2 data.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// String table; the first is "".
    #[prost(string, repeated, tag = "4")]
    pub symbols: Vec<String>,
    /// Series with their samples.
    #[prost(message, repeated, tag = "5")]
    pub timeseries: Vec<TimeSeries>,
}

/// One series: samples or histograms, not both.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TimeSeries {
    /// Name and value references, in pairs.
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    /// Float samples.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// Native histograms.
    #[prost(message, repeated, tag = "3")]
    pub histograms: Vec<Histogram>,
    /// Exemplars.
    #[prost(message, repeated, tag = "4")]
    pub exemplars: Vec<Exemplar>,
    /// Metadata of the series' metric.
    #[prost(message, optional, tag = "5")]
    pub metadata: Option<Metadata>,
}

/// One float sample.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Sample {
    /// Value.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Milliseconds since the epoch.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
    /// When the counter started (ms), 0 unset.
    #[prost(int64, tag = "3")]
    pub start_timestamp: i64,
}

/// One exemplar.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Exemplar {
    /// Name and value references, in pairs.
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    /// Observed value.
    #[prost(double, tag = "2")]
    pub value: f64,
    /// Milliseconds since the epoch.
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

/// Type, help and unit of a metric.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Metadata {
    /// 0 unspecified, 1 counter, 2 gauge, 3 histogram, 4 gauge histogram, 5 summary, 6 info, 7 state set.
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    /// Help text's reference.
    #[prost(uint32, tag = "3")]
    pub help_ref: u32,
    /// Unit's reference.
    #[prost(uint32, tag = "4")]
    pub unit_ref: u32,
}
