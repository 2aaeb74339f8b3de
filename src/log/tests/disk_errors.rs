//! Disks that lose what they were given, have no room, cannot read, or whose files somebody deletes.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use support::cached_disk::CachedDisk;
use support::{Recorder, draft, open, record, stream};
use trireme_base::{StreamId, SystemClock};
use trireme_log::{
    AppendError, CompletionTag, Durability, Log, LogError, LogOptions, Recovered, ReplayWatch,
};
use trireme_wire::record::{RecordDraft, RecordKind};

const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const EDQUOT: i32 = 122;

fn open_on(disk: &CachedDisk, dir: &Path, own: u64, recorder: Arc<Recorder>) -> (Log, Recovered) {
    let options = LogOptions {
        disk: Arc::new(disk.clone()),
        ..support::options()
    };
    support::open_with(dir, own, options, recorder)
}

/// As [`open_on`], without a thread: a flush is one turn.
fn open_by_hand(dir: &Path, options: LogOptions, recorder: Arc<Recorder>) -> Log {
    let clock = Arc::new(SystemClock::new());
    Log::open_without_thread(dir, options, stream(1), &[], recorder, clock)
        .unwrap()
        .0
}

/// A directory with the same files.
fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "log"));
    paths.sort();
    paths
}

/// Asserts that every position reads back, record by record.
fn assert_has(log: &Log, positions: &[(StreamId, u64)]) {
    for (stream, last) in positions {
        let mut next = 1;
        while next <= *last {
            let records = log.read(*stream, next, 10_000).unwrap();
            assert!(!records.is_empty(), "{stream} at {next}");
            next += records.len() as u64;
        }
    }
}

/// What is left after a power cut has all of `durable`.
fn assert_survives_power_cut(disk: &CachedDisk, dir: &Path, durable: &[(StreamId, u64)]) {
    disk.after_power_cut(dir);

    let (log, found) = open(dir, 77, Arc::default());
    for (stream, seq) in durable {
        let found = found
            .positions
            .iter()
            .find(|(s, _)| s == stream)
            .map_or(0, |(_, seq)| *seq);
        assert!(
            found >= *seq,
            "{stream}: {found} of {seq} that were called durable"
        );
    }

    assert!(found.damage.is_empty(), "{:?}", found.damage);
    assert_has(&log, durable);
}

#[test]
fn what_a_sync_lost_for_want_of_space_is_logged_again_before_it_counts() {
    for error in [ENOSPC, EDQUOT] {
        for durability in [Durability::Fsync, Durability::Memory] {
            loses_for_want_of_space(error, durability);
        }
    }
}

fn loses_for_want_of_space(error: i32, durability: Durability) {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let after = dir.path().join("after");
    let disk = CachedDisk::default();
    let recorder = Arc::new(Recorder::default());
    let options = LogOptions {
        disk: Arc::new(disk.clone()),
        durability,
        ..support::options()
    };

    let log = open_by_hand(&home, options, recorder.clone());
    log.append_own(vec![draft(0, 100)], CompletionTag(1))
        .unwrap();
    log.flush().unwrap();

    disk.fail_sync(error);
    log.append_own(vec![draft(0, 100)], CompletionTag(2))
        .unwrap();
    log.append_foreign(vec![record(stream(9), 1, 50)]).unwrap();

    assert!(log.flush().is_err(), "nobody knows where it is");

    if durability == Durability::Fsync {
        let told = recorder.durable.lock().concat();
        assert!(told.iter().all(|(_, seq)| *seq == 1), "{told:?}");
    }

    assert!(recorder.failed.lock().is_empty());
    assert_has(&log, &[(stream(1), 2), (stream(9), 1)]);

    // The next turn makes a new segment, which begins with what was lost.
    log.flush().unwrap();
    let durable = log.durable_positions();

    assert_eq!(durable, [(stream(1), 2), (stream(9), 1)]);
    assert_eq!(log.stats().failed_syncs, 1);
    assert_has(&log, &durable);
    assert_survives_power_cut(&disk, &after, &durable);

    log.append_own(vec![draft(0, 100)], CompletionTag(3))
        .unwrap();
    log.flush().unwrap();
    drop(log);

    // Not closed in order, so this start reads all of it.
    let (log, found) = open_on(&disk, &home, 2, Arc::default());
    assert_eq!(found.positions, [(stream(1), 3), (stream(9), 1)]);

    assert!(
        found.damage.is_empty() && found.tail_cut.is_none(),
        "{found:?}"
    );

    assert_has(&log, &found.positions);
}

#[test]
fn several_syncs_without_space_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let disk = CachedDisk::default();
    let recorder = Arc::new(Recorder::default());
    let options = LogOptions {
        disk: Arc::new(disk.clone()),
        ..support::options()
    };

    let log = open_by_hand(&dir.path().join("home"), options, recorder.clone());
    for tag in 1..=20 {
        // A sync of a batch, and then that of the segment that is to have it again.
        disk.fail_sync(ENOSPC);
        disk.fail_sync(ENOSPC);
        log.append_own(vec![draft(0, 600)], CompletionTag(tag))
            .unwrap();
        assert!(log.flush().is_err() && log.flush().is_err());
        assert!(matches!(log.check(), Err(AppendError::Waiting(_))));
        log.flush().unwrap();
        log.check().unwrap();
    }

    assert_eq!(log.durable_positions(), [(stream(1), 20)]);
    assert!(recorder.refused.lock().is_empty());
    assert_survives_power_cut(&disk, &dir.path().join("after"), &[(stream(1), 20)]);
}

/// The disk of a process whose log has one record of a peer durably, and another one whose sync failed for good.
fn with_a_failed_sync(home: &Path) -> CachedDisk {
    let disk = CachedDisk::default();
    let (log, _) = open_on(&disk, home, 1, Arc::default());
    log.append_foreign(vec![record(stream(9), 1, 50)]).unwrap();
    log.flush().unwrap();
    disk.fail_sync(EIO);
    log.append_foreign(vec![record(stream(9), 2, 50)]).unwrap();

    assert!(log.flush().is_err());
    assert!(matches!(log.check(), Err(AppendError::Failed(_))));
    disk
}

#[test]
fn a_start_after_a_failed_sync_does_not_trust_what_is_in_memory_only() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let disk = with_a_failed_sync(&home);

    // The new process reads the record, and the system would call it synced. It is not on the disk.
    let (log, found) = open_on(&disk, &home, 2, Arc::default());
    assert_eq!(found.positions, [(stream(9), 2)]);

    let durable = log.durable_positions();
    assert_eq!(durable, [(stream(9), 2)]);
    assert_survives_power_cut(&disk, &dir.path().join("after"), &durable);
}

#[test]
fn a_log_opens_on_a_full_disk_and_calls_nothing_durable_that_is_in_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let disk = with_a_failed_sync(&home);

    // It may be that the thread looks once more before the test does.
    disk.fail_creations(ENOSPC, 1_000);
    let (log, found) = open_on(&disk, &home, 2, Arc::default());

    assert_eq!(found.positions, [(stream(9), 2)]);
    assert!(
        log.durable_positions().iter().all(|(_, seq)| *seq < 2),
        "no sync is known to have succeeded"
    );

    let why = log.check().unwrap_err().to_string();
    assert!(
        why.contains("no space left") && why.contains("000000000002.log"),
        "{why}"
    );

    assert_has(&log, &[(stream(9), 2)]);
    let plan = log.plan_replay(&[]).unwrap();
    assert_eq!(plan.to(), [(stream(9), 2)]);
    disk.fail_creations(0, 0);

    let seen = Mutex::new(Vec::new());
    log.replay(&plan, 1, 1, &ReplayWatch::default(), |_, r| {
        seen.lock().push(r.seq())
    })
    .unwrap();
    assert_eq!(seen.into_inner(), [1, 2]);
}

#[test]
fn want_of_handles_passes_like_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk = CachedDisk::default();
    let recorder = Arc::new(Recorder::default());
    let (log, _) = open_on(&disk, dir.path(), 1, recorder.clone());

    disk.fail_creations(EMFILE, 2);

    let mut refused = false;
    for tag in 1..=40 {
        refused |= log
            .append_own(vec![draft(0, 600)], CompletionTag(tag))
            .is_err();
        refused |= log.flush().is_err();
    }

    assert!(refused && recorder.failed.lock().is_empty());
    log.check().unwrap();
}

#[test]
fn a_file_in_the_way_of_the_next_segment_is_stepped_over() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), 1, Arc::default());
    std::fs::write(dir.path().join("000000000002.log"), "somebody's").unwrap();

    for tag in 1..=40 {
        log.append_own(vec![draft(0, 600)], CompletionTag(tag))
            .unwrap();
        log.flush().unwrap();
    }

    assert_eq!(log.durable_positions(), [(stream(1), 40)]);
    assert_eq!(
        std::fs::read(dir.path().join("000000000002.log")).unwrap(),
        b"somebody's"
    );
}

/// A log of three segments and more, closed in order, without its summaries.
fn several_segments(dir: &Path) -> Vec<PathBuf> {
    let (log, _) = open(dir, 1, Arc::default());
    for seq in 1..=60 {
        log.append_foreign(vec![record(stream(9), seq, 400)])
            .unwrap();
        log.flush().unwrap();
    }

    drop(log);
    let paths = segments(dir);
    assert!(paths.len() > 3);

    paths
        .iter()
        .for_each(|path| std::fs::remove_file(path.with_extension("idx")).unwrap());

    paths
}

#[test]
fn sectors_that_cannot_be_read_cost_what_stood_in_them() {
    for sector in 0..4u64 {
        let dir = tempfile::tempdir().unwrap();
        let paths = several_segments(dir.path());
        let victim = &paths[1];
        let disk = CachedDisk::default();

        disk.spoil(victim, sector * 1_500 + 100..sector * 1_500 + 101);
        let (log, found) = open_on(&disk, dir.path(), 2, Arc::default());
        let at = found.positions[0].1;
        assert!(at > 10 && at < 60, "sector {sector}: {at}");
        assert!(
            found
                .damage
                .iter()
                .any(|d| d.segment.starts_with(victim.with_extension(""))
                    || d.segment.file_stem() == victim.file_stem())
        );

        assert!(
            found.damage.iter().any(|d| d.what.contains("cannot read")),
            "{:?}",
            found.damage
        );

        // The cure of any damage.
        log.append_foreign(
            (at + 1..=61)
                .map(|seq| record(stream(9), seq, 400))
                .collect(),
        )
        .unwrap();

        log.flush().unwrap();
        assert_has(&log, &[(stream(9), 61)]);
        let plan = log.plan_replay(&[]).unwrap();
        let seen = Mutex::new(Vec::new());

        log.replay(&plan, 1, 1, &ReplayWatch::default(), |_, r| {
            seen.lock().push(r.seq())
        })
        .unwrap();
        assert_eq!(seen.into_inner(), (1..=61).collect::<Vec<_>>());
    }
}

#[test]
fn a_sector_that_goes_bad_behind_a_good_summary_is_met_by_the_plan() {
    let dir = tempfile::tempdir().unwrap();

    let (log, _) = open(dir.path(), 1, Arc::default());
    for seq in 1..=60 {
        log.append_foreign(vec![record(stream(9), seq, 400)])
            .unwrap();
        log.flush().unwrap();
    }

    drop(log);
    for (name, bytes) in [("header", 0..1), ("middle", 5_000..5_001)] {
        let disk = CachedDisk::default();
        let copy = copy_of(dir.path());
        disk.spoil(&segments(copy.path())[1], bytes);
        let (log, found) = open_on(&disk, copy.path(), 3, Arc::default());
        assert_eq!(found.positions, [(stream(9), 60)], "{name}");
        let plan = log.plan_replay(&[]).unwrap();
        assert_eq!(plan.damage.len(), 1, "{name}: {:?}", plan.damage);
        assert!(plan.to()[0].1 < 60 && log.durable_positions() == plan.to());
        log.replay(&plan, 1, 1, &ReplayWatch::default(), |_, _| {})
            .unwrap();
    }
}

#[test]
fn a_segment_that_ends_before_what_was_durable_in_it_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let paths = several_segments(dir.path());

    let name = |path: &Path| path.file_name().unwrap().to_owned();
    for keep in [4_000, 0] {
        let copy = copy_of(dir.path());
        let victim = copy.path().join(name(&paths[1]));
        let bytes = std::fs::read(&victim).unwrap();
        std::fs::write(&victim, &bytes[..keep]).unwrap();
        let (_log, found) = open(copy.path(), 2, Arc::default());
        assert!(found.positions[0].1 < 60, "{keep}");
        assert_eq!(found.damage.len(), 1, "{keep}: {:?}", found.damage);
    }
}

#[test]
fn a_log_that_somebody_deleted_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let paths = several_segments(dir.path());
    let missing = |found: &Recovered| {
        let names = found
            .damage
            .iter()
            .filter(|d| d.what.contains("missing"))
            .map(|d| d.segment.clone());
        names.collect::<Vec<_>>()
    };

    for victim in [&paths[0], &paths[1], paths.last().unwrap()] {
        let copy = copy_of(dir.path());
        let victim = copy.path().join(victim.file_name().unwrap());
        std::fs::remove_file(&victim).unwrap();
        let (_log, found) = open(copy.path(), 2, Arc::default());
        assert_eq!(missing(&found), [victim]);
    }

    for entry in std::fs::read_dir(dir.path()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }

    let options = support::options();
    let observer = Arc::new(Recorder::default());
    let clock = Arc::new(SystemClock::new());
    let covered = [(stream(9), 20)];
    let (_log, found) = Log::open(
        dir.path(),
        options,
        stream(9_000),
        &covered,
        observer,
        clock,
    )
    .unwrap();

    assert!(
        found
            .damage
            .iter()
            .any(|d| d.what.contains("the log is empty")),
        "{:?}",
        found.damage
    );
}

#[test]
fn what_was_trimmed_is_not_missed_and_goes_when_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let paths = several_segments(dir.path());
    let (log, _) = open(dir.path(), 2, Arc::default());

    // A directory of that name cannot be removed as a file is.
    let first = std::fs::read(&paths[0]).unwrap();
    std::fs::remove_file(&paths[0]).unwrap();
    std::fs::create_dir(&paths[0]).unwrap();

    assert!(log.trim(&[(stream(9), 40)]).is_err());
    std::fs::remove_dir(&paths[0]).unwrap();
    std::fs::write(&paths[0], &first).unwrap();
    log.trim(&[(stream(9), 40)]).unwrap();

    assert!(!paths[0].exists(), "it was tried again");

    std::fs::write(&paths[0], first).unwrap();
    drop(log);
    let (log, found) = open(dir.path(), 3, Arc::default());
    assert!(found.damage.is_empty(), "{:?}", found.damage);

    log.trim(&[]).unwrap();
    assert!(
        !paths[0].exists(),
        "a trimmed segment that a crash left is removed"
    );
}

#[test]
fn a_damaged_base_follows_from_checkpoints_and_segments() {
    let dir = tempfile::tempdir().unwrap();
    several_segments(dir.path());
    let (log, _) = open(dir.path(), 2, Arc::default());

    log.trim(&[(stream(9), 40)]).unwrap();
    drop(log);
    let base = dir.path().join("base");
    let mut bytes = std::fs::read(&base).unwrap();

    bytes[20] ^= 1;
    std::fs::write(&base, bytes).unwrap();

    let open = |own, covered: &[(StreamId, u64)]| {
        let clock = Arc::new(SystemClock::new());
        Log::open(
            dir.path(),
            support::options(),
            stream(own),
            covered,
            Arc::new(Recorder::default()),
            clock,
        )
        .unwrap()
    };

    let (log, found) = open(3, &[(stream(9), 40)]);
    assert_eq!(found.positions, [(stream(9), 60)]);
    assert!(
        found.damage.iter().any(|d| d.segment == base),
        "{:?}",
        found.damage
    );

    drop(log);
    let (_, found) = open(4, &[]);
    assert!(
        found.damage.is_empty() && found.positions == [(stream(9), 60)],
        "{found:?}"
    );
}

#[test]
fn files_of_a_later_release_end_the_start_and_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let paths = several_segments(dir.path());
    let later = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[8..12].copy_from_slice(&40u32.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..12]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        std::fs::write(path, bytes).unwrap();
    };

    later(&paths[2]);
    let before = std::fs::read(&paths[2]).unwrap();
    let options = support::options();
    let clock = Arc::new(SystemClock::new());
    let error = Log::open(
        dir.path(),
        options,
        stream(2),
        &[],
        Arc::new(Recorder::default()),
        clock,
    )
    .err();

    let error = error.unwrap();
    assert!(
        matches!(
            error,
            LogError::Newer {
                version: 40,
                known: 3,
                ..
            }
        ),
        "{error}"
    );

    assert_eq!(segments(dir.path()), paths);
    assert_eq!(std::fs::read(&paths[2]).unwrap(), before);
}

#[test]
fn a_record_that_an_older_segment_cannot_give_comes_from_a_newer_one() {
    let dir = tempfile::tempdir().unwrap();

    let (log, _) = open(dir.path(), 1, Arc::default());
    for seq in 1..=60 {
        log.append_foreign(vec![record(stream(9), seq, 400)])
            .unwrap();
        log.flush().unwrap();
    }

    drop(log);
    // Damage that the summary does not know of.
    let victim = segments(dir.path())[1].clone();
    let mut bytes = std::fs::read(&victim).unwrap();

    bytes[4_000] ^= 1;
    std::fs::write(&victim, bytes).unwrap();
    let options = LogOptions {
        recent_bytes_max: 1_000,
        ..support::options()
    };
    let (log, _) = support::open_with(dir.path(), 2, options, Arc::default());
    let reached = log.plan_replay(&[]).unwrap().to()[0].1;

    log.append_foreign(
        (reached + 1..=60)
            .map(|seq| record(stream(9), seq, 400))
            .collect(),
    )
    .unwrap();

    log.flush().unwrap();
    assert_has(&log, &[(stream(9), 60)]);
}

#[test]
fn a_payload_that_looks_like_a_batch_is_none() {
    let dir = tempfile::tempdir().unwrap();
    // A record of a stream that nobody has, in a batch as versions 1 and 2 had it.
    let forged = record(stream(666), 1, 20);
    let mut batch = b"TBAT".to_vec();

    batch.extend((forged.bytes().len() as u32).to_le_bytes());
    batch.extend(500u64.to_le_bytes());
    batch.extend(68u64.to_le_bytes());
    batch.extend(1u32.to_le_bytes());

    let crc = crc32c::crc32c(&batch);
    batch.extend(crc.to_le_bytes());
    batch.extend(forged.bytes());

    let (log, _) = open(dir.path(), 1, Arc::default());
    let mut sent = RecordDraft::new(0, RecordKind::Samples);
    sent.payload_mut().extend_from_slice(&batch);
    log.append_foreign(vec![sent.seal(stream(9), 1)]).unwrap();
    log.flush().unwrap();
    log.append_foreign(vec![record(stream(9), 2, 20)]).unwrap();
    log.flush().unwrap();
    drop(log);

    let path = segments(dir.path())[0].clone();
    std::fs::remove_file(path.with_extension("idx")).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();

    bytes[70] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (_, found) = open(dir.path(), 2, Arc::default());
    assert!(
        found.positions.iter().all(|(s, _)| *s != stream(666)),
        "{:?}",
        found.positions
    );

    assert!(!found.damage.is_empty());
}
