//! Which entries of this node's own stream a quorum has, and who waits for that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use trireme_base::{ErrorKind, Incarnation, NodeName, StreamId};
use trireme_ring::Quorum;

/// The bound on waiting writes is reached; the token comes back.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("{max} writes are already waiting for a quorum")]
pub struct TooManyWaiters<T> {
    /// The bound.
    pub max: usize,
    /// What was to wait.
    pub token: T,
}

impl<T> TooManyWaiters<T> {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }
}

/// Turns durable positions into commitments.
///
/// A peer's position counts only for the incarnation that the handshake with it showed: after its disk was wiped, what
/// its predecessor acknowledged is gone. The committed seq itself never goes back.
#[derive(Debug)]
pub struct CommitTracker<T> {
    own: StreamId,
    me: NodeName,
    /// The quorum of entries from a seq (inclusive) on, up to the next one; one a ring that is still needed.
    eras: Vec<(u64, Quorum)>,
    own_durable: u64,
    peers: BTreeMap<NodeName, (Incarnation, u64)>,
    committed: u64,
    /// By seq, then by order of arrival.
    waiters: BTreeMap<(u64, u64), (Duration, T)>,
    /// The same waiters by deadline.
    deadlines: BTreeSet<(Duration, u64, u64)>,
    next_ticket: u64,
    waiters_max: usize,
}

impl<T> CommitTracker<T> {
    /// A tracker for the stream `own` that node `me` writes; at most `waiters_max` tokens wait at a time.
    pub fn new(own: StreamId, me: NodeName, quorum: Quorum, waiters_max: usize) -> Self {
        Self {
            own,
            me,
            eras: vec![(0, quorum)],
            own_durable: 0,
            peers: BTreeMap::new(),
            committed: 0,
            waiters: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            next_ticket: 0,
            waiters_max,
        }
    }

    /// The stream it is about.
    pub fn stream(&self) -> StreamId {
        self.own
    }

    /// The own log is fsynced up to `seq`.
    pub fn own_durable(&mut self, seq: u64) {
        self.own_durable = self.own_durable.max(seq);
    }

    /// The handshake with a peer showed this incarnation: only acknowledgements of it count from now on.
    pub fn trust(&mut self, peer: &NodeName, incarnation: Incarnation) {
        let entry = self.peers.entry(peer.clone()).or_insert((incarnation, 0));
        if entry.0 != incarnation {
            *entry = (incarnation, 0);
        }
    }

    /// A peer has the own stream durably up to `seq`. False if it was ignored because of its incarnation.
    pub fn peer_durable(&mut self, peer: &NodeName, incarnation: Incarnation, seq: u64) -> bool {
        match self.peers.get_mut(peer) {
            Some((trusted, position)) if *trusted == incarnation => {
                *position = (*position).max(seq);
                true
            }
            _ => false,
        }
    }

    /// The ring has changed: entries written from now on need this quorum, those before still the one of their epoch.
    pub fn set_quorum(&mut self, quorum: Quorum) {
        let waiting = self.waiters.last_key_value().map_or(0, |((seq, _), _)| *seq);
        let first = waiting.max(self.own_durable).max(self.committed) + 1;
        self.eras.retain(|(from, _)| *from < first);
        self.eras.push((first, quorum));
    }

    /// Acknowledgements of a peer that has left count no more.
    pub fn forget(&mut self, peer: &NodeName) {
        self.peers.remove(peer);
    }

    /// The highest seq that the quorum of its own epoch has.
    fn committed_now(&self) -> u64 {
        let own = std::iter::once((self.me.clone(), self.own_durable));
        let peers = self.peers.iter().filter(|(node, _)| **node != self.me);
        let positions: Vec<_> = own.chain(peers.map(|(n, (_, p))| (n.clone(), *p))).collect();
        let mut highest = 0;
        for (i, (from, quorum)) in self.eras.iter().enumerate() {
            // A position covers everything before it, so a later quorum that has an entry has the earlier ones too.
            let last = self.eras.get(i + 1).map_or(u64::MAX, |(next, _)| next - 1);
            let committed = quorum.committed(positions.iter().cloned()).min(last);
            if committed >= *from {
                highest = committed;
            }
        }
        highest
    }

    /// Recomputes the committed seq and takes out the tokens it releases, in order of seq.
    pub fn advance(&mut self) -> Vec<T> {
        self.committed = self.committed.max(self.committed_now());
        // Eras that end at or before the committed seq are over.
        while self.eras.get(1).is_some_and(|(next, _)| *next <= self.committed + 1) {
            self.eras.remove(0);
        }
        let waiting = self.waiters.split_off(&(self.committed.saturating_add(1), 0));
        let released = std::mem::replace(&mut self.waiters, waiting);
        let release = |((seq, ticket), (deadline, token))| {
            self.deadlines.remove(&(deadline, seq, ticket));
            token
        };
        released.into_iter().map(release).collect()
    }

    /// Highest seq that a quorum is known to have; as of the last [`CommitTracker::advance`].
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// Lets `token` wait until `seq` is committed or `deadline` passes. `Some(token)` if it is committed already.
    pub fn wait(&mut self, seq: u64, deadline: Duration, token: T) -> Result<Option<T>, TooManyWaiters<T>> {
        if seq <= self.committed {
            return Ok(Some(token));
        }
        if self.waiters.len() >= self.waiters_max {
            return Err(TooManyWaiters { max: self.waiters_max, token });
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiters.insert((seq, ticket), (deadline, token));
        self.deadlines.insert((deadline, seq, ticket));
        Ok(None)
    }

    /// Takes out the tokens whose deadline is at or before `now`, earliest first. Their entries may still be replicated
    /// later; a sender's retry is then a duplicate.
    pub fn expire(&mut self, now: Duration) -> Vec<T> {
        let mut expired = Vec::new();
        while let Some(&(deadline, seq, ticket)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            self.deadlines.pop_first();
            expired.extend(self.waiters.remove(&(seq, ticket)).map(|(_, token)| token));
        }
        expired
    }

    /// The earliest deadline.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, ..)| *deadline)
    }

    /// Tokens that wait.
    pub fn waiting(&self) -> usize {
        self.waiters.len()
    }
}

#[cfg(test)]
mod tests;
