//! Dialling the peers with larger names, and asking those with smaller ones.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{FuturesUnordered, StreamExt};
use slog::{info, warn};
use trireme_base::{Backoff, NodeName};

use super::{Mesh, MeshPeer};
use crate::PeerAddress;

impl Mesh {
    /// Keeps a connection to every peer with a larger name, whoever they are at the moment.
    pub(super) async fn dial_all(&self) {
        let me = self.me().node;
        let mut changes = self.peers.subscribe();
        let mut dialled: BTreeSet<PeerAddress> = BTreeSet::new();

        let mut dialling = FuturesUnordered::new();
        loop {
            let wanted: Vec<PeerAddress> = changes
                .borrow_and_update()
                .values()
                .map(|peer| peer.address.clone())
                .collect();

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
            changes
                .wait_for(|peers: &BTreeMap<NodeName, MeshPeer>| {
                    peers
                        .get(&peer.node)
                        .is_none_or(|known| known.address != peer)
                })
                .await
                .map(drop)
                .expect("BUG: the mesh holds the sender");
        };

        tokio::select! {
            () = self.keep_connected(&peer) => {}
            () = unwanted => {}
        }

        peer
    }

    async fn keep_connected(&self, peer: &PeerAddress) {
        let Some(slot) = self.slot(&peer.node) else {
            return;
        };

        let mut backoff = Backoff::new(
            self.config.backoff_min,
            self.config.backoff_max,
            self.seed(),
        );

        loop {
            let began = self.clock.monotonic();
            match self.dial(peer).await {
                Ok((connection, closed)) => {
                    info!(self.log, "connected to peer"; "peer" => %peer.node, "address" => &peer.address);
                    slot.set_problem(None);
                    self.witnesses.forget_all();
                    slot.put(connection);
                    // Resolves when the connection is dropped, wherever it is.
                    let _ = closed.await;
                    if self.clock.monotonic().saturating_sub(began) >= self.config.settled_after {
                        backoff.reset();
                    }
                }
                Err(error) => {
                    self.weigh(&peer.node, &error);
                    if slot.set_problem(Some(error.to_string())) {
                        warn!(self.log, "cannot connect to peer";
                            "peer" => %peer.node, "address" => &peer.address, "err" => %error);
                    }
                }
            }

            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Asks the peers that dial this node whether they would let it in, for as long as nobody does.
    ///
    /// What they think of this process they also say on the connections they make, but there anybody could say it.
    pub(super) async fn ask_callers(&self) {
        let me = self.me().node;
        let mut backoff = Backoff::new(self.config.ask_min, self.config.ask_max, self.seed());

        loop {
            tokio::time::sleep(backoff.next_wait()).await;
            if self.is_let_in() {
                backoff.reset();
                continue;
            }

            let peers = self
                .peers
                .borrow()
                .values()
                .map(|peer| peer.address.clone())
                .collect::<Vec<_>>();

            let callers = peers.iter().filter(|peer| peer.node < me);
            let asked = callers.map(|peer| async move {
                if let Err(error) = self.ask(peer).await {
                    self.weigh(&peer.node, &error);
                }
            });

            futures::future::join_all(asked).await;
        }
    }

    fn seed(&self) -> u64 {
        let local = self.local.read();
        local.lineage.process ^ local.identity.incarnation.0
    }
}
