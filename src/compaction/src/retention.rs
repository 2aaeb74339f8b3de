//! Which blocks have had their time.
//!
//! Time is what two witnesses agree on: this node's clock, and the newest raw block of the streams that are looked after. A clock
//! that is ahead makes nothing old, and neither does a sample from the future.

use std::collections::BTreeSet;
use std::sync::Arc;

use trireme_block::{RESOLUTION_1H_MS, RESOLUTION_5M_MS};
use trireme_bucket::BucketBlock;
use ulid::Ulid;

use crate::coarsen::Coarsen;
use crate::plan::Limits;

/// How long blocks stay, by resolution (ms); `None` is for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Samples as they were written.
    pub raw_ms: Option<i64>,
    /// Aggregates of 5 minutes.
    pub five_minutes_ms: Option<i64>,
    /// Aggregates of an hour.
    pub hour_ms: Option<i64>,
}

impl Retention {
    /// That of a resolution; blocks of one that nobody has heard of stay.
    fn of(&self, resolution_ms: i64) -> Option<i64> {
        match resolution_ms {
            0 => self.raw_ms,
            RESOLUTION_5M_MS => self.five_minutes_ms,
            RESOLUTION_1H_MS => self.hour_ms,
            _ => None,
        }
    }
}

/// The time behind which blocks have had theirs.
pub(crate) struct Horizon {
    /// The earlier of the clock and the newest sample; none without any sample.
    now_ms: Option<i64>,
    retention: Retention,
}

impl Horizon {
    pub(crate) fn new(blocks: &[Arc<BucketBlock>], now_ms: i64, limits: &Limits) -> Self {
        let newest = blocks
            .iter()
            .map(|block| &block.meta)
            .filter(|meta| meta.resolution_ms() == 0 && limits.streams.have(meta))
            .map(|meta| meta.max_time)
            .max();

        Self {
            now_ms: newest.map(|newest| newest.min(now_ms)),
            retention: limits.retention,
        }
    }

    /// True if the retention of a block with this resolution and end (ms) is over.
    pub(crate) fn is_past(&self, resolution_ms: i64, max_time: i64) -> bool {
        let oldest = self
            .now_ms
            .zip(self.retention.of(resolution_ms))
            .map(|(now_ms, retention_ms)| now_ms.saturating_sub(retention_ms));
        oldest.is_some_and(|oldest| max_time <= oldest)
    }
}

/// Blocks whose retention is over and of which nothing is still to be made, by name.
///
/// A block that is to be downsampled stays until the coarser block is there, and that one is not to be deleted itself.
pub fn expired(blocks: &[Arc<BucketBlock>], now_ms: i64, limits: &Limits) -> BTreeSet<Ulid> {
    let horizon = Horizon::new(blocks, now_ms, limits);
    let own = blocks
        .iter()
        .filter(|block| limits.streams.have(&block.meta));
    let old: Vec<_> = own
        .clone()
        .filter(|block| horizon.is_past(block.meta.resolution_ms(), block.meta.max_time))
        .collect();
    // Mostly, and wherever blocks stay for ever.
    if old.is_empty() {
        return BTreeSet::new();
    }

    let mut coarsen = Coarsen::default();
    for block in own.filter(|block| block.deletion.is_none()) {
        coarsen.add(block, false);
    }

    old.into_iter()
        .filter(|block| !coarsen.is_wanted(block, limits, &horizon))
        .map(|block| block.meta.ulid)
        .collect()
}
