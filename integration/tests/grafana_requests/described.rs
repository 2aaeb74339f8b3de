//! Remote write requests with what the samples alone do not carry: metadata and exemplars.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    exemplars: Vec<Exemplar>,
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
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    family: String,
    #[prost(string, tag = "4")]
    help: String,
    #[prost(string, tag = "5")]
    unit: String,
}

/// The counter `grafana_requests_total` of two hosts, one sample a timestamp, and its metadata. The label `http.status`
/// is no name that Prometheus 2 knows. The last sample of the first host has an exemplar with the trace `abc`.
pub fn request(timestamps: &[i64]) -> anyhow::Result<Vec<u8>> {
    const COUNTER: i32 = 1;

    let label = |name: &str, value: &str| Label {
        name: name.to_owned(),
        value: value.to_owned(),
    };

    let mut timeseries = Vec::new();
    for (host, status) in [("a", "200"), ("b", "500")] {
        let samples = timestamps.iter().enumerate().map(|(i, t)| Sample {
            value: i as f64,
            timestamp: *t,
        });
        let last = timestamps.last().filter(|_| host == "a").copied();

        timeseries.push(TimeSeries {
            labels: vec![
                label("__name__", "grafana_requests_total"),
                label("host", host),
                label("http.status", status),
            ],
            samples: samples.collect(),
            exemplars: last
                .map(|timestamp| Exemplar {
                    labels: vec![label("trace_id", "abc")],
                    value: 0.25,
                    timestamp,
                })
                .into_iter()
                .collect(),
        });
    }

    let metadata = vec![Metadata {
        kind: COUNTER,
        family: "grafana_requests_total".to_owned(),
        help: "Requests that were answered.".to_owned(),
        unit: String::new(),
    }];

    let message = WriteRequest {
        timeseries,
        metadata,
    }
    .encode_to_vec();

    Ok(snap::raw::Encoder::new().compress_vec(&message)?)
}
