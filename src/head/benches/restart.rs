//! What a start costs: loading the checkpoint of a shard, and applying a record of the log behind it.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use trireme_base::{Boot, Incarnation, StreamId};
use trireme_head::{HeadError, IngestOutput, Shard, ShardOptions};
use trireme_model::Tenant;
use trireme_wire::record::Record;

#[path = "support/workload.rs"]
mod support;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Series of one of four shards of a node with a million.
const SERIES: usize = 250_000;
/// Scrapes in the checkpoint: two hours at 15 s.
const SCRAPES: i64 = 480;
/// Scrapes in the log behind it.
const LOGGED: i64 = 4;

fn stream(boot: u32) -> StreamId {
    StreamId {
        incarnation: Incarnation(1),
        boot: Boot(boot),
    }
}

fn options(dir: &std::path::Path, boot: u32) -> ShardOptions {
    ShardOptions::new(0, 1, 7_200_000, dir.join("0"), stream(boot))
}

/// A shard on disk with two hours of samples, and the records that follow.
fn write(dir: &std::path::Path) -> Vec<Record> {
    let shard = Shard::new(options(dir, 1)).expect("shard opens");
    let tenant = Tenant::default();
    let limits = support::limits();
    let mut requests = support::requests(SERIES);
    let idx: Vec<u32> = (0..support::REQUEST_SERIES as u32).collect();
    let mut out = IngestOutput::default();
    let mut seq = 0;

    let mut behind = Vec::new();
    for scrape in 0..SCRAPES + LOGGED {
        if scrape == SCRAPES {
            shard
                .checkpoint(|| Ok::<(), HeadError>(()))
                .expect("checkpoint");
        }
        for (n, request) in requests.iter_mut().enumerate() {
            support::fill(request, n, scrape);
            shard.ingest(&tenant, request, &idx, &limits, support::NOW_MS, &mut out);
            for draft in out.drafts.drain(..) {
                seq += 1;
                let record = draft.seal(stream(1), seq);
                shard.own_written(&record);
                if scrape >= SCRAPES {
                    behind.push(record);
                }
            }
            out.clear();
        }
    }

    behind
}

fn restart(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("temp dir");
    let behind = write(dir.path());
    let mut group = c.benchmark_group("restart");
    let load = || {
        Shard::recover(options(dir.path(), 2), None)
            .expect("loads")
            .0
    };

    group.throughput(Throughput::Elements(SERIES as u64));
    group.bench_function("load a series", |b| {
        b.iter_with_large_drop(|| black_box(load()));
    });
    group.throughput(Throughput::Elements(SERIES as u64 * LOGGED as u64));
    group.bench_function("apply a sample", |b| {
        b.iter_batched(
            load,
            |shard| {
                for record in &behind {
                    black_box(shard.apply(record).expect("applied"));
                }
                shard
            },
            BatchSize::PerIteration,
        );
    });

    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = restart
}
criterion_main!(benches);
