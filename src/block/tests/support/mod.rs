//! Data and peers that the tests of this crate share.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use trireme_base::SeededRng;
use trireme_block::{BlockMeta, IterSource, SeriesInput, WriteOptions, write_block};
use trireme_model::{
    AnyHistogram, FloatHistogram, Histogram, HistogramSample, Labels, STALE_NAN, Span,
};

pub const HOUR: i64 = 3_600_000;
/// A window on the two-hour grid.
pub const START: i64 = 1_700_006_400_000 / (2 * HOUR) * (2 * HOUR);
pub const END: i64 = START + 2 * HOUR;

/// Series of all kinds, in label order: irregular times, NaN, Inf, stale markers, UTF-8, histograms.
pub fn series(count: usize, seed: u64) -> Vec<SeriesInput> {
    let mut rng = SeededRng::new(seed);
    let mut all: Vec<SeriesInput> = (0..count).map(|i| one(i, &mut rng)).collect();
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    all
}

fn one(i: usize, rng: &mut SeededRng) -> SeriesInput {
    let metric = ["requests_total", "temperature", "latency_seconds", "größe"][i % 4];
    let instance = format!("host-{}:9100", i / 4);
    let job = if i.is_multiple_of(3) { "node" } else { "api" };

    let mut pairs = vec![("__name__", metric), ("instance", &instance), ("job", job)];
    if i.is_multiple_of(5) {
        pairs.push(("zone", "zürich ☃"));
    }

    let mut series = SeriesInput {
        labels: Labels::from_pairs(pairs),
        ..SeriesInput::default()
    };
    let mut t = START + rng.below(15_000) as i64;

    let mut total = 0.0;
    while t < END {
        if metric == "latency_seconds" {
            total += rng.below(4) as f64;
            let h = histogram(total as u64, i % 8 == 2);
            series.histograms.push(HistogramSample { t, st: 0, h });
        } else {
            total += rng.below(100) as f64;
            series.times.push(t);
            series.values.push(match (metric, rng.below(60)) {
                ("requests_total", _) => total,
                (_, 0) => f64::from_bits(STALE_NAN),
                (_, 1) => f64::INFINITY,
                (_, 2) => f64::NAN,
                _ => rng.unit() * 100.0,
            });
        }
        t += 14_000 + rng.below(2_000) as i64;
    }

    series
}

/// A growing histogram; its buckets become more with time.
fn histogram(n: u64, float: bool) -> AnyHistogram {
    let buckets = 1 + (n / 100).min(5) as u32;
    let counts: Vec<u64> = (0..u64::from(buckets)).map(|b| n / (b + 1)).collect();
    let count = counts.iter().sum::<u64>() + 1;
    let spans = vec![Span {
        offset: -2,
        length: buckets,
    }];
    let mut last = 0;
    let deltas = counts
        .iter()
        .map(|c| (*c as i64) - std::mem::replace(&mut last, *c as i64))
        .collect();

    if float {
        return AnyHistogram::Float(Arc::new(FloatHistogram {
            schema: 2,
            zero_threshold: 0.001,
            zero_count: 1.0,
            count: count as f64,
            sum: n as f64 * 0.7,
            positive_spans: spans,
            positive_buckets: counts.iter().map(|c| *c as f64).collect(),
            ..FloatHistogram::default()
        }));
    }

    AnyHistogram::Int(Arc::new(Histogram {
        schema: 2,
        zero_threshold: 0.001,
        zero_count: 1,
        count,
        sum: n as f64 * 0.7,
        positive_spans: spans,
        positive_buckets: deltas,
        ..Histogram::default()
    }))
}

pub fn write(dir: &Path, series: &[SeriesInput], options: &WriteOptions) -> (BlockMeta, PathBuf) {
    let mut source = IterSource(series.iter().cloned());
    let meta = write_block(dir, START..END, options, &mut source)
        .unwrap()
        .unwrap();
    let path = dir.join(meta.ulid.to_string());
    (meta, path)
}

/// True if a program can be started; says so if not.
pub fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        #[allow(clippy::print_stderr)]
        {
            eprintln!("LEFT OUT: {program} is not installed");
        }
    }

    found
}

/// Runs a program that must succeed and answers what it printed.
pub fn run(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success(),
        "{program} {args:?}: {text}{}",
        String::from_utf8_lossy(&out.stderr)
    );

    text
}
