//! Whether what this node lacks can still be had from the logs of its peers.
//!
//! Only a peer's word says that it cannot: [`GroupView::refused`] with [`EndReason::Trimmed`]. Silence, a slow disk and a
//! pause change who is asked, and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use trireme_base::{NodeName, StreamId};
use trireme_wire::frame::EndReason;

use super::{GroupView, PeerView};
use crate::Taken;

impl GroupView {
    /// A peer ended a subscription. `first_seq` is the first it has, if it says that what stood before is trimmed.
    pub fn refused(
        &mut self,
        node: &NodeName,
        stream: StreamId,
        reason: EndReason,
        first_seq: u64,
        now: Duration,
    ) {
        // A log that was damaged in the middle begins before what it lacks.
        let lacks_next = self.mine.get(stream).saturating_add(2);

        if reason == EndReason::Trimmed
            && let Some(view) = self.peers.get_mut(node)
        {
            view.trimmed.insert(stream, first_seq.max(lacks_next));
        }

        self.unserved(node, stream, now);
    }

    /// What is being taken from a peer now: all of it, as its link has it.
    pub fn taken(&mut self, node: &NodeName, taken: Vec<Taken>) {
        let Some(view) = self.peers.get_mut(node) else {
            return;
        };

        for given in taken.iter().filter(|taken| taken.has_given) {
            view.trimmed.remove(&given.stream);
        }

        view.taking = taken
            .into_iter()
            .map(|taken| (taken.stream, taken))
            .collect();
    }

    /// Streams of which a connected peer has more than this node, while each that has more has said that the next records
    /// are trimmed. The logs of these peers cannot help, so this node has to be rebuilt.
    pub fn stranded(&self) -> Vec<StreamId> {
        let lacking = self.lacking(|peer: &PeerView, stream: StreamId| {
            let next = self.mine.get(stream).saturating_add(1);
            peer.trimmed.get(&stream).is_some_and(|first| *first > next)
        });
        lacking
            .into_iter()
            .filter(|(_, trimmed)| trimmed.all)
            .map(|(stream, _)| stream)
            .collect()
    }

    /// True if every stream of which a connected peer has more than this node is being received.
    pub fn is_served(&self) -> bool {
        self.lacking(|peer: &PeerView, stream: StreamId| {
            peer.taking
                .get(&stream)
                .is_some_and(|taken| taken.has_given)
        })
        .values()
        .all(|given| given.any)
    }

    /// The streams of which connected peers have more than this node, and for how many of these peers `holds` is true.
    fn lacking(&self, holds: impl Fn(&PeerView, StreamId) -> bool) -> BTreeMap<StreamId, Holds> {
        let mut lacking: BTreeMap<StreamId, Holds> = BTreeMap::new();
        for stream in self
            .ahead
            .iter()
            .filter(|stream| **stream != self.me.stream())
        {
            let have = self.mine.get(*stream);
            for peer in self
                .peers
                .values()
                .filter(|peer: &&PeerView| peer.connected && peer.positions.get(*stream) > have)
            {
                let of_peer = holds(peer, *stream);
                let held = lacking.entry(*stream).or_insert(Holds {
                    all: true,
                    any: false,
                });
                held.all &= of_peer;
                held.any |= of_peer;
            }
        }

        lacking
    }
}

/// For whom of several something is true.
struct Holds {
    all: bool,
    any: bool,
}
