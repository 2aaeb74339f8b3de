//! A running node: the product's parts, put together as `trireme-node` does it, without actors, sockets and threads.

mod rebuild;
mod ring;
mod session;
mod settings;
mod upkeep;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use slog::{Discard, Logger, o};
use trireme_base::{Clock, Incarnation, NodeName, StreamId};
use trireme_head::{CutManifest, HeadError, IngestOutput, Shard, ShardOptions, covered_by_all};
use trireme_log::{Log, LogOptions, ReplayPlan};
use trireme_mailbox::{Port, PortMetrics};
use trireme_replication::{
    CommitTracker, GroupLimits, GroupView, PeerIdentity, PeerLink, PositionVector, Rebuild,
    RebuildLimits,
};
use trireme_ring::{Quorum, Ring};
use trireme_storage::{
    ApplyQueue, BlockStyle, ClockMetrics, ClockWatch, Commits, Completeness, Cutting, ENDED, Gate,
    GateState, HeadMetrics, LimitsTable, LocalBlocks, PendingAppends, PoisonFlag, ShardWriter,
    ShardWriterParts, Snapshots, Store, StoreMetrics, StoreParts,
};
use trireme_telemetry::Metrics;
use trireme_transport::{Hub, Lineage, Processes, Witnesses, note_start};
use trireme_wire::entry::read_marker;
use trireme_wire::frame::Frame;

use crate::clock::SimClock;
use crate::disk::SimDisk;
use crate::history::SentBatch;
use crate::mutation::Mutation;
use crate::request::Request;
use crate::scenario::Scenario;
use crate::staging::{self, Staging};
use session::Session;
use settings::{
    ACK_TIMEOUT, MANIFEST, WAITERS_MAX, limits, link_config, log_options, make_folders, pool,
};

pub use settings::{SHARDS, WINDOW_MS, WINDOWS};
pub use upkeep::Interruption;

/// What the world has to do for a node.
#[derive(Debug)]
pub enum Out {
    /// Put a frame on its way to a peer.
    Send(usize, Box<Frame>),
    /// Read the log and answer.
    Read(usize, StreamId, u64, u64),
    /// The node gives the connection to a peer up. True if the own log is the reason.
    HangUp(usize, String, bool),
    /// The node must not run: its data directory was set back, or is a copy of one that runs.
    Refused(String),
}

/// What a process is started with.
pub struct Start<'a> {
    /// The machine's number.
    pub index: usize,
    /// Names of all members.
    pub names: &'a [NodeName],
    /// Its data directory.
    pub dir: &'a Path,
    /// Identity of that directory, and which start of it this is.
    pub stream: StreamId,
    /// Drawn at random when the process starts.
    pub number: u64,
    /// The disk under the log.
    pub disk: &'a SimDisk,
    /// Its clocks.
    pub clock: &'a SimClock,
    /// The run.
    pub scenario: &'a Scenario,
    /// The ring on its disk, where rings change.
    pub ring: Option<&'a Ring>,
    /// The rebuild that an earlier process left.
    pub staging: &'a Staging,
    /// The bug, if one is put in.
    pub mutation: Option<Mutation>,
}

/// The process of one machine.
pub struct Process {
    pub(crate) identity: PeerIdentity,
    pub(crate) lineage: Lineage,
    processes: Processes,
    witnesses: Witnesses,
    pub(crate) names: Vec<NodeName>,
    pub(crate) clock: SimClock,
    pub(crate) mutation: Option<Mutation>,
    trims: bool,
    pub(crate) log: Arc<Log>,
    pub(crate) store: Arc<Store>,
    pub(crate) shards: Vec<Arc<Shard>>,
    pub(crate) writers: Vec<ShardWriter>,
    writer_parts: Vec<ShardWriterParts>,
    pub(crate) commits: Arc<Commits>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) local_blocks: Arc<LocalBlocks>,
    cutting: Cutting,
    /// What its checkpoints covered when it started.
    pub(crate) covered: Vec<(StreamId, u64)>,
    plan: Option<ReplayPlan>,
    clock_watch: ClockWatch,
    rebuild: Rebuild,
    /// What it had when it last got something, and since when; for one of the bugs.
    moved: (PositionVector, Duration),
    links: BTreeMap<usize, PeerLink>,
    sessions: BTreeMap<usize, Session>,
    pub(crate) requests: Vec<Request>,
    closed: Option<i64>,
    /// The cut of late samples of a stream that had only its node's clock to begin by.
    pub(crate) first_cut: Option<i64>,
    checkpoint_at: Duration,
    checkpoint_every: Duration,
    /// The last window that was over when idle series were collected.
    collected: i64,
    /// The incarnation in which each peer was seen first; for one of the bugs.
    first_seen: BTreeMap<usize, Incarnation>,
    /// The quorum of the ring at the start; for one of the bugs.
    first_quorum: Quorum,
}

impl Process {
    /// Starts on whatever is on the disk.
    pub fn start(start: &Start<'_>) -> anyhow::Result<Self> {
        let Start {
            index,
            names,
            dir,
            stream: own,
            scenario,
            mutation,
            ..
        } = *start;

        make_folders(dir)?;
        let shared: Arc<dyn Clock> = Arc::new(start.clock.clone());
        let quiet = Logger::root(Discard, o!());
        let (shards, covered) = open_shards(start)?;
        let me = names[index].clone();
        let identity = PeerIdentity {
            node: me.clone(),
            incarnation: own.incarnation,
            boot: own.boot,
        };

        let voters = &names[..scenario.voters];
        let quorum = Quorum::new(voters.to_vec(), scenario.voters);
        let mut first_quorum = quorum.clone();
        let now = shared.monotonic();
        let peers = names.to_vec();
        let view = GroupView::new(
            identity.clone(),
            quorum.clone(),
            peers,
            GroupLimits::default(),
            now,
        );

        let counted = match mutation {
            Some(Mutation::AckBeforeQuorum) => Quorum::new([me.clone()], 1),
            Some(Mutation::CountJoining) => {
                // In the place of one that counts.
                let dropped = voters.iter().position(|name| *name != me);
                let counted = names
                    .iter()
                    .enumerate()
                    .filter(|(n, _)| Some(*n) != dropped);
                let counted: Vec<NodeName> = counted.map(|(_, name)| name.clone()).collect();
                if scenario.has_joining {
                    Quorum::new(counted, scenario.voters)
                } else {
                    quorum
                }
            }
            _ => quorum,
        };

        let tracker = CommitTracker::new(own, me, counted, WAITERS_MAX);
        let metrics = Metrics::default();
        let gate = Arc::new(Gate::default());
        let commits = Arc::new(Commits::new(Arc::clone(&shared), tracker));
        let hub = Arc::new(Hub::new(view, 4_000));
        let apply_queues: Vec<Arc<ApplyQueue>> = shards
            .iter()
            .map(|_| {
                Arc::new(ApplyQueue::new(Port::new(
                    "lane",
                    512,
                    PortMetrics::unregistered(),
                )))
            })
            .collect();
        let pending: Vec<Arc<PendingAppends>> = shards.iter().map(|_| Arc::default()).collect();
        let store = Arc::new(Store::new(StoreParts {
            own,
            hub: Arc::clone(&hub),
            commits: Arc::clone(&commits),
            shards: shards.clone(),
            apply_queues: apply_queues.clone(),
            pending: pending.clone(),
            completeness: Arc::new(Completeness::new(start.staging.is_complete())),
            gate: Arc::clone(&gate),
            pool: pool()?,
            metrics: StoreMetrics::new(&metrics)?,
            log: quiet.clone(),
        }));

        let local_blocks = Arc::new(LocalBlocks::open(&dir.join("blocks"), quiet.clone())?);
        let path = dir.join("log");
        let observer = Arc::clone(&store);
        let ended = Log::load_ended(&dir.join(ENDED))?.unwrap_or_default();
        let (log, _) = Log::open_without_thread(
            &path,
            LogOptions {
                ended,
                ..log_options(start)
            },
            own,
            &covered,
            observer,
            Arc::clone(&shared),
        )?;

        let log = Arc::new(log);
        let plan = log.plan_replay(&covered)?;
        let logged = plan
            .markers
            .iter()
            .filter_map(|payload| read_marker(payload).ok());
        let known = shards
            .iter()
            .flat_map(|shard| shard.streams())
            .filter_map(|stream| stream.marker);
        let markers: Vec<i64> = known.chain(logged).collect();

        store.attach(Arc::clone(&log), &plan);

        let was_cut = shards.iter().any(|shard| shard.last_cut().is_some());
        if was_cut || !log.is_whole() || !local_blocks.blocks().is_empty() {
            store.parts().completeness.note_history();
        }

        let lease = Duration::from_secs(600);
        let snapshots = Snapshots::open(
            &dir.join("snapshots"),
            lease,
            Arc::clone(&shared),
            quiet.clone(),
        )?;

        let cutting = Cutting {
            store: Arc::clone(&store),
            shards: shards.clone(),
            local_blocks: Arc::clone(&local_blocks),
            manifest: dir.join(MANIFEST),
            style: BlockStyle::default(),
            seal_after: match mutation {
                Some(Mutation::SealAtOnce) => Duration::ZERO,
                _ => scenario.seal_after,
            },
            blocks_at_once: 1,
            log_retention_bytes: scenario.log_retention_bytes,
            log_retention: Duration::from_secs(86_400 * 365),
            snapshots: Arc::new(snapshots),
            maintenance_lock: Arc::default(),
            clock: Arc::clone(&shared),
        };

        let head_metrics = HeadMetrics::new(&metrics)?;
        let limits = Arc::new(LimitsTable::new(limits(), []));
        let parts = |((shard, apply_queue), pending): (
            (&Arc<Shard>, &Arc<ApplyQueue>),
            &Arc<PendingAppends>,
        )| {
            ShardWriterParts {
                shard: Arc::clone(shard),
                mark: Arc::new(PoisonFlag::default()),
                store: Arc::clone(&store),
                apply_queue: Arc::clone(apply_queue),
                pending: Arc::clone(pending),
                limits: Arc::clone(&limits),
                ack_timeout: ACK_TIMEOUT,
                clock: Arc::clone(&shared),
                metrics: head_metrics.clone(),
                log: quiet.clone(),
            }
        };

        let writer_parts: Vec<ShardWriterParts> = shards
            .iter()
            .zip(&apply_queues)
            .zip(&pending)
            .map(parts)
            .collect();

        let mut writers: Vec<ShardWriter> =
            writer_parts.iter().cloned().map(ShardWriter::new).collect();
        let newest_ms = store.newest_ms().max(cutting.local_blocks.newest_ms());

        let closed = WINDOWS.opening(shared.now_ms(), newest_ms, markers);
        if mutation != Some(Mutation::OpenWithoutMarker) {
            for writer in &mut writers {
                writer.close_window(closed).context("cannot open the log")?;
            }
        }

        if mutation == Some(Mutation::ApplyBeforeReplay) {
            apply_queues
                .iter()
                .for_each(|apply_queue| apply_queue.release());
        }

        if scenario.races {
            start
                .clock
                .race()
                .enter(scenario.seed ^ u64::from(own.boot.0), Arc::downgrade(&log));
        }

        gate.set(GateState::Open);
        if let Some(place) = start
            .ring
            .and_then(|ring| ring::Place::of(ring, &identity.node))
        {
            first_quorum = place.group.quorum.clone();
            commits.set_quorum(place.group.epoch, place.group.quorum.clone(), []);
            hub.set_ring(place.group, now);
            gate.set_by_ring(place.gate);
        }

        let clock_watch = ClockWatch {
            hub: Arc::clone(&hub),
            clock: Arc::clone(&shared),
            gate: Arc::clone(&gate),
            metrics: ClockMetrics::new(&metrics)?,
            log: quiet.clone(),
        };

        let process = Self {
            lineage: match mutation {
                Some(Mutation::ForgetStarts) => Lineage::from(start.number),
                _ => note_start(&dir.join("starts"), own.boot, start.number, &quiet),
            },
            processes: Processes::open(
                (mutation != Some(Mutation::ForgetProcesses)).then(|| dir.join("processes")),
                &quiet,
            ),
            witnesses: Witnesses::default(),
            // Another machine of this name is a stranger that says to be this one.
            links: (0..names.len())
                .filter(|peer| names[*peer] != names[index])
                .map(|peer: usize| {
                    (
                        peer,
                        PeerLink::new(identity.clone(), names[peer].clone(), link_config()),
                    )
                })
                .collect(),
            sessions: BTreeMap::new(),
            names: names.to_vec(),
            clock: start.clock.clone(),
            trims: scenario.trims,
            requests: Vec::new(),
            closed: None,
            first_cut: newest_ms.is_none().then_some(closed + 1),
            checkpoint_at: now,
            checkpoint_every: scenario.checkpoint_every,
            collected: i64::MIN,
            first_seen: BTreeMap::new(),
            first_quorum,
            covered,
            plan: Some(plan),
            clock_watch,
            rebuild: rebuild_of(start),
            moved: (PositionVector::new(), now),
            identity,
            mutation,
            log,
            store,
            shards,
            writers,
            writer_parts,
            commits,
            hub,
            gate,
            local_blocks,
            cutting,
        };

        process.show_rebuild();
        Ok(process)
    }

    /// Applies what is in the log behind the checkpoints.
    pub fn replay(&mut self) -> Result<(), String> {
        let Some(plan) = self.plan.take() else {
            return Ok(());
        };

        let watch = self.store.replay().watch();
        let ends: BTreeMap<StreamId, u64> = plan.to().into_iter().collect();
        let drops_tail = self.mutation == Some(Mutation::DropTail);
        let report = self.log.replay(&plan, SHARDS, 1, watch, |shard, record| {
            let is_last = ends.get(&record.stream()) == Some(&record.seq());
            let is_old = record.stream().incarnation == self.identity.incarnation;
            if !(drops_tail && is_last && is_old) {
                // A record that cannot be applied in full shows in the comparison at the end.
                let _ = self.shards[usize::from(shard)].apply(record);
            }
        });

        report.map_err(|e| format!("replay: {e}"))?;
        self.store.replayed(&plan);
        Ok(())
    }

    /// Records of peers wait for a shard.
    pub fn waits_for(&self, shard: usize) -> bool {
        self.writers[shard].apply_queue().has_work()
    }

    /// The writer of a shard dies between two changes, and another one takes its place.
    pub fn replace_writer(&mut self, shard: usize) {
        if self.mutation == Some(Mutation::LoseLane) {
            drop(self.writers[shard].apply_queue().take(usize::MAX));
        }
        self.writers[shard] = ShardWriter::new(self.writer_parts[shard].clone());
    }

    /// The writers of the shards die with a change that is half done: it is in the head, and nothing of it is in the log.
    pub fn half_change(&mut self, sent: &SentBatch) {
        let now_ms = self.clock.now_ms();
        for shard in &self.shards {
            let indexes: Vec<u32> = (0..sent.batch.series.len() as u32)
                .filter(|at: &u32| {
                    sent.batch.series[*at as usize].key.shard(SHARDS) == shard.options().number
                })
                .collect();

            let mut lost = IngestOutput::default();
            shard.ingest(
                &sent.tenant,
                &sent.batch,
                &indexes,
                &limits(),
                now_ms,
                &mut lost,
            );
        }
    }

    /// The known bug: shards that cannot be trusted are saved.
    pub fn save_shards(&self) {
        for shard in &self.shards {
            let _ = shard.checkpoint(|| Ok::<(), HeadError>(()));
        }
    }

    /// Applies what peers have sent, a turn of it; true if more waits.
    pub fn drain_apply_queues(&mut self) -> bool {
        for writer in &mut self.writers {
            writer.drain_apply_queue(16);
        }
        self.has_apply_work()
    }

    /// Records of peers wait to be applied.
    pub fn has_apply_work(&self) -> bool {
        self.writers
            .iter()
            .any(|writer| writer.apply_queue().has_work())
    }

    /// The log has something to write.
    pub fn has_log_work(&self) -> bool {
        self.log.stats().queued_records > 0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.clock.race().leave();
        // Log and store hold each other.
        self.log.close();
    }
}

type Opened = (Vec<Arc<Shard>>, Vec<(StreamId, u64)>);

/// Shards from their checkpoints, and what these cover.
fn open_shards(start: &Start<'_>) -> anyhow::Result<Opened> {
    let manifest = match start.mutation {
        Some(Mutation::ApplyAfterCut) => None,
        _ => CutManifest::load(&start.dir.join(MANIFEST))?,
    };
    let mut shards = Vec::new();

    let mut positions = Vec::new();
    for number in 0..SHARDS {
        let dir = start.dir.join(format!("head/{number:03}"));
        let options = ShardOptions::new(number, SHARDS, WINDOW_MS, dir, start.stream);
        let (shard, found) = Shard::recover(options, manifest.as_ref())?;
        shards.push(shard);
        positions.push(found.positions);
    }

    Ok((shards, covered_by_all(positions)))
}

/// The rebuild as the last process left it.
fn rebuild_of(start: &Start<'_>) -> Rebuild {
    let limits = RebuildLimits::default();
    match (start.staging.reason, &start.staging.copy) {
        (None, _) if start.staging.is_undecided => Rebuild::undecided(limits),
        (None, _) => Rebuild::complete(limits),
        (Some(reason), None) => Rebuild::needed(limits, reason),
        (Some(reason), Some((source, manifest))) => Rebuild::resumed(
            limits,
            reason,
            source.clone(),
            manifest.clone(),
            |path: &str, bytes: u64| staging::have(start.dir, path, bytes),
        ),
    }
}
