//! What queries say they cost, held to what Prometheus 3.16 answers over the same data: two series, a sample every 15 s.

use trireme_model::Labels;
use trireme_promql::promqltest::MemoryStorage;
use trireme_promql::{Cancel, Engine, ParserOptions, QueryOptions, QueryStats, parse};

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
    let expr = parse(query, &ParserOptions::default()).expect("an expression");
    let (engine, storage, options, never) =
        (Engine::default(), storage(), QueryOptions::default(), Cancel::never());
    let result = if step_ms == 0 {
        engine.instant(&storage, &expr, query, T_MS, &options, &never)
    } else {
        engine.range(&storage, &expr, query, (T_MS, T_MS + length_ms), step_ms, &options, &never)
    };
    result.expect("a result").stats
}

#[test]
fn samples_and_series_are_counted_as_prometheus_does() {
    let pinned = format!("sum_over_time(g[1m:15s] @ {})", T_MS / 1000);
    let quantile = format!("quantile_over_time(time() / 1e11, g[1m:15s] @ {})", T_MS / 1000);
    // Query, range and step, then total, read and series.
    let cases = [
        ("sum_over_time(g[1m:15s])", 0, 0, (8, 8, 2)),
        ("sum_over_time(g[1m:15s])", 20 * MINUTE_MS, 5 * MINUTE_MS, (40, 40, 2)),
        (pinned.as_str(), 20 * MINUTE_MS, 5 * MINUTE_MS, (40, 8, 2)),
        (quantile.as_str(), 20 * MINUTE_MS, 5 * MINUTE_MS, (40, 8, 2)),
        ("max_over_time(sum_over_time(g[1m:15s])[2m:30s])", 5 * MINUTE_MS, MINUTE_MS, (192, 60, 2)),
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
        assert_eq!(got, (total, read, series), "{query} over {length_ms} by {step_ms}");
    }
}
