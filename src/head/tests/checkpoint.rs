//! A checkpoint can be read, whatever tenants and series do while it is written and between two.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use support::{Maker, NOW, WINDOW, dump, options, shard, tenant};
use trireme_base::Boot;
use trireme_head::{
    CutManifest, HeadError, IngestLimits, IngestOutput, Recovered, Shard, ShardOptions,
};
use trireme_model::{MetricMetadata, MetricType, Tenant};

fn checkpoint(shard: &Shard) {
    shard.checkpoint(|| Ok::<(), HeadError>(())).unwrap();
}

/// The next start of the same directory.
fn restart(
    options: &ShardOptions,
    boot: u32,
    cut: Option<&CutManifest>,
) -> (Arc<Shard>, Recovered) {
    let mut options = options.clone();
    options.own.boot = Boot(boot);
    Shard::recover(options, cut).unwrap()
}

fn metadata(shard: &Shard, tenant: &Tenant, metric: &str) {
    let gauge = MetricMetadata {
        kind: MetricType::Gauge,
        unit: String::new(),
        help: "help".to_owned(),
    };
    shard.ingest_metadata(
        tenant,
        &[(metric.to_owned(), gauge)],
        &mut IngestOutput::default(),
    );
}

#[test]
fn a_tenant_with_metadata_and_no_series_survives_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), 1);
    let shard = Shard::new(options.clone()).unwrap();

    metadata(&shard, &tenant(), "up");
    checkpoint(&shard);

    for boot in 2..5 {
        let (again, _) = restart(&options, boot, None);
        assert_eq!(again.metadata(&tenant(), None).len(), 1);
        checkpoint(&again);
    }
}

#[test]
fn a_shard_whose_series_were_all_collected_survives_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), 1);
    let first = Shard::new(options.clone()).unwrap();

    Maker::default().up("a", &[(NOW, 1.0)]).ingest(&first, NOW);
    let k = NOW / WINDOW;
    first.close_window(k + 1);

    let manifest = CutManifest {
        cut: k,
        positions: vec![first.begin_cut(k).unwrap()],
        left: vec![],
    };

    first.finish_cut(k);
    assert_eq!(first.collect_series().0, 1);
    checkpoint(&first);

    for boot in 2..5 {
        let (again, found) = restart(&options, boot, Some(&manifest));
        assert_eq!(found.series, 0);
        checkpoint(&again);
    }
}

#[test]
fn a_series_with_more_windows_than_16_bits_count_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path(), 1);
    options.windows_max = usize::MAX;

    let first = Shard::new(options.clone()).unwrap();
    let samples: Vec<(i64, f64)> = (0..70_000).map(|n| (n * WINDOW, n as f64)).collect();
    let limits = IngestLimits {
        backfill_window_ms: i64::MAX,
        ..IngestLimits::default()
    };

    Maker::default()
        .up("a", &samples)
        .ingest_with(&first, NOW, &limits);
    checkpoint(&first);

    let (again, _) = restart(&options, 2, None);
    assert_eq!(dump(&again)[0].1.len(), dump(&first)[0].1.len());
}

#[test]
fn tenants_that_come_while_a_checkpoint_is_written_do_not_spoil_it() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), 1);
    let first = shard(dir.path(), 1);
    let writing = Arc::clone(&first);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    #[allow(clippy::disallowed_methods)] // it writes beside the checkpoint
    let writer = std::thread::Builder::new().spawn(move || {
        for n in 0.. {
            if stopped.load(std::sync::atomic::Ordering::Relaxed) {
                break;
            }

            let tenant = Tenant::new(&format!("t{}", n % 300)).unwrap();
            let maker = Maker::default().up(&format!("job{}", n % 7), &[(NOW, 1.0)]);
            let idx = maker.idx();
            let mut out = IngestOutput::default();

            writing.ingest(
                &tenant,
                &maker.batch,
                &idx,
                &IngestLimits::default(),
                NOW,
                &mut out,
            );

            metadata(&writing, &tenant, "up");
        }
    });

    let writer = writer.unwrap();
    for boot in 2..10 {
        checkpoint(&first);
        restart(&options, boot, None);
    }

    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().unwrap();
}

#[test]
fn chunk_files_that_cannot_be_made_for_a_while_cost_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), 1);
    let first = Shard::new(options.clone()).unwrap();
    let chunks = dir.path().join("chunks");

    // A file where the directory was: nothing can be made in it.
    std::fs::remove_dir(&chunks).unwrap();
    std::fs::write(&chunks, b"").unwrap();

    let noise = |n: i64| f64::from_bits((n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2);
    let samples: Vec<(i64, f64)> = (0..20_000).map(|n| (NOW - 30_000 + n, noise(n))).collect();
    let out = Maker::default().up("a", &samples).ingest(&first, NOW);

    assert_eq!(out.outcome.samples, 20_000);
    first.checkpoint(|| Ok::<(), HeadError>(())).unwrap_err();
    std::fs::remove_file(&chunks).unwrap();
    std::fs::create_dir(&chunks).unwrap();
    checkpoint(&first);

    let (again, _) = restart(&options, 2, None);
    assert_eq!(
        (dump(&again)[0].1.len(), dump(&again)),
        (20_000, dump(&first))
    );
}
