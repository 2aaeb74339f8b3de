//! Which streams have ended: all members have all of them where no log is needed any more, and nobody keeps their positions.
//!
//! Only words decide. Silence, time and absence change nothing.

use std::collections::BTreeSet;

use trireme_base::{Boot, End, Ended, Incarnation, NodeName, StreamId};

use super::{GroupView, PeerView};
use crate::{ALL, PositionVector};

/// What a node says of the streams of earlier starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ends {
    /// Of these it needs nothing any more: no log has anything of them, and two checkpoints have everything. Without digests.
    pub settled: Ended,
    /// These are in no vector of its any more.
    pub ended: Ended,
}

impl GroupView {
    /// A peer told which streams it has settled, and which have ended for it. It tells that after all of its positions.
    pub fn heard_ends(&mut self, node: &NodeName, ends: &Ends) {
        if let Some(view) = self.peers.get_mut(node).filter(|view| view.connected) {
            view.settled.merge(&ends.settled);
            view.positions.end(&ends.ended);
        }
    }

    /// Streams have ended for this node.
    pub fn end(&mut self, ended: &Ended) {
        self.mine.end(ended);
        for peer in self.peers.values_mut() {
            peer.positions.end(ended);
            peer.settled.merge(ended);
            peer.unserved.retain(|stream, _| !ended.has(*stream));
            peer.trimmed.retain(|stream, _| !ended.has(*stream));
        }

        self.ahead.retain(|stream| !ended.has(*stream));
        self.servers.retain(|stream, _| !ended.has(*stream));
    }

    /// Positions of a peer that has told none: what has ended is with all.
    pub(super) fn untold(&self) -> PositionVector {
        let mut untold = PositionVector::new();
        untold.end(self.mine.ended());
        untold
    }

    /// The streams that have ended for any of the peers. This node was among those that agreed.
    fn told_ended(&self) -> Ended {
        let mut told = Ended::default();
        for peer in self.peers.values() {
            told.merge(peer.positions.ended());
        }
        told
    }

    /// True if this node has all of the streams that have ended for a peer.
    fn agrees(&self, incarnation: Incarnation, end: End) -> bool {
        let mine = self.mine.ended().of(incarnation);
        if end.before <= mine.before {
            return true;
        }

        let known = self
            .mine
            .of(incarnation)
            .take_while(|(stream, _)| stream.boot < end.before);

        known.fold(mine.digest, |digest, (stream, seq)| {
            End::with(digest, stream.boot, seq)
        }) == end.digest
    }

    /// True if streams have ended for a peer of which this node lacks something.
    ///
    /// It had all of them when it agreed to that, so its disk is an older one than then. No log has what is missing.
    pub fn has_missed_ends(&self) -> bool {
        self.peers.values().any(|peer| self.has_missed(peer))
    }

    /// True if streams have ended for this peer of which this node lacks something.
    pub(super) fn has_missed(&self, peer: &PeerView) -> bool {
        !self.is_foreign
            && peer
                .positions
                .ended()
                .iter()
                .any(|(i, end)| !self.agrees(i, end))
    }

    /// The streams that may end here, given those that this node has settled.
    ///
    /// Two ways lead to it. Either a peer has let go of them, and this node has exactly what ended there. Or the node that
    /// wrote them is connected with a later start, as are all other members, each of them has said that it has settled them,
    /// and each has exactly what this node has. The node that wrote them is among these, so nobody can have more.
    ///
    /// A node that lacks something of what has ended elsewhere ends nothing, by either way: of such streams its peers have no
    /// positions that differ from its own, and once they had ended here as well, nothing would tell what it lacks.
    pub fn may_end(&self, settled: &Ended) -> Ended {
        if self.has_missed_ends() {
            return Ended::default();
        }

        let told = self.told_ended();
        settled
            .iter()
            .map(|(incarnation, settled): (Incarnation, End)| {
                let end = told.of(incarnation);
                let told = if self.agrees(incarnation, end) {
                    end.before
                } else {
                    Boot(0)
                };
                let may = told
                    .max(self.settled_by_all(incarnation, settled.before))
                    .min(settled.before);
                (incarnation, may)
            })
            .filter(|(incarnation, before): &(Incarnation, Boot)| {
                *before > self.mine.ended().before(*incarnation)
            })
            .collect()
    }

    /// Before which boot all members have settled the streams of an incarnation, and have them equally far.
    fn settled_by_all(&self, incarnation: Incarnation, settled: Boot) -> Boot {
        let running = self.running_boot(incarnation);
        let Some(running) = running.filter(|_| {
            self.peers
                .values()
                .all(|peer: &PeerView| peer.connected && peer.is_heard && !peer.health.rebuilding)
        }) else {
            return Boot(0);
        };

        let before = self
            .peers
            .values()
            .map(|peer: &PeerView| peer.settled.before(incarnation))
            .fold(settled.min(running), Ord::min);

        let known = self
            .peers
            .values()
            .map(|peer| &peer.positions)
            .chain([&self.mine])
            .flat_map(|vector| vector.of(incarnation));
        let known: BTreeSet<StreamId> = known
            .map(|(stream, _)| stream)
            .filter(|stream| stream.boot < before)
            .collect();

        known
            .iter()
            .find(|stream| !self.is_level(**stream))
            .map_or(before, |stream| stream.boot)
    }

    /// The latest boot of an incarnation that is known to run.
    fn running_boot(&self, incarnation: Incarnation) -> Option<Boot> {
        let running = self
            .peers
            .values()
            .filter_map(|peer| peer.identity.as_ref())
            .chain([&self.me]);

        running
            .filter(|id| id.incarnation == incarnation)
            .map(|id| id.boot)
            .max()
    }

    /// True if all peers have a stream as far as this node, or have let go of it.
    fn is_level(&self, stream: StreamId) -> bool {
        let mine = self.mine.get(stream);
        self.peers
            .values()
            .all(|peer| [mine, ALL].contains(&peer.positions.get(stream)))
    }
}
