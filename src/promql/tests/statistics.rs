//! What queries say they cost, held to what Prometheus 3.16 answers over the same data: two series, a sample every 15 s.

use std::sync::Arc;

use trireme_model::{FloatHistogram, Labels, Span};
use trireme_promql::promqltest::MemoryStorage;
use trireme_promql::{
    Cancel, CostEstimate, Engine, EngineOptions, ParserOptions, QueryError, QueryOptions,
    QueryResult, QueryStats, parse,
};

const MINUTE_MS: i64 = 60_000;
/// A time with an hour of samples before it and some after it.
const T_MS: i64 = 60 * MINUTE_MS;

fn storage() -> MemoryStorage {
    let mut storage = MemoryStorage::default();
    for name in ["g", "c"] {
        for instance in ["a", "b"] {
            let labels = Labels::from_pairs([("__name__", name), ("instance", instance)]);
            for n in 0..=400 {
                storage.append_float(&labels, n * 15_000, n as f64);
            }
        }
    }

    storage
}

/// Statistics of a query over `length_ms` from [`T_MS`] on; of an instant query if `step_ms` is 0.
fn stats(query: &str, length_ms: i64, step_ms: i64) -> QueryStats {
    run(
        &Engine::default(),
        query,
        length_ms,
        step_ms,
        &QueryOptions::default(),
    )
    .expect("a result")
    .stats
}

fn run(
    engine: &Engine,
    query: &str,
    length_ms: i64,
    step_ms: i64,
    options: &QueryOptions,
) -> Result<QueryResult, QueryError> {
    let expr = parse(query, &ParserOptions::default()).expect("an expression");
    let storage = storage();
    let never = Cancel::never();
    if step_ms == 0 {
        return engine.instant(&storage, &expr, query, T_MS, options, &never);
    }

    engine.range(
        &storage,
        &expr,
        query,
        (T_MS, T_MS + length_ms),
        step_ms,
        options,
        &never,
    )
}

/// What a query is expected to cost over half an hour of samples and two histograms.
fn estimate(query: &str, (start_ms, end_ms): (i64, i64), step_ms: i64) -> CostEstimate {
    let mut storage = MemoryStorage::default();
    for name in ["g", "c"] {
        for instance in ["a", "b"] {
            let labels = Labels::from_pairs([("__name__", name), ("instance", instance)]);
            (0..=120).for_each(|n| storage.append_float(&labels, n * 15_000, n as f64));
        }
    }

    let h = FloatHistogram {
        count: 6.0,
        sum: 3.0,
        positive_spans: vec![Span {
            offset: 0,
            length: 3,
        }],
        positive_buckets: vec![1.0, 2.0, 3.0],
        ..FloatHistogram::default()
    };

    storage.append_histogram(
        &Labels::from_pairs([("__name__", "h")]),
        30 * MINUTE_MS,
        Arc::new(h),
    );

    let expr = parse(query, &ParserOptions::default()).expect("an expression");
    let options = QueryOptions::default();
    let never = Cancel::never();

    Engine::default()
        .estimate(
            &storage,
            &expr,
            (start_ms, end_ms),
            step_ms,
            &options,
            &never,
        )
        .expect("an estimate")
}

#[test]
fn samples_and_series_are_counted_as_prometheus_does() {
    let pinned = format!("sum_over_time(g[1m:15s] @ {})", T_MS / 1000);
    let quantile = format!(
        "quantile_over_time(time() / 1e11, g[1m:15s] @ {})",
        T_MS / 1000
    );

    // Query, range and step, then total, read and series.
    let cases = [
        ("sum_over_time(g[1m:15s])", 0, 0, (8, 8, 2)),
        (
            "sum_over_time(g[1m:15s])",
            20 * MINUTE_MS,
            5 * MINUTE_MS,
            (40, 40, 2),
        ),
        (pinned.as_str(), 20 * MINUTE_MS, 5 * MINUTE_MS, (40, 8, 2)),
        (quantile.as_str(), 20 * MINUTE_MS, 5 * MINUTE_MS, (40, 8, 2)),
        (
            "max_over_time(sum_over_time(g[1m:15s])[2m:30s])",
            5 * MINUTE_MS,
            MINUTE_MS,
            (192, 60, 2),
        ),
        ("rate(c[5m])", 5 * MINUTE_MS, MINUTE_MS, (240, 80, 2)),
        ("sum_over_time(g[1m:15s])", 350_000, MINUTE_MS, (48, 48, 2)),
        ("g + g", 0, 0, (4, 4, 4)),
        ("g", 10 * MINUTE_MS, MINUTE_MS, (22, 22, 2)),
        ("rate(c[1m])", 20 * MINUTE_MS, 5 * MINUTE_MS, (40, 40, 2)),
        ("g[1m]", 0, 0, (8, 8, 2)),
    ];

    for (query, length_ms, step_ms, (total, read, series)) in cases {
        let got = stats(query, length_ms, step_ms);
        let got = (got.total_samples, got.samples_read, got.series);
        assert_eq!(
            got,
            (total, read, series),
            "{query} over {length_ms} by {step_ms}"
        );
    }
}

#[test]
fn costs_are_estimated_as_prometheus_does() {
    const END: i64 = 30 * MINUTE_MS;

    let instant = (END, END);
    let cases = [
        ("g", instant, 0, (2, 2)),
        ("sum_over_time(g[1m])", instant, 0, (2, 8)),
        ("g[5m]", instant, 0, (2, 40)),
        ("rate(c[5m])", (0, END), MINUTE_MS, (2, 242)),
        (
            "sum_over_time(g[1m:15s])",
            (END - 20 * MINUTE_MS, END),
            5 * MINUTE_MS,
            (2, 168),
        ),
        ("g", (END - 10 * MINUTE_MS, END), MINUTE_MS, (2, 22)),
        ("g @ 1800", (END - 10 * MINUTE_MS, END), MINUTE_MS, (2, 2)),
        ("g + g offset 5m", instant, 0, (4, 4)),
        ("nosuch", instant, 0, (0, 0)),
        ("1 + time()", instant, 0, (0, 0)),
        ("h", instant, 0, (1, 13)),
        ("histogram_count(h)", instant, 0, (1, 11)),
    ];

    for (query, span, step_ms, want) in cases {
        let got = estimate(query, span, step_ms);
        assert_eq!(
            (got.series, got.samples_read),
            want,
            "{query} over {span:?} by {step_ms}"
        );
        assert!(got.warnings.is_empty(), "{query}: {:?}", got.warnings);
    }

    let info = estimate("info(g, {a=\"b\"})", instant, 0);
    assert_eq!((info.series, info.samples_read), (2, 2));
    assert!(
        info.warnings[0].contains("info() selects additional series at runtime"),
        "{info:?}"
    );
}

#[test]
fn limits_of_cost_hold_for_a_query_as_a_whole_and_only_with_the_switch() {
    let subquery = "sum_over_time(g[1m:15s])";
    let limited = |query: &str, length_ms, step_ms, query_cost, series_max, samples_read_max| {
        let engine = Engine::new(EngineOptions {
            query_cost,
            ..EngineOptions::default()
        });
        let options = QueryOptions {
            series_max,
            samples_read_max,
            ..QueryOptions::default()
        };
        run(&engine, query, length_ms, step_ms, &options).map(|result| result.stats.samples_read)
    };

    // Steps of a subquery that no window holds are read too.
    assert_eq!(
        limited(subquery, 20 * MINUTE_MS, 5 * MINUTE_MS, true, None, None),
        Ok(168)
    );
    assert_eq!(
        limited(
            subquery,
            20 * MINUTE_MS,
            5 * MINUTE_MS,
            true,
            None,
            Some(168)
        ),
        Ok(168)
    );

    let too_many = Err(QueryError::TooManySamplesRead);
    assert_eq!(
        limited(
            subquery,
            20 * MINUTE_MS,
            5 * MINUTE_MS,
            true,
            None,
            Some(167)
        ),
        too_many
    );

    assert_eq!(
        limited(
            "max_over_time(rate(c[5m])[5m:1m])",
            0,
            0,
            true,
            None,
            Some(20)
        ),
        too_many
    );

    assert_eq!(limited("g[5m]", 0, 0, true, None, Some(39)), too_many);
    assert_eq!(limited("g smoothed", 0, 0, true, None, Some(39)), too_many);
    assert_eq!(limited("g + g", 0, 0, true, Some(4), Some(4)), Ok(4));
    assert_eq!(
        limited("g + g", 0, 0, true, Some(3), None),
        Err(QueryError::TooManySeries)
    );
    assert_eq!(
        limited("g + g", 0, 0, true, Some(0), Some(0)),
        Ok(4),
        "0 is no bound"
    );

    assert_eq!(limited("g + g", 0, 0, false, Some(3), Some(3)), Ok(4));
}

#[test]
fn steps_are_told_apart_on_request() {
    // Total and read of each step, as Prometheus 3.16 answers.
    type Steps<'a> = &'a [(u64, u64)];

    let cases: [(&str, i64, Steps<'_>); 4] = [
        ("sum_over_time(g[1m:15s])", 5 * MINUTE_MS, &[(8, 8); 5]),
        (
            "rate(c[5m])",
            MINUTE_MS,
            &[(40, 40), (40, 8), (40, 8), (40, 8), (40, 8)],
        ),
        (
            "g @ 3600 + g",
            MINUTE_MS,
            &[(4, 4), (4, 2), (4, 2), (4, 2), (4, 2)],
        ),
        ("sum(g)", MINUTE_MS, &[(2, 2); 5]),
    ];

    for (query, step_ms, want) in cases {
        let options = QueryOptions {
            per_step_stats: true,
            ..QueryOptions::default()
        };
        let got = run(&Engine::default(), query, 4 * step_ms, step_ms, &options)
            .expect("a result")
            .stats;
        let steps: Vec<_> = got
            .by_step
            .iter()
            .map(|(_, total, read)| (*total, *read))
            .collect();

        assert_eq!(steps, want, "{query}");
        assert!(
            got.by_step
                .iter()
                .zip(0..)
                .all(|((t, ..), n)| *t == T_MS + n * step_ms)
        );

        // The sums are those of a query that is not asked for steps.
        let plain = stats(query, 4 * step_ms, step_ms);
        assert_eq!(
            (got.total_samples, got.samples_read),
            (plain.total_samples, plain.samples_read)
        );

        assert!(plain.by_step.is_empty());
        let sums = want
            .iter()
            .fold((0, 0), |sum, step| (sum.0 + step.0, sum.1 + step.1));

        assert_eq!(sums, (got.total_samples, got.samples_read), "{query}");
    }
}
