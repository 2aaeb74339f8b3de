//! Writers, readers, checkpoints, cuts and collections at once.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use support::{Maker, NOW, Origin, WINDOW, dump, equal, jobs, options, shard, tenant};
use trireme_block::{SeriesInput, SeriesSource};
use trireme_head::{
    CutManifest, CutSource, HeadError, IngestLimits, IngestOutput, Shard, cut_windows,
};
use trireme_model::Tenant;

#[test]
fn readers_and_maintenance_do_not_disturb_writers_nor_each_other() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let home = dirs[0].path().join("head");
    let origin = shard(dirs[1].path(), 1);
    let head = shard(&home, 2);
    let mut log = Origin::new(1);
    let first = NOW / WINDOW;

    // Series come and go over six windows, so that slots are used again under the readers.
    for k in first..first + 6 {
        log.log(&origin, [origin.close_window(k - 1)]);
        for step in 0..40 {
            let t = k * WINDOW + step * 60_000;
            let mut maker = Maker::default().up("always", &[(t, step as f64)]);
            for n in 0..20 {
                maker = maker.up(
                    &format!("w{}-{n}", k % 3),
                    &[(t, n as f64), (t - 90_000, 0.5)],
                );
            }
            log.log(&origin, maker.ingest(&origin, t).drafts);
        }

        let (_, drafts) = origin.collect_series();
        log.log(&origin, drafts);
    }

    log.log(&origin, [origin.close_window(first + 5)]);
    let done = AtomicBool::new(false);
    let cut_samples = AtomicU64::new(0);
    let head = &head;
    let log = &log;
    let done = &done;
    let cut_samples = &cut_samples;

    std::thread::scope(|scope| {
        scope.spawn(move || {
            for record in &log.records {
                head.apply(record).unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });

        scope.spawn(move || {
            let mut looks = 0;
            while !done.load(Ordering::SeqCst) || looks < 10 {
                looks += 1;
                for series in head.select(&tenant(), &[equal("job", "always")], 0, i64::MAX) {
                    assert_eq!(series.labels.get("job"), Some("always"));
                }
                for series in head.select(&tenant(), &[], 0, i64::MAX) {
                    let mut times = Vec::new();
                    let mut values = Vec::new();
                    series.read(0, i64::MAX, &mut times, &mut values).unwrap();
                    assert!(times.windows(2).all(|w| w[0] < w[1]) && times.len() == values.len());
                }
                assert!(jobs(head, &[], 0, i64::MAX).len() <= 61);
                head.stats();
            }
        });

        scope.spawn(move || {
            let mut rounds = 0;
            while !done.load(Ordering::SeqCst) || rounds < 3 {
                rounds += 1;
                head.checkpoint::<HeadError>(|| Ok(())).unwrap();
                head.collect_series();
            }
        });

        scope.spawn(move || {
            for k in first..=first + 5 {
                while head
                    .streams()
                    .iter()
                    .all(|s| s.marker.is_none_or(|m| m < k))
                {
                    std::thread::yield_now();
                }

                head.begin_cut(k).unwrap();
                for window in cut_windows(std::slice::from_ref(head), k) {
                    let mut source = CutSource::open(
                        std::slice::from_ref(head),
                        &window.tenant,
                        window.window,
                        k,
                    );
                    let mut series = SeriesInput::default();
                    while source.next(&mut series).unwrap() {
                        cut_samples.fetch_add(series.times.len() as u64, Ordering::SeqCst);
                    }
                }

                head.finish_cut(k);
            }
        });
    });

    assert!(dump(head).iter().all(|(_, samples)| samples.is_empty()));
    let written: u64 = origin
        .window_digests(&tenant())
        .unwrap()
        .values()
        .map(|d| d.samples)
        .sum();

    assert_eq!(cut_samples.load(Ordering::SeqCst), written);
    // What the last checkpoint holds is a shard like this one once the manifest is known.
    head.checkpoint::<HeadError>(|| Ok(())).unwrap();

    let manifest = CutManifest {
        cut: first + 5,
        positions: vec![
            head.streams()
                .iter()
                .map(|s| (s.stream, s.applied))
                .collect(),
        ],
        left: vec![],
    };

    let (again, _) = Shard::recover(options(&home, 3), Some(&manifest)).unwrap();
    for record in &log.records {
        again.apply(record).unwrap();
    }

    assert_eq!(dump(&again), dump(head));
}

#[test]
fn tenants_may_come_while_a_cut_looks_for_its_windows() {
    const TENANTS: usize = 3_000;

    let dir = tempfile::tempdir().unwrap();
    let shard = shard(dir.path(), 1);
    let k = NOW / WINDOW;
    let names: Vec<Tenant> = (0..TENANTS)
        .map(|n| Tenant::new(&format!("t{n}")).unwrap())
        .collect();
    let done = AtomicBool::new(false);

    std::thread::scope(|scope| {
        scope.spawn(|| {
            for tenant in &names {
                let maker = Maker::default().up("a", &[(NOW, 1.0)]);
                let mut out = IngestOutput::default();
                shard.ingest(
                    tenant,
                    &maker.batch,
                    &maker.idx(),
                    &IngestLimits::default(),
                    NOW,
                    &mut out,
                );
            }
            done.store(true, Ordering::Release);
        });

        let shards = std::slice::from_ref(&shard);
        while !done.load(Ordering::Acquire) {
            let windows = cut_windows(shards, k);
            assert!(windows.iter().all(|window| names.contains(&window.tenant)));
        }

        assert_eq!(cut_windows(shards, k).len(), TENANTS);
    });
}
