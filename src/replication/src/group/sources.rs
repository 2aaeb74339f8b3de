//! The group as a replica that has to be rebuilt sees it.

use std::time::Duration;

use super::GroupView;
use crate::PositionVector;
use crate::rebuild::{Look, Source};

impl GroupView {
    /// What a rebuild asks about the group.
    pub fn rebuild_look(&self, now: Duration) -> Look {
        let told = || self.peers.iter().filter(|(_, peer)| peer.connected && peer.is_heard);
        let mut furthest = PositionVector::new();
        told().for_each(|(_, peer)| furthest.merge(&peer.positions));
        let source = |(node, peer): (&trireme_base::NodeName, &super::PeerView)| Source {
            node: node.clone(),
            is_rebuilding: peer.health.rebuilding,
            has_history: peer.health.has_history,
            records_behind: peer.positions.behind(&furthest).map(|(_, have, other)| other - have).sum(),
        };
        let heard = told().map(|(node, _)| node);
        Look {
            now,
            sources: told().map(source).collect(),
            quorum_connected: self.quorum.is_met_by(heard.chain([&self.me.node])),
            is_stranded: !self.stranded().is_empty(),
        }
    }
}
