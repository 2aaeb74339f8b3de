//! What questions to a bucket of many small blocks cost: time, requests and bytes, cold and warm.
//!
//! `cargo run --release -p trireme-query --example bucket -- [blocks] [series] [delay in ms] [one-by-one]`
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use trireme_bucket::ReaderOptions;
use trireme_model::{MatchOp, Matcher, Tenant};
use trireme_promql::Cancel;
use trireme_query::{Querier, QuerierOptions, Queries, QueryContext, RangeQuery, Selection};

#[path = "../tests/support/mod.rs"]
mod support;

use support::{BucketOnly, START_MS, Slow, TENANT, WINDOW_MS};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Questions {
    querier: Querier,
    context: QueryContext,
    end_ms: i64,
}

impl Questions {
    fn range(&self, expr: &str) -> String {
        let query = RangeQuery {
            expr: expr.into(),
            start_ms: START_MS,
            end_ms: self.end_ms - 1,
            step_ms: 3_600_000,
            lookback: None,
        };

        let result = self.querier.range(&self.context, &query).unwrap();
        assert!(result.warnings.is_empty(), "{:?}", result.warnings);
        let text = format!("{:?}", result.value);

        format!("{} bytes of answer", text.len())
    }

    fn ask(&self, question: &str) -> String {
        let selection = |metric: Option<&str>| Selection {
            matchers: metric
                .map(|m| vec![Matcher::new("__name__", MatchOp::Equal, m).unwrap()])
                .into_iter()
                .collect(),
            start_ms: START_MS,
            end_ms: self.end_ms - 1,
            limit: 0,
        };

        let context = &self.context;

        let all = selection(None);
        match question {
            "one metric" => self.range("sum(metric_010_total)"),
            "rate by mode" => self.range("sum by (mode) (rate(cpu_seconds_total[5m]))"),
            "label names" => self
                .querier
                .label_names(context, &all)
                .unwrap()
                .items
                .len()
                .to_string(),
            "metric names" => self
                .querier
                .label_values(context, "__name__", &all)
                .unwrap()
                .items
                .len()
                .to_string(),
            _ => self
                .querier
                .series(context, &selection(Some("metric_010_total")))
                .unwrap()
                .items
                .len()
                .to_string(),
        }
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |default: usize| args.next().map_or(default, |arg| arg.parse().unwrap());
    let blocks = number(360);
    let series = number(2_000);
    let delay = number(30);
    let one_by_one = args.next().is_some();

    let dir = std::env::temp_dir().join(format!("trireme-bucket-cost-{blocks}-{series}"));
    if !dir.exists() {
        support::fill(&dir, blocks, series, &[]);
    }

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();

    let headers = tempfile::tempdir().unwrap();
    let store = Arc::new(Slow::new(&dir, Duration::from_millis(delay as u64)));
    let counts = Arc::clone(&store.counts);
    let tell = |what: &str, began: Instant, answer: String| {
        let took = began.elapsed();
        let (requests, bytes, side_by_side) = counts.take();
        let megabytes = bytes as f64 / 1e6;
        println!(
            "{what:<28} {took:>10.1?} {requests:>6} requests {megabytes:>8.1} MB {side_by_side:>4} at once  {answer}"
        );
    };

    let open = || {
        let options = ReaderOptions {
            header_dir: Some(headers.path().to_owned()),
            ..ReaderOptions::default()
        };
        let mut bucket = BucketOnly::new(store.clone(), &runtime, options);
        bucket.side_by_side = !one_by_one;
        bucket
    };

    let end_ms = START_MS + blocks as i64 * WINDOW_MS;
    let questions = |bucket: BucketOnly| {
        let context = QueryContext::new(Tenant::new(TENANT).unwrap(), Cancel::never());
        Questions {
            querier: Querier::new(Arc::new(bucket), QuerierOptions::default()),
            context,
            end_ms,
        }
    };

    println!(
        "{blocks} blocks of 2 h, {series} series at 60 s, {delay} ms a request, one by one: {one_by_one}"
    );

    let began = Instant::now();
    let bucket = open();
    tell("list", began, String::new());

    let began = Instant::now();
    let asked = questions(bucket);
    let answer = asked.ask("one metric");

    tell("one metric, nothing here", began, answer);

    let ahead = |bucket: &BucketOnly| {
        runtime.block_on(Arc::clone(&bucket.reader).open_ahead(bucket.metas.newest_first()));
    };

    for question in [
        "one metric",
        "rate by mode",
        "label names",
        "metric names",
        "series of a metric",
    ] {
        let bucket = open();
        counts.take();
        let began = Instant::now();

        ahead(&bucket);
        let opened = began.elapsed();
        counts.take();

        let asked = questions(bucket);
        for state in ["cold", "warm", "warm"] {
            let began = Instant::now();
            let answer = asked.ask(question);
            tell(&format!("{question}, {state}"), began, answer);
        }

        println!("  (opening all blocks from copies: {opened:.1?})");
    }
}
