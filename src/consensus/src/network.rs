//! Raft's messages, over the calls between members.

#![allow(clippy::result_large_err)] // the errors of the consensus library, whose traits these are

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use openraft::BasicNode;
use openraft::error::{
    InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable,
};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};
use trireme_base::NodeName;
use trireme_ring::Ring;

use crate::types::RingRaft;

/// Reaches the other members.
#[async_trait]
pub trait Voice: Send + Sync + 'static {
    /// Sends `body` to a member, where [`crate::Consensus::answer`] takes it, and waits for the answer.
    async fn call(&self, to: &NodeName, body: Bytes, timeout: Duration) -> Result<Bytes, String>;

    /// Whether there is a connection to that member now.
    fn reaches(&self, member: &NodeName) -> bool;
}

/// What members say to each other about the ring.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    Append(AppendEntriesRequest<RingRaft>),
    Vote(VoteRequest<u64>),
    Snapshot(InstallSnapshotRequest<RingRaft>),
    /// Who are you, as far as the ring goes?
    Status,
    /// What is the ring?
    Ring,
    /// This is the ring.
    Told(Ring),
    /// An operator's request that came in elsewhere; JSON of the node's own.
    Ask(serde_json::Value),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Append(Result<AppendEntriesResponse<u64>, RaftError<u64>>),
    Vote(Result<VoteResponse<u64>, RaftError<u64>>),
    Snapshot(Result<InstallSnapshotResponse<u64>, RaftError<u64, InstallSnapshotError>>),
    Status(Status),
    Ring(Ring),
    Told {
        epoch: u64,
    },
    Asked(serde_json::Value),
    /// It will not answer this, at least not now.
    No(String),
}

/// What a member says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// It has heard of a leader: the ring has been founded.
    pub founded: bool,
    /// The leader it knows.
    pub leader: Option<String>,
    /// Epoch of its ring.
    pub epoch: u64,
}

pub(crate) async fn exchange(
    voice: &dyn Voice,
    to: &NodeName,
    request: &Request,
    timeout: Duration,
) -> Result<Reply, String> {
    let body = serde_json::to_vec(request).map_err(|e| e.to_string())?;

    let answer = voice.call(to, body.into(), timeout).await?;
    match serde_json::from_slice(&answer)
        .map_err(|e| format!("answer of {to} cannot be read: {e}"))?
    {
        Reply::No(why) => Err(why),
        reply => Ok(reply),
    }
}

/// Makes a network for each member.
pub(crate) struct Network(pub(crate) Arc<dyn Voice>);

/// The way to one member.
pub(crate) struct Way {
    voice: Arc<dyn Voice>,
    id: u64,
    to: NodeName,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotReached(String);

impl RaftNetworkFactory<RingRaft> for Network {
    type Network = Way;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Way {
        Way {
            voice: Arc::clone(&self.0),
            id: target,
            to: NodeName::new(&node.addr),
        }
    }
}

type Failed<E = openraft::error::Infallible> = RPCError<u64, BasicNode, RaftError<u64, E>>;

impl Way {
    async fn send<E: std::error::Error>(
        &self,
        request: Request,
        option: &RPCOption,
    ) -> Result<Reply, Failed<E>> {
        let sent = exchange(self.voice.as_ref(), &self.to, &request, option.hard_ttl()).await;
        sent.map_err(|why| RPCError::Unreachable(Unreachable::new(&NotReached(why))))
    }

    fn unwrap<T, E: std::error::Error>(
        &self,
        reply: Result<T, RaftError<u64, E>>,
    ) -> Result<T, Failed<E>> {
        reply.map_err(|e| RPCError::RemoteError(RemoteError::new(self.id, e)))
    }

    fn odd<E: std::error::Error>(&self) -> Failed<E> {
        RPCError::Network(NetworkError::new(&NotReached(format!(
            "{} answered something else",
            self.to
        ))))
    }
}

impl RaftNetwork<RingRaft> for Way {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<RingRaft>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Failed> {
        match self.send(Request::Append(rpc), &option).await? {
            Reply::Append(reply) => self.unwrap(reply),
            _ => Err(self.odd()),
        }
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<RingRaft>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Failed<InstallSnapshotError>> {
        match self.send(Request::Snapshot(rpc), &option).await? {
            Reply::Snapshot(reply) => self.unwrap(reply),
            _ => Err(self.odd()),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, Failed> {
        match self.send(Request::Vote(rpc), &option).await? {
            Reply::Vote(reply) => self.unwrap(reply),
            _ => Err(self.odd()),
        }
    }
}
