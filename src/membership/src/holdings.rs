//! What this node has that the bucket has not. A group goes only when its members have nothing of that kind.

use std::sync::Arc;
use std::time::Duration;

use trireme_base::Clock;
use trireme_head::Shard;
use trireme_ring::Holdings;
use trireme_storage::{LocalBlocks, Store};

/// Every node has listed the bucket after so many of its intervals.
const LISTINGS: u32 = 2;
/// A listing takes this long at most, as a rule.
const LISTING_TAKES: Duration = Duration::from_secs(1);

/// Looks into head and blocks.
pub struct LocalHoldings {
    shards: Vec<Arc<Shard>>,
    local_blocks: Arc<LocalBlocks>,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    /// A block that has been in the bucket for so long is seen there by every node.
    seen_after: Duration,
}

impl LocalHoldings {
    /// Looks into these parts of the node. `sync_interval` is the time between two listings of the bucket.
    pub fn new(
        shards: Vec<Arc<Shard>>,
        local_blocks: Arc<LocalBlocks>,
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        sync_interval: Duration,
    ) -> Self {
        Self {
            shards,
            local_blocks,
            store,
            clock,
            seen_after: sync_interval * LISTINGS + LISTING_TAKES,
        }
    }

    /// What there is now, for a ring of `epoch`.
    pub fn holdings(&self, epoch: u64) -> Holdings {
        let parts = self.store.parts();
        let all_informed = {
            let group = parts.hub.group().lock();
            group.epoch() == epoch
                && group
                    .peers()
                    .all(|(_, peer)| !peer.connected || peer.epoch >= epoch)
        };

        let now_ms = self.clock.now_ms();
        let seen_after_ms = i64::try_from(self.seen_after.as_millis()).unwrap_or(i64::MAX);
        let mut unshipped = 0;

        let mut unseen = 0;
        for block in self.local_blocks.blocks() {
            match block.shipped_at_ms() {
                None => unshipped += 1,
                Some(at) if now_ms.saturating_sub(at) < seen_after_ms => unseen += 1,
                Some(_) => {}
            }
        }

        Holdings {
            epoch,
            all_informed,
            writing: parts.commits.waiting() > 0,
            // What is still to be replayed is not in the head yet.
            open_windows: !self.store.replay().is_done()
                || self.shards.iter().any(|shard| shard.oldest_cut().is_some()),
            unshipped,
            unseen,
        }
    }
}
