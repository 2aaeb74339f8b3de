//! Figures for metrics and the status page.

use std::sync::atomic::{AtomicU64, Ordering};

/// A moment's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Record and batch header bytes written since the start.
    pub written_bytes: u64,
    /// Records written since the start.
    pub written_records: u64,
    /// Batches written since the start.
    pub batches: u64,
    /// Syncs since the start.
    pub syncs: u64,
    /// Time spent in syncs, nanoseconds.
    pub sync_ns: u64,
    /// Syncs that failed since the start; what they were for was logged again, or the log has failed.
    pub failed_syncs: u64,
    /// Appends refused because the disk was full.
    pub refused: u64,
    /// Records waiting for the log's thread.
    pub queued_records: u64,
    /// Bytes waiting for the log's thread.
    pub queued_bytes: u64,
    /// Bytes of the newest records, which stay in memory for followers.
    pub recent_bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Bytes of all segment files.
    pub disk_bytes: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub written_bytes: AtomicU64,
    pub written_records: AtomicU64,
    pub batches: AtomicU64,
    pub syncs: AtomicU64,
    pub sync_ns: AtomicU64,
    pub failed_syncs: AtomicU64,
    pub refused: AtomicU64,
    pub queued_records: AtomicU64,
    pub queued_bytes: AtomicU64,
}

impl Counters {
    pub fn snapshot(&self, segments: u64, disk_bytes: u64, recent_bytes: u64) -> LogStats {
        LogStats {
            written_bytes: get(&self.written_bytes),
            written_records: get(&self.written_records),
            batches: get(&self.batches),
            syncs: get(&self.syncs),
            sync_ns: get(&self.sync_ns),
            failed_syncs: get(&self.failed_syncs),
            refused: get(&self.refused),
            queued_records: get(&self.queued_records),
            queued_bytes: get(&self.queued_bytes),
            recent_bytes,
            segments,
            disk_bytes,
        }
    }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
