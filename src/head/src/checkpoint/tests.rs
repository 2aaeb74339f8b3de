//! Files of an earlier version.

use std::path::Path;

use trireme_base::{Boot, Incarnation, StreamId};
use trireme_model::{FloatSample, Labels, SeriesKey, Tenant};
use trireme_wire::batch::{Batch, BatchSeries};

use super::codec::{MAGIC, Reader, part, put_bytes};
use crate::{CHECKPOINT_FILE, HeadError, IngestLimits, IngestOutput, Shard, ShardOptions, covered_by_all};

const NOW_MS: i64 = 1_700_003_600_000;

fn options(dir: &Path, boot: u32) -> ShardOptions {
    let own = StreamId { incarnation: Incarnation(1), boot: Boot(boot) };
    ShardOptions::new(0, 1, 7_200_000, dir.to_owned(), own)
}

fn fill(shard: &Shard) {
    let (tenant, mut batch) = (Tenant::default(), Batch::default());
    for n in 0..50u32 {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "node"), ("n", &n.to_string())]);
        let from = batch.label_bytes.len() as u32;
        batch.label_bytes.extend_from_slice(labels.as_bytes());
        batch.samples.push(FloatSample { t: NOW_MS, v: f64::from(n) });
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
    shard.ingest(&tenant, &batch, &idx, &IngestLimits::default(), NOW_MS, &mut out);
    assert_eq!(out.outcome.samples, 50);
}

#[test]
fn what_one_shard_lacks_is_not_covered() {
    let stream = |boot| StreamId { incarnation: Incarnation(1), boot: Boot(boot) };
    let shards = [
        vec![(stream(1), 7), (stream(2), 5), (stream(3), 9)],
        vec![(stream(1), 6), (stream(2), 8)],
        vec![(stream(1), 9), (stream(2), 5), (stream(3), 1), (stream(4), 1)],
    ];
    assert_eq!(covered_by_all(shards), [(stream(1), 6), (stream(2), 5)]);
    assert!(covered_by_all([]).is_empty());
}

/// The same checkpoint as version 1 wrote it: without the numbers of series and pairs.
fn as_version_1(bytes: &[u8]) -> Vec<u8> {
    let mut out = [MAGIC.as_slice(), &1u32.to_le_bytes()].concat();
    let mut rest = Reader(&bytes[12..]);
    while !rest.is_empty() {
        let (Ok(kind), Ok(length), Ok(_crc)) = (rest.u8(), rest.u32(), rest.u32()) else { panic!("a part") };
        let Ok(body) = rest.take(length as usize) else { panic!("a body") };
        let mut body = body.to_vec();
        if kind == part::TENANT {
            body.truncate(body.len() - 8);
        } else if kind == part::PAIRS {
            let mut pairs = Reader(&body);
            let Ok(tenant) = pairs.u32() else { panic!("a tenant") };
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
            body = old;
        }
        out.push(kind);
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        out.extend_from_slice(&body);
    }
    out
}

#[test]
fn reads_version_1_and_refuses_what_it_does_not_know() {
    let dir = tempfile::tempdir().expect("temp dir");
    let shard = Shard::new(options(dir.path(), 1)).expect("opens");
    fill(&shard);
    shard.checkpoint(|| Ok::<(), HeadError>(())).expect("written");
    let want = shard.window_digests(&Tenant::default()).expect("readable");
    let path = dir.path().join(CHECKPOINT_FILE);
    let bytes = std::fs::read(&path).expect("there");
    let old = as_version_1(&bytes);
    for file in [&bytes, &old] {
        std::fs::write(&path, file).expect("writable");
        let (again, found) = Shard::recover(options(dir.path(), 2), None).expect("loads");
        assert_eq!((found.series, found.bytes), (50, file.len() as u64));
        assert_eq!(again.window_digests(&Tenant::default()).expect("readable"), want);
    }
    let mut newer = bytes.clone();
    newer[8] = 3;
    std::fs::write(&path, newer).expect("writable");
    let error = Shard::recover(options(dir.path(), 2), None).err().expect("refused");
    assert!(matches!(error, HeadError::Version { .. }), "{error}");
    for bad in [bytes[..bytes.len() - 1].to_vec(), bytes[..9].to_vec(), Vec::new()] {
        std::fs::write(&path, bad).expect("writable");
        let error = Shard::recover(options(dir.path(), 2), None).err().expect("refused");
        assert!(matches!(error, HeadError::Corrupt { .. }), "{error}");
    }
}
