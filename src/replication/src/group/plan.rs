//! Which peer serves which stream.

use std::collections::BTreeSet;
use std::time::Duration;

use trireme_base::{NodeName, StreamId};

use super::{GroupView, PeerView, Taken};
use crate::PeerIdentity;

/// What was received may take so many times longer to be stored than a server may take to send.
const UNSTORED_PATIENCE: u32 = 3;

/// The peer a stream is taken from, and how far that has come.
#[derive(Debug, Clone)]
pub(super) struct Server {
    node: NodeName,
    /// Last seq received from it when that last moved.
    received: u64,
    /// This node's position then.
    position: u64,
    moved_at: Duration,
}

impl GroupView {
    /// Decides anew who serves what; to be called after news about peers and on every tick.
    pub fn plan(&mut self, now: Duration) {
        if self.is_foreign {
            return;
        }

        for peer in self.peers.values_mut() {
            peer.unserved.retain(|_, until| *until > now);
        }

        self.let_go_of_level_streams();
        for stream in self.wanted_streams() {
            let position = self.mine.get(stream);
            self.note_progress(stream, position, now);

            match self.choose(stream, position) {
                Some(node) => {
                    let fresh = Server {
                        node: node.clone(),
                        received: position,
                        position,
                        moved_at: now,
                    };
                    let server = self.servers.entry(stream).or_insert_with(|| fresh.clone());
                    if server.node != node {
                        *server = fresh;
                    }
                }
                None => {
                    self.servers.remove(&stream);
                }
            }
        }
    }

    /// Streams to take from a peer: first the one it is writing, then others up to the bound.
    pub fn assigned(&self, node: &NodeName) -> Vec<StreamId> {
        let Some(peer) = self.peers.get(node).filter(|p| p.connected) else {
            return Vec::new();
        };

        let running = peer.identity.as_ref().map(PeerIdentity::stream);
        let own = running.filter(|stream| self.is_served_by(node, *stream));
        let others = self
            .servers
            .keys()
            .filter(|stream| self.is_served_by(node, **stream))
            .filter(|s| Some(**s) != running);

        // Those that lag come first; within the bound a stream that is complete must not keep one out that is not.
        let (behind, level): (Vec<_>, Vec<_>) =
            others.partition(|s| self.mine.get(**s) < peer.positions.get(**s));
        let rest = behind
            .into_iter()
            .chain(level)
            .copied()
            .take(self.limits.streams_per_peer_max);

        own.into_iter().chain(rest).collect()
    }

    fn is_served_by(&self, node: &NodeName, stream: StreamId) -> bool {
        self.servers.get(&stream).is_some_and(|s| &s.node == node)
    }

    /// Every stream of which a connected peer has more, or will have, except the one this node is writing.
    fn wanted_streams(&self) -> BTreeSet<StreamId> {
        let connected = self.peers.values().filter(|p| p.connected);
        let mut streams = self.ahead.clone();
        streams.extend(
            connected
                .filter_map(|p| p.identity.as_ref())
                .map(PeerIdentity::stream),
        );

        streams.extend(self.servers.keys());
        streams.remove(&self.me.stream());
        streams
    }

    /// Streams of which nobody who is connected has more are not looked at any more.
    fn let_go_of_level_streams(&mut self) {
        let peers = &self.peers;
        let mine = &self.mine;
        self.ahead.retain(|stream| {
            let have = mine.get(*stream);
            peers
                .values()
                .any(|peer| peer.connected && peer.positions.get(*stream) > have)
        });
    }

    /// What a node that is no peer any more was to serve has to come from somebody else.
    pub(super) fn forget_servers_that_left(&mut self) {
        let peers = &self.peers;
        self.servers
            .retain(|_, server| peers.contains_key(&server.node));
    }

    /// Gives a server up that owes this node records and sends none, and asks anew for what was received and never stored: a
    /// log that was full may have let go of it.
    ///
    /// What counts first is what comes in, not what is stored: while the own disk stands still, the log is parked or the
    /// start replays, nobody has room to send, and the server is not to blame.
    fn note_progress(&mut self, stream: StreamId, position: u64, now: Duration) {
        let Some(server) = self.servers.get(&stream) else {
            return;
        };

        let taken = self
            .peers
            .get(&server.node)
            .and_then(|peer| peer.taking.get(&stream));
        let received = taken.map_or(server.received, |taken| taken.seq);
        let has_moved = received != server.received || position != server.position;

        let patience = self.patience(stream, taken, position);

        let standing = now.saturating_sub(server.moved_at);
        if has_moved || patience.is_none() {
            if let Some(server) = self.servers.get_mut(&stream) {
                (server.received, server.position) = (received, position);
                server.moved_at = now;
            }
        } else if patience.is_some_and(|patience| standing >= patience) {
            let node = server.node.clone();
            self.unserved(&node, stream, now);
        }
    }

    /// How long a server may stand still: while it owes records, or while what was received is not stored.
    fn patience(&self, stream: StreamId, taken: Option<&Taken>, position: u64) -> Option<Duration> {
        let taken = taken?;
        let is_owed = taken.has_room
            && self
                .peers
                .values()
                .any(|peer| peer.connected && peer.positions.get(stream) > taken.seq);

        let is_unstored = taken.seq > position;
        match (is_owed, is_unstored) {
            (true, _) => Some(self.limits.stall_after),
            (false, true) => Some(self.limits.stall_after * UNSTORED_PATIENCE),
            (false, false) => None,
        }
    }

    fn choose(&self, stream: StreamId, position: u64) -> Option<NodeName> {
        let origin = self.candidates(stream).find(|(_, peer)| {
            let identity = peer.identity.as_ref();
            identity.is_some_and(|id| id.stream() == stream)
        });
        if let Some((origin, _)) = origin {
            return Some(origin.clone());
        }

        // Who serves it already goes on: as long as it has more, or while more of the stream may come to it.
        let may_grow = self
            .latest_boot(stream.incarnation)
            .is_none_or(|boot| boot <= stream.boot);
        let current = self
            .servers
            .get(&stream)
            .and_then(|s| self.candidates(stream).find(|(node, _)| **node == s.node));
        if let Some((node, _)) =
            current.filter(|(_, p)| may_grow || p.positions.get(stream) > position)
        {
            return Some(node.clone());
        }

        let ahead = self
            .candidates(stream)
            .filter(|(_, p)| p.positions.get(stream) > position);
        // Furthest first; equal ones by name, so that the choice does not flutter.
        ahead
            .max_by(|a, b| (a.1.positions.get(stream), b.0).cmp(&(b.1.positions.get(stream), a.0)))
            .map(|(n, _)| n.clone())
    }

    /// Peers that may serve a stream.
    fn candidates(&self, stream: StreamId) -> impl Iterator<Item = (&NodeName, &PeerView)> {
        self.peers
            .iter()
            .filter(move |(_, peer)| peer.connected && !peer.unserved.contains_key(&stream))
    }
}
