//! Damaged blocks on the disk, and good copies that take their place.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use slog::Logger;
use trireme_block::{
    BlockMeta, Incoming, IterSource, SeriesInput, WriteOptions, block_files, write_block,
};
use trireme_model::{Labels, Tenant};
use trireme_storage::LocalBlocks;

const WINDOW: std::ops::Range<i64> = 0..100_000;

/// Writes a block of one series below `root`.
fn block(root: &Path, value: f64) -> BlockMeta {
    let labels = Labels::from_pairs(vec![("__name__", "up")]);
    let series = SeriesInput {
        labels,
        times: vec![7],
        values: vec![value],
        ..SeriesInput::default()
    };

    let dir = root.join(Tenant::DEFAULT);
    let mut source = IterSource(std::iter::once(series));
    write_block(&dir, WINDOW, &WriteOptions::default(), &mut source)
        .unwrap()
        .unwrap()
}

fn dir_of(root: &Path, meta: &BlockMeta) -> PathBuf {
    root.join(Tenant::DEFAULT).join(meta.ulid.to_string())
}

fn open(root: &Path) -> LocalBlocks {
    LocalBlocks::open(root, Logger::root(slog::Discard, slog::o!())).unwrap()
}

/// A copy of `from`'s block, on its way to `root`.
fn copy(from: &Path, root: &Path, meta: &BlockMeta) -> Incoming {
    let mut incoming = Incoming::begin(&root.join(Tenant::DEFAULT), meta.ulid).unwrap();
    for (name, _) in block_files(&dir_of(from, meta)).unwrap() {
        incoming
            .append(&name, &fs::read(dir_of(from, meta).join(&name)).unwrap())
            .unwrap();
    }
    incoming
}

fn names(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join(Tenant::DEFAULT)).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_good_copy_takes_the_place_of_a_damaged_block_and_of_no_other() {
    let here = tempfile::tempdir().unwrap();
    let peer = tempfile::tempdir().unwrap();
    let meta = block(here.path(), 1.0);

    assert_eq!(
        block(peer.path(), 1.0).ulid,
        meta.ulid,
        "equal samples, equal names"
    );

    let local_blocks = open(here.path());
    let tenant = Tenant::default();
    let generation = local_blocks.generation();
    let before = local_blocks.find(&tenant, meta.ulid).unwrap();

    assert_eq!(
        local_blocks
            .put(&tenant, copy(peer.path(), here.path(), &meta))
            .unwrap(),
        None
    );

    assert_eq!(
        names(here.path()),
        [meta.ulid.to_string()],
        "a good block stays, the copy goes"
    );

    before.set_damaged();
    let aside = local_blocks
        .put(&tenant, copy(peer.path(), here.path(), &meta))
        .unwrap()
        .unwrap();
    assert!(aside.ends_with(format!("quarantine-{}", meta.ulid)) && aside.exists());

    let after = local_blocks.find(&tenant, meta.ulid).unwrap();
    assert!(!after.is_damaged() && before.is_damaged());
    assert_eq!(local_blocks.blocks().len(), 1);

    assert!(local_blocks.generation() > generation, "queries look again");
    assert_eq!(
        open(here.path()).lost(),
        [],
        "it was set aside, and is back"
    );

    // The same with a block whose directory somebody removed.
    after.set_damaged();
    fs::remove_dir_all(&after.dir).unwrap();
    assert_eq!(
        local_blocks
            .put(&tenant, copy(peer.path(), here.path(), &meta))
            .unwrap(),
        None
    );

    assert!(after.dir.exists() && !local_blocks.find(&tenant, meta.ulid).unwrap().is_damaged());
}

#[test]
fn a_block_that_was_set_aside_is_lost_until_a_copy_is_there() {
    let here = tempfile::tempdir().unwrap();
    let peer = tempfile::tempdir().unwrap();
    let bad = block(here.path(), 1.0);
    let good = block(here.path(), 2.0);

    block(peer.path(), 1.0);
    fs::write(dir_of(here.path(), &bad).join("index"), b"rotten").unwrap();
    let tenant = Tenant::default();
    let lost = [(tenant.clone(), bad.ulid)];

    assert_eq!(open(here.path()).lost(), lost);
    let local_blocks = open(here.path());
    assert_eq!(local_blocks.lost(), lost, "a second start knows it as well");

    assert!(
        local_blocks.find(&tenant, bad.ulid).is_none()
            && local_blocks.find(&tenant, good.ulid).is_some()
    );
    local_blocks
        .put(&tenant, copy(peer.path(), here.path(), &bad))
        .unwrap();
    assert_eq!(local_blocks.lost(), []);
    assert_eq!(open(here.path()).blocks().len(), 2);
}

#[test]
fn blocks_of_many_tenants_are_opened_and_each_keeps_its_own() {
    let here = tempfile::tempdir().unwrap();
    let series = |value: f64| SeriesInput {
        labels: Labels::from_pairs(vec![("__name__", "up")]),
        times: vec![7],
        values: vec![value],
        ..SeriesInput::default()
    };

    let mut good = Vec::new();

    let mut bad = Vec::new();
    for tenant in ["a", "b", "c", "d"].map(|name| Tenant::new(name).unwrap()) {
        for number in 0..10 {
            let dir = here.path().join(tenant.as_str());
            // Equal samples of two tenants lie in blocks of one name here: no label says whose they are.
            let mut source = IterSource(std::iter::once(series(f64::from(number))));
            let meta = write_block(&dir, WINDOW, &WriteOptions::default(), &mut source)
                .unwrap()
                .unwrap();
            let is_bad = number == 3 && tenant.as_str() != "c";
            if is_bad {
                fs::write(dir.join(meta.ulid.to_string()).join("index"), b"rotten").unwrap();
            }
            let found = if is_bad { &mut bad } else { &mut good };
            found.push((tenant.clone(), meta.ulid));
        }
    }

    let local_blocks = open(here.path());
    let mut found: Vec<_> = local_blocks
        .blocks()
        .iter()
        .map(|block| (block.tenant.clone(), block.meta().ulid))
        .collect();

    assert!(found.is_sorted_by_key(|(tenant, _)| tenant.clone()));
    found.sort();
    good.sort();
    assert_eq!(found, good);
    assert_eq!(local_blocks.lost(), bad);

    let dirs = local_blocks
        .blocks()
        .iter()
        .all(|b| b.dir.starts_with(here.path().join(b.tenant.as_str())));
    assert!(dirs);
}

#[test]
fn age_counts_from_the_newest_block_and_never_beyond_now() {
    let here = tempfile::tempdir().unwrap();
    for value in [1.0, 2.0] {
        block(here.path(), value);
    }

    let local_blocks = open(here.path());
    let end = WINDOW.end;
    let days_400 = 400 * 86_400_000;

    assert_eq!(
        local_blocks.retain(end + days_400, 1_000, 0, false),
        0,
        "a clock alone drops nothing"
    );

    assert_eq!(local_blocks.retain(end - days_400, 1_000, 0, false), 0);
    assert_eq!(local_blocks.newest_ms(), Some(end));

    let dir = here.path().join(Tenant::DEFAULT);
    let labels = Labels::from_pairs(vec![("__name__", "up")]);
    let series = SeriesInput {
        labels,
        times: vec![end + 7],
        values: vec![3.0],
        ..SeriesInput::default()
    };

    let mut source = IterSource(std::iter::once(series));
    let newer = end..end + 100_000;
    let meta = write_block(&dir, newer, &WriteOptions::default(), &mut source)
        .unwrap()
        .unwrap();

    local_blocks.add(&Tenant::default(), &meta).unwrap();
    assert_eq!(
        local_blocks.retain(end, 1_000, 0, false),
        0,
        "a block of the future ages nothing either"
    );

    assert_eq!(
        local_blocks.retain(end + days_400, 100_000, 0, false),
        2,
        "the newer one makes the others old"
    );
}
