//! The reader against prost on good, damaged and hostile bodies.

use proptest::prelude::*;
use prost::Message;
use trireme_model::{LabelError, Labels};

use super::*;
use crate::prompb::arbitrary::{damage, expected, spoil, v1_request};
use crate::prompb::v1::{Label, Sample, TimeSeries, WriteRequest};

const SEED: u64 = 7;

fn limits() -> DecodeLimits {
    DecodeLimits {
        labels_per_series_max: 1_000,
        ..Default::default()
    }
}

fn pair(name: &str, value: &str) -> Label {
    Label {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

/// A label set as the wire form's reader must see it, or `None` for one it must refuse.
fn label_set(labels: &[Label]) -> Option<Labels> {
    let mut names: Vec<_> = labels.iter().map(|l| l.name.as_str()).collect();
    names.sort_unstable();
    let twice = names.windows(2).any(|w| w[0] == w[1]);
    (!twice && !names.contains(&""))
        .then(|| Labels::from_pairs(labels.iter().map(|l| (&l.name, &l.value))))
}

/// The same for an exemplar, where empty values go first.
fn exemplar_set(labels: &[Label]) -> Option<Labels> {
    label_set(
        &labels
            .iter()
            .filter(|l| !l.value.is_empty())
            .cloned()
            .collect::<Vec<_>>(),
    )
}

fn compare(decoded: &Decoded, want: &WriteRequest) {
    let batch = &decoded.batch;

    let mut series = batch.series.iter();
    for ts in &want.timeseries {
        let histograms: Vec<_> = ts
            .histograms
            .iter()
            .filter_map(|h| {
                expected(&{
                    let mut h = h.clone();
                    h.start_timestamp = 0;
                    h
                })
            })
            .collect();

        if ts.samples.is_empty() && histograms.is_empty() {
            // Exemplars may come alone, as long as the labels of one are a set.
            if ts.exemplars.is_empty() {
                continue;
            }

            let next = series.as_slice().first();
            if !next.is_some_and(|got: &BatchSeries| {
                got.samples.is_empty() && got.histograms.is_empty()
            }) || ts
                .exemplars
                .iter()
                .all(|e| exemplar_set(&e.labels).is_none())
            {
                continue;
            }
        }

        let got = series
            .next()
            .expect("a series for each that carries something");

        let raw = batch.labels_of(got);
        match Labels::from_wire(raw) {
            Ok(labels) => assert_eq!(Some(labels), label_set(&ts.labels)),
            // Unknown fields inside a label are legal protobuf that the model does not read.
            Err(LabelError::Malformed(_)) => {}
            Err(_) => assert_eq!(label_set(&ts.labels), None),
        }

        assert_eq!(got.key, SeriesKey::of(SEED, raw));
        let samples: Vec<_> = batch
            .samples_of(got)
            .iter()
            .map(|s| (s.t, s.v.to_bits()))
            .collect();

        let wanted: Vec<_> = ts
            .samples
            .iter()
            .map(|s| (s.timestamp, s.value.to_bits()))
            .collect();

        assert_eq!(samples, wanted);
        let range = got.histograms.start as usize..got.histograms.end as usize;
        assert_eq!(
            format!("{:?}", &batch.histograms[range]),
            format!("{histograms:?}")
        );

        let range = got.exemplars.start as usize..got.exemplars.end as usize;
        let exemplars: Vec<_> = batch.exemplars[range]
            .iter()
            .map(|e| (e.labels.clone(), e.t, e.v.to_bits()))
            .collect();

        // Those whose labels are a set, in order, unless a label has unknown fields.
        let mut wanted = ts
            .exemplars
            .iter()
            .map(|e| (exemplar_set(&e.labels), e.timestamp, e.value.to_bits()));

        for (labels, t, v) in exemplars {
            assert!(
                wanted.any(|w| w == (Some(labels.clone()), t, v)),
                "{labels} at {t}"
            );
        }
    }

    assert!(series.next().is_none());
    let names: Vec<_> = batch
        .metadata
        .iter()
        .map(|(n, m)| (n.as_str(), m.help.as_str()))
        .collect();

    let wanted: Vec<_> = want
        .metadata
        .iter()
        .map(|m| (m.metric_family_name.as_str(), m.help.as_str()))
        .collect();

    assert_eq!(names, wanted);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn reads_what_prost_reads(request in v1_request(), damage in damage()) {
        let mut body = request.encode_to_vec();
        spoil(&mut body, &damage);
        let got = decode(body.clone(), SEED, &limits());
        match WriteRequest::decode(body.as_slice()) {
            // Fields that are known but carry nothing are an empty request, unknown ones alone are another message.
            Ok(want) if got.as_ref().is_err_and(|e| e.to_string().contains("remote write 1.0")) => {
                prop_assert!(want.timeseries.is_empty() && want.metadata.is_empty());
            }
            Ok(want) => compare(&got.expect("prost reads it"), &want),
            // The reader does not look into labels; whoever sees the series first refuses these.
            Err(e) if e.to_string().contains("UTF-8") || e.to_string().contains(".labels: ") => {}
            // Field 17 is unknown to version 1; the structs share one histogram message.
            Err(e) if e.to_string().contains("Histogram.start_timestamp") => {}
            Err(e) => prop_assert!(got.is_err(), "prost refuses: {}", e),
        }
    }

    #[test]
    fn random_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(body, SEED, &DecodeLimits::default());
    }
}

#[test]
fn labels_of_a_tidy_sender_are_not_moved() {
    let ts = TimeSeries {
        labels: vec![pair("__name__", "up"), pair("job", "node")],
        samples: vec![Sample {
            value: 1.0,
            timestamp: 5,
        }],
        ..Default::default()
    };

    let body = WriteRequest {
        timeseries: vec![ts],
        metadata: vec![],
    }
    .encode_to_vec();

    let got = decode(body.clone(), SEED, &limits()).expect("good").batch;
    assert_eq!(got.label_bytes, body);
    assert_eq!(
        got.labels_of(&got.series[0]),
        Labels::from_pairs([("__name__", "up"), ("job", "node")]).as_bytes()
    );
}

#[test]
fn scattered_labels_are_gathered() {
    let label = |n, v| {
        TimeSeries {
            labels: vec![pair(n, v)],
            ..Default::default()
        }
        .encode_to_vec()
    };

    let sample = TimeSeries {
        samples: vec![Sample {
            value: 1.0,
            timestamp: 5,
        }],
        ..Default::default()
    }
    .encode_to_vec();

    let series = [label("__name__", "up"), sample, label("job", "node")].concat();
    let mut body = vec![0x0a, series.len() as u8];
    body.extend(&series);

    let got = decode(body, SEED, &limits()).expect("good").batch;
    let want = Labels::from_pairs([("__name__", "up"), ("job", "node")]);
    assert_eq!(got.labels_of(&got.series[0]), want.as_bytes());
    assert_eq!(got.series[0].key, SeriesKey::of(SEED, want.as_bytes()));
}

#[test]
fn labels_of_an_exemplar_that_are_no_set_cost_only_the_exemplar() {
    let exemplar = |labels: &[(&str, &str)]| crate::prompb::v1::Exemplar {
        labels: labels.iter().map(|(n, v)| pair(n, v)).collect(),
        value: 1.0,
        timestamp: 5,
    };

    let twice = [("trace_id", "a"), ("trace_id", "b")];
    let series = TimeSeries {
        labels: vec![pair("__name__", "up")],
        samples: vec![Sample {
            value: 1.0,
            timestamp: 5,
        }],
        exemplars: vec![
            exemplar(&twice),
            exemplar(&[("t", "1"), ("t", "")]),
            exemplar(&[]),
            exemplar(&[("", "")]),
        ],
        ..Default::default()
    };

    let body = WriteRequest {
        timeseries: vec![series],
        ..Default::default()
    }
    .encode_to_vec();

    let decoded = decode(body, SEED, &limits()).expect("well formed");
    let kept: Vec<_> = decoded
        .batch
        .exemplars
        .iter()
        .map(|e| e.labels.to_string())
        .collect();

    assert_eq!(kept, [r#"{t="1"}"#, "{}", "{}"]);
    assert_eq!(
        (decoded.batch.samples.len(), decoded.rejections.is_empty()),
        (1, true)
    );

    let dropped: Vec<_> = decoded
        .dropped
        .iter()
        .map(|r| (r.reason, r.count))
        .collect();

    assert_eq!(dropped, [("exemplar_labels_invalid", 1)]);
}

#[test]
fn bounds_of_a_series_refuse_only_that_series() {
    let ts = |n: usize| TimeSeries {
        labels: (0..n).map(|i| pair(&format!("l{i:02}"), "v")).collect(),
        samples: vec![
            Sample {
                value: 1.0,
                timestamp: 5
            };
            2
        ],
        ..Default::default()
    };

    let body = WriteRequest {
        timeseries: vec![ts(3), ts(4), ts(2)],
        metadata: vec![],
    }
    .encode_to_vec();

    let got = decode(
        body,
        SEED,
        &DecodeLimits {
            labels_per_series_max: 3,
            ..Default::default()
        },
    )
    .expect("good");

    assert_eq!((got.batch.series.len(), got.batch.samples.len()), (2, 4));
    let r = got.rejections.iter().next().expect("one");
    assert_eq!((r.reason, r.count), ("too many labels", 2));

    assert!(
        r.example.contains("4 labels, the limit is 3"),
        "{}",
        r.example
    );
}

#[test]
fn bounds_of_the_request_refuse_all_of_it() {
    let ts = TimeSeries {
        samples: vec![
            Sample {
                value: 1.0,
                timestamp: 5
            };
            3
        ],
        ..Default::default()
    };

    let body = WriteRequest {
        timeseries: vec![ts.clone(), ts],
        metadata: vec![],
    }
    .encode_to_vec();

    let few = |samples_max, series_max| DecodeLimits {
        samples_max,
        series_max,
        ..Default::default()
    };

    assert!(decode(body.clone(), SEED, &few(6, 2)).is_ok());
    let e = decode(body.clone(), SEED, &few(5, 2)).expect_err("samples");
    assert_eq!(
        e,
        DecodeError::TooMany {
            what: "samples",
            limit: 5
        }
    );

    assert!(decode(body, SEED, &few(6, 1)).is_err());
}

#[test]
fn errors_say_where() {
    let e = decode(vec![0x0a, 0x05, 0x12], SEED, &limits()).expect_err("cut off");
    assert_eq!(
        e.to_string(),
        "malformed protobuf at byte 2: a field reaches past the end of its message"
    );
}

#[test]
fn version_two_bytes_are_not_taken_for_an_empty_request() {
    let v2 = crate::prompb::v2::Request {
        symbols: vec![String::new(), "up".to_owned()],
        timeseries: vec![Default::default()],
    };
    let error = decode(v2.encode_to_vec(), SEED, &limits()).expect_err("nothing in it is known");
    assert!(
        error.to_string().contains("io.prometheus.write.v2.Request"),
        "{error}"
    );

    // A request that is empty, and one with something new beside what is known.
    assert!(decode(Vec::new(), SEED, &limits()).is_ok());
    let mut body = WriteRequest {
        timeseries: vec![TimeSeries::default()],
        metadata: vec![],
    }
    .encode_to_vec();

    body.extend([0x22, 0]);
    assert!(decode(body, SEED, &limits()).is_ok());
}
