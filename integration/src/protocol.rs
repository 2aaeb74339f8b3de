//! Remote write and remote read messages, written down a second time with prost, for independence from the daemon.

use std::collections::BTreeMap;

use anyhow::Context;
use prost::Message;

use crate::samples::{SampleSet, Value};

/// A series to send.
#[derive(Debug, Clone)]
pub struct Series {
    /// Names and values in the order in which they go on the wire.
    pub labels: Vec<(String, String)>,
    /// Milliseconds and values.
    pub samples: Vec<(i64, f64)>,
}

impl Series {
    /// A series of `name` with further labels, sorted as senders sort them.
    pub fn new(name: &str, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Self {
        let mut all: Vec<(String, String)> = labels
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();

        all.push(("__name__".to_owned(), name.to_owned()));
        all.sort();
        Self {
            labels: all,
            samples: samples.to_vec(),
        }
    }

    /// Adds this series to a set.
    pub fn add_to(&self, set: &mut SampleSet) {
        let labels: BTreeMap<String, String> = self.labels.iter().cloned().collect();
        self.samples
            .iter()
            .for_each(|(timestamp, value)| set.add(&labels, *timestamp, Value::of(*value)));
    }
}

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    // Optional, so that it is always written: an encoder that leaves out zeros leaves out negative zero with them.
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<ReadQuery>,
}

#[derive(Clone, PartialEq, Message)]
struct ReadQuery {
    #[prost(int64, tag = "1")]
    start_timestamp_ms: i64,
    #[prost(int64, tag = "2")]
    end_timestamp_ms: i64,
    #[prost(message, repeated, tag = "3")]
    matchers: Vec<LabelMatcher>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelMatcher {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct ReadResponse {
    #[prost(message, repeated, tag = "1")]
    results: Vec<QueryResult>,
}

#[derive(Clone, PartialEq, Message)]
struct QueryResult {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

/// The protobuf form of a remote write 1.0 request.
pub fn write_request(series: &[Series]) -> Vec<u8> {
    let timeseries = series.iter().map(|series| TimeSeries {
        labels: series
            .labels
            .iter()
            .map(|(name, value)| Label {
                name: name.clone(),
                value: value.clone(),
            })
            .collect(),
        samples: series
            .samples
            .iter()
            .map(|(timestamp, value)| Sample {
                timestamp: *timestamp,
                value: Some(*value),
            })
            .collect(),
    });
    WriteRequest {
        timeseries: timeseries.collect(),
    }
    .encode_to_vec()
}

/// The body of a remote write 1.0 request: protobuf in snappy's block format.
pub fn write_body(series: &[Series]) -> anyhow::Result<Vec<u8>> {
    snap::raw::Encoder::new()
        .compress_vec(&write_request(series))
        .context("snappy")
}

/// The body of a request with one series of empty histograms: two bytes each before snappy.
pub fn empty_histograms_body(count: usize) -> anyhow::Result<Vec<u8>> {
    let label = [
        vec![0x0a, 14, 0x0a, 8],
        b"__name__".to_vec(),
        vec![0x12, 2],
        b"up".to_vec(),
    ]
    .concat();

    let content = [label, [0x22, 0].repeat(count)].concat();
    let mut message = vec![0x0a];
    prost::encode_length_delimiter(content.len(), &mut message)?;
    message.extend_from_slice(&content);

    Ok(snap::raw::Encoder::new().compress_vec(&message)?)
}

/// A remote read request for every series with samples in `start..=end`, answered as raw samples.
pub fn read_request(start: i64, end: i64) -> anyhow::Result<Vec<u8>> {
    const MATCH_REGEX: i32 = 2;

    let every = LabelMatcher {
        kind: MATCH_REGEX,
        name: "__name__".into(),
        value: ".+".into(),
    };

    let query = ReadQuery {
        start_timestamp_ms: start,
        end_timestamp_ms: end,
        matchers: vec![every],
    };

    snap::raw::Encoder::new()
        .compress_vec(
            &ReadRequest {
                queries: vec![query],
            }
            .encode_to_vec(),
        )
        .context("snappy")
}

/// The samples of a remote read answer.
pub fn read_response(body: &[u8]) -> anyhow::Result<SampleSet> {
    let bytes = snap::raw::Decoder::new()
        .decompress_vec(body)
        .context("snappy of a remote read answer")?;
    let response = ReadResponse::decode(bytes.as_slice()).context("remote read answer")?;

    let mut set = SampleSet::default();
    for series in response
        .results
        .into_iter()
        .flat_map(|result| result.timeseries)
    {
        let labels: BTreeMap<String, String> = series
            .labels
            .into_iter()
            .map(|l| (l.name, l.value))
            .collect();
        series.samples.iter().for_each(|sample| {
            set.add(
                &labels,
                sample.timestamp,
                Value::of(sample.value.unwrap_or(0.0)),
            )
        });
    }

    Ok(set)
}
