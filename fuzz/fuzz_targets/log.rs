//! A segment of the log, as a start finds it: whatever it holds, the log opens, and what it says it has can be read.

#![no_main]

use std::sync::Arc;

use trireme_base::{Boot, Incarnation, StreamId, SystemClock};
use trireme_log::{Log, LogOptions, NoObserver, ReplayWatch};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("000000000001.log"), bytes).expect("a file");
    let own = StreamId {
        incarnation: Incarnation(77),
        boot: Boot(1),
    };
    let options = LogOptions {
        segment_bytes: 1 << 16,
        ..LogOptions::default()
    };
    let Ok((log, found)) = Log::open(
        dir.path(),
        options,
        own,
        &[],
        Arc::new(NoObserver),
        Arc::new(SystemClock::new()),
    ) else {
        return;
    };
    for (stream, seq) in found.positions {
        if seq > 0
            && let Some(first) = log.first_seq(stream)
        {
            let records = log.read(stream, first, 1 << 20);
            assert!(records.is_ok_and(|records| {
                records
                    .iter()
                    .all(|r| r.stream() == stream && r.seq() <= seq)
            }));
        }
    }
    if let Ok(plan) = log.plan_replay(&[]) {
        let _ = log.replay(&plan, 4, 1, &ReplayWatch::default(), |_, _| {});
    }
});
