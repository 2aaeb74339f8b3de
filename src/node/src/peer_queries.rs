//! Queries over the group and over other groups: how this node reaches the other members, and how it answers them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;
use trireme_wire::rpc::Method;

use anyhow::Context;
use bytes::Bytes;
use futures::future::BoxFuture;
use prometheus::IntCounter;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use trireme_base::pool::CpuPool;
use trireme_base::{Clock, ErrorKind, NodeName, StreamId};
use trireme_consensus::{Consensus, RingBook};
use trireme_distributed::{
    ANSWER_BYTES_MAX, Accepted, ClusterQueries, DistributeMode, Done, GroupQueries, OtherGroup,
    Refusal, Replicas,
};
use trireme_promql::Cancel;
use trireme_query::{QuerierOptions, Queries, QueryError};
use trireme_ring::GroupPhase;
use trireme_settings::DistributeSetting;
use trireme_storage::{Gate, Store};
use trireme_transport::{CallBook, CallError, Hub, ReplicaStore};
use trireme_write::Neighbours;

use crate::after_replay::AfterReplay;
use crate::answers::AnswerRoom;
use crate::cluster::Cluster;
use crate::context::NodeContext;
use crate::storage::Storage;

/// Queries of peers that may wait for a thread; who asks evaluates them itself when there is no room.
const JOBS_MAX: usize = 64;
/// How often a query that waits for a ring, or for records to be applied, looks whether they have come unheard.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The group as this node's queries see it.
struct GroupReplicas {
    me: NodeName,
    book: Arc<RingBook>,
    hub: Arc<Hub>,
    neighbours: Arc<Neighbours>,
    gate: Arc<Gate>,
    store: Arc<Store>,
    calls: Arc<CallBook>,
    consensus: Arc<Consensus>,
    io: Handle,
}

/// Stops a call when it is dropped.
struct Asked(JoinHandle<()>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Replicas for GroupReplicas {
    fn epoch(&self) -> u64 {
        self.hub.epoch()
    }

    fn latest_epoch(&self) -> u64 {
        self.book.current().epoch.max(self.hub.epoch())
    }

    fn learn_ring(&self, peer: &NodeName, epoch: u64, wait: Duration) -> BoxFuture<'_, bool> {
        let consensus = Arc::clone(&self.consensus);
        let peer = peer.clone();
        let fetching = Asked(self.io.spawn(async move {
            // What went wrong is told where rings are listened for; here it shows by the epoch.
            let _ = consensus.fetch(&peer).await;
        }));

        Box::pin(async move {
            let mut left = wait;
            while self.hub.epoch() < epoch && !left.is_zero() {
                let pause = LOOK_EVERY.min(left);
                self.pause(pause).await;
                left -= pause;
            }
            drop(fetching);
            self.hub.epoch() >= epoch
        })
    }

    fn members(&self) -> usize {
        // In a group that is forming nobody has acknowledged anything, so nobody has to be asked.
        let ring = self.book.current();

        if ring
            .group_of(&self.me)
            .is_some_and(|group| group.phase == GroupPhase::Forming)
        {
            return 1;
        }

        let group = self.hub.group().lock();
        let quorum = group.quorum();
        quorum.voters().count() + usize::from(!quorum.is_voter(&self.me))
    }

    /// A replica that does not count, because it is joining or leaving, has to hear of as many others as make a quorum.
    fn quorum(&self) -> usize {
        let group = self.hub.group().lock();
        let quorum = group.quorum();
        quorum.needed() + usize::from(!quorum.is_voter(&self.me))
    }

    fn is_complete(&self) -> bool {
        let parts = self.store.parts();
        // Positions do not show what is missing of streams that have ended.
        parts.completeness.has_everything()
            && !parts.hub.group().lock().has_missed_ends()
            && !parts.shards.iter().any(|shard| shard.is_damaged())
    }

    fn has_left(&self) -> bool {
        self.gate.has_left()
    }

    fn connected(&self) -> Vec<NodeName> {
        let group = self.hub.group().lock();
        let quorum = group.quorum();
        let able = group.peers().filter(|(name, peer)| {
            peer.connected && !peer.health.rebuilding && quorum.is_voter(name)
        });
        able.map(|(name, _)| name.clone()).collect()
    }

    fn other_groups(&self) -> Vec<OtherGroup> {
        let groups = self.neighbours.groups();
        groups
            .iter()
            .map(|group: &trireme_write::NeighbourGroup| OtherGroup {
                name: group.name.clone(),
                members: self.neighbours.witnesses(&group.name),
                has_data: group.phase != GroupPhase::Forming,
            })
            .collect()
    }

    fn durable(&self) -> Vec<(StreamId, u64)> {
        ReplicaStore::durable(self.store.as_ref()).iter().collect()
    }

    fn has_applied(&self, positions: &[(StreamId, u64)]) -> bool {
        positions
            .iter()
            .all(|(stream, seq)| self.store.applied_position(*stream) >= *seq)
    }

    fn hurry(&self) {
        self.store.hurry();
    }

    fn progress(&self) -> BoxFuture<'_, ()> {
        let moved = self.store.moved();
        let pause = self.pause(LOOK_EVERY);
        Box::pin(async move {
            futures::future::select(Box::pin(moved), pause).await;
        })
    }

    fn pause(&self, length: Duration) -> BoxFuture<'static, ()> {
        // The timer belongs to the runtime, whoever waits for it.
        let _runtime = self.io.enter();
        Box::pin(tokio::time::sleep(length))
    }

    fn ask(&self, peer: &NodeName, body: Bytes, timeout: Duration, done: Done) -> Box<dyn Send> {
        let calls = self.calls.get(peer);
        let task = self.io.spawn(async move {
            let body = match calls {
                Some(calls) => {
                    let answer = calls.call(Method::Query, body, timeout).await;
                    answer.map_err(|e| Refusal::heard(e.kind(), e.to_string()))
                }
                None => Err(Refusal::Other("no such member".to_owned())),
            };
            done(body);
        });

        Box::new(Asked(task))
    }
}

/// Answers the queries of peers, on threads that never wait for other replicas.
pub(crate) struct PeerQueries {
    group: Arc<GroupQueries>,
    pool: CpuPool,
    clock: Arc<dyn Clock>,
    served: IntCounter,
}

/// Tells a query that its caller has gone.
struct Gone(Cancel);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Answers a call of [`Method::Query`]. Dropping the future cancels the query.
pub(crate) async fn answer(
    queries: Arc<OnceLock<PeerQueries>>,
    (rooms, peer): (Arc<AnswerRoom>, NodeName),
    deadline: Duration,
    body: Bytes,
) -> Result<Bytes, CallError> {
    let queries = queries
        .get()
        .ok_or_else(|| CallError::new(ErrorKind::Unavailable, "this node is still starting"))?;
    let failed = |e: QueryError| {
        let (kind, text) = Refusal::told(&e);
        CallError::new(kind, text)
    };

    match queries.group.accept(body).map_err(failed)? {
        Accepted::Answer(answer) => Ok(answer),
        Accepted::Job(job) => {
            let room = rooms.enter(&peer, ANSWER_BYTES_MAX).await;
            let cancel = Cancel::new(Arc::clone(&queries.clock)).with_timeout(deadline);
            let _gone = Gone(cancel.clone());
            let answer = queries.pool.call(move || job.run(cancel)).await;
            let answer = answer
                .map_err(|e| CallError::new(ErrorKind::Unavailable, e.to_string()))?
                .map_err(failed)?;
            queries.served.inc();
            Ok(room.around(answer))
        }
    }
}

/// Puts the group and the other groups around the node's own querier, and lets peers ask.
pub(crate) fn over_group(
    context: &NodeContext,
    cluster: &Cluster,
    storage: &Storage,
    consensus: &Arc<Consensus>,
    local: AfterReplay,
    options: QuerierOptions,
) -> anyhow::Result<Arc<dyn Queries>> {
    let replicas = GroupReplicas {
        me: context.name.clone(),
        book: Arc::clone(&context.book),
        hub: Arc::clone(&cluster.hub),
        neighbours: Arc::clone(&cluster.neighbours),
        gate: Arc::clone(&context.gate),
        store: Arc::clone(&storage.store),
        calls: Arc::clone(&cluster.calls),
        consensus: Arc::clone(consensus),
        io: context.io.handle().clone(),
    };

    let mode = match context.settings.query.distribute {
        DistributeSetting::Auto => DistributeMode::Auto,
        DistributeSetting::Off => DistributeMode::Off,
        DistributeSetting::Always => DistributeMode::Always,
    };

    let clock = Arc::clone(&context.clock);
    let group = Arc::new(GroupQueries::new(
        Arc::new(local),
        options,
        Arc::new(replicas),
        Arc::clone(&clock),
        mode,
    ));

    let pool = CpuPool::with_stack(
        "spread",
        context.cores,
        JOBS_MAX,
        trireme_promql::STACK_BYTES,
    )
    .context("cannot start threads for queries of peers")?;

    let served = context.metrics.counter(
        "trireme_query_peer_shards_total",
        "Shards of queries, and whole queries, answered for other replicas.",
    )?;
    let queries = PeerQueries {
        group: Arc::clone(&group),
        pool,
        clock,
        served,
    };

    // Only the node's start calls this, once.
    let _ = cluster.queries.set(queries);
    Ok(Arc::new(ClusterQueries::new(group)))
}
