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
use trireme_storage::{HeadMetrics, PoisonFlag, ShardWriterParts, Windows};
use trireme_write::{ForwardMetrics, Forwarder, WritePath};

use crate::answers::AnswerRoom;
use crate::api_settings::limits_table;
use crate::block_server::BlockServer;
use crate::calls::NodeCalls;
use crate::catalog::BucketView;
use crate::cluster::Cluster;
use crate::compaction::add_compactor;
use crate::context::NodeContext;
use crate::rebuild::{ServerMetrics, SnapshotServer};
use crate::replicators::Replicators;
use crate::ring::follow::Follower;
use crate::scrub::add_scrubber;
use crate::storage::Storage;

/// Largest answers that a peer may be owed, at least.
const ANSWERS_MIN: usize = 4;

/// The ports by which the rest of the node reaches its actors.
pub(crate) struct Actors {
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

impl Actors {
    /// Starts every actor. Nothing reaches the node from outside yet.
    pub(crate) async fn start(
        context: &NodeContext,
        cluster: &Cluster,
        storage: &Storage,
        bucket: Option<&BucketView>,
        consensus: &Arc<Consensus>,
    ) -> anyhow::Result<Self> {
        let mut supervisor = supervisor(context)?;
        let port_of = &context.mailboxes;
        let membership = port_of.port(ActorKind::Membership, "membership");
        let starter = Membership::starter(Arc::clone(&context.book), membership.clone());

        supervisor
            .add(ActorKind::Membership, "membership", starter)
            .await?;

        let front = FrontPorts {
            health: port_of.port(ActorKind::Front, "front-health"),
            forward_target: port_of.port(ActorKind::Front, "front-substitute"),
            view: port_of.port(ActorKind::Front, "front-view"),
        };

        let starter = Front::starter(supervisor.logger("front"), front.clone());
        supervisor.add(ActorKind::Front, "front", starter).await?;

        let (ingest, arbiters) = start_shards(&mut supervisor, context, storage).await?;
        let writes = write_path(context, cluster, storage, &front, &ingest)?;
        let log = context.part_log("ring");
        let controller = Arc::new(RingController::new(RingControllerParts {
            clock: Arc::clone(&context.clock),
            me: context.name.clone(),
            consensus: Arc::clone(consensus),
            store: Arc::clone(&storage.store),
            neighbours: Arc::clone(&cluster.neighbours),
            holdings: LocalHoldings::new(
                storage.shards.clone(),
                Arc::clone(&storage.local_blocks),
                Arc::clone(&storage.store),
                Arc::clone(&context.clock),
                context.settings.bucket.sync_interval.as_duration(),
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
            gate: Arc::clone(&context.gate),
            hub: Arc::clone(&cluster.hub),
            controller: Arc::clone(&controller),
            queries: Arc::clone(&cluster.queries),
            rooms: Arc::new(AnswerRoom::new(
                ANSWER_BYTES_MAX * context.cores.max(ANSWERS_MIN),
            )),
            pool: Arc::clone(&context.pool),
            snapshots: SnapshotServer {
                block_writer: block_writer.snapshot.clone(),
                snapshots: Arc::clone(&storage.snapshots),
                pool: Arc::clone(&context.pool),
                metrics: ServerMetrics::new(&context.metrics)?,
            },
            blocks: BlockServer::new(
                storage.cutting(context),
                Arc::clone(&context.pool),
                &context.metrics,
            )?,
        };

        let replicators = Replicators::new(context, cluster, storage, &front, Arc::new(handler));
        for peer in &cluster.place.peers {
            let start = replicators
                .starter(peer)
                .context("the mesh knows every peer")?;
            supervisor
                .add(ActorKind::Replicator, &Replicators::name(peer), start)
                .await?;
        }

        let actors = Self {
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

        actors
            .add_block_writer(&mut supervisor, context, storage)
            .await?;

        if let Some(bucket) = bucket {
            add_uploader(&mut supervisor, context, cluster, storage, bucket).await?;
            add_compactor(&mut supervisor, context, cluster, storage, &bucket.store).await?;
        }

        add_scrubber(
            &mut supervisor,
            context,
            cluster,
            storage,
            bucket.map(|bucket| &bucket.store),
        )
        .await?;

        let log = supervisor.logger("query-shard");
        let starter = QueryShard::starter(
            Arc::clone(&context.query_pool),
            log,
            actors.evaluate.clone(),
        );

        supervisor
            .add(ActorKind::QueryShard, "query-shard", starter)
            .await?;
        follow_ring(
            context,
            cluster,
            storage,
            &actors,
            replicators,
            supervisor.door(),
        );

        actix_rt::spawn(supervisor.run());
        Ok(actors)
    }

    async fn add_block_writer(
        &self,
        supervisor: &mut Supervisor,
        context: &NodeContext,
        storage: &Storage,
    ) -> anyhow::Result<()> {
        let settings = &context.settings.storage;
        let windows = Windows {
            window_ms: settings.window.as_millis_i64(),
            grace_ms: settings.window_grace.as_millis_i64(),
        };
        let parts = BlockWriterParts {
            cutting: storage.cutting(context),
            shards: self.ingest.clone(),
            pool: Arc::clone(&context.pool),
            options: BlockWriterOptions {
                windows,
                tick: settings.tick.as_duration(),
                checkpoint_every: context.settings.checkpoint.interval.as_duration(),
                retention_ms: settings.retention.as_millis_i64(),
                retention_bytes: settings.retention_bytes.0,
                only_shipped: context.settings.bucket.kind != BucketType::None,
            },
            clock: Arc::clone(&context.clock),
            metrics: BlockWriterMetrics::new(&context.metrics)?,
            log: supervisor.logger("block-writer"),
        };

        // The first record of the new stream in every shard: which windows are closed already.
        let newest_ms = storage
            .store
            .newest_ms()
            .max(storage.local_blocks.newest_ms());
        let closed = windows.opening(
            context.clock.now_ms(),
            newest_ms,
            storage.markers.iter().copied(),
        );

        if let Err(err) = close_window(&self.ingest, closed).await {
            match storage.wal.check() {
                // The shards keep it, and write it before anything else once there is room.
                Err(AppendError::Waiting(why)) => {
                    warn!(context.log, "starting without room for the log: queries are answered, writes are refused until there is some"; "err" => why);
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
    context: &NodeContext,
    cluster: &Cluster,
    storage: &Storage,
    actors: &Actors,
    replicators: Replicators,
    door: SupervisorDoor,
) {
    context.gate.set_by_ring(cluster.place.gate);
    let follower = Follower {
        me: context.name.clone(),
        consensus: Arc::clone(actors.controller.consensus()),
        hub: Arc::clone(&cluster.hub),
        neighbours: Arc::clone(&cluster.neighbours),
        routes: Arc::clone(&cluster.routes),
        mesh: Arc::clone(&cluster.mesh),
        calls: Arc::clone(&cluster.calls),
        commits: Arc::clone(&storage.commits),
        gate: Arc::clone(&context.gate),
        front: actors.front.health.clone(),
        replicators,
        door,
        io: context.io.handle().clone(),
        clock: Arc::clone(&context.clock),
        log: context.part_log("ring"),
    };

    actix_rt::spawn(follower.run(cluster.place.clone()));
}

fn supervisor(context: &NodeContext) -> anyhow::Result<Supervisor> {
    let metrics = &context.metrics;
    let give_up = context.ask_stop.clone();
    let by = &["actor"];

    Ok(Supervisor::new(SupervisorParts {
        clock: Arc::clone(&context.clock),
        log: context.log.clone(),
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
    context: &NodeContext,
    storage: &Storage,
) -> anyhow::Result<(Vec<IngestPorts>, Vec<Arbiter>)> {
    let mut all_ports = Vec::new();
    let mut arbiters = Vec::new();
    let limits = limits_table(&context.settings)?;

    let metrics = HeadMetrics::new(&context.metrics)?;
    for (i, (shard, apply_queue)) in storage.shards.iter().zip(&storage.apply_queues).enumerate() {
        let name = format!("ingest-{i}");
        let ports = IngestPorts {
            batch: context.mailboxes.port(ActorKind::Ingest, "ingest"),
            close: context.mailboxes.port(ActorKind::Ingest, "ingest-close"),
            collect: context.mailboxes.port(ActorKind::Ingest, "ingest-collect"),
            note: context.mailboxes.port(ActorKind::Ingest, "ingest-note"),
        };

        let arbiter = Arbiter::new();
        let writer = ShardWriterParts {
            shard: Arc::clone(shard),
            mark: Arc::new(PoisonFlag::default()),
            store: Arc::clone(&storage.store),
            apply_queue: Arc::clone(apply_queue),
            pending: Arc::clone(&storage.pending[i]),
            limits: Arc::clone(&limits),
            ack_timeout: context.settings.cluster.ack_timeout.as_duration(),
            clock: Arc::clone(&context.clock),
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
    context: &NodeContext,
    cluster: &Cluster,
    storage: &Storage,
    front: &FrontPorts,
    ingest: &[IngestPorts],
) -> anyhow::Result<Arc<WritePath>> {
    let timeout = context.settings.cluster.ack_timeout.as_duration();
    Ok(Arc::new(WritePath {
        shards: ingest.iter().map(|ports| ports.batch.clone()).collect(),
        bell: storage.store.log().bell().clone(),
        gate: Arc::clone(&context.gate),
        ack_timeout: timeout,
        clock: Arc::clone(&context.clock),
        clock_watch: Arc::clone(&storage.clock_watch),
        routes: Arc::clone(&cluster.routes),
        forwarder: Forwarder {
            front: front.forward_target.clone(),
            front_timeout: policy(ActorKind::Front).deadline,
            gate: Arc::clone(&context.gate),
            neighbours: Arc::clone(&cluster.neighbours),
            calls: Arc::clone(&cluster.calls),
            timeout,
            clock: Arc::clone(&context.clock),
            metrics: ForwardMetrics::new(&context.metrics)?,
        },
    }))
}

async fn add_uploader(
    supervisor: &mut Supervisor,
    context: &NodeContext,
    cluster: &Cluster,
    storage: &Storage,
    bucket: &BucketView,
) -> anyhow::Result<()> {
    let settings = &context.settings.bucket;
    let parts = UploaderParts {
        bucket: Arc::clone(&bucket.store),
        listed: Arc::clone(&bucket.metas),
        local_blocks: Arc::clone(&storage.local_blocks),
        hub: Arc::clone(&cluster.hub),
        pool: Arc::clone(&context.pool),
        runtime: context.io.handle().clone(),
        external_labels: settings.external_labels.clone(),
        tenant_label: context.settings.tenants.label.clone(),
        turn: settings.upload_turn.as_duration(),
        interval: settings.upload_interval.as_duration(),
        at_once: settings.uploads_at_once,
        clock: Arc::clone(&context.clock),
        metrics: UploaderMetrics::new(&context.metrics)?,
        log: supervisor.logger("uploader"),
    };

    Ok(supervisor
        .add(ActorKind::Uploader, "uploader", Uploader::starter(parts))
        .await?)
}
