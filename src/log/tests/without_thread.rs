//! A log whose caller does the work of its thread.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use support::{Recorder, draft, open, options, record, stream};
use trireme_base::SystemClock;
use trireme_log::{CompletionTag, Log};

fn open_without_thread(dir: &std::path::Path, own: u64, recorder: Arc<Recorder>) -> Log {
    let clock = Arc::new(SystemClock::new());
    Log::open_without_thread(dir, options(), stream(own), &[], recorder, clock)
        .unwrap()
        .0
}

#[test]
fn writes_and_syncs_only_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::default());
    let log = open_without_thread(dir.path(), 1, recorder.clone());

    log.append_own(vec![draft(0, 10)], CompletionTag(1))
        .unwrap();
    assert!(log.written_positions().is_empty());
    assert!(log.write_queued());

    log.append_foreign(vec![record(stream(9), 1, 10)]).unwrap();
    assert!(log.write_queued(), "the turn waits for its sync");
    assert_eq!(log.written_positions(), [(stream(1), 1)]);

    assert!(log.durable_positions().is_empty() && recorder.durable.lock().is_empty());
    log.sync_written();
    log.sync_written();
    assert_eq!(log.durable_positions(), [(stream(1), 1)]);
    log.flush().unwrap();
    assert_eq!(log.durable_positions(), [(stream(1), 1), (stream(9), 1)]);

    assert!(!log.write_queued());
}

#[test]
fn leaves_behind_what_a_killed_process_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_without_thread(dir.path(), 1, Arc::default());
    log.append_own(vec![draft(0, 10)], CompletionTag(1))
        .unwrap();

    assert!(log.write_queued());
    log.append_own(vec![draft(0, 10)], CompletionTag(2))
        .unwrap();
    drop(log);

    let (_, found) = open(dir.path(), 2, Arc::default());
    assert_eq!(found.positions, [(stream(1), 1)]);
}
