//! What a change of the ring does to the view.

use std::collections::BTreeMap;
use std::time::Duration;

use trireme_base::{NodeName, StreamId};
use trireme_ring::Quorum;

use super::{GroupView, PeerView};

/// The part of a ring that concerns one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRing {
    /// Epoch of the ring.
    pub epoch: u64,
    /// The group is forming: nobody has been acknowledged anything in it yet.
    pub is_forming: bool,
    /// Active members.
    pub quorum: Quorum,
    /// Everybody that records are exchanged with.
    pub peers: Vec<NodeName>,
    /// Last seq of streams whose origin has left.
    pub seals: BTreeMap<StreamId, u64>,
}

impl GroupView {
    /// The ring has changed. Peers that stay are known as before; what one that is gone was to serve is taken from
    /// somebody else by the next [`GroupView::plan`].
    pub fn set_ring(&mut self, ring: GroupRing, now: Duration) {
        let GroupRing {
            epoch,
            is_forming,
            quorum,
            peers,
            seals,
        } = ring;

        self.epoch = epoch;
        self.is_forming = is_forming;
        self.quorum = quorum;
        self.seals = seals;
        self.peers.retain(|node, _| peers.contains(node));

        for node in peers.into_iter().filter(|node| *node != self.me.node) {
            let unseen = PeerView {
                changed_at: now,
                positions: self.untold(),
                ..PeerView::default()
            };
            self.peers.entry(node).or_insert(unseen);
        }

        self.forget_servers_that_left();
    }

    /// Epoch of the ring this node goes by.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// A peer told by which epoch it goes.
    pub fn heard_epoch(&mut self, node: &NodeName, epoch: u64) {
        if let Some(view) = self.peers.get_mut(node) {
            view.epoch = epoch;
        }
    }

    /// Connected peers that go by a later ring than that of `epoch`.
    pub fn ahead_of(&self, epoch: u64) -> Vec<NodeName> {
        let ahead = self
            .peers
            .iter()
            .filter(|(_, p)| p.connected && p.epoch > epoch);
        ahead.map(|(node, _)| node.clone()).collect()
    }
}
