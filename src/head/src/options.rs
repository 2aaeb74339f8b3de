//! Settings of a shard and bounds of a request.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use trireme_base::StreamId;
use trireme_model::Tenant;

use crate::{PanicPoint, TenantTimes};

/// Called with the shard's number, under its lock, when a change of it panicked: nobody may read it any more. A node ends
/// its process there, and the next start builds the shard from disk.
pub type OnSuspect = fn(u16);

/// Settings of one shard; `shards` and `window_ms` are fixed for the life of a data directory.
#[derive(Clone, Debug)]
pub struct ShardOptions {
    /// This shard, in `0..shards`.
    pub number: u16,
    /// Shards of the node, equal on all replicas of a group.
    pub shards: u16,
    /// Length of a window, 1 s to 40 days.
    pub window_ms: i64,
    /// Directory of the shard's chunk files and checkpoint; made when missing.
    pub dir: PathBuf,
    /// The own stream of this start.
    pub own: StreamId,
    /// A chunk is closed with so many samples.
    pub chunk_samples_max: u16,
    /// A chunk is closed when it has so many bytes.
    pub chunk_bytes_max: usize,
    /// Tenants that clients may bring to this shard; a further one is refused.
    pub tenants_max: usize,
    /// Exemplars kept per tenant in this shard.
    pub exemplars_max: usize,
    /// Metrics with metadata kept per tenant.
    pub metadata_max: usize,
    /// Windows in which a tenant may have samples that are in no block yet; clients cannot open more.
    pub windows_max: usize,
    /// The newest samples of all tenants; the shards of a node share it.
    pub times: Arc<TenantTimes>,
    /// What to do about a shard that is half changed.
    pub on_suspect: Option<OnSuspect>,
    /// Has a change of this tenant's samples panic; for tests.
    pub panic_for: Option<(PanicPoint, Tenant)>,
    /// Memory of the exemplars of all tenants in this shard (bytes).
    pub exemplar_bytes_max: usize,
    /// Memory of the metadata of all tenants in this shard (bytes).
    pub metadata_bytes_max: usize,
    /// Aliases of label sets that senders do not sort; the cache starts over when it is full.
    pub aliases_max: usize,
}

impl ShardOptions {
    /// Settings with the usual bounds.
    pub fn new(number: u16, shards: u16, window_ms: i64, dir: PathBuf, own: StreamId) -> Self {
        Self {
            number,
            shards,
            window_ms,
            dir,
            own,
            chunk_samples_max: 120,
            chunk_bytes_max: 448,
            tenants_max: 10_000,
            exemplars_max: 25_000,
            metadata_max: 50_000,
            windows_max: 1_000,
            times: Arc::default(),
            on_suspect: None,
            panic_for: None,
            exemplar_bytes_max: 64 << 20,
            metadata_bytes_max: 64 << 20,
            aliases_max: 1 << 20,
        }
    }

    /// The windows that have times of `start..=end` (ms).
    pub(crate) fn windows(&self, start: i64, end: i64) -> RangeInclusive<i64> {
        start.div_euclid(self.window_ms)..=end.div_euclid(self.window_ms)
    }
}

/// Bounds of a tenant, as they hold for one request.
#[derive(Clone, Debug)]
pub struct IngestLimits {
    /// How far behind the newest sample of the tenant (at most now) a sample may be.
    pub out_of_order_window_ms: i64,
    /// The same while history is imported; the longer of both counts.
    pub backfill_window_ms: i64,
    /// How far ahead of now a sample may be.
    pub max_future_ms: i64,
    /// Labels of a series.
    pub label_count_max: usize,
    /// Bytes of a label name.
    pub label_name_bytes_max: usize,
    /// Bytes of a label value.
    pub label_value_bytes_max: usize,
    /// Active series of the tenant in one shard; 0 means no bound.
    pub shard_series_max: usize,
    /// Active series of all tenants in one shard; 0 means no bound.
    pub shard_series_of_all_max: usize,
}

impl Default for IngestLimits {
    fn default() -> Self {
        Self {
            out_of_order_window_ms: 3_600_000,
            backfill_window_ms: 0,
            max_future_ms: 600_000,
            label_count_max: 64,
            label_name_bytes_max: 1_024,
            label_value_bytes_max: 4_096,
            shard_series_max: 0,
            shard_series_of_all_max: 0,
        }
    }
}
