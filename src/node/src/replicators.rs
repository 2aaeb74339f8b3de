//! Builds the actor of a peer, at the start and whenever the ring brings a new one.

use std::sync::Arc;

use slog::{Logger, o};
use trireme_actors::{FrontPorts, PeerHealth, Replicator, ReplicatorParts, Start};
use trireme_base::Clock;
use trireme_mailbox::Port;
use trireme_replication::{LinkConfig, PeerIdentity};
use trireme_storage::Store;
use trireme_transport::{CallBook, CallHandler, Hub, Mesh, PeerAddress, PeerRole, ReplicaStore};
use trireme_write::NeighbourStore;

use crate::cluster::Cluster;
use crate::context::NodeContext;
use crate::storage::Storage;

/// What every replicator is made of.
pub(crate) struct Replicators {
    me: PeerIdentity,
    mesh: Arc<Mesh>,
    store: Arc<Store>,
    hub: Arc<Hub>,
    /// View of the members of other groups.
    others: Arc<Hub>,
    calls: Arc<CallBook>,
    handler: Arc<dyn CallHandler>,
    link: LinkConfig,
    clock: Arc<dyn Clock>,
    front: Port<PeerHealth>,
    log: Logger,
}

impl Replicators {
    pub(crate) fn new(
        context: &NodeContext,
        cluster: &Cluster,
        storage: &Storage,
        front: &FrontPorts,
        handler: Arc<dyn CallHandler>,
    ) -> Self {
        Self {
            me: cluster.me.clone(),
            mesh: Arc::clone(&cluster.mesh),
            store: Arc::clone(&storage.store),
            hub: Arc::clone(&cluster.hub),
            others: Arc::clone(cluster.neighbours.hub()),
            calls: Arc::clone(&cluster.calls),
            handler,
            link: cluster.link.clone(),
            clock: Arc::clone(&context.clock),
            front: front.health.clone(),
            log: context.log.clone(),
        }
    }

    /// Name of the actor.
    pub(crate) fn name(peer: &PeerAddress) -> String {
        match peer.role {
            PeerRole::Replica => format!("replicator-{}", peer.node),
            PeerRole::Neighbour => format!("neighbour-{}", peer.node),
        }
    }

    /// Starts the actor of a peer that the mesh knows.
    pub(crate) fn starter(&self, peer: &PeerAddress) -> Option<Start> {
        let log = self
            .log
            .new(o!("actor" => Self::name(peer), "peer" => peer.node.to_string()));
        let store: Arc<dyn ReplicaStore> = Arc::clone(&self.store) as _;
        let (store, hub, front) = match peer.role {
            PeerRole::Replica => (store, Arc::clone(&self.hub), Some(self.front.clone())),
            PeerRole::Neighbour => (
                Arc::new(NeighbourStore(store)) as _,
                Arc::clone(&self.others),
                None,
            ),
        };

        Some(Replicator::starter(ReplicatorParts {
            me: self.me.clone(),
            slot: self.mesh.slot(&peer.node)?,
            store,
            hub,
            calls: self.calls.get(&peer.node)?,
            handler: Arc::clone(&self.handler),
            config: self.link.clone(),
            clock: Arc::clone(&self.clock),
            front,
            log,
        }))
    }
}
