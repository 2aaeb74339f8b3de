//! Which peer serves which stream.

use std::collections::BTreeSet;
use std::time::Duration;

use trireme_base::{NodeName, StreamId};

use super::{GroupView, PeerView};
use crate::PeerIdentity;

/// The peer a stream is taken from, and how far that has come.
#[derive(Debug, Clone)]
pub(super) struct Server {
    node: NodeName,
    /// This node's position when it last moved.
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
        for stream in self.wanted_streams() {
            let position = self.mine.get(stream);
            self.note_progress(stream, position, now);
            match self.choose(stream, position) {
                Some(node) => {
                    let fresh = Server { node: node.clone(), position, moved_at: now };
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
        let Some(peer) = self.peers.get(node).filter(|p| p.connected) else { return Vec::new() };
        let running = peer.identity.as_ref().map(PeerIdentity::stream);
        let mine = |stream: &&StreamId| self.servers.get(stream).is_some_and(|s| &s.node == node);
        let own = running.filter(|stream| mine(&stream));
        let others = self.servers.keys().filter(mine).filter(|s| Some(**s) != running);
        // Those that lag come first; within the bound a stream that is complete must not keep one out that is not.
        let (behind, level): (Vec<_>, Vec<_>) =
            others.partition(|s| self.mine.get(**s) < peer.positions.get(**s));
        let rest = behind.into_iter().chain(level).copied().take(self.limits.streams_per_peer_max);
        own.into_iter().chain(rest).collect()
    }

    /// Every stream of which a connected peer has, or will have, something, except the one this node is writing.
    fn wanted_streams(&self) -> BTreeSet<StreamId> {
        let connected = || self.peers.values().filter(|p| p.connected);
        let mut streams: BTreeSet<StreamId> =
            connected().flat_map(|p| p.positions.iter().map(|(stream, _)| stream)).collect();
        streams.extend(connected().filter_map(|p| p.identity.as_ref()).map(PeerIdentity::stream));
        streams.extend(self.servers.keys());
        streams.remove(&self.me.stream());
        streams
    }

    /// What a node that is no peer any more was to serve has to come from somebody else.
    pub(super) fn forget_servers_that_left(&mut self) {
        let peers = &self.peers;
        self.servers.retain(|_, server| peers.contains_key(&server.node));
    }

    /// Gives a server up that lets this node lag without sending anything.
    fn note_progress(&mut self, stream: StreamId, position: u64, now: Duration) {
        let behind = self.peers.values().filter(|p| p.connected).any(|p| p.positions.get(stream) > position);
        let Some(server) = self.servers.get_mut(&stream) else { return };
        if !behind || position > server.position {
            server.position = position;
            server.moved_at = now;
        } else if now.saturating_sub(server.moved_at) >= self.limits.stall_after {
            let node = server.node.clone();
            self.unserved(&node, stream, now);
        }
    }

    fn choose(&self, stream: StreamId, position: u64) -> Option<NodeName> {
        let able = |peer: &PeerView| peer.connected && !peer.unserved.contains_key(&stream);
        let candidates = || self.peers.iter().filter(|(_, peer)| able(peer));
        let is_origin = |peer: &PeerView| peer.identity.as_ref().is_some_and(|id| id.stream() == stream);
        if let Some((origin, _)) = candidates().find(|(_, peer)| is_origin(peer)) {
            return Some(origin.clone());
        }
        // Who serves it already goes on: as long as it has more, or while more of the stream may come to it.
        let may_grow = self.latest_boot(stream.incarnation).is_none_or(|boot| boot <= stream.boot);
        let current = self.servers.get(&stream).and_then(|s| candidates().find(|(node, _)| **node == s.node));
        if let Some((node, _)) = current.filter(|(_, p)| may_grow || p.positions.get(stream) > position) {
            return Some(node.clone());
        }
        let ahead = candidates().filter(|(_, p)| p.positions.get(stream) > position);
        // Furthest first; equal ones by name, so that the choice does not flutter.
        ahead
            .max_by(|a, b| (a.1.positions.get(stream), b.0).cmp(&(b.1.positions.get(stream), a.0)))
            .map(|(n, _)| n.clone())
    }
}
