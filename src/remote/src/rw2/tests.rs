//! The reader against prost on good, damaged and hostile bodies.

use proptest::prelude::*;
use prost::Message;
use trireme_model::Labels;

use super::*;
use crate::prompb::arbitrary::{damage, expected, spoil, v2_request};
use crate::prompb::v2::{Metadata, Request, Sample, TimeSeries};

const SEED: u64 = 7;

/// The label set behind references, or `None` for what must be refused.
fn label_set(symbols: &[String], refs: &[u32]) -> Option<Labels> {
    if refs.len() % 2 == 1 {
        return None;
    }

    let text = |r: u32| symbols.get(r as usize).map(String::as_str);
    let pairs: Option<Vec<_>> = refs
        .chunks(2)
        .map(|c| Some((text(c[0])?, text(c[1])?)))
        .collect();
    let mut names: Vec<_> = pairs.as_ref()?.iter().map(|p| p.0).collect();

    names.sort_unstable();
    let bad = names.contains(&"") || names.windows(2).any(|w| w[0] == w[1]);
    (!bad).then(|| Labels::from_pairs(pairs.unwrap_or_default()))
}

/// The same for an exemplar, where empty values go first.
fn exemplar_set(symbols: &[String], refs: &[u32]) -> Option<Labels> {
    let kept: Vec<u32> = match refs.len() % 2 {
        0 => refs
            .chunks(2)
            .filter(|pair: &&[u32]| {
                pair.get(1).and_then(|r| symbols.get(*r as usize)) != Some(&String::new())
            })
            .flatten()
            .copied()
            .collect(),
        _ => refs.to_vec(),
    };
    label_set(symbols, &kept)
}

fn compare(decoded: &Decoded, want: &Request) {
    let batch = &decoded.batch;
    let mut series = batch.series.iter();

    let mut refused = 0;
    for ts in &want.timeseries {
        let labels = label_set(&want.symbols, &ts.labels_refs);
        // Exemplars may come alone.
        let one_kind = match (ts.samples.is_empty(), ts.histograms.is_empty()) {
            (true, true) => !ts.exemplars.is_empty(),
            (false, false) => false,
            _ => true,
        };

        let (Some(labels), true) = (labels, one_kind) else {
            refused += 1;
            continue;
        };

        let got = series.next().expect("a series for each good one");
        assert_eq!(batch.labels_of(got), labels.as_bytes());
        assert_eq!(got.key, SeriesKey::of(SEED, labels.as_bytes()));

        let start = |i: usize| batch.start_timestamps.get(i).copied().unwrap_or(0);
        let samples: Vec<_> = (got.samples.start as usize..got.samples.end as usize)
            .map(|i| (batch.samples[i].t, batch.samples[i].v.to_bits(), start(i)))
            .collect();
        let wanted: Vec<_> = ts
            .samples
            .iter()
            .map(|s| (s.timestamp, s.value.to_bits(), s.start_timestamp))
            .collect();

        assert_eq!(samples, wanted);
        let histograms: Vec<_> = ts.histograms.iter().filter_map(expected).collect();
        let range = got.histograms.start as usize..got.histograms.end as usize;

        assert_eq!(
            format!("{:?}", &batch.histograms[range]),
            format!("{histograms:?}")
        );

        let range = got.exemplars.start as usize..got.exemplars.end as usize;
        let exemplars: Vec<_> = batch.exemplars[range]
            .iter()
            .map(|e| (e.t, e.labels.clone()))
            .collect();
        let wanted: Vec<_> = ts
            .exemplars
            .iter()
            .filter_map(|e| Some((e.timestamp, exemplar_set(&want.symbols, &e.labels_refs)?)))
            .collect();

        assert_eq!(exemplars, wanted);
    }

    assert!(series.next().is_none());
    assert!(refused == 0 || !decoded.rejections.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn reads_what_prost_reads(request in v2_request(), damage in damage()) {
        let mut body = request.encode_to_vec();
        spoil(&mut body, &damage);
        let got = decode(&body, SEED, &DecodeLimits::default());
        match Request::decode(body.as_slice()) {
            Ok(_) if matches!(&got, Err(e) if e.to_string().contains("remote write 1.0")) => {}
            Ok(want) if want.symbols.first().is_some_and(|s| !s.is_empty()) => prop_assert!(got.is_err()),
            Ok(want) if want.symbols.is_empty() => prop_assert_eq!(got.is_ok(), want.timeseries.is_empty()),
            Ok(want) => compare(&got.expect("prost reads it"), &want),
            Err(e) if e.to_string().contains("UTF-8") => {}
            Err(e) => prop_assert!(got.is_err(), "prost refuses: {}", e),
        }
    }

    #[test]
    fn random_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&body, SEED, &DecodeLimits::default());
    }
}

fn request(refs: &[u32], samples: usize) -> Request {
    let symbols = ["", "__name__", "up", "job", "node", "help text"]
        .map(str::to_owned)
        .to_vec();
    let sample = Sample {
        value: 1.0,
        timestamp: 5,
        start_timestamp: 3,
    };

    let metadata = Some(Metadata {
        r#type: 2,
        help_ref: 5,
        unit_ref: 0,
    });

    let ts = TimeSeries {
        labels_refs: refs.to_vec(),
        samples: vec![sample; samples],
        metadata,
        ..Default::default()
    };

    Request {
        symbols,
        timeseries: vec![ts],
    }
}

fn reasons(r: &Request) -> Vec<&'static str> {
    let decoded = decode(&r.encode_to_vec(), SEED, &DecodeLimits::default()).expect("well formed");
    assert_eq!(
        decoded.batch.series.is_empty(),
        !decoded.rejections.is_empty()
    );
    assert_eq!(
        decoded.batch.label_bytes.is_empty(),
        decoded.batch.series.is_empty()
    );

    decoded.rejections.iter().map(|r| r.reason).collect()
}

#[test]
fn what_one_series_does_wrong_is_a_rejection() {
    assert!(reasons(&request(&[1, 2, 3, 4], 1)).is_empty());
    assert!(reasons(&request(&[3, 4, 1, 2], 1)).is_empty());
    assert_eq!(reasons(&request(&[1, 2, 3], 1)), ["bad symbol reference"]);
    assert_eq!(reasons(&request(&[1, 99], 1)), ["bad symbol reference"]);
    assert_eq!(reasons(&request(&[1, 2, 1, 4], 1)), ["duplicate label"]);
    assert_eq!(reasons(&request(&[0, 2], 1)), ["empty label name"]);
    assert_eq!(reasons(&request(&[1, 2], 0)), ["no samples"]);

    let mut both = request(&[1, 2], 1);
    both.timeseries[0].histograms.push(Default::default());
    assert_eq!(reasons(&both), ["samples and histograms in one series"]);
}

#[test]
fn start_timestamps_and_metadata_are_kept_and_the_old_field_is_ignored() {
    let mut body = request(&[1, 2], 2).encode_to_vec();
    // A TimeSeries with field 6 (the created timestamp of early drafts) and one sample without a start.
    let inner = [0x0a, 2, 1, 2, 0x12, 2, 0x10, 9, 0x30, 7];

    body.extend([0x2a, inner.len() as u8]);
    body.extend(inner);
    let batch = decode(&body, SEED, &DecodeLimits::default())
        .expect("good")
        .batch;

    assert_eq!(batch.start_timestamps, [3, 3, 0]);
    assert_eq!(batch.metadata.len(), 1);
    assert_eq!(
        (
            batch.metadata[0].0.as_str(),
            batch.metadata[0].1.help.as_str()
        ),
        ("up", "help text")
    );
}

#[test]
fn version_one_bytes_are_not_taken_for_an_empty_request() {
    let v1 = crate::prompb::v1::WriteRequest {
        timeseries: vec![Default::default()],
        metadata: vec![],
    };
    let decoded = decode(&v1.encode_to_vec(), SEED, &DecodeLimits::default());
    // Field 1 is reserved in version 2; whoever sends it means version 1.
    assert!(decoded.is_err());
}

#[test]
fn references_cannot_expand_without_bound() {
    let symbols = vec![String::new(), "n".to_owned(), "v".repeat(10_000)];
    let sample = Sample {
        value: 1.0,
        timestamp: 5,
        start_timestamp: 0,
    };

    let ts = TimeSeries {
        labels_refs: vec![1, 2],
        samples: vec![sample],
        ..Default::default()
    };

    let body = Request {
        symbols,
        timeseries: vec![ts; 1_000],
    }
    .encode_to_vec();

    let limits = DecodeLimits {
        label_bytes_max: 1_000_000,
        ..Default::default()
    };
    let e = decode(&body, SEED, &limits).expect_err("10 MB of labels");

    assert_eq!(
        e,
        DecodeError::TooMany {
            what: "bytes of labels",
            limit: 1_000_000
        }
    );
}

fn exemplar(labels_refs: &[u32]) -> crate::prompb::v2::Exemplar {
    crate::prompb::v2::Exemplar {
        labels_refs: labels_refs.to_vec(),
        value: 1.0,
        timestamp: 5,
    }
}

#[test]
fn exemplars_may_come_alone_and_long_labels_cost_only_the_exemplar() {
    let mut alone = request(&[1, 2], 0);
    alone
        .symbols
        .extend(["trace_id".to_owned(), "t".repeat(600)]);

    let twice = exemplar(&[6, 2, 6, 1]);
    let once = exemplar(&[6, 2, 6, 0]);
    alone.timeseries[0].exemplars = vec![exemplar(&[6, 2]), exemplar(&[6, 7]), twice, once];

    let decoded =
        decode(&alone.encode_to_vec(), SEED, &DecodeLimits::default()).expect("well formed");
    assert_eq!(
        (decoded.batch.series.len(), decoded.batch.exemplars.len()),
        (1, 2)
    );

    let labels: Vec<_> = decoded.batch.exemplars.iter().map(|e| &e.labels).collect();
    assert_eq!(
        labels[0], labels[1],
        "an empty value beside another of its name is no label"
    );

    assert!(decoded.rejections.is_empty());
    let dropped: Vec<_> = decoded
        .dropped
        .iter()
        .map(|r| (r.reason, r.count))
        .collect();

    assert_eq!(
        dropped,
        [
            ("exemplar_labels_invalid", 1),
            ("exemplar_labels_too_long", 1)
        ]
    );

    let mut wrong = request(&[1, 2], 1);
    wrong.timeseries[0].exemplars = vec![exemplar(&[99, 2])];
    let decoded =
        decode(&wrong.encode_to_vec(), SEED, &DecodeLimits::default()).expect("well formed");

    assert_eq!(
        decoded
            .rejections
            .iter()
            .map(|r| r.reason)
            .collect::<Vec<_>>(),
        ["bad symbol reference"]
    );
}

/// Family, type and help of what series of these labels say.
fn families(series: &[(&[&str], u32, i32)]) -> Vec<(String, String)> {
    let mut request = Request {
        symbols: vec![String::new()],
        timeseries: Vec::new(),
    };

    request
        .symbols
        .extend(["help 1".to_owned(), "help 2".to_owned()]);

    for (labels, help_ref, r#type) in series {
        let from = request.symbols.len() as u32;
        request
            .symbols
            .extend(labels.iter().map(|text| (*text).to_owned()));
        request.timeseries.push(TimeSeries {
            labels_refs: (from..from + labels.len() as u32).collect(),
            samples: vec![Sample {
                value: 1.0,
                timestamp: 5,
                start_timestamp: 0,
            }],
            metadata: Some(Metadata {
                r#type: *r#type,
                help_ref: *help_ref,
                unit_ref: 0,
            }),
            ..Default::default()
        });
    }

    let decoded =
        decode(&request.encode_to_vec(), SEED, &DecodeLimits::default()).expect("well formed");
    decoded
        .batch
        .metadata
        .into_iter()
        .map(|(family, m)| (family, m.help))
        .collect()
}

#[test]
fn the_family_of_a_series_is_told_by_its_labels_and_all_that_is_said_of_it_is_kept() {
    let counter = 1;
    let histogram = 3;
    let summary = 5;
    let cases: &[(&[&str], i32, &str)] = &[
        (
            &["__name__", "col_sum", "quantile", "0.5"],
            summary,
            "col_sum",
        ),
        (&["__name__", "col_sum_sum"], summary, "col_sum"),
        (&["__name__", "col_count"], summary, "col"),
        (&["__name__", "col_count"], counter, "col_count"),
        (&["__name__", "h_bucket", "le", "1"], histogram, "h"),
        (&["__name__", "h_sum"], histogram, "h"),
        (&["__name__", "h_sum_bucket", "le", "1"], histogram, "h_sum"),
        (&["__name__", "h_bucket"], histogram, "h_bucket"),
        (&["__name__", "_sum"], summary, "_sum"),
    ];

    for (labels, r#type, want) in cases {
        assert_eq!(
            families(&[(labels, 1, *r#type)]),
            [((*want).to_owned(), "help 1".to_owned())]
        );
    }

    let up: &[&str] = &["__name__", "up"];
    let said = families(&[
        (up, 1, counter),
        (up, 2, counter),
        (up, 1, counter),
        (up, 2, counter),
    ]);

    assert_eq!(
        said.iter().map(|s| s.1.as_str()).collect::<Vec<_>>(),
        ["help 1", "help 2"]
    );
}

#[test]
fn metadata_outside_the_table_is_told_and_costs_no_sample() {
    let mut bad = request(&[1, 2], 1);
    bad.timeseries[0].metadata = Some(Metadata {
        r#type: 1,
        help_ref: 99,
        unit_ref: 0,
    });

    let decoded =
        decode(&bad.encode_to_vec(), SEED, &DecodeLimits::default()).expect("well formed");
    assert_eq!(
        (decoded.batch.series.len(), decoded.rejections.total()),
        (1, 1)
    );
}
