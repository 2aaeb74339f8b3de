//! A stream for every start of every node adds up over the years; an append must not cost more for it.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use support::{open_with, options, record, stream};
use trireme_base::{Boot, Incarnation, StreamId};
use trireme_log::LogOptions;

const STARTS: u32 = 20_000;

/// The least time of some runs of a hundred appends, in a log that knows so many streams.
#[allow(clippy::disallowed_methods)]
fn appends(starts: u32) -> Duration {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions {
        queue_records_max: 1 << 20,
        ..options()
    };
    let (log, _) = open_with(dir.path(), 1, options, Arc::default());

    log.advance_base(
        &(1..starts)
            .map(|boot| {
                (
                    StreamId {
                        incarnation: Incarnation(7),
                        boot: Boot(boot),
                    },
                    5,
                )
            })
            .collect::<Vec<_>>(),
    )
    .unwrap();

    let mut seq = 0;
    let mut run = || {
        let records: Vec<_> = (1..=100).map(|n| record(stream(9), seq + n, 20)).collect();
        seq += 100;
        let began = Instant::now();
        for record in records {
            log.append_foreign(vec![record]).unwrap();
        }
        began.elapsed()
    };

    (0..20).map(|_| run()).min().unwrap()
}

#[test]
fn an_append_does_not_grow_with_the_starts() {
    let few = appends(10);
    let many = appends(STARTS);
    println!("100 appends: {few:?} after 10 starts, {many:?} after {STARTS}");
    assert!(
        many < few * 10 + Duration::from_millis(5),
        "{few:?} became {many:?}"
    );
}

#[test]
fn a_refused_append_leaves_positions_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions {
        queue_bytes_max: 6_000,
        ..options()
    };
    let (log, _) = open_with(dir.path(), 1, options, Arc::default());

    log.append_foreign(vec![record(stream(9), 1, 20)]).unwrap();
    log.flush().unwrap();

    // More than the queue holds while the thread has the first: both streams stay where they were.
    let mut seq = 1;

    loop {
        let large = vec![
            record(stream(9), seq + 1, 2_000),
            record(stream(8), seq, 2_000),
        ];
        if log.append_foreign(large).is_err() {
            break;
        }
        seq += 1;
        assert!(seq < 10_000, "the queue has a bound");
    }

    log.flush().unwrap();
    let again = vec![record(stream(9), seq + 1, 20), record(stream(8), seq, 20)];
    assert_eq!(log.append_foreign(again).unwrap().taken, 2);
}
