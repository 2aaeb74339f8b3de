//! One running node: its parts in the order in which they start, and the list by which they stop.

use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use anyhow::Context;
use futures::FutureExt;
use slog::{Logger, error, info, warn};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use trireme_actors::SupervisorHandle;
use trireme_api::Traffic;
use trireme_base::Clock;
use trireme_settings::Settings;
use trireme_storage::GateState;

use crate::actors::Actors;
use crate::cluster::{Cluster, wait_until};
use crate::context::NodeContext;
use crate::stop::StopList;
use crate::storage::Storage;
use crate::{
    bucket, cluster, drain, http, listeners, open_files, panics, rebuild, recovery, replaying, ring,
};

/// Reason of a stop that an operator asked for; any other reason is a fault.
pub(crate) const ASKED_BY_OPERATOR: &str = "asked for by an operator";
/// Reason of a stop after which the process starts anew, to install what was copied from a peer.
pub(crate) const TO_INSTALL: &str = "to install what was copied from a peer";
/// Reasons to stop that may wait; the first one counts.
const STOP_REASONS: usize = 4;

/// How a node ended that ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was asked to stop.
    Stopped,
    /// It wants to be started again at once, with the same settings.
    StartAnew,
}

/// Runs a node until SIGTERM, SIGINT, an operator's drain or a fault that only a new start can mend.
pub fn run(settings: Settings, log: Logger) -> anyhow::Result<End> {
    panics::log_panics(&log);
    open_files::raise(&log);

    // Many small buffers that come and go leave huge pages mostly empty: a node with a million series takes a fifth
    // more memory with them, and no less CPU. A kernel that cannot switch them off has none.
    let _ = rustix::thread::disable_transparent_huge_pages(true);

    trireme_bucket::install_crypto_provider();
    actix_rt::System::new().block_on(async move {
        match start(&settings, &log).await {
            Ok(Some((node, stop))) => node.until_stopped(stop).await,
            Ok(None) => Ok(End::StartAnew),
            Err(error) => {
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
    supervisor: SupervisorHandle,
}

/// None if the node has to start anew, without a head that is damaged.
async fn start(settings: &Settings, log: &Logger) -> anyhow::Result<Option<(Node, StopList)>> {
    // Ports first: a node that cannot listen must not touch its data.
    let http_listener = http::bind(settings)?;
    let mesh_listener = cluster::bind(settings)?;
    let (ask_stop, stop_asked) = mpsc::channel(STOP_REASONS);
    let context = NodeContext::open(settings, log, ask_stop)?;

    rebuild::install(&context.data_dir.path(""), &context.log)
        .context("cannot install what was copied from a peer")?;
    let cluster = Cluster::new(
        settings,
        &context.book.current(),
        context.data_dir.stream(),
        &context.clock,
        &context.log,
    )?;

    let storage = match Storage::open(&context, &cluster).await {
        // Alone it would lose what the log does not have any more.
        Err(error) if recovery::is_damage(&error) && !cluster.place.group.peers.is_empty() => {
            let aside = context
                .data_dir
                .set_aside()
                .with_context(|| format!("{error:#}; the head cannot be set aside"))?;
            error!(context.log, "the head on disk is damaged; the node starts as one with an empty disk and copies it from a peer";
                "reason" => format!("{error:#}"), "set_aside" => %aside.display());
            return Ok(None);
        }
        Err(error) if recovery::is_damage(&error) => {
            return Err(error.context(
                "the head is damaged, and no peer could give a copy; \
                 `trireme rebuild salvage` writes what can be read of it as blocks",
            ));
        }
        opened => opened?,
    };

    let bucket = bucket::open(settings, context.data_dir.path("bucket"), log)?;
    let bucket = bucket
        .map(|store| listeners::bucket_view(&context, store))
        .transpose()?;
    let consensus = ring::keeper::start(&context, &cluster).await?;
    let actors = Actors::start(&context, &cluster, &storage, bucket.as_ref(), &consensus).await?;

    listeners::join_mesh(&context, &cluster, mesh_listener);
    ring::keeper::keep(&context, &cluster, &actors.controller)?;
    let traffic = Traffic::default();
    let listeners = listeners::Listeners {
        listener: http_listener,
        traffic: traffic.clone(),
    };
    let server = listeners::serve(&context, &cluster, &storage, &actors, bucket, listeners)?;

    rebuild::spawn(&context, &cluster, &storage)?;
    context.gate.set(GateState::Open);
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let members: usize = context
        .book
        .current()
        .groups
        .iter()
        .map(|group| group.present().count())
        .sum();

    info!(context.log, "ready"; "http" => &settings.http.listen, "members" => members,
        "replaying" => !storage.store.replay().is_done());
    let node = Node {
        log: context.log.clone(),
        clock: Arc::clone(&context.clock),
        stop_asked,
        supervisor: actors.supervisor.clone(),
    };

    Ok(Some((
        node,
        stop_list(context, storage, actors, server, traffic),
    )))
}

/// Readiness off while clients move to other nodes, then no new writes, what is in flight, background work, the log, a
/// checkpoint, HTTP last.
fn stop_list(
    context: NodeContext,
    storage: Storage,
    actors: Actors,
    server: ServerHandle,
    traffic: Traffic,
) -> StopList {
    let mut stop = StopList::default();
    let gate = Arc::clone(&context.gate);
    let clock = Arc::clone(&context.clock);
    let longest = context.settings.http.drain_timeout.as_duration();

    stop.push("clients", move || {
        drain::until_quiet(gate, traffic, clock, longest)
    });

    let gate = Arc::clone(&context.gate);
    let commits = Arc::clone(&storage.commits);
    let patience = context.settings.http.stop_timeout.as_duration();

    stop.push("writes in flight", move || async move {
        gate.set(GateState::Stopping);
        // Nobody acknowledges the records of a node that has left, and nobody waits for them.
        wait_until(patience, || commits.waiting() == 0 || gate.has_left()).await
    });

    let store = Arc::clone(&storage.store);
    stop.push(
        "replay",
        move || async move { replaying::end(&store).await },
    );

    let supervisor = actors.supervisor.clone();
    stop.push("actors", move || async move {
        supervisor.expect_end();
        true
    });

    let wal = Arc::clone(&storage.wal);
    let pool = Arc::clone(&context.pool);
    stop.push("log", move || async move {
        matches!(pool.call(move || wal.flush()).await, Ok(Ok(())))
    });

    let cutting = storage.cutting(&context);
    let pool = Arc::clone(&context.pool);
    let log = context.log.clone();

    stop.push("checkpoint", move || async move {
        match pool.call(move || cutting.checkpoint()).await {
            Ok(Ok(_)) => true,
            Ok(Err(err)) => {
                warn!(log, "no checkpoint at the end, the next start replays more of the log"; "err" => %err);
                false
            }
            Err(_) => false,
        }
    });

    stop.push("http", move || async move {
        server.stop(true).await;
        true
    });
    stop.push("threads", move || async move {
        storage.wal.close();
        for arbiter in actors.arbiters {
            arbiter.stop();
            let _ = arbiter.join();
        }
        context.query_pool.stop();
        context.decode_pool.stop();
        context.pool.stop();
        drop(context.io);
        // The lock goes last.
        drop(context.data_dir);
        true
    });

    stop
}

impl Node {
    async fn until_stopped(mut self, stop: StopList) -> anyhow::Result<End> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let asked = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            asked = self.stop_asked.recv() => asked,
        };

        let end = if asked.as_deref() == Some(TO_INSTALL) {
            End::StartAnew
        } else {
            End::Stopped
        };

        let fault = asked.filter(|reason| reason != ASKED_BY_OPERATOR && reason != TO_INSTALL);
        match &fault {
            Some(reason) => warn!(self.log, "stopping because of a fault"; "reason" => reason),
            None => info!(self.log, "stopping"),
        }

        self.supervisor.expect_end();
        let clock = Arc::clone(&self.clock);
        stop.run(&self.log, move || -> Duration { clock.monotonic() })
            .await;

        // Whoever wants the node to end may have said so while it was about to start anew.
        let is_told =
            terminate.recv().now_or_never().is_some() || interrupt.recv().now_or_never().is_some();
        let end = if is_told { End::Stopped } else { end };

        match fault {
            Some(reason) => Err(anyhow::anyhow!("stopped because of a fault: {reason}")),
            None => Ok(end),
        }
    }
}
