//! A client's write at a node, as `WritePath` handles it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot::error::TryRecvError;
use trireme_head::is_refused_by_clock;
use trireme_storage::{CommitReceiver, Committed, IngestBatch};

use crate::history::SentBatch;
use crate::mutation::Mutation;
use crate::process::{Process, SHARDS};

/// Metrics are not sharded; this shard keeps what is known about them.
const METADATA_SHARD: u16 = 0;

/// What a sender hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// 2xx.
    Stored,
    /// 503: it must come again.
    Later(String),
    /// 400: it must not come again.
    Refused(String),
}

/// A write that waits.
pub struct Request {
    /// Number of the sender's attempt.
    pub attempt: u64,
    waiting: Vec<CommitReceiver>,
    later: Option<String>,
    refused: Option<String>,
    /// By a clock that may be wrong.
    is_by_clock: bool,
    mutation: Option<Mutation>,
}

impl Process {
    /// Takes a write; it is answered by [`Process::answers`].
    pub fn write(&mut self, attempt: u64, sent: &SentBatch) {
        let SentBatch { tenant, batch, .. } = sent;
        let mutation = self.mutation;
        let mut request = Request {
            attempt,
            waiting: Vec::new(),
            later: None,
            refused: None,
            is_by_clock: false,
            mutation,
        };

        if !self.gate.state().takes_writes() {
            request.later = Some(self.gate.state().reason().to_owned());
            self.requests.push(request);
            return;
        }

        let mut by_shard: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
        for (i, series) in batch.series.iter().enumerate() {
            by_shard
                .entry(series.key.shard(SHARDS))
                .or_default()
                .push(i as u32);
        }

        let has_metadata = !batch.metadata.is_empty();
        if has_metadata {
            by_shard.entry(METADATA_SHARD).or_default();
        }

        let together = self.log.bell().ring_once_all_are_in();
        for (shard, indexes) in by_shard {
            let message = IngestBatch {
                tenant: tenant.clone(),
                batch: Arc::clone(batch),
                indexes,
                with_metadata: has_metadata && shard == METADATA_SHARD,
                together: Arc::clone(&together),
            };

            let writer = &mut self.writers[usize::from(shard)];
            let answer = self.clock.race().during(|| writer.ingest(&message));

            let outcome = answer.outcome;
            if let Some(rejection) = outcome.rejections.iter().next() {
                request.refused = Some(format!("{}: {}", rejection.reason, rejection.example));
            }

            request.is_by_clock |= outcome
                .rejections
                .iter()
                .any(|r| is_refused_by_clock(r.reason));
            request.later = outcome
                .unavailable
                .map(|later| later.message)
                .or(request.later);

            let only_repeats = outcome.duplicates > 0 && outcome.duplicates == outcome.samples;
            if !(only_repeats && mutation == Some(Mutation::AckDuplicateAtOnce)) {
                request.waiting.extend(answer.committed);
            }
        }

        self.requests.push(request);
    }

    /// Takes out the writes that are decided.
    pub fn answers(&mut self) -> Vec<(u64, Answer)> {
        let mut answers = Vec::new();
        let may_refuse = self.may_refuse();
        self.requests.retain_mut(|request| match request.poll() {
            Some(Answer::Refused(why)) if request.is_by_clock && !may_refuse => {
                answers.push((request.attempt, Answer::Later(why)));
                false
            }
            Some(answer) => {
                answers.push((request.attempt, answer));
                false
            }
            None => true,
        });

        answers
    }
}

impl Request {
    fn poll(&mut self) -> Option<Answer> {
        let mut problem = None;
        self.waiting.retain_mut(|receiver| {
            match receiver.try_recv() {
                Ok(Committed::Yes) => return false,
                Err(TryRecvError::Empty) => return true,
                Ok(Committed::NoQuorum) => problem = Some("no quorum in time".to_owned()),
                Ok(Committed::Refused(reason)) => problem = Some(reason),
                Err(TryRecvError::Closed) => problem = Some("interrupted".to_owned()),
            }
            false
        });

        self.later = problem.or(self.later.take());
        if !self.waiting.is_empty() {
            return None;
        }

        Some(match (self.later.take(), self.refused.take()) {
            (Some(later), _) if self.mutation == Some(Mutation::RefuseForGood) => {
                Answer::Refused(later)
            }
            (Some(later), _) => Answer::Later(later),
            (None, Some(refused)) => Answer::Refused(refused),
            (None, None) => Answer::Stored,
        })
    }
}
