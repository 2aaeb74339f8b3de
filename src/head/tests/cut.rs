//! Windows, markers, cuts, checkpoints: what makes replicas equal and starts short.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use proptest::prelude::*;
use support::{Maker, NOW, Origin, WINDOW, dump, jobs, options, shard, stream, tenant};
use trireme_base::SeededRng;
use trireme_block::{SeriesInput, SeriesSource, WriteOptions, write_block};
use trireme_head::{
    CutManifest, CutSource, HeadError, Shard, ShardOptions, WindowDigest, cut_windows,
};
use trireme_model::{AnyHistogram, Histogram, HistogramSample};
use trireme_wire::record::Record;

const W: i64 = NOW / WINDOW;

/// (window, labels, samples) of a series in a cut.
type CutSeries = (i64, String, Vec<(i64, u64)>);

/// Everything a cut gives, as text.
fn cut_content(shards: &[Arc<Shard>], k: i64) -> Vec<CutSeries> {
    let mut out = Vec::new();
    for window in cut_windows(shards, k) {
        let mut source = CutSource::open(shards, &window.tenant, window.window, k);
        let mut series = SeriesInput::default();

        let mut last = None;
        while source.next(&mut series).unwrap() {
            assert!(
                last.replace(series.labels.clone())
                    .is_none_or(|l| l < series.labels),
                "label order"
            );

            assert!(series.times.iter().all(|t| window.range().contains(t)));
            let samples = series
                .times
                .iter()
                .copied()
                .zip(series.values.iter().map(|v| v.to_bits()));

            let mut all: Vec<(i64, u64)> = samples.collect();
            for sample in &series.histograms {
                let AnyHistogram::Int(h) = &sample.h else {
                    panic!("only these are written")
                };
                // Apart from any float, and with what the rule has decided.
                all.push((sample.t, u64::MAX - h.count));
            }

            out.push((window.window, series.labels.to_string(), all));
        }
    }

    out
}

fn digest(shard: &Shard) -> Vec<(i64, WindowDigest)> {
    shard
        .window_digests(&tenant())
        .unwrap()
        .into_iter()
        .collect()
}

fn apply_all(shard: &Shard, records: &[Record]) {
    for record in records {
        shard.apply(record).unwrap();
    }
}

/// Cuts `k` on one shard the way a node does.
fn cut(shard: &Arc<Shard>, k: i64) -> CutManifest {
    let positions = shard.begin_cut(k).unwrap();
    let manifest = CutManifest {
        cut: k,
        positions: vec![positions],
        left: vec![],
    };

    shard.finish_cut(k);
    manifest
}

/// Three origins that write the same few series at random, late and twice, and close windows; answers their logs.
fn random_logs(seed: u64, dir: &std::path::Path) -> Vec<Vec<Record>> {
    let mut rng = SeededRng::new(seed);

    let mut logs = Vec::new();
    for n in 1..=3 {
        let head = shard(&dir.join(n.to_string()), n);
        let mut origin = Origin::new(n);
        origin.log(&head, [head.close_window(W - 1)]);

        let mut open = W;
        for _ in 0..20 {
            if rng.chance(0.1) {
                origin.log(&head, [head.close_window(open)]);
                open += 1;
            }

            let now = open * WINDOW + WINDOW / 2;

            let mut maker = Maker::default();
            for _ in 0..rng.below(4) + 1 {
                let job = ["a", "b", "c"][rng.below(3) as usize];
                let t = now - rng.below(6) as i64 * 600_000 - rng.below(3) as i64;
                maker = maker.up(job, &[(t, rng.below(4) as f64), (t + 1, 1.0)]);
            }

            if rng.chance(0.3) {
                let t = now - rng.below(4) as i64 * 600_000;
                let count = rng.below(3);
                let h = AnyHistogram::Int(Arc::new(Histogram {
                    count,
                    sum: 2.5,
                    ..Histogram::default()
                }));
                maker.batch.histograms.push(HistogramSample { t, st: 0, h });
                maker.batch.series[0].histograms = 0..1;
            }

            origin.log(&head, maker.ingest(&head, now).drafts);
        }

        for k in open..W + 12 {
            origin.log(&head, [head.close_window(k)]);
        }

        logs.push(origin.records);
    }

    logs
}

/// Any order that keeps each stream's own.
fn interleave(logs: &[Vec<Record>], rng: &mut SeededRng) -> Vec<Record> {
    let mut at = vec![0; logs.len()];

    let mut out = Vec::new();
    while out.len() < logs.iter().map(Vec::len).sum() {
        let n = rng.below(logs.len() as u64) as usize;
        if at[n] < logs[n].len() {
            out.push(logs[n][at[n]].clone());
            at[n] += 1;
        }
    }

    out
}

/// Cuts everything that all three streams have closed, as the records come; answers what the cuts gave.
fn apply_and_cut(shard: &Arc<Shard>, records: &[Record], cuts: &mut Vec<(i64, Vec<CutSeries>)>) {
    for record in records {
        shard.apply(record).unwrap();
        let closed = shard
            .streams()
            .iter()
            .filter(|s| s.stream != shard.options().own)
            .map(|s| s.marker)
            .collect::<Vec<_>>();

        let closed = if closed.len() == 3 {
            closed.into_iter().min().flatten()
        } else {
            None
        };

        while let Some(k) = shard
            .last_cut()
            .map_or(closed.map(|_| W), |last| Some(last + 1))
            .filter(|k| Some(*k) <= closed)
        {
            shard.begin_cut(k).unwrap();
            cuts.push((k, cut_content(std::slice::from_ref(shard), k)));
            shard.finish_cut(k);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_interleaving_of_streams_gives_equal_digests_and_equal_cuts(seed in any::<u64>()) {
        let dir = tempfile::tempdir().unwrap();
        let logs = random_logs(seed, dir.path());
        let mut rng = SeededRng::new(!seed);
        let (mut digests, mut all_cuts) = (Vec::new(), Vec::new());
        for n in 0..3 {
            let records = interleave(&logs, &mut rng);
            let plain = shard(&dir.path().join(format!("plain{n}")), 90);
            apply_all(&plain, &records);
            digests.push(digest(&plain));
            let cutting = shard(&dir.path().join(format!("cutting{n}")), 90);
            let mut cuts = Vec::new();
            apply_and_cut(&cutting, &records, &mut cuts);
            prop_assert!(dump(&cutting).iter().all(|(_, samples)| samples.is_empty()), "everything was cut");
            all_cuts.push(cuts);
        }
        prop_assert_eq!(&digests[0], &digests[1]);
        prop_assert_eq!(&digests[0], &digests[2]);
        prop_assert_eq!(&all_cuts[0], &all_cuts[1]);
        prop_assert_eq!(&all_cuts[0], &all_cuts[2]);
        // No sample was lost on the way into cuts; a time of a series is cut twice if it came late as well.
        let samples: u64 = digests[0].iter().map(|(_, d)| d.samples).sum();
        let cuts = all_cuts[0].iter().flat_map(|(_, cut)| cut);
        let mut cut: Vec<_> = cuts
            .flat_map(|(_, labels, samples)| samples.iter().map(move |(t, v)| (labels, *t, *v > u64::MAX - 10)))
            .collect();
        cut.sort();
        cut.dedup();
        prop_assert_eq!(cut.len() as u64, samples);
    }

    #[test]
    fn a_crash_at_any_record_loses_nothing_and_doubles_nothing(seed in any::<u64>()) {
        let dir = tempfile::tempdir().unwrap();
        let logs = random_logs(seed, dir.path());
        let mut rng = SeededRng::new(!seed);
        let records = interleave(&logs, &mut rng);
        let whole = shard(&dir.path().join("whole"), 90);
        let mut want = Vec::new();
        apply_and_cut(&whole, &records, &mut want);
        // The same with a crash after every few records: the shard comes back from whatever is on disk.
        let home = dir.path().join("crashing");
        let manifest_file = dir.path().join("cut");
        let mut got: Vec<(i64, Vec<CutSeries>)> = Vec::new();
        let mut own = 100;
        let (mut head, _) = Shard::recover(options(&home, own), None).unwrap();
        let mut done = 0;
        while done < records.len() {
            let end = (done + 1 + rng.below(12) as usize).min(records.len());
            for record in &records[done..end] {
                head.apply(record).unwrap();
                let closed: Vec<_> = head.streams().iter().filter(|s| s.stream.incarnation.0 < 10).map(|s| s.marker).collect();
                let closed = if closed.len() == 3 { closed.into_iter().min().flatten() } else { None };
                while let Some(k) = head.last_cut().map_or(closed.map(|_| W), |l| Some(l + 1)).filter(|k| Some(*k) <= closed) {
                    let positions = head.begin_cut(k).unwrap();
                    let content = cut_content(std::slice::from_ref(&head), k);
                    // Blocks are written before the manifest; a crash between repeats the same cut.
                    if rng.chance(0.3) {
                        break;
                    }
                    CutManifest { cut: k, positions: vec![positions], left: vec![] }.store(&manifest_file).unwrap();
                    got.push((k, content));
                    if rng.chance(0.3) {
                        break;
                    }
                    head.finish_cut(k);
                }
                if rng.chance(0.1) {
                    // The part of the checkpoint's file that a crash leaves is never read.
                    head.checkpoint::<HeadError>(|| Ok(())).unwrap();
                }
            }
            done = end;
            own += 1;
            let manifest = CutManifest::load(&manifest_file).unwrap();
            let found;
            (head, found) = Shard::recover(options(&home, own), manifest.as_ref()).unwrap();
            let floor = |r: &Record| found.positions.iter().find(|(s, _)| *s == r.stream()).map_or(0, |(_, seq)| *seq);
            for record in &records[..done] {
                // The log may hand out more than the positions ask for.
                if record.seq() > floor(record) || rng.chance(0.2) {
                    head.apply(record).unwrap();
                }
            }
        }
        // A cut that the last crash interrupted is repeated.
        while let Some(k) = head.last_cut().map(|l| l + 1).filter(|k| *k < W + 12) {
            head.begin_cut(k).unwrap();
            got.push((k, cut_content(std::slice::from_ref(&head), k)));
            head.finish_cut(k);
        }
        got.dedup();
        prop_assert_eq!(&want, &got);
        prop_assert!(dump(&head).iter().all(|(_, samples)| samples.is_empty()));
    }
}

#[test]
fn late_samples_wait_for_the_next_cut() {
    let dir = tempfile::tempdir().unwrap();
    let head = shard(dir.path(), 1);
    let mut origin = Origin::new(1);

    origin.log(&head, [head.close_window(W - 1)]);
    let limits = trireme_head::IngestLimits {
        out_of_order_window_ms: 3 * WINDOW,
        ..Default::default()
    };

    Maker::default()
        .up("a", &[(NOW, 1.0), (NOW - WINDOW, 2.0)])
        .ingest_with(&head, NOW, &limits);
    head.close_window(W);

    let after = NOW + WINDOW;
    Maker::default()
        .up("a", &[(NOW + 5, 3.0), (after, 4.0)])
        .ingest_with(&head, after, &limits);

    let shards = [head.clone()];
    let windows = |k| {
        cut_windows(&shards, k)
            .iter()
            .map(|w| w.window)
            .collect::<Vec<_>>()
    };

    assert_eq!(
        (windows(W - 1), windows(W), windows(W + 1)),
        (vec![], vec![W - 1, W], vec![W - 1, W, W + 1])
    );
    assert_eq!(head.oldest_cut(), Some(W));
    head.begin_cut(W).unwrap();

    let first = cut_content(&shards, W);
    assert_eq!(
        first
            .iter()
            .map(|(w, _, s)| (*w, s.len()))
            .collect::<Vec<_>>(),
        [(W - 1, 1), (W, 1)]
    );

    head.finish_cut(W);
    assert_eq!((windows(W), windows(W + 1)), (vec![], vec![W, W + 1]));
    assert!(head.begin_cut(W).is_err());

    // A clock that went back cannot open the window again.
    let marker = head.close_window(W - 5);
    assert_eq!(trireme_wire::entry::read_marker(marker.payload()), Ok(W));

    // What comes for a cut that was made goes to the next one.
    Maker::default()
        .up("a", &[(NOW - WINDOW, 9.0)])
        .ingest_with(&head, after, &limits);
    assert_eq!(windows(W + 1), [W - 1, W, W + 1]);
}

#[test]
fn shards_merge_into_one_block_whose_bytes_do_not_depend_on_their_number() {
    let mut ulids = Vec::new();
    for count in [1u16, 3] {
        let dir = tempfile::tempdir().unwrap();
        let shards: Vec<Arc<Shard>> = (0..count)
            .map(|n| {
                Shard::new(ShardOptions::new(
                    n,
                    count,
                    WINDOW,
                    dir.path().join(n.to_string()),
                    stream(1),
                ))
                .unwrap()
            })
            .collect();

        let mut maker = Maker::default();
        for n in 0..200 {
            let samples: Vec<_> = (0..10)
                .map(|i| (NOW + i * 15_000, (n * i) as f64))
                .collect();
            maker = maker.series(
                &[
                    ("__name__", "m"),
                    ("n", &n.to_string()),
                    ("odd", if n % 2 == 1 { "yes" } else { "" }),
                ],
                &samples,
            );
        }

        for home in &shards {
            let mut out = Default::default();
            home.ingest(
                &tenant(),
                &maker.batch,
                &maker.idx(),
                &Default::default(),
                NOW,
                &mut out,
            );
        }

        // Only canonical keys of the own shard are stored; senders' raw keys were given to all of them here.
        assert_eq!(shards.iter().map(|s| s.total_series()).sum::<usize>(), 200);
        shards.iter().for_each(|s| drop(s.begin_cut(W).unwrap()));

        let window = cut_windows(&shards, W).remove(0);
        let mut source = CutSource::open(&shards, &window.tenant, window.window, W);
        let meta = write_block(
            &dir.path().join("blocks"),
            window.range(),
            &WriteOptions::default(),
            &mut source,
        )
        .unwrap()
        .unwrap();

        assert_eq!(
            (meta.stats.num_series, meta.stats.num_samples),
            (200, 2_000)
        );
        ulids.push(meta.ulid);
    }

    assert_eq!(ulids[0], ulids[1]);
}

#[test]
fn a_checkpoint_brings_everything_back_and_a_damaged_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("head");
    let head = shard(&home, 1);
    let mut origin = Origin::new(1);

    origin.log(&head, [head.close_window(W - 1)]);
    for n in 0..300 {
        let mut maker = Maker::default().up("a", &[(NOW + n * 1_000, n as f64)]);
        if n % 50 == 0 {
            maker = maker.up(&format!("b{n}"), &[(NOW + n * 1_000, 0.5), (NOW, 7.5)]);
        }
        origin.log(&head, maker.ingest(&head, NOW + 300_000).drafts);
    }

    let mut synced = false;
    let report = head
        .checkpoint::<HeadError>(|| {
            synced = true;
            Ok(())
        })
        .unwrap();

    assert!(synced && report.series == 7 && report.files.iter().all(|f| f.exists()));
    let later = Maker::default()
        .up("a", &[(NOW + 400_000, 1.0)])
        .up("new", &[(NOW, 1.0)])
        .ingest(&head, NOW + 400_000);

    origin.log(&head, later.drafts);
    let (again, found) = Shard::recover(options(&home, 2), None).unwrap();
    assert_eq!(
        (found.series, found.positions.clone()),
        (7, report.positions)
    );

    for record in &origin.records[found.positions[0].1 as usize..] {
        assert!(!again.apply(record).unwrap().known);
    }

    assert_eq!(dump(&again), dump(&head));
    assert_eq!(digest(&again), digest(&head));
    assert_eq!(
        jobs(&again, &[], 0, i64::MAX),
        jobs(&head, &[], 0, i64::MAX)
    );

    let other = ShardOptions {
        window_ms: WINDOW / 2,
        ..options(&home, 3)
    };
    assert!(matches!(
        Shard::recover(other, None),
        Err(HeadError::Settings(_))
    ));

    // A failing step before publishing leaves the old file.
    let path = home.join(trireme_head::CHECKPOINT_FILE);
    let before = std::fs::read(&path).unwrap();
    assert!(
        again
            .checkpoint(|| Err(HeadError::Settings("no".into())))
            .is_err()
    );

    assert_eq!(std::fs::read(&path).unwrap(), before);

    let mut rng = SeededRng::new(5);
    for _ in 0..60 {
        let at = rng.below(before.len() as u64) as usize;
        let mut bad = before.clone();
        bad[at] ^= 1 << rng.below(8);
        std::fs::write(&path, bad).unwrap();

        let error = Shard::recover(options(&home, 3), None)
            .err()
            .expect("refused");

        assert!(
            matches!(error, HeadError::Corrupt { .. }),
            "byte {at}: {error}"
        );

        std::fs::write(&path, &before[..at]).unwrap();
        assert!(
            Shard::recover(options(&home, 3), None).is_err(),
            "cut at {at}"
        );
    }
}

#[test]
fn references_of_an_earlier_boot_do_not_keep_series_for_ever() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let old = shard(dirs[0].path(), 1);
    let follower = shard(dirs[1].path(), 2);
    let mut origin = Origin::new(1);

    origin.log(&old, [old.close_window(W - 1)]);
    origin.log(
        &old,
        Maker::default()
            .up("gone", &[(NOW, 1.0)])
            .ingest(&old, NOW)
            .drafts,
    );

    apply_all(&follower, &origin.records);
    // The origin starts again; its new stream closes windows, the old one never will.
    let mut next = Origin::new(1);

    next.stream.boot = trireme_base::Boot(2);
    for k in W - 1..W + 4 {
        let from = next.records.len();
        next.log(&old, [trireme_wire::entry::write_marker(0, k)]);
        apply_all(&follower, &next.records[from..]);
        if k >= W {
            cut(&follower, k);
        }
    }

    assert_eq!(follower.collect_series().0, 1);
    let state = follower
        .streams()
        .into_iter()
        .find(|s| s.stream == stream(1))
        .unwrap();

    assert_eq!(
        state.applied,
        origin.records.len() as u64,
        "its position stays"
    );
}

#[test]
fn idle_series_are_released_and_dropped_everywhere() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let head = shard(dirs[0].path(), 1);
    let follower = shard(dirs[1].path(), 2);
    let mut origin = Origin::new(1);

    origin.log(&head, [head.close_window(W - 1)]);
    origin.log(
        &head,
        Maker::default()
            .up("old", &[(NOW, 1.0)])
            .up("kept", &[(NOW, 1.0)])
            .ingest(&head, NOW)
            .drafts,
    );

    for k in W..W + 3 {
        let now = (k + 1) * WINDOW + 1_000;
        origin.log(
            &head,
            Maker::default()
                .up("kept", &[(now, 1.0)])
                .ingest(&head, now)
                .drafts,
        );
        origin.log(&head, [head.close_window(k)]);
    }

    apply_all(&follower, &origin.records);
    let applied = origin.records.len();

    for head in [&head, &follower] {
        cut(head, W + 2);
    }

    let (dropped, drafts) = head.collect_series();
    assert_eq!((dropped, drafts.len()), (1, 1));
    assert_eq!(
        follower.collect_series().0,
        0,
        "the origin's stream still names it"
    );

    origin.log(&head, drafts);
    apply_all(&follower, &origin.records[applied..]);
    let (dropped, drafts) = follower.collect_series();

    assert_eq!((dropped, drafts.len()), (1, 0));
    for head in [&head, &follower] {
        assert_eq!(jobs(head, &[], 0, i64::MAX).len(), 1);
        assert_eq!(head.total_series(), 1);
    }

    // It can come back.
    let now = (W + 3) * WINDOW + 5_000;
    origin.log(
        &head,
        Maker::default()
            .up("old", &[(now, 3.0)])
            .ingest(&head, now)
            .drafts,
    );

    follower.apply(origin.records.last().unwrap()).unwrap();
    assert_eq!(dump(&head), dump(&follower));
}

#[test]
fn series_of_the_last_window_that_is_ever_written_are_dropped_once_the_next_one_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let head = shard(dir.path(), 1);
    head.close_window(W - 1);
    Maker::default().up("a", &[(NOW, 1.0)]).ingest(&head, NOW);
    head.close_window(W);
    assert_eq!(
        head.collect_series_before(W + 1).0,
        0,
        "it has samples that are in no block"
    );

    Maker::default().up("a", &[(NOW, 1.0)]).ingest(&head, NOW);
    cut(&head, W + 1);
    assert_eq!(
        head.collect_series_before(W).0,
        0,
        "a sample of the next window may come"
    );

    assert_eq!(head.collect_series_before(W + 1).0, 1);
    assert_eq!(head.total_series(), 0);
}

/// A window that no clock of these tests can have meant.
const ASTRAY: i64 = W + 4_800;

#[test]
fn what_a_wrong_clock_sent_astray_is_cut_with_its_window() {
    let dir = tempfile::tempdir().unwrap();
    let head = shard(&dir.path().join("origin"), 1);
    let follower = shard(&dir.path().join("follower"), 2);
    let mut origin = Origin::new(1);

    origin.log(&head, [head.close_window(ASTRAY)]);
    origin.log(
        &head,
        Maker::default()
            .up("a", &[(NOW, 1.0)])
            .ingest(&head, NOW)
            .drafts,
    );

    apply_all(&follower, &origin.records);

    let both = [head.clone(), follower.clone()];
    for replica in &both {
        assert_eq!(
            (replica.due_cut(W - 1), replica.due_cut(W)),
            (None, Some(W))
        );
        assert_eq!(
            replica.waiting_cut(W + 1),
            None,
            "nothing asks for a later window"
        );
        replica.begin_cut(W).unwrap();
    }

    // What comes while the cut is made belongs to the next one, and is not dropped with this one.
    let later = NOW + WINDOW;
    let seen = origin.records.len();
    let batch = Maker::default().up("a", &[(NOW + 5, 2.0), (later, 3.0)]);

    origin.log(&head, batch.ingest(&head, later).drafts);
    apply_all(&follower, &origin.records[seen..]);

    for replica in &both {
        let shards = [replica.clone()];
        let content: Vec<_> = cut_content(&shards, W)
            .into_iter()
            .map(|(w, _, s)| (w, s.len()))
            .collect();

        assert_eq!(content, [(W, 1)]);
        replica.finish_cut(W);
        assert_eq!(replica.due_cut(W + 1), Some(W + 1));
        replica.begin_cut(W + 1).unwrap();

        let content: Vec<_> = cut_content(&shards, W + 1)
            .into_iter()
            .map(|(w, _, s)| (w, s.len()))
            .collect();

        assert_eq!(content, [(W, 1), (W + 1, 1)]);
        replica.finish_cut(W + 1);
        assert_eq!(replica.oldest_cut(), None);

        assert!(dump(replica).iter().all(|(_, samples)| samples.is_empty()));
    }
}

#[test]
fn a_replay_finds_what_was_sent_astray_in_its_block() {
    let dir = tempfile::tempdir().unwrap();
    let head = shard(&dir.path().join("origin"), 1);
    let mut origin = Origin::new(1);

    origin.log(&head, [head.close_window(ASTRAY)]);
    let samples = [(NOW, 1.0), (NOW + WINDOW, 2.0)];
    origin.log(
        &head,
        Maker::default()
            .up("a", &samples)
            .ingest(&head, NOW + WINDOW)
            .drafts,
    );

    let follower = shard(&dir.path().join("follower"), 2);
    apply_all(&follower, &origin.records);
    let manifest = cut(&follower, W);

    assert_eq!(dump(&follower)[0].1.len(), 1);

    let (again, _) =
        Shard::recover(options(&dir.path().join("again"), 2), Some(&manifest)).unwrap();
    apply_all(&again, &origin.records);
    assert_eq!(
        dump(&again),
        dump(&follower),
        "what is in the block is skipped, what is not stays"
    );
}

#[test]
fn a_marker_beyond_all_time_is_refused() {
    let dir = tempfile::tempdir().unwrap();

    let follower = shard(dir.path(), 2);
    for (seq, k) in [(1, i64::MAX), (2, i64::MAX / WINDOW)] {
        let marker = trireme_wire::entry::write_marker(0, k).seal(stream(1), seq);
        assert!(follower.apply(&marker).is_err(), "{k}");
    }

    let state = follower
        .streams()
        .into_iter()
        .find(|s| s.stream == stream(1))
        .unwrap();

    assert_eq!((state.applied, state.marker), (2, None));
}
