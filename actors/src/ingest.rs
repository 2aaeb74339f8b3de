//! `Ingest`: one shard of series.
//!
//! It owns the right to write to its shard of the head. What clients send is applied and logged in the same order; what
//! peers' streams bring comes through the shard's lane, already in the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler};
use actix_rt::ArbiterHandle;
use slog::{Logger, error, warn};
use trireme_base::{Clock, StreamId};
use trireme_head::{IngestOutput, Shard};
use trireme_log::AppendError;
use trireme_mailbox::{Call, Port};
use trireme_model::{RetryLater, WriteOutcome};
use trireme_wire::record::RecordDraft;

use crate::canary::Canary;
use crate::commits::CommitReceiver;
use crate::delivery::{Delivery, behind, crasher, crashes};
use crate::head_metrics::HeadMetrics;
use crate::lane::{Lane, LaneReady};
use crate::limits::LimitsTable;
use crate::store::Store;
use crate::supervisor::{Start, StartError, Started};
use crate::write_path::{IngestBatch, ShardAnswer};

/// The origin closes a window: the shard logs its marker.
pub struct CloseWindow {
    /// Number of the window.
    pub window: i64,
}

impl Call for CloseWindow {
    type Reply = Result<(), String>;
}

/// Drops series that had no samples for long, and tells followers. Answers how many.
pub struct CollectSeries;

impl Call for CollectSeries {
    type Reply = Result<usize, String>;
}

/// Tells how far streams are applied in all shards, so that a shard without records of its own knows it too.
pub struct NotePositions {
    /// Streams and their seqs.
    pub positions: Vec<(StreamId, u64)>,
}

impl Call for NotePositions {
    type Reply = ();
}

/// The ports of one shard.
#[derive(Clone)]
pub struct IngestPorts {
    /// Clients' writes.
    pub batch: Port<IngestBatch>,
    /// Window markers.
    pub close: Port<CloseWindow>,
    /// Series collection.
    pub collect: Port<CollectSeries>,
    /// Applied positions.
    pub note: Port<NotePositions>,
}

/// Says whether a writer died while it changed a shard. What it left behind is then not trusted.
#[derive(Debug, Default)]
pub struct WriterMark(AtomicBool);

impl WriterMark {
    /// Marks the shard as being changed until the guard is dropped in the ordinary way.
    fn change<T>(&self, change: impl FnOnce() -> T) -> T {
        self.0.store(true, Ordering::Release);
        let result = change();
        // Not reached by a panic inside the change.
        self.0.store(false, Ordering::Release);
        result
    }

    fn is_suspect(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What a shard's actor works with; all of it outlives the actor.
#[derive(Clone)]
pub struct IngestParts {
    /// The shard.
    pub shard: Arc<Shard>,
    /// Whether an earlier writer died in the middle of a change.
    pub mark: Arc<WriterMark>,
    /// The thread.
    pub arbiter: ArbiterHandle,
    /// Log, commits, applied positions.
    pub store: Arc<Store>,
    /// Records of peers.
    pub lane: Arc<Lane>,
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

/// The actor.
pub struct Ingest {
    parts: IngestParts,
    /// [`Log::own_epoch`](trireme_log::Log::own_epoch) that the shard's references belong to.
    epoch: u64,
    /// Drafts were made and did not reach the log, or an earlier writer may have left some.
    drafts_lost: bool,
    output: IngestOutput,
    _canary: Canary,
}

/// Records applied before the mailbox gets a turn; about a millisecond of work.
const LANE_TURN_RECORDS: usize = 16;
/// How often a lane is looked at without being told.
const LANE_EVERY: Duration = Duration::from_millis(50);

impl Ingest {
    /// How the supervisor starts it.
    pub fn starter(parts: IngestParts, ports: IngestPorts) -> Start {
        Box::new(move |canary| {
            let (parts, ports) = (parts.clone(), ports.clone());
            Box::pin(async move {
                if parts.mark.is_suspect() {
                    let reason =
                        "its writer died in the middle of a change; the next start rebuilds it from disk";
                    return Err(StartError::Fatal(reason.to_owned()));
                }
                let arbiter = parts.arbiter.clone();
                let lane = Arc::clone(&parts.lane);
                let addr = Self::start_in_arbiter(&arbiter, move |_| Self {
                    parts,
                    epoch: 0,
                    drafts_lost: true,
                    output: IngestOutput::default(),
                    _canary: canary,
                });
                ports.batch.target(behind(addr.clone()));
                ports.close.target(behind(addr.clone()));
                ports.collect.target(behind(addr.clone()));
                ports.note.target(behind(addr.clone()));
                lane.port().target(behind(addr.clone()));
                Ok(Started { crash: crasher(addr) })
            })
        })
    }

    /// Hands drafts to the log in the order in which they were applied.
    fn append(&mut self, drafts: Vec<RecordDraft>) -> Result<CommitReceiver, AppendError> {
        let commits = &self.parts.store.parts().commits;
        let (tag, committed) = commits.begin(self.parts.ack_timeout);
        match self.parts.store.log().append_own_at(drafts, tag, self.epoch) {
            Ok(()) => Ok(committed),
            Err(error) => {
                commits.refuse(tag, &error.to_string());
                self.drafts_lost = true;
                Err(error)
            }
        }
    }

    /// After drafts were lost, what they defined is defined again: a reference must never stand in the log before its
    /// definition.
    fn mend_references(&mut self) {
        let epoch = self.parts.store.log().own_epoch();
        if epoch == self.epoch && !self.drafts_lost {
            return;
        }
        self.epoch = epoch;
        self.drafts_lost = false;
        let marker = self.parts.mark.change(|| self.parts.shard.reset_own());
        if let Some(draft) = marker
            && let Err(err) = self.append(vec![draft])
        {
            // Noted as lost, so the next message tries once more.
            warn!(self.parts.log, "window marker could not be logged again"; "err" => %err);
        }
    }

    fn drain_lane(&mut self) {
        for record in self.parts.lane.take(LANE_TURN_RECORDS) {
            match self.parts.mark.change(|| self.parts.shard.apply(&record)) {
                Ok(applied) => self.parts.metrics.applied(&applied),
                Err(err) => {
                    error!(self.parts.log, "record of a peer could not be applied in full"; "err" => %err);
                }
            }
            self.parts.store.applied(record.stream(), record.seq());
        }
        if self.parts.lane.has_work() {
            // Behind what waits in the mailbox; if it is full, the timer goes on.
            let _ = self.parts.lane.port().tell(LaneReady);
        }
    }

    fn ingest(&mut self, message: &IngestBatch) -> ShardAnswer {
        // Asked before anything is applied: what is in the head should also get into the log.
        if let Err(error) = self.parts.store.log().admit() {
            return ShardAnswer { outcome: refused(&error), redirects: Vec::new(), committed: None };
        }
        self.mend_references();
        let limits = self.parts.limits.of(&message.tenant);
        let now_ms = self.parts.clock.now_ms();
        let mut output = std::mem::take(&mut self.output);
        output.clear();
        let shard = &self.parts.shard;
        self.parts.mark.change(|| {
            shard.ingest(&message.tenant, &message.batch, &message.indexes, limits, now_ms, &mut output);
            if message.with_metadata {
                shard.ingest_metadata(&message.tenant, &message.batch.metadata, &mut output);
            }
        });
        let mut outcome = std::mem::take(&mut output.outcome);
        let redirects = std::mem::take(&mut output.redirects);
        let drafts = std::mem::take(&mut output.drafts);
        self.output = output;
        self.parts.metrics.ingested(&outcome);
        let mut committed = None;
        if !drafts.is_empty() {
            match self.append(drafts) {
                Ok(receiver) => committed = Some(receiver),
                Err(error) => outcome.merge(refused(&error)),
            }
        }
        ShardAnswer { outcome, redirects, committed }
    }
}

/// The sender must come again.
fn refused(error: &AppendError) -> WriteOutcome {
    let later = RetryLater { message: error.to_string(), after: Duration::from_secs(1) };
    WriteOutcome { unavailable: Some(later), ..WriteOutcome::default() }
}

crashes!(Ingest);

impl Actor for Ingest {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // What arrived while no actor was there.
        self.drain_lane();
        ctx.run_interval(LANE_EVERY, |actor, _| {
            if actor.parts.lane.has_work() {
                actor.drain_lane();
            }
        });
    }
}

impl Handler<Delivery<IngestBatch>> for Ingest {
    type Result = ();

    fn handle(&mut self, Delivery(envelope): Delivery<IngestBatch>, _: &mut Context<Self>) {
        let (message, work) = envelope.open();
        let answer = self.ingest(&message);
        work.done(answer);
    }
}

impl Handler<Delivery<LaneReady>> for Ingest {
    type Result = ();

    fn handle(&mut self, Delivery(envelope): Delivery<LaneReady>, _: &mut Context<Self>) {
        let (LaneReady, work) = envelope.open();
        self.drain_lane();
        work.done(());
    }
}

impl Handler<Delivery<CloseWindow>> for Ingest {
    type Result = ();

    fn handle(&mut self, Delivery(envelope): Delivery<CloseWindow>, _: &mut Context<Self>) {
        let (CloseWindow { window }, work) = envelope.open();
        self.mend_references();
        let draft = self.parts.mark.change(|| self.parts.shard.close_window(window));
        // A marker that is refused is logged again before anything else of this shard.
        let done = self.append(vec![draft]).map(drop);
        work.done(done.map_err(|err| err.to_string()));
    }
}

impl Handler<Delivery<CollectSeries>> for Ingest {
    type Result = ();

    fn handle(&mut self, Delivery(envelope): Delivery<CollectSeries>, _: &mut Context<Self>) {
        let (CollectSeries, work) = envelope.open();
        self.mend_references();
        let (collected, drafts) = self.parts.mark.change(|| self.parts.shard.collect_series());
        let logged = if drafts.is_empty() { Ok(()) } else { self.append(drafts).map(drop) };
        work.done(logged.map(|()| collected).map_err(|err| err.to_string()));
    }
}

impl Handler<Delivery<NotePositions>> for Ingest {
    type Result = ();

    fn handle(&mut self, Delivery(envelope): Delivery<NotePositions>, _: &mut Context<Self>) {
        let (NotePositions { positions }, work) = envelope.open();
        self.parts.mark.change(|| self.parts.shard.note_positions(&positions));
        work.done(());
    }
}
