//! One running node: every part in order, and the list by which they stop.

use std::sync::Arc;
use std::time::Duration;

use actix_rt::Arbiter;
use anyhow::Context;
use slog::{Logger, error, info, o, warn};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use trireme_actors::ActorKind;
use trireme_actors::{
    BlockWriter, BlockWriterMetrics, BlockWriterOptions, BlockWriterParts, BlockWriterPorts, Commits,
    Cutting, Forwarder, Front, FrontPorts, Gate, GateState, HeadMetrics, Ingest, IngestParts, IngestPorts, Lane,
    MailboxMetrics, Membership, QueryShard, Replicator, ReplicatorParts, Shelf, Store, StoreMetrics,
    StoreParts, Supervisor, SupervisorHandle, SupervisorParts, Uploader, UploaderMetrics, UploaderParts,
    WritePath, WriterMark, close_window, last_closable,
};
use trireme_api::{ApiMetrics, ApiParts, ApiState};
use trireme_base::pool::CpuPool;
use trireme_base::{Clock, NodeName, SystemClock};
use trireme_bucket::{BucketReader, MetaCache, ReaderOptions};
use trireme_log::{Durability, Log, LogOptions};
use trireme_model::Tenant;
use trireme_promql::{EngineOptions, ParserOptions};
use trireme_query::{Querier, QuerierOptions};
use trireme_replication::CommitTracker;
use trireme_ring::Ring;
use trireme_settings::{BucketType, Durability as DurabilitySetting, Settings};
use trireme_telemetry::Metrics;

use crate::admin::NodeAdmin;
use crate::api_settings::{api_settings, limits_table};
use crate::calls::NodeCalls;
use crate::catalog::{BucketView, NodeCatalog};
use crate::cluster::{Cluster, wait_until};
use crate::datadir::DataDir;
use crate::disk::DiskWatch;
use crate::sink::{GateHealth, QueryRunner, Sink};
use crate::stop::StopList;
use crate::{bucket, cluster, http, membership, panics, recovery, self_monitoring};

/// Writes that may wait for their quorum; each is a few hundred bytes of state.
const WAITERS_MAX: usize = 100_000;
/// Jobs that may wait for the CPU pool beside queries.
const POOL_QUEUE_JOBS: usize = 1_024;

/// Runs a node until SIGTERM, SIGINT, an operator's drain or a fault that only a new start can mend.
pub fn run(settings: Settings, log: Logger) -> anyhow::Result<()> {
    panics::log_panics(&log);
    trireme_bucket::install_crypto_provider();
    actix_rt::System::new().block_on(async move {
        let started = start(&settings, &log).await;
        match started {
            Ok((node, stop)) => node.until_stopped(stop).await,
            Err(error) => {
                // The log's thread may be behind the message on the terminal; both carry it.
                error!(log, "node did not start"; "err" => format!("{error:#}"));
                Err(error)
            }
        }
    })
}

struct Node {
    log: Logger,
    clock: Arc<dyn Clock>,
    /// Reasons to stop that come from inside.
    stop_asked: mpsc::Receiver<String>,
    /// Set if the reason is a fault: the process then ends with an error.
    supervisor: SupervisorHandle,
}

async fn start(settings: &Settings, log: &Logger) -> anyhow::Result<(Node, StopList)> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let metrics = Metrics::with_process_metrics();
    let node_name = NodeName::new(&settings.node.name);
    let log = log.new(o!("node" => settings.node.name.clone()));
    build_info_metric(&metrics)?;

    // Ports first: a node that cannot listen must not touch its data.
    let http_listener = http::bind(settings)?;
    let mesh_listener = cluster::bind(settings)?;
    let ring = membership::ring_from(settings)?;
    let data_dir = Arc::new(DataDir::open(settings.node.data_dir.as_ref(), settings.storage.shards)?);
    let own = data_dir.stream();
    info!(log, "starting"; "stream" => %own, "new" => data_dir.is_new(), "data_dir" => &settings.node.data_dir);

    let io = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("io")
        .enable_all()
        .build()
        .context("cannot start the I/O runtime")?;
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let pool = Arc::new(CpuPool::new("cpu", cores, POOL_QUEUE_JOBS).context("cannot start the CPU pool")?);
    let queries_pool =
        CpuPool::new("query", settings.query.max_concurrency.min(cores * 2), settings.query.max_concurrency);
    let queries_pool = Arc::new(queries_pool.context("cannot start the query pool")?);

    // Storage.
    let gate = Arc::new(Gate::default());
    let mailboxes = MailboxMetrics::new(&metrics)?;
    let open = recovery::open_shards(settings, &data_dir, own, &pool, &log).await?;
    let shards = open.shards.clone();
    let lanes: Vec<Arc<Lane>> = shards
        .iter()
        .map(|_| Arc::new(Lane::new(mailboxes.port(ActorKind::Ingest, "ingest-lane"))))
        .collect();
    let cluster = Cluster::new(settings, &ring, own, &clock, &log)?;
    let group = ring.group_of(&node_name).context("this node is not in the ring")?;
    let tracker = CommitTracker::new(own, node_name.clone(), ring.quorum(group), WAITERS_MAX);
    let commits = Arc::new(Commits::new(Arc::clone(&clock), tracker));
    let store = Arc::new(Store::new(StoreParts {
        own,
        hub: Arc::clone(&cluster.hub),
        commits: Arc::clone(&commits),
        shards: shards.clone(),
        lanes: lanes.clone(),
        gate: Arc::clone(&gate),
        pool: Arc::clone(&pool),
        metrics: StoreMetrics::new(&metrics)?,
        log: log.new(o!("part" => "log")),
    }));
    let options = LogOptions {
        segment_bytes: settings.log.segment_bytes.0,
        durability: match settings.log.durability {
            DurabilitySetting::Fsync => Durability::Fsync,
            DurabilitySetting::Memory => Durability::Memory,
        },
        sync_interval: settings.log.sync_interval.as_duration(),
        queue_bytes_max: settings.log.queue_bytes.0 as usize,
        ..LogOptions::default()
    };
    let shelf = Arc::new(Shelf::open(&data_dir.path("blocks"), log.new(o!("part" => "blocks")))?);
    let observer = Arc::clone(&store);
    let (wal, recovered) =
        Log::open(&data_dir.path("log"), options, own, &open.covered, observer, Arc::clone(&clock))?;
    let wal = Arc::new(wal);
    store.attach(Arc::clone(&wal), &recovered.positions);
    recovery::report(&recovered, &log);
    recovery::replay(&open, &wal, &store, &clock, &log, cores)?;

    // Actors.
    let (ask_stop, stop_asked) = mpsc::channel::<String>(4);
    let give_up = ask_stop.clone();
    let mut supervisor = Supervisor::new(SupervisorParts {
        clock: Arc::clone(&clock),
        log: log.clone(),
        restarts: metrics.counters(
            "trireme_actor_restarts_total",
            "Actors started anew after they died.",
            &["actor"],
        )?,
        up: metrics.gauges("trireme_actor_up", "1 while the actor runs.", &["actor"])?,
        give_up: Box::new(move |reason| drop(give_up.try_send(reason))),
    });
    let membership_port = mailboxes.port(ActorKind::Membership, "membership");
    let shared_ring = Arc::new(ring.clone());
    let started = supervisor.add(
        ActorKind::Membership,
        "membership",
        Membership::starter(Arc::clone(&shared_ring), membership_port.clone()),
    );
    started.await?;
    let front = FrontPorts {
        health: mailboxes.port(ActorKind::Front, "front-health"),
        substitute: mailboxes.port(ActorKind::Front, "front-substitute"),
        view: mailboxes.port(ActorKind::Front, "front-view"),
    };
    let peers: Vec<NodeName> = cluster.calls.iter().map(|(node, _)| node.clone()).collect();
    let starter = Front::starter(peers, supervisor.logger("front"), front.clone());
    supervisor.add(ActorKind::Front, "front", starter).await?;

    let limits = limits_table(settings)?;
    let head_metrics = HeadMetrics::new(&metrics)?;
    let mut arbiters = Vec::new();
    let mut ingest_ports = Vec::new();
    for (i, shard) in shards.iter().enumerate() {
        let name = format!("ingest-{i}");
        let ports = IngestPorts {
            batch: mailboxes.port(ActorKind::Ingest, "ingest"),
            close: mailboxes.port(ActorKind::Ingest, "ingest-close"),
            collect: mailboxes.port(ActorKind::Ingest, "ingest-collect"),
            note: mailboxes.port(ActorKind::Ingest, "ingest-note"),
        };
        let arbiter = Arbiter::new();
        let parts = IngestParts {
            shard: Arc::clone(shard),
            mark: Arc::new(WriterMark::default()),
            arbiter: arbiter.handle(),
            store: Arc::clone(&store),
            lane: Arc::clone(&lanes[i]),
            limits: Arc::clone(&limits),
            ack_timeout: settings.cluster.ack_timeout.as_duration(),
            clock: Arc::clone(&clock),
            metrics: head_metrics.clone(),
            log: supervisor.logger(&name).new(o!("shard" => i)),
        };
        supervisor.add(ActorKind::Ingest, &name, Ingest::starter(parts, ports.clone())).await?;
        arbiters.push(arbiter);
        ingest_ports.push(ports);
    }
    let writes = Arc::new(WritePath {
        shards: ingest_ports.iter().map(|ports| ports.batch.clone()).collect(),
        gate: Arc::clone(&gate),
        ack_timeout: settings.cluster.ack_timeout.as_duration(),
        clock: Arc::clone(&clock),
        forwarder: Forwarder {
            front: front.substitute.clone(),
            calls: cluster.calls.iter().cloned().collect(),
            timeout: settings.cluster.ack_timeout.as_duration(),
        },
    });
    let handler = Arc::new(NodeCalls { writes: Arc::clone(&writes) });
    for (peer, calls) in &cluster.calls {
        let name = format!("replicator-{peer}");
        let slot = cluster.mesh.slot(peer).context("the mesh knows every peer")?;
        let parts = ReplicatorParts {
            me: cluster.me.clone(),
            slot: Arc::clone(slot),
            store: Arc::clone(&store),
            hub: Arc::clone(&cluster.hub),
            calls: Arc::clone(calls),
            handler: handler.clone(),
            config: cluster.link.clone(),
            clock: Arc::clone(&clock),
            front: front.health.clone(),
            log: supervisor.logger(&name).new(o!("peer" => peer.to_string())),
        };
        supervisor.add(ActorKind::Replicator, &name, Replicator::starter(parts)).await?;
    }
    let block_writer = BlockWriterPorts {
        windows: mailboxes.port(ActorKind::BlockWriter, "block-writer-windows"),
        checkpoint: mailboxes.port(ActorKind::BlockWriter, "block-writer-checkpoint"),
    };
    let storage = &settings.storage;
    let window_ms = storage.window.as_millis_i64();
    let grace_ms = storage.window_grace.as_millis_i64();
    let cutting = Cutting {
        store: Arc::clone(&store),
        shards: shards.clone(),
        shelf: Arc::clone(&shelf),
        manifest: data_dir.path(recovery::CUT_MANIFEST),
        external_labels: settings.bucket.external_labels.clone(),
        tenant_label: settings.tenants.label.clone(),
        seal_after: storage.seal_after.as_duration(),
        log_retention_bytes: settings.log.retention_bytes.0,
        clock: Arc::clone(&clock),
    };
    let parts = BlockWriterParts {
        cutting: cutting.clone(),
        shards: ingest_ports.clone(),
        pool: Arc::clone(&pool),
        options: BlockWriterOptions {
            window_ms,
            grace_ms,
            tick: storage.tick.as_duration(),
            checkpoint_every: settings.checkpoint.interval.as_duration(),
            retention_ms: storage.retention.as_millis_i64(),
            retention_bytes: storage.retention_bytes.0,
            only_shipped: settings.bucket.kind != BucketType::None,
        },
        clock: Arc::clone(&clock),
        metrics: BlockWriterMetrics::new(&metrics)?,
        log: supervisor.logger("block-writer"),
    };
    // The first record of the new stream in every shard: which windows are closed already.
    let known = shards.iter().flat_map(|shard| shard.streams()).filter_map(|stream| stream.marker).max();
    let closed = last_closable(clock.now_ms(), window_ms, grace_ms).max(known.unwrap_or(i64::MIN));
    close_window(&ingest_ports, closed).await.map_err(anyhow::Error::msg).context("cannot open the log")?;
    supervisor
        .add(ActorKind::BlockWriter, "block-writer", BlockWriter::starter(parts, block_writer.clone()))
        .await?;

    let object_store = bucket::open(settings, data_dir.path("bucket"))?;
    let metas = Arc::new(MetaCache::default());
    if let Some(object_store) = &object_store {
        let parts = UploaderParts {
            bucket: Arc::clone(object_store),
            shelf: Arc::clone(&shelf),
            hub: Arc::clone(&cluster.hub),
            pool: Arc::clone(&pool),
            runtime: io.handle().clone(),
            external_labels: settings.bucket.external_labels.clone(),
            tenant_label: settings.tenants.label.clone(),
            turn: settings.bucket.upload_turn.as_duration(),
            interval: settings.bucket.upload_interval.as_duration(),
            clock: Arc::clone(&clock),
            metrics: UploaderMetrics::new(&metrics)?,
            log: supervisor.logger("uploader"),
        };
        supervisor.add(ActorKind::Uploader, "uploader", Uploader::starter(parts)).await?;
        let fresh = bucket::keep_fresh(
            Arc::clone(object_store),
            Arc::clone(&metas),
            settings.bucket.sync_interval.as_duration(),
            log.new(o!("part" => "bucket")),
        );
        io.spawn(fresh);
    }
    let evaluate = mailboxes.port(ActorKind::QueryShard, "query-shard");
    let starter =
        QueryShard::starter(Arc::clone(&queries_pool), supervisor.logger("query-shard"), evaluate.clone());
    supervisor.add(ActorKind::QueryShard, "query-shard", starter).await?;
    let supervisor_handle = supervisor.handle();
    actix_rt::spawn(supervisor.run());

    // The outside.
    if let Some(listener) = mesh_listener {
        let mesh = Arc::clone(&cluster.mesh);
        let failed = ask_stop.clone();
        io.spawn(async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => mesh.run(listener).await,
                Err(err) => drop(failed.try_send(format!("cluster.listen cannot be served: {err}"))),
            }
        });
        let (mesh, duplicate) = (Arc::clone(&cluster.mesh), ask_stop.clone());
        io.spawn(async move {
            let refusal = mesh.duplicate().await;
            let reason = format!(
                "a peer refused this node: {}; two nodes must not share a data directory",
                refusal.detail
            );
            let _ = duplicate.try_send(reason);
        });
    }
    let sink = Arc::new(Sink(writes));
    let catalog = NodeCatalog {
        shards: shards.clone(),
        shelf: Arc::clone(&shelf),
        bucket: object_store.as_ref().map(|object_store| BucketView {
            reader: BucketReader::new(
                Arc::clone(object_store),
                io.handle().clone(),
                ReaderOptions {
                    cache_bytes_max: settings.bucket.cache_bytes.0 as usize,
                    ..ReaderOptions::default()
                },
            ),
            metas: Arc::clone(&metas),
            tenant_label: settings.tenants.label.clone(),
        }),
    };
    let querier = Querier::new(Arc::new(catalog), querier_options(settings, cores));
    let shown = metrics.clone();
    let state = ApiState::new(ApiParts {
        sink: sink.clone(),
        queries: Arc::new(querier),
        admin: Arc::new(NodeAdmin {
            me: node_name.clone(),
            membership: membership_port,
            front,
            block_writer,
            store: Arc::clone(&store),
            mesh: Arc::clone(&cluster.mesh),
            supervisor: supervisor_handle.clone(),
            fault_injection: settings.telemetry.fault_injection,
            clock: Arc::clone(&clock),
            drain: ask_stop.clone(),
        }),
        health: Arc::new(GateHealth(Arc::clone(&gate))),
        runner: Arc::new(QueryRunner {
            port: evaluate,
            deadline: settings.query.timeout.as_duration() + Duration::from_secs(5),
        }),
        clock: Arc::clone(&clock),
        settings: api_settings(settings),
        metrics: ApiMetrics::new(&metrics)?,
        render_metrics: Arc::new(move || shown.render()),
        log: log.new(o!("part" => "http")),
    });
    let (server, server_handle) = http::serve(http_listener, settings, state)?;
    actix_rt::spawn(server);
    let expiring = Arc::clone(&commits);
    actix_rt::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            expiring.expire();
        }
    });
    let disk = DiskWatch {
        free_min: settings.storage.disk_free_min.0,
        gate: Arc::clone(&gate),
        free: metrics.gauge("trireme_node_disk_free_bytes", "Free space under the data directory.")?,
        log: log.clone(),
    };
    let watched = data_dir.path("");
    actix_rt::spawn(async move {
        loop {
            disk.look(&watched);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    gate.set(GateState::Open);
    if settings.telemetry.self_monitoring {
        actix_rt::spawn(self_monitoring::write_own_metrics(
            metrics.clone(),
            sink,
            Arc::clone(&clock),
            settings.telemetry.self_monitoring_interval.as_duration(),
            settings.http.listen.clone(),
            Tenant::default(),
            log.clone(),
        ));
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    info!(log, "ready"; "http" => &settings.http.listen, "members" => members(&ring));

    // How it ends.
    let mut stop = StopList::default();
    let (closing, in_flight) = (Arc::clone(&gate), Arc::clone(&commits));
    let patience = settings.http.stop_timeout.as_duration();
    stop.push("writes in flight", move || async move {
        closing.set(GateState::Draining);
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        wait_until(patience, || in_flight.waiting() == 0).await
    });
    let ended = supervisor_handle.clone();
    stop.push("actors", move || async move {
        ended.expect_end();
        true
    });
    let (flushed, flush_pool) = (Arc::clone(&wal), Arc::clone(&pool));
    stop.push(
        "log",
        move || async move { matches!(flush_pool.call(move || flushed.flush()).await, Ok(Ok(()))) },
    );
    stop.push("checkpoint", {
        let pool = Arc::clone(&pool);
        let log = log.clone();
        move || async move {
            match pool.call(move || cutting.checkpoint()).await {
                Ok(Ok(_)) => true,
                Ok(Err(err)) => {
                    warn!(log, "no checkpoint at the end, the next start replays more of the log"; "err" => %err);
                    false
                }
                Err(_) => false,
            }
        }
    });
    stop.push("http", move || async move {
        server_handle.stop(true).await;
        true
    });
    stop.push("threads", move || async move {
        wal.close();
        for arbiter in arbiters {
            arbiter.stop();
            let _ = arbiter.join();
        }
        queries_pool.stop();
        pool.stop();
        io.shutdown_background();
        // The lock goes last.
        drop(data_dir);
        true
    });
    Ok((Node { log, clock, stop_asked, supervisor: supervisor_handle }, stop))
}

impl Node {
    async fn until_stopped(mut self, stop: StopList) -> anyhow::Result<()> {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let fault = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            asked = self.stop_asked.recv() => asked,
        };
        let fault = fault.filter(|reason| reason != "asked for by an operator");
        match &fault {
            Some(reason) => warn!(self.log, "stopping because of a fault"; "reason" => reason),
            None => info!(self.log, "stopping"),
        }
        self.supervisor.expect_end();
        let clock = Arc::clone(&self.clock);
        stop.run(&self.log, move || clock.monotonic()).await;
        match fault {
            Some(reason) => Err(anyhow::anyhow!("stopped because of a fault: {reason}")),
            None => Ok(()),
        }
    }
}

fn querier_options(settings: &Settings, cores: usize) -> QuerierOptions {
    let query = &settings.query;
    let mut parser = ParserOptions::default();
    if !query.enable_experimental {
        parser.experimental_functions = false;
        parser.duration_expressions = false;
        parser.extended_range_selectors = false;
        parser.fill_modifiers = false;
    }
    let engine = EngineOptions {
        lookback_ms: query.lookback_delta.as_millis_i64(),
        samples_max: query.max_samples,
        timeout: query.timeout.as_duration(),
        threads: cores,
        ..EngineOptions::default()
    };
    QuerierOptions { engine, parser }
}

fn build_info_metric(metrics: &Metrics) -> anyhow::Result<()> {
    let build = trireme_telemetry::build_info();
    let labels = ["version", "revision", "rustversion"];
    let gauge = metrics.gauges("trireme_build_info", "1, labelled with what was built.", &labels)?;
    gauge.with_label_values(&[build.version, build.revision, build.rust_version]).set(1);
    Ok(())
}

fn members(ring: &Ring) -> usize {
    ring.groups.iter().map(|group| group.members.len()).sum()
}
