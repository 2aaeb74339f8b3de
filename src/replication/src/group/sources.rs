//! The group as a replica that has to be rebuilt sees it.

use std::time::Duration;

use trireme_base::NodeName;

use super::{GroupView, PeerView};
use crate::PositionVector;
use crate::rebuild::{Look, Source};

impl GroupView {
    /// What a replica that has everything asks about the group, many times a minute.
    pub fn standing_look(&self, now: Duration) -> Look {
        Look {
            now,
            is_stranded: self.is_stranded(),
            ..Look::default()
        }
    }

    /// True if this node lacks what no log can give.
    fn is_stranded(&self) -> bool {
        !self.stranded().is_empty() || self.has_missed_ends()
    }

    /// What a rebuild asks about the group.
    pub fn rebuild_look(&self, now: Duration) -> Look {
        let mut furthest = PositionVector::new();
        for (_, peer) in self.told() {
            furthest.merge(&peer.positions);
        }

        let stranded = self.stranded();
        let sources = self.told().map(|(node, peer)| Source {
            node: node.clone(),
            is_rebuilding: peer.health.rebuilding,
            has_history: peer.health.has_history,
            records_behind: peer
                .positions
                .behind(&furthest)
                .map(|(_, have, other)| other - have)
                .sum(),
            has_stranded: self.has_missed(peer)
                || stranded
                    .iter()
                    .any(|stream| peer.positions.get(*stream) > self.mine.get(*stream)),
        });

        let heard = self.told().map(|(node, _)| node);
        let quorum_connected = self.quorum.is_met_by(heard.chain([&self.me.node]));
        Look {
            now,
            sources: sources.collect(),
            quorum_connected,
            is_new_group: self.is_forming
                && self
                    .peers
                    .values()
                    .all(|peer| peer.connected && peer.is_heard),
            is_stranded: self.is_stranded(),
            is_served: self.is_served() && !self.has_missed_ends(),
            is_furthest: quorum_connected && self.is_furthest_of_all_left_behind(),
        }
    }

    /// Peers whose word is known.
    fn told(&self) -> impl Iterator<Item = (&NodeName, &PeerView)> {
        self.peers
            .iter()
            .filter(|(_, peer)| peer.connected && peer.is_heard)
    }

    /// True if everybody who is connected waits for a snapshot because of trimmed logs, as this node does, and nobody of them
    /// has more records than this node. Equal ones are told apart by name.
    fn is_furthest_of_all_left_behind(&self) -> bool {
        let told: Vec<_> = self.told().collect();

        if self.has_missed_ends()
            || told
                .iter()
                .any(|(_, peer)| !peer.health.rebuilding || !peer.health.left_behind)
        {
            return false;
        }

        let mut furthest = self.mine.clone();
        told.iter()
            .for_each(|(_, peer)| furthest.merge(&peer.positions));

        let mine = (lacking(&self.mine, &furthest), &self.me.node);
        told.iter()
            .all(|(node, peer)| mine < (lacking(&peer.positions, &furthest), node))
    }
}

/// How many records are missing.
fn lacking(positions: &PositionVector, furthest: &PositionVector) -> u64 {
    positions
        .behind(furthest)
        .map(|(_, have, other)| other - have)
        .fold(0, u64::saturating_add)
}
