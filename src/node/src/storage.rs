//! Log, head and local blocks, opened and recovered.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use slog::warn;
use trireme_actors::ActorKind;
use trireme_block::ChunkEncodings;
use trireme_head::Shard;
use trireme_log::{Durability, Log, LogOptions};
use trireme_replication::CommitTracker;
use trireme_settings::{Durability as DurabilitySetting, FloatEncoding, LogCompression, Settings};
use trireme_storage::{
    ApplyQueue, BlockStyle, ClockMetrics, ClockWatch, Commits, Completeness, Cutting, ENDED,
    LocalBlocks, PendingAppends, Snapshots, Store, StoreMetrics, StoreParts,
};

use crate::catalog::{BucketView, NodeCatalog};
use crate::cluster::Cluster;
use crate::context::NodeContext;
use crate::datadir::INCOMPLETE;
use crate::rebuild::Staging;
use crate::recovery::{self, CUT_MANIFEST};
use crate::replaying;

/// Writes that may wait for their quorum; each is a few hundred bytes of state.
const WAITERS_MAX: usize = 100_000;
/// Small blocks of a cut that are written at the same time; of 10,000 tenants each has one.
const BLOCKS_AT_ONCE: usize = 16;
/// A snapshot for a peer is held for so long after the peer last asked about it.
const SNAPSHOT_LEASE: Duration = Duration::from_secs(600);

/// Everything that holds samples on this node, save for the bucket.
pub(crate) struct Storage {
    pub(crate) shards: Vec<Arc<Shard>>,
    /// Records of peers on their way to each shard.
    pub(crate) apply_queues: Vec<Arc<ApplyQueue>>,
    /// Drafts of each shard on their way to the log.
    pub(crate) pending: Vec<Arc<PendingAppends>>,
    pub(crate) commits: Arc<Commits>,
    pub(crate) store: Arc<Store>,
    pub(crate) wal: Arc<Log>,
    pub(crate) local_blocks: Arc<LocalBlocks>,
    /// Windows that streams are known to have closed.
    pub(crate) markers: Vec<i64>,
    /// Whether this node's clock can be believed.
    pub(crate) clock_watch: Arc<ClockWatch>,
    /// What is held for peers that are being rebuilt.
    pub(crate) snapshots: Arc<Snapshots>,
    /// One cut, checkpoint or snapshot at a time.
    maintenance_lock: Arc<Mutex<()>>,
}

impl Storage {
    /// Loads checkpoints, opens the log and begins to replay what is behind them.
    pub(crate) async fn open(context: &NodeContext, cluster: &Cluster) -> anyhow::Result<Self> {
        let NodeContext {
            settings,
            clock,
            log,
            pool,
            data_dir,
            ..
        } = context;

        let own = data_dir.stream();
        let is_complete = Staging::of(&data_dir.path("")).is_complete()?;
        let completeness = Completeness::kept_at(&data_dir.path(INCOMPLETE), is_complete)
            .with_context(|| format!("cannot read {INCOMPLETE} in the data directory"))?;
        let completeness = Arc::new(completeness);
        let open = recovery::open_shards(settings, data_dir, own, pool, log).await?;
        let shards = open.shards.clone();
        let apply_queues: Vec<Arc<ApplyQueue>> = shards
            .iter()
            .map(|_: &Arc<Shard>| {
                Arc::new(ApplyQueue::new(
                    context.mailboxes.port(ActorKind::Ingest, "ingest-lane"),
                ))
            })
            .collect();

        let pending: Vec<Arc<PendingAppends>> = shards.iter().map(|_| Arc::default()).collect();
        let quorum = cluster.place.group.quorum.clone();
        let mut tracker =
            CommitTracker::new(own, context.name.clone(), quorum.clone(), WAITERS_MAX);

        tracker.set_quorum(cluster.place.group.epoch, quorum);
        let commits = Arc::new(Commits::new(Arc::clone(clock), tracker));
        let store = Arc::new(Store::new(StoreParts {
            own,
            hub: Arc::clone(&cluster.hub),
            commits: Arc::clone(&commits),
            shards: shards.clone(),
            apply_queues: apply_queues.clone(),
            pending: pending.clone(),
            completeness: Arc::clone(&completeness),
            gate: Arc::clone(&context.gate),
            pool: Arc::clone(pool),
            metrics: StoreMetrics::new(&context.metrics)?,
            log: context.part_log("log"),
        }));

        let local_blocks = Arc::new(LocalBlocks::open(
            &data_dir.path("blocks"),
            context.part_log("blocks"),
        )?);

        let is_alone = cluster.place.group.peers.is_empty();
        if !is_alone && !local_blocks.lost().is_empty() {
            // Until blocks were compared, peers may have what was set aside here.
            completeness.set_lacks_blocks(true);
        }

        let mut options = log_options(settings, is_alone);
        let observer = Arc::clone(&store);

        match Log::load_ended(&data_dir.path(ENDED))? {
            Ok(ended) => options.ended = ended,
            // Peers that know of an end tell it, and this replica copies a snapshot once more if it cannot follow.
            Err(what) => {
                warn!(log, "the list of streams that have ended is damaged"; "err" => what)
            }
        }

        let dir = data_dir.path("log");
        let (wal, recovered) = Log::open(
            &dir,
            options,
            own,
            &open.covered,
            observer,
            Arc::clone(clock),
        )?;

        let wal = Arc::new(wal);
        recovery::report(&recovered, log);
        let plan = recovery::plan(&open, &wal, log)?;
        let markers = recovery::markers(&open, &plan);

        store.attach(Arc::clone(&wal), &plan);

        let was_cut = shards.iter().any(|shard| shard.last_cut().is_some());
        if was_cut || !wal.is_whole() || !local_blocks.blocks().is_empty() {
            completeness.note_history();
        }

        let snapshots = Snapshots::open(
            &data_dir.path("snapshots"),
            SNAPSHOT_LEASE,
            Arc::clone(clock),
            context.part_log("snapshots"),
        );

        let snapshots =
            Arc::new(snapshots.context("cannot open snapshots/ in the data directory")?);
        replaying::start(context, &store, plan)?;

        let maintenance_lock = Arc::default();
        let clock_watch = Arc::new(ClockWatch {
            hub: Arc::clone(&cluster.hub),
            clock: Arc::clone(clock),
            gate: Arc::clone(&context.gate),
            metrics: ClockMetrics::new(&context.metrics)?,
            log: context.part_log("clock"),
        });

        Ok(Self {
            shards,
            apply_queues,
            pending,
            commits,
            store,
            wal,
            local_blocks,
            markers,
            clock_watch,
            snapshots,
            maintenance_lock,
        })
    }

    /// What queries read: this node's own data and the bucket's.
    pub(crate) fn catalog(&self, settings: &Settings, bucket: Option<BucketView>) -> NodeCatalog {
        let with_starts = settings.keeps_start_timestamps();
        NodeCatalog {
            shards: self.shards.clone(),
            local_blocks: Arc::clone(&self.local_blocks),
            bucket,
            with_starts,
        }
    }

    /// The work of cutting windows into blocks.
    pub(crate) fn cutting(&self, context: &NodeContext) -> Cutting {
        let settings = &context.settings;
        Cutting {
            store: Arc::clone(&self.store),
            shards: self.shards.clone(),
            local_blocks: Arc::clone(&self.local_blocks),
            manifest: context.data_dir.path(CUT_MANIFEST),
            style: block_style(settings),
            seal_after: settings.storage.seal_after.as_duration(),
            blocks_at_once: BLOCKS_AT_ONCE,
            log_retention_bytes: settings.log.retention_bytes.0,
            log_retention: settings.log.retention.as_duration(),
            snapshots: Arc::clone(&self.snapshots),
            maintenance_lock: Arc::clone(&self.maintenance_lock),
            clock: Arc::clone(&context.clock),
        }
    }
}

/// How blocks are written.
pub(crate) fn block_style(settings: &Settings) -> BlockStyle {
    let encodings = match (
        settings.storage.float_encoding,
        settings.keeps_start_timestamps(),
    ) {
        (FloatEncoding::Xor2, _) => ChunkEncodings::Xor2,
        (FloatEncoding::Xor, true) => ChunkEncodings::Starts,
        (FloatEncoding::Xor, false) => ChunkEncodings::Classic,
    };
    BlockStyle {
        external_labels: settings.bucket.external_labels.clone(),
        tenant_label: settings.tenants.label.clone(),
        encodings,
    }
}

/// `is_alone`: the ring has no other member of this node's group.
pub(crate) fn log_options(settings: &Settings, is_alone: bool) -> LogOptions {
    LogOptions {
        segment_bytes: settings.log.segment_bytes.0,
        compress: settings.log.compression == LogCompression::Zstd,
        durability: match settings.log.durability {
            DurabilitySetting::Fsync => Durability::Fsync,
            DurabilitySetting::Memory => Durability::Memory,
        },
        sync_interval: settings.log.sync_interval.as_duration(),
        queue_bytes_max: settings.log.queue_bytes.0 as usize,
        // Without a peer nobody can fill a hole: what stands behind it is better than nothing.
        skip_holes: is_alone,
        ..LogOptions::default()
    }
}
