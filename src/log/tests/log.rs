//! Appending, following, trimming and refusing.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use std::time::Duration;
use support::{Recorder, draft, open, open_with, options, record, stream};

use trireme_base::{Boot, Clock, End, Ended, ManualClock, StreamId, SystemClock};
use trireme_log::{
    AppendError, CompletionTag, Durability, Log, LogError, LogObserver, LogOptions, OwnPlace,
    ReplayWatch,
};
use trireme_wire::record::Record;

#[test]
fn gives_own_records_seqs_in_order_and_reports_them_durable() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::default());
    let (log, found) = open(dir.path(), 1, recorder.clone());
    assert!(found.positions.is_empty() && found.damage.is_empty() && found.tail_cut.is_none());

    for tag in 1..=5 {
        log.append_own(vec![draft(0, 10), draft(1, 10)], CompletionTag(tag))
            .unwrap();
    }

    log.flush().unwrap();
    assert_eq!(log.durable_positions(), [(stream(1), 10)]);
    let written = recorder.written.lock().clone();

    assert_eq!(
        written.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(),
        (1..=10).collect::<Vec<_>>()
    );

    let last: Vec<_> = written
        .iter()
        .filter(|(_, own)| own.unwrap().last)
        .map(|(seq, own)| (*seq, own.unwrap().tag.0))
        .collect();

    assert_eq!(last, [(2, 1), (4, 2), (6, 3), (8, 4), (10, 5)]);
    assert_eq!(
        recorder.durable.lock().last().unwrap().clone(),
        vec![(stream(1), 10)]
    );
}

#[test]
fn takes_foreign_records_only_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), 1, Arc::default());
    let take =
        |seqs: &[u64]| log.append_foreign(seqs.iter().map(|s| record(stream(9), *s, 20)).collect());

    assert_eq!(take(&[1, 2, 3]).unwrap().taken, 3);
    let again = take(&[2, 3, 4]).unwrap();
    assert_eq!((again.taken, again.duplicates), (1, 2));
    assert_eq!(
        take(&[5, 7]),
        Err(AppendError::Gap {
            stream: stream(9),
            have: 5,
            got: 7
        })
    );

    log.flush().unwrap();
    assert_eq!(log.durable_positions(), [(stream(9), 5)]);
    assert_eq!(take(&[6, 7]).unwrap().taken, 2);
}

#[test]
fn a_start_continues_all_streams_and_refuses_a_used_own_stream() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (log, _) = open(dir.path(), 1, Arc::default());
        log.append_own(vec![draft(0, 10)], CompletionTag(1))
            .unwrap();
        log.append_foreign(vec![record(stream(9), 1, 10)]).unwrap();
    }

    let clock = || Arc::new(SystemClock::new());
    let again = Log::open(
        dir.path(),
        support::options(),
        stream(1),
        &[],
        Arc::new(Recorder::default()),
        clock(),
    );

    assert!(matches!(again.err(), Some(LogError::StreamReused(s)) if s == stream(1)));
    let (log, found) = open(dir.path(), 2, Arc::default());
    assert_eq!(found.positions, [(stream(1), 1), (stream(9), 1)]);
    assert_eq!(
        log.append_foreign(vec![record(stream(9), 1, 10), record(stream(9), 2, 10)])
            .unwrap()
            .duplicates,
        1
    );

    log.append_own(vec![draft(0, 10)], CompletionTag(1))
        .unwrap();
    log.flush().unwrap();
    assert_eq!(
        log.durable_positions(),
        [(stream(1), 1), (stream(2), 1), (stream(9), 2)]
    );
}

#[test]
fn old_records_leave_the_memory_of_a_log_at_rest() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions {
        recent_age_max: Duration::from_millis(20),
        ..support::options()
    };
    let (log, _) = open_with(dir.path(), 1, options, Arc::new(Recorder::default()));

    log.append_own(vec![draft(0, 1_000)], CompletionTag(1))
        .unwrap();
    log.flush().unwrap();

    let clock = SystemClock::new();
    while log.stats().recent_bytes > 0 {
        assert!(
            clock.monotonic() < Duration::from_secs(60),
            "they are still there"
        );
        std::thread::yield_now();
    }

    assert_eq!(log.read(stream(1), 1, 10_000).unwrap().len(), 1);
}

#[test]
fn followers_read_from_memory_and_from_segments_alike() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions {
        recent_bytes_max: 3_000,
        ..support::options()
    };
    let (log, _) = Log::open(
        dir.path(),
        options,
        stream(1),
        &[],
        Arc::new(Recorder::default()),
        Arc::new(SystemClock::new()),
    )
    .unwrap();

    for seq in 1..=500 {
        log.append_foreign(vec![record(stream(9), seq, 100)])
            .unwrap();
        if seq % 3 == 0 {
            log.append_own(vec![draft(0, 50)], CompletionTag(seq))
                .unwrap();
        }
        if seq % 10 == 0 {
            log.flush().unwrap();
        }
    }

    log.flush().unwrap();
    assert!(log.stats().segments > 3);

    for from in [1, 2, 250, 499, 500] {
        let mut next = from;
        while next <= 500 {
            let records = log.read(stream(9), next, 1_000).unwrap();
            assert!(!records.is_empty() && records.len() <= 11);
            for r in &records {
                assert_eq!((r.seq(), r), (next, &record(stream(9), next, 100)));
                next += 1;
            }
        }
    }

    assert!(log.read(stream(9), 501, 1_000).unwrap().is_empty());
    assert!(log.read(stream(77), 1, 1_000).unwrap().is_empty());
}

#[test]
fn trims_whole_covered_segments_and_remembers_the_positions() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (log, _) = open(dir.path(), 1, Arc::default());
        for seq in 1..=300 {
            log.append_foreign(vec![record(stream(9), seq, 200)])
                .unwrap();
            log.flush().unwrap();
        }

        let before = log.stats();
        assert_eq!(log.trim(&[(stream(9), 10)]).unwrap(), 0);
        assert_eq!(log.trim(&[(stream(8), 300)]).unwrap(), 0);

        assert!(log.trim(&[(stream(9), 200)]).unwrap() > 0);
        let after = log.stats();
        assert!(after.segments < before.segments && after.disk_bytes < before.disk_bytes);

        let first = log.first_seq(stream(9)).unwrap();
        assert!(first > 1 && first <= 201);
        log.trim(&[(stream(9), 300)]).unwrap();
    }

    let (log, found) = open(dir.path(), 2, Arc::default());
    assert_eq!(found.positions, [(stream(9), 300)]);
    assert!(matches!(
        log.read(stream(9), 1, 100),
        Err(LogError::Gone { .. })
    ));

    drop(log);
    // All closed segments gone: the base file alone knows.
    let (log, found) = open(dir.path(), 3, Arc::default());

    assert_eq!(found.positions, [(stream(9), 300)]);
    log.trim(&[(stream(9), 300)]).unwrap();
    assert!(log.held().is_empty() && log.ended().is_empty());

    let asked: Ended = [(stream(9).incarnation, Boot(2))].into_iter().collect();
    let end = log.end(&asked).unwrap();
    let digest = End::with(0, Boot(1), 300);

    assert_eq!(
        end.of(stream(9).incarnation),
        End {
            before: Boot(2),
            digest
        }
    );

    drop(log);
    let (log, found) = open(dir.path(), 4, Arc::default());
    assert!(found.positions.is_empty() && log.ended() == end && !log.is_whole());

    let again = log.append_foreign(vec![record(stream(9), 1, 200)]).unwrap();
    assert_eq!((again.taken, again.duplicates), (0, 1), "it is over");
}

#[test]
fn a_stream_does_not_end_while_something_of_it_is_held() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), 1, Arc::default());
    let start = |boot| StreamId {
        boot: Boot(boot),
        ..stream(9)
    };

    log.advance_base(&[(start(1), 5), (start(2), 5), (start(4), 5)])
        .unwrap();
    log.append_foreign(vec![record(start(3), 1, 200)]).unwrap();

    let end = || {
        let asked: Ended = [(stream(9).incarnation, Boot(5))].into_iter().collect();
        log.end(&asked).unwrap().before(stream(9).incarnation)
    };

    assert_eq!(end(), Boot(3), "the third is still queued");
    log.flush().unwrap();
    assert_eq!(end(), Boot(3), "or in a segment");

    let mut left = log.written_positions();
    left.sort_unstable();
    assert_eq!(left, [(start(3), 1), (start(4), 5)]);

    let own: Ended = [(stream(1).incarnation, Boot(9))].into_iter().collect();
    assert!(
        !log.end(&own).unwrap().has(log.own_stream()),
        "the own one is running"
    );
}

#[test]
fn what_a_snapshot_says_has_ended_is_not_read_from_the_log() {
    let dir = tempfile::tempdir().unwrap();

    let (log, _) = open(dir.path(), 1, Arc::default());
    for seq in 1..=300 {
        log.append_foreign(vec![
            record(stream(9), seq, 200),
            record(stream(8), seq, 200),
        ])
        .unwrap();
        log.flush().unwrap();
    }

    drop(log);

    let end = End {
        before: Boot(2),
        digest: 7,
    };
    let copied: Ended = [(stream(9).incarnation, end)].into_iter().collect();
    let file = dir.path().join("ended");

    assert_eq!(Log::load_ended(&file).unwrap(), Ok(Ended::default()));
    for own in [2, 3] {
        let options = LogOptions {
            ended: copied.clone(),
            ..options()
        };
        let (log, found) = open_with(dir.path(), own, options, Arc::default());

        assert_eq!(found.positions, [(stream(8), 300)]);
        let plan = log.plan_replay(&[(stream(9), 3)]).unwrap();
        assert!(plan.from().iter().all(|(known, _)| *known == stream(8)));

        assert_eq!(plan.to(), [(stream(8), 300)]);
        assert_eq!(log.written_positions(), [(stream(8), 300)]);
        assert!(
            log.trim(&[(stream(8), 300)]).unwrap() > 0 || own == 3,
            "it holds up no other"
        );
        assert!(log.store_ended(&file).unwrap());

        assert_eq!(Log::load_ended(&file).unwrap(), Ok(copied.clone()));
    }

    let (log, _) = open(dir.path(), 4, Arc::default());
    assert_eq!(log.ended(), copied, "it is known for ever");
}

#[test]
fn a_start_with_an_older_checkpoint_reads_what_the_newer_one_had() {
    let dir = tempfile::tempdir().unwrap();
    let start = |own, covered| {
        let clock = Arc::new(SystemClock::new());
        let covered = [(stream(9), covered)];
        let (log, _) = Log::open(
            dir.path(),
            options(),
            stream(own),
            &covered,
            Arc::<Recorder>::default(),
            clock,
        )
        .unwrap();

        let plan = log.plan_replay(&covered).unwrap();
        let of =
            |positions: Vec<(StreamId, u64)>| positions.into_iter().find(|(s, _)| *s == stream(9));

        (of(plan.from()).unwrap().1, of(plan.to()).unwrap().1, log)
    };

    let (.., log) = start(1, 0);
    for seq in 1..=300 {
        log.append_foreign(vec![record(stream(9), seq, 200)])
            .unwrap();
        log.flush().unwrap();
    }

    drop(log);
    // With a checkpoint up to 250, while the log is trimmed to the one before, as it must be.
    let (from, to, log) = start(2, 250);

    assert_eq!((from, to), (250, 300));
    assert!(log.trim(&[(stream(9), 200)]).unwrap() > 0);
    drop(log);

    // The newer one cannot be read any more.
    for own in [3, 4] {
        let (from, to, _) = start(own, 200);
        assert_eq!((from, to), (200, 300));
    }
}

#[test]
fn a_snapshot_lets_a_stream_go_on_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (log, _) = open(dir.path(), 1, Arc::default());
        log.append_foreign(vec![record(stream(9), 1, 10)]).unwrap();
        log.flush().unwrap();
        log.advance_base(&[(stream(9), 50), (stream(8), 7)])
            .unwrap();
        assert_eq!(
            log.append_foreign(vec![record(stream(9), 51, 10)])
                .unwrap()
                .taken,
            1
        );

        log.flush().unwrap();
        assert_eq!(log.read(stream(9), 51, 1_000).unwrap().len(), 1);
    }

    assert_eq!(
        open(dir.path(), 2, Arc::default()).1.positions,
        [(stream(8), 7), (stream(9), 51)]
    );
}

#[test]
fn replays_each_shard_in_stream_order_behind_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (log, _) = open(dir.path(), 1, Arc::default());
        for n in 0..200 {
            log.append_own(
                vec![draft((n % 3) as u16, 64), draft(u16::MAX, 8)],
                CompletionTag(n),
            )
            .unwrap();
            log.append_foreign(vec![record(stream(9), n + 1, 64)])
                .unwrap();
            if n % 7 == 0 {
                log.flush().unwrap();
            }
        }
    }

    let (log, _) = open(dir.path(), 2, Arc::default());
    let plan = log.plan_replay(&[(stream(1), 100)]).unwrap();
    assert!(plan.to().contains(&(stream(9), 200)) && plan.from().contains(&(stream(1), 100)));

    // What is appended once the plan is made is not part of it.
    log.append_own(vec![draft(0, 10)], CompletionTag(1))
        .unwrap();
    log.append_foreign(vec![record(stream(9), 201, 64)])
        .unwrap();
    log.flush().unwrap();

    let seen = parking_lot::Mutex::new(Vec::new());
    let watch = ReplayWatch::default();
    let report = log
        .replay(&plan, 3, 2, &watch, |shard: u16, r: &Record| {
            seen.lock().push((shard, r.stream(), r.seq()))
        })
        .unwrap();

    assert_eq!(Some(watch.segment()), plan.segments().map(|(_, last)| last));
    let seen = seen.into_inner();
    assert!(seen.iter().all(|x| x.2 <= 200 || x.1 != stream(9)));

    assert_eq!(report.records, 300 + 200);
    for shard in 0..3u16 {
        for s in [stream(1), stream(9), stream(2)] {
            let seqs: Vec<u64> = seen
                .iter()
                .filter(|x| (x.0, x.1) == (shard, s))
                .map(|x| x.2)
                .collect();
            assert!(seqs.windows(2).all(|w| w[0] < w[1]));
            assert!(s != stream(2) || seqs.is_empty());
        }

        let all = seen
            .iter()
            .filter(|x| x.0 == shard && x.1 == stream(1) && x.2 % 2 == 0)
            .count();

        assert_eq!(all, 150, "records for all shards reach shard {shard}");
    }
}

#[test]
fn a_replay_ends_early_when_it_is_told_to_and_notices_a_changed_file() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (log, _) = open(dir.path(), 1, Arc::default());
        for seq in 1..=300 {
            log.append_foreign(vec![record(stream(9), seq, 200)])
                .unwrap();
            log.flush().unwrap();
        }
    }

    let (log, _) = open(dir.path(), 2, Arc::default());
    let plan = log.plan_replay(&[]).unwrap();
    let watch = ReplayWatch::default();
    let stopped = log.replay(&plan, 1, 1, &watch, |_, _| watch.stop());
    assert!(matches!(stopped, Err(LogError::Stopped)), "{stopped:?}");

    let victim = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().path());
    let victim = victim
        .filter(|p| p.extension().is_some_and(|e| e == "log"))
        .min()
        .unwrap();
    let mut bytes = std::fs::read(&victim).unwrap();

    bytes[4_000] ^= 1;
    std::fs::write(&victim, bytes).unwrap();
    let changed = log.replay(&plan, 1, 1, &ReplayWatch::default(), |_, _| {});
    assert!(
        matches!(changed, Err(LogError::Changed { .. })),
        "{changed:?}"
    );
}

#[test]
fn a_full_queue_answers_busy_and_a_closed_log_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), 1, Arc::default());

    // More than the bound at once passes only into an empty queue; own records have twice the room.
    let max = support::options().queue_records_max;
    let own = |n: usize| log.append_own((0..n).map(|_| draft(0, 1)).collect(), CompletionTag(2));

    let mut refused = false;
    for _ in 0..50 {
        refused |= matches!(own(max), Err(AppendError::Busy { .. }));
    }

    assert!(refused && log.check().is_ok());
    log.close();
    assert_eq!(
        log.append_own(vec![draft(0, 1)], CompletionTag(4)),
        Err(AppendError::Stopped)
    );

    let stats = log.stats();
    assert_eq!((stats.queued_records, stats.queued_bytes), (0, 0));
}

#[test]
fn without_fsync_records_are_acknowledged_after_the_write_and_synced_later() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions {
        durability: Durability::Memory,
        sync_interval: Duration::from_secs(3_600),
        ..support::options()
    };

    let recorder = Arc::new(Recorder::default());
    let clock = Arc::new(ManualClock::at(0));
    let (log, _) = Log::open(dir.path(), options, stream(1), &[], recorder.clone(), clock).unwrap();

    log.append_own(vec![draft(0, 10)], CompletionTag(1))
        .unwrap();
    while log.durable_positions().is_empty() {
        std::thread::yield_now();
    }

    assert_eq!(log.stats().syncs, 0);
    log.flush().unwrap();
    assert_eq!(
        (log.stats().syncs, log.durable_positions()),
        (1, vec![(stream(1), 1)])
    );
    drop(log);
    assert_eq!(
        open(dir.path(), 2, Arc::default()).1.positions,
        [(stream(1), 1)]
    );
}

#[test]
fn a_flush_that_races_with_the_end_is_answered() {
    for _ in 0..50 {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = open(dir.path(), 1, Arc::default());
        let log = Arc::new(log);

        let (done, all_done) = crossbeam_channel::bounded(4);
        for _ in 0..4 {
            let log = Arc::clone(&log);
            let done = done.clone();
            #[allow(clippy::disallowed_methods)] // it appends beside the others
            std::thread::Builder::new()
                .spawn(move || {
                    while log.flush().is_ok() {}
                    done.send(()).unwrap();
                })
                .unwrap();
        }

        log.flush().unwrap();
        log.close();

        for _ in 0..4 {
            all_done
                .recv_timeout(Duration::from_secs(30))
                .expect("a flush was never answered");
        }
    }
}

#[test]
fn trims_by_age_what_is_covered_and_knows_when_it_is_whole_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(1_000_000));
    let observer = Arc::new(Recorder::default());
    let (log, _) = Log::open(
        dir.path(),
        support::options(),
        stream(1),
        &[],
        observer,
        clock.clone(),
    )
    .unwrap();

    for seq in 1..=100 {
        if seq == 51 {
            clock.advance_ms(3_600_000);
        }
        log.append_foreign(vec![record(stream(9), seq, 400)])
            .unwrap();
        log.flush().unwrap();
    }

    assert!(log.is_whole());
    assert_eq!(
        log.trim_older(&[(stream(9), 100)], 1_000_000).unwrap(),
        0,
        "nothing is that old"
    );

    assert_eq!(
        log.trim_older(&[(stream(9), 10)], 2_000_000).unwrap(),
        0,
        "the old is not covered"
    );

    assert!(log.is_whole());
    assert!(log.trim_older(&[(stream(9), 100)], 2_000_000).unwrap() > 0);
    let first = log.first_seq(stream(9)).unwrap();
    assert!(
        first > 20 && first <= 51,
        "{first}: the segment of the hour between stays"
    );

    assert!(!log.is_whole());
}

#[test]
fn everybody_hears_of_it_when_the_thread_panics() {
    #[derive(Default)]
    struct Panics(Recorder);

    impl LogObserver for Panics {
        fn written(&self, _: &Record, _: Option<OwnPlace>) {
            panic!("an observer that dies");
        }

        fn durable(&self, _: &[(StreamId, u64)]) {}
        fn refused(&self, _: CompletionTag, _: &LogError) {}
        fn failed(&self, error: &LogError) {
            self.0.failed(error);
        }
    }

    let dir = tempfile::tempdir().unwrap();
    let observer = Arc::new(Panics::default());
    let clock = Arc::new(SystemClock::new());
    let heard: Arc<dyn LogObserver> = observer.clone();
    let (log, _) = Log::open(dir.path(), support::options(), stream(1), &[], heard, clock).unwrap();
    assert!(!log.has_ended());

    log.append_own(vec![draft(0, 10)], CompletionTag(1))
        .unwrap();
    while !log.has_ended() {
        std::thread::yield_now();
    }

    assert!(
        matches!(log.check(), Err(AppendError::Failed(_))),
        "{:?}",
        log.check()
    );

    assert!(matches!(
        log.append_own(vec![draft(0, 10)], CompletionTag(2)),
        Err(AppendError::Failed(_))
    ));

    assert_eq!(observer.0.failed.lock().len(), 1);
    assert!(log.durable_positions().is_empty());
}

#[test]
fn a_log_that_was_given_up_takes_nothing_and_calls_nothing_durable_but_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::default());
    let (log, _) = open(dir.path(), 1, recorder.clone());

    log.append_own(vec![draft(0, 10)], CompletionTag(1))
        .unwrap();
    log.flush().unwrap();

    let why = LogError::Unlinked {
        path: dir.path().to_owned(),
    };

    log.give_up(&why);
    log.give_up(&why);
    assert_eq!(recorder.failed.lock().len(), 1, "said once");

    assert!(matches!(
        log.append_own(vec![draft(0, 10)], CompletionTag(2)),
        Err(AppendError::Failed(_))
    ));
    assert!(matches!(
        log.append_foreign(vec![record(stream(9), 1, 10)]),
        Err(AppendError::Failed(_))
    ));

    assert!(log.flush().is_err());
    assert_eq!(log.durable_positions(), [(stream(1), 1)]);
    assert_eq!(log.read(stream(1), 1, 1 << 20).unwrap().len(), 1);
}
