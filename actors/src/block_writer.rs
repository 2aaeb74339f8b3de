//! `BlockWriter`: closes windows, cuts them into blocks, writes checkpoints, keeps retention.

use std::sync::Arc;
use std::time::Duration;

use actix::fut::WrapFuture;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler};
use prometheus::{Histogram, IntCounter, IntGauge};
use serde_json::{Value, json};
use slog::{Logger, debug, error, info, warn};
use trireme_base::pool::CpuPool;
use trireme_base::{Clock, Incarnation};
use trireme_head::{CheckpointPace, HeadError};
use trireme_mailbox::{Call, Port};
use trireme_model::Tenant;
use trireme_replication::CutBlocker;
use trireme_storage::{
    CheckpointDone, CutDone, Cutting, CuttingError, GateState, NextCut, Windows, Written,
};
use trireme_telemetry::{Metrics, MetricsError};
use trireme_wire::rebuild::Manifest;

use crate::canary::Canary;
use crate::delivery::{Delivery, behind, crasher, crashes};
use crate::ingest::{CloseWindow, CollectSeries, IngestPorts, NotePositions};
use crate::policy::{ActorKind, policy};
use crate::supervisor::{Start, Started};

/// Asks what is known about windows.
pub struct GetWindows {
    /// One tenant, or all.
    pub tenant: Option<Tenant>,
}

impl Call for GetWindows {
    type Reply = Result<serde_json::Value, String>;
}

/// Asks for a checkpoint now.
pub struct Checkpoint;

impl Call for Checkpoint {
    type Reply = Result<serde_json::Value, String>;
}

/// Asks for a snapshot for a peer that is being rebuilt.
pub struct TakeSnapshot {
    /// The peer's incarnation.
    pub taker: Incarnation,
}

impl Call for TakeSnapshot {
    type Reply = Result<Arc<Manifest>, String>;
}

/// The ports of the block writer.
#[derive(Clone)]
pub struct BlockWriterPorts {
    /// Questions of the admin API.
    pub windows: Port<GetWindows>,
    /// Operators.
    pub checkpoint: Port<Checkpoint>,
    /// Peers.
    pub snapshot: Port<TakeSnapshot>,
}

/// Times and bounds.
#[derive(Debug, Clone)]
pub struct BlockWriterOptions {
    /// How time is divided.
    pub windows: Windows,
    /// Time between looks.
    pub tick: Duration,
    /// Least time between checkpoints. Those of a large head wait longer, see [`CheckpointPace`].
    pub checkpoint_every: Duration,
    /// How long local blocks are kept.
    pub retention_ms: i64,
    /// Size over which the oldest local blocks go; 0 means no bound.
    pub retention_bytes: u64,
    /// Blocks stay until they are shipped.
    pub only_shipped: bool,
}

/// Metrics of windows and blocks.
#[derive(Clone)]
pub struct BlockWriterMetrics {
    cuts: IntCounter,
    blocks: IntCounter,
    failures: IntCounter,
    cut_seconds: Histogram,
    checkpoint_seconds: Histogram,
    checkpoint_bytes: IntCounter,
    series: IntGauge,
    local_blocks: IntGauge,
    blocked: IntGauge,
    left: IntGauge,
    damaged: IntCounter,
}

impl BlockWriterMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            cuts: metrics.counter("trireme_block_cuts_total", "Cuts made.")?,
            blocks: metrics.counter("trireme_block_written_total", "Local blocks written.")?,
            failures: metrics.counter("trireme_block_failures_total", "Cuts and checkpoints that failed.")?,
            cut_seconds: metrics.seconds("trireme_block_cut_seconds", "Time of one cut.")?,
            checkpoint_seconds: metrics
                .seconds("trireme_head_checkpoint_seconds", "Time of one checkpoint.")?,
            checkpoint_bytes: metrics.counter(
                "trireme_head_checkpoint_bytes_total",
                "Bytes written for checkpoints; compare with trireme_log_written_bytes_total.",
            )?,
            series: metrics.gauge("trireme_head_series", "Series in the head.")?,
            local_blocks: metrics.gauge("trireme_block_local", "Local blocks.")?,
            blocked: metrics.gauge("trireme_block_cut_blocked", "1 while a cut waits for a replica.")?,
            left: metrics.gauge(
                "trireme_block_windows_left",
                "Windows of tenants that are cut and whose blocks could not be written; their samples stay in memory.",
            )?,
            damaged: metrics.counter(
                "trireme_block_lost_chunks_total",
                "Chunks of the head that could not be read when their window was cut.",
            )?,
        })
    }
}

/// What the block writer works with; all of it outlives the actor.
#[derive(Clone)]
pub struct BlockWriterParts {
    /// The work itself.
    pub cutting: Cutting,
    /// Ports of the shards.
    pub shards: Vec<IngestPorts>,
    /// Runs the work.
    pub pool: Arc<CpuPool>,
    /// Times and bounds.
    pub options: BlockWriterOptions,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Metrics.
    pub metrics: BlockWriterMetrics,
    /// Logger.
    pub log: Logger,
}

/// Checkpoints are at most so many times `checkpoint_every` apart.
const INTERVALS_MAX: u32 = 60;
/// The log behind a checkpoint is at most such a part of what is kept for replicas that are away.
const LOG_PARTS_MIN: u64 = 16;

/// What one look leaves for the next.
#[derive(Debug, Clone, Default)]
struct Progress {
    closed: Option<i64>,
    /// The last window that was over when idle series were collected.
    collected: Option<i64>,
    checkpoint_at: Duration,
    /// The last checkpoint, of which the next one takes its time.
    pace: CheckpointPace,
    /// The chunk files that the start found were read.
    is_checked: bool,
    /// No cut is tried before, after one that failed.
    cut_at: Duration,
    /// Cuts that failed in a row.
    failed_cuts: u32,
    /// Blocks that could not be written are not tried before.
    left_at: Duration,
    /// Attempts that failed in a row.
    failed_left: u32,
    /// The blocker that was logged, so that it is logged once.
    told: String,
}

/// The actor.
pub struct BlockWriter {
    parts: BlockWriterParts,
    progress: Progress,
    busy: bool,
    _canary: Canary,
}

impl BlockWriter {
    /// How the supervisor starts it.
    pub fn starter(parts: BlockWriterParts, ports: BlockWriterPorts) -> Start {
        Box::new(move |canary| {
            let progress = Progress {
                checkpoint_at: parts.clock.monotonic(),
                ..Progress::default()
            };
            let addr = Self {
                parts: parts.clone(),
                progress,
                busy: false,
                _canary: canary,
            }
            .start();

            ports.windows.target(behind(addr.clone()));
            ports.checkpoint.target(behind(addr.clone()));
            ports.snapshot.target(behind(addr.clone()));

            Box::pin(async move {
                Ok(Started {
                    crash: crasher(addr),
                })
            })
        })
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        // While the log is replayed the head is not whole: nothing is closed, cut, saved or let go.
        if self.busy || !self.parts.cutting.store.replay().is_done() {
            return;
        }

        self.busy = true;
        let look = look(self.parts.clone(), std::mem::take(&mut self.progress));
        ctx.spawn(look.into_actor(self).map(|progress, actor, _| {
            actor.progress = progress;
            actor.busy = false;
        }));
    }
}

/// Has every shard close `window` for the own stream; answers why the first could not that failed.
pub async fn close_window(shards: &[IngestPorts], window: i64) -> Result<(), String> {
    let deadline = policy(ActorKind::Ingest).deadline;
    let mut closed = Ok(());
    for shard in shards {
        let answer = shard.close.call(CloseWindow { window }, deadline).await;
        closed = closed.and(answer.map_err(|e| e.to_string()).and_then(|answer| answer));
    }
    closed
}

/// One look: close, cut, checkpoint, retain.
async fn look(parts: BlockWriterParts, mut progress: Progress) -> Progress {
    let options = &parts.options;
    let store = &parts.cutting.store;
    let due = store.due_window(parts.clock.as_ref(), options.windows);
    let mut has_cut = false;

    if let Some(due) = due.filter(|due| progress.closed.is_none_or(|k| k < *due)) {
        match close_window(&parts.shards, due).await {
            Ok(()) => {
                debug!(parts.log, "window closed"; "window" => due);
                progress.closed = Some(due);
            }
            Err(err) => {
                warn!(parts.log, "window was not closed, it will be tried again"; "window" => due, "err" => err)
            }
        }
    }

    if !std::mem::replace(&mut progress.is_checked, true) {
        check_chunks(&parts).await;
    }

    if let Some(closed) = progress
        .closed
        .filter(|_| parts.clock.monotonic() >= progress.cut_at)
    {
        while cut_next(&parts, closed, &mut progress).await {
            has_cut = true;
        }
    }

    let over = options.windows.over(store.now_ms(parts.clock.as_ref()));
    if has_cut || progress.collected.is_none_or(|collected| collected < over) {
        collect(&parts, over).await;
        progress.collected = Some(over);
    }

    if parts.clock.monotonic() >= progress.left_at && parts.cutting.left_count() > 0 {
        write_left(&parts, &mut progress).await;
    }

    let now = parts.clock.monotonic();
    if is_checkpoint_due(&parts, &progress, now) {
        progress.checkpoint_at = now;
        let logged = store.log().stats().written_bytes;
        match checkpoint(&parts).await {
            Ok(done) => progress.pace = CheckpointPace::new(done.bytes, logged),
            Err(err) => {
                parts.metrics.failures.inc();
                error!(parts.log, "checkpoint failed, the log is kept"; "err" => err);
            }
        }
    }

    retain(&parts, store.now_ms(parts.clock.as_ref())).await;
    progress
}

/// Whether a checkpoint is due: after `checkpoint_every` for a head that is small, or whose log has grown enough, or on a
/// disk that is full until some of the log may go; after many times that for any.
fn is_checkpoint_due(parts: &BlockWriterParts, progress: &Progress, now: Duration) -> bool {
    let every = parts.options.checkpoint_every;
    let waited = now.saturating_sub(progress.checkpoint_at);
    if waited < every {
        return false;
    }

    let store = &parts.cutting.store;
    let behind_max = parts.cutting.log_retention_bytes / LOG_PARTS_MIN;
    waited >= every.saturating_mul(INTERVALS_MAX)
        || progress
            .pace
            .is_due(store.log().stats().written_bytes, behind_max)
        || store.parts().gate.state() == GateState::DiskFull
}

/// Makes one cut if one may be made; true if it did.
async fn cut_next(parts: &BlockWriterParts, closed: i64, progress: &mut Progress) -> bool {
    let told = &mut progress.told;
    let cutting = parts.cutting.clone();
    let next = parts.pool.call(move || cutting.next_cut(closed)).await;
    let k = match next {
        Ok(NextCut::Ready(k)) => k,
        Ok(NextCut::Nothing) | Err(_) => {
            parts.metrics.blocked.set(0);
            told.clear();
            return false;
        }
        Ok(NextCut::Blocked(k, blocker)) => {
            parts.metrics.blocked.set(1);

            let text = format!("{k} {blocker}");
            if *told != text {
                // Peers close a window within moments of each other; only other reasons are news.
                match blocker {
                    CutBlocker::Open(_) => {
                        debug!(parts.log, "cut waits"; "window" => k, "reason" => %blocker)
                    }
                    _ => info!(parts.log, "cut waits"; "window" => k, "reason" => %blocker),
                }
                *told = text;
            }

            return false;
        }
    };

    let began = parts.clock.monotonic();
    let cutting = parts.cutting.clone();
    let cut = parts.pool.call(move || cutting.cut(k)).await;

    let elapsed = parts.clock.monotonic().saturating_sub(began);
    match cut {
        Ok(Ok(done)) => {
            progress.failed_cuts = 0;
            // The last checkpoint has what is in blocks now.
            progress.pace = CheckpointPace::default();
            parts.metrics.cuts.inc();
            parts.metrics.cut_seconds.observe(elapsed.as_secs_f64());
            tell_done(parts, &done, elapsed);
            if !done.left.is_empty() {
                wait_with_left(parts, progress);
            }
            true
        }
        Ok(Err(err)) => cut_failed(parts, k, &err.to_string(), progress),
        Err(err) => cut_failed(parts, k, &err.to_string(), progress),
    }
}

/// Lets series go that hold nothing any more. A cut empties series, and a window that is over makes them idle, whether it has
/// samples of others to be closed and cut for or not.
async fn collect(parts: &BlockWriterParts, over: i64) {
    for shard in &parts.shards {
        let collected = shard
            .collect
            .call(CollectSeries { over }, policy(ActorKind::Ingest).deadline)
            .await;
        if let Err(err) = collected.map_err(|e| e.to_string()).and_then(|r| r) {
            warn!(parts.log, "idle series were not collected"; "err" => err);
        }
    }
}

/// Tries again to write what cuts have left.
async fn write_left(parts: &BlockWriterParts, progress: &mut Progress) {
    let began = parts.clock.monotonic();
    let cutting = parts.cutting.clone();
    let result = parts.pool.call(move || cutting.write_left()).await;

    let elapsed = parts.clock.monotonic().saturating_sub(began);
    match result {
        Ok(Ok(done)) => {
            tell_done(parts, &done, elapsed);
            if done.left.is_empty() {
                progress.failed_left = 0;
                return;
            }
        }
        Ok(Err(err)) => {
            parts.metrics.failures.inc();
            error!(parts.log, "blocks of windows that were left could not be written"; "err" => %err);
        }
        Err(_) => {}
    }

    wait_with_left(parts, progress);
}

fn wait_with_left(parts: &BlockWriterParts, progress: &mut Progress) {
    progress.left_at = parts.clock.monotonic() + wait_after(parts, progress.failed_left);
    progress.failed_left += 1;
}

/// How long an attempt waits after so many that have failed.
fn wait_after(parts: &BlockWriterParts, failed: u32) -> Duration {
    parts.options.tick.saturating_mul(1 << failed.min(6))
}

/// The next try writes all blocks of the cut again, so it waits the longer the more have failed.
fn cut_failed(parts: &BlockWriterParts, k: i64, err: &str, progress: &mut Progress) -> bool {
    let wait = wait_after(parts, progress.failed_cuts);
    progress.failed_cuts += 1;
    progress.cut_at = parts.clock.monotonic() + wait;
    parts.metrics.failures.inc();
    error!(parts.log, "cut failed, it will be tried again"; "window" => k, "err" => err,
        "wait_ms" => wait.as_millis() as u64);
    false
}

fn tell_done(parts: &BlockWriterParts, done: &CutDone, elapsed: Duration) {
    parts.metrics.blocks.inc_by(done.written.len() as u64);
    parts.metrics.left.set(parts.cutting.left_count() as i64);
    done.written
        .iter()
        .for_each(|block| tell_written(parts, block, elapsed));

    for (window, err) in &done.left {
        parts.metrics.failures.inc();
        error!(parts.log, "a block could not be written; its samples stay in memory, and it is tried again";
            "tenant" => %window.tenant, "window" => window.window, "start_ms" => window.start_ms,
            "cut" => window.cut, "err" => %err);
    }
}

fn tell_written(parts: &BlockWriterParts, block: &Written, elapsed: Duration) {
    let meta = &block.meta;
    info!(parts.log, "block written"; "tenant" => %block.tenant, "block_id" => %meta.ulid,
        "window" => block.cut, "start_ms" => block.start_ms, "series" => meta.stats.num_series,
        "samples" => meta.stats.num_samples, "elapsed_ms" => elapsed.as_millis() as u64);

    if block.lost_chunks > 0 {
        parts.metrics.damaged.inc_by(block.lost_chunks);
        error!(parts.log, "chunks of the head could not be read; the block is without their samples, which a peer's block has";
            "tenant" => %block.tenant, "block_id" => %meta.ulid, "chunks" => block.lost_chunks);
    }
}

/// Reads what a start found in chunk files: damage there is told now, and not when a query needs it.
async fn check_chunks(parts: &BlockWriterParts) {
    let cutting = parts.cutting.clone();
    for err in parts
        .pool
        .call(move || cutting.check_chunks())
        .await
        .unwrap_or_default()
    {
        error!(parts.log, "a chunk of the head cannot be read, queries go to other replicas until its window is cut";
            "err" => %err);
    }
}

async fn checkpoint(parts: &BlockWriterParts) -> Result<CheckpointDone, String> {
    if !parts.cutting.store.replay().is_done() {
        return Err(CuttingError::Replaying.to_string());
    }

    let began = parts.clock.monotonic();
    note_positions(parts).await?;
    let cutting = parts.cutting.clone();
    let done = parts
        .pool
        .call(move || cutting.checkpoint())
        .await
        .map_err(|e| e.to_string())?;

    let done = done.map_err(|err: CuttingError| err.to_string())?;
    let elapsed = parts.clock.monotonic().saturating_sub(began);
    parts
        .metrics
        .checkpoint_seconds
        .observe(elapsed.as_secs_f64());
    parts.metrics.checkpoint_bytes.inc_by(done.bytes);
    debug!(parts.log, "checkpoint written"; "series" => done.series, "bytes" => done.bytes,
        "trimmed_bytes" => done.trimmed_bytes, "elapsed_ms" => elapsed.as_millis() as u64);

    Ok(done)
}

/// Tells every shard how far the streams are applied: what a checkpoint covers would otherwise end at the last record
/// that concerned the shard.
async fn note_positions(parts: &BlockWriterParts) -> Result<(), String> {
    let positions = parts.cutting.store.applied_positions();
    for shard in &parts.shards {
        let noted = NotePositions {
            positions: positions.clone(),
        };
        shard
            .note
            .call(noted, policy(ActorKind::Ingest).deadline)
            .await
            .map_err(|e| e.to_string())?;
    }

    Ok(())
}

async fn snapshot(parts: &BlockWriterParts, taker: Incarnation) -> Result<Arc<Manifest>, String> {
    if !parts.cutting.store.parts().completeness.is_complete() {
        return Err("this replica is being rebuilt itself".to_owned());
    }

    note_positions(parts).await?;
    let cutting = parts.cutting.clone();
    let made = parts
        .pool
        .call(move || cutting.snapshot(taker))
        .await
        .map_err(|e| e.to_string())?;

    made.map_err(|err| err.to_string())
}

async fn retain(parts: &BlockWriterParts, now_ms: i64) {
    let local_blocks = Arc::clone(&parts.cutting.local_blocks);
    let shards = parts.cutting.shards.clone();
    let options = parts.options.clone();
    let retained = parts.pool.call(move || {
        local_blocks.retain(
            now_ms,
            options.retention_ms,
            options.retention_bytes,
            options.only_shipped,
        );
        let series: usize = shards.iter().map(|shard| shard.total_series()).sum();
        (local_blocks.blocks().len(), series)
    });

    if let Ok((blocks, series)) = retained.await {
        parts.metrics.local_blocks.set(blocks as i64);
        parts.metrics.series.set(series as i64);
    }
}

/// Windows of the head and local blocks, oldest first.
fn windows(
    parts: &BlockWriterParts,
    tenant: Option<&Tenant>,
    closed: Option<i64>,
) -> Result<Value, HeadError> {
    let mut rows: Vec<(i64, Value)> = Vec::new();

    let mut digests = std::collections::BTreeMap::new();
    for shard in &parts.cutting.shards {
        for known in shard
            .tenants()
            .into_iter()
            .filter(|t| tenant.is_none_or(|wanted| wanted == t))
        {
            for (window, digest) in shard.window_digests(&known)? {
                let sum: &mut trireme_head::WindowDigest =
                    digests.entry((window, known.clone())).or_default();
                sum.merge(&digest);
            }
        }
    }

    let window_ms = parts.options.windows.window_ms;
    for ((window, tenant), digest) in digests {
        let state = if closed.is_some_and(|k| window <= k) {
            "closed"
        } else {
            "open"
        };
        let start = window * window_ms;
        let row = json!({ "tenant": tenant.as_str(), "window": window, "start_ms": start, "end_ms": start + window_ms,
            "state": state, "series": digest.series, "samples": digest.samples,
            "digest": format!("{:016x}", digest.digest), "ulid": null });
        rows.push((start, row));
    }

    for block in parts.cutting.local_blocks.blocks() {
        if tenant.is_some_and(|wanted| *wanted != block.tenant) {
            continue;
        }
        let meta = block.meta();
        let state = if block.is_shipped() { "shipped" } else { "cut" };
        let row = json!({ "tenant": block.tenant.as_str(), "window": meta.min_time.div_euclid(window_ms),
            "start_ms": meta.min_time, "end_ms": meta.max_time, "state": state, "series": meta.stats.num_series,
            "samples": meta.stats.num_samples, "digest": null, "ulid": meta.ulid.to_string() });
        rows.push((meta.min_time, row));
    }

    rows.sort_by_key(|(start, _)| *start);
    Ok(json!({ "windows": rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>() }))
}

crashes!(BlockWriter);

impl Actor for BlockWriter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(self.parts.options.tick, |actor, ctx| actor.tick(ctx));
    }
}

impl Handler<Delivery<GetWindows>> for BlockWriter {
    type Result = ();

    fn handle(&mut self, Delivery(envelope): Delivery<GetWindows>, _: &mut Context<Self>) {
        let (GetWindows { tenant }, work) = envelope.open();
        let parts = self.parts.clone();
        let closed = self.progress.closed;
        if !parts.cutting.store.replay().is_done() {
            return work.done(Err(CuttingError::Replaying.to_string()));
        }

        let pool = Arc::clone(&parts.pool);
        // A full pool drops the question, and the asker is told.
        let _ = pool.run(move || {
            work.done(windows(&parts, tenant.as_ref(), closed).map_err(|e| e.to_string()))
        });
    }
}

impl Handler<Delivery<Checkpoint>> for BlockWriter {
    type Result = ();

    fn handle(&mut self, Delivery(envelope): Delivery<Checkpoint>, ctx: &mut Context<Self>) {
        let (Checkpoint, work) = envelope.open();
        let parts = self.parts.clone();
        let answer = async move {
            let done = checkpoint(&parts).await;
            work.done(done.map(|done| {
                json!({ "series": done.series, "bytes": done.bytes, "trimmed_bytes": done.trimmed_bytes })
            }));
        };

        ctx.spawn(answer.into_actor(self));
    }
}

impl Handler<Delivery<TakeSnapshot>> for BlockWriter {
    type Result = ();

    fn handle(&mut self, Delivery(envelope): Delivery<TakeSnapshot>, ctx: &mut Context<Self>) {
        let (TakeSnapshot { taker }, work) = envelope.open();
        let parts = self.parts.clone();
        let answer = async move {
            let made = snapshot(&parts, taker).await;
            if let Err(err) = &made {
                parts.metrics.failures.inc();
                error!(parts.log, "no snapshot for a peer"; "peer_incarnation" => %taker, "err" => err);
            }
            work.done(made);
        };

        ctx.spawn(answer.into_actor(self));
    }
}
