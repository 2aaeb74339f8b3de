//! Writes that wait until a quorum has them.
//!
//! A write appends drafts to the log under a tag; when the log has written the last of them, the tag's seq is known and
//! the write waits in the [`CommitTracker`]; when a quorum has that seq durably, the write is answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use trireme_base::{Clock, Incarnation, NodeName};
use trireme_log::CompletionTag;
use trireme_replication::CommitTracker;

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// A quorum has it durably.
    Yes,
    /// Not in time; it may still be replicated later.
    NoQuorum,
    /// The log refused it, or the node cannot wait for more writes.
    Refused(String),
}

/// Resolves when the write is decided.
pub type CommitReceiver = oneshot::Receiver<Committed>;

struct Waiter {
    deadline: Duration,
    reply: oneshot::Sender<Committed>,
}

/// All waiting writes of a node.
pub struct Commits {
    clock: Arc<dyn Clock>,
    next_tag: AtomicU64,
    /// Appended, not yet written: their seq is not known.
    appended: Mutex<HashMap<CompletionTag, Waiter>>,
    /// The highest seq of the own stream that was written.
    given_out: AtomicU64,
    tracker: Mutex<CommitTracker<oneshot::Sender<Committed>>>,
}

impl Commits {
    /// No writes yet.
    pub fn new(clock: Arc<dyn Clock>, tracker: CommitTracker<oneshot::Sender<Committed>>) -> Self {
        Self {
            clock,
            next_tag: AtomicU64::new(1),
            appended: Mutex::default(),
            given_out: AtomicU64::new(0),
            tracker: Mutex::new(tracker),
        }
    }

    /// A tag for one append, and what resolves when that append is decided, at most `timeout` from now.
    pub fn begin(&self, timeout: Duration) -> (CompletionTag, CommitReceiver) {
        let tag = CompletionTag(self.next_tag.fetch_add(1, Ordering::Relaxed));
        let (reply, receiver) = oneshot::channel();
        let deadline = self.clock.monotonic() + timeout;
        self.appended.lock().insert(tag, Waiter { deadline, reply });
        (tag, receiver)
    }

    /// The append did not reach the log.
    pub fn refuse(&self, tag: CompletionTag, reason: &str) {
        if let Some(waiter) = self.appended.lock().remove(&tag) {
            let _ = waiter.reply.send(Committed::Refused(reason.to_owned()));
        }
    }

    /// The last record of the append has `seq`.
    pub fn written(&self, tag: CompletionTag, seq: u64) {
        let Some(Waiter { deadline, reply }) = self.appended.lock().remove(&tag) else {
            return;
        };
        match self.tracker.lock().wait(seq, deadline, reply) {
            Ok(None) => {}
            Ok(Some(reply)) => drop(reply.send(Committed::Yes)),
            Err(full) => {
                let reason = full.to_string();
                let _ = full.token.send(Committed::Refused(reason));
            }
        }
    }

    /// The own stream is durable here up to `seq`.
    pub fn own_durable(&self, seq: u64) {
        self.release(|tracker| tracker.own_durable(seq));
    }

    /// The own stream is written up to `seq`: peers may have it from now on.
    pub fn given_out(&self, seq: u64) {
        self.given_out.fetch_max(seq, Ordering::Release);
    }

    /// The highest seq of the own stream that was ever written by this process.
    pub fn highest_given_out(&self) -> u64 {
        self.given_out.load(Ordering::Acquire)
    }

    /// The ring has changed: what is not committed yet needs this quorum. Acknowledgements of those in `gone` count no
    /// more.
    pub fn set_quorum<'a>(
        &self,
        epoch: u64,
        quorum: trireme_ring::Quorum,
        gone: impl IntoIterator<Item = &'a NodeName>,
    ) {
        self.release(|tracker| {
            gone.into_iter().for_each(|peer| tracker.forget(peer));
            tracker.set_quorum(epoch, quorum);
        });
    }

    /// While this node knows that it goes by an old ring, it acknowledges nothing.
    pub fn suspend(&self, suspended: bool) {
        self.release(|tracker| tracker.suspend(suspended));
    }

    /// The handshake with a peer showed its incarnation.
    pub fn trust(&self, peer: &NodeName, incarnation: Incarnation) {
        self.tracker.lock().trust(peer, incarnation);
    }

    /// A peer has the own stream durably up to `seq`, told under the ring of `epoch`.
    pub fn peer_durable(&self, peer: &NodeName, incarnation: Incarnation, seq: u64, epoch: u64) {
        self.release(|tracker| {
            tracker.given_out(self.highest_given_out());
            tracker.peer_durable(peer, incarnation, seq, epoch);
        });
    }

    fn release(&self, change: impl FnOnce(&mut CommitTracker<oneshot::Sender<Committed>>)) {
        let released = {
            let mut tracker = self.tracker.lock();
            change(&mut tracker);
            tracker.advance()
        };
        for reply in released {
            let _ = reply.send(Committed::Yes);
        }
    }

    /// Answers writes whose time is over; called a few times a second.
    pub fn expire(&self) {
        let expired = self.tracker.lock().expire(self.clock.monotonic());
        for reply in expired {
            let _ = reply.send(Committed::NoQuorum);
        }
    }

    /// Answers every write that the log will not write any more.
    pub fn refuse_all(&self, reason: &str) {
        for (_, waiter) in self.appended.lock().drain() {
            let _ = waiter.reply.send(Committed::Refused(reason.to_owned()));
        }
    }

    /// Highest seq of the own stream that a quorum has.
    pub fn committed(&self) -> u64 {
        self.tracker.lock().committed()
    }

    /// Writes that wait for their log write or their quorum.
    pub fn waiting(&self) -> usize {
        let appended = self.appended.lock().len();
        appended + self.tracker.lock().waiting()
    }
}

#[cfg(test)]
mod tests {
    use trireme_base::{Boot, ManualClock, StreamId};
    use trireme_ring::Quorum;

    use super::*;

    fn commits() -> (Arc<ManualClock>, Commits) {
        let clock = Arc::new(ManualClock::at(0));
        let names = ["n0", "n1", "n2"].map(NodeName::new);
        let own = StreamId {
            incarnation: Incarnation(1),
            boot: Boot(1),
        };
        let tracker = CommitTracker::new(own, names[0].clone(), Quorum::new(names.clone(), 3), 2);

        (Arc::clone(&clock), Commits::new(clock, tracker))
    }

    #[tokio::test]
    async fn a_write_is_answered_when_a_second_copy_is_durable() {
        let (_, commits) = commits();
        let (tag, mut answer) = commits.begin(Duration::from_secs(1));
        commits.written(tag, 1);
        commits.own_durable(1);

        assert!(answer.try_recv().is_err(), "one copy is no quorum");
        let peer = NodeName::new("n1");
        commits.trust(&peer, Incarnation(2));
        commits.peer_durable(&peer, Incarnation(2), 1, 1);
        assert_eq!(answer.await, Ok(Committed::Yes));
    }

    #[tokio::test]
    async fn a_write_without_quorum_is_told_in_time_and_waiters_are_bounded() {
        let (clock, commits) = commits();
        let (tag, answer) = commits.begin(Duration::from_millis(100));
        commits.written(tag, 1);

        let (second, _keep) = commits.begin(Duration::from_millis(500));
        commits.written(second, 2);
        let (third, refused) = commits.begin(Duration::from_millis(500));

        commits.written(third, 3);
        assert!(matches!(refused.await, Ok(Committed::Refused(_))));
        clock.advance_ms(100);
        commits.expire();
        assert_eq!(answer.await, Ok(Committed::NoQuorum));
        assert_eq!(commits.waiting(), 1);
    }
}
