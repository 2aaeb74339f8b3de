//! How the log behaves.

use std::sync::Arc;
use std::time::Duration;

use trireme_base::{Ended, entropy};

use crate::disk::{Disk, RealDisk};

/// When a record counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After an fsync: survives a power cut.
    Fsync,
    /// After the write; synced every `sync_interval`. Survives a killed process, not a power cut.
    Memory,
}

/// Bounds and choices; every field has a working default.
#[derive(Clone)]
pub struct LogOptions {
    /// A segment is closed when it would grow over this.
    pub segment_bytes: u64,
    /// Records are compressed with zstd on disk; logs with and without are read either way.
    pub compress: bool,
    /// When a record counts as durable.
    pub durability: Durability,
    /// Longest time between syncs with [`Durability::Memory`].
    pub sync_interval: Duration,
    /// Records that may wait for the log's thread; own records, which are in the head already, twice as many.
    pub queue_records_max: usize,
    /// Bytes that may wait for the log's thread; of own records twice as many.
    pub queue_bytes_max: usize,
    /// Bytes written at once.
    pub batch_bytes_max: usize,
    /// Bytes of recent records kept in memory for followers.
    pub recent_bytes_max: usize,
    /// How long they are kept.
    pub recent_age_max: Duration,
    /// What follows a damaged record: false waits until the missing records are fetched from a peer, true goes on
    /// without them, which is right for a group of one, where nobody else has them.
    pub skip_holes: bool,
    /// Goes into the checksums of batch headers, so that no payload can pass for a batch. Nobody else may know it.
    pub salt: u64,
    /// Streams that have ended, as a snapshot says that was installed. The log may still have something of them.
    pub ended: Ended,
    /// File operations; another one in tests.
    pub disk: Arc<dyn Disk>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 128 << 20,
            compress: false,
            durability: Durability::Fsync,
            sync_interval: Duration::from_secs(1),
            queue_records_max: 8_192,
            queue_bytes_max: 256 << 20,
            batch_bytes_max: 16 << 20,
            recent_bytes_max: 64 << 20,
            recent_age_max: Duration::from_secs(60),
            skip_holes: false,
            salt: entropy(),
            ended: Ended::default(),
            disk: Arc::new(RealDisk),
        }
    }
}

/// The caller's name for a group of own records, handed back when they are written or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CompletionTag(pub u64);
