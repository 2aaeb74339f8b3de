//! What this node knows about its group: who is connected, what they have, and who serves which stream.
//!
//! One view per node, shared by the links to all peers. The origin serves its running stream; any other stream of which
//! somebody has more than this node is taken from the peer that is furthest.

mod clock;
mod ends;
mod plan;
mod ring;
mod sources;
mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use trireme_base::{Boot, Ended, ErrorKind, Incarnation, NodeName, StreamId};
use trireme_ring::Quorum;
use trireme_wire::frame::Health;

use crate::{ALL, CutInput, PeerIdentity, PositionVector, StreamCut, Taken};
pub use clock::{ClockWord, Timekeeper};
pub use ends::Ends;
use plan::Server;
pub use ring::GroupRing;

/// Times and bounds of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLimits {
    /// A stream that is behind and does not move for this long is taken from somebody else.
    pub stall_after: Duration,
    /// A peer that did not serve a stream is asked for it again after this time.
    pub ask_again_after: Duration,
    /// Positions of a peer that has been connected for so long are not older than the connection, even if its disk is slow.
    pub settled_after: Duration,
    /// A clock that is further from those of the majority is wrong.
    pub clock_offset_max: Duration,
    /// Streams taken from one peer at a time. The stream it is writing itself comes on top.
    pub streams_per_peer_max: usize,
}

impl Default for GroupLimits {
    fn default() -> Self {
        Self {
            stall_after: Duration::from_secs(10),
            ask_again_after: Duration::from_secs(30),
            settled_after: Duration::from_secs(5),
            clock_offset_max: Duration::from_secs(300),
            streams_per_peer_max: 8,
        }
    }
}

/// Why a peer is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// The group has no such node.
    #[error("{0} is not a member of this group")]
    Stranger(NodeName),
    /// Another connected node, or this one, has the same incarnation.
    #[error(
        "incarnation {incarnation} of {node} is already running as {other}: one data directory is a copy of the other"
    )]
    DuplicateIncarnation {
        /// Who wants in.
        node: NodeName,
        /// Who has it.
        other: NodeName,
        /// The incarnation.
        incarnation: Incarnation,
    },
    /// A node of this name is connected, with another data directory.
    #[error(
        "another {node} is running, with data directory {running}; this one has {incarnation}: stop one of the two, or give one \
         another node.name"
    )]
    DuplicateName {
        /// The name of both.
        node: NodeName,
        /// Incarnation of the one that is connected.
        running: Incarnation,
        /// Incarnation of the one that wants in.
        incarnation: Incarnation,
    },
    /// A newer start of the same data directory is known.
    #[error("{node} is at boot {} of {incarnation}, but boot {} is known", boot.0, known.0)]
    StaleBoot {
        /// Who wants in.
        node: NodeName,
        /// Its incarnation.
        incarnation: Incarnation,
        /// Its boot.
        boot: Boot,
        /// The newest known boot.
        known: Boot,
    },
}

impl AdmitError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// What is known about one peer.
#[derive(Debug, Clone, Default)]
pub struct PeerView {
    /// Who answered last.
    pub identity: Option<PeerIdentity>,
    /// Connected now.
    pub connected: bool,
    /// Counts the times it connected, from 1.
    pub session: u64,
    /// When that changed last.
    pub changed_at: Duration,
    /// Its positions as far as it told them; of its present incarnation only.
    pub positions: PositionVector,
    /// What it says about itself.
    pub health: Health,
    /// It has said so since it connected.
    pub is_heard: bool,
    /// Its wall clock minus this node's, in milliseconds, as of its last heartbeat; includes the way of the heartbeat.
    pub clock_offset_ms: i64,
    /// Its wall clock as of then, and when that was.
    wall_ms: i64,
    wall_heard_at: Duration,
    /// Epoch of the ring by which it goes, as of its last heartbeat; 0 before the first.
    pub epoch: u64,
    /// Streams it did not serve, and when to ask again.
    unserved: BTreeMap<StreamId, Duration>,
    /// First seq it still has of streams whose beginning it has said to be trimmed, since it connected.
    trimmed: BTreeMap<StreamId, u64>,
    /// What is taken from it now.
    taking: BTreeMap<StreamId, Taken>,
    /// Streams that it has settled, as it has said since it connected.
    settled: Ended,
}

/// The shared view of the group.
#[derive(Debug, Clone)]
pub struct GroupView {
    me: PeerIdentity,
    epoch: u64,
    is_forming: bool,
    quorum: Quorum,
    seals: BTreeMap<StreamId, u64>,
    limits: GroupLimits,
    started_at: Duration,
    mine: PositionVector,
    peers: BTreeMap<NodeName, PeerView>,
    servers: BTreeMap<StreamId, Server>,
    /// Streams of which a connected peer has told more than this node had then. Kept apart because there is a stream for
    /// every start of every node, and nearly all of them are level.
    ahead: BTreeSet<StreamId>,
    /// Its peers are of other groups: no stream is taken from them.
    is_foreign: bool,
}

impl GroupView {
    /// A view of those that are in other groups than `me`: who is connected, and what they say of themselves.
    pub fn of_neighbours(
        me: PeerIdentity,
        peers: impl IntoIterator<Item = NodeName>,
        now: Duration,
    ) -> Self {
        let quorum = Quorum::new([me.node.clone()], 1);
        Self {
            is_foreign: true,
            ..Self::new(me, quorum, peers, GroupLimits::default(), now)
        }
    }

    /// A view of `me` in a group with these peers, of whom nobody is connected yet.
    pub fn new(
        me: PeerIdentity,
        quorum: Quorum,
        peers: impl IntoIterator<Item = NodeName>,
        limits: GroupLimits,
        now: Duration,
    ) -> Self {
        let unseen = PeerView {
            changed_at: now,
            ..PeerView::default()
        };
        let peers = peers
            .into_iter()
            .filter(|node| *node != me.node)
            .map(|node| (node, unseen.clone()))
            .collect();

        Self {
            me,
            epoch: 1,
            is_forming: false,
            quorum,
            seals: BTreeMap::new(),
            limits,
            started_at: now,
            mine: PositionVector::new(),
            peers,
            servers: BTreeMap::new(),
            ahead: BTreeSet::new(),
            is_foreign: false,
        }
    }

    /// This node.
    pub fn me(&self) -> &PeerIdentity {
        &self.me
    }

    /// The group's quorum.
    pub fn quorum(&self) -> &Quorum {
        &self.quorum
    }

    /// Checks whether a peer may be let in, without letting it in.
    pub fn check(&self, peer: &PeerIdentity) -> Result<(), AdmitError> {
        let Some(view) = self.peers.get(&peer.node) else {
            return Err(AdmitError::Stranger(peer.node.clone()));
        };

        // Each would take the other's place, and be counted for what only the other has.
        let running = view
            .identity
            .as_ref()
            .filter(|_| view.connected)
            .map(|known| known.incarnation);

        if let Some(running) = running.filter(|running| *running != peer.incarnation) {
            let node = peer.node.clone();
            let incarnation = peer.incarnation;
            return Err(AdmitError::DuplicateName {
                node,
                running,
                incarnation,
            });
        }

        self.check_incarnation(peer)?;
        match self.latest_boot(peer.incarnation) {
            Some(known) if known > peer.boot => Err(AdmitError::StaleBoot {
                node: peer.node.clone(),
                incarnation: peer.incarnation,
                boot: peer.boot,
                known,
            }),
            _ => Ok(()),
        }
    }

    /// Checks that nobody who is connected, nor this node, has the incarnation of a peer, known here or not.
    pub fn check_incarnation(&self, peer: &PeerIdentity) -> Result<(), AdmitError> {
        let running = self
            .peers
            .values()
            .filter(|p| p.connected)
            .filter_map(|p| p.identity.as_ref());

        if let Some(other) = running.chain([&self.me]).find(|other: &&PeerIdentity| {
            other.incarnation == peer.incarnation && other.node != peer.node
        }) {
            let other = other.node.clone();
            let incarnation = peer.incarnation;
            return Err(AdmitError::DuplicateIncarnation {
                node: peer.node.clone(),
                other,
                incarnation,
            });
        }

        Ok(())
    }

    /// A peer is connected; gives the number of the session. Its positions are forgotten until it tells them, because a
    /// wiped disk has none and a damaged one may have fewer than before.
    pub fn admit(&mut self, peer: &PeerIdentity, now: Duration) -> Result<u64, AdmitError> {
        self.check(peer)?;
        let untold = self.untold();
        let view = self.peers.get_mut(&peer.node).expect("BUG: checked above");

        view.positions = untold;
        view.settled = Ended::default();
        view.unserved.clear();
        view.trimmed.clear();
        view.taking.clear();
        view.health = Health::default();
        view.is_heard = false;

        // The ring of before may be lost with the disk.
        view.epoch = 0;
        view.identity = Some(peer.clone());
        view.connected = true;
        view.session += 1;
        view.changed_at = now;

        Ok(view.session)
    }

    /// A session with a peer is over. Nothing happens if a later one has begun.
    pub fn disconnected(&mut self, node: &NodeName, session: u64, now: Duration) {
        if let Some(view) = self
            .peers
            .get_mut(node)
            .filter(|v| v.connected && v.session == session)
        {
            view.connected = false;
            view.changed_at = now;
            view.taking.clear();
        }
    }

    /// A peer told durable positions; they count only for the incarnation that is connected.
    pub fn observed(
        &mut self,
        node: &NodeName,
        incarnation: Incarnation,
        positions: &PositionVector,
    ) {
        let Some(view) = self.peers.get_mut(node) else {
            return;
        };
        if view
            .identity
            .as_ref()
            .is_some_and(|id| id.incarnation == incarnation)
        {
            view.positions.merge(positions);
            if self.is_foreign {
                return;
            }
            let ahead = positions
                .iter()
                .filter(|(stream, seq)| *seq > self.mine.get(*stream));
            self.ahead.extend(ahead.map(|(stream, _)| stream));
        }
    }

    /// A peer told its health and wall clock, while this node's showed `our_wall_ms`.
    pub fn heard(
        &mut self,
        node: &NodeName,
        health: Health,
        their_wall_ms: i64,
        our_wall_ms: i64,
        now: Duration,
    ) {
        if let Some(view) = self.peers.get_mut(node) {
            view.health = health;
            view.is_heard = true;
            view.clock_offset_ms = their_wall_ms.saturating_sub(our_wall_ms);
            view.wall_ms = their_wall_ms;
            view.wall_heard_at = now;
        }
    }

    /// This node has a stream durably up to `seq`.
    pub fn own_durable(&mut self, stream: StreamId, seq: u64) {
        self.mine.advance(stream, seq);
    }

    /// A peer does not serve a stream; somebody else is asked, and the peer again later.
    pub fn unserved(&mut self, node: &NodeName, stream: StreamId, now: Duration) {
        let until = now + self.limits.ask_again_after;
        if let Some(view) = self.peers.get_mut(node) {
            view.unserved.insert(stream, until);
        }
        self.servers.remove(&stream);
    }

    /// This node's durable positions.
    pub fn mine(&self) -> &PositionVector {
        &self.mine
    }

    /// All peers by name.
    pub fn peers(&self) -> impl Iterator<Item = (&NodeName, &PeerView)> {
        self.peers.iter()
    }

    /// True if this node and the connected peers make a quorum.
    pub fn quorum_connected(&self) -> bool {
        let peers = self
            .peers
            .iter()
            .filter(|(_, p)| p.connected)
            .map(|(node, _)| node);
        self.quorum.is_met_by(peers.chain([&self.me.node]))
    }

    /// True if this node and the connected peers that have everything make a quorum.
    fn quorum_complete(&self) -> bool {
        let peers = self
            .peers
            .iter()
            .filter(|(_, p)| p.connected && !p.health.rebuilding);
        self.quorum
            .is_met_by(peers.map(|(node, _)| node).chain([&self.me.node]))
    }

    /// Highest boot of an incarnation that anybody has seen.
    pub fn latest_boot(&self, incarnation: Incarnation) -> Option<Boot> {
        let identities = self
            .peers
            .values()
            .filter_map(|p| p.identity.as_ref())
            .chain([&self.me]);

        let running = identities
            .filter(|id| id.incarnation == incarnation)
            .map(|id| id.boot);
        let vectors = self
            .peers
            .values()
            .map(|p| &p.positions)
            .chain([&self.mine]);

        running
            .chain(vectors.filter_map(|v| v.latest_boot(incarnation)))
            .max()
    }

    /// How far every member of the group, this node included, has a stream durably as far as this node knows. A peer that
    /// has not told its positions since it connected counts as having nothing, so it is safe to trim a log up to here.
    pub fn everybody_has(&self, stream: StreamId) -> u64 {
        let peers = self.peers.values().map(|p| p.positions.get(stream));
        peers.chain([self.mine.get(stream)]).min().unwrap_or(0)
    }

    /// How far a quorum has a stream durably, as far as its members have told. One that is away counts with what it told
    /// last.
    pub fn quorum_has(&self, stream: StreamId) -> u64 {
        let peers = self
            .peers
            .iter()
            .map(|(node, peer)| (node.clone(), peer.positions.get(stream)));
        self.quorum
            .committed(peers.chain([(self.me.node.clone(), self.mine.get(stream))]))
    }

    /// Since when nobody of this incarnation is connected; `None` while it is (or is this node).
    fn unreachable_for(&self, incarnation: Incarnation, now: Duration) -> Option<Duration> {
        if incarnation == self.me.incarnation {
            return None;
        }
        match self.peers.values().find(|p: &&PeerView| {
            p.identity
                .as_ref()
                .is_some_and(|id| id.incarnation == incarnation)
        }) {
            Some(peer) if peer.connected => None,
            Some(peer) => Some(now.saturating_sub(peer.changed_at)),
            // Not seen since this node started: it may be a disk that is gone, or a node that has not connected yet.
            None => Some(now.saturating_sub(self.started_at)),
        }
    }

    /// True while a member that may come back is away, or one has come so lately that its positions may be old news.
    fn is_unsettled(&self, now: Duration, seal_after: Duration) -> bool {
        !self.peers.values().all(|peer| {
            let since = now.saturating_sub(peer.changed_at);
            if peer.connected {
                peer.is_heard && since >= self.limits.settled_after
            } else {
                since > seal_after
            }
        })
    }

    /// Everything [`crate::cut_blockers`] asks about the group. `marker` gives the lowest last window marker over all
    /// shards of a stream, `applied` how far a stream is applied in all shards.
    pub fn cut_input(
        &self,
        now: Duration,
        seal_after: Duration,
        marker: impl Fn(StreamId) -> Option<i64>,
        applied: impl Fn(StreamId) -> u64,
    ) -> CutInput {
        let connected = self.connected_with_missed();
        let cuts = self.uncut_streams().into_iter().map(|stream| StreamCut {
            stream,
            marker: if self.is_unheard(stream) {
                None
            } else {
                marker(stream)
            },
            applied: applied(stream),
            position: self.mine.get(stream),
            peer_positions: connected
                .iter()
                .map(|(peer, has_missed)| self.position_at(peer, *has_missed, stream))
                .collect(),
            sealed_at: self.seals.get(&stream).copied(),
            later_boot: self
                .latest_boot(stream.incarnation)
                .is_some_and(|boot| boot > stream.boot),
            unreachable_for: self.unreachable_for(stream.incarnation, now),
        });

        CutInput {
            quorum_connected: self.quorum_complete(),
            is_unsettled: self.is_unsettled(now, seal_after) || self.has_missed_ends(),
            seal_after,
            streams: cuts.collect(),
        }
    }

    /// Peers that are connected, and whether this node has missed something of them. One that is being rebuilt will take the
    /// end of a stream from those that are not.
    fn connected_with_missed(&self) -> Vec<(&PeerView, bool)> {
        self.peers
            .values()
            .filter(|p| p.connected && !p.health.rebuilding)
            .map(|peer| (peer, self.has_missed(peer)))
            .collect()
    }

    /// The streams that anybody has, save for those that have ended: they are applied everywhere, and a peer may not have let
    /// go of them yet.
    fn uncut_streams(&self) -> Vec<StreamId> {
        // The streams of those who are away too: they may have entries that nobody else has seen.
        let running = self
            .peers
            .values()
            .filter_map(|p| p.identity.as_ref())
            .chain([&self.me]);

        let mut streams: Vec<StreamId> = running.map(PeerIdentity::stream).collect();
        for vector in self
            .peers
            .values()
            .map(|p| &p.positions)
            .chain([&self.mine])
        {
            streams.extend(vector.iter().map(|(stream, _)| stream));
        }

        streams.retain(|stream| !self.mine.ended().has(*stream));
        streams.sort_unstable();
        streams.dedup();
        streams
    }

    /// What an origin has of its earlier starts is not known before its first heartbeat.
    fn is_unheard(&self, stream: StreamId) -> bool {
        self.peers
            .values()
            .filter(|p: &&PeerView| p.identity.as_ref().is_some_and(|id| id.stream() == stream))
            .any(|p| p.connected && !p.is_heard)
    }

    /// How far a peer has a stream. Of one that has ended for it, it has what this node has; or more, if this node has missed
    /// something.
    fn position_at(&self, peer: &PeerView, has_missed: bool, stream: StreamId) -> u64 {
        match peer.positions.get(stream) {
            ALL if !has_missed => self.mine.get(stream),
            seq => seq,
        }
    }
}

#[cfg(test)]
mod tests;
