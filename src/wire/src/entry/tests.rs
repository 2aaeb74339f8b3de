//! Round trips, hostile bytes and the size of realistic data.

use std::sync::Arc;

use proptest::prelude::*;
use trireme_base::SeededRng;
use trireme_model::{
    AnyHistogram, Exemplar, FloatHistogram, Histogram, HistogramSample, Labels, MetricMetadata,
    MetricType, ResetHint, STALE_NAN, Span,
};

use super::*;

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        any::<i64>().prop_map(|n| n as f64),
        (-1_000_000i64..1_000_000, 0u8..6).prop_map(|(m, k)| decimal::join(m, k)),
        Just(f64::from_bits(STALE_NAN)),
        Just(-0.0),
        any::<f32>().prop_map(f64::from),
    ]
}

fn histogram() -> impl Strategy<Value = AnyHistogram> {
    let spans = proptest::collection::vec((any::<i32>(), any::<u32>()), 0..4).prop_map(|s| {
        s.into_iter()
            .map(|(offset, length)| Span { offset, length })
            .collect::<Vec<_>>()
    });

    let hint = prop_oneof![
        Just(ResetHint::Unknown),
        Just(ResetHint::Reset),
        Just(ResetHint::NotReset),
        Just(ResetHint::Gauge)
    ];

    let custom = proptest::collection::vec(-10.0f64..10.0, 0..4);
    (
        any::<bool>(),
        hint,
        any::<i32>(),
        spans,
        proptest::collection::vec(any::<i64>(), 0..6),
        custom,
        any::<u64>(),
    )
        .prop_map(
            |(float, reset_hint, schema, positive_spans, buckets, custom_values, count)| {
                if float {
                    AnyHistogram::Float(Arc::new(FloatHistogram {
                        reset_hint,
                        schema,
                        zero_threshold: 0.001,
                        zero_count: 2.5,
                        count: count as f64,
                        sum: 4.5,
                        positive_spans: positive_spans.clone(),
                        positive_buckets: buckets.iter().map(|b| *b as f64).collect(),
                        negative_spans: positive_spans,
                        negative_buckets: vec![1.5],
                        custom_values,
                    }))
                } else {
                    AnyHistogram::Int(Arc::new(Histogram {
                        reset_hint,
                        schema,
                        zero_threshold: 0.001,
                        zero_count: 2,
                        count,
                        sum: -0.0,
                        positive_spans,
                        positive_buckets: buckets.clone(),
                        negative_spans: Vec::new(),
                        negative_buckets: buckets,
                        custom_values,
                    }))
                }
            },
        )
}

proptest! {
    #[test]
    fn floats_round_trip_bit_for_bit(samples in proptest::collection::vec(
        (any::<u32>(), any::<i64>(), value(), prop_oneof![3 => Just(0i64), 1 => any::<i64>()]), 0..60)) {
        let mut writer = EntryWriter::new(3, "t");
        for (reference, t, v, start) in &samples {
            writer.float_with_start(*reference, *t, *v, *start);
        }
        let draft = writer.finish();
        let entry = EntryReader::new(draft.payload()).expect("own bytes");
        let read: Vec<_> = entry.floats().map(|f| f.expect("own bytes")).collect();
        prop_assert_eq!(read.len(), samples.len());
        for (got, (reference, t, v, start)) in read.iter().zip(&samples) {
            prop_assert_eq!((got.reference, got.t, got.v.to_bits(), got.start), (*reference, *t, v.to_bits(), *start));
        }
    }

    #[test]
    fn all_kinds_round_trip_in_any_order(
        h in proptest::collection::vec((any::<u32>(), any::<i64>(), any::<i64>(), histogram()), 0..8),
        text in "\\PC{0,20}",
    ) {
        let mut writer = EntryWriter::new(0, "tenant");
        let exemplar = Exemplar { labels: Labels::from_pairs([("trace_id", "1")]), v: 0.25, t: -5 };
        let metadata = MetricMetadata { kind: MetricType::StateSet, unit: text.clone(), help: text };
        let samples: Vec<_> = h.into_iter().map(|(r, t, st, h)| (r, HistogramSample { t, st, h })).collect();
        for (reference, sample) in &samples {
            writer.define(*reference, &[1, 2, 3]);
            writer.histogram(*reference, sample);
            writer.float(*reference, 1, 2.0);
            writer.exemplar(*reference, &exemplar);
            writer.metadata("m", &metadata);
        }
        let draft = writer.finish();
        let entry = EntryReader::new(draft.payload()).expect("own bytes");
        prop_assert_eq!(entry.tenant(), "tenant");
        let refs: Vec<u32> = samples.iter().map(|(r, _)| *r).collect();
        let read: Vec<_> = entry.histograms().map(|h| h.expect("own bytes")).map(|h| (h.reference, h.sample)).collect();
        prop_assert_eq!(&read, &samples);
        let defined = definitions(&entry);
        prop_assert!(defined.iter().all(|(_, labels)| *labels == [1, 2, 3]));
        prop_assert_eq!(defined.iter().map(|(r, _)| *r).collect::<Vec<_>>(), refs.clone());
        prop_assert_eq!(entry.floats().map(|f| f.expect("own bytes").reference).collect::<Vec<_>>(), refs.clone());
        for (got, want) in entry.exemplars().zip(&refs) {
            let got = got.expect("own bytes");
            prop_assert_eq!((got.reference, got.exemplar), (*want, exemplar.clone()));
        }
        prop_assert_eq!(entry.metadata().count(), refs.len());
        for got in entry.metadata() {
            prop_assert_eq!(&got.expect("own bytes").metadata, &metadata);
        }
    }

    #[test]
    fn definitions_come_back_as_they_were(
        series in proptest::collection::vec((any::<u32>(), proptest::collection::vec(0u8..6, 0..8), 0u8..8), 0..40),
    ) {
        let mut writer = EntryWriter::new(0, "tenant");
        let mut want = Vec::new();
        for (reference, labels, odd) in series {
            let mut bytes = Vec::new();
            for n in labels {
                trireme_model::push_label(&mut bytes, b"name", &vec![n; usize::from(n) * 40]);
            }
            match odd {
                0 => bytes.extend_from_slice(&[0x0a, 0x80, 0x00]),
                1 => bytes.push(7),
                // Another section between.
                2 => writer.float(reference, 1, 2.0),
                _ => {}
            }
            writer.define(reference, &bytes);
            want.push((reference, bytes));
        }
        let draft = writer.finish();
        prop_assert_eq!(definitions(&EntryReader::new(draft.payload()).expect("own bytes")), want);
    }

    #[test]
    fn damaged_bytes_never_panic(seed in any::<u64>(), flips in 1usize..6, cut in 0usize..400) {
        let mut rng = SeededRng::new(seed);
        let mut writer = EntryWriter::new(0, "tenant");
        for r in 0..20u32 {
            writer.define(r, b"abcdef");
            writer.define(r, Labels::from_pairs([("job", "a"), ("n", if r % 2 == 0 { "0" } else { "1" })]).as_bytes());
            writer.float_with_start(r, i64::from(r), rng.unit(), i64::from(r % 3));
            let h = AnyHistogram::Int(Arc::new(Histogram { positive_buckets: vec![1, 2, 3], ..Histogram::default() }));
            writer.histogram(r, &HistogramSample { t: 1, st: 2, h });
            writer.metadata("m", &MetricMetadata::default());
        }
        let mut bytes = writer.finish().payload().to_vec();
        for _ in 0..flips {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next_u64() as u8;
        }
        bytes.truncate(bytes.len().saturating_sub(cut));
        if let Ok(entry) = EntryReader::new(&bytes) {
            let mut defined = entry.definitions();
            let items = std::iter::from_fn(|| defined.next().map(drop)).count() + entry.floats().count() + entry.histograms().count()
                + entry.exemplars().count() + entry.metadata().count();
            prop_assert!(items <= bytes.len() * 2);
        }
    }

    #[test]
    fn released_references_round_trip(mut refs in proptest::collection::vec(any::<u32>(), 0..50)) {
        refs.sort_unstable();
        let draft = write_release(1, &refs);
        prop_assert_eq!(read_release(draft.payload()).collect::<Result<Vec<_>, _>>(), Ok(refs));
    }
}

#[test]
fn markers_round_trip_and_short_ones_are_refused() {
    assert_eq!(read_marker(write_marker(2, -7).payload()), Ok(-7));
    assert!(read_marker(&[1, 2]).is_err());
}

/// A scrape of node-exporter-like series: counters of bytes and seconds, gauges, many constants.
fn realistic(rng: &mut SeededRng, series: u32, scrape: i64) -> f64 {
    let step = i64::from(series % 97) * 13 * scrape;
    match series % 10 {
        0 | 1 => 0.0,
        2 => f64::from(series % 5),
        3 => (1_000_000 + step * 1_000 + rng.below(1_000) as i64) as f64,
        4 => (i64::from(series) * 100 + step) as f64 / 100.0,
        5 => (8_589_934_592u64 - 4096 * rng.below(100_000)) as f64,
        6 => 1.0,
        7 => (rng.below(10_000) as f64) / 1e3,
        8 => (step + rng.below(50) as i64) as f64,
        _ => rng.unit(),
    }
}

#[test]
fn a_sample_of_realistic_data_takes_at_most_six_bytes() {
    let mut rng = SeededRng::new(1);
    let mut bytes = 0;

    let mut samples = 0;
    for scrape in 0..20 {
        let mut writer = EntryWriter::new(0, "default-tenant");
        // Four targets whose series interleave over four shards: every second reference is here.
        for series in (0..500u32).map(|i| i * 2) {
            writer.float(
                series,
                1_700_000_000_000 + scrape * 15_000 + i64::from(series / 250),
                realistic(&mut rng, series, scrape),
            );
            samples += 1;
        }
        bytes += writer.finish().len();
    }

    let each = bytes as f64 / f64::from(samples);
    println!("{each:.2} bytes a sample");
    assert!(each <= 6.0, "{each} bytes a sample");
}

fn definitions(entry: &EntryReader<'_>) -> Vec<(u32, Vec<u8>)> {
    let mut all = Vec::new();
    let mut read = entry.definitions();
    while let Some(definition) = read.next() {
        let (reference, labels) = definition.expect("own bytes");
        all.push((reference, labels.to_vec()));
    }
    all
}

#[test]
fn a_label_is_written_once_and_few_bytes_never_become_many() {
    let labels = |n: usize| {
        let value = format!("{}-{n}", "x".repeat(300));
        Labels::from_pairs([
            ("instance", "host-with-a-long-name:9100"),
            ("long", value.as_str()),
            ("z", "1"),
        ])
    };

    let mut writer = EntryWriter::new(0, "tenant");

    let mut plain = 0;
    for n in 0..1_000u32 {
        let labels = labels(n as usize % 10);
        plain += labels.as_bytes().len();
        writer.define(n, labels.as_bytes());
    }

    let draft = writer.finish();
    assert!(
        draft.len() < 10_000 && plain > 300_000,
        "{} of {plain}",
        draft.len()
    );

    // A section that names one long label many times.
    let mut payload = b"\x01t\x07".to_vec();
    let mut body = vec![0, 0x80, 0x10, 0];

    super::varint::put_bytes(&mut body, &[b'x'; 1_000]);
    body.extend_from_slice(&[1; 2_047]);
    payload.extend_from_slice(&(body.len() as u32).to_le_bytes());
    payload.extend_from_slice(&body);

    let entry = EntryReader::new(&payload).expect("the frame is sound");
    assert!(matches!(
        entry.definitions().next(),
        Some(Err(EntryError::Range(_)))
    ));
}
