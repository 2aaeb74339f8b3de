//! Writing, opening and reading a block of 10,000 series with 480 samples each.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trireme_block::{
    Block, BlockError, Samples, SeriesInput, SeriesSource, WriteOptions, write_block,
};
use trireme_model::{Labels, MatchOp, Matcher};

const SERIES: usize = 10_000;
const SAMPLES: i64 = 480;

/// Gives the prepared labels with the same samples.
struct Source<'a> {
    labels: std::slice::Iter<'a, Labels>,
}

impl SeriesSource for Source<'_> {
    fn next(&mut self, series: &mut SeriesInput) -> Result<bool, BlockError> {
        let Some(labels) = self.labels.next() else {
            return Ok(false);
        };

        series.clear();
        series.labels = labels.clone();
        series
            .times
            .extend((0..SAMPLES).map(|i| i * 15_000 + i * i % 13));
        series
            .values
            .extend((0..SAMPLES).map(|i| (i * i % 1_000) as f64));

        Ok(true)
    }
}

fn labels() -> Vec<Labels> {
    let one = |i: usize| {
        let metric = format!("metric_{:03}", i % 100);
        let host = format!("host-{:04}", i / 100);
        let fixed = [
            ("cluster", "prod"),
            ("job", "node"),
            ("region", "eu"),
            ("zone", "a"),
            ("team", "infra"),
        ];

        let pairs = fixed
            .into_iter()
            .chain([("__name__", metric.as_str()), ("instance", host.as_str())]);

        Labels::from_pairs(pairs)
    };

    let mut all: Vec<Labels> = (0..SERIES).map(one).collect();
    all.sort();
    all
}

fn block(c: &mut Criterion) {
    let labels = labels();
    let dir = tempfile::tempdir().unwrap();
    let write = || {
        let mut source = Source {
            labels: labels.iter(),
        };
        write_block(
            dir.path(),
            0..7_200_000,
            &WriteOptions::default(),
            &mut source,
        )
        .unwrap()
        .unwrap()
    };

    let mut group = c.benchmark_group("block");
    group.sample_size(10);
    group.throughput(Throughput::Elements(SERIES as u64 * SAMPLES as u64));
    group.bench_function("write, per sample", |b| b.iter(write));

    let path = dir.path().join(write().ulid.to_string());
    group.throughput(Throughput::Elements(SERIES as u64));
    group.bench_function("open", |b| {
        b.iter(|| black_box(Block::open(&path).unwrap().meta().ulid))
    });

    let open = Block::open(&path).unwrap();
    group.bench_function("select all, per series", |b| {
        b.iter(|| black_box(open.select(&[], 0, 7_200_000).unwrap().len()));
    });

    let one = [
        Matcher::new("job", MatchOp::Equal, "node").unwrap(),
        Matcher::new("instance", MatchOp::Equal, "host-0042").unwrap(),
    ];

    group.throughput(Throughput::Elements(100));
    group.bench_function("select 100 of 10,000, per series found", |b| {
        b.iter(|| black_box(open.select(&one, 0, 7_200_000).unwrap().len()));
    });

    let found = open.select(&one, 0, 7_200_000).unwrap();
    let mut samples = Samples::default();
    group.throughput(Throughput::Elements(100 * SAMPLES as u64));
    group.bench_function("read, per sample", |b| {
        b.iter(|| {
            for series in &found {
                samples.clear();
                open.read_series(series, 0, 7_200_000, &mut samples)
                    .unwrap();
                black_box(samples.len());
            }
        });
    });

    group.finish();
}

criterion_group!(benches, block);
criterion_main!(benches);
