//! `[storage]`: windows, retention and acceptance of samples.

use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};

/// How floats are stored in blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FloatEncoding {
    /// Every Prometheus reads it. Chunks with start timestamps to keep are written in the other one all the same.
    Xor,
    /// Prometheus reads it since 3.11. Start timestamps are kept and used, as with [`super::Features::use_start_timestamps`].
    Xor2,
}

/// `[storage]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Storage {
    /// Shards of series; fixed when the data directory is made and equal on all nodes of a group.
    pub shards: u16,
    /// Length of a window; a window becomes a block.
    pub window: Span,
    /// How long after its end a window stays open for stragglers.
    pub window_grace: Span,
    /// `xor` or `xor2`: the encoding of floats in new blocks; equal on all nodes of a group.
    pub float_encoding: FloatEncoding,
    /// How long local blocks are kept.
    pub retention: Span,
    /// Local blocks are also dropped, oldest first, over this size; 0 means no bound.
    pub retention_bytes: ByteSize,
    /// How old a client's sample may be, counted from the newest of its tenant.
    pub out_of_order_window: Span,
    /// The same while history is imported; the longer of both counts.
    pub backfill_window: Span,
    /// Active series on this node, of all tenants; known ones keep flowing at the bound, new ones are refused. 0 means as
    /// many as fit into half of the machine's memory.
    pub series_max: u64,
    /// Windows in which a tenant may have samples that are in no block yet.
    pub tenant_windows_max: usize,
    /// How far ahead of this node's clock a client's sample may be.
    pub max_future: Span,
    /// Windows are cut without a member that has been away for this long.
    pub seal_after: Span,
    /// How often the block writer looks for windows to close and cut.
    pub tick: Span,
    /// Free disk space below which writes are refused with 503.
    pub disk_free_min: ByteSize,
    /// Time between two checks of all local blocks against their checksums and against the other replicas; 0 means none.
    pub scrub_interval: Span,
    /// Bytes a second at which such a check reads blocks; 0 means no bound.
    pub scrub_rate: ByteSize,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            shards: 4,
            window: Span::from_secs(2 * 3600),
            window_grace: Span::from_secs(15 * 60),
            float_encoding: FloatEncoding::Xor,
            retention: Span::from_secs(30 * 86_400),
            retention_bytes: ByteSize(0),
            out_of_order_window: Span::from_secs(86_400),
            backfill_window: Span::from_secs(0),
            series_max: 0,
            tenant_windows_max: 1_000,
            max_future: Span::from_secs(600),
            seal_after: Span::from_secs(3600),
            tick: Span::from_secs(5),
            disk_free_min: ByteSize(64 << 20),
            scrub_interval: Span::from_secs(86_400),
            scrub_rate: ByteSize(16 << 20),
        }
    }
}
