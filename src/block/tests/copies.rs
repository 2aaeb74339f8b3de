//! Blocks that are read again and copied: what changed on the disk is found, and no copy gets a name before it was
//! checked.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{series, write};
use trireme_block::{
    Block, BlockError, BlockMeta, Incoming, Reread, WriteOptions, block_files, is_block_file,
    scan_blocks, set_aside, set_aside_blocks,
};

fn small_block(dir: &Path) -> (BlockMeta, PathBuf) {
    let mut few = series(6, 3);
    for s in &mut few {
        s.times.truncate(7);
        s.values.truncate(7);
        s.histograms.truncate(5);
    }

    write(
        dir,
        &few,
        &WriteOptions {
            segment_bytes_max: 250,
            ..WriteOptions::default()
        },
    )
}

/// Reads everything and answers how many bytes there were.
fn read_again(mut reread: Reread) -> Result<usize, BlockError> {
    let mut bytes = 0;
    while let Some(read) = reread.step()? {
        bytes += read;
    }
    Ok(bytes)
}

/// Appends all files of a block.
fn copy(from: &Path, incoming: &mut Incoming) {
    for (name, bytes) in block_files(from).unwrap() {
        let content = fs::read(from.join(&name)).unwrap();
        assert_eq!(content.len() as u64, bytes);
        let (first, rest) = content.split_at(content.len() / 3);
        incoming.append(&name, first).unwrap();
        incoming.append(&name, rest).unwrap();
    }
}

#[test]
fn every_byte_that_changed_on_disk_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (meta, path) = small_block(dir.path());
    let bytes = read_again(Reread::begin(&path, meta.ulid).unwrap()).unwrap();
    let files = block_files(&path).unwrap();
    let sum: u64 = files
        .iter()
        .filter(|(name, _)| name != "meta.json")
        .map(|(_, bytes)| bytes)
        .sum();

    assert_eq!(bytes as u64, sum);
    for (name, _) in files.iter().filter(|(name, _)| name != "meta.json") {
        let good = fs::read(path.join(name)).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(path.join(name), &bad).unwrap();
            let error = Reread::begin(&path, meta.ulid)
                .and_then(read_again)
                .unwrap_err();
            assert!(error.is_damage(), "byte {at} of {name}: {error}");
        }

        fs::write(path.join(name), &good[..good.len() - 1]).unwrap();
        assert!(
            Reread::begin(&path, meta.ulid)
                .and_then(read_again)
                .unwrap_err()
                .is_damage(),
            "{name} cut"
        );

        fs::write(path.join(name), &good).unwrap();
    }

    let text = fs::read_to_string(path.join("meta.json")).unwrap();
    let changed = text.replace("\"numSeries\": 6", "\"numSeries\": 7");
    assert_ne!(text, changed);
    fs::write(path.join("meta.json"), changed).unwrap();

    assert!(Reread::begin(&path, meta.ulid).is_err_and(|error| error.is_damage()));
}

#[test]
fn a_copy_has_its_name_once_it_is_whole() {
    let from = tempfile::tempdir().unwrap();
    let to = tempfile::tempdir().unwrap();
    let (meta, path) = small_block(from.path());
    let tenant = to.path().join("tenant");
    let mut incoming = Incoming::begin(&tenant, meta.ulid).unwrap();

    copy(&path, &mut incoming);
    read_again(incoming.reread().unwrap()).unwrap();
    assert!(!tenant.join(meta.ulid.to_string()).exists());
    assert!(incoming.publish().unwrap());

    assert_eq!(
        *Block::open(&tenant.join(meta.ulid.to_string()))
            .unwrap()
            .meta(),
        meta
    );

    let mut again = Incoming::begin(&tenant, meta.ulid).unwrap();
    copy(&path, &mut again);
    assert!(!again.publish().unwrap(), "there is one already");

    let scan = scan_blocks(&tenant).unwrap();
    assert_eq!(
        (
            scan.blocks.len(),
            scan.removed.len(),
            scan.quarantined.len()
        ),
        (1, 0, 0)
    );
}

#[test]
fn a_copy_that_differs_is_refused_and_leaves_nothing() {
    let from = tempfile::tempdir().unwrap();
    let to = tempfile::tempdir().unwrap();
    let (meta, path) = small_block(from.path());
    let mut incoming = Incoming::begin(to.path(), meta.ulid).unwrap();

    copy(&path, &mut incoming);
    incoming
        .append("chunks/000009", b"more than there is")
        .unwrap();

    assert!(
        read_again(incoming.reread().unwrap()).is_err(),
        "it has a file that nothing names"
    );

    drop(incoming);

    let mut other = series(3, 8);
    other.truncate(2);
    let (other, other_path) = write(from.path(), &other, &WriteOptions::default());
    let mut incoming = Incoming::begin(to.path(), meta.ulid).unwrap();

    copy(&other_path, &mut incoming);
    assert_ne!(meta.ulid, other.ulid);
    assert!(
        incoming.reread().is_err_and(|error| error.is_damage()),
        "it is another block"
    );

    drop(incoming);
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
}

#[test]
fn nothing_is_written_outside_a_block() {
    for good in ["meta.json", "index", "tombstones", "chunks/000001"] {
        assert!(is_block_file(good), "{good}");
    }

    let dir = tempfile::tempdir().unwrap();

    let mut incoming = Incoming::begin(dir.path(), ulid::Ulid::nil()).unwrap();
    for bad in [
        "",
        "/etc/passwd",
        "../index",
        "chunks/../index",
        "chunks/0001",
        "chunks",
        "index/x",
        "x",
    ] {
        assert!(!is_block_file(bad), "{bad}");
        assert!(incoming.append(bad, b"x").is_err(), "{bad}");
    }
}

#[test]
fn blocks_that_were_set_aside_are_known_by_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let (meta, path) = small_block(dir.path());
    assert_eq!(set_aside_blocks(dir.path()).unwrap(), []);
    set_aside(dir.path(), meta.ulid).unwrap();

    assert!(!path.exists());
    small_block(dir.path());
    set_aside(dir.path(), meta.ulid).unwrap();
    assert_eq!(set_aside_blocks(dir.path()).unwrap(), [meta.ulid]);
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        2,
        "both are kept"
    );
}
