//! Messages between members.

use std::sync::Arc;

use trireme_model::{FloatHistogram, Labels, ResetHint, Span};
use trireme_promql::Columns;
use trireme_wire::prompb::read::LabelMatcher;
use trireme_wire::prompb::v1::{BucketSpan, Count, Histogram, ZeroCount};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Op {
    /// Series with their samples.
    Select = 0,
    /// Label names.
    LabelNames = 1,
    /// Values of the label `name`.
    LabelValues = 2,
}

/// One question.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Request {
    #[prost(int32, tag = "1")]
    pub(super) op: i32,
    #[prost(string, tag = "2")]
    pub(super) tenant: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) matchers: Vec<LabelMatcher>,
    #[prost(int64, tag = "4")]
    pub(super) start_ms: i64,
    #[prost(int64, tag = "5")]
    pub(super) end_ms: i64,
    #[prost(string, tag = "6")]
    pub(super) name: String,
    #[prost(uint64, tag = "7")]
    pub(super) timeout_ms: u64,
}

/// Its answer; on the wire it is compressed with snappy.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Answer {
    #[prost(message, repeated, tag = "1")]
    pub(super) series: Vec<PeerSeries>,
    #[prost(string, repeated, tag = "2")]
    pub(super) texts: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub(super) warnings: Vec<String>,
}

/// One series: labels in wire form, times as differences.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PeerSeries {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) labels: Vec<u8>,
    #[prost(sint64, repeated, tag = "2")]
    pub(super) times: Vec<i64>,
    #[prost(double, repeated, tag = "3")]
    pub(super) values: Vec<f64>,
    #[prost(sint64, repeated, tag = "4")]
    pub(super) starts: Vec<i64>,
    #[prost(message, repeated, tag = "5")]
    pub(super) histograms: Vec<Histogram>,
}

impl PeerSeries {
    pub(super) fn new(labels: &Labels, columns: &Columns) -> Self {
        let mut last = 0;
        let delta = |t: &i64| t.wrapping_sub(std::mem::replace(&mut last, *t));
        Self {
            labels: labels.as_bytes().to_vec(),
            times: columns.float_t.iter().map(delta).collect(),
            values: columns.float_v.clone(),
            starts: columns.float_st.clone(),
            histograms: columns.histograms.iter().map(|p| to_message(p.t, p.st, &p.h)).collect(),
        }
    }

    /// The series again; the error says what does not fit together.
    pub(super) fn into_columns(self) -> Result<(Labels, Columns), String> {
        let labels = Labels::from_wire(&self.labels).map_err(|e| e.to_string())?;
        if self.times.len() != self.values.len()
            || (!self.starts.is_empty() && self.starts.len() != self.times.len())
        {
            return Err("times and values differ in number".to_owned());
        }
        let mut t = 0i64;
        let sum = |d: &i64| {
            t = t.wrapping_add(*d);
            t
        };
        let mut columns = Columns {
            float_t: self.times.iter().map(sum).collect(),
            float_v: self.values,
            float_st: self.starts,
            histograms: Vec::new(),
        };
        for h in self.histograms {
            columns.push_histogram(h.timestamp, h.start_timestamp, Arc::new(from_message(h)));
        }
        let rising =
            columns.float_t.is_sorted_by(|a, b| a < b) && columns.histograms.is_sorted_by(|a, b| a.t < b.t);
        if !rising {
            return Err("samples are not in rising time order".to_owned());
        }
        Ok((labels, columns))
    }
}

fn to_message(t: i64, st: i64, h: &FloatHistogram) -> Histogram {
    let spans = |s: &[Span]| s.iter().map(|s| BucketSpan { offset: s.offset, length: s.length }).collect();
    Histogram {
        count: Some(Count::Float(h.count)),
        sum: h.sum,
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        zero_count: Some(ZeroCount::Float(h.zero_count)),
        negative_spans: spans(&h.negative_spans),
        negative_deltas: Vec::new(),
        negative_counts: h.negative_buckets.clone(),
        positive_spans: spans(&h.positive_spans),
        positive_deltas: Vec::new(),
        positive_counts: h.positive_buckets.clone(),
        reset_hint: match h.reset_hint {
            ResetHint::Unknown => 0,
            ResetHint::Reset => 1,
            ResetHint::NotReset => 2,
            ResetHint::Gauge => 3,
        },
        timestamp: t,
        custom_values: h.custom_values.clone(),
        start_timestamp: st,
    }
}

fn from_message(h: Histogram) -> FloatHistogram {
    let spans = |s: Vec<BucketSpan>| s.iter().map(|s| Span { offset: s.offset, length: s.length }).collect();
    FloatHistogram {
        reset_hint: match h.reset_hint {
            1 => ResetHint::Reset,
            2 => ResetHint::NotReset,
            3 => ResetHint::Gauge,
            _ => ResetHint::Unknown,
        },
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        zero_count: if let Some(ZeroCount::Float(n)) = h.zero_count { n } else { 0.0 },
        count: if let Some(Count::Float(n)) = h.count { n } else { 0.0 },
        sum: h.sum,
        positive_spans: spans(h.positive_spans),
        positive_buckets: h.positive_counts,
        negative_spans: spans(h.negative_spans),
        negative_buckets: h.negative_counts,
        custom_values: h.custom_values,
    }
}
