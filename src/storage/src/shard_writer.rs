//! One shard of series and the right to write to it.
//!
//! What clients send is applied and logged in the same order; what peers' streams bring comes through the shard's lane,
//! already in the log. Nothing here knows by whom it is run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use slog::{Logger, error, warn};
use trireme_base::{Clock, StreamId};
use trireme_head::{IngestOutput, SET_ASIDE, Shard};
use trireme_log::{AppendError, CompletionTag, LastRings};
use trireme_model::{RetryLater, Tenant, WriteOutcome};
use trireme_wire::record::RecordDraft;

use crate::apply_queue::ApplyQueue;
use crate::commits::CommitReceiver;
use crate::head_metrics::HeadMetrics;
use crate::ingest_batch::{IngestBatch, ShardAnswer};
use crate::limits::LimitsTable;
use crate::pending_appends::PendingAppends;
use crate::store::Store;

/// Says whether a writer died while it changed a shard. What it left behind is then not trusted.
#[derive(Debug, Default)]
pub struct PoisonFlag(AtomicBool);

impl PoisonFlag {
    /// Marks the shard as being changed until the guard is dropped in the ordinary way.
    fn guard<T>(&self, change: impl FnOnce() -> T) -> T {
        self.0.store(true, Ordering::Release);
        let result = change();
        // Not reached by a panic inside the change.
        self.0.store(false, Ordering::Release);
        result
    }

    /// True after a change of the shard that did not come to its end.
    pub fn is_suspect(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What a writer works with; all of it outlives the writer.
#[derive(Clone)]
pub struct ShardWriterParts {
    /// The shard.
    pub shard: Arc<Shard>,
    /// Whether an earlier writer died in the middle of a change.
    pub mark: Arc<PoisonFlag>,
    /// Log, commits, applied positions.
    pub store: Arc<Store>,
    /// Records of peers.
    pub apply_queue: Arc<ApplyQueue>,
    /// Drafts on their way to the log.
    pub pending: Arc<PendingAppends>,
    /// Limits of tenants.
    pub limits: Arc<LimitsTable>,
    /// How long a write may wait for its quorum.
    pub ack_timeout: Duration,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counters of all shards.
    pub metrics: HeadMetrics,
    /// Logger with the shard's number.
    pub log: Logger,
}

/// The writer of a shard; there is one at a time.
pub struct ShardWriter {
    parts: ShardWriterParts,
    /// [`Log::own_epoch`](trireme_log::Log::own_epoch) that the shard's references belong to.
    epoch: u64,
    /// References that an earlier writer may have made are not trusted.
    is_new: bool,
    output: IngestOutput,
}

impl ShardWriter {
    /// A writer that trusts nothing of what an earlier one has not logged.
    pub fn new(parts: ShardWriterParts) -> Self {
        Self {
            parts,
            epoch: 0,
            is_new: true,
            output: IngestOutput::default(),
        }
    }

    /// Records of peers that wait.
    pub fn apply_queue(&self) -> &ApplyQueue {
        &self.parts.apply_queue
    }

    /// Changes the shard and queues what that led to for the log, as one step for a checkpoint.
    fn change<T>(
        &mut self,
        change: impl FnOnce(&Shard) -> (T, Vec<RecordDraft>),
    ) -> (T, Result<Option<CommitReceiver>, AppendError>) {
        let pending = Arc::clone(&self.parts.pending);
        let _turn = pending.turn();
        let (result, drafts) = self.parts.mark.guard(|| change(&self.parts.shard));
        let queued = if drafts.is_empty() {
            Ok(None)
        } else {
            self.append(drafts).map(Some)
        };

        (result, queued)
    }

    /// Queues drafts for the log in the order in which they were applied; its bell is still to be rung. After an error they
    /// are kept for [`ShardWriter::relog_refused`].
    fn append(&mut self, drafts: Vec<RecordDraft>) -> Result<CommitReceiver, AppendError> {
        let (tag, committed) = self
            .parts
            .store
            .parts()
            .commits
            .begin(self.parts.ack_timeout);

        self.parts.pending.push(tag, drafts.clone());
        self.queue(drafts, tag)?;
        Ok(committed)
    }

    /// Wakes the log when it is dropped, however what was queued until then ended.
    fn together(&self) -> Arc<LastRings> {
        self.parts.store.log().bell().ring_once_all_are_in()
    }

    fn queue(&self, drafts: Vec<RecordDraft>, tag: CompletionTag) -> Result<(), AppendError> {
        let queued = self
            .parts
            .store
            .log()
            .append_own_at(drafts, tag, self.epoch);

        if let Err(error) = &queued {
            self.parts.pending.refused(tag);
            self.parts
                .store
                .parts()
                .commits
                .refuse(tag, &error.to_string());
        }

        queued
    }

    /// Queues what was refused before: nothing newer may stand in the log before it, because records build on each other,
    /// and the head has it in cuts that it must still be part of.
    fn relog_refused(&mut self) -> Result<(), AppendError> {
        let epoch = self.parts.store.log().own_epoch();
        if epoch != self.epoch {
            self.epoch = epoch;
            self.parts.pending.refused_all();
        }

        while self.parts.pending.has_refused() {
            // Whoever wrote it was told to come again, so nobody waits for it.
            let (tag, _) = self
                .parts
                .store
                .parts()
                .commits
                .begin(self.parts.ack_timeout);
            if let Some(drafts) = self.parts.pending.take_refused(tag) {
                self.queue(drafts, tag)?;
            }
        }

        if std::mem::take(&mut self.is_new) {
            self.change(|shard| ((), shard.reset_own())).1?;
        }

        Ok(())
    }

    /// Applies up to `records_max` records of peers.
    pub fn drain_apply_queue(&mut self, records_max: usize) {
        for record in self.parts.apply_queue.take(records_max) {
            match self.parts.mark.guard(|| self.parts.shard.apply(&record)) {
                Ok(applied) => self.parts.metrics.applied(&applied),
                Err(err) => {
                    error!(self.parts.log, "record of a peer could not be applied in full"; "err" => %err);
                    self.parts.store.parts().completeness.note_unapplied();
                }
            }
            self.parts.store.applied(record.stream(), record.seq());
        }
    }

    /// Applies a shard's share of a request and hands what it led to to the log.
    pub fn ingest(&mut self, message: &IngestBatch) -> ShardAnswer {
        // Asked before anything is applied: what is in the head should also get into the log.
        if let Err(error) = self
            .parts
            .store
            .log()
            .admit()
            .and_then(|()| self.relog_refused())
        {
            return ShardAnswer {
                outcome: refused(&error),
                redirects: Vec::new(),
                committed: None,
            };
        }

        let limits = Arc::clone(&self.parts.limits);
        let limits = limits.of(&message.tenant);
        let now_ms = self.parts.clock.now_ms();
        let mut output = std::mem::take(&mut self.output);

        output.clear();
        let ((), queued) = self.change(|shard| {
            shard.ingest(
                &message.tenant,
                &message.batch,
                &message.indexes,
                limits,
                now_ms,
                &mut output,
            );
            if message.with_metadata {
                shard.ingest_metadata(&message.tenant, &message.batch.metadata, &mut output);
            }
            ((), std::mem::take(&mut output.drafts))
        });

        let mut outcome = std::mem::take(&mut output.outcome);
        let redirects = std::mem::take(&mut output.redirects);
        self.output = output;
        self.parts.metrics.ingested(&outcome);
        self.note_set_aside(&message.tenant, &outcome);

        let committed = queued.unwrap_or_else(|error| {
            outcome.merge(refused(&error));
            None
        });

        ShardAnswer {
            outcome,
            redirects,
            committed,
        }
    }

    /// Says so if something was refused because it makes the process panic.
    fn note_set_aside(&self, tenant: &Tenant, outcome: &WriteOutcome) {
        for refused in outcome
            .rejections
            .iter()
            .filter(|refused| refused.reason == SET_ASIDE)
        {
            self.parts.metrics.set_aside(refused.count);
            error!(self.parts.log, "what a client sent is refused, because the process panicked each time it was stored";
                "tenant" => %tenant, "items" => refused.count);
        }
    }

    /// Closes a window for the own stream. A marker that is refused is logged before anything else of this shard.
    pub fn close_window(&mut self, window: i64) -> Result<(), AppendError> {
        let _together = self.together();
        self.relog_refused()?;
        self.change(|shard| ((), vec![shard.close_window(window)]))
            .1
            .map(drop)
    }

    /// Drops series that had no samples for long, where windows up to `over` are over, and tells followers. Answers how many.
    pub fn collect_series(&mut self, over: i64) -> Result<usize, AppendError> {
        let _together = self.together();
        self.relog_refused()?;
        let (collected, queued) = self.change(|shard| shard.collect_series_before(over));
        queued.map(|_| collected)
    }

    /// Tells how far streams are applied in all shards. A checkpoint is to follow, so what is in the head should get into
    /// the log now.
    pub fn note_positions(&mut self, positions: &[(StreamId, u64)]) {
        let _together = self.together();
        if let Err(err) = self.relog_refused() {
            warn!(self.parts.log, "what the log refused before is refused again"; "err" => %err);
        }
        self.parts
            .mark
            .guard(|| self.parts.shard.note_positions(positions));
    }
}

/// The sender must come again.
fn refused(error: &AppendError) -> WriteOutcome {
    let later = RetryLater {
        message: error.to_string(),
        after: Duration::from_secs(1),
    };
    WriteOutcome {
        unavailable: Some(later),
        ..WriteOutcome::default()
    }
}
