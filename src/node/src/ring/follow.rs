//! Makes everything that depends on "who is in" follow the ring, while the node runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use slog::{Logger, error, info, warn};
use trireme_actors::{ActorKind, PeerHealth, SupervisorDoor};
use trireme_base::{Clock, NodeName};
use trireme_consensus::Consensus;
use trireme_mailbox::Port;
use trireme_ring::Ring;
use trireme_storage::{Commits, Gate, GateState};
use trireme_transport::{CallBook, Hub, Mesh, PeerAddress, PeerRole};
use trireme_write::{Neighbours, Route, Routes};

use super::keeper::tell;
use crate::membership::Place;
use crate::replicators::Replicators;

/// What follows the ring.
pub(crate) struct Follower {
    pub(crate) me: NodeName,
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) neighbours: Arc<Neighbours>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) calls: Arc<CallBook>,
    pub(crate) commits: Arc<Commits>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) front: Port<PeerHealth>,
    pub(crate) replicators: Replicators,
    pub(crate) door: SupervisorDoor,
    pub(crate) io: tokio::runtime::Handle,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) log: Logger,
}

impl Follower {
    /// Follows one change after the other, for as long as it is polled. On the thread of the actors, which it starts.
    pub(crate) async fn run(self, mut now: Place) {
        let mut changes = self.consensus.book().changes();
        loop {
            let ring = Arc::clone(&changes.borrow_and_update());
            match Place::of(&ring, &self.me) {
                Some(next) if next != now => {
                    self.change(&now, &next, &ring).await;
                    now = next;
                }
                Some(_) => {}
                None => error!(self.log, "the ring does not know this node"; "epoch" => ring.epoch),
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    async fn change(&self, now: &Place, next: &Place, ring: &Ring) {
        // A peer that is something else from now on is another peer.
        let of = |place: &Place| -> BTreeMap<(NodeName, PeerRole), PeerAddress> {
            place
                .peers
                .iter()
                .map(|p| ((p.node.clone(), p.role), p.clone()))
                .collect()
        };

        let before = of(now);
        let after = of(next);
        let without = |these: &BTreeMap<_, PeerAddress>,
                       those: &BTreeMap<_, PeerAddress>|
         -> Vec<PeerAddress> {
            these
                .iter()
                .filter(|(key, _)| !those.contains_key(*key))
                .map(|(_, peer)| peer.clone())
                .collect()
        };

        let gone = without(&before, &after);
        let new = without(&after, &before);
        let names =
            |peers: &[PeerAddress]| peers.iter().map(|p| p.node.to_string()).collect::<Vec<_>>();

        info!(self.log, "following the ring"; "epoch" => next.group.epoch, "new" => ?names(&new),
            "gone" => ?names(&gone), "group" => &next.name, "active" => next.is_active,
            "needed" => next.group.quorum.needed());

        // First no writes of its own under the old ring where this node has to leave, then the new quorum.
        if next.gate != GateState::Open {
            self.gate.set_by_ring(next.gate);
        }

        let left: Vec<&NodeName> = gone
            .iter()
            .filter(|p| p.role == PeerRole::Replica)
            .map(|p| &p.node)
            .collect();

        let group = &next.group;
        self.commits
            .set_quorum(group.epoch, group.quorum.clone(), left.iter().copied());

        let told = now.peers.iter().map(|p| p.node.clone()).collect();
        self.tell_peers(told, !gone.is_empty()).await;

        for peer in &gone {
            self.door.forget(&Replicators::name(peer)).await;
            if peer.role == PeerRole::Replica {
                let _ = self.front.tell(PeerHealth {
                    peer: peer.node.clone(),
                    health: None,
                });
            }
        }

        // A group that is gone is not asked any more before its members are disconnected.
        self.neighbours.set_ring(ring, &self.me);
        self.routes.set(Route::of(ring, &self.me));

        let clock = self.clock.monotonic();
        self.hub.set_ring(next.group.clone(), clock);
        self.neighbours
            .hub()
            .set_ring(next.neighbours.clone(), clock);
        self.calls
            .set_peers(next.peers.iter().map(|peer| &peer.node));
        self.mesh
            .set_ring(next.group.epoch, ring.fingerprint(), next.peers.clone());

        for peer in &new {
            match self.replicators.starter(peer) {
                Some(start) => {
                    self.door
                        .add(ActorKind::Replicator, &Replicators::name(peer), start)
                        .await
                }
                None => error!(self.log, "the mesh does not know a new peer"; "peer" => %peer.node),
            }
        }

        self.gate.set_by_ring(next.gate);
        if next.gate == GateState::Left && now.gate != GateState::Left {
            warn!(self.log, "this node has left the ring; stop it"; "epoch" => next.group.epoch);
        }
    }

    /// Tells the ring to those who were peers until now. Waited for only where somebody leaves.
    async fn tell_peers(&self, peers: Vec<NodeName>, wait: bool) {
        let consensus = Arc::clone(&self.consensus);
        let telling = self.io.spawn(async move { tell(&consensus, &peers).await });
        if wait {
            let _ = telling.await;
        }
    }
}
