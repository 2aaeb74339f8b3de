//! Writes while a start replays its log: they are durable, they are not mixed up with what is replayed, and nothing
//! is cut or checkpointed before the head is whole.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use parking_lot::Mutex;
use slog::{Discard, Logger, o};
use trireme_base::pool::CpuPool;
use trireme_base::{Boot, Clock, Incarnation, NodeName, StreamId, SystemClock};
use trireme_head::{IngestLimits, IngestOutput, Shard, ShardOptions, covered_by_all};
use trireme_log::{CompletionTag, Log, LogOptions, ReplayPlan};
use trireme_mailbox::{Port, PortMetrics};
use trireme_model::{FloatSample, SeriesKey, Tenant, push_label};
use trireme_replication::{CommitTracker, GroupLimits, GroupView, PeerIdentity};
use trireme_ring::Quorum;
use trireme_storage::{
    ApplyQueue, BlockStyle, Commits, Completeness, Cutting, CuttingError, Gate, LocalBlocks,
    NextCut, Snapshots, Store, StoreMetrics, StoreParts,
};
use trireme_telemetry::Metrics;
use trireme_transport::{Hub, ReplicaStore};
use trireme_wire::batch::{Batch, BatchSeries};
use trireme_wire::record::Record;

const SHARDS: u16 = 2;
const WINDOW_MS: i64 = 7_200_000;
const START_MS: i64 = 1_700_006_400_000;
const JOBS: u32 = 20;

type Content = BTreeMap<String, Vec<(i64, u64)>>;

/// A node without its actors.
struct Small {
    own: StreamId,
    shards: Vec<Arc<Shard>>,
    store: Arc<Store>,
    plan: ReplayPlan,
    cutting: Cutting,
}

fn stream(incarnation: u64, boot: u32) -> StreamId {
    StreamId {
        incarnation: Incarnation(incarnation),
        boot: Boot(boot),
    }
}

impl Small {
    /// What a start does, up to the replay.
    fn start(dir: &Path, boot: u32) -> Self {
        let own = stream(1, boot);
        let me = NodeName::new("me");
        let mut shards = Vec::new();

        let mut positions = Vec::new();
        for n in 0..SHARDS {
            let options =
                ShardOptions::new(n, SHARDS, WINDOW_MS, dir.join(format!("head{n}")), own);
            let (shard, found) = Shard::recover(options, None).unwrap();
            shards.push(shard);
            positions.push(found.positions);
        }

        let covered = covered_by_all(positions);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let metrics = Metrics::default();
        let identity = PeerIdentity {
            node: me.clone(),
            incarnation: own.incarnation,
            boot: own.boot,
        };

        let quorum = || Quorum::new([me.clone()], 1);
        let view = GroupView::new(
            identity,
            quorum(),
            [],
            GroupLimits::default(),
            Duration::ZERO,
        );

        let tracker = CommitTracker::new(own, me.clone(), quorum(), 1_000);
        let log = Logger::root(Discard, o!());
        let store = Arc::new(Store::new(StoreParts {
            own,
            hub: Arc::new(Hub::new(view, 1 << 20)),
            commits: Arc::new(Commits::new(Arc::clone(&clock), tracker)),
            shards: shards.clone(),
            apply_queues: (0..SHARDS)
                .map(|_| {
                    Arc::new(ApplyQueue::new(Port::new(
                        "lane",
                        1,
                        PortMetrics::unregistered(),
                    )))
                })
                .collect(),
            pending: (0..SHARDS).map(|_| Arc::default()).collect(),
            completeness: Arc::new(Completeness::new(true)),
            gate: Arc::new(Gate::default()),
            pool: Arc::new(CpuPool::new("test", 1, 16).unwrap()),
            metrics: StoreMetrics::new(&metrics).unwrap(),
            log: log.clone(),
        }));

        let options = LogOptions {
            segment_bytes: 64 << 10,
            ..LogOptions::default()
        };
        let observer = Arc::clone(&store);
        let opened = Log::open(
            &dir.join("log"),
            options,
            own,
            &covered,
            observer,
            Arc::clone(&clock),
        );

        let wal = Arc::new(opened.unwrap().0);
        let plan = wal.plan_replay(&covered).unwrap();
        store.attach(wal, &plan);
        std::fs::create_dir_all(dir.join("blocks")).unwrap();

        let lease = Duration::from_secs(60);
        let snapshots = Snapshots::open(
            &dir.join("snapshots"),
            lease,
            Arc::clone(&clock),
            log.clone(),
        );

        let cutting = Cutting {
            store: Arc::clone(&store),
            shards: shards.clone(),
            local_blocks: Arc::new(LocalBlocks::open(&dir.join("blocks"), log).unwrap()),
            manifest: dir.join("cut"),
            style: BlockStyle::default(),
            seal_after: Duration::from_secs(3_600),
            blocks_at_once: 1,
            log_retention_bytes: 1 << 30,
            log_retention: Duration::from_secs(3_600),
            snapshots: Arc::new(snapshots.unwrap()),
            maintenance_lock: Arc::default(),
            clock,
        };

        let this = Self {
            own,
            shards,
            store,
            plan,
            cutting,
        };

        // The first records of the new stream.
        let markers = this
            .shards
            .iter()
            .map(|shard| shard.close_window(START_MS / WINDOW_MS - 1))
            .collect();

        this.store
            .log()
            .append_own(markers, CompletionTag(0))
            .unwrap();

        this
    }

    /// Replays on this thread; `each` is called before every record.
    fn replay(&self, each: impl Fn() + Sync) {
        let watch = self.store.replay().watch();
        let report = self
            .store
            .log()
            .replay(&self.plan, SHARDS, 2, watch, |shard, record| {
                each();
                self.shards[usize::from(shard)].apply(record).unwrap();
            });

        report.unwrap();
        self.store.replayed(&self.plan);
    }

    /// Does what the shards' actors do with the records of peers.
    fn drain_apply_queues(&self) {
        for (shard, apply_queue) in self.shards.iter().zip(&self.store.parts().apply_queues) {
            for record in apply_queue.take(usize::MAX) {
                shard.apply(&record).unwrap();
                self.store.applied(record.stream(), record.seq());
            }
        }
    }

    /// A sample of every job, durable when this returns.
    fn write(&self, tag: i64) -> Content {
        let (batch, written) = batch(tag);
        for shard in &self.shards {
            let indexes: Vec<u32> = (0..JOBS)
                .filter(|n: &u32| {
                    batch.series[*n as usize].key.shard(SHARDS) == shard.options().number
                })
                .collect();

            let mut out = IngestOutput::default();
            let limits = IngestLimits::default();
            let now_ms = START_MS + tag * 1_000;

            shard.ingest(
                &Tenant::default(),
                &batch,
                &indexes,
                &limits,
                now_ms,
                &mut out,
            );

            assert_eq!(out.outcome.samples, indexes.len() as u64);
            self.store
                .log()
                .append_own(out.drafts, CompletionTag(tag as u64))
                .unwrap();
        }

        self.store.log().flush().unwrap();
        written
    }

    fn content(&self) -> Content {
        let mut all = Content::new();
        for series in self
            .shards
            .iter()
            .flat_map(|s| s.select(&Tenant::default(), &[], i64::MIN, i64::MAX))
        {
            let mut times = Vec::new();
            let mut values = Vec::new();
            series
                .read(i64::MIN, i64::MAX, &mut times, &mut values)
                .unwrap();
            let samples = times
                .into_iter()
                .zip(values.iter().map(|v| v.to_bits()))
                .collect();
            all.insert(series.labels.to_string(), samples);
        }

        all
    }
}

fn batch(tag: i64) -> (Batch, Content) {
    let mut batch = Batch::default();

    let mut written = Content::new();
    for job in 0..JOBS {
        let from = batch.label_bytes.len();
        let name = format!("job{job}");
        push_label(&mut batch.label_bytes, b"__name__", b"up");
        push_label(&mut batch.label_bytes, b"job", name.as_bytes());

        let t = START_MS + tag * 1_000;
        let v = (tag * 100 + i64::from(job)) as f64;
        batch.samples.push(FloatSample { t, v });
        batch.series.push(BatchSeries {
            key: SeriesKey::of(Tenant::default().seed(), &batch.label_bytes[from..]),
            labels: from as u32..batch.label_bytes.len() as u32,
            samples: job..job + 1,
            histograms: 0..0,
            exemplars: 0..0,
        });

        written.insert(
            format!("{{__name__=\"up\", job=\"{name}\"}}"),
            vec![(t, v.to_bits())],
        );
    }

    (batch, written)
}

/// Records as another node makes them: of its own head, in its own stream.
fn foreign(dir: &Path, tags: std::ops::Range<i64>) -> (Vec<Record>, Content) {
    let peer = stream(2, 1);
    let mut records = Vec::new();
    let mut content = Content::new();
    let make = |n| {
        Shard::new(ShardOptions::new(
            n,
            SHARDS,
            WINDOW_MS,
            dir.join(format!("peer{n}")),
            peer,
        ))
    };

    let shards: Vec<Arc<Shard>> = (0..SHARDS).map(|n| make(n).unwrap()).collect();
    for tag in tags {
        let (batch, written) = batch(tag);
        add(&mut content, written);

        for shard in &shards {
            let indexes: Vec<u32> = (0..JOBS)
                .filter(|n: &u32| {
                    batch.series[*n as usize].key.shard(SHARDS) == shard.options().number
                })
                .collect();

            let mut out = IngestOutput::default();
            let now_ms = START_MS + tag * 1_000;
            let limits = IngestLimits::default();

            shard.ingest(
                &Tenant::default(),
                &batch,
                &indexes,
                &limits,
                now_ms,
                &mut out,
            );

            for draft in out.drafts {
                records.push(draft.seal(peer, records.len() as u64 + 1));
            }
        }
    }

    (records, content)
}

fn add(all: &mut Content, more: Content) {
    for (series, samples) in more {
        let known = all.entry(series).or_default();
        known.extend(samples);
        known.sort_unstable();
    }
}

/// The directory as a kill at this moment leaves it.
fn killed(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let from = format!("{}/.", dir.display());
    assert!(
        Command::new("cp")
            .args(["-r", &from])
            .arg(copy.path())
            .status()
            .unwrap()
            .success()
    );

    copy
}

/// Label sets print in their own way; only series and samples count here.
fn samples(content: &Content) -> Vec<&Vec<(i64, u64)>> {
    content.values().collect()
}

#[test]
fn what_is_written_during_a_replay_survives_another_kill_and_a_cut_waits() {
    let home = tempfile::tempdir().unwrap();
    let peer_home = tempfile::tempdir().unwrap();
    let (theirs, their_content) = foreign(peer_home.path(), 400..440);
    let (before, after) = theirs.split_at(theirs.len() / 2);
    let mut written = Content::new();

    // A first life: some of it in a checkpoint, more of it only in the log, a part of a peer's stream among it.
    let first = Small::start(home.path(), 1);
    first.replay(|| {});
    (0..100).for_each(|tag| add(&mut written, first.write(tag)));
    first.cutting.checkpoint().unwrap();
    (100..200).for_each(|tag| add(&mut written, first.write(tag)));
    first.store.append(before.to_vec()).unwrap();
    first.store.log().flush().unwrap();

    let disk = killed(home.path());

    // A second life is held up in the middle of its replay.
    let second = Small::start(disk.path(), 2);
    let (go, gate) = channel::<()>();
    let (gate, (reached, at_gate)) = (Mutex::new(gate), channel::<()>());
    let reached = Mutex::new(Some(reached));

    std::thread::scope(|scope| {
        let second = &second;
        scope.spawn(move || {
            second.replay(|| {
                if let Some(reached) = reached.lock().take() {
                    reached.send(()).unwrap();
                }
                // Open for good once the sender is gone.
                let _ = gate.lock().recv();
            });
        });

        at_gate.recv().unwrap();
        (200..260).for_each(|tag| add(&mut written, second.write(tag)));
        second.store.append(after.to_vec()).unwrap();
        second.store.log().flush().unwrap();

        let replay = second.store.replay();
        assert!(!replay.is_done() && replay.is_running() && !replay.wait(Duration::ZERO));
        let progress = replay.progress();
        assert!(
            progress.first <= progress.current
                && progress.current <= progress.last
                && !progress.done
        );

        // Positions tell what is durable; what is applied does not run ahead of the replay.
        let mine = stream(1, 1);
        let peer = stream(2, 1);

        assert_eq!(
            ReplicaStore::durable(second.store.as_ref()).get(peer),
            theirs.len() as u64
        );
        assert_eq!(second.store.applied_position(peer), 0);

        assert!(
            second.store.applied_position(mine)
                < second.plan.to().iter().find(|p| p.0 == mine).unwrap().1
        );
        assert!(
            second
                .store
                .parts()
                .apply_queues
                .iter()
                .all(|apply_queue| !apply_queue.is_empty() && apply_queue.take(1).is_empty())
        );

        let k = START_MS / WINDOW_MS;
        assert!(matches!(
            second.cutting.checkpoint(),
            Err(CuttingError::Replaying)
        ));
        assert!(matches!(
            second.cutting.cut(k),
            Err(CuttingError::Replaying)
        ));

        assert_eq!(second.cutting.next_cut(i64::MAX), NextCut::Nothing);
        assert!(!disk.path().join("cut").exists());

        // Killed here, everything that was durable is there after the next start.
        let disk = killed(disk.path());
        let third = Small::start(disk.path(), 3);

        third.replay(|| {});
        let mut all = written.clone();
        add(&mut all, their_content.clone());
        assert_eq!(samples(&third.content()), samples(&all));
        drop(go);
    });

    // And without a kill the second life ends up with the same.
    assert!(second.store.replay().is_done());
    second.drain_apply_queues();
    assert_eq!(
        second.store.applied_position(stream(2, 1)),
        theirs.len() as u64
    );
    add(&mut written, their_content);
    assert_eq!(samples(&second.content()), samples(&written));

    // Its next checkpoint has both its own new stream and what was replayed.
    (260..270).for_each(|tag| add(&mut written, second.write(tag)));
    second.cutting.checkpoint().unwrap();

    let disk = killed(disk.path());
    let fourth = Small::start(disk.path(), 4);
    assert_eq!(
        samples(&fourth.content()),
        samples(&written),
        "the checkpoint alone"
    );

    fourth.replay(|| {});
    assert_eq!(samples(&fourth.content()), samples(&written));
    assert_eq!(fourth.store.applied_position(second.own), {
        let to = fourth.plan.to();
        to.iter().find(|(s, _)| *s == second.own).unwrap().1
    });
}
