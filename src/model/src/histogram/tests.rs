//! Properties of arithmetic over any histogram, well-formed or not.

use proptest::prelude::*;

use super::*;

fn counts() -> impl Strategy<Value = Vec<f64>> {
    proptest::collection::vec(prop_oneof![Just(0.0), 0.0..100.0f64], 0..12)
}

/// Spans that hold exactly `buckets` buckets.
fn spans(buckets: usize) -> impl Strategy<Value = Vec<Span>> {
    proptest::collection::vec((0i32..5, 1u32..4), 0..8).prop_map(move |parts| {
        let mut left = buckets as u32;

        let mut out = Vec::new();
        for (offset, length) in parts {
            let length = length.min(left);
            if length > 0 {
                out.push(Span { offset, length });
            }
            left -= length;
        }

        if left > 0 {
            out.push(Span {
                offset: 2,
                length: left,
            });
        }

        out
    })
}

fn side() -> impl Strategy<Value = (Vec<Span>, Vec<f64>)> {
    counts().prop_flat_map(|counts| (spans(counts.len()), Just(counts)))
}

/// Well-formed, with a count that fits the buckets.
fn histogram() -> impl Strategy<Value = FloatHistogram> {
    (
        -2i32..4,
        prop_oneof![Just(0.001), Just(0.6), Just(3.0)],
        0.0..10.0f64,
        side(),
        side(),
        any::<bool>(),
    )
        .prop_map(
            |(schema, zero_threshold, zero_count, (ps, pc), (ns, nc), custom)| {
                let mut h = FloatHistogram {
                    schema,
                    zero_threshold,
                    zero_count,
                    positive_spans: ps,
                    positive_buckets: pc,
                    negative_spans: ns,
                    negative_buckets: nc,
                    ..FloatHistogram::default()
                };

                if custom {
                    h.schema = CUSTOM_BUCKETS_SCHEMA;
                    h.custom_values = (0..60)
                        .map(|i| f64::from(i) * 0.5 - 3.0 + f64::from(schema))
                        .collect();
                    h.negative_spans.clear();
                    h.negative_buckets.clear();
                    (h.zero_threshold, h.zero_count) = (0.0, 0.0);
                }

                h.count = h.buckets().map(|b| b.count).sum();
                h.sum = h.count * 1.5;
                h
            },
        )
}

/// Whatever a broken peer may send.
fn garbage() -> impl Strategy<Value = FloatHistogram> {
    let span = (any::<i32>(), prop_oneof![0u32..5, any::<u32>()]);
    let spans = proptest::collection::vec(
        span.prop_map(|(offset, length)| Span { offset, length }),
        0..4,
    );
    let floats = proptest::collection::vec(any::<f64>(), 0..6);
    let schema = prop_oneof![Just(CUSTOM_BUCKETS_SCHEMA), -4i32..9, any::<i32>()];

    (
        schema,
        any::<[f64; 4]>(),
        spans.clone(),
        floats.clone(),
        spans,
        floats.clone(),
        floats,
    )
        .prop_map(
            |(schema, [zero_threshold, zero_count, count, sum], ps, pc, ns, nc, custom_values)| {
                FloatHistogram {
                    reset_hint: ResetHint::Unknown,
                    schema,
                    zero_threshold,
                    zero_count,
                    count,
                    sum,
                    positive_spans: ps,
                    positive_buckets: pc,
                    negative_spans: ns,
                    negative_buckets: nc,
                    custom_values,
                }
            },
        )
}

fn total(h: &FloatHistogram) -> f64 {
    h.buckets().map(|b| b.count).sum()
}

proptest! {
    #[test]
    fn addition_keeps_observations_and_commutes(a in histogram(), b in histogram()) {
        let (mut x, mut y) = (a.clone(), b.clone());
        match (x.add(&b), y.add(&a)) {
            (Ok(_), Ok(_)) => {
                prop_assert!((total(&x) - total(&a) - total(&b)).abs() < 1e-6);
                x.compact();
                y.compact();
                prop_assert!((total(&x) - total(&y)).abs() < 1e-6);
                prop_assert_eq!(&x.positive_spans, &y.positive_spans);
            }
            (Err(_), Err(_)) => prop_assert_ne!(a.uses_custom_buckets(), b.uses_custom_buckets()),
            _ => prop_assert!(false, "one order works and the other does not"),
        }
    }

    #[test]
    fn a_counter_that_only_grew_was_not_reset(a in histogram(), b in histogram()) {
        let mut later = a.clone();
        if later.add(&b).is_ok() {
            // Only if b did not make the layout finer or the zero bucket narrower than a's, which it cannot.
            prop_assert!(!later.detect_reset(&a) || later.zero_threshold != a.zero_threshold
                || later.schema != a.schema || later.custom_values != a.custom_values);
        }
    }

    #[test]
    fn the_parts_below_and_above_a_value_are_the_whole(h in histogram(), at in -20.0..20.0f64) {
        if h.uses_custom_buckets() {
            return Ok(());
        }
        let (below, above) = (h.keep_below(at), h.keep_above(at));
        prop_assert!((total(&below) + total(&above) - total(&h)).abs() < 1e-6 * (1.0 + total(&h)));
    }

    #[test]
    fn coarser_schemas_keep_observations(h in histogram(), by in 0i32..3) {
        let mut coarse = h.clone();
        coarse.reduce_resolution(h.schema - by);
        prop_assert!((total(&coarse) - total(&h)).abs() < 1e-6);
        prop_assert!(!coarse.detect_reset(&h));
    }

    #[test]
    fn running_sums_agree_with_additions(list in proptest::collection::vec(histogram(), 1..5)) {
        let mut plain = list[0].clone();
        let mut sum = HistogramSum::new(&list[0]);
        for h in &list[1..] {
            prop_assert_eq!(plain.add(h).is_ok(), sum.add(h).is_ok());
        }
        plain.compact();
        let sum = sum.total();
        prop_assert!((total(&plain) - total(&sum)).abs() < 1e-6);
        prop_assert_eq!(plain.zero_threshold, sum.zero_threshold);
    }

    #[test]
    fn garbage_does_no_harm(mut a in garbage(), b in garbage(), at in any::<f64>()) {
        let _ = (a.validate(), a.to_string(), a.has_overflow(), a.size_in_samples(), a.equals(&b));
        let _ = (a.detect_reset(&b), a.keep_below(at), a.keep_above(at));
        prop_assert!(a.buckets().take(100).count() < 100 && a.buckets_reversed().take(100).count() < 100);
        let mut sum = HistogramSum::new(&a);
        let _ = (sum.add(&b), sum.total());
        let _ = a.sub(&b);
        a.reduce_resolution(-3);
        a.compact();
        a.mul(at);
        a.div(at);
    }
}
