//! What the log's tests share.
#![allow(dead_code, clippy::unwrap_used)]

pub mod cached_disk;

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use trireme_base::{Boot, Incarnation, StreamId, SystemClock};
use trireme_log::{CompletionTag, Log, LogError, LogObserver, LogOptions, OwnPlace, Recovered};
use trireme_wire::record::{Record, RecordDraft, RecordKind};

pub fn stream(n: u64) -> StreamId {
    StreamId {
        incarnation: Incarnation(n),
        boot: Boot(1),
    }
}

pub fn draft(shard: u16, bytes: usize) -> RecordDraft {
    let mut draft = RecordDraft::new(shard, RecordKind::Samples);
    draft.payload_mut().extend((0..bytes).map(|n| n as u8));
    draft
}

/// A record whose payload follows from its seq.
pub fn record(stream: StreamId, seq: u64, bytes: usize) -> Record {
    let mut draft = RecordDraft::new(0, RecordKind::Samples);
    draft
        .payload_mut()
        .extend((0..bytes).map(|n| (n as u64 * 31 + seq) as u8));
    draft.seal(stream, seq)
}

pub fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 8_192,
        queue_records_max: 4_096,
        ..LogOptions::default()
    }
}

pub fn open(dir: &Path, own: u64, recorder: Arc<Recorder>) -> (Log, Recovered) {
    open_with(dir, own, options(), recorder)
}

pub fn open_with(
    dir: &Path,
    own: u64,
    options: LogOptions,
    recorder: Arc<Recorder>,
) -> (Log, Recovered) {
    Log::open(
        dir,
        options,
        stream(own),
        &[],
        recorder,
        Arc::new(SystemClock::new()),
    )
    .expect("log opens")
}

#[derive(Default)]
pub struct Recorder {
    pub written: Mutex<Vec<(u64, Option<OwnPlace>)>>,
    pub durable: Mutex<Vec<Vec<(StreamId, u64)>>>,
    pub refused: Mutex<Vec<CompletionTag>>,
    pub failed: Mutex<Vec<String>>,
}

impl LogObserver for Recorder {
    fn written(&self, record: &Record, own: Option<OwnPlace>) {
        self.written.lock().push((record.seq(), own));
    }

    fn durable(&self, positions: &[(StreamId, u64)]) {
        self.durable.lock().push(positions.to_vec());
    }

    fn refused(&self, tag: CompletionTag, _: &LogError) {
        self.refused.lock().push(tag);
    }

    fn failed(&self, error: &LogError) {
        self.failed.lock().push(error.to_string());
    }
}
