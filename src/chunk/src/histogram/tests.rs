use std::sync::Arc;

use proptest::prelude::*;
use trireme_model::{AnyHistogram, FloatHistogram, Histogram, HistogramSample, STALE_NAN, Span};

use super::*;
use crate::{ChunkError, Encoding};

fn span(offset: i32, length: u32) -> Span {
    Span { offset, length }
}

fn sample(t: i64, h: Histogram) -> HistogramSample {
    HistogramSample {
        t,
        st: 0,
        h: AnyHistogram::Int(Arc::new(h)),
    }
}

/// A counter histogram with the given buckets as (index, count), indexes ascending.
fn counter(buckets: &[(i32, u64)]) -> Histogram {
    let mut h = Histogram {
        schema: 1,
        zero_threshold: 2f64.powi(-128),
        zero_count: 2,
        ..Histogram::default()
    };

    let mut end = 0;

    let mut last = 0i64;
    for (index, count) in buckets {
        match h.positive_spans.last_mut() {
            Some(open) if *index == end => open.length += 1,
            _ => h.positive_spans.push(span(index - end, 1)),
        }
        end = index + 1;
        h.positive_buckets.push(*count as i64 - last);
        last = *count as i64;
        h.count += count;
    }

    h.count += 2;
    h.sum = h.count as f64 / 3.0;
    h
}

/// The same with float counts.
fn float_of(h: &Histogram) -> FloatHistogram {
    let absolute = |deltas: &[i64]| {
        deltas
            .iter()
            .scan(0, |sum, d| {
                *sum += d;
                Some(*sum as f64)
            })
            .collect()
    };
    FloatHistogram {
        reset_hint: h.reset_hint,
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        zero_count: h.zero_count as f64,
        count: h.count as f64,
        sum: h.sum,
        positive_spans: h.positive_spans.clone(),
        positive_buckets: absolute(&h.positive_buckets),
        negative_spans: h.negative_spans.clone(),
        negative_buckets: absolute(&h.negative_buckets),
        custom_values: h.custom_values.clone(),
    }
}

/// Count, sum and the non-empty buckets: what a histogram means, however its spans are cut.
fn meaning(h: &AnyHistogram) -> (u64, u64, Vec<(i32, u64)>) {
    let f = match h {
        AnyHistogram::Int(h) => float_of(h),
        AnyHistogram::Float(h) => (**h).clone(),
    };
    let indexes = super::layout::indexes(&f.positive_spans);
    let full = indexes
        .zip(&f.positive_buckets)
        .filter(|(_, n)| **n != 0.0)
        .map(|(i, n)| (i, n.to_bits()));

    (f.count.to_bits(), f.sum.to_bits(), full.collect())
}

/// Opens a chunk with start timestamps if `with_starts`.
fn start(first: &HistogramSample, hint: ResetHint, with_starts: bool) -> HistogramAppender {
    let opened = match with_starts {
        true => HistogramAppender::start_with_starts(first, hint),
        false => HistogramAppender::start(first, hint),
    };
    opened.expect("valid")
}

/// Encodes into as many chunks as the rules ask for; with start timestamps if a sample has one.
fn encode(samples: &[HistogramSample]) -> Vec<(Encoding, Vec<u8>)> {
    let with_starts = samples.iter().any(|s| s.st != 0);
    let mut chunks = Vec::new();

    let mut open: Option<HistogramAppender> = None;
    for s in samples {
        let hint = match &mut open {
            None => ResetHint::Unknown,
            Some(appender) => match appender.append(s).expect("valid") {
                Appended::NeedsNewChunk(hint) => hint,
                _ => continue,
            },
        };
        let new = start(s, hint, with_starts);
        chunks.extend(
            open.replace(new)
                .map(|o| (o.encoding(), o.bytes().to_vec())),
        );
    }

    chunks.extend(open.map(|o| (o.encoding(), o.bytes().to_vec())));
    chunks
}

fn decode_all(chunks: &[(Encoding, Vec<u8>)]) -> Vec<HistogramSample> {
    chunks
        .iter()
        .flat_map(|(e, c)| decode_histograms(*e, c).expect("own chunk"))
        .collect()
}

/// Series of histograms: counters with growing buckets, resets, stale markers, kinds mixed.
fn series() -> impl Strategy<Value = Vec<HistogramSample>> {
    let bucket = (-20i32..20, 0u64..1 << 40);
    let step = (
        prop::collection::btree_map(-20i32..20, 0u64..50, 0..6),
        0u8..20,
        any::<bool>(),
    );

    let first = prop::collection::vec(bucket, 0..4);
    (
        prop::collection::vec(step, 1..60),
        first,
        any::<i32>(),
        any::<bool>(),
    )
        .prop_map(|(steps, first, start, with_starts)| {
            let mut buckets = std::collections::BTreeMap::from_iter(first);
            let mut t = i64::from(start);
            let mut st = 0;

            let mut all = Vec::new();
            for (add, event, float) in steps {
                t += 15_000;
                for (index, n) in add {
                    *buckets.entry(index).or_insert(0) += n;
                }

                let mut h = match event {
                    0 => Histogram {
                        sum: f64::from_bits(STALE_NAN),
                        ..Histogram::default()
                    },
                    1 => {
                        buckets.clear();
                        st = if with_starts { t - 7_000 } else { 0 };
                        counter(&[])
                    }
                    _ => counter(&buckets.iter().map(|(i, n)| (*i, *n)).collect::<Vec<_>>()),
                };

                if event == 2 {
                    h.reset_hint = ResetHint::Gauge;
                }

                if event == 3 {
                    h.schema = 2;
                }

                if event == 4 {
                    st = 0;
                }

                let h = if float && event > 10 {
                    AnyHistogram::Float(Arc::new(float_of(&h)))
                } else {
                    AnyHistogram::Int(Arc::new(h))
                };

                all.push(HistogramSample { t, st, h });
            }

            all
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn histograms_come_back_with_the_same_meaning(samples in series()) {
        let read = decode_all(&encode(&samples));
        prop_assert_eq!(read.len(), samples.len());
        for (a, b) in samples.iter().zip(&read) {
            prop_assert_eq!((a.t, a.st), (b.t, b.st));
            prop_assert_eq!(meaning(&a.h), meaning(&b.h));
        }
    }

    #[test]
    fn every_truncation_is_an_error(samples in series()) {
        for (encoding, chunk) in encode(&samples) {
            for len in 0..chunk.len() {
                prop_assert!(decode_histograms(encoding, &chunk[..len]).is_err());
            }
        }
    }

    #[test]
    fn random_and_damaged_bytes_never_panic(
        noise in prop::collection::vec(any::<u8>(), 0..300), samples in series(), at in any::<prop::sample::Index>()
    ) {
        for encoding in [2, 3, 5, 6] {
            let encoding = Encoding::try_from(encoding).expect("known");
            let _ = decode_histograms(encoding, &noise);
            let _ = HistogramAppender::resume(encoding, &noise);
            for (_, mut chunk) in encode(&samples) {
                let at = at.index(chunk.len());
                chunk[at] = chunk[at].wrapping_add(noise.first().copied().unwrap_or(1));
                let _ = decode_histograms(encoding, &chunk);
                let _ = HistogramAppender::resume(encoding, &chunk);
            }
        }
    }

    #[test]
    fn a_resumed_chunk_continues_with_the_same_bytes(samples in series()) {
        let with_starts = samples.iter().any(|s| s.st != 0);
        let mut open = start(&samples[0], ResetHint::Unknown, with_starts);
        for s in &samples[1..] {
            let mut resumed = HistogramAppender::resume(open.encoding(), open.bytes()).expect("own chunk");
            let appended = open.append(s).expect("valid");
            prop_assert_eq!(resumed.append(s).expect("valid"), appended);
            prop_assert_eq!(resumed.bytes(), open.bytes());
            if let Appended::NeedsNewChunk(hint) = appended {
                open = start(s, hint, with_starts);
            }
        }
    }
}

#[test]
fn new_buckets_recode_and_a_vanished_or_smaller_bucket_is_a_reset() {
    let mut open = HistogramAppender::start(&sample(1, counter(&[(0, 5)])), ResetHint::Unknown)
        .expect("valid");
    assert_eq!(
        open.append(&sample(2, counter(&[(0, 6)]))),
        Ok(Appended::Done)
    );
    assert_eq!(
        open.append(&sample(3, counter(&[(-3, 1), (0, 6), (1, 0)]))),
        Ok(Appended::Recoded)
    );

    // Bucket 1 was empty: it may go.
    assert_eq!(
        open.append(&sample(4, counter(&[(-3, 1), (0, 7)]))),
        Ok(Appended::Done)
    );

    let reset = Ok(Appended::NeedsNewChunk(ResetHint::Reset));
    assert_eq!(open.append(&sample(5, counter(&[(-3, 0), (0, 9)]))), reset);
    assert_eq!(open.append(&sample(5, counter(&[(0, 99)]))), reset);

    let mut zoomed = counter(&[(-3, 9), (0, 9)]);
    zoomed.schema = 0;
    let changed = open.append(&sample(5, zoomed));

    assert_eq!(changed, Ok(Appended::NeedsNewChunk(ResetHint::Unknown)));
    assert_eq!(open.count(), 4);
}

#[test]
fn gauges_go_down_in_one_chunk() {
    let gauge = |t, buckets: &[(i32, u64)]| {
        sample(
            t,
            Histogram {
                reset_hint: ResetHint::Gauge,
                ..counter(buckets)
            },
        )
    };

    let samples = [
        gauge(1, &[(0, 9), (1, 1)]),
        gauge(2, &[(0, 3)]),
        gauge(3, &[(4, 1)]),
    ];

    let chunks = encode(&samples);
    assert_eq!(chunks.len(), 1);

    for (a, b) in samples.iter().zip(decode_all(&chunks)) {
        assert_eq!(meaning(&a.h), meaning(&b.h));
        let AnyHistogram::Int(h) = b.h else {
            panic!("kind changed")
        };
        assert_eq!(h.reset_hint, ResetHint::Gauge);
    }
}

#[test]
fn custom_bounds_are_kept_and_a_change_of_them_cuts() {
    let custom = |bounds: &[f64]| {
        let mut h = counter(&[(0, 1), (1, 2)]);
        (h.schema, h.zero_threshold, h.zero_count, h.custom_values) =
            (-53, 0.0, 0, bounds.to_vec());
        h
    };

    let samples = [
        sample(1, custom(&[0.1, 1.0 / 3.0])),
        sample(2, custom(&[0.1, 1.0 / 3.0])),
        sample(3, custom(&[0.1, 2.0])),
    ];

    let chunks = encode(&samples);
    assert_eq!(chunks.len(), 2);
    let AnyHistogram::Int(h) = &decode_all(&chunks)[1].h else {
        panic!("kind changed")
    };

    assert_eq!(h.custom_values, [0.1, 1.0 / 3.0]);
}

#[test]
fn refuses_histograms_whose_spans_and_buckets_disagree() {
    let mut h = counter(&[(0, 1)]);
    h.positive_buckets.push(1);
    let err = HistogramAppender::start(&sample(1, h), ResetHint::Unknown).expect_err("bad");
    assert!(matches!(err, ChunkError::BadHistogram(_)));
}

/// The bytes that Prometheus 3.16 makes of the same samples, as hex.
const OF_PROMETHEUS: [(Encoding, &str); 2] = [
    (
        Encoding::HistogramSt,
        "000783ff3f50624dd2f1a9fc8c65278fa2913ff00000000000008c6c027e0ea624d9a5555555555555c43099ffe44d9a55\
         555555555559f0f2316255555555555553ed314626b0f9f0752e36e75555555555554fbc75c0",
    ),
    (
        Encoding::FloatHistogramSt,
        "000783ff3f50624dd2f1a9fc8c65278fa10040000000000000ffc0000000000000ffc0000000000000ffc000000000000100\
         00000000000002c027e0ea636036cd2aaaaaaaaaaaaf097fff6036a0fb099fffb01eb0b8ed06d9a5555555555555eb0bda0f\
         e1e462db02d2aaaaaaaaaaaaed07b02fed314632d61fd8173f0752ed61f6dceaaaaaaaaaaaacea13fef1d700",
    ),
];

#[test]
fn chunks_with_starts_have_the_bytes_of_prometheus() {
    let times = [1_000, 16_000, 31_000, 46_001, 61_000, 76_000, 91_000];

    let starts = [400, 400, 400, 0, 61_000, 61_000, 90_500];
    for (encoding, hex) in OF_PROMETHEUS {
        let samples = (0u64..).zip(times.iter().zip(starts)).map(|(i, (t, st))| {
            let n = 3 + 2 * i;
            let h = Histogram {
                schema: 1,
                zero_threshold: 0.001,
                zero_count: 1,
                count: n + 1,
                sum: n as f64 / 3.0,
                positive_spans: vec![span(2, 2)],
                positive_buckets: vec![1 + i as i64, 1],
                ..Histogram::default()
            };

            let h = match encoding {
                Encoding::HistogramSt => AnyHistogram::Int(Arc::new(h)),
                _ => AnyHistogram::Float(Arc::new(float_of(&h))),
            };

            HistogramSample { t: *t, st, h }
        });

        let chunks = encode(&samples.collect::<Vec<_>>());
        let written: String = chunks[0]
            .1
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();

        assert_eq!(
            (chunks.len(), chunks[0].0, written.as_str()),
            (1, encoding, hex)
        );
    }
}

#[test]
fn starts_are_kept_when_buckets_are_added_and_behind_the_reach_of_the_header() {
    let mut open: Option<HistogramAppender> = None;

    let st = |i: i64| if i < 150 { 0 } else { 77 + i / 180 };
    for i in 0..200 {
        let buckets = [(0, 1 + i as u64), (3, 1)];
        let at = HistogramSample {
            st: st(i),
            ..sample(i * 10, counter(&buckets[..1 + (i > 160) as usize]))
        };

        match &mut open {
            Some(open) => assert_ne!(
                open.append(&at),
                Ok(Appended::NeedsNewChunk(ResetHint::Reset)),
                "{i}"
            ),
            None => open = Some(start(&at, ResetHint::Unknown, true)),
        }
    }

    let open = open.expect("just opened");
    assert_eq!(
        (open.encoding(), open.count()),
        (Encoding::HistogramSt, 200)
    );

    let read = decode_histograms(open.encoding(), open.bytes()).expect("own chunk");
    assert!(
        read.iter()
            .zip(0..)
            .all(|(s, i)| (s.t, s.st) == (i * 10, st(i)))
    );
}

#[test]
fn a_chunk_with_starts_is_full_when_its_count_has_no_more_bits() {
    let first = HistogramSample {
        st: 1,
        ..sample(2, counter(&[]))
    };

    let mut open = start(&first, ResetHint::Unknown, true);
    for t in 3..2 + 0x3fff {
        assert_eq!(
            open.append(&HistogramSample { t, ..first.clone() }),
            Ok(Appended::Done)
        );
    }

    assert_eq!(
        open.append(&HistogramSample {
            t: 1 << 20,
            ..first
        }),
        Err(ChunkError::Full(0x3fff))
    );

    assert_eq!(
        decode_histograms(open.encoding(), open.bytes())
            .expect("own chunk")
            .len(),
        0x3fff
    );
}

#[test]
fn reads_start_timestamps() {
    // Encoding 5 by hand: 2 samples, first start known, start changes at sample 1; no buckets.
    let mut w = crate::bits::BitWriter::with_header(&[0x80, 2, 0x81]);
    super::layout::Layout::default().put(&mut w);
    use crate::varbit::{put_int, put_uint};

    put_int(&mut w, 1_000);
    put_uint(&mut w, 4);
    put_uint(&mut w, 4);
    w.push(u128::from(2f64.to_bits()), 64);
    w.varint(1_000 - 400);

    for dod in [15_000, 1, 1] {
        put_int(&mut w, dod);
    }

    w.push(0, 1);
    put_int(&mut w, 1_000 - 900);
    let read = decode_histograms(Encoding::HistogramSt, w.bytes()).expect("readable");

    assert_eq!(
        read.iter().map(|s| (s.t, s.st)).collect::<Vec<_>>(),
        [(1_000, 400), (16_000, 900)]
    );

    let AnyHistogram::Int(first) = &read[0].h else {
        panic!("kind changed")
    };

    assert_eq!((first.count, first.reset_hint), (4, ResetHint::Reset));
}
