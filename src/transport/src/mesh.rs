//! Listening, dialling and handing connections over.

mod connect;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::{Mutex, RwLock};
use slog::{Logger, info, warn};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use trireme_base::{Backoff, Clock, Incarnation, NodeName};
use trireme_replication::{AdmitError, PeerIdentity};
use trireme_wire::frame::RefuseReason;

use crate::{LocalNode, MeshConfig, PeerAddress, PeerRole, PeerSlot, Refusal, SharedGroup, TransportError};

/// Processes remembered to tell copies of a data directory apart.
const PROCESSES_MAX: usize = 1024;

/// The connections between this node and its peers.
pub struct Mesh {
    local: RwLock<LocalNode>,
    config: MeshConfig,
    /// Whoever one of these knows may connect.
    groups: Vec<SharedGroup>,
    peers: watch::Sender<BTreeMap<NodeName, MeshPeer>>,
    /// Which process was seen last for each incarnation, with its boot.
    processes: Mutex<BTreeMap<Incarnation, (u32, u64)>>,
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
        (node.clone(), Self { address, slot: Arc::new(PeerSlot::new(node)) })
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
        Self {
            local: RwLock::new(local),
            config,
            groups,
            peers: watch::Sender::new(peers),
            processes: Mutex::default(),
            duplicate: watch::Sender::new(None),
            clock,
            log,
        }
    }

    /// Where connections to a peer arrive.
    pub fn slot(&self, node: &NodeName) -> Option<Arc<PeerSlot>> {
        self.peers.borrow().get(node).map(|peer| Arc::clone(&peer.slot))
    }

    /// All slots by name.
    pub fn slots(&self) -> Vec<Arc<PeerSlot>> {
        self.peers.borrow().values().map(|peer| Arc::clone(&peer.slot)).collect()
    }

    /// The ring has changed: hellos say so from now on, new peers are dialled or let in, and those that are gone are
    /// disconnected. Peers that stay what they are keep their connections. The group views must know the new peers already.
    pub fn set_ring(&self, epoch: u64, ring_hash: u64, peers: Vec<PeerAddress>) {
        {
            let mut local = self.local.write();
            (local.epoch, local.ring_hash) = (epoch, ring_hash);
        }
        self.peers.send_modify(|known| {
            let roles: BTreeMap<&NodeName, PeerRole> = peers.iter().map(|p| (&p.node, p.role)).collect();
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

    /// Resolves when a peer has refused this node because its data directory is a copy of one that runs. A node that is
    /// starting must then stop and say why.
    pub async fn duplicate(&self) -> Refusal {
        let mut changes = self.duplicate.subscribe();
        let found = changes.wait_for(Option::is_some).await.expect("BUG: the mesh holds the sender");
        found.clone().expect("BUG: waited for it")
    }

    /// Listens on `listener` and dials the peers with larger names, until dropped.
    pub async fn run(&self, listener: TcpListener) {
        futures::join!(self.listen(listener), self.dial_all());
    }

    /// Keeps a connection to every peer with a larger name, whoever they are at the moment.
    async fn dial_all(&self) {
        let me = self.me().node;
        let mut changes = self.peers.subscribe();
        let mut dialled: BTreeSet<PeerAddress> = BTreeSet::new();
        let mut dialling = FuturesUnordered::new();
        loop {
            let wanted: Vec<PeerAddress> =
                changes.borrow_and_update().values().map(|peer| peer.address.clone()).collect();
            for peer in wanted.into_iter().filter(|peer| peer.node > me) {
                if dialled.insert(peer.clone()) {
                    dialling.push(self.dial_while_wanted(peer));
                }
            }
            tokio::select! {
                changed = changes.changed() => changed.expect("BUG: the mesh holds the sender"),
                Some(ended) = dialling.next() => {
                    dialled.remove(&ended);
                }
            }
        }
    }

    async fn dial_while_wanted(&self, peer: PeerAddress) -> PeerAddress {
        let mut changes = self.peers.subscribe();
        let unwanted = async {
            let gone = |peers: &BTreeMap<NodeName, MeshPeer>| {
                peers.get(&peer.node).is_none_or(|known| known.address != peer)
            };
            changes.wait_for(gone).await.map(drop).expect("BUG: the mesh holds the sender");
        };
        tokio::select! {
            () = self.keep_connected(&peer) => {}
            () = unwanted => {}
        }
        peer
    }

    async fn listen(&self, listener: TcpListener) {
        let mut shaking = FuturesUnordered::new();
        let process = self.local.read().process;
        let mut backoff = Backoff::new(self.config.backoff_min, self.config.backoff_max, process);
        loop {
            let room = shaking.len() < self.config.handshakes_max;
            tokio::select! {
                accepted = listener.accept(), if room => match accepted {
                    Ok((stream, _)) => {
                        backoff.reset();
                        shaking.push(self.welcome(stream));
                    }
                    // Too many open files, for example: it passes, but not at once.
                    Err(error) => {
                        warn!(self.log, "cannot accept a peer's connection"; "err" => %error);
                        tokio::time::sleep(backoff.next_wait()).await;
                    }
                },
                Some(()) = shaking.next() => {}
            }
        }
    }

    async fn welcome(&self, stream: TcpStream) {
        let from = stream.peer_addr().map(|address| address.to_string()).unwrap_or_default();
        let connected = self.accept(stream).await;
        match connected {
            Ok((connection, _)) => {
                let peer = connection.peer.clone();
                if let Some(slot) = self.slot(&peer.node) {
                    info!(self.log, "peer connected"; "peer" => %peer.node, "address" => from);
                    slot.set_problem(None);
                    slot.put(connection);
                }
            }
            Err(TransportError::Closed | TransportError::Io(_)) => {}
            Err(error) => {
                self.note_refusal(&error);
                if let TransportError::Refused { node, .. } = &error
                    && let Some(slot) = self.slot(&NodeName::new(node))
                {
                    // A peer that goes on trying would fill the log.
                    if !slot.set_problem(Some(error.to_string())) {
                        return;
                    }
                }
                warn!(self.log, "connection not taken"; "address" => from, "err" => %error);
            }
        }
    }

    async fn keep_connected(&self, peer: &PeerAddress) {
        let Some(slot) = self.slot(&peer.node) else { return };
        let seed = {
            let local = self.local.read();
            local.process ^ local.identity.incarnation.0
        };
        let mut backoff = Backoff::new(self.config.backoff_min, self.config.backoff_max, seed);
        loop {
            let began = self.clock.monotonic();
            match self.dial(peer).await {
                Ok((connection, closed)) => {
                    info!(self.log, "connected to peer"; "peer" => %peer.node, "address" => &peer.address);
                    slot.set_problem(None);
                    slot.put(connection);
                    // Resolves when the connection is dropped, wherever it is.
                    let _ = closed.await;
                    if self.clock.monotonic().saturating_sub(began) >= self.config.settled_after {
                        backoff.reset();
                    }
                }
                Err(error) => {
                    self.note_refusal(&error);
                    if slot.set_problem(Some(error.to_string())) {
                        warn!(self.log, "cannot connect to peer";
                            "peer" => %peer.node, "address" => &peer.address, "err" => %error);
                    }
                }
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    fn note_refusal(&self, error: &TransportError) {
        // Whom another member has let in runs already: the copy is the one that refuses or is refused everywhere.
        let is_let_in =
            || self.groups.iter().any(|group| group.lock().peers().any(|(_, peer)| peer.connected));
        if let TransportError::RefusedByPeer(refusal) = error
            && refusal.reason == RefuseReason::DuplicateIncarnation
            && !is_let_in()
        {
            self.duplicate.send_replace(Some(refusal.clone()));
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
    fn admit(&self, peer: &PeerIdentity, process: u64) -> Result<(), Refusal> {
        self.check(peer)?;
        let mut processes = self.processes.lock();
        match processes.get(&peer.incarnation) {
            Some((boot, known)) if *boot == peer.boot.0 && *known != process => {
                let detail = format!(
                    "boot {} of {} ({}) is already running as another process: one data directory is a copy",
                    peer.boot.0, peer.incarnation, peer.node
                );
                return Err(Refusal { reason: RefuseReason::DuplicateIncarnation, detail });
            }
            _ => {}
        }
        if processes.len() >= PROCESSES_MAX {
            processes.pop_first();
        }
        processes.insert(peer.incarnation, (peer.boot.0, process));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
