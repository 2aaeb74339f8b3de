//! The node's log as the other parts see it: news of the log's thread go out from here, records of peers come in.
//!
//! ```text
//!  log thread ──written──▶ Commits (a write's seq)   Hub (push to peers)   ApplyQueue of the shard (foreign records)
//!             ──durable──▶ Commits (own copy)        Hub (acknowledge)
//!  Ingest     ──applied──▶ ApplyTracker ──▶ Hub (a peer gets room for more)
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use prometheus::{Histogram, IntCounter};
use slog::{Logger, crit, error};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use trireme_base::pool::CpuPool;
use trireme_base::{Clock, Ended, Incarnation, NodeName, StreamId};
use trireme_head::Shard;
use trireme_log::{CompletionTag, Log, LogError, LogObserver, OwnPlace, ReplayPlan, SyncReport};
use trireme_replication::{
    DisconnectReason, Ends, PeerIdentity, PositionVector, ReadFault, Timekeeper,
};
use trireme_telemetry::{Metrics, MetricsError};
use trireme_transport::{AppendRefused, Hub, Intake, ReplicaStore};
use trireme_wire::frame::Health;
use trireme_wire::record::{ALL_SHARDS, Record};

use crate::apply_queue::ApplyQueue;
use crate::apply_tracker::ApplyTracker;
use crate::closing::Windows;
use crate::commits::Commits;
use crate::completeness::Completeness;
use crate::gate::{Gate, GateState};
use crate::pending_appends::PendingAppends;
use crate::replay::Replay;

/// Metrics of the log.
pub struct StoreMetrics {
    sync_seconds: Histogram,
    written_bytes: IntCounter,
    written_records: IntCounter,
    refused: IntCounter,
}

impl StoreMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            sync_seconds: metrics
                .seconds("trireme_log_fsync_seconds", "Time of one fsync of the log.")?,
            written_bytes: metrics.counter(
                "trireme_log_written_bytes_total",
                "Bytes written to the log.",
            )?,
            written_records: metrics.counter(
                "trireme_log_written_records_total",
                "Records written to the log.",
            )?,
            refused: metrics.counter(
                "trireme_log_refused_total",
                "Appends the log refused, for example on a full disk.",
            )?,
        })
    }
}

/// What a store is made of.
pub struct StoreParts {
    /// This process's stream.
    pub own: StreamId,
    /// News for peers.
    pub hub: Arc<Hub>,
    /// Waiting writes.
    pub commits: Arc<Commits>,
    /// The shards.
    pub shards: Vec<Arc<Shard>>,
    /// A lane a shard.
    pub apply_queues: Vec<Arc<ApplyQueue>>,
    /// Drafts on their way to the log, an entry a shard.
    pub pending: Vec<Arc<PendingAppends>>,
    /// Whether this replica has everything.
    pub completeness: Arc<Completeness>,
    /// The write gate, closed when the log fails.
    pub gate: Arc<Gate>,
    /// Reads of old records run here.
    pub pool: Arc<CpuPool>,
    /// Metrics.
    pub metrics: StoreMetrics,
    /// Logger.
    pub log: Logger,
}

/// Joins log, commits, peers and shards.
pub struct Store {
    parts: StoreParts,
    tracker: Mutex<ApplyTracker>,
    /// Rings when a peer's stream has moved.
    moved: Notify,
    opened: OnceLock<Arc<Log>>,
    replay: Replay,
    last_sync_us: AtomicU64,
    time: Mutex<Timekeeper>,
    ends: Mutex<Arc<Ends>>,
}

impl Store {
    /// A store whose log is not open yet: the log needs it as its observer first.
    pub fn new(parts: StoreParts) -> Self {
        Self {
            parts,
            tracker: Mutex::default(),
            moved: Notify::new(),
            opened: OnceLock::new(),
            replay: Replay::default(),
            last_sync_us: AtomicU64::new(0),
            time: Mutex::default(),
            ends: Mutex::default(),
        }
    }

    /// The log is open and was looked through: peers may hear what it has, and `plan` will be replayed.
    pub fn attach(&self, log: Arc<Log>, plan: &ReplayPlan) {
        {
            let mut tracker = self.tracker.lock();
            tracker.replaying(plan.to().into_iter().map(|(stream, _)| (stream, 0)));
            tracker.replaying(plan.from());
        }

        self.replay.planned(plan);
        self.note_ended(log.ended());
        self.parts.hub.durable(&log.durable_positions());

        // Only the node's start calls this, once.
        let _ = self.opened.set(log);
    }

    /// The plan was replayed: the head is whole, and what peers sent meanwhile may be applied.
    pub fn replayed(&self, plan: &ReplayPlan) {
        self.tracker.lock().replayed(plan.to());
        for (stream, seq) in plan.to() {
            self.parts.hub.applied(stream, seq);
        }
        self.replay.done();
        self.parts
            .apply_queues
            .iter()
            .for_each(|apply_queue| apply_queue.release());
    }

    /// This node has settled these streams, as peers are told.
    pub fn note_settled(&self, settled: Ended) {
        let mut ends = self.ends.lock();
        if ends.settled != settled {
            *ends = Arc::new(Ends {
                settled,
                ended: ends.ended.clone(),
            });
        }
    }

    /// Streams have ended: everybody here lets go of them, and peers are told.
    pub fn end(&self, streams: &Ended) -> Result<(), LogError> {
        let ended = self.log().end(streams)?;
        self.note_ended(ended);
        Ok(())
    }

    fn note_ended(&self, ended: Ended) {
        self.tracker.lock().end(&ended);
        self.parts.hub.end(&ended);
        self.parts
            .shards
            .iter()
            .for_each(|shard| shard.end_streams(&ended));

        let mut ends = self.ends.lock();
        if ends.ended != ended {
            *ends = Arc::new(Ends {
                settled: ends.settled.clone(),
                ended,
            });
        }
    }

    /// A vector of positions of the log.
    fn vector(&self, positions: Vec<(StreamId, u64)>) -> PositionVector {
        let mut vector: PositionVector = positions.into_iter().collect();
        vector.end(&self.ends.lock().ended);
        vector
    }

    /// How far this node's start is.
    pub fn replay(&self) -> &Replay {
        &self.replay
    }

    /// The open log.
    pub fn log(&self) -> &Arc<Log> {
        self.opened
            .get()
            .expect("BUG: the log is attached before actors start")
    }

    /// The parts it was made of.
    pub fn parts(&self) -> &StoreParts {
        &self.parts
    }

    /// Puts a record of a peer into the lanes of its shards.
    fn dispatch(&self, record: &Record) {
        let stream = record.stream();
        let seq = record.seq();
        let apply_queues = &self.parts.apply_queues;
        let to = match record.shard() {
            ALL_SHARDS => apply_queues.as_slice(),
            shard => match apply_queues.get(usize::from(shard)) {
                Some(apply_queue) => std::slice::from_ref(apply_queue),
                // The handshake compares shard counts, so this is damage that its checksum did not show.
                None => {
                    error!(self.parts.log, "record for a shard that does not exist";
                        "stream" => %stream, "seq" => seq, "shard" => shard);
                    self.parts.completeness.note_unapplied();
                    &[]
                }
            },
        };

        let is_new = self.tracker.lock().dispatched(stream, seq, to.len() as u16);
        if is_new {
            to.iter()
                .for_each(|apply_queue| apply_queue.push(record.clone()));
        }

        if !is_new || to.is_empty() {
            // Nobody else would give the peer room again for what it has sent.
            self.parts
                .hub
                .applied(stream, self.applied_position(stream));
        }
    }

    /// A shard has applied a record.
    pub fn applied(&self, stream: StreamId, seq: u64) {
        let moved = self.tracker.lock().applied(stream, seq);
        if let Some(position) = moved {
            self.parts.hub.applied(stream, position);
            self.moved.notify_waiters();
        }
    }

    /// The time by which windows are closed and retention counts (ms since the epoch): the group's where a majority agrees,
    /// see [`Timekeeper`].
    pub fn now_ms(&self, clock: &dyn Clock) -> i64 {
        let wall_ms = clock.now_ms();
        let now = clock.monotonic();
        let newest_ms = self.newest_ms();
        let word = self.parts.hub.group().lock().clock_word(wall_ms, now);
        self.time.lock().now_ms(word, wall_ms, now, newest_ms)
    }

    /// The last window that this node's stream may close now; `None` while no sample asks for it.
    pub fn due_window(&self, clock: &dyn Clock, windows: Windows) -> Option<i64> {
        let now_ms = self.now_ms(clock);
        let over = windows.over(now_ms);
        let asked = self
            .parts
            .shards
            .iter()
            .flat_map(|shard: &Arc<Shard>| [shard.waiting_cut(over), shard.closed_up_to(over)])
            .flatten();

        windows.due(now_ms, self.newest_ms(), asked)
    }

    /// The newest sample in the head (ms).
    pub fn newest_ms(&self) -> Option<i64> {
        self.parts
            .shards
            .iter()
            .filter_map(|shard| shard.newest_ms())
            .max()
    }

    /// Ends when more of a peer's stream has been applied since the call.
    pub fn moved(&self) -> Notified<'_> {
        self.moved.notified()
    }

    /// Somebody waits for what has come from peers: has the shards apply it now.
    pub fn hurry(&self) {
        self.parts
            .apply_queues
            .iter()
            .for_each(|apply_queue| apply_queue.hurry());
    }

    /// How far a stream is applied in all shards.
    pub fn applied_position(&self, stream: StreamId) -> u64 {
        self.tracker.lock().position(stream)
    }

    /// How far every stream is applied in all shards.
    pub fn applied_positions(&self) -> Vec<(StreamId, u64)> {
        self.tracker.lock().positions()
    }
}

impl LogObserver for Store {
    fn written(&self, record: &Record, own: Option<OwnPlace>) {
        let stream = record.stream();

        let seq = record.seq();
        match own {
            Some(place) => {
                self.parts.commits.given_out(seq);
                // The shard applied it before it was logged.
                self.tracker.lock().recovered(stream, seq);
                self.parts
                    .shards
                    .iter()
                    .for_each(|shard| shard.own_written(record));

                if place.last {
                    if let Some(pending) = self.parts.pending.get(usize::from(record.shard())) {
                        pending.written(place.tag);
                    }
                    self.parts.commits.written(place.tag, seq);
                }
            }
            None => self.dispatch(record),
        }

        self.parts.hub.written(record);
    }

    fn batch_written(&self) {
        self.parts.hub.batch_written();
        self.parts
            .apply_queues
            .iter()
            .for_each(|apply_queue| apply_queue.tell());
    }

    fn durable(&self, positions: &[(StreamId, u64)]) {
        if let Some((_, seq)) = positions
            .iter()
            .find(|(stream, _)| *stream == self.parts.own)
        {
            self.parts.commits.own_durable(*seq);
        }
        self.parts.hub.durable(positions);
    }

    fn refused(&self, tag: CompletionTag, error: &LogError) {
        self.parts.metrics.refused.inc();
        self.parts.gate.set(GateState::DiskFull);
        self.parts.commits.refuse(tag, &error.to_string());
    }

    fn failed(&self, error: &LogError) {
        crit!(self.parts.log, "log failed, this node takes no writes until it is restarted"; "err" => %error);
        self.parts.gate.set(GateState::LogFailed);
        self.parts.commits.refuse_all("the log of this node failed");
    }

    fn synced(&self, report: &SyncReport) {
        let metrics = &self.parts.metrics;
        metrics.written_bytes.inc_by(report.bytes as u64);
        metrics.written_records.inc_by(report.records as u64);

        if let Some(sync) = report.sync {
            metrics.sync_seconds.observe(sync.as_secs_f64());
            self.last_sync_us.store(
                u64::try_from(sync.as_micros()).unwrap_or(u64::MAX),
                Ordering::Relaxed,
            );
        }
    }
}

impl ReplicaStore for Store {
    fn written(&self) -> PositionVector {
        self.vector(self.log().written_positions())
    }

    fn durable(&self) -> PositionVector {
        self.vector(self.log().durable_positions())
    }

    fn taken(&self) -> PositionVector {
        self.vector(self.log().taken_positions())
    }

    fn intake(&self) -> Intake {
        Intake {
            is_open: self.log().admit().is_ok(),
            refusals: self.log().own_epoch(),
        }
    }

    fn append(&self, records: Vec<Record>) -> Result<(), AppendRefused> {
        let stream = records.first().map(Record::stream);
        match self.log().append_foreign(records) {
            Ok(taken) => {
                // What is here already is applied once only, and nobody else would give the peer room again for it.
                if let Some(stream) = stream.filter(|_| taken.duplicates > 0) {
                    self.parts
                        .hub
                        .applied(stream, self.applied_position(stream));
                }
                Ok(())
            }
            // The peer keeps the records.
            Err(_) => Err(AppendRefused::Busy),
        }
    }

    fn read(
        &self,
        stream: StreamId,
        from_seq: u64,
        max_bytes: u64,
    ) -> BoxFuture<'static, Result<Vec<Record>, ReadFault>> {
        let log = Arc::clone(self.log());
        let pool = Arc::clone(&self.parts.pool);
        let bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);

        Box::pin(async move {
            let read = pool.call(move || {
                let records = log.read(stream, from_seq, bytes);
                records.map_err(|error| match error {
                    LogError::Gone { .. } => ReadFault::Trimmed {
                        first_seq: log.first_seq(stream).unwrap_or(u64::MAX),
                    },
                    other => ReadFault::Failed(other.to_string()),
                })
            });
            read.await
                .unwrap_or_else(|error| Err(ReadFault::Failed(error.to_string())))
        })
    }

    fn peer_up(&self, peer: &PeerIdentity) {
        self.parts.commits.trust(&peer.node, peer.incarnation);
    }

    fn peer_durable(
        &self,
        peer: &NodeName,
        incarnation: Incarnation,
        positions: &PositionVector,
        epoch: u64,
    ) -> Result<(), DisconnectReason> {
        let stream = self.parts.own;
        let claimed = positions.get(self.parts.own);
        if claimed == 0 {
            return Ok(());
        }

        let commits = &self.parts.commits;
        if claimed > commits.highest_given_out() {
            // Peers read the log's records before its thread has told this side of them.
            let written = self.vector(self.log().written_positions()).get(stream);
            commits.given_out(written);
            let written = commits.highest_given_out();
            if claimed > written {
                return Err(DisconnectReason::SecondWriter {
                    stream,
                    written,
                    claimed,
                });
            }
        }

        commits.peer_durable(peer, incarnation, claimed, epoch);
        Ok(())
    }

    fn health(&self) -> Health {
        let state = self.parts.gate.state();
        let completeness = &self.parts.completeness;
        Health {
            ready: state == GateState::Open,
            draining: matches!(state, GateState::Draining | GateState::Stopping),
            disk_full: state == GateState::DiskFull,
            fsync_us: self.last_sync_us.load(Ordering::Relaxed),
            writes_waiting: self.parts.commits.waiting() as u64,
            // To peers, whose positions do not show it, it is the same: nothing may be built on this replica having all.
            rebuilding: !completeness.is_complete()
                || self.parts.hub.group().lock().has_missed_ends(),
            has_history: completeness.has_history(),
            rebuilt_permille: completeness.permille(),
            left_behind: completeness.is_left_behind(),
        }
    }

    fn ends(&self) -> Arc<Ends> {
        Arc::clone(&self.ends.lock())
    }
}
