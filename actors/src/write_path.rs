//! A client's write from the decoded batch to its outcome.
//!
//! Series go to their shards by index, one message a shard. A series whose sender does not sort its labels may land on a
//! shard that is not its own; that shard names the right one, and a second round takes it there. Then the write waits until
//! a quorum has every record it led to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use trireme_base::Clock;
use trireme_mailbox::{Call, Port, PortError};
use trireme_model::{RetryLater, Tenant, WriteOutcome};
use trireme_wire::batch::Batch;

use crate::commits::{CommitReceiver, Committed};
use crate::forward::Forwarder;
use crate::gate::Gate;

/// A shard's share of a request.
pub struct IngestBatch {
    /// Whose data.
    pub tenant: Tenant,
    /// The whole request.
    pub batch: Arc<Batch>,
    /// Series of `batch` for this shard.
    pub indexes: Vec<u32>,
    /// True for one shard of the request only: it keeps the request's metadata.
    pub with_metadata: bool,
}

impl Call for IngestBatch {
    type Reply = ShardAnswer;
}

/// What a shard did.
pub struct ShardAnswer {
    /// Counts and refusals.
    pub outcome: WriteOutcome,
    /// Series that belong to another shard.
    pub redirects: Vec<(u32, u16)>,
    /// Resolves when a quorum has what was stored; `None` if nothing was.
    pub committed: Option<CommitReceiver>,
}

/// Routes writes to the shards of this node.
pub struct WritePath {
    /// A port a shard.
    pub shards: Vec<Port<IngestBatch>>,
    /// Whether the node takes writes.
    pub gate: Arc<Gate>,
    /// How long a write may take in all.
    pub ack_timeout: Duration,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where writes go that this node cannot take.
    pub forwarder: Forwarder,
}

/// Metrics are not sharded; this shard keeps what is known about them.
const METADATA_SHARD: u16 = 0;
/// When a sender should try again after a full queue or a missing quorum.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// When a sender should try again at a node that is starting, stopping or broken.
const RETRY_ELSEWHERE_AFTER: Duration = Duration::from_secs(5);

fn later(message: impl Into<String>, after: Duration) -> Option<RetryLater> {
    Some(RetryLater { message: message.into(), after })
}

impl WritePath {
    /// Stores a batch here, or has another member store it; resolves when every part of it is durable on a quorum,
    /// refused, or out of time.
    pub async fn write(&self, tenant: Tenant, batch: Batch) -> WriteOutcome {
        if self.gate.state().is_forwarded()
            && let Some(outcome) = self.forwarder.write(&tenant, &batch).await
        {
            return outcome;
        }
        self.write_here(tenant, batch).await
    }

    /// Stores a batch here or not at all.
    pub async fn write_here(&self, tenant: Tenant, batch: Batch) -> WriteOutcome {
        let mut outcome = WriteOutcome::default();
        let state = self.gate.state();
        if !state.takes_writes() {
            outcome.unavailable =
                later(format!("this node takes no writes: {}", state.reason()), RETRY_ELSEWHERE_AFTER);
            return outcome;
        }
        let give_up_at = self.clock.monotonic() + self.ack_timeout;
        let batch = Arc::new(batch);
        let mut waiting = Vec::with_capacity(self.shards.len());
        let redirects =
            self.round(&tenant, &batch, self.by_key(&batch), true, &mut outcome, &mut waiting).await;
        if !redirects.is_empty() {
            let again = self.round(&tenant, &batch, redirects, false, &mut outcome, &mut waiting).await;
            debug_assert!(again.is_empty(), "BUG: a canonical key has one shard");
        }
        for committed in waiting {
            let left = give_up_at.saturating_sub(self.clock.monotonic());
            let decided = tokio::time::timeout(left, committed).await;
            let problem = match decided {
                Ok(Ok(Committed::Yes)) => continue,
                Ok(Ok(Committed::Refused(reason))) => reason,
                Ok(Ok(Committed::NoQuorum)) | Err(_) => {
                    format!(
                        "no quorum of replicas confirmed the write within {} s",
                        self.ack_timeout.as_secs()
                    )
                }
                Ok(Err(_)) => "the write was interrupted by a restart of its shard".to_owned(),
            };
            outcome
                .merge(WriteOutcome { unavailable: later(problem, RETRY_AFTER), ..WriteOutcome::default() });
        }
        outcome
    }

    /// Series by the shard of their key.
    fn by_key(&self, batch: &Batch) -> BTreeMap<u16, Vec<u32>> {
        let shards = self.shards.len() as u16;
        let mut indexes: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
        let expected = batch.series.len() / usize::from(shards) * 5 / 4 + 8;
        for (i, series) in batch.series.iter().enumerate() {
            let of_shard = indexes.entry(series.key.shard(shards));
            of_shard.or_insert_with(|| Vec::with_capacity(expected)).push(i as u32);
        }
        if !batch.metadata.is_empty() {
            indexes.entry(METADATA_SHARD).or_default();
        }
        indexes
    }

    async fn round(
        &self,
        tenant: &Tenant,
        batch: &Arc<Batch>,
        indexes: BTreeMap<u16, Vec<u32>>,
        first_round: bool,
        outcome: &mut WriteOutcome,
        waiting: &mut Vec<CommitReceiver>,
    ) -> BTreeMap<u16, Vec<u32>> {
        let sent: Vec<(u16, Result<oneshot::Receiver<ShardAnswer>, PortError>)> = indexes
            .into_iter()
            .map(|(shard, indexes)| {
                let message = IngestBatch {
                    tenant: tenant.clone(),
                    batch: Arc::clone(batch),
                    indexes,
                    with_metadata: first_round && shard == METADATA_SHARD,
                };
                (shard, self.shards[usize::from(shard)].send(message))
            })
            .collect();
        let mut redirects: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
        for (shard, sent) in sent {
            let problem = match sent {
                // A shard always answers or dies; its policy's deadline is far beyond a batch's work.
                Ok(answer) => match answer.await {
                    Ok(answer) => {
                        outcome.merge(answer.outcome);
                        waiting.extend(answer.committed);
                        for (index, to) in answer.redirects {
                            redirects.entry(to).or_default().push(index);
                        }
                        continue;
                    }
                    Err(_) => format!("shard {shard} was restarted before it answered"),
                },
                Err(error) => error.to_string(),
            };
            outcome
                .merge(WriteOutcome { unavailable: later(problem, RETRY_AFTER), ..WriteOutcome::default() });
        }
        redirects
    }
}
