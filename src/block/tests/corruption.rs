//! Damaged blocks: nothing panics, and what is wrong is named.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use support::{series, write};
use trireme_block::{
    Block, BlockMeta, ChunkReader, IndexReader, Interval, Samples, SeriesInput, Tombstones,
    WriteOptions, verify_block,
};

/// A block of a few hundred bytes with floats, histograms, two chunk files and a tombstone.
fn small_block(dir: &Path) -> std::path::PathBuf {
    let mut few: Vec<SeriesInput> = series(6, 9);
    for s in &mut few {
        s.times.truncate(7);
        s.values.truncate(7);
        s.histograms.truncate(5);
    }

    let options = WriteOptions {
        segment_bytes_max: 250,
        ..WriteOptions::default()
    };
    let (mut meta, path) = write(dir, &few, &options);
    let id = Block::open(&path)
        .unwrap()
        .index()
        .all_postings()
        .unwrap()
        .get(0);

    let mut tombstones = Tombstones::default();
    tombstones.add(
        id,
        Interval {
            first: support::START,
            last: support::START + 1,
        },
    );

    tombstones.write(&path).unwrap();
    meta.stats.num_tombstones = 1;
    meta.write(&path).unwrap();

    path
}

/// Uses everything a reader uses; errors are fine.
fn use_block(block: &Block) {
    let _ = block.label_names(&[]);
    let _ = block.label_values("instance", &[], &|_| false);
    let Ok(found) = block.select(&[], i64::MIN, i64::MAX) else {
        return;
    };

    for s in &found {
        let _ = block.read_series(s, i64::MIN, i64::MAX, &mut Samples::default());
    }
}

#[test]
fn every_damaged_byte_is_found_and_nothing_panics() {
    let dir = tempfile::tempdir().unwrap();
    let path = small_block(dir.path());
    assert_eq!(verify_block(&path), []);

    let good_meta = BlockMeta::read(&path).unwrap();
    let files = [
        "meta.json",
        "index",
        "tombstones",
        "chunks/000001",
        "chunks/000002",
    ];

    for name in files {
        let file = path.join(name);

        let good = fs::read(&file).unwrap();
        for at in 0..good.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= flip;

                // White space and the like of JSON may change without a change of meaning.
                if name == "meta.json" && BlockMeta::parse(&bad).is_ok_and(|m| m == good_meta) {
                    continue;
                }

                // A damaged name of our own section makes the block one of another program, which has no seal.
                if name == "meta.json" && BlockMeta::parse(&bad).is_ok_and(|m| m.trireme.is_none())
                {
                    continue;
                }

                // A map of the old file may be open no more, so the file can be replaced in place.
                fs::remove_file(&file).unwrap();
                fs::write(&file, &bad).unwrap();

                let faults = verify_block(&path);
                assert!(
                    !faults.is_empty(),
                    "{name}: byte {at} of {} changed by {flip:#x}",
                    good.len()
                );

                let about = |part: &str| faults.iter().any(|f| f.place.contains(part));
                let named = about(name) || about("meta.json") && !name.starts_with("index");
                assert!(named || about("index"), "{name} byte {at}: {faults:?}");

                if let Ok(block) = Block::open(&path) {
                    use_block(&block);
                }
            }
        }

        for len in 0..good.len() {
            fs::remove_file(&file).unwrap();
            fs::write(&file, &good[..len]).unwrap();
            let harmless =
                name == "meta.json" && BlockMeta::parse(&good[..len]).is_ok_and(|m| m == good_meta);
            assert!(
                harmless || !verify_block(&path).is_empty(),
                "{name} cut to {len} of {}",
                good.len()
            );
        }

        fs::remove_file(&file).unwrap();
        fs::write(&file, &good).unwrap();
    }

    assert_eq!(verify_block(&path), []);
}

#[test]
fn every_missing_file_is_named() {
    let dir = tempfile::tempdir().unwrap();

    let path = small_block(dir.path());
    for name in [
        "meta.json",
        "index",
        "chunks/000001",
        "chunks/000002",
        "tombstones",
    ] {
        let good = fs::read(path.join(name)).unwrap();
        fs::remove_file(path.join(name)).unwrap();
        assert!(!verify_block(&path).is_empty(), "{name}");
        fs::write(path.join(name), good).unwrap();
    }
}

/// Opens an index from bytes and reads all of it.
fn use_index(bytes: Vec<u8>) {
    let Ok(index) = IndexReader::open(Arc::new(Bytes::from(bytes))) else {
        return;
    };

    let chunks = ChunkReader::open(Vec::new()).unwrap();
    let meta = br#"{"ulid":"01GMRJQ4Y2T4K4T2Z2X5V8J9ZC","minTime":-9223372036854775808,
        "maxTime":9223372036854775807,"version":1}"#;
    let meta = BlockMeta::parse(meta).unwrap();
    let block = Block::from_parts(meta, index, chunks, Tombstones::default());

    use_block(&block);
    let _ = block.verify();
}

/// Puts right checksums behind the TOC and the sections it names, so that damage gets past them.
fn repair(bytes: &mut [u8]) {
    let n = bytes.len();
    if n < 64 {
        return;
    }

    let offset = |bytes: &[u8], i: usize| {
        u64::from_be_bytes(bytes[n - 52 + i * 8..][..8].try_into().unwrap())
    };

    for i in [0, 5] {
        let at = offset(bytes, i) as usize;
        if at > n - 60 {
            continue;
        }
        let len = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        if let Some(content) = bytes.get(at + 4..(at + 4).saturating_add(len)) {
            let crc = crc32c::crc32c(content).to_be_bytes();
            if let Some(slot) = bytes.get_mut(at + 4 + len..at + 8 + len) {
                slot.copy_from_slice(&crc);
            }
        }
    }

    let crc = crc32c::crc32c(&bytes[n - 52..n - 4]).to_be_bytes();
    bytes[n - 4..].copy_from_slice(&crc);
}

proptest! {
    #[test]
    fn random_bytes_as_index_chunks_or_meta_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = BlockMeta::parse(&bytes);
        let mut chunk_file = vec![0x85, 0xbd, 0x40, 0xdd, 1, 0, 0, 0];
        chunk_file.extend_from_slice(&bytes);
        let chunks = ChunkReader::open(vec![Arc::new(Bytes::from(chunk_file))]).unwrap();
        for offset in 0..bytes.len() as u64 + 9 {
            let _ = chunks.read(offset);
        }
        let _ = chunks.read(1 << 32);
        let mut index = vec![0xba, 0xaa, 0xd7, 0, 2];
        index.extend_from_slice(&bytes);
        repair(&mut index);
        use_index(index);
        use_index(bytes);
    }

    #[test]
    fn damage_behind_right_checksums_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = fs::read(small_block(dir.path()).join("index")).unwrap();
        let n = bytes.len();
        for (at, value) in changes {
            bytes[at.index(n)] = value;
        }
        repair(&mut bytes);
        use_index(bytes);
    }
}
