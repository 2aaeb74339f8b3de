//! What a driver needs of the node's log and head.

use std::sync::Arc;

use futures::future::BoxFuture;
use trireme_base::{Incarnation, NodeName, StreamId};
use trireme_replication::{DisconnectReason, Ends, PeerIdentity, PositionVector, ReadFault};
use trireme_wire::frame::Health;
use trireme_wire::record::Record;

/// Why records were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendRefused {
    /// Not all of the records were taken: the queue or the disk is full, the log has failed, or something before them is
    /// missing. The driver lets go of the peer's streams, and takes them again from where the log stands once it is open.
    #[error("the log takes no records now")]
    Busy,
    /// These records must not come from this peer.
    #[error("{0}")]
    Failed(String),
}

/// Whether the log takes records of peers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Intake {
    /// It has room to spare now.
    pub is_open: bool,
    /// How often it has let go of records that it had taken, as when the disk got full.
    pub refusals: u64,
}

/// The node's log and head, as replication sees them. No method may block, except inside the future of `read`.
///
/// News come by the other way: the log tells [`crate::Hub`] what it has written, made durable and applied.
pub trait ReplicaStore: Send + Sync + 'static {
    /// Highest seq of each stream in the log, fsynced or not. Records that are still queued may be missing.
    fn written(&self) -> PositionVector;

    /// Highest seq of each stream fsynced in the log.
    fn durable(&self) -> PositionVector;

    /// Highest seq of each stream that was taken, written or still queued.
    fn taken(&self) -> PositionVector;

    /// Whether records are taken now.
    fn intake(&self) -> Intake;

    /// Appends records of one stream, a run without gaps. Those at or below the stream's tail must be skipped.
    fn append(&self, records: Vec<Record>) -> Result<(), AppendRefused>;

    /// Reads a run of records from `from_seq` on, stopping at the record that reaches `max_bytes`; none when they are not
    /// there yet.
    fn read(
        &self,
        stream: StreamId,
        from_seq: u64,
        max_bytes: u64,
    ) -> BoxFuture<'static, Result<Vec<Record>, ReadFault>>;

    /// A peer has connected: for `CommitTracker::trust`.
    fn peer_up(&self, peer: &PeerIdentity);

    /// A peer has these positions durably, told under the ring of `epoch`: for `CommitTracker::peer_durable`. An error
    /// if it has more of the running stream than this process ever wrote: then somebody else writes, or wrote, that stream.
    fn peer_durable(
        &self,
        peer: &NodeName,
        incarnation: Incarnation,
        positions: &PositionVector,
        epoch: u64,
    ) -> Result<(), DisconnectReason>;

    /// What the next heartbeat says about this node.
    fn health(&self) -> Health;

    /// Which streams have ended, as the next heartbeats say. The same pointer as long as nothing has changed.
    fn ends(&self) -> Arc<Ends> {
        Arc::default()
    }
}
