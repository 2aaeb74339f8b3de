//! Answers the calls of other members.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use prost::Message;
use trireme_base::ErrorKind;
use trireme_base::pool::CpuPool;
use trireme_membership::RingController;
use trireme_model::Tenant;
use trireme_replication::PeerIdentity;
use trireme_storage::Gate;
use trireme_transport::{CallError, CallHandler, Hub};
use trireme_wire::batch::Batch;
use trireme_wire::entry::decode_batch;
use trireme_wire::frame::RequestHead;
use trireme_wire::rpc::Method;
use trireme_write::{OutcomeMessage, WritePath};

use crate::answers::AnswerRoom;
use crate::block_server::BlockServer;
use crate::peer_queries::{PeerQueries, answer};
use crate::rebuild::SnapshotServer;

/// Entries up to this size are decoded on the thread that serves the peers: that takes less than to hand them over.
const DECODED_AT_ONCE_BYTES: usize = 32 << 10;
/// Largest answer to a call for files of a replica: a piece and what is around it.
const PIECE_BYTES_MAX: usize = (8 << 20) + (64 << 10);

/// Dispatches calls by their kind.
pub(crate) struct NodeCalls {
    pub(crate) writes: Arc<WritePath>,
    /// Whether the node takes parts of writes.
    pub(crate) gate: Arc<Gate>,
    /// The own group.
    pub(crate) hub: Arc<Hub>,
    /// Decides about the ring.
    pub(crate) controller: Arc<RingController>,
    /// Set once the node can answer queries.
    pub(crate) queries: Arc<OnceLock<PeerQueries>>,
    /// For answers that may be large.
    pub(crate) rooms: Arc<AnswerRoom>,
    /// Decodes what would hold up the thread that serves the peers.
    pub(crate) pool: Arc<CpuPool>,
    pub(crate) snapshots: SnapshotServer,
    pub(crate) blocks: BlockServer,
}

impl CallHandler for NodeCalls {
    fn call(
        &self,
        peer: &PeerIdentity,
        head: RequestHead,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        match Method::of_number(head.kind) {
            Some(Method::ForwardWrite) => Box::pin(write(
                Arc::clone(&self.writes),
                Arc::clone(&self.pool),
                body,
            )),
            Some(Method::WritePart) => {
                let writes = &self.writes;
                let gate = &self.gate;
                let pool = &self.pool;
                Box::pin(part(
                    Arc::clone(writes),
                    Arc::clone(gate),
                    Arc::clone(pool),
                    body,
                ))
            }
            Some(Method::Query) => {
                let deadline = Duration::from_millis(head.deadline_ms);
                let room = (Arc::clone(&self.rooms), peer.node.clone());
                Box::pin(answer(Arc::clone(&self.queries), room, deadline, body))
            }
            Some(Method::Ring) => Box::pin(ring(Arc::clone(&self.controller), body)),
            // Who is not in the group would copy what it must not have; its ring is old, or it is not in any yet.
            Some(Method::Rebuild | Method::Blocks)
                if !self
                    .hub
                    .group()
                    .lock()
                    .peers()
                    .any(|(node, _)| *node == peer.node) =>
            {
                let message = format!("{} is not in the group of this node", peer.node);
                Box::pin(std::future::ready(Err(CallError::new(
                    ErrorKind::Unavailable,
                    message,
                ))))
            }
            Some(Method::Rebuild) => {
                let deadline = Duration::from_millis(head.deadline_ms);
                let answering = self
                    .snapshots
                    .clone()
                    .answer(peer.incarnation, deadline, body);
                self.in_room(peer, answering)
            }
            Some(Method::Blocks) => self.in_room(peer, self.blocks.clone().answer(body)),
            None => {
                let kind = head.kind;
                let message =
                    format!("call {kind} is unknown to this node; it may be of an older version");
                Box::pin(std::future::ready(Err(CallError::new(
                    ErrorKind::NotFound,
                    message,
                ))))
            }
        }
    }
}

impl NodeCalls {
    /// Answers with a piece of a file once there is room for it.
    fn in_room(
        &self,
        peer: &PeerIdentity,
        answering: impl Future<Output = Result<Bytes, CallError>> + Send + 'static,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let rooms = Arc::clone(&self.rooms);
        let peer = peer.node.clone();
        Box::pin(async move {
            let room = rooms.enter(&peer, PIECE_BYTES_MAX).await;
            answering.await.map(|answer| room.around(answer))
        })
    }
}

/// Decodes an entry: a small one at once, others where nobody else waits for the thread.
async fn decoded(pool: &CpuPool, entry: Bytes) -> Result<(Tenant, Batch), CallError> {
    let is_small = entry.len() <= DECODED_AT_ONCE_BYTES;
    let decode = move || decode_batch(&entry).map_err(|e| CallError::new(e.kind(), e.to_string()));
    if is_small {
        return decode();
    }

    pool.call(decode)
        .await
        .unwrap_or_else(|e| Err(CallError::new(ErrorKind::Unavailable, e.to_string())))
}

async fn ring(controller: Arc<RingController>, body: Bytes) -> Result<Bytes, CallError> {
    let answer = controller
        .consensus()
        .answer(&body, controller.as_ref())
        .await;
    answer.map_err(|why| CallError::new(ErrorKind::Invalid, why))
}

async fn write(
    writes: Arc<WritePath>,
    pool: Arc<CpuPool>,
    body: Bytes,
) -> Result<Bytes, CallError> {
    let (tenant, batch) = decoded(&pool, body).await?;
    let outcome = writes.take(tenant, batch).await;
    Ok(OutcomeMessage::from(outcome).encode_to_vec().into())
}

async fn part(
    writes: Arc<WritePath>,
    gate: Arc<Gate>,
    pool: Arc<CpuPool>,
    mut body: Bytes,
) -> Result<Bytes, CallError> {
    // An error rather than an outcome: the sender then asks another member at once.
    let state = gate.state();
    if !state.takes_writes() {
        return Err(CallError::new(ErrorKind::Unavailable, state.reason()));
    }

    let passes = *body
        .first()
        .ok_or_else(|| CallError::new(ErrorKind::Invalid, "a part of a write without content"))?;
    let (tenant, batch) = decoded(&pool, body.split_off(1)).await?;
    let outcome = writes.take_part(tenant, batch, passes).await;

    Ok(OutcomeMessage::from(outcome).encode_to_vec().into())
}
