//! The other replicas of the group, and other groups, as queries need them.

use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, ready};
use trireme_base::{ErrorKind, NodeName, StreamId};

use trireme_query::QueryError;

/// Takes what a replica answered, or why it did not.
pub type Done = Box<dyn FnOnce(Result<Bytes, Refusal>) + Send>;

/// Why a replica gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It has evaluated the query and found that it cannot be evaluated over this data, for this reason. Nobody else who has
    /// the same data can.
    Execution(String),
    /// It has reached a bound of the query while it worked on a part of it, for this reason. Whoever does more reaches it too.
    Bound(String),
    /// It could not be reached, or could not answer; another one may.
    Other(String),
}

impl Refusal {
    /// The word of a replica that failed, to be put on the wire as a kind of error and a text.
    pub fn told(error: &QueryError) -> (ErrorKind, String) {
        let kind = match error.kind() {
            ErrorKind::Invalid if error.is_execution() => ErrorKind::Invalid,
            // The question, not the data: another release may know it.
            ErrorKind::Invalid => ErrorKind::NotFound,
            kind => kind,
        };
        (kind, error.to_string())
    }

    /// Understands what [`Refusal::told`] gave.
    pub fn heard(kind: ErrorKind, text: String) -> Self {
        match kind {
            ErrorKind::Invalid => Self::Execution(text),
            ErrorKind::TooLarge => Self::Bound(text),
            _ => Self::Other(text),
        }
    }

    /// The error that ends the query, or nothing if somebody else had better be asked.
    pub(crate) fn into_final(self) -> Option<QueryError> {
        match self {
            Self::Execution(why) => Some(QueryError::execution(why)),
            Self::Bound(why) => Some(QueryError::bound(why)),
            Self::Other(_) => None,
        }
    }
}

/// A group that this node is not in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherGroup {
    /// Its name.
    pub name: String,
    /// Members that can be asked now, in the order in which they should be.
    pub members: Vec<NodeName>,
    /// It takes series, or did: without it an answer is not whole. False for a group that is only forming.
    pub has_data: bool,
}

/// The group around this node.
pub trait Replicas: Send + Sync {
    /// Epoch of the ring by which members and quorum are counted.
    fn epoch(&self) -> u64 {
        0
    }

    /// Epoch of the latest ring that this node knows, also if it does not count by it yet.
    fn latest_epoch(&self) -> u64 {
        self.epoch()
    }

    /// Has a peer tell its ring, and waits, at most `wait`, until this node counts by that of `epoch` or a later one;
    /// true if it does.
    fn learn_ring(&self, _peer: &NodeName, _epoch: u64, _wait: Duration) -> BoxFuture<'_, bool> {
        Box::pin(ready(false))
    }

    /// Members of the group, this node included.
    fn members(&self) -> usize;

    /// Members that make a quorum.
    fn quorum(&self) -> usize;

    /// True unless this replica is being rebuilt: then it has applied what it has, but lacks what came before.
    fn is_complete(&self) -> bool;

    /// True if the ring does not have this node any more.
    fn has_left(&self) -> bool {
        false
    }

    /// Peers that can be asked now and are not being rebuilt.
    fn connected(&self) -> Vec<NodeName>;

    /// The other groups of the ring, for the series that they hold.
    fn other_groups(&self) -> Vec<OtherGroup> {
        Vec::new()
    }

    /// How far this node has each stream durably.
    fn durable(&self) -> Vec<(StreamId, u64)>;

    /// True if everything up to `positions` is applied here.
    fn has_applied(&self, positions: &[(StreamId, u64)]) -> bool;

    /// Somebody waits for what has come from peers: it is to be applied now.
    fn hurry(&self) {}

    /// Ends when more has been applied since the call, and after a few milliseconds at the latest.
    fn progress(&self) -> BoxFuture<'_, ()> {
        self.pause(Duration::from_millis(1))
    }

    /// Ends after `length`, whoever waits for it.
    fn pause(&self, length: Duration) -> BoxFuture<'static, ()>;

    /// Asks a peer; the answer, or the lack of one, goes to `done`. Does not block. Dropping the returned value tells the
    /// peer to stop.
    fn ask(&self, peer: &NodeName, body: Bytes, timeout: Duration, done: Done) -> Box<dyn Send>;
}
