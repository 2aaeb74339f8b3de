//! What the node's memory is taken by, and that what is free goes back to the system.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntGaugeVec;
use trireme_base::memory;
use trireme_base::pool::CpuPool;
use trireme_bucket::PageCache;
use trireme_head::{HeadMemory, Shard};
use trireme_log::Log;
use trireme_storage::LocalBlocks;
use trireme_telemetry::Metrics;

use crate::storage::Storage;

/// How often the allocator is asked, and threads that live for long look whether memory is wanted back.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Parts are counted once in so many looks: that walks over all series.
const LOOKS_PER_COUNT: usize = 6;
/// The allocator may keep so many bytes that are not in use, and a quarter of those that are.
const SPARE_BYTES: u64 = 16 << 20;

/// Counts the memory of a node.
pub(crate) struct MemoryWatch {
    parts: IntGaugeVec,
    shards: Vec<Arc<Shard>>,
    local_blocks: Arc<LocalBlocks>,
    wal: Arc<Log>,
    bucket_cache: Option<Arc<PageCache>>,
}

impl MemoryWatch {
    pub(crate) fn new(
        metrics: &Metrics,
        storage: &Storage,
        bucket_cache: Option<Arc<PageCache>>,
    ) -> anyhow::Result<Self> {
        if let Some(allocator) = memory::allocator() {
            metrics.gauge_read(
                "trireme_memory_allocated_bytes",
                "Memory that is in use, as it was asked for; all parts together.",
                allocator.allocated,
            )?;
            metrics.gauge_read(
                "trireme_memory_held_bytes",
                "Memory that the process has from the system without that of files, with what the allocator keeps for later.",
                allocator.held,
            )?;
        }
        Ok(Self {
            parts: metrics.gauges(
                "trireme_memory_part_bytes",
                "Memory in use by what it is for, counted once a minute; the rest is of requests, threads and connections.",
                &["part"],
            )?,
            shards: storage.shards.clone(),
            local_blocks: Arc::clone(&storage.local_blocks),
            wal: Arc::clone(&storage.wal),
            bucket_cache,
        })
    }

    /// Looks for as long as the node runs.
    pub(crate) async fn run(self, pool: Arc<CpuPool>) {
        let watch = Arc::new(self);
        loop {
            let counting = Arc::clone(&watch);
            // A full pool leaves the figures as they are.
            let _ = pool.call(move || counting.count()).await;
            for _ in 0..LOOKS_PER_COUNT {
                look();
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    fn count(&self) {
        let mut head = HeadMemory::default();
        self.shards
            .iter()
            .for_each(|shard| head.merge(&shard.memory()));

        let blocks = self
            .local_blocks
            .blocks()
            .iter()
            .map(|entry| entry.block.memory_bytes())
            .sum::<usize>();

        let log = self.wal.stats();
        let cache = self
            .bucket_cache
            .as_ref()
            .map_or(0, |cache| cache.stats().bytes);
        let parts = [
            ("head_series", head.series),
            ("head_samples", head.samples),
            ("head_histograms", head.histograms),
            ("head_index", head.index),
            ("head_references", head.references),
            ("head_exemplars", head.exemplars),
            ("head_metadata", head.metadata),
            ("block_indexes", blocks as u64),
            ("bucket_cache", cache as u64),
            ("log_queue", log.queued_bytes),
            ("log_recent", log.recent_bytes),
        ];

        for (part, bytes) in parts {
            self.parts.with_label_values(&[part]).set(bytes as i64);
        }
    }
}

/// Asks for memory that is free, if there is too much of it.
fn look() {
    let Some(allocator) = memory::allocator() else {
        return;
    };

    let allocated = (allocator.allocated)();

    let held = (allocator.held)();
    if held > allocated + allocated / 4 + SPARE_BYTES {
        memory::ask_threads();
    }

    memory::give_back_if_asked();
}

/// For a thread that runs tasks: gives back what it has free when that is asked for.
pub(crate) async fn give_back_now_and_then() {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        memory::give_back_if_asked();
    }
}
