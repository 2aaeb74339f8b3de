//! Listening, dialling and handing connections over.

mod connect;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use slog::{Logger, info, warn};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use trireme_base::{Backoff, Clock, Incarnation, NodeName};
use trireme_replication::PeerIdentity;
use trireme_wire::frame::RefuseReason;

use crate::{LocalNode, MeshConfig, PeerAddress, PeerSlot, Refusal, SharedGroup, TransportError};

/// Processes remembered to tell copies of a data directory apart.
const PROCESSES_MAX: usize = 1024;

/// The connections between this node and its peers.
pub struct Mesh {
    local: LocalNode,
    config: MeshConfig,
    group: SharedGroup,
    slots: BTreeMap<NodeName, Arc<PeerSlot>>,
    /// Which process was seen last for each incarnation, with its boot.
    processes: Mutex<BTreeMap<Incarnation, (u32, u64)>>,
    duplicate: watch::Sender<Option<Refusal>>,
    clock: Arc<dyn Clock>,
    log: Logger,
}

impl Mesh {
    /// A mesh that is not running yet.
    pub fn new(
        local: LocalNode,
        config: MeshConfig,
        group: SharedGroup,
        clock: Arc<dyn Clock>,
        log: Logger,
    ) -> Self {
        let slot = |peer: &PeerAddress| (peer.node.clone(), Arc::new(PeerSlot::new(peer.node.clone())));
        let slots = config.peers.iter().map(slot).collect();
        let duplicate = watch::Sender::new(None);
        Self { local, config, group, slots, processes: Mutex::default(), duplicate, clock, log }
    }

    /// Where connections to a peer arrive.
    pub fn slot(&self, node: &NodeName) -> Option<&Arc<PeerSlot>> {
        self.slots.get(node)
    }

    /// All slots by name.
    pub fn slots(&self) -> impl Iterator<Item = &Arc<PeerSlot>> {
        self.slots.values()
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
        let dialled = self.config.peers.iter().filter(|peer| peer.node > self.local.identity.node);
        let dialling = join_all(dialled.map(|peer| self.keep_connected(peer)));
        futures::join!(self.listen(listener), dialling);
    }

    async fn listen(&self, listener: TcpListener) {
        let mut shaking = FuturesUnordered::new();
        let mut backoff = Backoff::new(self.config.backoff_min, self.config.backoff_max, self.local.process);
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
                if let Some(slot) = self.slots.get(&peer.node) {
                    info!(self.log, "peer connected"; "peer" => %peer.node, "address" => from);
                    slot.set_problem(None);
                    slot.put(connection);
                }
            }
            Err(TransportError::Closed | TransportError::Io(_)) => {}
            Err(error) => {
                self.note_refusal(&error);
                if let TransportError::Refused { node, .. } = &error
                    && let Some(slot) = self.slots.get(&NodeName::new(node))
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
        let Some(slot) = self.slots.get(&peer.node) else { return };
        let seed = self.local.process ^ self.local.identity.incarnation.0;
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
        if let TransportError::RefusedByPeer(refusal) = error
            && refusal.reason == RefuseReason::DuplicateIncarnation
        {
            self.duplicate.send_replace(Some(refusal.clone()));
        }
    }

    /// What the rest of the node thinks of a peer: the group knows it, and it is no copy of another process.
    fn admit(&self, peer: &PeerIdentity, process: u64) -> Result<(), Refusal> {
        self.group.lock().check(peer)?;
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
