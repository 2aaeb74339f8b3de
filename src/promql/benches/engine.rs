//! What queries cost per input sample, over data that is already in columns.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trireme_model::Labels;
use trireme_promql::{
    Cancel, Columns, Engine, EngineOptions, ParserOptions, QueryOptions, Select, SelectError,
    SelectRequest, SeriesRead, SeriesSet, parse,
};

const SCRAPE_MS: i64 = 15_000;
const HOURS: i64 = 6;
const END_MS: i64 = HOURS * 3_600_000;

/// Series with a sample every 15 s.
struct Memory(Vec<Arc<Column>>);

struct Column {
    labels: Labels,
    t: Vec<i64>,
    v: Vec<f64>,
}

impl Select for Memory {
    fn select(&self, request: &SelectRequest, _: &Cancel) -> Result<SeriesSet, SelectError> {
        let matches = |labels: &Labels| {
            request
                .matchers
                .iter()
                .all(|m| m.matches(labels.get(&m.name).unwrap_or("")))
        };

        let chosen = self.0.iter().filter(|c| matches(&c.labels));
        let series = chosen
            .map(|c| Box::new(Read(Arc::clone(c))) as Box<dyn SeriesRead>)
            .collect();

        Ok(SeriesSet {
            series,
            warnings: Vec::new(),
        })
    }
}

struct Read(Arc<Column>);

impl SeriesRead for Read {
    fn labels(&self) -> &Labels {
        &self.0.labels
    }

    fn read_within(
        &self,
        start_ms: i64,
        end_ms: i64,
        samples_max: usize,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        let range =
            self.0.t.partition_point(|t| *t < start_ms)..self.0.t.partition_point(|t| *t <= end_ms);
        out.float_t.extend_from_slice(&self.0.t[range.clone()]);
        out.float_v.extend_from_slice(&self.0.v[range]);
        out.check_within(samples_max)
    }
}

fn memory() -> Memory {
    let samples = (END_MS / SCRAPE_MS) as usize;
    let t: Vec<i64> = (0..samples).map(|i| i as i64 * SCRAPE_MS + 7).collect();
    let mut columns = Vec::new();
    let mut add = |name: &str, labels: &[(&str, String)], rate: f64| {
        let pairs = labels
            .iter()
            .map(|(n, v)| (*n, v.as_str()))
            .chain([("__name__", name)]);
        let labels = Labels::from_pairs(pairs);
        let v = (0..samples).map(|i| i as f64 * rate).collect();
        columns.push(Arc::new(Column {
            labels,
            t: t.clone(),
            v,
        }));
    };

    for i in 0..1_000 {
        add(
            "requests_total",
            &[
                ("instance", format!("i{i}")),
                ("job", format!("j{}", i % 10)),
            ],
            3.0,
        );
    }

    for i in 0..100 {
        for (b, le) in ["0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"]
            .iter()
            .enumerate()
        {
            add(
                "latency_bucket",
                &[("instance", format!("i{i}")), ("le", (*le).to_owned())],
                (b + 1) as f64,
            );
        }
    }

    Memory(columns)
}

fn bench(c: &mut Criterion) {
    let memory = memory();
    let samples_per_series = (END_MS / SCRAPE_MS) as u64;
    let cases = [
        (
            "sum_rate_1000_series_6h",
            "sum(rate(requests_total[5m]))",
            1_000,
        ),
        (
            "sum_by_rate_1000_series_6h",
            "sum by (job) (rate(requests_total[5m]))",
            1_000,
        ),
        ("selector_1000_series_6h", "requests_total", 1_000),
        (
            "avg_over_time_1000_series_6h",
            "max(avg_over_time(requests_total[5m]))",
            1_000,
        ),
        (
            "histogram_quantile_100x8_buckets_6h",
            "histogram_quantile(0.9, sum by (le) (rate(latency_bucket[5m])))",
            800,
        ),
        (
            "vector_binary_1000_series_6h",
            "requests_total / requests_total",
            2_000,
        ),
    ];

    let mut group = c.benchmark_group("range_query");
    group.sample_size(10);

    for threads in [1, 2] {
        let engine = Engine::new(EngineOptions {
            threads,
            ..EngineOptions::default()
        });
        for (name, query, series) in cases {
            let expr = parse(query, &ParserOptions::default()).expect("valid query");
            group.throughput(Throughput::Elements(series * samples_per_series));
            group.bench_function(format!("{name}/threads_{threads}"), |b| {
                b.iter(|| {
                    let options = QueryOptions::default();
                    let cancel = Cancel::never();
                    let times = (60_000, END_MS);
                    black_box(engine.range(&memory, &expr, query, times, 60_000, &options, &cancel))
                        .expect("query runs")
                });
            });
        }
    }

    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
