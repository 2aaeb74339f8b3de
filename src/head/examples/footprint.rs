//! Figures of a head with many series: CPU per sample and per new series, memory, log bytes, checkpoint, restart.
//!
//! `cargo run --release -p trireme-head --example footprint -- [series] [scrapes]`
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trireme_base::{Boot, Incarnation, StreamId};
use trireme_head::{CheckpointPace, HeadError, IngestOutput, Shard};
use trireme_model::Tenant;

#[path = "../benches/support/workload.rs"]
mod support;

#[path = "../benches/support/process.rs"]
mod process;

use process::{cpu, rss};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SHARDS: u16 = 4;

fn main() {
    let mut args = std::env::args()
        .skip(1)
        .map(|a| a.parse().expect("a number"));
    let series = args.next().unwrap_or(200_000);
    let scrapes = args.next().unwrap_or(480) as i64;
    let dir = tempfile::tempdir().expect("temp dir");
    let tenant = Tenant::default();
    let limits = support::limits();
    let mut requests = support::requests(series);
    let routes: Vec<_> = requests.iter().map(|r| support::route(r, SHARDS)).collect();
    let shards = support::shards(dir.path(), SHARDS);
    let base = rss();
    let mut out = IngestOutput::default();
    let mut logged = 0;
    let mut scrape = |scrape: i64, logged: &mut usize| {
        let mut spent = Duration::ZERO;
        for (n, request) in requests.iter_mut().enumerate() {
            support::fill(request, n, scrape);
            let before = cpu();
            for (shard, idx) in shards.iter().zip(&routes[n]) {
                shard.ingest(&tenant, request, idx, &limits, support::NOW_MS, &mut out);
            }
            spent += cpu() - before;
            *logged += out.drafts.iter().map(|d| d.len()).sum::<usize>();
            out.clear();
        }
        spent
    };

    let first = scrape(0, &mut logged);
    println!(
        "series {series}: {:.2} us CPU per new series, {:.0} log bytes each",
        us(first) / series as f64,
        logged as f64 / series as f64
    );

    println!(
        "memory after one scrape: {:.0} B per series",
        (rss() - base) as f64 / series as f64
    );
    logged = 0;

    let mut known = Duration::ZERO;
    for n in 1..scrapes {
        known += scrape(n, &mut logged);
        if n % 120 == 0 || n == scrapes - 1 {
            println!(
                "memory after {n:4} scrapes: {:.0} B per series",
                (rss() - base) as f64 / series as f64
            );
        }
    }

    let samples = (series as i64 * (scrapes - 1)) as f64;
    println!(
        "known series: {:.0} ns CPU per sample, {:.2} log bytes per sample",
        us(known) * 1e3 / samples,
        logged as f64 / samples
    );

    let floor = floor(&requests);
    println!("floor (std HashMap by key): {floor:.0} ns per sample");
    follow(&requests, &routes, scrapes);
    paced(&shards, &mut requests, &routes, scrapes);

    let stats = shards
        .iter()
        .map(|s| s.stats())
        .fold((0, 0), |a, s| (a.0 + s.memory_bytes, a.1 + s.samples));

    println!(
        "counted memory: {:.0} B per series, {} samples",
        stats.0 as f64 / series as f64,
        stats.1
    );

    let wall = Instant::now();
    let before = cpu();
    let bytes: u64 = shards
        .iter()
        .map(|s| s.checkpoint::<HeadError>(|| Ok(())).expect("written").bytes)
        .sum();

    println!(
        "checkpoint: {:.0} B per series, {:.2} s wall, {:.2} s CPU",
        bytes as f64 / series as f64,
        wall.elapsed().as_secs_f64(),
        (cpu() - before).as_secs_f64()
    );

    let options: Vec<_> = shards.iter().map(|s| s.options().clone()).collect();
    drop(shards);
    let wall = Instant::now();
    let before = cpu();
    let own = StreamId {
        incarnation: Incarnation(1),
        boot: Boot(2),
    };
    let loaded: usize = std::thread::scope(|scope| {
        let load = |mut o: trireme_head::ShardOptions| {
            o.own = own;
            move || Shard::recover(o, None).expect("loads").0.total_series()
        };
        let threads: Vec<_> = options.into_iter().map(|o| scope.spawn(load(o))).collect();
        threads.into_iter().map(|t| t.join().expect("thread")).sum()
    });

    println!(
        "recover: {loaded} series in {:.2} s wall, {:.2} s CPU",
        wall.elapsed().as_secs_f64(),
        (cpu() - before).as_secs_f64()
    );
}

/// Checkpoints of an hour of scrapes every 15 s, at the earliest after a minute, as a node writes them.
fn paced(
    shards: &[Arc<Shard>],
    requests: &mut [trireme_wire::batch::Batch],
    routes: &[Vec<Vec<u32>>],
    scrapes: i64,
) {
    let mut out = IngestOutput::default();
    let mut logged = 0;
    let mut written = 0;
    let mut made = 0;
    let mut behind = 0;

    let mut pace = CheckpointPace::default();
    for n in 0..240 {
        if n % 4 == 0 && pace.is_due(logged, u64::MAX) {
            let each = shards
                .iter()
                .map(|s| s.checkpoint::<HeadError>(|| Ok(())).expect("written").bytes);
            let bytes = each.sum();
            pace = CheckpointPace::new(bytes, logged);
            // The first one is before all of the log that is counted.
            if n > 0 {
                written += bytes;
                made += 1;
            }
            behind = logged;
        }
        for (at, request) in requests.iter_mut().enumerate() {
            support::fill(request, at, scrapes + 10 + n);
            for (shard, idx) in shards.iter().zip(&routes[at]) {
                shard.ingest(
                    &Tenant::default(),
                    request,
                    idx,
                    &support::limits(),
                    support::NOW_MS,
                    &mut out,
                );
            }

            logged += out.drafts.iter().map(|d| d.len() as u64).sum::<u64>();
            out.clear();
        }
    }

    println!(
        "an hour of scrapes: {made} checkpoints, {:.1} bytes of them per byte of log; {:.0} MiB of log behind the last",
        written as f64 / logged as f64,
        (logged - behind) as f64 / f64::from(1 << 20)
    );
}

/// What a follower spends on the same records.
fn follow(requests: &[trireme_wire::batch::Batch], routes: &[Vec<Vec<u32>>], scrapes: i64) {
    let dirs = [
        tempfile::tempdir().expect("temp dir"),
        tempfile::tempdir().expect("temp dir"),
    ];
    let origin = support::shards(dirs[0].path(), SHARDS);
    let follower = support::shards(dirs[1].path(), SHARDS);
    let own = StreamId {
        incarnation: Incarnation(9),
        boot: Boot(1),
    };
    let mut out = IngestOutput::default();
    let mut seq = 0;
    let mut samples = 0;

    let mut spent = Duration::ZERO;
    for scrape in scrapes..scrapes + 6 {
        for (n, request) in requests.iter().enumerate() {
            let mut batch = trireme_wire::batch::Batch {
                label_bytes: request.label_bytes.clone(),
                ..Default::default()
            };

            batch.series.clone_from(&request.series);
            batch.samples.clone_from(&request.samples);
            support::fill(&mut batch, n, scrape);

            for (shard, idx) in origin.iter().zip(&routes[n]) {
                shard.ingest(
                    &Tenant::default(),
                    &batch,
                    idx,
                    &support::limits(),
                    support::NOW_MS,
                    &mut out,
                );
            }

            for draft in out.drafts.drain(..) {
                seq += 1;
                let record = draft.seal(own, seq);
                let before = cpu();
                let applied = follower[usize::from(record.shard())]
                    .apply(&record)
                    .expect("applies");
                if scrape > scrapes {
                    spent += cpu() - before;
                    samples += applied.samples;
                }
            }

            out.clear();
        }
    }

    println!(
        "follower: {:.0} ns CPU per sample of known series",
        us(spent) * 1e3 / samples as f64
    );
}

fn floor(requests: &[trireme_wire::batch::Batch]) -> f64 {
    let mut map: HashMap<u128, f64> = HashMap::new();
    for request in requests {
        map.extend(request.series.iter().map(|s| (s.key.0, 0.0)));
    }

    let before = cpu();
    for request in requests.iter().chain(requests) {
        for (series, sample) in request.series.iter().zip(&request.samples) {
            if let Some(slot) = map.get_mut(&series.key.0) {
                *slot += sample.v;
            }
        }
    }

    black_box(&map);
    us(cpu() - before) * 1e3 / (2 * map.len()) as f64
}

fn us(d: Duration) -> f64 {
    d.as_secs_f64() * 1e6
}
