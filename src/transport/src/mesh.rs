//! Listening, dialling and handing connections over.

mod complaints;
mod connect;
mod dial;
mod door;
mod lines;
mod listen;
mod processes;
mod starts;
mod witnesses;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use slog::{Logger, warn};
use tokio::net::TcpListener;
use tokio::sync::watch;
use trireme_base::{Clock, NodeName};
use trireme_replication::{AdmitError, PeerIdentity};

use crate::handshake::Met;
use crate::{
    LocalNode, MeshConfig, PeerAddress, PeerRole, PeerSlot, Refusal, SharedGroup, TransportError,
};
use complaints::Complaints;
pub use processes::{NewFile, Processes};
pub use starts::{Lineage, note_start};
pub use witnesses::Witnesses;

/// The connections between this node and its peers.
pub struct Mesh {
    local: RwLock<LocalNode>,
    config: MeshConfig,
    /// Whoever one of these knows may connect.
    groups: Vec<SharedGroup>,
    peers: watch::Sender<BTreeMap<NodeName, MeshPeer>>,
    /// Which process is which data directory.
    processes: Processes,
    /// Members that say that this process must not run.
    witnesses: Witnesses,
    /// Lines about connections that were not taken.
    complaints: Complaints,
    duplicate: watch::Sender<Option<Refusal>>,
    clock: Arc<dyn Clock>,
    log: Logger,
}

#[derive(Debug, Clone)]
struct MeshPeer {
    address: PeerAddress,
    slot: Arc<PeerSlot>,
}

impl MeshPeer {
    fn new(address: PeerAddress) -> (NodeName, Self) {
        let node = address.node.clone();
        (
            node.clone(),
            Self {
                address,
                slot: Arc::new(PeerSlot::new(node)),
            },
        )
    }
}

impl Mesh {
    /// A mesh that is not running yet. `groups` are views of the node's own group and of its neighbours.
    pub fn new(
        local: LocalNode,
        config: MeshConfig,
        groups: Vec<SharedGroup>,
        clock: Arc<dyn Clock>,
        log: Logger,
    ) -> Self {
        let peers = config.peers.iter().cloned().map(MeshPeer::new).collect();
        let processes = Processes::open(config.processes.clone(), &log);
        Self {
            local: RwLock::new(local),
            config,
            groups,
            peers: watch::Sender::new(peers),
            processes,
            witnesses: Witnesses::default(),
            complaints: Complaints::default(),
            duplicate: watch::Sender::new(None),
            clock,
            log,
        }
    }

    /// Where connections to a peer arrive.
    pub fn slot(&self, node: &NodeName) -> Option<Arc<PeerSlot>> {
        self.peers
            .borrow()
            .get(node)
            .map(|peer| Arc::clone(&peer.slot))
    }

    /// All slots by name.
    pub fn slots(&self) -> Vec<Arc<PeerSlot>> {
        self.peers
            .borrow()
            .values()
            .map(|peer| Arc::clone(&peer.slot))
            .collect()
    }

    /// The ring has changed: hellos say so from now on, new peers are dialled or let in, and those that are gone are
    /// disconnected. Peers that stay what they are keep their connections. The group views must know the new peers already.
    pub fn set_ring(&self, epoch: u64, ring_hash: u64, peers: Vec<PeerAddress>) {
        {
            let mut local = self.local.write();
            (local.epoch, local.ring_hash) = (epoch, ring_hash);
        }
        self.peers.send_modify(|known| {
            let roles: BTreeMap<&NodeName, PeerRole> =
                peers.iter().map(|p| (&p.node, p.role)).collect();
            known.retain(|node, peer| {
                let stays = roles.get(node) == Some(&peer.address.role);
                if !stays {
                    peer.slot.close();
                }
                stays
            });

            for address in peers {
                match known.get_mut(&address.node) {
                    Some(peer) => peer.address = address,
                    None => known.extend([MeshPeer::new(address)]),
                }
            }
        });
    }

    fn me(&self) -> PeerIdentity {
        self.local.read().identity.clone()
    }

    /// Resolves when members agree that this process must not run, because its data directory is a copy of one that runs
    /// or was set back. A node must then stop and say why.
    pub async fn duplicate(&self) -> Refusal {
        let mut changes = self.duplicate.subscribe();
        let found = changes
            .wait_for(Option::is_some)
            .await
            .expect("BUG: the mesh holds the sender");
        found.clone().expect("BUG: waited for it")
    }

    /// Listens on `listener` and dials the peers with larger names, until dropped.
    pub async fn run(&self, listener: TcpListener) {
        futures::join!(self.listen(listener), self.dial_all(), self.ask_callers());
    }

    /// A member is connected and answers: it has let this process in.
    fn is_let_in(&self) -> bool {
        self.groups
            .iter()
            .any(|group| group.lock().peers().any(|(_, peer)| peer.connected))
    }

    /// A member answered a hello that this node sent to the member's address. Refusals that say that this process must
    /// not run are weighed; what is said on connections that others have made is not, for anybody can make one.
    fn weigh(&self, from: &NodeName, error: &TransportError) {
        let TransportError::RefusedByPeer(refusal) = error else {
            return;
        };

        // Whom another member has let in runs already: the copy is the one that is refused everywhere.
        if !refusal.is_of_a_copy() || self.is_let_in() {
            return;
        }

        let members = self.peers.borrow().len();
        if let Some(agreed) = self.witnesses.heard(from, refusal, members) {
            self.duplicate.send_replace(Some(agreed));
        }
    }

    /// A group knows the peer, and nobody of another one has its data directory.
    fn check(&self, peer: &PeerIdentity) -> Result<(), AdmitError> {
        let mut admitted = Err(AdmitError::Stranger(peer.node.clone()));
        for group in &self.groups {
            let group = group.lock();
            group.check_incarnation(peer)?;
            match group.check(peer) {
                Err(AdmitError::Stranger(_)) => {}
                checked => admitted = checked,
            }
        }

        admitted
    }

    /// What the rest of the node thinks of a peer: the ring knows it, and it is no copy of another process.
    fn admit(&self, peer: &PeerIdentity, lineage: &Lineage) -> Result<(), Refusal> {
        self.check(peer)?;
        self.processes.check(peer, lineage)
    }

    /// The handshake is over: from now on no other process may be this peer. On disk before anything of the peer is
    /// taken, so that it holds over a restart of this node.
    async fn enter(&self, met: &Met) -> Result<(), TransportError> {
        let news = self.processes.enter(&met.peer, &met.lineage);
        let news = news.map_err(|refusal| TransportError::Refused {
            node: met.peer.node.to_string(),
            refusal,
        })?;

        if let Some(file) = news {
            let path = file.path().to_owned();
            let written = tokio::task::spawn_blocking(move || file.write()).await;
            let written = written.unwrap_or_else(|error| Err(std::io::Error::other(error)));
            // A disk that is full must not cut this node off; until its next start memory is as good.
            if let Err(err) = written {
                warn!(self.log, "cannot write down which processes the peers are"; "path" => %path.display(),
                    "err" => %err);
            }
        }

        Ok(())
    }
}

#[cfg(test)]
mod tests;
