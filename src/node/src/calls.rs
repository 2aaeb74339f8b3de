//! Answers the calls of other members.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use prost::Message;
use trireme_actors::{CALL_WRITE, OutcomeMessage, WritePath};
use trireme_base::ErrorKind;
use trireme_query::CALL_KIND as CALL_QUERY;
use trireme_replication::PeerIdentity;
use trireme_transport::{CallError, CallHandler};
use trireme_wire::entry::decode_batch;
use trireme_wire::frame::RequestHead;
use trireme_wire::rebuild::CALL_REBUILD;

use crate::rebuild::SnapshotServer;
use crate::ring::keeper::CALL_RING;
use crate::ring::steward::Steward;
use crate::spread::{PeerQueries, answer};

/// Dispatches calls by their kind.
pub(crate) struct NodeCalls {
    pub(crate) writes: Arc<WritePath>,
    /// Decides about the ring.
    pub(crate) steward: Arc<Steward>,
    /// Set once the node can answer queries.
    pub(crate) queries: Arc<OnceLock<PeerQueries>>,
    pub(crate) snapshots: SnapshotServer,
}

impl CallHandler for NodeCalls {
    fn call(
        &self,
        peer: &PeerIdentity,
        head: RequestHead,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        match head.kind {
            CALL_WRITE => Box::pin(write(Arc::clone(&self.writes), body)),
            CALL_QUERY => {
                let deadline = Duration::from_millis(head.deadline_ms);
                Box::pin(answer(Arc::clone(&self.queries), deadline, body))
            }
            CALL_RING => Box::pin(ring(Arc::clone(&self.steward), body)),
            CALL_REBUILD => {
                let deadline = Duration::from_millis(head.deadline_ms);
                Box::pin(self.snapshots.clone().answer(peer.incarnation, deadline, body))
            }
            kind => {
                let message = format!("call {kind} is unknown to this node; it may be of an older version");
                Box::pin(std::future::ready(Err(CallError::new(ErrorKind::NotFound, message))))
            }
        }
    }
}

async fn ring(steward: Arc<Steward>, body: Bytes) -> Result<Bytes, CallError> {
    let answer = steward.consensus.answer(&body, steward.as_ref()).await;
    answer.map_err(|why| CallError::new(ErrorKind::Invalid, why))
}

async fn write(writes: Arc<WritePath>, body: Bytes) -> Result<Bytes, CallError> {
    let (tenant, batch) = decode_batch(&body).map_err(|e| CallError::new(e.kind(), e.to_string()))?;
    let outcome = writes.write_here(tenant, batch).await;
    Ok(OutcomeMessage::from(outcome).encode_to_vec().into())
}
