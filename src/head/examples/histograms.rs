//! Memory and CPU of native histograms in the head.
//!
//! `cargo run --release -p trireme-head --example histograms -- [series] [scrapes] [buckets]`
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::sync::Arc;
use std::time::Duration;

use trireme_base::{Boot, Incarnation, StreamId};
use trireme_head::{IngestLimits, IngestOutput, Shard, ShardOptions};
use trireme_model::{
    AnyHistogram, Histogram, HistogramSample, SeriesKey, Span, Tenant, push_label,
};
use trireme_wire::batch::{Batch, BatchSeries};

#[path = "../benches/support/process.rs"]
mod process;

use process::{cpu, rss};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START_MS: i64 = 1_700_006_400_000;
const STEP_MS: i64 = 15_000;

fn main() {
    let mut args = std::env::args()
        .skip(1)
        .map(|a| a.parse().expect("a number"));
    let series: usize = args.next().unwrap_or(5_000);
    let scrapes = args.next().unwrap_or(120) as i64;
    let buckets = args.next().unwrap_or(160) as u32;
    let dir = tempfile::tempdir().expect("temp dir");
    let own = StreamId {
        incarnation: Incarnation(1),
        boot: Boot(1),
    };
    let shard = Shard::new(ShardOptions::new(
        0,
        1,
        7_200_000,
        dir.path().to_owned(),
        own,
    ))
    .expect("opens");

    let limits = IngestLimits {
        max_future_ms: 86_400_000,
        ..IngestLimits::default()
    };
    let tenant = Tenant::default();
    let mut spent = Duration::ZERO;
    let mut out = IngestOutput::default();
    let base = rss();

    let mut logged = 0;
    for scrape in 0..scrapes {
        for first in (0..series).step_by(100) {
            let batch = request(first..series.min(first + 100), scrape, buckets);
            let idx: Vec<u32> = (0..batch.series.len() as u32).collect();
            let before = cpu();
            shard.ingest(&tenant, &batch, &idx, &limits, START_MS, &mut out);
            spent += cpu() - before;
            logged += out.drafts.iter().map(|draft| draft.len()).sum::<usize>();
            assert!(out.outcome.rejections.is_empty());
            out.clear();
        }
    }

    let samples = series as f64 * scrapes as f64;
    println!(
        "{series} series, {scrapes} scrapes, {buckets} buckets: {:.0} B resident a series, {:.2} us CPU a sample, {:.0} log bytes a sample",
        rss().saturating_sub(base) as f64 / series as f64,
        spent.as_secs_f64() * 1e6 / samples,
        logged as f64 / samples
    );

    drop(shard);
}

/// Histograms of a latency: a few observations between two scrapes, most of them in the middle.
fn request(ids: std::ops::Range<usize>, scrape: i64, buckets: u32) -> Batch {
    let mut batch = Batch::default();
    for id in ids {
        let from = batch.label_bytes.len();
        let handler = format!("/api/v1/{}", id % 50);
        let instance = format!("10.0.{}.{}:9090", id / 50 / 250, id / 50 % 250);
        let labels = [
            ("__name__", "request_duration_seconds"),
            ("handler", &handler),
            ("instance", &instance),
        ];

        labels
            .iter()
            .for_each(|(n, v)| push_label(&mut batch.label_bytes, n.as_bytes(), v.as_bytes()));

        let n = batch.histograms.len() as u32;
        batch.histograms.push(sample(id as u64, scrape, buckets));
        batch.series.push(BatchSeries {
            key: SeriesKey::of(Tenant::default().seed(), &batch.label_bytes[from..]),
            labels: from as u32..batch.label_bytes.len() as u32,
            samples: 0..0,
            histograms: n..n + 1,
            exemplars: 0..0,
        });
    }

    batch
}

fn sample(id: u64, scrape: i64, buckets: u32) -> HistogramSample {
    let counts: Vec<u64> = (0..u64::from(buckets))
        .map(|bucket: u64| {
            let weight = 1
                + (u64::from(buckets) / 2).saturating_sub(bucket.abs_diff(u64::from(buckets) / 2))
                    / 8;
            let noise = id
                .wrapping_mul(0x9e37_79b9)
                .wrapping_add(bucket.wrapping_mul(0x85eb_ca6b))
                >> 7
                & 3;
            weight * 100 + scrape as u64 * u64::from(weight > 5) * (weight + noise)
        })
        .collect();

    let mut before = 0;
    let deltas = counts.iter().map(|count| {
        let delta = *count as i64 - before;
        before = *count as i64;
        delta
    });

    let h = Histogram {
        schema: 3,
        zero_threshold: 1e-128,
        count: counts.iter().sum(),
        sum: counts.iter().sum::<u64>() as f64 * 0.0123,
        positive_spans: vec![Span {
            offset: -20,
            length: buckets,
        }],
        positive_buckets: deltas.collect(),
        ..Histogram::default()
    };

    HistogramSample {
        t: START_MS + scrape * STEP_MS,
        st: 0,
        h: AnyHistogram::Int(Arc::new(h)),
    }
}
