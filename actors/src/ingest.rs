//! `Ingest`: one shard of series.
//!
//! The mailbox and timer of a [`ShardWriter`].

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler};
use actix_rt::ArbiterHandle;
use trireme_base::{StreamId, memory};
use trireme_mailbox::{Call, Port};

use crate::canary::Canary;
use crate::delivery::{Delivery, behind, crasher, crashes};
use crate::supervisor::{Start, StartError, Started};
use trireme_storage::{ApplyReady, IngestBatch, ShardWriter, ShardWriterParts, TURN_RECORDS};

/// The origin closes a window: the shard logs its marker.
pub struct CloseWindow {
    /// Number of the window.
    pub window: i64,
}

impl Call for CloseWindow {
    type Reply = Result<(), String>;
}

/// Drops series that had no samples for long, and tells followers. Answers how many.
pub struct CollectSeries {
    /// The last window that is over.
    pub over: i64,
}

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

/// What a shard's actor works with; all of it outlives the actor.
#[derive(Clone)]
pub struct IngestParts {
    /// The thread.
    pub arbiter: ArbiterHandle,
    /// What it does there.
    pub writer: ShardWriterParts,
}

/// The actor.
pub struct Ingest {
    writer: ShardWriter,
    _canary: Canary,
}

/// How often a lane is looked at without being told: so much later than at its origin may a record be applied that no
/// query asks for.
const LANE_EVERY: Duration = Duration::from_millis(50);

impl Ingest {
    /// How the supervisor starts it.
    pub fn starter(parts: IngestParts, ports: IngestPorts) -> Start {
        Box::new(move |canary| {
            let parts = parts.clone();
            let ports = ports.clone();
            Box::pin(async move {
                if parts.writer.mark.is_suspect() {
                    let reason = "its writer died in the middle of a change; the next start rebuilds it from disk";
                    return Err(StartError::Fatal(reason.to_owned()));
                }

                let arbiter = parts.arbiter.clone();
                let apply_queue = Arc::clone(&parts.writer.apply_queue);
                let addr = Self::start_in_arbiter(&arbiter, move |_| Self {
                    writer: ShardWriter::new(parts.writer),
                    _canary: canary,
                });

                ports.batch.target(behind(addr.clone()));
                ports.close.target(behind(addr.clone()));
                ports.collect.target(behind(addr.clone()));
                ports.note.target(behind(addr.clone()));
                apply_queue.port().target(behind(addr.clone()));

                Ok(Started {
                    crash: crasher(addr),
                })
            })
        })
    }

    fn drain_apply_queue(&mut self) {
        self.writer.drain_apply_queue(TURN_RECORDS);
        // Behind what waits in the mailbox; if it is full, the timer goes on.
        self.writer.apply_queue().hurry();
    }
}

crashes!(Ingest);

impl Actor for Ingest {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // What arrived while no actor was there.
        self.drain_apply_queue();
        ctx.run_interval(LANE_EVERY, |actor, _| {
            if actor.writer.apply_queue().has_work() {
                actor.drain_apply_queue();
            } else {
                memory::give_back_if_asked();
            }
        });
    }
}

impl Handler<Delivery<IngestBatch>> for Ingest {
    type Result = ();

    fn handle(&mut self, Delivery(envelope): Delivery<IngestBatch>, _: &mut Context<Self>) {
        let (message, work) = envelope.open();
        let answer = self.writer.ingest(&message);
        // Wakes the log, if this was the last part of its request.
        drop(message);
        work.done(answer);
    }
}

impl Handler<Delivery<ApplyReady>> for Ingest {
    type Result = ();

    fn handle(&mut self, Delivery(envelope): Delivery<ApplyReady>, _: &mut Context<Self>) {
        let (ApplyReady, work) = envelope.open();
        self.drain_apply_queue();
        work.done(());
    }
}

impl Handler<Delivery<CloseWindow>> for Ingest {
    type Result = ();

    fn handle(&mut self, Delivery(envelope): Delivery<CloseWindow>, _: &mut Context<Self>) {
        let (CloseWindow { window }, work) = envelope.open();
        work.done(
            self.writer
                .close_window(window)
                .map_err(|err| err.to_string()),
        );
    }
}

impl Handler<Delivery<CollectSeries>> for Ingest {
    type Result = ();

    fn handle(&mut self, Delivery(envelope): Delivery<CollectSeries>, _: &mut Context<Self>) {
        let (CollectSeries { over }, work) = envelope.open();
        work.done(
            self.writer
                .collect_series(over)
                .map_err(|err| err.to_string()),
        );
    }
}

impl Handler<Delivery<NotePositions>> for Ingest {
    type Result = ();

    fn handle(&mut self, Delivery(envelope): Delivery<NotePositions>, _: &mut Context<Self>) {
        let (NotePositions { positions }, work) = envelope.open();
        self.writer.note_positions(&positions);
        work.done(());
    }
}
