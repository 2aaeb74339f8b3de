//! The actors of a node, started in the order of a sample's way.

use std::sync::Arc;

use actix_rt::Arbiter;
use anyhow::Context;
use slog::{o, warn};
use trireme_actors::{
    ActorKind, BlockWriter, BlockWriterMetrics, BlockWriterOptions, BlockWriterParts,
    BlockWriterPorts, Evaluate, Front, FrontPorts, GetRing, Ingest, IngestParts, IngestPorts,
    Membership, QueryShard, Supervisor, SupervisorDoor, SupervisorHandle, SupervisorParts,
    Uploader, UploaderMetrics, UploaderParts, close_window, policy,
};
use trireme_consensus::Consensus;
use trireme_distributed::ANSWER_BYTES_MAX;
use trireme_log::AppendError;
use trireme_mailbox::Port;
use trireme_membership::{LocalHoldings, RingController, RingControllerParts};
use trireme_settings::BucketType;
use trireme_storage::{HeadMetrics, ShardWriterParts, Windows, WriterMark};
use trireme_write::{ForwardMetrics, Forwarder, WritePath};

use crate::answers::AnswerRoom;
use crate::api_settings::limits_table;
use crate::block_server::BlockServer;
use crate::calls::NodeCalls;
use crate::catalog::BucketView;
use crate::cluster::Cluster;
use crate::compaction::add_compactor;
use crate::ground::Ground;
use crate::rebuild::{ServerMetrics, SnapshotServer};
use crate::replicators::Replicators;
use crate::ring::follow::Follower;
use crate::scrub::add_scrubber;
use crate::storage::Storage;

/// Largest answers that a peer may be owed, at least.
const ANSWERS_MIN: usize = 4;

/// The ports by which the rest of the node reaches its actors.
pub(crate) struct Staff {
    pub(crate) membership: Port<GetRing>,
    pub(crate) controller: Arc<RingController>,
    pub(crate) front: FrontPorts,
    pub(crate) ingest: Vec<IngestPorts>,
    pub(crate) writes: Arc<WritePath>,
    pub(crate) block_writer: BlockWriterPorts,
    pub(crate) evaluate: Port<Evaluate>,
    pub(crate) supervisor: SupervisorHandle,
    /// Threads of the shards.
    pub(crate) arbiters: Vec<Arbiter>,
}

impl Staff {
    /// Starts every actor. Nothing reaches the node from outside yet.
    pub(crate) async fn hire(
        ground: &Ground,
        cluster: &Cluster,
        storage: &Storage,
        bucket: Option<&BucketView>,
        consensus: &Arc<Consensus>,
    ) -> anyhow::Result<Self> {
        let mut supervisor = supervisor(ground)?;
        let port_of = &ground.mailboxes;
        let membership = port_of.port(ActorKind::Membership, "membership");
        let starter = Membership::starter(Arc::clone(&ground.book), membership.clone());

        supervisor
            .add(ActorKind::Membership, "membership", starter)
            .await?;

        let front = FrontPorts {
            health: port_of.port(ActorKind::Front, "front-health"),
            substitute: port_of.port(ActorKind::Front, "front-substitute"),
            view: port_of.port(ActorKind::Front, "front-view"),
        };

        let starter = Front::starter(supervisor.logger("front"), front.clone());
        supervisor.add(ActorKind::Front, "front", starter).await?;

        let (ingest, arbiters) = start_shards(&mut supervisor, ground, storage).await?;
        let writes = write_path(ground, cluster, storage, &front, &ingest)?;
        let log = ground.part_log("ring");
        let controller = Arc::new(RingController::new(RingControllerParts {
            clock: Arc::clone(&ground.clock),
            me: ground.name.clone(),
            consensus: Arc::clone(consensus),
            store: Arc::clone(&storage.store),
            neighbours: Arc::clone(&cluster.neighbours),
            holdings: LocalHoldings::new(
                storage.shards.clone(),
                Arc::clone(&storage.shelf),
                Arc::clone(&storage.store),
                Arc::clone(&ground.clock),
                ground.settings.bucket.sync_interval.as_duration(),
            ),
            log,
        }));

        let block_writer = BlockWriterPorts {
            windows: port_of.port(ActorKind::BlockWriter, "block-writer-windows"),
            checkpoint: port_of.port(ActorKind::BlockWriter, "block-writer-checkpoint"),
            snapshot: port_of.port(ActorKind::BlockWriter, "block-writer-snapshot"),
        };

        let handler = NodeCalls {
            writes: Arc::clone(&writes),
            gate: Arc::clone(&ground.gate),
            hub: Arc::clone(&cluster.hub),
            controller: Arc::clone(&controller),
            queries: Arc::clone(&cluster.queries),
            rooms: Arc::new(AnswerRoom::new(
                ANSWER_BYTES_MAX * ground.cores.max(ANSWERS_MIN),
            )),
            pool: Arc::clone(&ground.pool),
            snapshots: SnapshotServer {
                block_writer: block_writer.snapshot.clone(),
                snapshots: Arc::clone(&storage.snapshots),
                pool: Arc::clone(&ground.pool),
                metrics: ServerMetrics::new(&ground.metrics)?,
            },
            blocks: BlockServer::new(
                storage.cutting(ground),
                Arc::clone(&ground.pool),
                &ground.metrics,
            )?,
        };

        let replicators = Replicators::new(ground, cluster, storage, &front, Arc::new(handler));
        for peer in &cluster.place.peers {
            let start = replicators
                .starter(peer)
                .context("the mesh knows every peer")?;
            supervisor
                .add(ActorKind::Replicator, &Replicators::name(peer), start)
                .await?;
        }

        let staff = Self {
            writes,
            controller,
            membership,
            front,
            ingest,
            block_writer,
            evaluate: port_of.port(ActorKind::QueryShard, "query-shard"),
            supervisor: supervisor.handle(),
            arbiters,
        };

        staff
            .add_block_writer(&mut supervisor, ground, storage)
            .await?;

        if let Some(bucket) = bucket {
            add_uploader(&mut supervisor, ground, cluster, storage, bucket).await?;
            add_compactor(&mut supervisor, ground, cluster, storage, &bucket.store).await?;
        }

        add_scrubber(
            &mut supervisor,
            ground,
            cluster,
            storage,
            bucket.map(|bucket| &bucket.store),
        )
        .await?;

        let log = supervisor.logger("query-shard");
        let starter =
            QueryShard::starter(Arc::clone(&ground.query_pool), log, staff.evaluate.clone());

        supervisor
            .add(ActorKind::QueryShard, "query-shard", starter)
            .await?;
        follow_ring(
            ground,
            cluster,
            storage,
            &staff,
            replicators,
            supervisor.door(),
        );

        actix_rt::spawn(supervisor.run());
        Ok(staff)
    }

    async fn add_block_writer(
        &self,
        supervisor: &mut Supervisor,
        ground: &Ground,
        storage: &Storage,
    ) -> anyhow::Result<()> {
        let settings = &ground.settings.storage;
        let windows = Windows {
            window_ms: settings.window.as_millis_i64(),
            grace_ms: settings.window_grace.as_millis_i64(),
        };
        let parts = BlockWriterParts {
            cutting: storage.cutting(ground),
            shards: self.ingest.clone(),
            pool: Arc::clone(&ground.pool),
            options: BlockWriterOptions {
                windows,
                tick: settings.tick.as_duration(),
                checkpoint_every: ground.settings.checkpoint.interval.as_duration(),
                retention_ms: settings.retention.as_millis_i64(),
                retention_bytes: settings.retention_bytes.0,
                only_shipped: ground.settings.bucket.kind != BucketType::None,
            },
            clock: Arc::clone(&ground.clock),
            metrics: BlockWriterMetrics::new(&ground.metrics)?,
            log: supervisor.logger("block-writer"),
        };

        // The first record of the new stream in every shard: which windows are closed already.
        let newest_ms = storage.store.newest_ms().max(storage.shelf.newest_ms());
        let closed = windows.opening(
            ground.clock.now_ms(),
            newest_ms,
            storage.markers.iter().copied(),
        );

        if let Err(err) = close_window(&self.ingest, closed).await {
            match storage.wal.check() {
                // The shards keep it, and write it before anything else once there is room.
                Err(AppendError::Waiting(why)) => {
                    warn!(ground.log, "starting without room for the log: queries are answered, writes are refused until there is some"; "err" => why);
                }
                _ => return Err(anyhow::Error::msg(err).context("cannot open the log")),
            }
        }

        let starter = BlockWriter::starter(parts, self.block_writer.clone());
        Ok(supervisor
            .add(ActorKind::BlockWriter, "block-writer", starter)
            .await?)
    }
}

/// Lets the node follow changes of the ring from now on.
fn follow_ring(
    ground: &Ground,
    cluster: &Cluster,
    storage: &Storage,
    staff: &Staff,
    replicators: Replicators,
    door: SupervisorDoor,
) {
    ground.gate.set_by_ring(cluster.place.gate);
    let follower = Follower {
        me: ground.name.clone(),
        consensus: Arc::clone(staff.controller.consensus()),
        hub: Arc::clone(&cluster.hub),
        neighbours: Arc::clone(&cluster.neighbours),
        routes: Arc::clone(&cluster.routes),
        mesh: Arc::clone(&cluster.mesh),
        calls: Arc::clone(&cluster.calls),
        commits: Arc::clone(&storage.commits),
        gate: Arc::clone(&ground.gate),
        front: staff.front.health.clone(),
        replicators,
        door,
        io: ground.io.handle().clone(),
        clock: Arc::clone(&ground.clock),
        log: ground.part_log("ring"),
    };

    actix_rt::spawn(follower.run(cluster.place.clone()));
}

fn supervisor(ground: &Ground) -> anyhow::Result<Supervisor> {
    let metrics = &ground.metrics;
    let give_up = ground.ask_stop.clone();
    let by = &["actor"];

    Ok(Supervisor::new(SupervisorParts {
        clock: Arc::clone(&ground.clock),
        log: ground.log.clone(),
        restarts: metrics.counters(
            "trireme_actor_restarts_total",
            "Actors started anew after they died.",
            by,
        )?,
        up: metrics.gauges("trireme_actor_up", "1 while the actor runs.", by)?,
        give_up: Box::new(move |reason| drop(give_up.try_send(reason))),
    }))
}

/// One actor and one thread a shard.
async fn start_shards(
    supervisor: &mut Supervisor,
    ground: &Ground,
    storage: &Storage,
) -> anyhow::Result<(Vec<IngestPorts>, Vec<Arbiter>)> {
    let mut all_ports = Vec::new();
    let mut arbiters = Vec::new();
    let limits = limits_table(&ground.settings)?;

    let metrics = HeadMetrics::new(&ground.metrics)?;
    for (i, (shard, lane)) in storage.shards.iter().zip(&storage.lanes).enumerate() {
        let name = format!("ingest-{i}");
        let ports = IngestPorts {
            batch: ground.mailboxes.port(ActorKind::Ingest, "ingest"),
            close: ground.mailboxes.port(ActorKind::Ingest, "ingest-close"),
            collect: ground.mailboxes.port(ActorKind::Ingest, "ingest-collect"),
            note: ground.mailboxes.port(ActorKind::Ingest, "ingest-note"),
        };

        let arbiter = Arbiter::new();
        let writer = ShardWriterParts {
            shard: Arc::clone(shard),
            mark: Arc::new(WriterMark::default()),
            store: Arc::clone(&storage.store),
            lane: Arc::clone(lane),
            unlogged: Arc::clone(&storage.unlogged[i]),
            limits: Arc::clone(&limits),
            ack_timeout: ground.settings.cluster.ack_timeout.as_duration(),
            clock: Arc::clone(&ground.clock),
            metrics: metrics.clone(),
            log: supervisor.logger(&name).new(o!("shard" => i)),
        };

        let parts = IngestParts {
            arbiter: arbiter.handle(),
            writer,
        };

        supervisor
            .add(
                ActorKind::Ingest,
                &name,
                Ingest::starter(parts, ports.clone()),
            )
            .await?;

        arbiters.push(arbiter);
        all_ports.push(ports);
    }

    Ok((all_ports, arbiters))
}

fn write_path(
    ground: &Ground,
    cluster: &Cluster,
    storage: &Storage,
    front: &FrontPorts,
    ingest: &[IngestPorts],
) -> anyhow::Result<Arc<WritePath>> {
    let timeout = ground.settings.cluster.ack_timeout.as_duration();
    Ok(Arc::new(WritePath {
        shards: ingest.iter().map(|ports| ports.batch.clone()).collect(),
        bell: storage.store.log().bell().clone(),
        gate: Arc::clone(&ground.gate),
        ack_timeout: timeout,
        clock: Arc::clone(&ground.clock),
        clock_watch: Arc::clone(&storage.clock_watch),
        routes: Arc::clone(&cluster.routes),
        forwarder: Forwarder {
            front: front.substitute.clone(),
            front_timeout: policy(ActorKind::Front).deadline,
            gate: Arc::clone(&ground.gate),
            neighbours: Arc::clone(&cluster.neighbours),
            calls: Arc::clone(&cluster.calls),
            timeout,
            clock: Arc::clone(&ground.clock),
            metrics: ForwardMetrics::new(&ground.metrics)?,
        },
    }))
}

async fn add_uploader(
    supervisor: &mut Supervisor,
    ground: &Ground,
    cluster: &Cluster,
    storage: &Storage,
    bucket: &BucketView,
) -> anyhow::Result<()> {
    let settings = &ground.settings.bucket;
    let parts = UploaderParts {
        bucket: Arc::clone(&bucket.store),
        listed: Arc::clone(&bucket.metas),
        shelf: Arc::clone(&storage.shelf),
        hub: Arc::clone(&cluster.hub),
        pool: Arc::clone(&ground.pool),
        runtime: ground.io.handle().clone(),
        external_labels: settings.external_labels.clone(),
        tenant_label: ground.settings.tenants.label.clone(),
        turn: settings.upload_turn.as_duration(),
        interval: settings.upload_interval.as_duration(),
        at_once: settings.uploads_at_once,
        clock: Arc::clone(&ground.clock),
        metrics: UploaderMetrics::new(&ground.metrics)?,
        log: supervisor.logger("uploader"),
    };

    Ok(supervisor
        .add(ActorKind::Uploader, "uploader", Uploader::starter(parts))
        .await?)
}
