//! What a node does when the ring changes, and how far a query that begins on it must have read.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use trireme_base::{Clock, NodeName, StreamId};
use trireme_replication::GroupRing;
use trireme_ring::{GroupPhase, MemberState, Ring};
use trireme_storage::GateState;
use trireme_wire::record::RecordKind;

use super::Process;
use crate::mutation::Mutation;

/// What a ring means for one node.
pub struct Place {
    /// For replication.
    pub group: GroupRing,
    /// For the write gate.
    pub gate: GateState,
}

impl Place {
    /// The place of `me` in `ring`; `None` if the ring does not know it.
    pub fn of(ring: &Ring, me: &NodeName) -> Option<Self> {
        let group = ring
            .groups
            .iter()
            .find(|group| group.member(me).is_some())?;
        let state = group.member(me)?.state;
        let gate = match state {
            MemberState::Joining | MemberState::Active => GateState::Open,
            MemberState::Draining => GateState::Leaving,
            MemberState::Left => GateState::Left,
        };

        let peers = match state {
            MemberState::Left => Vec::new(),
            _ => group
                .peers_of(me)
                .map(|member| member.node.clone())
                .collect(),
        };

        let seals: BTreeMap<_, _> = ring
            .seals
            .iter()
            .map(|seal| (seal.stream(), seal.seq))
            .collect();

        let group = GroupRing {
            epoch: ring.epoch,
            is_forming: group.phase == GroupPhase::Forming,
            quorum: ring.quorum(group),
            peers,
            seals,
        };

        Some(Self { group, gate })
    }
}

impl Process {
    /// Goes by another ring from now on; answers whose connections end with that.
    pub fn follow(&mut self, ring: &Ring) -> Vec<usize> {
        let Some(place) = Place::of(ring, &self.identity.node) else {
            return Vec::new();
        };

        let before: Vec<NodeName> = self
            .hub
            .group()
            .lock()
            .peers()
            .map(|(node, _)| node.clone())
            .collect();

        let gone: Vec<NodeName> = before
            .into_iter()
            .filter(|node| !place.group.peers.contains(node))
            .collect();

        // First no writes of its own under the old ring where this node has to leave, then the new quorum.
        if place.gate != GateState::Open {
            self.gate.set_by_ring(place.gate);
        }

        let quorum = match self.mutation {
            Some(Mutation::KeepOldQuorum) => self.first_quorum.clone(),
            _ => place.group.quorum.clone(),
        };

        self.commits
            .set_quorum(place.group.epoch, quorum, gone.iter());
        self.hub.set_ring(place.group, self.clock.monotonic());
        self.gate.set_by_ring(place.gate);

        (0..self.names.len())
            .filter(|peer| gone.contains(&self.names[*peer]))
            .collect()
    }

    /// Peers that go by a later ring.
    pub fn ahead(&self) -> Vec<usize> {
        let ahead = {
            let group = self.hub.group().lock();
            group.ahead_of(group.epoch())
        };
        (0..self.names.len())
            .filter(|peer| ahead.contains(&self.names[*peer]))
            .collect()
    }

    /// Samples are among these records of a stream; `None` if the log here has not got all of them.
    pub fn has_samples(&self, stream: StreamId, seqs: RangeInclusive<u64>) -> Option<bool> {
        let records = self.log.read(stream, *seqs.start(), usize::MAX).ok()?;
        let asked: Vec<_> = records
            .iter()
            .filter(|record| seqs.contains(&record.seq()))
            .collect();
        let is_whole = asked.len() as u64 == seqs.end() - seqs.start() + 1;

        is_whole.then(|| {
            asked
                .iter()
                .any(|record| record.kind() == RecordKind::Samples)
        })
    }

    /// The ring has this node, as far as it knows.
    pub fn has_place(&self) -> bool {
        !self.gate.has_left()
    }

    /// Members whom a query here asks how far they are, and how many of them it needs beside this node.
    pub fn witnesses(&self) -> (Vec<usize>, usize) {
        let group = self.hub.group().lock();
        let quorum = group.quorum();
        let needed = quorum.needed() + usize::from(!quorum.is_voter(&self.identity.node));

        (
            (0..self.names.len())
                .filter(|peer: &usize| {
                    let name = &self.names[*peer];
                    let view = group
                        .peers()
                        .find(|(node, _)| *node == name)
                        .map(|(_, view)| view);
                    view.is_some_and(|view| view.connected && !view.health.rebuilding)
                        && quorum.is_voter(name)
                })
                .collect(),
            needed - 1,
        )
    }
}
