//! What is read at a moment is what was there then, whatever is written meanwhile: whole requests, and of all series the
//! same ones.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::{Maker, NOW, Origin, dump, options, shard, tenant};
use trireme_head::{HeadSeries, Moment, Shard};

fn at(shard: &Arc<Shard>, moment: &Arc<Moment>) -> Vec<HeadSeries> {
    shard.select_at(Some(moment), &tenant(), &[], i64::MIN, i64::MAX)
}

/// All samples of all series at a moment, by label text; series without any are not named.
fn dump_at(shard: &Arc<Shard>, moment: &Arc<Moment>) -> Vec<(String, Vec<(i64, u64)>)> {
    let mut out = Vec::new();
    for series in at(shard, moment) {
        let mut times = Vec::new();
        let mut values = Vec::new();
        series
            .read(i64::MIN, i64::MAX, &mut times, &mut values)
            .unwrap();
        if !times.is_empty() {
            let samples = times.into_iter().zip(values.iter().map(|v| v.to_bits()));
            out.push((series.labels.to_string(), samples.collect()));
        }
    }

    out.sort();
    out
}

fn newest(series: &HeadSeries) -> Option<(i64, f64)> {
    let mut times = Vec::new();
    let mut values = Vec::new();
    series
        .read_newest(i64::MIN, i64::MAX, &mut times, &mut values, &mut Vec::new())
        .unwrap();
    Some((*times.last()?, *values.last()?))
}

#[test]
fn a_moment_shows_what_was_there_and_nothing_that_came_since() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path(), 1);
    options.chunk_samples_max = 5;

    let shard = Shard::new(options).unwrap();

    let mut held = Vec::new();
    for n in 0..300i64 {
        let t = NOW + n * 1_000;
        let mut maker = Maker::default().up("a", &[(t, n as f64)]);

        // Some have a sample twice, or come for the first time.
        maker = maker.up("b", &[(t, 1.0), (t + 300, 2.0), (t, 1.0)]);

        if n % 3 == 0 {
            maker = maker.up("c", &[(t, n as f64)]);
        }

        if n % 50 == 10 {
            maker = maker.up(&format!("new {n}"), &[(t, 0.0)]);
        }

        maker.ingest(&shard, t);
        if n % 20 == 7 {
            held.push((Arc::new(shard.moment()), dump(&shard)));
        }

        if n % 70 == 69 {
            held.remove(0);
        }

        for (moment, then) in &held {
            assert_eq!(&dump_at(&shard, moment), then, "at request {n}");
        }
    }

    held.clear();
    Maker::default()
        .up("a", &[(NOW + 400_000, 1.0)])
        .ingest(&shard, NOW + 400_000);

    let now = Arc::new(shard.moment());
    assert_eq!(dump_at(&shard, &now), dump(&shard));
}

#[test]
fn the_newest_sample_at_a_moment_is_the_one_of_then() {
    let dir = tempfile::tempdir().unwrap();
    let shard = shard(dir.path(), 1);
    Maker::default()
        .up("a", &[(NOW, 1.0), (NOW + 1, 2.0)])
        .ingest(&shard, NOW);

    let moment = Arc::new(shard.moment());
    let series = &at(&shard, &moment)[0];
    Maker::default()
        .up("a", &[(NOW + 2, 3.0)])
        .ingest(&shard, NOW);
    assert_eq!(newest(series), Some((NOW + 1, 2.0)));

    let later = Arc::new(shard.moment());
    assert_eq!(newest(&at(&shard, &later)[0]), Some((NOW + 2, 3.0)));
}

#[test]
fn a_late_sample_of_a_time_that_no_full_chunk_can_have_is_left_out_too() {
    let dir = tempfile::tempdir().unwrap();
    let shard = shard(dir.path(), 1);
    Maker::default()
        .up("a", &[(NOW, 1.0), (NOW + 10, 2.0)])
        .ingest(&shard, NOW);

    let moment = Arc::new(shard.moment());
    let then = dump(&shard);
    Maker::default()
        .up("a", &[(NOW + 5, 3.0)])
        .ingest(&shard, NOW);
    assert_eq!(dump_at(&shard, &moment), then);
    assert_eq!(dump(&shard)[0].1.len(), 3);
}

#[test]
fn a_sample_that_was_there_is_not_left_out_because_it_is_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path(), 1);
    options.chunk_samples_max = 5;

    let shard = Shard::new(options).unwrap();
    let all: Vec<_> = (0..200).map(|n| (NOW + n, n as f64)).collect();
    Maker::default().up("a", &all).ingest(&shard, NOW);

    let moment = Arc::new(shard.moment());
    Maker::default().up("a", &all).ingest(&shard, NOW);
    assert_eq!(dump_at(&shard, &moment)[0].1.len(), 200);
}

/// Requests of one value for many series, of which two must never be seen with different ones.
fn requests() -> impl Iterator<Item = Maker> {
    (0..400i64).map(|n| {
        let t = NOW + n * 1_000;
        (0..60).fold(Maker::default(), |maker, job| {
            maker.up(&format!("{job}"), &[(t, n as f64)])
        })
    })
}

/// Reads until `done`, and once more.
fn all_are_equal(shard: &Arc<Shard>, done: &AtomicBool) {
    let mut values = Vec::new();
    loop {
        let is_last = done.load(Ordering::SeqCst);
        let moment = Arc::new(shard.moment());
        let series = at(shard, &moment);

        // Two selectors of one query.
        for found in [&series, &at(shard, &moment)] {
            let found: Vec<_> = found.iter().map(newest).collect();
            let known = found.iter().flatten().next().copied();
            assert!(
                found
                    .iter()
                    .all(|of_one| of_one.is_none() || *of_one == known),
                "{found:?}"
            );

            assert!(
                series
                    .iter()
                    .filter_map(newest)
                    .all(|of_one| Some(of_one) == known)
            );

            values.extend(known);
        }

        if is_last {
            break;
        }
    }

    assert_eq!(values.last(), Some(&(NOW + 399_000, 399.0)));
}

#[test]
fn series_of_one_request_are_seen_together_where_it_is_taken_and_where_it_is_applied() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let origin = shard(dirs[0].path(), 1);
    let follower = shard(dirs[1].path(), 2);
    let taken = AtomicBool::new(false);
    let applied = AtomicBool::new(false);

    std::thread::scope(|scope| {
        scope.spawn(|| all_are_equal(&origin, &taken));
        scope.spawn(|| all_are_equal(&follower, &applied));

        let mut log = Origin::new(1);
        for request in requests() {
            log.log(&origin, request.ingest(&origin, NOW).drafts);
            // With the end of the follower's, both have had as long.
            let from = log.records.len() - 1;
            for record in &log.records[from..] {
                follower.apply(record).unwrap();
            }
        }

        taken.store(true, Ordering::SeqCst);
        applied.store(true, Ordering::SeqCst);
    });

    assert_eq!(dump(&origin), dump(&follower));
}
