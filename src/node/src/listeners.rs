//! What faces the world: the mesh, the object store's list, queries and HTTP.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use slog::{Logger, error};
use tokio::sync::mpsc;
use trireme_api::{ApiMetrics, ApiParts, ApiState, Runner, Traffic};
use trireme_bucket::{BucketReader, MetaCache, ReaderOptions};
use trireme_consensus::Consensus;
use trireme_model::Tenant;
use trireme_promql::{EngineOptions, Room};
use trireme_query::{Querier, QuerierOptions, Queries};
use trireme_settings::Settings;
use trireme_storage::CLOCK_EVERY;
use trireme_transport::{Hub, Mesh};

use crate::actors::Actors;
use crate::addresses::Addresses;
use crate::admin::NodeAdmin;
use crate::after_replay::AfterReplay;
use crate::api_settings::{api_settings, parser_options};
use crate::bucket::{self, Freshness, ListKeeper, ListMetrics};
use crate::catalog::BucketView;
use crate::cluster::Cluster;
use crate::context::NodeContext;
use crate::datadir::DataDir;
use crate::disk::DiskWatch;
use crate::http;
use crate::memory::MemoryWatch;
use crate::peer_queries::over_group;
use crate::self_monitoring::write_own_metrics;
use crate::sink::{QueryRunner, Sink, StoreHealth};
use crate::storage::Storage;
use crate::tenants::TenantGate;

/// How often writes that wait too long are looked for; a fraction of any sensible `cluster.ack_timeout`.
const EXPIRE_EVERY: Duration = Duration::from_millis(50);
/// How often tenants without data are forgotten.
const TENANTS_EVERY: Duration = Duration::from_secs(60);
/// How often the free disk space is looked at.
const DISK_EVERY: Duration = Duration::from_secs(1);
/// A query is told by its own deadline first.
const QUERY_GRACE: Duration = Duration::from_secs(5);

/// Listens for peers and dials them.
pub(crate) fn join_mesh(context: &NodeContext, cluster: &Cluster, listener: Option<TcpListener>) {
    let Some(listener) = listener else { return };
    let mesh = Arc::clone(&cluster.mesh);
    let failed = context.ask_stop.clone();

    // Sockets belong to the runtime they were opened on. On that of the replicators, which read and write them, no other
    // thread has to wake up first.
    actix_rt::spawn(async move {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => mesh.run(listener).await,
            Err(err) => drop(failed.try_send(format!("cluster.listen cannot be served: {err}"))),
        }
    });

    context.io.spawn(stop_if_refused(
        Arc::clone(&cluster.mesh),
        Arc::clone(&cluster.hub),
        context.data_dir.path(""),
        context.ask_stop.clone(),
        context.log.clone(),
    ));
}

/// Stops the node when the members have shown that its data directory is a copy of another one, or was set back: what it
/// would acknowledge is not what it has. The directory is marked, so that no later start passes for a newer one.
async fn stop_if_refused(
    mesh: Arc<Mesh>,
    hub: Arc<Hub>,
    data_dir: PathBuf,
    stop: mpsc::Sender<String>,
    log: Logger,
) {
    let reason = tokio::select! {
        refusal = mesh.duplicate() => refusal.detail,
        proof = hub.second_writer() => proof.to_string(),
    };

    if let Err(err) = DataDir::refuse(&data_dir, &reason) {
        error!(log, "cannot mark the data directory as refused"; "path" => %data_dir.display(), "err" => %err);
    }

    let why = format!(
        "the members refused this node: {reason}; two nodes must not share a data directory, nor may one be set back"
    );
    let _ = stop.try_send(why);
}

/// Where clients come in.
pub(crate) struct Listeners {
    pub(crate) listener: TcpListener,
    /// Counts them.
    pub(crate) traffic: Traffic,
}

/// Serves HTTP and starts the node's small chores.
pub(crate) fn serve(
    context: &NodeContext,
    cluster: &Cluster,
    storage: &Storage,
    actors: &Actors,
    bucket: Option<BucketView>,
    listeners: Listeners,
) -> anyhow::Result<ServerHandle> {
    let settings = &context.settings;
    let tenants = Arc::new(TenantGate::new(settings)?);
    let sink = Arc::new(Sink {
        writes: Arc::clone(&actors.writes),
        tenants: Arc::clone(&tenants),
        clock: Arc::clone(&context.clock),
    });

    let shown = context.metrics.clone();
    let bucket_cache = bucket
        .as_ref()
        .map(|bucket| Arc::clone(bucket.reader.cache()));
    let state = ApiState::new(ApiParts {
        sink: sink.clone(),
        queries: queries(
            context,
            cluster,
            storage,
            actors.controller.consensus(),
            bucket,
        )?,
        admin: Arc::new(admin(context, cluster, storage, actors)),
        health: Arc::new(StoreHealth(Arc::clone(&storage.store))),
        runner: Arc::new(QueryRunner {
            port: actors.evaluate.clone(),
            deadline: settings.query.timeout.as_duration() + QUERY_GRACE,
        }),
        decoder: Arc::clone(&context.decode_pool) as Arc<dyn Runner>,
        clock: Arc::clone(&context.clock),
        traffic: listeners.traffic,
        settings: api_settings(settings),
        metrics: api_metrics(context)?,
        render_metrics: Arc::new(move || shown.render()),
        log: context.part_log("http"),
    });

    let per_address = settings.http.connections_per_address;
    let clock = Arc::clone(&context.clock);
    let log = context.part_log("http");
    let addresses = Addresses::new(per_address, clock, &context.metrics, log)?;
    let (server, handle) = http::serve(listeners.listener, settings, state, addresses)?;

    actix_rt::spawn(server);
    let expiring = Arc::clone(&storage.commits);
    actix_rt::spawn(every(EXPIRE_EVERY, move || expiring.expire()));

    let watch = Arc::clone(&storage.clock_watch);
    actix_rt::spawn(every(CLOCK_EVERY, move || {
        watch.is_wrong();
    }));

    let shards = storage.shards.clone();
    let clock = Arc::clone(&context.clock);
    actix_rt::spawn(every(TENANTS_EVERY, move || {
        tenants.look(&shards, clock.monotonic())
    }));

    let disk = DiskWatch {
        dir: context.data_dir.held(),
        wal: Arc::clone(&storage.wal),
        free_min: settings.storage.disk_free_min.0,
        gate: Arc::clone(&context.gate),
        free: context.metrics.gauge(
            "trireme_node_disk_free_bytes",
            "Free space under the data directory.",
        )?,
        log: context.log.clone(),
    };

    actix_rt::spawn(every(DISK_EVERY, move || disk.look()));
    let memory = MemoryWatch::new(&context.metrics, storage, bucket_cache)?;
    actix_rt::spawn(memory.run(Arc::clone(&context.pool)));

    if settings.telemetry.self_monitoring {
        actix_rt::spawn(write_own_metrics(
            context.metrics.clone(),
            sink,
            Arc::clone(&context.clock),
            settings.telemetry.self_monitoring_interval.as_duration(),
            settings.http.listen.clone(),
            Tenant::default(),
            context.log.clone(),
        ));
    }

    Ok(handle)
}

async fn every(interval: Duration, chore: impl Fn()) {
    loop {
        chore();
        tokio::time::sleep(interval).await;
    }
}

fn queries(
    context: &NodeContext,
    cluster: &Cluster,
    storage: &Storage,
    consensus: &Arc<Consensus>,
    bucket: Option<BucketView>,
) -> anyhow::Result<Arc<dyn Queries>> {
    let options = querier_options(&context.settings, context.cores);
    let querier = Querier::new(
        Arc::new(storage.catalog(&context.settings, bucket)),
        options.clone(),
    );
    let querier = AfterReplay::new(Arc::new(querier), Arc::clone(&storage.store));
    over_group(context, cluster, storage, consensus, querier, options)
}

/// The bucket for queries and the uploader; its list is kept fresh from now on.
pub(crate) fn bucket_view(
    context: &NodeContext,
    store: bucket::Store,
) -> anyhow::Result<BucketView> {
    let settings = &context.settings.bucket;
    let metas = Arc::new(MetaCache::new(bucket::read_rules(&context.settings)));
    let clock = Arc::clone(&context.clock);
    let every = settings.sync_interval.as_duration();
    let freshness = Arc::new(Freshness::new(Arc::clone(&clock), every));
    let options = ReaderOptions {
        cache_bytes_max: settings.cache_bytes.0 as usize,
        header_dir: Some(context.data_dir.path("index-headers")),
        header_bytes_max: settings.index_cache_bytes.0,
        ..ReaderOptions::default()
    };

    let reader = Arc::new(BucketReader::new(
        Arc::clone(&store),
        context.io.handle().clone(),
        options,
    ));

    let keeper = ListKeeper {
        store: Arc::clone(&store),
        metas: Arc::clone(&metas),
        reader: Arc::clone(&reader),
        freshness: Arc::clone(&freshness),
        marks_every: settings.marks_interval.as_duration(),
        clock,
        metrics: ListMetrics::new(&context.metrics)?,
        log: context.part_log("bucket"),
    };

    context.io.spawn(keeper.keep_fresh());
    Ok(BucketView {
        store,
        reader,
        metas,
        freshness,
    })
}

fn api_metrics(context: &NodeContext) -> anyhow::Result<ApiMetrics> {
    let metrics = ApiMetrics::new(&context.metrics)?;
    Ok(match context.settings.features_in_force().query_cost {
        true => metrics.with_query_cost(&context.metrics)?,
        false => metrics,
    })
}

fn querier_options(settings: &Settings, cores: usize) -> QuerierOptions {
    let query = &settings.query;
    let features = settings.features_in_force();
    let engine = EngineOptions {
        lookback_ms: query.lookback_delta.as_millis_i64(),
        samples_max: query.max_samples,
        timeout: query.timeout.as_duration(),
        start_timestamps: features.use_start_timestamps,
        delayed_name_removal: query.delayed_name_removal,
        type_and_unit_labels: query.type_and_unit_labels,
        query_cost: features.query_cost,
        threads: cores,
        ..EngineOptions::default()
    };

    let room = Arc::new(Room::new(query.max_samples_node));
    QuerierOptions {
        engine,
        parser: parser_options(settings),
        room,
    }
}

fn admin(
    context: &NodeContext,
    cluster: &Cluster,
    storage: &Storage,
    actors: &Actors,
) -> NodeAdmin {
    NodeAdmin {
        me: context.name.clone(),
        membership: actors.membership.clone(),
        controller: Arc::clone(&actors.controller),
        front: actors.front.clone(),
        block_writer: actors.block_writer.clone(),
        store: Arc::clone(&storage.store),
        neighbours: Arc::clone(&cluster.neighbours),
        mesh: Arc::clone(&cluster.mesh),
        supervisor: actors.supervisor.clone(),
        fault_injection: context.settings.telemetry.fault_injection,
        clock: Arc::clone(&context.clock),
        io: context.io.handle().clone(),
        drain: context.ask_stop.clone(),
    }
}
