//! The TCP mesh and what hangs on it.

use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use slog::{Logger, o};
use trireme_base::{Clock, NodeName, SeededRng, StreamId};
use trireme_replication::{GroupLimits, GroupView, LinkConfig, PeerIdentity};
use trireme_ring::Ring;
use trireme_settings::Settings;
use trireme_storage::GateState;
use trireme_transport::{CallBook, Hub, LocalNode, Mesh, MeshConfig, note_start};
use trireme_write::{Neighbours, Route, Routes};

use crate::membership::Place;
use crate::peer_queries::PeerQueries;

/// Record bytes kept for one peer that cannot take them at once; more is read from the log.
const FEED_BYTES: u64 = 8 << 20;
/// Calls to one peer at a time.
const CALLS_MAX: usize = 256;
/// Largest answer of a call.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// The mesh of one node.
pub(crate) struct Cluster {
    pub(crate) me: PeerIdentity,
    pub(crate) hub: Arc<Hub>,
    /// The members of other groups.
    pub(crate) neighbours: Arc<Neighbours>,
    /// Which groups take which series.
    pub(crate) routes: Arc<Routes>,
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) link: LinkConfig,
    /// Calls by peer.
    pub(crate) calls: Arc<CallBook>,
    /// What the ring says of this node at the start.
    pub(crate) place: Place,
    /// What answers the queries of peers, once the node is that far.
    pub(crate) queries: Arc<OnceLock<PeerQueries>>,
}

impl Cluster {
    /// Builds the mesh; nothing is dialled before it runs.
    pub(crate) fn new(
        settings: &Settings,
        ring: &Ring,
        stream: StreamId,
        clock: &Arc<dyn Clock>,
        log: &Logger,
    ) -> anyhow::Result<Self> {
        let node = NodeName::new(&settings.node.name);
        let me = PeerIdentity {
            node: node.clone(),
            incarnation: stream.incarnation,
            boot: stream.boot,
        };

        let place =
            Place::of(ring, &node).context("this node is not in the ring of its data directory")?;
        anyhow::ensure!(
            place.gate != GateState::Left,
            "this node has left the ring (epoch {}): to bring it in again, start it with an empty data directory and \
             cluster.join=true, and use `trireme ring join`",
            ring.epoch
        );

        let now = clock.monotonic();
        let quorum = place.group.quorum.clone();
        let peers = place.group.peers.clone();
        let clock_offset_max = settings.cluster.clock_offset_max.as_duration();
        let limits = GroupLimits {
            clock_offset_max,
            ..GroupLimits::default()
        };
        let mut view = GroupView::new(me.clone(), quorum, peers, limits, now);

        view.set_ring(place.group.clone(), now);
        let hub = Arc::new(Hub::new(view, FEED_BYTES));
        let mut others = GroupView::of_neighbours(me.clone(), place.neighbours.peers.clone(), now);

        others.set_ring(place.neighbours.clone(), now);
        // Nobody writes into these feeds.
        let neighbours = Arc::new(Neighbours::new(Arc::new(Hub::new(others, 0))));

        neighbours.set_ring(ring, &node);
        let routes = Arc::new(Routes::default());
        routes.set(Route::of(ring, &node));

        let cluster = &settings.cluster;
        let data_dir = Path::new(&settings.node.data_dir);
        let process =
            SeededRng::new(clock.now_ms() as u64 ^ u64::from(std::process::id()) << 40).next_u64();
        let local = LocalNode {
            cluster: cluster.name.clone(),
            identity: me.clone(),
            epoch: ring.epoch,
            ring_hash: ring.fingerprint(),
            shards: settings.storage.shards,
            lineage: note_start(&data_dir.join("starts"), stream.boot, process, log),
        };

        let processes = Some(data_dir.join("processes"));
        let config = MeshConfig {
            processes,
            ..MeshConfig::new(place.peers.clone())
        };
        let log = log.new(o!("part" => "mesh"));
        let groups = vec![
            Arc::clone(hub.group()),
            Arc::clone(neighbours.hub().group()),
        ];
        let mesh = Arc::new(Mesh::new(local, config, groups, Arc::clone(clock), log));
        let others_max = GroupLimits::default().streams_per_peer_max as u64;
        let link = LinkConfig {
            epoch: ring.epoch,
            heartbeat_every: cluster.heartbeat_interval.as_duration(),
            peer_timeout: cluster.peer_timeout.as_duration(),
            // Half for what the peer is writing, the rest for all others, so that together they are what the setting says.
            window_bytes: cluster.window_bytes.0 / 2,
            other_window_bytes: cluster.window_bytes.0 / 2 / others_max,
            ..LinkConfig::default()
        };

        let calls = Arc::new(CallBook::new(CALLS_MAX, ANSWER_BYTES_MAX));
        calls.set_peers(place.peers.iter().map(|peer| &peer.node));
        Ok(Self {
            me,
            hub,
            neighbours,
            routes,
            mesh,
            link,
            calls,
            place,
            queries: Arc::default(),
        })
    }
}

/// Binds the mesh's listener; a group of one has none.
pub(crate) fn bind(settings: &Settings) -> anyhow::Result<Option<TcpListener>> {
    if settings.cluster.peers.is_empty() {
        return Ok(None);
    }

    let listen = &settings.cluster.listen;
    let listener = TcpListener::bind(listen).with_context(|| {
        format!(
            "cannot listen on cluster.listen={listen}; if another process has the port, choose another one"
        )
    })?;

    listener
        .set_nonblocking(true)
        .context("cannot prepare cluster.listen")?;

    Ok(Some(listener))
}

/// Waits until `done` says yes, at most `bound`; looks every 20 ms.
pub(crate) async fn wait_until(bound: Duration, mut done: impl FnMut() -> bool) -> bool {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(bound, waiting).await.is_ok()
}
