//! Questions to many blocks of a bucket.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use trireme_bucket::ReaderOptions;
use trireme_model::{MatchOp, Matcher, Tenant};
use trireme_promql::{Cancel, Value};
use trireme_query::{
    InstantQuery, Querier, QuerierOptions, Queries, QueryContext, RangeQuery, Selection,
};

mod support;

use support::{BucketOnly, START_MS, Slow, TENANT, WINDOW_MS, fill};

const BLOCKS: usize = 24;
/// Long enough that a busy machine has begun the last of some requests before the first one has ended.
const REQUEST: Duration = Duration::from_millis(40);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn context() -> QueryContext {
    QueryContext::new(Tenant::new(TENANT).unwrap(), Cancel::never())
}

fn querier(bucket: BucketOnly) -> Querier {
    Querier::new(Arc::new(bucket), QuerierOptions::default())
}

fn range(querier: &Querier, expr: &str) -> (String, Vec<String>) {
    let end_ms = START_MS + BLOCKS as i64 * WINDOW_MS - 1;
    let query = RangeQuery {
        expr: expr.into(),
        start_ms: START_MS,
        end_ms,
        step_ms: WINDOW_MS / 4,
        lookback: None,
    };

    let result = querier.range(&context(), &query).unwrap();
    (format!("{:?}", result.value), result.warnings)
}

/// Reads blocks of a directory; `headers` keeps copies of indexes.
fn open(
    dir: &Path,
    headers: Option<&Path>,
    runtime: &tokio::runtime::Runtime,
) -> (BucketOnly, Arc<support::Counts>) {
    open_slow(dir, headers, runtime, Duration::ZERO)
}

/// The same with requests that take so long.
fn open_slow(
    dir: &Path,
    headers: Option<&Path>,
    runtime: &tokio::runtime::Runtime,
    delay: Duration,
) -> (BucketOnly, Arc<support::Counts>) {
    let store = Arc::new(Slow::new(dir, delay));
    let counts = Arc::clone(&store.counts);
    let options = ReaderOptions {
        header_dir: headers.map(Path::to_owned),
        ..ReaderOptions::default()
    };
    let bucket = BucketOnly::new(store, runtime, options);

    counts.take();
    (bucket, counts)
}

#[test]
fn many_blocks_are_read_side_by_side_with_few_requests_each() {
    let dir = tempfile::tempdir().unwrap();
    let headers = tempfile::tempdir().unwrap();
    let runtime = runtime();

    fill(dir.path(), BLOCKS, 60, &[]);
    let exprs = [
        "sum(metric_001_total)",
        "sum by (mode) (rate(cpu_seconds_total[10m]))",
    ];
    let (mut alone, _) = open(dir.path(), None, &runtime);

    alone.side_by_side = false;
    let alone = querier(alone);
    let want: Vec<_> = exprs.iter().map(|expr| range(&alone, expr)).collect();
    assert!(want.iter().all(
        |(value, warnings)| value.contains("metric") | (value.len() > 100) && warnings.is_empty()
    ));

    for headers in [None, Some(headers.path())] {
        let (bucket, counts) = open_slow(dir.path(), headers, &runtime, REQUEST);
        let asked = querier(bucket);
        assert_eq!(range(&asked, exprs[0]), want[0], "{headers:?}");

        let (requests, _, side_by_side) = counts.take();
        assert!(requests <= 3 * BLOCKS as u64, "{requests} requests");
        assert!(side_by_side >= BLOCKS as u64 / 2, "{side_by_side} at once");

        assert_eq!(range(&asked, exprs[0]), want[0], "{headers:?}");
        assert_eq!(counts.take().0, 0, "all of it is in memory");
        assert_eq!(range(&asked, exprs[1]), want[1], "{headers:?}");
        counts.take();

        // What is on the local disk outlives the process.
        let (bucket, counts) = open(dir.path(), headers, &runtime);
        let asked = querier(bucket);

        assert_eq!(range(&asked, exprs[0]), want[0], "{headers:?}");
        let most = if headers.is_some() {
            BLOCKS
        } else {
            3 * BLOCKS
        } as u64;

        let (requests, ..) = counts.take();
        assert!(requests <= most, "{requests} requests, {headers:?}");
        let all = Selection {
            start_ms: START_MS,
            end_ms: i64::MAX,
            ..Selection::default()
        };

        let names = asked.label_names(&context(), &all).unwrap().items;
        assert_eq!(names, ["__name__", "cpu", "instance", "job", "mode"]);
        assert_eq!(counts.take().0, 0, "names come from what is open");
    }
}

#[test]
fn a_block_that_is_gone_or_damaged_is_named_and_the_rest_answers() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    fill(dir.path(), BLOCKS, 60, &[]);

    let (bucket, _) = open(dir.path(), None, &runtime);
    let names: Vec<_> = bucket
        .metas
        .blocks()
        .iter()
        .map(|block| block.meta.ulid.to_string())
        .collect();

    std::fs::remove_dir_all(dir.path().join(&names[3])).unwrap();
    let chunks = dir.path().join(&names[5]).join("chunks/000001");
    let zeros = vec![0; std::fs::metadata(&chunks).unwrap().len() as usize];

    std::fs::write(&chunks, zeros).unwrap();
    let index = dir.path().join(&names[7]).join("index");
    let short = std::fs::read(&index).unwrap();

    std::fs::write(&index, &short[..short.len() / 2]).unwrap();

    let asked = querier(bucket);

    let (_, warnings) = range(&asked, "sum(metric_001_total)");
    for (number, name) in names.iter().enumerate() {
        let is_named = warnings.iter().any(|warning| warning.contains(name));
        assert_eq!(
            is_named,
            [3, 5, 7].contains(&number),
            "{number}: {warnings:?}"
        );
    }

    let whole = QueryContext {
        partial_response: false,
        ..context()
    };
    let query = InstantQuery {
        expr: "sum(metric_001_total)".into(),
        time_ms: START_MS + 4 * WINDOW_MS + WINDOW_MS / 2,
        lookback: None,
    };

    assert!(
        asked.instant(&whole, &query).is_ok(),
        "it asks for none of them"
    );

    let query = InstantQuery {
        time_ms: START_MS + 3 * WINDOW_MS + WINDOW_MS / 2,
        ..query
    };
    assert!(asked.instant(&whole, &query).is_err());
}

#[test]
fn blocks_with_other_external_labels_are_other_series() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    fill(dir.path(), 1, 40, &[("cluster", "A")]);
    fill(dir.path(), 1, 40, &[("cluster", "B")]);

    let (bucket, _) = open(dir.path(), None, &runtime);
    let asked = querier(bucket);
    let count = |expr: &str| {
        let query = InstantQuery {
            expr: expr.into(),
            time_ms: START_MS + WINDOW_MS / 2,
            lookback: None,
        };
        let result = asked.instant(&context(), &query).unwrap();
        match result.value {
            Value::Vector(samples) => samples.len(),
            other => panic!("{other:?}"),
        }
    };

    assert_eq!(count("metric_001_total"), 40);
    assert_eq!(count(r#"metric_001_total{cluster="A"}"#), 20);
    assert_eq!(
        count(r#"sum by (cluster) (rate(metric_001_total{cluster=~"A|B"}[10m]))"#),
        2
    );
    assert_eq!(count(r#"metric_001_total{cluster=""}"#), 0);

    let all = Selection {
        start_ms: START_MS,
        end_ms: i64::MAX,
        ..Selection::default()
    };

    assert_eq!(
        asked
            .label_values(&context(), "cluster", &all)
            .unwrap()
            .items,
        ["A", "B"]
    );

    assert!(
        asked
            .label_names(&context(), &all)
            .unwrap()
            .items
            .contains(&"cluster".to_owned())
    );

    let cluster = Matcher::new("cluster", MatchOp::Equal, "B").unwrap();
    let of_b = Selection {
        matchers: vec![vec![cluster]],
        ..all
    };
    let series = asked.series(&context(), &of_b).unwrap().items;

    assert_eq!(series.len(), 40);
    assert!(
        series
            .iter()
            .all(|labels| labels.get("cluster") == Some("B"))
    );
}
