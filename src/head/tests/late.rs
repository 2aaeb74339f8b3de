//! Samples in any order: an insert costs the same however many there are already, live and at a replay.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use support::{Maker, NOW, Origin, dump, options, shard, stream, tenant};
use trireme_base::SeededRng;
use trireme_head::{HeadError, IngestLimits, IngestOutput, Shard, ShardOptions};
use trireme_model::{AnyHistogram, Histogram, HistogramSample};

/// Numbers from 0 to `n`, shuffled.
fn shuffled(n: u64) -> Vec<i64> {
    let mut rng = SeededRng::new(7);
    let mut all: Vec<i64> = (0..n as i64).collect();
    for at in (1..all.len()).rev() {
        all.swap(at, rng.below(at as u64 + 1) as usize);
    }
    all
}

fn follower(dir: &std::path::Path, origin: &Origin) -> Arc<Shard> {
    let follower = shard(dir, 2);
    for record in &origin.records {
        follower.apply(record).unwrap();
    }
    follower
}

#[test]
fn floats_in_random_order_are_all_there_on_every_replica() {
    // Were old chunks decoded for each of them, this would take minutes.
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let first = shard(dir.path(), 1);
    let samples: Vec<(i64, f64)> = shuffled(150_000)
        .into_iter()
        .map(|n| (NOW - n, n as f64))
        .collect();
    let out = Maker::default().up("a", &samples).ingest(&first, NOW);

    assert_eq!(
        (out.outcome.samples, out.outcome.duplicates, out.conflicts),
        (150_000, 0, 0)
    );

    let mut origin = Origin::new(1);
    origin.log(&first, out.drafts);
    let held = dump(&first);

    assert_eq!(held[0].1.len(), 150_000);
    assert_eq!(dump(&follower(other.path(), &origin)), held);

    first.checkpoint(|| Ok::<(), HeadError>(())).unwrap();
    let again = ShardOptions {
        own: trireme_base::StreamId {
            boot: trireme_base::Boot(2),
            ..stream(1)
        },
        ..options(dir.path(), 1)
    };

    assert_eq!(dump(&Shard::recover(again, None).unwrap().0), held);
}

#[test]
fn histograms_in_random_order_are_all_there_on_every_replica() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let first = shard(dir.path(), 1);

    let mut maker = Maker::default().up("a", &[]);
    for n in shuffled(30_000) {
        let h = AnyHistogram::Int(Arc::new(Histogram {
            count: n as u64,
            ..Histogram::default()
        }));
        maker.batch.histograms.push(HistogramSample {
            t: NOW - n,
            st: 0,
            h,
        });
    }

    maker.batch.series[0].histograms = 0..30_000;
    let out = maker.ingest(&first, NOW);
    assert_eq!(
        (out.outcome.histograms, out.outcome.duplicates),
        (30_000, 0)
    );

    let mut origin = Origin::new(1);
    origin.log(&first, out.drafts);
    let read = |shard: &Arc<Shard>| {
        let mut found = Vec::new();
        let series = shard.select(&tenant(), &[], i64::MIN, i64::MAX);
        series[0]
            .read_histograms(i64::MIN, i64::MAX, &mut found)
            .unwrap();
        found.into_iter().map(|sample| sample.t).collect::<Vec<_>>()
    };

    assert_eq!(
        read(&first),
        (0..30_000).rev().map(|n| NOW - n).collect::<Vec<_>>()
    );
    assert_eq!(read(&follower(other.path(), &origin)), read(&first));
}

#[test]
fn a_request_that_comes_again_soon_is_all_duplicates() {
    let dir = tempfile::tempdir().unwrap();
    let first = shard(dir.path(), 1);
    let samples: Vec<(i64, f64)> = (0..20).map(|n| (NOW + n * 1_000, n as f64)).collect();

    Maker::default().up("a", &samples).ingest(&first, NOW);
    let out = Maker::default().up("a", &samples).ingest(&first, NOW);
    assert_eq!(
        (out.outcome.samples, out.outcome.duplicates, out.conflicts),
        (20, 20, 0)
    );
}

#[test]
fn age_is_judged_by_all_shards_of_a_node_together() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let one = options(dir.path(), 1);
    let two = ShardOptions {
        times: Arc::clone(&one.times),
        ..options(other.path(), 1)
    };
    let one = Shard::new(one).unwrap();
    let two = Shard::new(two).unwrap();
    let out = Maker::default()
        .up("a", &[(NOW - 7_200_000, 1.0)])
        .ingest(&one, NOW);

    assert_eq!(
        out.outcome.samples, 0,
        "a tenant without samples may not write any past"
    );

    // One that lags is measured by itself, in every shard.
    let hour = IngestLimits {
        out_of_order_window_ms: 7_200_000,
        ..IngestLimits::default()
    };

    Maker::default()
        .up("a", &[(NOW - 7_200_000, 1.0)])
        .ingest_with(&one, NOW, &hour);

    let out = Maker::default()
        .up("b", &[(NOW - 10_000_000, 1.0)])
        .ingest(&two, NOW);

    assert_eq!(out.outcome.samples, 1);
    Maker::default().up("b", &[(NOW, 1.0)]).ingest(&two, NOW);
    let out = Maker::default()
        .up("a", &[(NOW - 7_000_000, 1.0)])
        .ingest(&one, NOW);

    assert_eq!(out.outcome.samples, 0);
    let import = IngestLimits {
        backfill_window_ms: 7_200_000,
        ..IngestLimits::default()
    };
    let out = Maker::default()
        .up("a", &[(NOW - 7_000_000, 1.0)])
        .ingest_with(&one, NOW, &import);

    assert_eq!(out.outcome.samples, 1);
}

#[test]
fn a_tenant_has_no_more_windows_open_than_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let few = ShardOptions {
        windows_max: 3,
        ..options(dir.path(), 1)
    };
    let first = Shard::new(few).unwrap();
    let import = IngestLimits {
        backfill_window_ms: i64::MAX,
        ..IngestLimits::default()
    };
    let samples: Vec<(i64, f64)> = (0..10).map(|n| (NOW - n * support::WINDOW, 1.0)).collect();
    let mut out = IngestOutput::default();
    let maker = Maker::default().up("a", &samples);

    first.ingest(
        &tenant(),
        &maker.batch,
        &maker.idx(),
        &import,
        NOW,
        &mut out,
    );

    assert_eq!(
        (out.outcome.samples, out.outcome.rejections.total()),
        (3, 7)
    );

    // What is cut makes room.
    let k = NOW / support::WINDOW;
    first.close_window(k);
    first.begin_cut(k).unwrap();
    first.finish_cut(k);

    let out = Maker::default()
        .up("a", &samples[5..8])
        .ingest_with(&first, NOW, &import);

    assert_eq!(out.outcome.samples, 3);
}
