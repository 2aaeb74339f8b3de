//! Series and requests like those of node exporters and kubelets: about 10 labels, 300 bytes.
#![allow(dead_code, missing_docs)]

use std::path::Path;
use std::sync::Arc;

use trireme_base::{Boot, Incarnation, StreamId};
use trireme_head::{IngestLimits, Shard, ShardOptions};
use trireme_model::{FloatSample, SeriesKey, Tenant, push_label};
use trireme_wire::batch::{Batch, BatchSeries};

/// Series of one target.
pub const TARGET_SERIES: usize = 1_000;
/// Series of one request.
pub const REQUEST_SERIES: usize = 2_000;
/// First scrape, at the start of a window of two hours.
pub const START_MS: i64 = 1_700_006_400_000;
/// What clocks show all the time: a tenant without samples may begin then.
pub const NOW_MS: i64 = START_MS;
/// Time between scrapes.
pub const STEP_MS: i64 = 15_000;

/// Limits that take a day ahead of [`NOW_MS`].
pub fn limits() -> IngestLimits {
    IngestLimits {
        max_future_ms: 86_400_000,
        ..IngestLimits::default()
    }
}

pub fn shards(dir: &Path, count: u16) -> Vec<Arc<Shard>> {
    let own = StreamId {
        incarnation: Incarnation(1),
        boot: Boot(1),
    };
    let make = |n: u16| {
        Shard::new(ShardOptions::new(
            n,
            count,
            7_200_000,
            dir.join(n.to_string()),
            own,
        ))
    };

    (0..count).map(|n| make(n).expect("shard opens")).collect()
}

/// Requests of one scrape of `series` series, without samples.
pub fn requests(series: usize) -> Vec<Batch> {
    let seed = Tenant::default().seed();
    let ids: Vec<usize> = (0..series).collect();
    let request = |ids: &[usize]| {
        let mut batch = Batch::default();
        for id in ids {
            let from = batch.label_bytes.len();
            push_labels(&mut batch.label_bytes, *id);
            let n = batch.series.len() as u32;
            batch.samples.push(FloatSample { t: 0, v: 0.0 });
            batch.series.push(BatchSeries {
                key: SeriesKey::of(seed, &batch.label_bytes[from..]),
                labels: from as u32..batch.label_bytes.len() as u32,
                samples: n..n + 1,
                histograms: 0..0,
                exemplars: 0..0,
            });
        }

        batch
    };

    ids.chunks(REQUEST_SERIES).map(request).collect()
}

fn push_labels(out: &mut Vec<u8>, id: usize) {
    let target = id / TARGET_SERIES;
    let of_target = id % TARGET_SERIES;
    let metric = format!("node_subsystem{}_operations_seconds_total", of_target % 250);
    let instance = format!(
        "ip-10-{}-{}-{}.eu-central-1.compute.internal:9100",
        target % 250,
        target / 250 % 250,
        target % 7
    );

    let pod = format!("node-exporter-{:05x}", target * 7919 % 1_048_575);
    let device = format!("device-{}", of_target / 250);
    let cpu = format!("{}", of_target % 64);
    let labels = [
        ("__name__", metric.as_str()),
        ("cluster", "production-eu-central-1"),
        ("container", "node-exporter"),
        ("cpu", &cpu),
        ("device", &device),
        ("endpoint", "metrics"),
        ("instance", &instance),
        ("job", "monitoring/node-exporter"),
        ("namespace", "monitoring-system"),
        ("pod", &pod),
    ];

    labels
        .iter()
        .for_each(|(n, v)| push_label(out, n.as_bytes(), v.as_bytes()));
}

/// Sets the samples of scrape number `scrape`: counters, gauges, constants and a few full-precision floats.
pub fn fill(batch: &mut Batch, request: usize, scrape: i64) {
    let t = START_MS + scrape * STEP_MS;
    for (n, sample) in batch.samples.iter_mut().enumerate() {
        let id = (request * REQUEST_SERIES + n) as i64;
        let noise =
            (id.wrapping_mul(0x9e37_79b9) ^ scrape.wrapping_mul(0x85eb_ca6b)).rem_euclid(1_000);
        let v = match id % 10 {
            0 | 1 => 0.0,
            2 => (id % 7) as f64,
            3 => (id * 1_000_000 + scrape * 1_500 + noise) as f64,
            4 => (id * 100 + scrape * 1_500 + noise) as f64 / 100.0,
            5 => (8_589_934_592 - 4_096 * noise) as f64,
            6 => 1.0,
            7 => noise as f64 / 1e3,
            8 => (scrape * 3 + noise / 300) as f64,
            _ => (noise as f64 + 0.5).sqrt(),
        };

        *sample = FloatSample {
            t: t + id / TARGET_SERIES as i64 % 15_000,
            v,
        };
    }
}

/// Indexes of a batch's series by shard.
pub fn route(batch: &Batch, shards: u16) -> Vec<Vec<u32>> {
    let mut out = vec![Vec::new(); usize::from(shards)];
    for (n, series) in batch.series.iter().enumerate() {
        out[usize::from(series.key.shard(shards))].push(n as u32);
    }
    out
}
