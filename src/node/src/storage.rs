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
    BlockStyle, ClockMetrics, ClockWatch, Commits, Completeness, Cutting, ENDED, Lane, Shelf,
    Snapshots, Store, StoreMetrics, StoreParts, Unlogged,
};

use crate::catalog::{BucketView, NodeCatalog};
use crate::cluster::Cluster;
use crate::datadir::INCOMPLETE;
use crate::ground::Ground;
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
    pub(crate) lanes: Vec<Arc<Lane>>,
    /// Drafts of each shard on their way to the log.
    pub(crate) unlogged: Vec<Arc<Unlogged>>,
    pub(crate) commits: Arc<Commits>,
    pub(crate) store: Arc<Store>,
    pub(crate) wal: Arc<Log>,
    pub(crate) shelf: Arc<Shelf>,
    /// Windows that streams are known to have closed.
    pub(crate) markers: Vec<i64>,
    /// Whether this node's clock can be believed.
    pub(crate) clock_watch: Arc<ClockWatch>,
    /// What is held for peers that are being rebuilt.
    pub(crate) snapshots: Arc<Snapshots>,
    /// One cut, checkpoint or snapshot at a time.
    alone: Arc<Mutex<()>>,
}

impl Storage {
    /// Loads checkpoints, opens the log and begins to replay what is behind them.
    pub(crate) async fn open(ground: &Ground, cluster: &Cluster) -> anyhow::Result<Self> {
        let Ground {
            settings,
            clock,
            log,
            pool,
            data_dir,
            ..
        } = ground;

        let own = data_dir.stream();
        let is_complete = Staging::of(&data_dir.path("")).is_complete()?;
        let completeness = Completeness::kept_at(&data_dir.path(INCOMPLETE), is_complete)
            .with_context(|| format!("cannot read {INCOMPLETE} in the data directory"))?;
        let completeness = Arc::new(completeness);
        let open = recovery::open_shards(settings, data_dir, own, pool, log).await?;
        let shards = open.shards.clone();
        let lanes: Vec<Arc<Lane>> = shards
            .iter()
            .map(|_: &Arc<Shard>| {
                Arc::new(Lane::new(
                    ground.mailboxes.port(ActorKind::Ingest, "ingest-lane"),
                ))
            })
            .collect();

        let unlogged: Vec<Arc<Unlogged>> = shards.iter().map(|_| Arc::default()).collect();
        let quorum = cluster.place.group.quorum.clone();
        let mut tracker = CommitTracker::new(own, ground.name.clone(), quorum.clone(), WAITERS_MAX);

        tracker.set_quorum(cluster.place.group.epoch, quorum);
        let commits = Arc::new(Commits::new(Arc::clone(clock), tracker));
        let store = Arc::new(Store::new(StoreParts {
            own,
            hub: Arc::clone(&cluster.hub),
            commits: Arc::clone(&commits),
            shards: shards.clone(),
            lanes: lanes.clone(),
            unlogged: unlogged.clone(),
            completeness: Arc::clone(&completeness),
            gate: Arc::clone(&ground.gate),
            pool: Arc::clone(pool),
            metrics: StoreMetrics::new(&ground.metrics)?,
            log: ground.part_log("log"),
        }));

        let shelf = Arc::new(Shelf::open(
            &data_dir.path("blocks"),
            ground.part_log("blocks"),
        )?);

        let is_alone = cluster.place.group.peers.is_empty();
        if !is_alone && !shelf.lost().is_empty() {
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
        if was_cut || !wal.is_whole() || !shelf.blocks().is_empty() {
            completeness.note_history();
        }

        let snapshots = Snapshots::open(
            &data_dir.path("snapshots"),
            SNAPSHOT_LEASE,
            Arc::clone(clock),
            ground.part_log("snapshots"),
        );

        let snapshots =
            Arc::new(snapshots.context("cannot open snapshots/ in the data directory")?);
        replaying::start(ground, &store, plan)?;

        let alone = Arc::default();
        let clock_watch = Arc::new(ClockWatch {
            hub: Arc::clone(&cluster.hub),
            clock: Arc::clone(clock),
            gate: Arc::clone(&ground.gate),
            metrics: ClockMetrics::new(&ground.metrics)?,
            log: ground.part_log("clock"),
        });

        Ok(Self {
            shards,
            lanes,
            unlogged,
            commits,
            store,
            wal,
            shelf,
            markers,
            clock_watch,
            snapshots,
            alone,
        })
    }

    /// What queries read: this node's own data and the bucket's.
    pub(crate) fn catalog(&self, settings: &Settings, bucket: Option<BucketView>) -> NodeCatalog {
        let with_starts = settings.keeps_start_timestamps();
        NodeCatalog {
            shards: self.shards.clone(),
            shelf: Arc::clone(&self.shelf),
            bucket,
            with_starts,
        }
    }

    /// The work of cutting windows into blocks.
    pub(crate) fn cutting(&self, ground: &Ground) -> Cutting {
        let settings = &ground.settings;
        Cutting {
            store: Arc::clone(&self.store),
            shards: self.shards.clone(),
            shelf: Arc::clone(&self.shelf),
            manifest: ground.data_dir.path(CUT_MANIFEST),
            style: block_style(settings),
            seal_after: settings.storage.seal_after.as_duration(),
            blocks_at_once: BLOCKS_AT_ONCE,
            log_retention_bytes: settings.log.retention_bytes.0,
            log_retention: settings.log.retention.as_duration(),
            snapshots: Arc::clone(&self.snapshots),
            alone: Arc::clone(&self.alone),
            clock: Arc::clone(&ground.clock),
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
