//! What a shard's writer has applied gets into the log, also after the log refused it, and is durable before a block has it.

#![allow(clippy::unwrap_used)]

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use slog::{Discard, Logger, o};
use trireme_base::pool::CpuPool;
use trireme_base::{Boot, Clock, Incarnation, ManualClock, NodeName, StreamId};
use trireme_head::{CutManifest, IngestLimits, Shard, ShardOptions};
use trireme_log::disk::{Disk, DiskFile, RealDisk};
use trireme_log::{Log, LogOptions};
use trireme_mailbox::{Port, PortMetrics};
use trireme_model::{FloatSample, SeriesKey, Tenant, push_label};
use trireme_replication::{CommitTracker, Event, GroupLimits, GroupView, PeerIdentity};
use trireme_ring::Quorum;
use trireme_storage::{
    ApplyQueue, BlockStyle, Commits, Completeness, Cutting, Gate, HeadMetrics, IngestBatch,
    LimitsTable, LocalBlocks, NextCut, PendingAppends, PoisonFlag, ShardWriter, ShardWriterParts,
    Snapshots, Store, StoreMetrics, StoreParts,
};
use trireme_telemetry::Metrics;
use trireme_transport::{Hub, ReplicaStore};
use trireme_wire::batch::{Batch, BatchSeries};
use trireme_wire::entry::write_marker;
use trireme_wire::record::RecordKind;

const WINDOW_MS: i64 = 7_200_000;
const START_MS: i64 = 1_700_006_400_000;
const WINDOW: i64 = START_MS / WINDOW_MS;
const OWN: StreamId = StreamId {
    incarnation: Incarnation(1),
    boot: Boot(1),
};

/// Somebody who sends records.
fn peer() -> NodeName {
    NodeName::new("peer")
}

/// A disk that can be full.
#[derive(Clone, Default)]
struct SmallDisk(Arc<AtomicBool>);

struct SmallFile(Box<dyn DiskFile>, SmallDisk);

impl SmallDisk {
    fn room(&self) -> io::Result<()> {
        if self.0.load(Ordering::SeqCst) {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }
}

impl Disk for SmallDisk {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        self.room()?;
        Ok(Box::new(SmallFile(
            RealDisk.create(path, bytes)?,
            self.clone(),
        )))
    }
}

impl DiskFile for SmallFile {
    fn write_all(&mut self, buffers: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.1.room()?;
        self.0.write_all(buffers)
    }

    fn rewind(&mut self, offset: u64) -> io::Result<()> {
        self.0.rewind(offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }

    fn shrink(&mut self, bytes: u64) -> io::Result<()> {
        self.0.shrink(bytes)
    }
}

/// A group of one with one shard, whose log is written by hand.
struct Node {
    disk: SmallDisk,
    log: Arc<Log>,
    writer: ShardWriter,
    pending: Arc<PendingAppends>,
    cutting: Cutting,
}

impl Node {
    fn start(dir: &Path) -> Self {
        let me = NodeName::new("me");
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(START_MS));
        let quiet = Logger::root(Discard, o!());
        let metrics = Metrics::default();
        let shard = Shard::new(ShardOptions::new(0, 1, WINDOW_MS, dir.join("head"), OWN)).unwrap();
        let identity = PeerIdentity {
            node: me.clone(),
            incarnation: OWN.incarnation,
            boot: OWN.boot,
        };

        let quorum = Quorum::new([me.clone()], 1);
        let view = GroupView::new(
            identity,
            quorum.clone(),
            [peer()],
            GroupLimits::default(),
            Duration::ZERO,
        );

        let apply_queue = Arc::new(ApplyQueue::new(Port::new(
            "lane",
            1,
            PortMetrics::unregistered(),
        )));
        let pending: Arc<PendingAppends> = Arc::default();
        let store = Arc::new(Store::new(StoreParts {
            own: OWN,
            hub: Arc::new(Hub::new(view, 1 << 20)),
            commits: Arc::new(Commits::new(
                Arc::clone(&clock),
                CommitTracker::new(OWN, me, quorum, 100),
            )),
            shards: vec![Arc::clone(&shard)],
            apply_queues: vec![Arc::clone(&apply_queue)],
            pending: vec![Arc::clone(&pending)],
            completeness: Arc::new(Completeness::new(true)),
            gate: Arc::new(Gate::default()),
            pool: Arc::new(CpuPool::new("test", 1, 1).unwrap()),
            metrics: StoreMetrics::new(&metrics).unwrap(),
            log: quiet.clone(),
        }));

        let disk = SmallDisk::default();
        let options = LogOptions {
            disk: Arc::new(disk.clone()),
            ..LogOptions::default()
        };
        let path = dir.join("log");
        let observer = Arc::clone(&store);
        let opened =
            Log::open_without_thread(&path, options, OWN, &[], observer, Arc::clone(&clock));
        let log = Arc::new(opened.unwrap().0);
        let plan = log.plan_replay(&[]).unwrap();

        store.attach(Arc::clone(&log), &plan);
        store.replayed(&plan);
        std::fs::create_dir_all(dir.join("blocks")).unwrap();

        let lease = Duration::from_secs(60);
        let snapshots = Snapshots::open(
            &dir.join("snapshots"),
            lease,
            Arc::clone(&clock),
            quiet.clone(),
        );

        let cutting = Cutting {
            store: Arc::clone(&store),
            shards: vec![Arc::clone(&shard)],
            local_blocks: Arc::new(LocalBlocks::open(&dir.join("blocks"), quiet.clone()).unwrap()),
            manifest: dir.join("cut"),
            style: BlockStyle::default(),
            seal_after: Duration::from_secs(3_600),
            blocks_at_once: 1,
            log_retention_bytes: 1 << 30,
            log_retention: Duration::from_secs(3_600),
            snapshots: Arc::new(snapshots.unwrap()),
            maintenance_lock: Arc::default(),
            clock: Arc::clone(&clock),
        };

        let writer = ShardWriter::new(ShardWriterParts {
            shard,
            mark: Arc::new(PoisonFlag::default()),
            store,
            apply_queue,
            pending: Arc::clone(&pending),
            limits: Arc::new(LimitsTable::new(IngestLimits::default(), [])),
            ack_timeout: Duration::from_secs(10),
            clock,
            metrics: HeadMetrics::new(&metrics).unwrap(),
            log: quiet,
        });

        Self {
            disk,
            log,
            writer,
            pending,
            cutting,
        }
    }

    /// True if the write was taken; it may still be refused by the log.
    fn write(&mut self, job: &str, t: i64) -> bool {
        self.write_as(&Tenant::default(), job, t)
    }

    fn write_as(&mut self, tenant: &Tenant, job: &str, t: i64) -> bool {
        let mut batch = Batch::default();
        push_label(&mut batch.label_bytes, b"__name__", b"up");
        push_label(&mut batch.label_bytes, b"job", job.as_bytes());
        batch.samples.push(FloatSample { t, v: 1.0 });
        batch.series.push(BatchSeries {
            key: SeriesKey::of(tenant.seed(), &batch.label_bytes),
            labels: 0..batch.label_bytes.len() as u32,
            samples: 0..1,
            histograms: 0..0,
            exemplars: 0..0,
        });

        let message = IngestBatch {
            tenant: tenant.clone(),
            batch: Arc::new(batch),
            indexes: vec![0],
            with_metadata: false,
            together: self.log.bell().ring_once_all_are_in(),
        };

        self.writer.ingest(&message).outcome.unavailable.is_none()
    }

    fn turn(&self) {
        self.log.write_queued();
        self.log.sync_written();
    }

    fn kinds(&self) -> Vec<RecordKind> {
        self.log
            .read(OWN, 1, usize::MAX)
            .unwrap()
            .iter()
            .map(|record| record.kind())
            .collect()
    }
}

#[test]
fn what_a_full_disk_refused_is_logged_later_and_before_anything_newer() {
    use RecordKind::{Samples, WindowClosed};

    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path());
    node.writer.close_window(WINDOW - 1).unwrap();

    assert!(node.write("a", START_MS));
    node.turn();
    assert!(node.pending.is_empty());

    node.disk.0.store(true, Ordering::SeqCst);
    // In the head, and refused when its turn comes; so is what was queued behind it.
    assert!(node.write("b", START_MS + 1));

    node.turn();
    assert!(node.log.check().is_err());
    assert!(
        !node.write("c", START_MS + 2),
        "nothing is applied that cannot be logged"
    );
    assert!(node.writer.close_window(WINDOW).is_err());

    assert_eq!(
        (node.pending.len(), node.kinds()),
        (1, vec![WindowClosed, Samples])
    );
    node.disk.0.store(false, Ordering::SeqCst);
    node.turn();
    node.writer.close_window(WINDOW).unwrap();

    assert!(node.write("b", START_MS + 3));
    node.turn();
    assert_eq!(
        node.kinds(),
        [WindowClosed, Samples, Samples, WindowClosed, Samples]
    );

    assert!(node.pending.is_empty());
    // Another replica has the same from the log alone.
    let other = Shard::new(ShardOptions {
        own: StreamId {
            incarnation: Incarnation(2),
            boot: Boot(1),
        },
        ..ShardOptions::new(0, 1, WINDOW_MS, dir.path().join("other"), OWN)
    });

    let other = other.unwrap();
    for record in node.log.read(OWN, 1, usize::MAX).unwrap() {
        other.apply(&record).unwrap();
    }

    let digests = |shard: &Shard| shard.window_digests(&Tenant::default()).unwrap();
    assert_eq!(digests(&other), digests(&node.cutting.shards[0]));
    let of_first_cut = |shard: &Arc<Shard>| {
        shard.begin_cut(WINDOW).unwrap();
        let shards = std::slice::from_ref(shard);
        let mut source = trireme_head::CutSource::open(shards, &Tenant::default(), WINDOW, WINDOW);
        let mut series = trireme_block::SeriesInput::default();
        let mut times = Vec::new();
        while trireme_block::SeriesSource::next(&mut source, &mut series).unwrap() {
            times.extend_from_slice(&series.times);
        }
        times
    };

    assert_eq!(of_first_cut(&other), of_first_cut(&node.cutting.shards[0]));
}

#[test]
fn a_cut_makes_the_log_durable_before_it_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path());
    node.writer.close_window(WINDOW - 1).unwrap();

    assert!(node.write("a", START_MS));
    node.writer.close_window(WINDOW).unwrap();
    assert!(node.log.write_queued());
    assert!(node.log.durable_positions().is_empty());

    assert_eq!(node.cutting.cut(WINDOW).unwrap().written.len(), 1);
    assert_eq!(node.log.durable_positions(), [(OWN, 3)]);
}

/// Times of all samples that a shard holds of a tenant.
fn times(shard: &Arc<Shard>, tenant: &Tenant) -> Vec<i64> {
    let mut out = Vec::new();
    for series in shard.select(tenant, &[], i64::MIN, i64::MAX) {
        let mut times = Vec::new();
        let mut values = Vec::new();
        series
            .read(i64::MIN, i64::MAX, &mut times, &mut values)
            .unwrap();
        out.append(&mut times);
    }

    out
}

#[test]
fn a_block_that_cannot_be_written_holds_up_its_own_samples_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path());
    let good = Tenant::new("good").unwrap();
    let bad = Tenant::new("bad").unwrap();

    // Its place on the disk is taken by something else.
    let place = dir.path().join("blocks/bad");
    std::fs::write(&place, "no directory").unwrap();
    node.writer.close_window(WINDOW - 1).unwrap();

    for (n, tenant) in [(0, &good), (1, &bad)] {
        assert!(node.write_as(tenant, "a", START_MS + n));
    }

    node.writer.close_window(WINDOW).unwrap();
    node.turn();

    let done = node.cutting.cut(WINDOW).unwrap();
    assert_eq!(
        done.written
            .iter()
            .map(|block| block.tenant.as_str())
            .collect::<Vec<_>>(),
        ["good"]
    );

    assert_eq!(done.left.len(), 1);
    assert!(
        done.left[0].1.to_string().contains("blocks/bad"),
        "{}",
        done.left[0].1
    );

    let shard = Arc::clone(&node.cutting.shards[0]);
    assert_eq!(
        (times(&shard, &good), times(&shard, &bad)),
        (vec![], vec![START_MS + 1])
    );
    assert_eq!(
        node.cutting.next_cut(WINDOW + 5),
        NextCut::Nothing,
        "nothing waits for it"
    );

    // Later cuts are made meanwhile, and what comes late of the window is in those.
    assert!(node.write_as(&bad, "b", START_MS + 2));
    assert!(node.write_as(&good, "b", START_MS + 3));

    node.writer.close_window(WINDOW + 1).unwrap();
    node.turn();
    let done = node.cutting.cut(WINDOW + 1).unwrap();

    assert_eq!(
        (
            done.written.len(),
            done.left.len(),
            node.cutting.left_count()
        ),
        (1, 1, 2)
    );

    // A start finds it in the checkpoint, or in the log, and knows that it is in no block.
    let manifest = CutManifest::load(&dir.path().join("cut")).unwrap().unwrap();
    let mine = |shard: &Arc<Shard>| times(shard, &bad);

    node.cutting.checkpoint().unwrap();
    let options = || ShardOptions::new(0, 1, WINDOW_MS, dir.path().join("head"), OWN);
    let own = StreamId {
        incarnation: Incarnation(1),
        boot: Boot(2),
    };
    let (again, _) = Shard::recover(ShardOptions { own, ..options() }, Some(&manifest)).unwrap();

    assert_eq!(mine(&again), [START_MS + 1, START_MS + 2]);
    let replayed = ShardOptions {
        own,
        dir: dir.path().join("other"),
        ..options()
    };

    let (replayed, _) = Shard::recover(replayed, Some(&manifest)).unwrap();
    for record in node.log.read(OWN, 1, usize::MAX).unwrap() {
        replayed.apply(&record).unwrap();
    }

    assert_eq!(mine(&replayed), [START_MS + 1, START_MS + 2]);
    assert!(times(&replayed, &good).is_empty());

    // Once it can be written, each cut has its own block.
    assert_eq!(node.cutting.write_left().unwrap().left.len(), 2);
    std::fs::remove_file(&place).unwrap();

    let done = node.cutting.write_left().unwrap();
    let samples: Vec<_> = done
        .written
        .iter()
        .map(|block| (block.cut, block.meta.stats.num_samples))
        .collect();

    assert_eq!(samples, [(WINDOW, 1), (WINDOW + 1, 1)]);
    assert_eq!((done.left.len(), node.cutting.left_count()), (0, 0));
    assert_eq!((mine(&shard), shard.oldest_cut()), (vec![], None));
    assert_eq!(
        CutManifest::load(&dir.path().join("cut"))
            .unwrap()
            .unwrap()
            .left,
        []
    );
}

#[test]
fn a_peer_gets_room_again_for_records_that_were_here() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path());
    let stream = StreamId {
        incarnation: Incarnation(2),
        boot: Boot(1),
    };
    let records = || {
        (1..=3)
            .map(|seq| write_marker(0, WINDOW - 1).seal(stream, seq))
            .collect()
    };

    node.cutting.store.append(records()).unwrap();
    node.turn();
    node.writer.drain_apply_queue(16);
    assert_eq!(node.cutting.store.applied_position(stream), 3);

    let feed = node.cutting.store.parts().hub.feed(&peer()).unwrap();
    feed.start();
    node.cutting.store.append(records()).unwrap();

    let events = feed.take().events;
    let is_told =
        |event: &Event| matches!(event, Event::Applied { stream: s, seq: 3 } if *s == stream);
    assert!(events.iter().any(is_told), "{events:?}");
}
