//! A shard that panicked in the middle of a change is not trusted, and a chunk that cannot be read costs nothing else.
#![allow(clippy::unwrap_used)]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use support::{Maker, NOW, Origin, WINDOW, options, shard, tenant};
use trireme_base::Boot;
use trireme_block::{SeriesInput, SeriesSource};
use trireme_head::{
    CutSource, HeadError, IngestOutput, PanicPoint, SET_ASIDE, Shard, ShardOptions,
};

#[test]
fn a_panic_inside_a_change_ends_trust_and_the_last_checkpoint_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut fragile = options(dir.path(), 1);
    fragile.panic_for = Some((PanicPoint::Ingest, tenant()));

    let first = Shard::new(fragile).unwrap();
    first.checkpoint(|| Ok::<(), HeadError>(())).unwrap();
    assert!(!first.is_suspect());

    let write = || Maker::default().up("a", &[(NOW, 1.0)]).ingest(&first, NOW);
    assert!(catch_unwind(AssertUnwindSafe(write)).is_err() && first.is_suspect());
    let saved = first.checkpoint(|| Ok::<(), HeadError>(()));
    assert!(matches!(saved, Err(HeadError::Suspect { .. })));
    assert!(matches!(
        first.begin_cut(NOW / WINDOW),
        Err(HeadError::Suspect { .. })
    ));
}

#[test]
fn a_record_that_panics_twice_is_set_aside_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let origin_shard = shard(other.path(), 7);

    let mut origin = Origin::new(7);
    for t in [NOW, NOW + 1] {
        let out = Maker::default()
            .up("a", &[(t, 1.0)])
            .ingest(&origin_shard, NOW);
        origin.log(&origin_shard, out.drafts);
    }

    let start = |boot: u32| {
        let mut fragile: ShardOptions = options(dir.path(), 1);
        fragile.own.boot = Boot(boot);
        fragile.panic_for = Some((PanicPoint::Apply, tenant()));
        Shard::recover(fragile, None).unwrap().0
    };

    for boot in 1..3 {
        let shard = start(boot);
        let apply = || shard.apply(&origin.records[0]);
        assert!(
            catch_unwind(AssertUnwindSafe(apply)).is_err() && shard.is_suspect(),
            "{boot}"
        );
    }

    let shard = start(3);
    let error = shard.apply(&origin.records[0]).unwrap_err();
    assert!(
        matches!(error, HeadError::SetAside { seq: 1, .. }),
        "{error}"
    );
    assert!(!shard.is_suspect());

    let states = shard.streams();
    assert!(
        states
            .iter()
            .any(|state| state.stream == origin.stream && state.applied == 1)
    );
}

#[test]
fn a_request_that_panics_twice_is_refused_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let start = |boot: u32| {
        let mut fragile: ShardOptions = options(dir.path(), 1);
        fragile.own.boot = Boot(boot);
        fragile.panic_for = (boot < 4).then(|| (PanicPoint::Ingest, tenant()));
        Shard::recover(fragile, None).unwrap().0
    };

    let write = |shard: &Shard, t| {
        Maker::default()
            .up("a", &[(t, 1.0), (t + 1, 2.0)])
            .ingest(shard, NOW)
    };

    let refused = |out: &IngestOutput| -> Vec<(&str, u64)> {
        out.outcome
            .rejections
            .iter()
            .map(|r| (r.reason, r.count))
            .collect()
    };

    for boot in 1..3 {
        let shard = start(boot);
        let doomed = catch_unwind(AssertUnwindSafe(|| write(&shard, NOW)));
        assert!(doomed.is_err() && shard.is_suspect(), "{boot}");
    }

    let third = start(3);
    let out = write(&third, NOW);
    assert_eq!(refused(&out), [(SET_ASIDE, 2)]);

    assert!(out.drafts.is_empty() && !third.is_suspect());
    let other = catch_unwind(AssertUnwindSafe(|| write(&third, NOW + 5)));
    assert!(other.is_err() && third.is_suspect(), "another one is tried");

    let fourth = start(4);
    assert_eq!(
        refused(&write(&fourth, NOW)),
        [(SET_ASIDE, 2)],
        "it was not forgotten for the other"
    );

    let out = write(&fourth, NOW + 5);
    assert!(
        refused(&out).is_empty() && out.outcome.samples == 2,
        "it panicked once"
    );
}

#[test]
fn a_damaged_chunk_is_found_and_a_cut_can_leave_it_out() {
    let dir = tempfile::tempdir().unwrap();
    let first = shard(dir.path(), 1);
    let samples: Vec<(i64, f64)> = (0..1_000).map(|n| (NOW + n, n as f64)).collect();

    Maker::default().up("a", &samples).ingest(&first, NOW);
    first.checkpoint(|| Ok::<(), HeadError>(())).unwrap();
    assert!(first.check_chunks(10).is_empty() && !first.is_damaged());

    let path = dir.path().join("chunks/00000001.chunks");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(first.check_chunks(10).len(), 1);

    assert!(first.is_damaged());

    let k = NOW / WINDOW;
    first.begin_cut(k).unwrap();
    let open = || CutSource::open(std::slice::from_ref(&first), &tenant(), k, k);
    assert!(open().next(&mut SeriesInput::default()).is_err());

    let mut source = open().skipping_damage();
    let mut series = SeriesInput::default();
    assert!(source.next(&mut series).unwrap());

    assert_eq!(source.lost(), 1);
    assert!(
        series.times.len() < 1_000 && series.times.len() > 500,
        "{}",
        series.times.len()
    );

    first.finish_cut(k);
    assert!(!first.is_damaged());
}
