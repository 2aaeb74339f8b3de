//! A client's write from the decoded batch to its outcome.
//!
//! Where the ring has several groups, each takes its part: the own one here, the others by a call to one of their members.
//! Every part has a quorum of its own; the outcome is that of all.
//!
//! Series go to their shards by index, one message a shard. A series whose sender does not sort its labels may land on a
//! shard that is not its own; that shard names the right one, and a second round takes it there. Then the write waits until
//! a quorum has every record it led to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use trireme_base::Clock;
use trireme_head::is_refused_by_clock;
use trireme_log::Bell;
use trireme_mailbox::{Port, PortError};
use trireme_model::{RetryLater, Tenant, WriteOutcome};
use trireme_storage::{
    ClockWatch, CommitReceiver, Committed, Gate, GateState, IngestBatch, ShardAnswer,
};
use trireme_wire::batch::{Batch, BatchSeries};
use trireme_wire::entry::{encode_batch, encode_part};

use crate::forward::{Forwarder, PASSES_MAX};
use crate::route::{Route, Routes};

/// Routes writes to the shards of this node.
pub struct WritePath {
    /// A port a shard.
    pub shards: Vec<Port<IngestBatch>>,
    /// Wakes the log to which the shards append.
    pub bell: Bell,
    /// Whether the node takes writes.
    pub gate: Arc<Gate>,
    /// How long a write may take in all.
    pub ack_timeout: Duration,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Whether this node's clock can be believed.
    pub clock_watch: Arc<ClockWatch>,
    /// Which groups take which series.
    pub routes: Arc<Routes>,
    /// Where writes go that this node cannot take.
    pub forwarder: Forwarder,
}

/// Series of a batch that stay together; without indexes all of them.
#[derive(Clone, Copy)]
struct Part<'a> {
    indexes: Option<&'a [u32]>,
    with_metadata: bool,
}

const WHOLE: Part<'static> = Part {
    indexes: None,
    with_metadata: true,
};

/// Metrics are not sharded; this shard keeps what is known about them.
const METADATA_SHARD: u16 = 0;
/// When a sender should try again after a full queue or a missing quorum.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// When a sender should try again at a node that is starting, stopping or broken.
const RETRY_ELSEWHERE_AFTER: Duration = Duration::from_secs(5);

fn later(message: impl Into<String>, after: Duration) -> Option<RetryLater> {
    Some(RetryLater {
        message: message.into(),
        after,
    })
}

impl WritePath {
    /// Stores a batch here, or has other members store it or parts of it; resolves when every part of it is durable on a
    /// quorum, refused, or out of time.
    pub async fn write(&self, tenant: Tenant, batch: Batch) -> WriteOutcome {
        match self.routes.get() {
            None => self.own(tenant, Arc::new(batch), WHOLE).await,
            Some(route) => {
                self.divided(&route, tenant, Arc::new(batch), PASSES_MAX, true)
                    .await
            }
        }
    }

    /// Takes a write in the place of another member, which is not asked to do the same for this one.
    pub async fn take(&self, tenant: Tenant, batch: Batch) -> WriteOutcome {
        match self.routes.get() {
            None => self.here(tenant, Arc::new(batch), WHOLE).await,
            Some(route) => {
                self.divided(&route, tenant, Arc::new(batch), PASSES_MAX, false)
                    .await
            }
        }
    }

    /// Takes the part of a write that belongs to this node's group in the eyes of the sender, who may have an older ring, or
    /// a newer one.
    ///
    /// It is stored here even if this node's ring gives the series to another group: samples are a set, and queries unite
    /// the groups, so it does not matter who has them. Only a group that is leaving must not get more, because it goes as
    /// soon as everything it has is in the bucket: it passes the part on, at most `passes` times in all.
    pub async fn take_part(&self, tenant: Tenant, batch: Batch, passes: u8) -> WriteOutcome {
        match (
            self.routes.get().filter(|route| route.is_leaving()),
            passes.checked_sub(1),
        ) {
            (None, _) => self.here(tenant, Arc::new(batch), WHOLE).await,
            (Some(route), Some(left)) => {
                self.divided(&route, tenant, Arc::new(batch), left, false)
                    .await
            }
            (Some(_), None) => {
                let unavailable = later("the group of this node is leaving the ring", RETRY_AFTER);
                WriteOutcome {
                    unavailable,
                    ..WriteOutcome::default()
                }
            }
        }
    }

    /// Each group's part on its way.
    async fn divided(
        &self,
        route: &Route,
        tenant: Tenant,
        batch: Arc<Batch>,
        passes: u8,
        has_substitutes: bool,
    ) -> WriteOutcome {
        let parts = route.divide(&batch);
        // What is known about metrics is asked for in every group, so it stays here if it can.
        let first = parts.iter().position(|part| !part.is_empty());
        let keeps_metadata = route.own().or(first).unwrap_or(0);
        let part = |group: usize| {
            let with_metadata = group == keeps_metadata && !batch.metadata.is_empty();
            let indexes = parts[group].as_slice();
            (with_metadata || !indexes.is_empty()).then_some((indexes, with_metadata))
        };

        let elsewhere = (0..parts.len()).filter(|group| Some(*group) != route.own());
        let elsewhere = elsewhere.filter_map(|group| {
            let name = &route.groups()[group];
            Some(
                self.forwarder
                    .part(name, &tenant, &batch, part(group)?, passes),
            )
        });

        let elsewhere = futures::future::join_all(elsewhere);
        let here = async {
            let Some((indexes, with_metadata)) = route.own().and_then(part) else {
                return WriteOutcome::default();
            };
            let tenant = tenant.clone();
            let part = Part {
                indexes: Some(indexes),
                with_metadata,
            };
            match has_substitutes {
                true => self.own(tenant, Arc::clone(&batch), part).await,
                false => self.here(tenant, Arc::clone(&batch), part).await,
            }
        };

        let (mut outcome, elsewhere) = futures::join!(here, elsewhere);
        elsewhere
            .into_iter()
            .for_each(|of_group| outcome.merge(of_group));

        outcome
    }

    /// Stores what belongs to the own group here or at another of its members.
    async fn own(&self, tenant: Tenant, batch: Arc<Batch>, part: Part<'_>) -> WriteOutcome {
        if self.gate.state().is_forwarded() {
            let draft = match part.indexes {
                None => encode_batch(&tenant, &batch),
                Some(indexes) => encode_part(&tenant, &batch, indexes, part.with_metadata),
            };
            if let Some(outcome) = self.forwarder.write(draft).await {
                return outcome;
            }
        }
        self.here(tenant, batch, part).await
    }

    /// Stores it here or not at all.
    async fn here(&self, tenant: Tenant, batch: Arc<Batch>, part: Part<'_>) -> WriteOutcome {
        let mut outcome = WriteOutcome::default();

        let state = self.gate.state();
        if !state.takes_writes() {
            outcome.unavailable = later(
                format!("this node takes no writes: {}", state.reason()),
                RETRY_ELSEWHERE_AFTER,
            );
            return outcome;
        }

        let give_up_at = self.clock.monotonic() + self.ack_timeout;
        let mut waiting = Vec::with_capacity(self.shards.len());
        let indexes = self.by_key(&batch, part);
        let redirects = self
            .round(
                &tenant,
                &batch,
                indexes,
                part.with_metadata,
                &mut outcome,
                &mut waiting,
            )
            .await;

        if !redirects.is_empty() {
            let again = self
                .round(
                    &tenant,
                    &batch,
                    redirects,
                    false,
                    &mut outcome,
                    &mut waiting,
                )
                .await;
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

            outcome.merge(WriteOutcome {
                unavailable: later(problem, RETRY_AFTER),
                ..WriteOutcome::default()
            });
        }

        // By a clock that is wrong, or that nobody has confirmed yet, a good sample may look too old or too new. Repeated, it
        // is taken.
        let by_clock = outcome
            .rejections
            .iter()
            .any(|rejection| is_refused_by_clock(rejection.reason));

        if by_clock && !self.clock_watch.may_refuse() {
            let reason = match self.clock_watch.is_wrong() {
                true => GateState::WrongClock.reason(),
                false => {
                    "the other members have not confirmed its clock yet, by which samples look too old or too new"
                }
            };
            outcome.unavailable = later(
                format!("this node takes no writes: {reason}"),
                RETRY_ELSEWHERE_AFTER,
            );
        }

        outcome
    }

    /// Series by the shard of their key.
    fn by_key(&self, batch: &Batch, part: Part<'_>) -> BTreeMap<u16, Vec<u32>> {
        let shards = self.shards.len() as u16;
        let mut indexes: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
        let series = part.indexes.map_or(batch.series.len(), <[u32]>::len);
        let expected = series / usize::from(shards) * 5 / 4 + 8;
        let mut add = |i: u32, series: &BatchSeries| {
            let of_shard = indexes.entry(series.key.shard(shards));
            of_shard
                .or_insert_with(|| Vec::with_capacity(expected))
                .push(i);
        };

        match part.indexes {
            None => (0..)
                .zip(&batch.series)
                .for_each(|(i, series)| add(i, series)),
            Some(chosen) => chosen
                .iter()
                .for_each(|i| add(*i, &batch.series[*i as usize])),
        }

        if part.with_metadata && !batch.metadata.is_empty() {
            indexes.entry(METADATA_SHARD).or_default();
        }

        indexes
    }

    async fn round(
        &self,
        tenant: &Tenant,
        batch: &Arc<Batch>,
        indexes: BTreeMap<u16, Vec<u32>>,
        with_metadata: bool,
        outcome: &mut WriteOutcome,
        waiting: &mut Vec<CommitReceiver>,
    ) -> BTreeMap<u16, Vec<u32>> {
        let together = self.bell.ring_once_all_are_in();
        let sent: Vec<(u16, Result<oneshot::Receiver<ShardAnswer>, PortError>)> = indexes
            .into_iter()
            .map(|(shard, indexes)| {
                let message = IngestBatch {
                    tenant: tenant.clone(),
                    batch: Arc::clone(batch),
                    indexes,
                    with_metadata: with_metadata && shard == METADATA_SHARD,
                    together: Arc::clone(&together),
                };
                (shard, self.shards[usize::from(shard)].send(message))
            })
            .collect();

        drop(together);
        let mut redirects: BTreeMap<u16, Vec<u32>> = BTreeMap::new();

        // The last to be asked is the last to answer, so this task sleeps once.
        for (shard, sent) in sent.into_iter().rev() {
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
            outcome.merge(WriteOutcome {
                unavailable: later(problem, RETRY_AFTER),
                ..WriteOutcome::default()
            });
        }

        redirects
    }
}
