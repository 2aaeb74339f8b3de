//! Cost per sample of known series, against the floor of looking them up.
#![allow(missing_docs)]

use std::collections::HashMap;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trireme_head::IngestOutput;
use trireme_model::Tenant;

#[path = "support/workload.rs"]
mod support;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn known_series(c: &mut Criterion) {
    for series in [20_000, 200_000] {
        let dir = tempfile::tempdir().expect("temp dir");
        let shards = support::shards(dir.path(), 1);
        let tenant = Tenant::default();
        let mut requests = support::requests(series);
        let idx: Vec<u32> = (0..support::REQUEST_SERIES as u32).collect();
        let limits = support::limits();
        let mut out = IngestOutput::default();

        let mut floor = HashMap::new();
        for (n, request) in requests.iter_mut().enumerate() {
            support::fill(request, n, 0);
            floor.extend(request.series.iter().map(|s| (s.key.0, 0.0)));
            shards[0].ingest(&tenant, request, &idx, &limits, support::NOW_MS, &mut out);
            out.clear();
        }

        let mut group = c.benchmark_group(format!("known/{series}"));
        group.throughput(Throughput::Elements(support::REQUEST_SERIES as u64));
        let mut scrape = 1;
        let mut at = 0;

        group.bench_function("ingest", |b| {
            b.iter(|| {
                support::fill(&mut requests[at], at, scrape);
                shards[0].ingest(
                    &tenant,
                    &requests[at],
                    &idx,
                    &limits,
                    support::NOW_MS,
                    &mut out,
                );

                black_box(&out.drafts);
                out.clear();
                at = (at + 1) % requests.len();
                scrape += i64::from(at == 0);
            });
        });

        group.bench_function("floor: std HashMap by key", |b| {
            b.iter(|| {
                support::fill(&mut requests[at], at, scrape);
                for (series, sample) in requests[at].series.iter().zip(&requests[at].samples) {
                    if let Some(slot) = floor.get_mut(&series.key.0) {
                        *slot = sample.v;
                    }
                }
                at = (at + 1) % requests.len();
                scrape += i64::from(at == 0);
            });
        });

        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(4));
    targets = known_series
}
criterion_main!(benches);
