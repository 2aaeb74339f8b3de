//! `Compacting`: merges blocks of the bucket into larger ones, downsamples them, and deletes what was merged.
//!
//! Any node may do any job, as all make the same block of the same sources. It is a matter of turn: the first of the live
//! members in a range's own ranking does it at once, the next ones only if it is still to be done after a while. What is
//! done is decided by `trireme_compaction`, of which this is the timer, the turn and the metrics.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::fut::WrapFuture;
use actix::{Actor, ActorFutureExt, AsyncContext, Context};
use futures::StreamExt;
use prometheus::{IntCounter, IntCounterVec, IntGauge};
use slog::{Logger, info, warn};
use trireme_base::Clock;
use trireme_block::{BlockMeta, resolution_text};
use trireme_bucket::{BucketBlock, Listing, MetaCache};
use trireme_compaction::{
    CompactionError, Compactor, CompactorParts, Done, FindLocal, Finished, Job, Limits, Plan, plan,
};
use trireme_model::Tenant;
use trireme_storage::LocalBlocks;
use trireme_telemetry::{Metrics, MetricsError};
use trireme_transport::Hub;
use ulid::Ulid;

use crate::canary::Canary;
use crate::delivery::{crasher, crashes};
use crate::supervisor::{Start, Started};
use crate::turn::Live;

/// The next member in line waits for so many looks before it does a job itself.
const TURN_LOOKS: u32 = 6;
/// What was merged may be merged further and downsampled: so often is looked again at once.
const LOOKS_AT_ONCE: usize = 16;

/// Metrics of compaction.
#[derive(Clone)]
pub struct CompactingMetrics {
    runs: IntCounterVec,
    failures: IntCounterVec,
    blocks_in: IntCounter,
    blocks_out: IntCounter,
    downsampled: IntCounterVec,
    read_bytes: IntCounterVec,
    written_bytes: IntCounter,
    marked: IntCounter,
    expired: IntCounter,
    deleted: IntCounter,
    backlog: IntGauge,
    too_large: IntGauge,
    last_success: IntGauge,
}

impl CompactingMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        let reason =
            "Jobs, marks and deletions that failed, by what was at fault; they are tried again.";
        let large = "Ranges that are not merged since their blocks are larger than the limit.";
        let by = "Bytes of blocks that were merged or downsampled, by where they were read.";
        let downsampled = "Blocks that this node has made of finer ones, by resolution.";

        Ok(Self {
            runs: metrics.counters(
                "trireme_compaction_runs_total",
                "Looks at the bucket, by result.",
                &["result"],
            )?,
            failures: metrics.counters("trireme_compaction_failures_total", reason, &["reason"])?,
            blocks_in: metrics.counter(
                "trireme_compaction_blocks_in_total",
                "Blocks that this node has merged into larger ones.",
            )?,
            blocks_out: metrics.counter(
                "trireme_compaction_blocks_out_total",
                "Blocks that they have become.",
            )?,
            downsampled: metrics.counters(
                "trireme_compaction_downsampled_blocks_total",
                downsampled,
                &["resolution"],
            )?,
            read_bytes: metrics.counters("trireme_compaction_read_bytes_total", by, &["from"])?,
            written_bytes: metrics.counter(
                "trireme_compaction_written_bytes_total",
                "Bytes of the blocks that were made of them.",
            )?,
            marked: metrics.counter(
                "trireme_compaction_marked_blocks_total",
                "Merged blocks that were marked for deletion.",
            )?,
            expired: metrics.counter(
                "trireme_compaction_expired_blocks_total",
                "Blocks that were marked for deletion since their retention is over.",
            )?,
            deleted: metrics.counter(
                "trireme_compaction_deleted_blocks_total",
                "Merged and expired blocks that were deleted.",
            )?,
            backlog: metrics.gauge(
                "trireme_compaction_backlog_jobs",
                "Jobs that are to be done by all nodes, as of the last look.",
            )?,
            too_large: metrics.gauge("trireme_compaction_too_large_ranges", large)?,
            last_success: metrics.gauge(
                "trireme_compaction_last_success_timestamp_seconds",
                "When a look at the bucket went well last.",
            )?,
        })
    }
}

/// What it works with; all of it outlives the actor.
#[derive(Clone)]
pub struct CompactingParts {
    /// What jobs are done with.
    pub compactor: CompactorParts,
    /// Which blocks the bucket has; nobody else refreshes it.
    pub listed: Arc<MetaCache>,
    /// What the planner goes by.
    pub limits: Limits,
    /// How long merged blocks stay.
    pub delete_delay: Duration,
    /// Time between looks.
    pub interval: Duration,
    /// Jobs at once.
    pub at_once: usize,
    /// Label that holds the tenant.
    pub tenant_label: String,
    /// Says who is alive.
    pub hub: Arc<Hub>,
    /// Bytes that may be written before the disk is too full.
    pub room: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Metrics.
    pub metrics: CompactingMetrics,
    /// Logger.
    pub log: Logger,
}

/// What a job is known by from one look to the next: labels, time and resolution of the result.
type JobKey = (BTreeMap<String, String>, Range<i64>, i64);

/// When jobs were seen first (monotonic time).
type Seen = HashMap<JobKey, Duration>;

/// The actor.
pub struct Compacting {
    parts: CompactingParts,
    /// None while a look is under way.
    seen: Option<Seen>,
    _canary: Canary,
}

impl Compacting {
    /// How the supervisor starts it.
    pub fn starter(parts: CompactingParts) -> Start {
        Box::new(move |canary| {
            let mut parts = parts.clone();
            parts.compactor.stop = Arc::default();
            let addr = Self {
                parts,
                seen: Some(Seen::new()),
                _canary: canary,
            }
            .start();

            Box::pin(async move {
                Ok(Started {
                    crash: crasher(addr),
                })
            })
        })
    }

    /// Reads blocks of these tenants from the local disk where they are there and good.
    pub fn from_shelf(local_blocks: &Arc<LocalBlocks>, tenant_label: &str) -> FindLocal {
        let local_blocks = Arc::clone(local_blocks);
        let label = tenant_label.to_owned();
        Arc::new(move |meta| {
            let tenant = Tenant::new(meta.external_labels()?.get(&label)?).ok()?;
            let found = local_blocks
                .find(&tenant, meta.ulid)
                .filter(|block| !block.is_damaged())?;
            Some(Arc::clone(&found.block))
        })
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let Some(seen) = self.seen.take() else { return };
        let looks = looks(self.parts.clone(), seen);
        ctx.spawn(
            looks
                .into_actor(self)
                .map(|seen, actor, _| actor.seen = Some(seen)),
        );
    }
}

crashes!(Compacting);

impl Actor for Compacting {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(self.parts.interval, |actor, ctx| actor.look(ctx));
    }
}

impl Drop for Compacting {
    /// Another one begins anew; what this one is at ends soon.
    fn drop(&mut self) {
        self.parts.compactor.stop.store(true, Ordering::Relaxed);
    }
}

/// Looks at the bucket and does what is due, until nothing is that this node can do.
async fn looks(parts: CompactingParts, mut seen: Seen) -> Seen {
    for _ in 0..LOOKS_AT_ONCE {
        let is_done = match one_look(&parts, &mut seen).await {
            Ok(jobs) => {
                parts.metrics.runs.with_label_values(&["good"]).inc();
                parts.metrics.last_success.set(parts.clock.now_ms() / 1_000);
                jobs == 0
            }
            Err(err) => {
                parts.metrics.runs.with_label_values(&["failed"]).inc();
                warn!(parts.log, "bucket cannot be listed, nothing is compacted"; "err" => %err);
                true
            }
        };
        if is_done || parts.compactor.stop.load(Ordering::Relaxed) {
            break;
        }
    }
    seen
}

/// Gives how many jobs were done.
async fn one_look(parts: &CompactingParts, seen: &mut Seen) -> Result<usize, CompactionError> {
    let listed = Arc::clone(&parts.listed);
    let store = Arc::clone(&parts.compactor.store);
    let refresh = async move { listed.refresh(store.as_ref(), Listing::Objects).await };

    let refreshed = parts.on_io(refresh).await??;
    for (ulid, err) in refreshed.failed.iter().chain(&refreshed.bad_marks) {
        warn!(parts.log, "meta or mark of a bucket block cannot be read"; "block_id" => %ulid, "err" => %err);
    }

    let blocks = parts.listed.blocks();
    let now_ms = parts.clock.now_ms();
    parts
        .finish(blocks.clone(), refreshed.partial, now_ms)
        .await?;

    let planned = plan(&blocks, now_ms, &parts.limits);
    parts.metrics.backlog.set(planned.jobs.len() as i64);
    parts.metrics.too_large.set(planned.too_large as i64);

    let due = parts.due(planned, seen);
    let jobs = due.into_iter().map(|job| parts.run(job));
    let results: Vec<bool> = futures::stream::iter(jobs)
        .buffer_unordered(parts.at_once.max(1))
        .collect()
        .await;

    Ok(results.into_iter().filter(|is_done| *is_done).count())
}

impl CompactingParts {
    /// Whose blocks these are.
    fn tenant(&self, labels: Option<&BTreeMap<String, String>>) -> Tenant {
        let named = labels.and_then(|labels| labels.get(&self.tenant_label));
        named
            .and_then(|name| Tenant::new(name).ok())
            .unwrap_or_default()
    }

    /// The jobs whose turn it is.
    fn due(&self, planned: Plan, seen: &mut Seen) -> Vec<Job> {
        let (now, live) = (self.clock.monotonic(), Live::now(&self.hub));
        let before = std::mem::take(seen);

        let mut due = Vec::new();
        for job in planned.jobs {
            let key = (job.labels.clone(), job.range.clone(), job.resolution_ms);
            let first = before.get(&key).copied().unwrap_or(now);
            seen.insert(key, first);
            let turn = live.before_me(&self.tenant(Some(&job.labels)), job.range.end);
            if now.saturating_sub(first) >= self.interval * (TURN_LOOKS * turn) {
                due.push(job);
            }
        }

        due
    }

    /// Runs on the runtime for I/O: the actor's thread only waits.
    async fn on_io<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, CompactionError> {
        let done = self.compactor.runtime.spawn(work).await;
        done.map_err(|error| CompactionError::Thread(error.to_string()))
    }

    /// Marks and deletes the blocks that are this node's to look after.
    async fn finish(
        &self,
        blocks: Vec<Arc<BucketBlock>>,
        partial: Vec<Ulid>,
        now_ms: i64,
    ) -> Result<(), CompactionError> {
        let live = Live::now(&self.hub);
        let is_mine = |meta: &BlockMeta| {
            live.before_me(&self.tenant(meta.external_labels()), meta.max_time) == 0
        };
        let metas = blocks.iter().map(|block| &block.meta);
        let mine: HashSet<Ulid> = metas
            .filter(|meta| is_mine(meta))
            .map(|meta| meta.ulid)
            .collect();
        let compactor = Compactor::new(self.compactor.clone());
        let limits = self.limits.clone();
        let times = (now_ms / 1_000, self.delete_delay);
        let finish = async move {
            let is_mine = |meta: &BlockMeta| mine.contains(&meta.ulid);
            compactor
                .finish(&blocks, &partial, &limits, times, &is_mine)
                .await
        };

        self.note_finished(&self.on_io(finish).await?);
        Ok(())
    }

    /// Does a job; false if it was not done.
    async fn run(&self, job: Job) -> bool {
        let needed = job.bytes();

        let room = (self.room)();
        if room < needed {
            self.metrics.failures.with_label_values(&["disk"]).inc();
            warn!(self.log, "no room on the disk to compact blocks"; "bytes" => needed, "room" => room);
            return false;
        }

        let began = self.clock.monotonic();
        let compactor = Compactor::new(self.compactor.clone());
        let given = job.clone();
        let now_s = self.clock.now_ms() / 1_000;
        let compacted = self
            .on_io(async move { compactor.compact(&given, now_s).await })
            .await;

        match compacted.and_then(|result| result) {
            Ok(done) => {
                let elapsed = self.clock.monotonic().saturating_sub(began);
                self.note_done(&job, &done, elapsed);
                true
            }
            Err(CompactionError::Stopped) => false,
            Err(err) => {
                self.metrics
                    .failures
                    .with_label_values(&[err.reason()])
                    .inc();
                warn!(self.log, "blocks were not compacted, it will be tried again"; "labels" => ?job.labels,
                    "resolution" => resolution_text(job.resolution_ms), "from_ms" => job.range.start,
                    "to_ms" => job.range.end, "blocks" => job.sources.len(), "err" => %err);
                false
            }
        }
    }

    fn note_done(&self, job: &Job, done: &Done, elapsed: Duration) {
        let metrics = &self.metrics;
        metrics
            .read_bytes
            .with_label_values(&["local"])
            .inc_by(done.read.local);
        metrics
            .read_bytes
            .with_label_values(&["bucket"])
            .inc_by(done.read.bucket);
        metrics.written_bytes.inc_by(done.bytes);
        metrics.marked.inc_by(done.marked.len() as u64);

        let resolution = resolution_text(job.resolution_ms);
        let Some(meta) = &done.meta else {
            let sources = job
                .sources
                .iter()
                .map(|source| source.meta.ulid.to_string())
                .collect::<Vec<_>>();
            info!(self.log, "a block has no samples to downsample and was marked"; "block_id" => sources.join(" "),
                "labels" => ?job.labels, "resolution" => resolution);
            return;
        };

        let what = match job.is_downsampling() {
            true => {
                metrics
                    .downsampled
                    .with_label_values(&[resolution.as_str()])
                    .inc();
                "a block was downsampled"
            }
            false => {
                metrics.blocks_in.inc_by(job.sources.len() as u64);
                metrics.blocks_out.inc();
                "blocks were compacted"
            }
        };

        info!(self.log, "{}", what; "block_id" => %meta.ulid, "labels" => ?job.labels, "resolution" => resolution,
            "level" => meta.compaction.level, "blocks" => job.sources.len(), "bytes" => done.bytes,
            "samples" => meta.stats.num_samples, "new" => done.is_new, "elapsed_ms" => elapsed.as_millis() as u64);
    }

    fn note_finished(&self, finished: &Finished) {
        self.metrics.marked.inc_by(finished.marked.len() as u64);
        self.metrics.expired.inc_by(finished.expired.len() as u64);
        self.metrics.deleted.inc_by(finished.deleted.len() as u64);
        let tell = |ulids: &[Ulid], what: &str| {
            if let Some(example) = ulids.first() {
                info!(self.log, "blocks of the bucket were {}", what; "blocks" => ulids.len(), "example" => %example);
            }
        };

        tell(
            &finished.marked,
            "marked for deletion, since they are compacted",
        );
        tell(
            &finished.expired,
            "marked for deletion, since their retention is over",
        );
        tell(&finished.deleted, "deleted");

        for (ulid, err) in &finished.failed {
            self.metrics.failures.with_label_values(&["finish"]).inc();
            warn!(self.log, "a block was not marked or deleted, it will be tried again";
                "block_id" => %ulid, "err" => %err);
        }
    }
}
