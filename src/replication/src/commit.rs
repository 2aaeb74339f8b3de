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
/// its predecessor acknowledged is gone. It counts only up to what this process has given out: of more, the peer must have
/// it from somebody else who writes this stream. And it counts only once this node goes by the ring by which the peer went
/// when it said so: whoever goes by a later ring may have told others already that it has everything.
///
/// The committed seq itself never goes back.
#[derive(Debug)]
pub struct CommitTracker<T> {
    own: StreamId,
    me: NodeName,
    epoch: u64,
    quorum: Quorum,
    /// The highest seq that was written.
    given_out: u64,
    own_durable: u64,
    peers: BTreeMap<NodeName, Word>,
    committed: u64,
    /// Nothing is committed at the moment.
    is_suspended: bool,
    /// By seq, then by order of arrival.
    waiters: BTreeMap<(u64, u64), (Duration, T)>,
    /// The same waiters by deadline.
    deadlines: BTreeSet<(Duration, u64, u64)>,
    next_ticket: u64,
    waiters_max: usize,
}

/// What a peer has said.
#[derive(Debug, Clone, Copy)]
struct Word {
    incarnation: Incarnation,
    position: u64,
    /// A position that was told under a ring that this node does not go by yet, and the epoch of that ring.
    later: Option<(u64, u64)>,
}

impl Word {
    fn of(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            position: 0,
            later: None,
        }
    }

    /// The node goes by this ring now.
    fn adopt(&mut self, epoch: u64) {
        if let Some((_, position)) = self.later.take_if(|(told_under, _)| *told_under <= epoch) {
            self.position = self.position.max(position);
        }
    }
}

impl<T> CommitTracker<T> {
    /// A tracker for the stream `own` that node `me` writes under the first ring; at most `waiters_max` tokens wait at a
    /// time.
    pub fn new(own: StreamId, me: NodeName, quorum: Quorum, waiters_max: usize) -> Self {
        Self {
            own,
            me,
            epoch: 1,
            quorum,
            given_out: 0,
            own_durable: 0,
            peers: BTreeMap::new(),
            committed: 0,
            is_suspended: false,
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

    /// Entries up to `seq` are written here, so that peers may have them.
    pub fn given_out(&mut self, seq: u64) {
        self.given_out = self.given_out.max(seq);
    }

    /// The own log is fsynced up to `seq`.
    pub fn own_durable(&mut self, seq: u64) {
        self.given_out(seq);
        self.own_durable = self.own_durable.max(seq);
    }

    /// The handshake with a peer showed this incarnation: only acknowledgements of it count from now on.
    pub fn trust(&mut self, peer: &NodeName, incarnation: Incarnation) {
        let word = self
            .peers
            .entry(peer.clone())
            .or_insert(Word::of(incarnation));
        if word.incarnation != incarnation {
            *word = Word::of(incarnation);
        }
    }

    /// A peer has the own stream durably up to `seq`, and said so under the ring of `epoch`; 0 for a peer that does not
    /// say by which. False if it was ignored: because of its incarnation, or because so much was never written here.
    pub fn peer_durable(
        &mut self,
        peer: &NodeName,
        incarnation: Incarnation,
        seq: u64,
        epoch: u64,
    ) -> bool {
        let Some(word) = self.peers.get_mut(peer) else {
            return false;
        };
        if word.incarnation != incarnation || seq > self.given_out {
            return false;
        }

        if epoch > self.epoch {
            let (known_epoch, known) = word.later.unwrap_or_default();
            word.later = Some((epoch.max(known_epoch), seq.max(known)));
        } else {
            word.position = word.position.max(seq);
        }

        true
    }

    /// The ring has changed. What is not committed yet needs this quorum, whenever it was written: the old one may be
    /// of members whom others do not count any more.
    pub fn set_quorum(&mut self, epoch: u64, quorum: Quorum) {
        self.epoch = epoch;
        self.quorum = quorum;
        self.peers.values_mut().for_each(|word| word.adopt(epoch));
    }

    /// While this node knows that it goes by an old ring, it commits nothing.
    pub fn suspend(&mut self, suspended: bool) {
        self.is_suspended = suspended;
    }

    /// Acknowledgements of a peer that has left count no more.
    pub fn forget(&mut self, peer: &NodeName) {
        self.peers.remove(peer);
    }

    /// The highest seq that the quorum has.
    fn committed_now(&self) -> u64 {
        let own = std::iter::once((self.me.clone(), self.own_durable));
        let peers = self.peers.iter().filter(|(node, _)| **node != self.me);
        self.quorum
            .committed(own.chain(peers.map(|(node, word)| (node.clone(), word.position))))
    }

    /// Recomputes the committed seq and takes out the tokens it releases, in order of seq.
    pub fn advance(&mut self) -> Vec<T> {
        if !self.is_suspended {
            self.committed = self.committed.max(self.committed_now());
        }

        let waiting = self
            .waiters
            .split_off(&(self.committed.saturating_add(1), 0));
        let released = std::mem::replace(&mut self.waiters, waiting);

        released
            .into_iter()
            .map(|((seq, ticket), (deadline, token))| {
                self.deadlines.remove(&(deadline, seq, ticket));
                token
            })
            .collect()
    }

    /// Highest seq that a quorum is known to have; as of the last [`CommitTracker::advance`].
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// Lets `token` wait until `seq` is committed or `deadline` passes. `Some(token)` if it is committed already.
    pub fn wait(
        &mut self,
        seq: u64,
        deadline: Duration,
        token: T,
    ) -> Result<Option<T>, TooManyWaiters<T>> {
        self.given_out(seq);
        if seq <= self.committed {
            return Ok(Some(token));
        }

        if self.waiters.len() >= self.waiters_max {
            return Err(TooManyWaiters {
                max: self.waiters_max,
                token,
            });
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
