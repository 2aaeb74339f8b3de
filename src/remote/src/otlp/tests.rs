//! Whole requests: every kind of metric, and hostile bytes.

use proptest::prelude::*;
use prost::Message;
use trireme_model::{AnyHistogram, Labels, STALE_NAN};

use super::proto::any_value::Value;
use super::proto::*;
use super::*;

/// A field of a message, for the outer messages that have no structs.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![(number << 3) | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue {
        value: Some(Value::String(value.into())),
    });
    KeyValue {
        key: key.into(),
        value,
    }
}

/// One metric of one resource with `service.name` and `host.name`.
fn request(name: &str, unit: &str, data: u8, points: &[Vec<u8>], rest: &[u8]) -> Vec<u8> {
    let mut content: Vec<u8> = points.iter().flat_map(|p| field(1, p)).collect();
    content.extend_from_slice(rest);
    let metric = [
        field(1, name.as_bytes()),
        field(2, b"help"),
        field(3, unit.as_bytes()),
        field(data, &content),
    ]
    .concat();

    let resource = Resource {
        attributes: vec![
            attribute("service.name", "shop"),
            attribute("host.name", "h1"),
        ],
    };

    let scopes = field(2, &field(2, &metric));
    field(1, &[scopes, field(1, &resource.encode_to_vec())].concat())
}

fn read(body: &[u8]) -> Decoded {
    decode(body, 7, &DecodeLimits::default(), &OtlpOptions::default()).expect("well formed")
}

/// Series as text, with their float samples.
fn shown(d: &Decoded) -> Vec<String> {
    d.batch
        .series
        .iter()
        .map(|s: &trireme_wire::batch::BatchSeries| {
            let labels = Labels::from_wire(d.batch.labels_of(s)).expect("canonical");
            assert_eq!(labels.as_bytes(), d.batch.labels_of(s), "canonical");
            let samples: Vec<_> = d
                .batch
                .samples_of(s)
                .iter()
                .map(|x| format!("{}@{}", x.v, x.t))
                .collect();
            format!("{labels} {}", samples.join(" "))
        })
        .collect()
}

#[test]
fn sums_become_counters_and_resources_become_target_info() {
    let point = NumberDataPoint {
        attributes: vec![attribute("http.method", "GET")],
        start_time_unix_nano: 1_000_000,
        time_unix_nano: 5_000_000,
        value: Some(Number::Int(3)),
        ..Default::default()
    };

    let cumulative_monotonic = [0x10, 2, 0x18, 1];
    let d = read(&request(
        "http.requests",
        "1",
        7,
        &[point.encode_to_vec()],
        &cumulative_monotonic,
    ));

    let want = [
        r#"http_requests_total{http_method="GET", job="shop"} 3@5"#,
        r#"target_info{host_name="h1", job="shop"} 1@5"#,
    ];

    assert_eq!(shown(&d), want);
    assert_eq!(d.batch.start_timestamps, [1, 0]);
    assert_eq!(d.batch.metadata[0].0, "http_requests_total");
    assert_eq!(
        (
            d.batch.metadata[0].1.kind,
            d.batch.metadata[0].1.help.as_str()
        ),
        (MetricType::Counter, "help")
    );
}

#[test]
fn deltas_are_refused_and_counted() {
    let points = [
        NumberDataPoint::default().encode_to_vec(),
        NumberDataPoint::default().encode_to_vec(),
    ];
    let d = read(&request("x", "", 7, &points, &[0x10, 1, 0x18, 1]));
    assert!(d.batch.series.is_empty());

    let r = d.rejections.iter().next().expect("one reason");
    assert_eq!((r.reason, r.count), ("delta temporality", 2));
}

#[test]
fn what_says_nothing_of_its_temporality_is_refused_and_counted() {
    let point = [NumberDataPoint::default().encode_to_vec()];
    for temporality in [&[][..], &[0x10, 0], &[0x10, 7]] {
        let d = read(&request("x", "", 7, &point, temporality));
        assert!(d.batch.series.is_empty());
        let r = d.rejections.iter().next().expect("one reason");
        assert_eq!((r.reason, r.count), ("unknown temporality", 1));
    }
}

#[test]
fn a_point_with_a_malformed_text_is_refused_alone() {
    let good = NumberDataPoint {
        attributes: vec![attribute("k", "v")],
        ..Default::default()
    };
    let good = good.encode_to_vec();
    let mut bad = good.clone();

    *bad.iter_mut().rfind(|b| **b == b'v').expect("the value") = 0xff;
    let d = read(&request("x", "", 5, &[good.clone(), bad, good], &[]));
    assert_eq!(shown(&d)[..2], [r#"x{job="shop", k="v"} 0@0"#; 2]);

    let r = d.rejections.iter().next().expect("one reason");
    assert_eq!((r.reason, r.count), ("malformed data point", 1));
}

#[test]
fn points_of_a_malformed_resource_are_counted() {
    let point = NumberDataPoint::default().encode_to_vec();
    let metric = [
        field(1, b"x"),
        field(5, &[field(1, &point), field(1, &point)].concat()),
    ]
    .concat();

    let resource = field(1, &field(1, &field(1, b"\xff")));
    let body = field(1, &[resource, field(2, &field(2, &metric))].concat());
    let d = read(&body);
    assert!(d.batch.series.is_empty());

    let r = d.rejections.iter().next().expect("one reason");
    assert_eq!((r.reason, r.count), ("malformed resource", 2));
}

/// Requests, and what Prometheus 3.16's own translation makes of them with its default settings.
#[test]
fn names_labels_and_times_are_those_of_prometheus() {
    use std::collections::BTreeMap;

    let cases: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/data/otlp-translation.json"))
            .expect("a table");

    for case in cases.as_array().expect("a list") {
        let body = json::to_protobuf(case["request"].to_string().as_bytes()).expect("well formed");
        let d = read(&body);

        let mut have = Vec::new();
        for series in &d.batch.series {
            let labels = Labels::from_wire(d.batch.labels_of(series)).expect("canonical");
            let labels: BTreeMap<_, _> = labels
                .iter()
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .collect();
            for sample in d.batch.samples_of(series) {
                have.push((labels.clone(), sample.t, sample.v.to_bits()));
            }
        }

        let mut want: Vec<(BTreeMap<String, String>, i64, u64)> = Vec::new();
        for sample in case["series"].as_array().expect("a list") {
            let labels = serde_json::from_value(sample["labels"].clone()).expect("labels");
            let bits = match sample["v"].as_str().expect("a value") {
                "stale" => STALE_NAN,
                number => number.parse::<f64>().expect("a number").to_bits(),
            };
            want.push((labels, sample["t"].as_i64().expect("a time"), bits));
        }

        have.sort();
        want.sort();
        assert_eq!(have, want, "{}", case["name"]);

        let metadata = d.batch.metadata.iter();
        let shown: Vec<String> = metadata
            .map(|(name, m)| format!("{name} {} {}", m.kind.as_str(), m.unit))
            .collect();

        for want in case["metadata"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|m| m.as_str())
        {
            assert!(
                shown.iter().any(|have| have == want),
                "{}: {want} not in {shown:?}",
                case["name"]
            );
        }
    }
}

#[test]
fn a_point_without_a_value_is_stale() {
    let point = NumberDataPoint {
        time_unix_nano: 1_000_000,
        flags: 1,
        ..Default::default()
    };
    let d = read(&request("x", "", 5, &[point.encode_to_vec()], &[]));
    assert_eq!(d.batch.samples[0].v.to_bits(), STALE_NAN);
}

#[test]
fn histograms_become_classic_series() {
    let point = HistogramDataPoint {
        time_unix_nano: 1_000_000,
        count: 6,
        sum: Some(2.5),
        bucket_counts: vec![1, 2, 3],
        explicit_bounds: vec![0.5, 10.0],
        exemplars: vec![Exemplar {
            value: Some(ExemplarNumber::Double(3.0)),
            trace_id: vec![0xab],
            ..Default::default()
        }],
        ..Default::default()
    };

    let d = read(&request(
        "latency",
        "s",
        9,
        &[point.encode_to_vec()],
        &[0x10, 2],
    ));

    let want = [
        r#"latency_seconds_sum{job="shop"} 2.5@1"#,
        r#"latency_seconds_count{job="shop"} 6@1"#,
        r#"latency_seconds_bucket{job="shop", le="0.5"} 1@1"#,
        r#"latency_seconds_bucket{job="shop", le="10"} 3@1"#,
        r#"latency_seconds_bucket{job="shop", le="+Inf"} 6@1"#,
        r#"target_info{host_name="h1", job="shop"} 1@1"#,
    ];

    assert_eq!(shown(&d), want);
    let with: Vec<usize> = d.batch.series.iter().map(|s| s.exemplars.len()).collect();
    assert_eq!(with, [0, 0, 0, 1, 0, 0]);
    assert_eq!(d.batch.exemplars[0].labels.get("trace_id"), Some("ab"));
}

#[test]
fn exponential_histograms_become_native_ones() {
    let point = ExponentialHistogramDataPoint {
        time_unix_nano: 1_000_000,
        count: 5,
        sum: Some(1.0),
        scale: 1,
        zero_count: 2,
        positive: Some(Buckets {
            offset: 0,
            bucket_counts: vec![1, 2],
        }),
        ..Default::default()
    };

    let d = read(&request(
        "size",
        "By",
        10,
        &[point.encode_to_vec()],
        &[0x10, 2],
    ));

    let AnyHistogram::Int(h) = &d.batch.histograms[0].h else {
        panic!("integer counts")
    };

    assert_eq!(
        (
            h.schema,
            h.count,
            h.zero_count,
            h.positive_buckets.as_slice()
        ),
        (1, 5, 2, &[1, 1][..])
    );

    assert_eq!(
        (h.positive_spans[0].offset, h.positive_spans[0].length),
        (1, 2)
    );

    let bad = ExponentialHistogramDataPoint { count: 4, ..point };
    let d = read(&request(
        "size",
        "By",
        10,
        &[bad.encode_to_vec()],
        &[0x10, 2],
    ));

    assert_eq!(
        d.rejections.iter().next().map(|r| r.reason),
        Some("invalid histogram")
    );
}

#[test]
fn summaries_become_quantiles() {
    let quantile_values = vec![ValueAtQuantile {
        quantile: 0.5,
        value: 7.0,
    }];
    let point = SummaryDataPoint {
        time_unix_nano: 1_000_000,
        count: 2,
        sum: 9.0,
        quantile_values,
        ..Default::default()
    };

    let d = read(&request("s", "", 11, &[point.encode_to_vec()], &[]));
    let want = [
        r#"s_sum{job="shop"} 9@1"#,
        r#"s_count{job="shop"} 2@1"#,
        r#"s{job="shop", quantile="0.5"} 7@1"#,
    ];

    assert_eq!(shown(&d)[..3], want);
}

#[test]
fn attributes_are_promoted_and_collisions_joined() {
    let promote_resource_attributes = vec!["host.name".into()];
    let options = OtlpOptions {
        promote_resource_attributes,
        target_info: false,
        ..Default::default()
    };

    let attributes = vec![
        attribute("a.b", "1"),
        attribute("a_b", "2"),
        attribute("le", "x"),
    ];

    let point = NumberDataPoint {
        attributes,
        time_unix_nano: 1,
        ..Default::default()
    };

    let body = request("x", "", 5, &[point.encode_to_vec()], &[]);
    let d = decode(&body, 7, &DecodeLimits::default(), &options).expect("well formed");
    assert_eq!(
        shown(&d),
        [r#"x{a_b="1;2", host_name="h1", job="shop", le="x"} 0@0"#]
    );
}

#[test]
fn empty_messages_are_bounded() {
    let points: Vec<Vec<u8>> = vec![Vec::new(); 1_000];
    let body = request("x", "", 5, &points, &[]);
    let limits = DecodeLimits {
        samples_max: 999,
        ..Default::default()
    };
    let e = decode(&body, 7, &limits, &OtlpOptions::default()).expect_err("1,000 samples");

    assert_eq!(
        e,
        DecodeError::TooMany {
            what: "samples",
            limit: 999
        }
    );

    let huge = NumberDataPoint {
        attributes: vec![attribute("k", &"v".repeat(MESSAGE_BYTES_MAX))],
        ..Default::default()
    };
    let body = request("x", "", 5, &[huge.encode_to_vec()], &[]);
    assert!(decode(&body, 7, &DecodeLimits::default(), &OtlpOptions::default()).is_err());
}

proptest! {
    #[test]
    fn damaged_requests_never_panic(
        data in prop_oneof![Just(5u8), Just(7), Just(9), Just(10), Just(11)],
        points in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..4),
        at in any::<usize>(), bit in 0..8u8,
    ) {
        let mut body = request("x", "ms", data, &points, &[0x10, 2]);
        let at = at % body.len();
        body[at] ^= 1 << bit;
        let _ = decode(&body, 7, &DecodeLimits::default(), &OtlpOptions::default());
        let _ = decode(&body[..at], 7, &DecodeLimits::default(), &OtlpOptions::default());
    }
}

#[test]
fn one_series_has_one_key_whatever_protocol_brings_it() {
    use crate::prompb::{v1, v2};

    let point = NumberDataPoint {
        attributes: vec![attribute("room", "a")],
        time_unix_nano: 5_000_000,
        value: Some(Number::Double(1.0)),
        ..Default::default()
    };

    let otlp = read(&request("temp", "", 5, &[point.encode_to_vec()], &[]));
    assert_eq!(shown(&otlp)[0], r#"temp{job="shop", room="a"} 1@5"#);

    let labels = [("__name__", "temp"), ("job", "shop"), ("room", "a")];
    let series = v1::TimeSeries {
        labels: labels
            .map(|(name, value): (&str, &str)| v1::Label {
                name: name.into(),
                value: value.into(),
            })
            .to_vec(),
        samples: vec![v1::Sample {
            value: 1.0,
            timestamp: 5,
        }],
        ..Default::default()
    };

    let body = v1::WriteRequest {
        timeseries: vec![series],
        ..Default::default()
    }
    .encode_to_vec();

    let one = crate::rw1::decode(body, 7, &DecodeLimits::default()).expect("well formed");

    // In another order: the reader sorts.
    let symbols = ["", "room", "a", "job", "shop", "__name__", "temp"]
        .map(str::to_owned)
        .to_vec();
    let series = v2::TimeSeries {
        labels_refs: vec![1, 2, 3, 4, 5, 6],
        samples: vec![v2::Sample {
            value: 1.0,
            timestamp: 5,
            ..Default::default()
        }],
        ..Default::default()
    };

    let body = v2::Request {
        symbols,
        timeseries: vec![series],
    }
    .encode_to_vec();

    let two = crate::rw2::decode(&body, 7, &DecodeLimits::default()).expect("well formed");

    let key = otlp.batch.series[0].key;
    assert_eq!(
        (one.batch.series[0].key, two.batch.series[0].key),
        (key, key)
    );
}
