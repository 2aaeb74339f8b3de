//! Random messages for the differential tests, and damage to their bytes.

use proptest::collection::vec;
use proptest::prelude::*;
use trireme_model::{
    AnyHistogram, FloatHistogram, Histogram as H, HistogramSample, ResetHint, Span,
};

use super::v1::{
    BucketSpan, Count, Exemplar, Histogram, Label, MetricMetadata, Sample, TimeSeries,
    WriteRequest, ZeroCount,
};
use super::{check_histogram, v2};

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        Just(0.0),
        Just(f64::from_bits(trireme_model::STALE_NAN)),
        (0..1000i32).prop_map(f64::from)
    ]
}

fn label() -> impl Strategy<Value = Label> {
    ("[a-d_]{0,3}|__name__|[a-z]{130}", "[ab]{0,2}|\\PC{0,5}")
        .prop_map(|(name, value)| Label { name, value })
}

fn sample() -> impl Strategy<Value = Sample> {
    (number(), any::<i64>()).prop_map(|(value, timestamp)| Sample { value, timestamp })
}

fn exemplar() -> impl Strategy<Value = Exemplar> {
    (vec(label(), 0..3), number(), any::<i64>()).prop_map(|(labels, value, timestamp)| Exemplar {
        labels,
        value,
        timestamp,
    })
}

/// Half of them are consistent, so that they survive the check.
pub(crate) fn histogram(with_start: bool) -> impl Strategy<Value = Histogram> {
    let counts = vec(0..50i64, 0..6);
    let wild = (
        vec((any::<i32>(), 0..4u32), 0..3),
        vec(number(), 0..4),
        any::<bool>(),
        number(),
    );

    (
        counts,
        wild,
        -5..60i32,
        any::<i64>(),
        any::<bool>(),
        0..5i32,
    )
        .prop_map(
            move |(counts, (spans, floats, float, sum), schema, t, good, reset_hint)| {
                let mut h = Histogram {
                    sum,
                    schema,
                    reset_hint,
                    timestamp: t,
                    ..Default::default()
                };

                let deltas = counts
                    .iter()
                    .zip(std::iter::once(&0).chain(&counts))
                    .map(|(a, b)| a - b)
                    .collect();

                h.positive_deltas = deltas;
                h.positive_spans = spans
                    .iter()
                    .map(|(offset, length)| BucketSpan {
                        offset: *offset,
                        length: *length,
                    })
                    .collect();

                h.positive_counts = floats.clone();
                h.count = Some(if float {
                    Count::Float(sum)
                } else {
                    Count::Int(t as u64)
                });

                h.zero_count = Some(if float {
                    ZeroCount::Float(1.5)
                } else {
                    ZeroCount::Int(2)
                });

                h.start_timestamp = if with_start { t } else { 0 };
                if good {
                    h.schema = schema.rem_euclid(12) - 3;
                    h.count = Some(Count::Int(counts.iter().sum::<i64>() as u64 + 2));
                    h.zero_count = Some(ZeroCount::Int(2));
                    h.sum = 1.0;
                    h.positive_spans = vec![BucketSpan {
                        offset: -3,
                        length: counts.len() as u32,
                    }];
                } else if float {
                    h.negative_counts = floats;
                    h.custom_values = vec![1.0, 2.0];
                }

                h
            },
        )
}

fn metadata() -> impl Strategy<Value = MetricMetadata> {
    (-1..9i32, "[a-c_]{0,9}", "\\PC{0,9}", "[a-z]{0,3}").prop_map(
        |(r#type, metric_family_name, help, unit)| MetricMetadata {
            r#type,
            metric_family_name,
            help,
            unit,
        },
    )
}

pub(crate) fn v1_request() -> impl Strategy<Value = WriteRequest> {
    let series = (
        vec(label(), 0..5),
        vec(sample(), 0..3),
        vec(exemplar(), 0..2),
        vec(histogram(false), 0..2),
    )
        .prop_map(|(labels, samples, exemplars, histograms)| TimeSeries {
            labels,
            samples,
            exemplars,
            histograms,
        });
    (vec(series, 0..5), vec(metadata(), 0..3)).prop_map(|(timeseries, metadata)| WriteRequest {
        timeseries,
        metadata,
    })
}

pub(crate) fn v2_request() -> impl Strategy<Value = v2::Request> {
    let sample = (number(), any::<i64>(), prop_oneof![Just(0), any::<i64>()]).prop_map(
        |(value, timestamp, start_timestamp)| v2::Sample {
            value,
            timestamp,
            start_timestamp,
        },
    );

    let exemplar =
        (vec(0..9u32, 0..3), number(), any::<i64>()).prop_map(|(labels_refs, value, timestamp)| {
            v2::Exemplar {
                labels_refs,
                value,
                timestamp,
            }
        });

    let refs = vec(0..9u32, 0..4).prop_flat_map(|r| {
        prop_oneof![
            Just(r.clone()),
            Just(r.iter().flat_map(|n| [n % 8, (n + 1) % 8]).collect())
        ]
    });

    let metadata = proptest::option::of((-1..9i32, 0..10u32, 0..10u32)).prop_map(|m| {
        m.map(|(r#type, help_ref, unit_ref)| v2::Metadata {
            r#type,
            help_ref,
            unit_ref,
        })
    });

    let series = (
        refs,
        vec(sample, 0..3),
        vec(histogram(true), 0..2),
        vec(exemplar, 0..2),
        metadata,
    )
        .prop_map(
            |(labels_refs, samples, histograms, exemplars, metadata)| v2::TimeSeries {
                labels_refs,
                samples,
                histograms,
                exemplars,
                metadata,
            },
        );

    let symbols = vec("[a-c]{0,2}|__name__|x_bucket|\\PC{0,3}", 8);
    (symbols, vec(series, 0..5)).prop_map(|(mut symbols, timeseries)| {
        symbols[0].clear();
        v2::Request {
            symbols,
            timeseries,
        }
    })
}

/// Ways to spoil bytes: flip a bit, cut the end off, repeat a piece, insert an unknown field.
pub(crate) fn damage() -> impl Strategy<Value = Vec<(u8, usize, usize)>> {
    vec((0..5u8, any::<usize>(), any::<usize>()), 0..4)
}

pub(crate) fn spoil(bytes: &mut Vec<u8>, damage: &[(u8, usize, usize)]) {
    for (kind, a, b) in damage {
        if bytes.is_empty() {
            return;
        }

        let at = a % bytes.len();
        match kind {
            0 => bytes[at] ^= 1 << (b % 8),
            1 => bytes.truncate(at),
            2 => {
                let piece = bytes[at..(at + b % 20).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            3 => bytes[at] = *b as u8,
            _ => drop(bytes.splice(at..at, [0x7a, 1, 2])),
        }
    }
}

/// What the model makes of a decoded message, converted by other code than the reader's.
pub(crate) fn expected(h: &Histogram) -> Option<HistogramSample> {
    let hints = [
        ResetHint::Unknown,
        ResetHint::Reset,
        ResetHint::NotReset,
        ResetHint::Gauge,
    ];

    let reset_hint = usize::try_from(h.reset_hint)
        .ok()
        .and_then(|n| hints.get(n))
        .copied()
        .unwrap_or_default();

    let (zero_int, zero_float) = match h.zero_count {
        Some(ZeroCount::Int(n)) => (n, 0.0),
        Some(ZeroCount::Float(n)) => (0, n),
        None => (0, 0.0),
    };

    let any = match h.count {
        Some(Count::Float(count)) => AnyHistogram::Float(std::sync::Arc::new(FloatHistogram {
            reset_hint,
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            zero_count: zero_float,
            count,
            sum: h.sum,
            positive_spans: model_spans(&h.positive_spans),
            positive_buckets: h.positive_counts.clone(),
            negative_spans: model_spans(&h.negative_spans),
            negative_buckets: h.negative_counts.clone(),
            custom_values: h.custom_values.clone(),
        })),
        other => AnyHistogram::Int(std::sync::Arc::new(H {
            reset_hint,
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            zero_count: zero_int,
            count: if let Some(Count::Int(n)) = other {
                n
            } else {
                0
            },
            sum: h.sum,
            positive_spans: model_spans(&h.positive_spans),
            positive_buckets: h.positive_deltas.clone(),
            negative_spans: model_spans(&h.negative_spans),
            negative_buckets: h.negative_deltas.clone(),
            custom_values: h.custom_values.clone(),
        })),
    };

    let mut sample = HistogramSample {
        t: h.timestamp,
        st: h.start_timestamp,
        h: any,
    };

    check_histogram(&mut sample).ok().map(|()| sample)
}

fn model_spans(spans: &[BucketSpan]) -> Vec<Span> {
    spans
        .iter()
        .map(|s| Span {
            offset: s.offset,
            length: s.length,
        })
        .collect()
}
