//! Who hears what the log does.

use std::time::Duration;

use trireme_base::StreamId;
use trireme_wire::record::Record;

use crate::{CompletionTag, LogError};

/// Where an own record stands in its append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnPlace {
    /// The tag of the append.
    pub tag: CompletionTag,
    /// True for the last record of the append: when its seq is committed, the whole append is.
    pub last: bool,
}

/// Figures of one write and its sync.
#[derive(Clone, Copy, Debug)]
pub struct SyncReport {
    /// Records of the batch.
    pub records: usize,
    /// Bytes of the batch.
    pub bytes: usize,
    /// Time the write took.
    pub write: Duration,
    /// Time the sync took; `None` when there was none.
    pub sync: Option<Duration>,
}

/// Hears of everything on the log's thread, so no method may block: hand over to a queue and return.
pub trait LogObserver: Send + Sync + 'static {
    /// A record is in the file, not yet synced. Called in log order: push it to peers, dispatch foreign records to
    /// their shards.
    fn written(&self, record: &Record, own: Option<OwnPlace>);
    /// All records of one write were told: the moment to wake whoever waits for some of them.
    fn batch_written(&self) {}
    /// These streams are durable up to and including the seq.
    fn durable(&self, positions: &[(StreamId, u64)]);
    /// An append of own records was not written (full disk); nothing of it is in the log.
    fn refused(&self, tag: CompletionTag, error: &LogError);
    /// The log takes nothing for the time being, because the disk is full or the system is short of something. It goes on
    /// by itself.
    fn waits(&self, _error: &LogError) {}
    /// The log failed for good; nothing will be acknowledged any more.
    fn failed(&self, error: &LogError);
    /// Figures for metrics.
    fn synced(&self, _report: &SyncReport) {}
}

/// Ignores everything.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoObserver;

impl LogObserver for NoObserver {
    fn written(&self, _: &Record, _: Option<OwnPlace>) {}
    fn durable(&self, _: &[(StreamId, u64)]) {}
    fn refused(&self, _: CompletionTag, _: &LogError) {}
    fn failed(&self, _: &LogError) {}
}
