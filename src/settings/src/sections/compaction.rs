//! `[compaction]`: merging of blocks in the bucket.

use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};

/// `[compaction]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Compaction {
    /// Whether the node merges blocks of the bucket, deletes those that were merged or are too old, and downsamples.
    pub enabled: bool,
    /// Whether it downsamples, if it merges.
    pub downsampling: bool,
    /// Time between two looks at the bucket, for each of which all its objects are listed.
    pub interval: Span,
    /// A range without a later block is merged so long after its end.
    pub grace: Span,
    /// How long a block stays in the bucket that is marked for deletion.
    pub delete_delay: Span,
    /// How long raw blocks stay in the bucket; 0 means for ever.
    pub retention_raw: Span,
    /// How long blocks of 5 minutes stay; 0 means for ever.
    pub retention_5m: Span,
    /// How long blocks of an hour stay; 0 means for ever.
    pub retention_1h: Span,
    /// Jobs at once.
    pub concurrency: usize,
    /// The most bytes of blocks that become one.
    pub block_bytes_max: ByteSize,
}

impl Default for Compaction {
    fn default() -> Self {
        Self {
            enabled: false,
            downsampling: true,
            interval: Span::from_secs(600),
            grace: Span::from_secs(12 * 3_600),
            delete_delay: Span::from_secs(48 * 3_600),
            retention_raw: Span::from_secs(0),
            retention_5m: Span::from_secs(0),
            retention_1h: Span::from_secs(0),
            concurrency: 1,
            block_bytes_max: ByteSize(64 << 30),
        }
    }
}
