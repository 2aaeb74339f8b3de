//! Files of an earlier version.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use trireme_base::{Boot, Incarnation, StreamId};
use trireme_model::{FloatSample, Labels, SeriesKey, Tenant};
use trireme_wire::batch::{Batch, BatchSeries};

use super::codec::{MAGIC, Reader, START_BYTES, START_BYTES_UNPROVEN, VERSION, part, put_bytes};
use super::{CheckpointReport, DAMAGED_FILE, PREVIOUS_FILE};
use crate::bucket::ClosedChunk;
use crate::chunkfile::ChunkPlace;
use crate::{
    CHECKPOINT_FILE, HeadError, HeadSeries, IngestLimits, IngestOutput, Shard, ShardOptions,
    covered_by_all,
};

const NOW_MS: i64 = 1_700_003_600_000;

fn options(dir: &Path, boot: u32) -> ShardOptions {
    let own = StreamId {
        incarnation: Incarnation(1),
        boot: Boot(boot),
    };
    ShardOptions::new(0, 1, 7_200_000, dir.to_owned(), own)
}

/// Settings of a shard whose samples are in chunk files at once.
fn small(dir: &Path) -> ShardOptions {
    ShardOptions {
        chunk_samples_max: 2,
        ..options(dir, 1)
    }
}

/// A checkpoint of a shard without a log.
fn checkpoint(shard: &Shard) -> Result<CheckpointReport, HeadError> {
    shard.checkpoint(|| Ok(()))
}

fn fill(shard: &Shard) {
    fill_at(shard, NOW_MS);
}

fn fill_at(shard: &Shard, t: i64) {
    let tenant = Tenant::default();

    let mut batch = Batch::default();
    for n in 0..50u32 {
        let labels =
            Labels::from_pairs([("__name__", "up"), ("job", "node"), ("n", &n.to_string())]);
        let from = batch.label_bytes.len() as u32;
        batch.label_bytes.extend_from_slice(labels.as_bytes());
        batch.samples.push(FloatSample { t, v: f64::from(n) });
        batch.series.push(BatchSeries {
            key: SeriesKey::of(tenant.seed(), labels.as_bytes()),
            labels: from..batch.label_bytes.len() as u32,
            samples: n..n + 1,
            histograms: 0..0,
            exemplars: 0..0,
        });
    }

    let idx: Vec<u32> = (0..50).collect();
    let mut out = IngestOutput::default();
    shard.ingest(&tenant, &batch, &idx, &IngestLimits::default(), t, &mut out);
    assert_eq!(out.outcome.samples, 50);
}

#[test]
fn what_one_shard_lacks_is_not_covered() {
    let stream = |boot| StreamId {
        incarnation: Incarnation(1),
        boot: Boot(boot),
    };
    let shards = [
        vec![(stream(1), 7), (stream(2), 5), (stream(3), 9)],
        vec![(stream(1), 6), (stream(2), 8)],
        vec![
            (stream(1), 9),
            (stream(2), 5),
            (stream(3), 1),
            (stream(4), 1),
        ],
    ];

    assert_eq!(covered_by_all(shards), [(stream(1), 6), (stream(2), 5)]);
    assert!(covered_by_all([]).is_empty());
}

/// The same checkpoint as an earlier version wrote it: version 1 without the numbers of series and pairs, and both with
/// 16 bits for what has 32 now.
fn as_version(version: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = [MAGIC.as_slice(), &version.to_le_bytes()].concat();

    let mut rest = Reader::new(&bytes[START_BYTES..], VERSION);
    while !rest.is_empty() {
        let (Ok(kind), Ok(length), Ok(_crc)) = (rest.u8(), rest.u32(), rest.u32()) else {
            panic!("a part")
        };
        let Ok(body) = rest.take(length as usize) else {
            panic!("a body")
        };

        let mut body = body.to_vec();
        if kind == part::TENANT && version == 1 {
            body.truncate(body.len() - 8);
        } else if kind == part::PAIRS && version == 1 {
            body = without_numbers(&body);
        } else if kind == part::SERIES {
            body = narrow(&body);
        }

        put_part(&mut out, kind, &body);
    }

    out
}

fn put_part(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
    out.extend_from_slice(body);
}

fn without_numbers(body: &[u8]) -> Vec<u8> {
    let mut pairs = Reader::new(body, VERSION);
    let Ok(tenant) = pairs.u32() else {
        panic!("a tenant")
    };

    let mut old = tenant.to_le_bytes().to_vec();
    while !pairs.is_empty() {
        let (Ok(id), Ok(name), Ok(_), Ok(value)) =
            (pairs.u32(), pairs.u32(), pairs.u32(), pairs.str())
        else {
            panic!("a pair")
        };
        old.extend_from_slice(&id.to_le_bytes());
        old.extend_from_slice(&name.to_le_bytes());
        put_bytes(&mut old, value.as_bytes());
    }

    old
}

/// Series with one bucket each, which has an open chunk only.
fn narrow(body: &[u8]) -> Vec<u8> {
    let mut rest = body;
    let mut old = Vec::new();
    let copy = |rest: &mut &[u8], old: &mut Vec<u8>, bytes: usize| {
        old.extend_from_slice(&rest[..bytes]);
        *rest = &rest[bytes..];
    };
    let wide = |rest: &mut &[u8], old: &mut Vec<u8>| {
        let value = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
        old.extend_from_slice(&(value as u16).to_le_bytes());
        *rest = &rest[4..];
        value as usize
    };

    while !rest.is_empty() {
        copy(&mut rest, &mut old, 28);
        let pairs = usize::from(u16::from_le_bytes([rest[0], rest[1]]));
        copy(&mut rest, &mut old, 2 + 4 * pairs);
        assert_eq!(wide(&mut rest, &mut old), 1, "buckets");
        copy(&mut rest, &mut old, 25);
        let length = wide(&mut rest, &mut old);
        copy(&mut rest, &mut old, 8 + 32 + length + 4 + 4);
        assert_eq!(wide(&mut rest, &mut old), 0, "histograms");
    }

    old
}

#[test]
fn a_turned_bit_in_the_version_is_damage_and_no_other_version() {
    let dir = tempfile::tempdir().expect("temp dir");
    let shard = Shard::new(options(dir.path(), 1)).expect("opens");
    fill(&shard);
    checkpoint(&shard).expect("written");

    let path = dir.path().join(CHECKPOINT_FILE);
    let written = std::fs::read(&path).expect("there");
    for file in [written.clone(), as_version(2, &written)] {
        for bit in 0..START_BYTES * 8 {
            let mut turned = file.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, turned).expect("writable");

            let error = Shard::recover(options(dir.path(), 2), None)
                .err()
                .expect("refused");
            assert!(error.is_damage(), "bit {bit}: {error}");
        }
    }
}

#[test]
fn reads_earlier_versions_and_refuses_what_it_does_not_know() {
    let dir = tempfile::tempdir().expect("temp dir");
    let shard = Shard::new(options(dir.path(), 1)).expect("opens");
    fill(&shard);
    checkpoint(&shard).expect("written");

    let want = shard.window_digests(&Tenant::default()).expect("readable");
    let path = dir.path().join(CHECKPOINT_FILE);

    let bytes = std::fs::read(&path).expect("there");
    for file in [bytes.clone(), as_version(1, &bytes), as_version(2, &bytes)] {
        std::fs::write(&path, &file).expect("writable");
        let (again, found) = Shard::recover(options(dir.path(), 2), None).expect("loads");
        assert_eq!((found.series, found.bytes), (50, file.len() as u64));
        assert_eq!(
            again.window_digests(&Tenant::default()).expect("readable"),
            want
        );
    }

    let mut newer = bytes.clone();
    newer[8] = VERSION as u8 + 1;
    let crc = crc32c::crc32c(&newer[..START_BYTES_UNPROVEN]);
    newer[START_BYTES_UNPROVEN..START_BYTES].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, newer).expect("writable");

    let error = Shard::recover(options(dir.path(), 2), None)
        .err()
        .expect("refused");
    assert!(matches!(error, HeadError::Version { .. }), "{error}");

    for bad in [
        bytes[..bytes.len() - 1].to_vec(),
        bytes[..9].to_vec(),
        Vec::new(),
    ] {
        std::fs::write(&path, bad).expect("writable");
        let error = Shard::recover(options(dir.path(), 2), None)
            .err()
            .expect("refused");
        assert!(matches!(error, HeadError::Corrupt { .. }), "{error}");
    }
}

/// Adds one part in front of the end.
fn with_part(bytes: &[u8], kind: u8, body: &[u8]) -> Vec<u8> {
    let end = bytes.len() - part::HEADER_BYTES - 8;
    let mut out = bytes[..end].to_vec();
    put_part(&mut out, kind, body);
    out.extend_from_slice(&bytes[end..]);
    out
}

#[test]
fn extras_of_a_tenant_that_is_not_named_cost_an_old_file_nothing_else() {
    let dir = tempfile::tempdir().expect("temp dir");
    let shard = Shard::new(options(dir.path(), 1)).expect("opens");
    fill(&shard);
    checkpoint(&shard).expect("written");

    let path = dir.path().join(CHECKPOINT_FILE);
    let bytes = std::fs::read(&path).expect("there");
    let extras = [&9u32.to_le_bytes()[..], &[0; 16]].concat();

    std::fs::write(
        &path,
        with_part(&as_version(2, &bytes), part::EXTRAS, &extras),
    )
    .expect("writable");

    let (_, found) = Shard::recover(options(dir.path(), 2), None).expect("loads");
    assert_eq!(found.series, 50);
    std::fs::write(&path, with_part(&bytes, part::EXTRAS, &extras)).expect("writable");

    let error = Shard::recover(options(dir.path(), 2), None)
        .err()
        .expect("refused");
    assert!(error.is_damage(), "{error}");
}

#[test]
fn a_start_takes_the_checkpoint_before_one_that_is_damaged() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = |name: &str| dir.path().join(name);
    let shard = Shard::new(options(dir.path(), 1)).expect("opens");

    shard.note_positions(&[(stream(7), 5)]);
    assert_eq!(checkpoint(&shard).expect("written").trim_to, []);
    fill(&shard);
    shard.note_positions(&[(stream(7), 9)]);

    let report = checkpoint(&shard).expect("written");
    let of_seven = |positions: &[(StreamId, u64)]| {
        positions
            .iter()
            .find(|(id, _)| *id == stream(7))
            .map(|(_, seq)| *seq)
    };

    assert_eq!(
        (of_seven(&report.positions), of_seven(&report.trim_to)),
        (Some(9), Some(5))
    );

    assert!(path(PREVIOUS_FILE).exists());
    let mut bytes = std::fs::read(path(CHECKPOINT_FILE)).expect("there");
    let middle = bytes.len() / 2;

    bytes[middle] ^= 1;
    std::fs::write(path(CHECKPOINT_FILE), &bytes).expect("writable");

    let (again, found) =
        Shard::recover(options(dir.path(), 2), None).expect("loads the one before");
    assert_eq!((of_seven(&found.positions), found.series), (Some(5), 0));

    assert!(found.damage.is_some_and(|error| error.is_damage()));
    assert!(path(DAMAGED_FILE).exists() && !path(PREVIOUS_FILE).exists());

    // The damaged one must not become the one before.
    assert_eq!(
        of_seven(&checkpoint(&again).expect("written").trim_to),
        Some(5)
    );

    let (_, found) = Shard::recover(options(dir.path(), 3), None).expect("loads");
    assert!(found.damage.is_none());

    for name in [CHECKPOINT_FILE, PREVIOUS_FILE] {
        std::fs::write(path(name), b"nothing").expect("writable");
    }

    let error = Shard::recover(options(dir.path(), 4), None)
        .err()
        .expect("nothing to load");
    assert!(error.is_damage(), "{error}");
}

/// Labels and samples of everything that a shard has.
fn contents(shard: &Arc<Shard>) -> BTreeMap<Vec<u8>, Vec<(i64, u64)>> {
    let series = shard.select(&Tenant::default(), &[], i64::MIN, i64::MAX);
    let read = |series: &HeadSeries| {
        let mut times = Vec::new();
        let mut values = Vec::new();
        // Chunks that cannot be read are missing.
        let _ = series.read(i64::MIN, i64::MAX, &mut times, &mut values);
        let samples = times
            .into_iter()
            .zip(values.into_iter().map(f64::to_bits))
            .collect();
        (series.labels.as_bytes().to_vec(), samples)
    };

    series.iter().map(read).collect()
}

#[test]
fn a_salvage_gives_what_is_undamaged_and_nothing_that_never_was() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut small = small(dir.path());
    let shard = Shard::new(small.clone()).expect("opens");

    (0..9).for_each(|n| fill_at(&shard, NOW_MS + n * 1_000));
    checkpoint(&shard).expect("written");
    let want = contents(&shard);

    assert_eq!(want.len(), 50);
    let path = dir.path().join(CHECKPOINT_FILE);
    let whole = std::fs::read(&path).expect("there");

    small.own.boot = Boot(2);
    let mut all = 0;

    let mut some = 0;
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bytes).expect("writable");
        std::fs::write(dir.path().join(PREVIOUS_FILE), &bytes).expect("writable");

        let found = match Shard::salvage(small.clone(), None) {
            Ok((shard, damage)) => {
                assert!(!damage.is_empty(), "byte {at}");
                contents(&shard)
            }
            Err(error) => panic!("byte {at}: {error}"),
        };

        for (labels, samples) in &found {
            assert_eq!(want.get(labels), Some(samples), "byte {at}: {labels:?}");
        }

        all += usize::from(found.len() == 50);
        some += usize::from(!found.is_empty());
    }

    assert!(
        all > 0 && some >= all,
        "{all} of {} salvages were whole, {some} gave anything",
        whole.len() / 7
    );
}

#[test]
fn a_salvage_passes_over_one_part_and_one_chunk_file() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut small = small(dir.path());
    let shard = Shard::new(small.clone()).expect("opens");

    (0..200).for_each(|n| fill_at(&shard, NOW_MS + n * 1_000));
    checkpoint(&shard).expect("written");
    let want = contents(&shard);
    let path = dir.path().join(CHECKPOINT_FILE);
    let bytes = std::fs::read(&path).expect("there");

    std::fs::write(&path, with_part(&bytes, part::EXTRAS, b"nonsense")).expect("writable");
    small.own.boot = Boot(2);
    let (shard, damage) = Shard::salvage(small.clone(), None).expect("reads");

    assert_eq!(damage.len(), 1, "{damage:?}");
    assert_eq!(contents(&shard), want);
    std::fs::remove_file(dir.path().join("chunks/00000001.chunks")).expect("there");

    let (shard, _) = Shard::salvage(small, None).expect("reads");
    assert_eq!(contents(&shard).len(), want.len());
}

fn stream(boot: u32) -> StreamId {
    StreamId {
        incarnation: Incarnation(3),
        boot: Boot(boot),
    }
}

#[test]
fn a_checkpoint_that_no_start_could_read_does_not_replace_the_last_one() {
    let dir = tempfile::tempdir().expect("temp dir");
    let shard = Shard::new(options(dir.path(), 1)).expect("opens");
    fill(&shard);
    checkpoint(&shard).expect("written");

    let before = std::fs::read(dir.path().join(CHECKPOINT_FILE)).expect("there");
    // A defect: a series with a chunk that no file has.
    let lost = ChunkPlace {
        file: 77,
        offset: 16,
        len: 9,
    };

    {
        let mut state = shard.state.write();
        let series = state.series.get_mut(3).expect("made");
        series
            .current
            .closed
            .push(ClosedChunk::new(lost, 0, 1, 2, 3));
    }

    let error = checkpoint(&shard).expect_err("refused");
    assert!(matches!(error, HeadError::Corrupt { .. }), "{error}");
    assert_eq!(
        std::fs::read(dir.path().join(CHECKPOINT_FILE)).expect("there"),
        before
    );
}

#[test]
fn no_checkpoint_relies_on_a_chunk_file_whose_sync_failed_once() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut small = small(dir.path());

    let shard = Shard::new(small.clone()).expect("opens");
    for n in 0..200 {
        fill_at(&shard, NOW_MS + n * 1_000);
    }

    let want = shard.window_digests(&Tenant::default()).expect("readable");
    shard.state.write().files.fail_sync = true;
    let error = checkpoint(&shard).expect_err("the sync failed");
    assert!(
        matches!(error, HeadError::Io { action: "sync", .. }),
        "{error}"
    );

    let report = checkpoint(&shard).expect("written");
    // What the failed sync may have lost is gone.
    std::fs::remove_file(dir.path().join("chunks/00000001.chunks")).expect("still there");
    assert_eq!(report.files.len(), 2);
    small.own.boot = Boot(2);

    let (again, _) = Shard::recover(small, None).expect("loads");
    assert_eq!(
        again.window_digests(&Tenant::default()).expect("readable"),
        want
    );
}

#[test]
fn the_checkpoint_before_keeps_the_chunk_files_that_only_it_names() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut small = small(dir.path());
    let recover = |small: &mut ShardOptions| {
        small.own.boot = Boot(small.own.boot.0 + 1);
        Shard::recover(small.clone(), None).expect("loads")
    };
    let first = dir.path().join("chunks/00000001.chunks");
    let shard = Shard::new(small.clone()).expect("opens");

    (0..200).for_each(|n| fill_at(&shard, NOW_MS + n * 1_000));
    let want = shard.window_digests(&Tenant::default()).expect("readable");
    checkpoint(&shard).expect("written");
    fill_at(&shard, NOW_MS + 300_000);
    shard.state.write().files.fail_sync = true;
    checkpoint(&shard).expect_err("the sync failed");
    checkpoint(&shard).expect("written without that file");
    drop(shard);

    // A start that can read the newest one, and one that cannot.
    drop(recover(&mut small));
    let newest = dir.path().join(CHECKPOINT_FILE);

    std::fs::write(&newest, b"nothing").expect("writable");
    let (shard, found) = recover(&mut small);
    assert!(found.damage.is_some());

    assert_eq!(
        shard.window_digests(&Tenant::default()).expect("readable"),
        want
    );

    // The file goes when neither checkpoint names it.
    shard.state.write().files.fail_sync = true;
    checkpoint(&shard).expect_err("the sync failed");
    checkpoint(&shard).expect("written without that file");

    assert!(first.exists());
    checkpoint(&shard).expect("written");
    assert!(!first.exists());
}
