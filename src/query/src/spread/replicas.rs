//! The other replicas of the group, as queries need them.

use std::sync::mpsc::Sender;
use std::time::Duration;

use bytes::Bytes;
use trireme_base::{NodeName, StreamId};

/// What a replica answered.
#[derive(Debug)]
pub struct Answer {
    /// The number given with the question.
    pub from: usize,
    /// The answer, or why there is none.
    pub body: Result<Bytes, String>,
}

/// The group around this node.
pub trait Replicas: Send + Sync {
    /// Members of the group, this node included.
    fn members(&self) -> usize;

    /// Members that make a quorum.
    fn quorum(&self) -> usize;

    /// True unless this replica is being rebuilt: then it has applied what it has, but lacks what came before.
    fn is_complete(&self) -> bool;

    /// Peers that can be asked now and are not being rebuilt.
    fn connected(&self) -> Vec<NodeName>;

    /// How far this node has each stream durably.
    fn durable(&self) -> Vec<(StreamId, u64)>;

    /// Waits, at most `wait`, until everything up to `positions` is applied here; true if it is. Blocks.
    fn applied_within(&self, positions: &[(StreamId, u64)], wait: Duration) -> bool;

    /// Asks a peer; the answer, or the lack of one, goes to `done` with the number `from`. Does not block. Dropping the
    /// returned value tells the peer to stop.
    fn ask(
        &self,
        peer: &NodeName,
        from: usize,
        body: Bytes,
        timeout: Duration,
        done: Sender<Answer>,
    ) -> Box<dyn Send>;
}
