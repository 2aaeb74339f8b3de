//! Torn tails, damage, full disks, failed syncs and killed processes.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::io::{self, BufRead, IoSlice};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use support::{Recorder, draft, open, open_with, record, stream};
use trireme_base::{Boot, Incarnation, StreamId, SystemClock};
use trireme_log::disk::{Disk, DiskFile, RealDisk};
use trireme_log::{
    AppendError, CompletionTag, Log, LogObserver, LogOptions, OwnPlace, Recovered, ReplayPlan,
    ReplayWatch,
};
use trireme_wire::record::Record;

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "log"));
    paths.sort();
    paths
}

const SEGMENT_HEADER_BYTES: usize = 68;
/// Payload of the records below: repeats itself, so that it can be compressed.
const PAYLOAD_BYTES: usize = 300;

/// A log of one segment with `batches` batches of two records each, copied as a crash would leave it.
fn crashed(batches: u64, compress: bool) -> (tempfile::TempDir, Vec<u8>, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions {
        compress,
        ..support::options()
    };

    let (log, _) = open_with(dir.path(), 1, options, Arc::default());
    for n in 0..batches {
        let next = |seq| record(stream(9), seq, PAYLOAD_BYTES);
        log.append_foreign(vec![next(2 * n + 1), next(2 * n + 2)])
            .unwrap();
        log.flush().unwrap();
    }

    let path = segments(dir.path()).pop().unwrap();
    // Before the log is closed in order.
    let bytes = std::fs::read(&path).unwrap();

    drop(log);
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }

    (dir, bytes, path)
}

fn reopen(dir: &Path) -> (Log, Recovered) {
    for path in segments(dir) {
        let _ = std::fs::remove_file(path.with_extension("idx"));
    }
    open(dir, 2, Arc::default())
}

fn clear(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
}

/// Replays everything, to one shard.
fn replay(log: &Log, apply: impl Fn(&Record) + Sync) -> ReplayPlan {
    let plan = log.plan_replay(&[]).unwrap();
    log.replay(&plan, 1, 1, &ReplayWatch::default(), |_, record| {
        apply(record)
    })
    .unwrap();
    plan
}

fn position(found: &Recovered) -> u64 {
    found
        .positions
        .iter()
        .find(|(s, _)| *s == stream(9))
        .map_or(0, |(_, seq)| *seq)
}

#[test]
fn a_tail_cut_at_any_byte_keeps_every_whole_record_before_it() {
    cut_at_any_byte(false);
    cut_at_any_byte(true);
}

fn cut_at_any_byte(compress: bool) {
    let (dir, bytes, path) = crashed(3, compress);
    let used = bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
    let mut last = 0;

    // Every byte of the last header, and enough of all others.
    let header = bytes.windows(3).rposition(|w| w == b"TBA").unwrap();

    // A segment has its header before it has its name, so no crash leaves less than that.
    for cut in (SEGMENT_HEADER_BYTES..header)
        .step_by(19)
        .chain(header..header + 70)
        .chain((header + 70..used).step_by(7))
        .chain([used])
    {
        clear(dir.path());
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let (log, found) = reopen(dir.path());
        assert!(found.damage.is_empty(), "cut {cut}: {:?}", found.damage);

        let seq = position(&found);
        assert!(seq >= last && seq <= 6, "cut {cut}");
        last = seq;

        let records = if seq > 0 {
            log.read(stream(9), 1, 100_000).unwrap()
        } else {
            Vec::new()
        };

        assert_eq!(records.len() as u64, seq, "cut {cut}");
        // The next start finds the same, and the stream goes on.
        log.append_foreign(vec![record(stream(9), seq + 1, PAYLOAD_BYTES)])
            .unwrap();
        drop(log);

        let (_, again) = open(dir.path(), 3, Arc::default());
        assert_eq!(
            (position(&again), again.damage.len()),
            (seq + 1, 0),
            "cut {cut}"
        );
    }

    assert_eq!(last, 6);
}

#[test]
fn a_flipped_byte_is_never_taken_for_data_and_costs_only_what_it_hit() {
    flip_bytes(false);
    flip_bytes(true);
}

fn flip_bytes(compress: bool) {
    let (dir, bytes, path) = crashed(4, compress);

    let used = bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
    for at in (0..used).step_by(if compress { 5 } else { 23 }) {
        clear(dir.path());
        let mut bad = bytes.clone();
        bad[at] ^= 0x41;
        std::fs::write(&path, &bad).unwrap();

        let (log, found) = reopen(dir.path());
        let seq = position(&found);
        assert!(
            seq < 8 && (!found.damage.is_empty() || found.tail_cut.is_some()),
            "byte {at}: {found:?}"
        );

        // What is claimed is there, bit for bit.
        if seq > 0 {
            let records = log.read(stream(9), 1, 100_000).unwrap();
            assert_eq!(records.len() as u64, seq);
            assert!(
                records
                    .iter()
                    .all(|r| *r == record(stream(9), r.seq(), PAYLOAD_BYTES))
            );
        }

        // The missing records are fetched again; then everything is replayed once and in order.
        log.append_foreign(
            (seq + 1..=9)
                .map(|s| record(stream(9), s, PAYLOAD_BYTES))
                .collect(),
        )
        .unwrap();

        drop(log);
        let (log, found) = open(dir.path(), 3, Arc::default());
        assert_eq!(position(&found), 9, "byte {at}");

        let seen = parking_lot::Mutex::new(Vec::new());
        replay(&log, |r| seen.lock().push(r.seq()));
        assert_eq!(seen.into_inner(), (1..=9).collect::<Vec<_>>(), "byte {at}");
    }
}

#[test]
fn a_log_goes_on_compressed_and_back_and_gives_the_same_records() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = [0, 1, 31, 300, 3_000];

    let mut files = [0; 2];
    for (boot, compress) in [(1, false), (2, true), (3, true), (4, false)] {
        let options = LogOptions {
            compress,
            ..support::options()
        };
        let (log, _) = open_with(dir.path(), boot, options, Arc::default());
        let first = (boot - 1) * 40 + 1;
        for seq in first..first + 40 {
            log.append_foreign(vec![record(stream(9), seq, sizes[seq as usize % 5])])
                .unwrap();
        }
        log.flush().unwrap();
        files[usize::from(compress)] += log.stats().written_bytes;
    }

    assert!(files[1] * 2 < files[0], "{files:?}");
    // Without the sidecars, so that every segment is read.
    let (log, found) = reopen(dir.path());
    assert!(found.damage.is_empty() && found.tail_cut.is_none());

    assert_eq!(position(&found), 160);
    let records = log.read(stream(9), 1, usize::MAX).unwrap();
    assert_eq!(records.len(), 160);

    assert!(
        records
            .iter()
            .all(|r| *r == record(stream(9), r.seq(), sizes[r.seq() as usize % 5]))
    );

    let seen = AtomicI64::new(0);
    replay(&log, |r| {
        assert_eq!(r.seq() as i64, seen.fetch_add(1, Ordering::SeqCst) + 1)
    });
    assert_eq!(seen.into_inner(), 160);
}

/// A log of 200 records, with a bit flipped in its second segment, which is answered.
fn damaged(dir: &Path) -> PathBuf {
    {
        let (log, _) = open(dir, 1, Arc::default());
        for seq in 1..=200 {
            log.append_foreign(vec![record(stream(9), seq, 200)])
                .unwrap();
            log.flush().unwrap();
        }
    }

    let victim = segments(dir)[1].clone();
    let mut bytes = std::fs::read(&victim).unwrap();
    bytes[4_000] ^= 1;
    std::fs::write(&victim, bytes).unwrap();

    victim
}

#[test]
fn damage_before_the_tail_is_reported_with_name_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    let victim = damaged(dir.path());

    // The sidecar vouches for the segment, so it is the look before the replay that meets the damage.
    let (log, found) = open(dir.path(), 2, Arc::default());
    assert_eq!((position(&found), found.damage.len()), (200, 0));

    let count = std::sync::atomic::AtomicU64::new(0);
    let plan = replay(&log, |r| {
        assert_eq!(r.seq(), count.fetch_add(1, Ordering::SeqCst) + 1)
    });
    let reached = count.into_inner();

    assert_eq!(plan.damage.len(), 1);
    assert_eq!(plan.damage[0].segment, victim);
    assert!(plan.damage[0].offset <= 4_000 && reached < 200);

    assert_eq!(log.durable_positions(), [(stream(9), reached)]);
    assert_eq!(
        log.append_foreign(vec![record(stream(9), reached + 1, 200)])
            .unwrap()
            .taken,
        1
    );

    drop(log);
    // Without the sidecar the start finds it.
    std::fs::remove_file(victim.with_extension("idx")).unwrap();

    let (_, found) = open(dir.path(), 3, Arc::default());
    assert_eq!(found.damage.len(), 1);
    assert_eq!(found.damage[0].segment, victim);
    assert_eq!(position(&found), reached + 1);
}

#[test]
fn what_was_fetched_again_after_damage_stays_over_the_next_crash() {
    let dir = tempfile::tempdir().unwrap();
    damaged(dir.path());
    let (log, found) = reopen(dir.path());
    let reached = position(&found);
    assert!(reached < 200);

    log.append_foreign(
        (reached + 1..=reached + 2)
            .map(|seq| record(stream(9), seq, 200))
            .collect(),
    )
    .unwrap();

    drop(log);
    // What stands behind the hole in the old segments can still be read.
    for own in 3..5 {
        segments(dir.path())
            .iter()
            .for_each(|path| drop(std::fs::remove_file(path.with_extension("idx"))));
        let (log, found) = open(dir.path(), own, Arc::default());
        assert_eq!(position(&found), reached + 2);
        assert_eq!(replay(&log, |_| {}).to(), [(stream(9), reached + 2)]);
    }
}

/// A disk with a budget of bytes whose syncs can be made to fail.
#[derive(Clone)]
struct Faulty {
    left: Arc<AtomicI64>,
    bad_sync: Arc<AtomicBool>,
}

struct FaultyFile(Box<dyn DiskFile>, Faulty);

impl Disk for Faulty {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        if self.left.load(Ordering::SeqCst) <= 100 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(Box::new(FaultyFile(
            RealDisk.create(path, bytes)?,
            self.clone(),
        )))
    }
}

impl DiskFile for FaultyFile {
    fn write_all(&mut self, buffers: &mut [IoSlice<'_>]) -> io::Result<()> {
        let bytes: usize = buffers.iter().map(|b| b.len()).sum();
        if self.1.left.fetch_sub(bytes as i64, Ordering::SeqCst) < bytes as i64 {
            // A real disk takes a part of it first.
            let mut part = [IoSlice::new(&buffers[0][..buffers[0].len().min(20)])];
            self.0.write_all(&mut part)?;
            return Err(io::ErrorKind::StorageFull.into());
        }

        self.0.write_all(buffers)
    }

    fn rewind(&mut self, offset: u64) -> io::Result<()> {
        self.0.rewind(offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.1.bad_sync.load(Ordering::SeqCst) {
            return Err(io::Error::other("injected"));
        }
        self.0.sync()
    }

    fn shrink(&mut self, bytes: u64) -> io::Result<()> {
        self.0.shrink(bytes)
    }
}

fn faulty(dir: &Path, own: u64, left: i64, recorder: Arc<Recorder>) -> (Log, Faulty) {
    let disk = Faulty {
        left: Arc::new(AtomicI64::new(left)),
        bad_sync: Arc::default(),
    };
    let options = LogOptions {
        disk: Arc::new(disk.clone()),
        ..support::options()
    };
    let (log, _) = Log::open(
        dir,
        options,
        stream(own),
        &[],
        recorder,
        Arc::new(SystemClock::new()),
    )
    .unwrap();

    (log, disk)
}

#[test]
fn a_full_disk_refuses_cleanly_and_recovers_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::default());
    let (log, disk) = faulty(dir.path(), 1, 2_000, recorder.clone());
    let mut tag = 0;
    let refused = loop {
        tag += 1;
        match log.append_own(vec![draft(0, 100)], CompletionTag(tag)) {
            Ok(()) => drop(log.flush()),
            Err(error) => break error,
        }
    };

    assert!(matches!(refused, AppendError::Waiting(_)), "{refused}");
    assert_eq!(log.own_epoch(), 1);
    assert_eq!(recorder.refused.lock().as_slice(), [CompletionTag(tag - 1)]);

    let kept = log.durable_positions()[0].1;
    assert_eq!(kept, tag - 2);
    assert!(log.flush().is_err() && recorder.failed.lock().is_empty());

    disk.left.store(1 << 20, Ordering::SeqCst);
    log.flush().unwrap();

    // What was made before the refusal was known does not pass; what is made after does.
    log.append_own_at(vec![draft(0, 100)], CompletionTag(98), 0)
        .unwrap();
    log.append_own_at(vec![draft(0, 100)], CompletionTag(99), 1)
        .unwrap();
    log.admit().unwrap();
    log.append_foreign(vec![record(stream(9), 1, 10)]).unwrap();
    log.flush().unwrap();
    assert_eq!(
        log.durable_positions(),
        [(stream(1), kept + 1), (stream(9), 1)]
    );
    assert_eq!(
        recorder.refused.lock().as_slice(),
        [CompletionTag(tag - 1), CompletionTag(98)]
    );
    drop(log);

    let (_, found) = open(dir.path(), 2, Arc::default());
    assert_eq!(found.positions, [(stream(1), kept + 1), (stream(9), 1)]);
    assert!(found.damage.is_empty());
}

#[test]
fn a_failed_sync_is_final_and_nothing_is_acknowledged_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::default());
    let (log, disk) = faulty(dir.path(), 1, 1 << 30, recorder.clone());

    log.append_own(vec![draft(0, 100)], CompletionTag(1))
        .unwrap();
    log.flush().unwrap();
    disk.bad_sync.store(true, Ordering::SeqCst);
    log.append_own(vec![draft(0, 100)], CompletionTag(2))
        .unwrap();

    assert!(log.flush().is_err());
    disk.bad_sync.store(false, Ordering::SeqCst);
    assert!(matches!(
        log.append_own(vec![draft(0, 100)], CompletionTag(3)),
        Err(AppendError::Failed(_))
    ));

    assert_eq!(log.durable_positions(), [(stream(1), 1)]);
    assert_eq!(recorder.failed.lock().len(), 1);
}

/// Prints each durable own position; run as a child process and killed.
struct Printer;

impl LogObserver for Printer {
    fn written(&self, _: &Record, _: Option<OwnPlace>) {}
    fn durable(&self, positions: &[(StreamId, u64)]) {
        for (stream, seq) in positions {
            println!("durable {} {seq}", stream.boot.0);
        }
    }

    fn refused(&self, _: CompletionTag, _: &trireme_log::LogError) {}
    fn failed(&self, _: &trireme_log::LogError) {}
}

const CHILD: &str = "TRIREME_LOG_TEST_CHILD";

/// Not a test of its own: the child of the test below.
#[test]
fn child_that_appends_until_killed() {
    let Ok(dir) = std::env::var(CHILD) else {
        return;
    };

    let boot = std::env::var("TRIREME_LOG_TEST_BOOT")
        .unwrap()
        .parse()
        .unwrap();
    let own = StreamId {
        incarnation: Incarnation(1),
        boot: Boot(boot),
    };
    let clock = Arc::new(SystemClock::new());
    let options = LogOptions {
        segment_bytes: 64 << 10,
        ..LogOptions::default()
    };

    let (log, found) =
        Log::open(Path::new(&dir), options, own, &[], Arc::new(Printer), clock).unwrap();
    for (stream, seq) in &found.positions {
        println!("found {} {seq}", stream.boot.0);
    }

    println!("damage {} {}", found.damage.len(), 0);

    let mut tag = 0;
    loop {
        tag += 1;
        if log
            .append_own(
                vec![draft(0, 50 + (tag as usize % 700))],
                CompletionTag(tag),
            )
            .is_err()
        {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_it_called_durable() {
    let dir = tempfile::tempdir().unwrap();

    let mut durable = std::collections::BTreeMap::<u32, u64>::new();
    for boot in 1..=6u32 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_appends_until_killed", "--nocapture"])
            .env(CHILD, dir.path())
            .env("TRIREME_LOG_TEST_BOOT", boot.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();

        let mut lines = io::BufReader::new(child.stdout.take().unwrap()).lines();
        let mut found = std::collections::BTreeMap::<u32, u64>::new();
        let mut seen = 0;

        // Killed after a different number of acknowledgements each time.
        while seen < boot * 5 {
            let line = lines.next().unwrap().unwrap();
            let words: Vec<&str> = line.split_whitespace().collect();
            let [what, a, b] = words[..] else { continue };
            match what {
                "found" => drop(found.insert(a.parse().unwrap(), b.parse().unwrap())),
                "damage" => assert_eq!(a, "0"),
                "durable" => {
                    durable.insert(a.parse().unwrap(), b.parse().unwrap());
                    seen += 1;
                }
                _ => {}
            }
        }

        child.kill().unwrap();
        child.wait().unwrap();

        // Lines that were in the pipe count too: they were acknowledged.
        for line in lines.map_while(Result::ok) {
            if let [what, a, b] = line.split_whitespace().collect::<Vec<_>>()[..]
                && what == "durable"
            {
                durable.insert(a.parse().unwrap(), b.parse().unwrap());
            }
        }

        for (stream, seq) in &durable {
            if *stream < boot {
                assert!(
                    found.get(stream).is_some_and(|f| f >= seq),
                    "boot {stream}: {found:?} < {seq}"
                );
            }
        }
    }
}
