//! Makes everything that depends on "who is in" follow the ring, while the node runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use slog::{Logger, error, info, warn};
use trireme_actors::{ActorKind, Commits, Gate, GateState, PeerHealth, SupervisorDoor};
use trireme_base::{Clock, NodeName};
use trireme_consensus::Consensus;
use trireme_mailbox::Port;
use trireme_transport::{CallBook, Hub, Mesh};

use super::keeper::tell;
use crate::membership::Place;
use crate::replicators::Replicators;

/// What follows the ring.
pub(crate) struct Follower {
    pub(crate) me: NodeName,
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) hub: Arc<Hub>,
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
                    self.change(&now, &next, ring.fingerprint()).await;
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

    async fn change(&self, now: &Place, next: &Place, fingerprint: u64) {
        let names = |place: &Place| place.group.peers.iter().cloned().collect::<BTreeSet<NodeName>>();
        let (before, after) = (names(now), names(next));
        let (gone, new): (Vec<_>, Vec<_>) =
            (before.difference(&after).cloned().collect(), after.difference(&before).cloned().collect());
        info!(self.log, "following the ring"; "epoch" => next.group.epoch, "new" => ?new, "gone" => ?gone,
            "active" => next.is_active, "needed" => next.group.quorum.needed());
        // First no writes of its own under the old ring where this node has to leave, then the new quorum.
        if next.gate != GateState::Open {
            self.gate.set_by_ring(next.gate);
        }
        self.commits.set_quorum(next.group.quorum.clone(), &gone);
        self.tell_peers(before.into_iter().collect(), !gone.is_empty()).await;
        for peer in &gone {
            self.door.forget(&Replicators::name(peer)).await;
            let _ = self.front.tell(PeerHealth { peer: peer.clone(), health: None });
        }
        self.hub.set_ring(next.group.clone(), self.clock.monotonic());
        self.calls.set_peers(&next.group.peers);
        self.mesh.set_ring(next.group.epoch, fingerprint, next.peers.clone());
        for peer in &new {
            match self.replicators.starter(peer) {
                Some(start) => self.door.add(ActorKind::Replicator, &Replicators::name(peer), start).await,
                None => error!(self.log, "the mesh does not know a new peer"; "peer" => %peer),
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
