//! Blocks go to stores and come back.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::path::Path as Object;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use tokio::runtime::Runtime;
use trireme_block::{
    Block, BlockMeta, IterSource, Samples, SeriesInput, WriteOptions, write_block,
};
use trireme_bucket::{
    BucketConfig, BucketError, BucketKind, BucketReader, CopyState, HashedBlock, Listing,
    MetaCache, Published, ReadRules, ReaderOptions, compare, delete_block, fetch_meta, list_blocks,
    mark_for_deletion, mark_no_compact, mark_no_downsample, publish,
};
use trireme_model::{Labels, MatchOp, Matcher};

const END: i64 = 7_200_000;

/// A block of `series` series in several chunk files.
fn block(dir: &Path, series: usize, first_value: f64) -> (BlockMeta, PathBuf) {
    let mut all: Vec<SeriesInput> = (0..series)
        .map(|i| SeriesInput {
            labels: Labels::from_pairs([("__name__", "m"), ("i", &format!("{i:04}"))]),
            times: (0..400).map(|t| t * 15_000).collect(),
            values: (0..400)
                .map(|t| first_value + (t * t * (i + 1)) as f64 / 7.0)
                .collect(),
            ..SeriesInput::default()
        })
        .collect();

    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    let options = WriteOptions {
        segment_bytes_max: 100_000,
        ..WriteOptions::default()
    };
    let meta = write_block(dir, 0..END, &options, &mut IterSource(all.into_iter()))
        .unwrap()
        .unwrap();
    let path = dir.join(meta.ulid.to_string());

    (meta, path)
}

fn labels(tenant: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("tenant_id".into(), tenant.into()),
        ("group".into(), "g1".into()),
    ])
}

fn local(path: &Path) -> HashedBlock {
    HashedBlock::open(path, &labels("a"), "receive").unwrap()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn log() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}

/// A name for each store that this machine has, and the store; the guards keep their directories.
fn stores(dir: &Path) -> Vec<(&'static str, Arc<dyn ObjectStore>)> {
    let open = |config: BucketConfig| config.open(&log()).unwrap().unwrap();
    let memory = open(BucketConfig {
        kind: BucketKind::Memory,
        ..BucketConfig::default()
    });
    let prefix = "some/folder".to_owned();
    let file = open(BucketConfig {
        kind: BucketKind::File,
        path: dir.join("bucket"),
        prefix,
        ..BucketConfig::default()
    });

    let mut all = vec![("memory", memory), ("file", file)];
    match std::env::var("TRIREME_TEST_S3") {
        Ok(endpoint) => all.push(("s3", s3(&endpoint, dir))),
        Err(_) => eprintln!("LEFT OUT: S3, since TRIREME_TEST_S3=http://host:port names no server"),
    }

    all
}

/// A bucket of the test server; the folder is new for every test.
fn s3(endpoint: &str, dir: &Path) -> Arc<dyn ObjectStore> {
    let name = "trireme-test";
    let host = endpoint.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    let request = format!("PUT /{name} HTTP/1.0\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");

    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    std::io::Read::read_to_end(&mut stream, &mut Vec::new()).unwrap();
    let config = BucketConfig {
        kind: BucketKind::S3,
        name: name.into(),
        prefix: dir.file_name().unwrap().to_string_lossy().into_owned(),
        endpoint: endpoint.into(),
        region: "us-east-1".into(),
        access_key: "key".into(),
        secret_key: "secret".into(),
        allow_http: true,
        ..BucketConfig::default()
    };

    config.open(&log()).unwrap().unwrap()
}

fn for_each_store(test: impl Fn(&str, Arc<dyn ObjectStore>, &Path, &Runtime)) {
    let runtime = runtime();
    let dir = tempfile::tempdir().unwrap();
    for (name, store) in stores(dir.path()) {
        let work = dir.path().join(name);
        std::fs::create_dir(&work).unwrap();
        test(name, store, &work, &runtime);
    }
}

#[test]
fn a_published_block_is_listed_and_answers_like_the_local_one() {
    for_each_store(|name, store, dir, runtime| {
        let (meta, path) = block(dir, 300, 0.0);
        let ours = local(&path);
        assert_eq!(
            runtime.block_on(compare(&*store, &ours)).unwrap(),
            CopyState::Absent,
            "{name}"
        );

        assert_eq!(
            runtime.block_on(publish(&*store, &ours)).unwrap(),
            Published::Uploaded,
            "{name}"
        );

        assert_eq!(
            runtime.block_on(publish(&*store, &ours)).unwrap(),
            Published::AlreadyThere,
            "{name}"
        );

        assert_eq!(
            runtime.block_on(compare(&*store, &ours)).unwrap(),
            CopyState::Same,
            "{name}"
        );

        assert_eq!(
            runtime.block_on(list_blocks(&*store)).unwrap(),
            [meta.ulid],
            "{name}"
        );

        let theirs = runtime
            .block_on(fetch_meta(&*store, meta.ulid))
            .unwrap()
            .unwrap();

        assert_eq!(theirs.external_labels(), Some(&labels("a")));
        assert!(theirs.crc_matches());
        let thanos = theirs.thanos.as_ref().unwrap();

        assert_eq!(thanos.source, "receive");
        assert_eq!(thanos.files.last().unwrap().rel_path, "meta.json");

        let options = ReaderOptions {
            cache_bytes_max: 300_000,
            ..ReaderOptions::default()
        };
        let reader = BucketReader::new(store.clone(), runtime.handle().clone(), options);
        let remote = reader.block(&theirs).unwrap();
        let at_home = Block::open(&path).unwrap();
        assert!(at_home.chunks().segment_count() > 2);

        for matchers in [
            vec![],
            vec![Matcher::new("i", MatchOp::Regex, "01.[37]").unwrap()],
        ] {
            let found = remote.select(&matchers, 1_000_000, 2_000_000).unwrap();
            assert_eq!(
                found,
                at_home.select(&matchers, 1_000_000, 2_000_000).unwrap(),
                "{name}"
            );

            for series in &found {
                let mut a = Samples::default();
                let mut b = Samples::default();
                remote
                    .read_series(series, 1_000_000, 2_000_000, &mut a)
                    .unwrap();
                at_home
                    .read_series(series, 1_000_000, 2_000_000, &mut b)
                    .unwrap();
                assert_eq!((a.times, a.values), (b.times, b.values), "{name}");
            }
        }

        assert_eq!(remote.verify(), [], "{name}");
        assert!(reader.cache().stats().bytes <= 300_000);
        assert!(Arc::ptr_eq(&remote, &reader.block(&theirs).unwrap()));

        check_header_copies(
            name,
            store,
            runtime,
            &dir.join("headers"),
            &theirs,
            &at_home,
        );
    });
}

/// Opens the block through a copy of its header, which is made, used, mended and removed.
fn check_header_copies(
    name: &str,
    store: Arc<dyn ObjectStore>,
    runtime: &Runtime,
    headers: &Path,
    meta: &BlockMeta,
    at_home: &Block,
) {
    let reader = || {
        let options = ReaderOptions {
            header_dir: Some(headers.to_owned()),
            ..ReaderOptions::default()
        };
        BucketReader::new(store.clone(), runtime.handle().clone(), options)
    };

    let want = at_home.select(&[], 0, END).unwrap();
    let check = |reader: &BucketReader| {
        let block = reader.block(meta).unwrap();
        assert_eq!(block.select(&[], 0, END).unwrap(), want, "{name}");
        assert_eq!(block.verify(), [], "{name}");
    };

    check(&reader());
    let copy = headers.join(meta.ulid.to_string());
    let good = std::fs::read(&copy).unwrap();

    check(&reader());
    for damage in [
        good[..good.len() - 1].to_vec(),
        good.iter().map(|b| b ^ 1).collect(),
        Vec::new(),
    ] {
        std::fs::remove_file(&copy).unwrap();
        std::fs::write(&copy, damage).unwrap();
        check(&reader());
        assert_eq!(
            std::fs::read(&copy).unwrap(),
            good,
            "{name}: a bad copy is made again"
        );
    }

    reader().retain(&|ulid| ulid == meta.ulid).unwrap();
    assert!(copy.exists());
    reader().retain(&|_| false).unwrap();

    assert!(!copy.exists());
}

#[test]
fn a_broken_off_upload_is_mended_and_only_then_visible() {
    for_each_store(|name, store, dir, runtime| {
        let (meta, path) = block(dir, 200, 1.0);
        let ours = local(&path);
        let object = |rel: &str| Object::from(format!("{}/{rel}", meta.ulid));

        // One file whole, one with other bytes of the same length, one cut short; no meta.json.
        let whole = std::fs::read(path.join("chunks/000001")).unwrap();
        let mut wrong = std::fs::read(path.join("index")).unwrap();

        wrong[100] ^= 1;

        let short = whole[..50].to_vec();
        for (rel, bytes) in [
            ("chunks/000001", whole),
            ("index", wrong),
            ("chunks/000002", short),
        ] {
            runtime
                .block_on(store.put(&object(rel), PutPayload::from(bytes)))
                .unwrap();
        }

        let cache = MetaCache::default();
        let seen = runtime
            .block_on(cache.refresh(&*store, Listing::Objects))
            .unwrap();

        assert_eq!(
            (seen.partial, cache.blocks().len()),
            (vec![meta.ulid], 0),
            "{name}"
        );

        assert_eq!(
            runtime.block_on(publish(&*store, &ours)).unwrap(),
            Published::Uploaded,
            "{name}"
        );

        for rel in ["chunks/000001", "chunks/000002", "index"] {
            let there = runtime.block_on(async {
                store
                    .get(&object(rel))
                    .await
                    .unwrap()
                    .bytes()
                    .await
                    .unwrap()
            });
            assert_eq!(
                there,
                std::fs::read(path.join(rel)).unwrap(),
                "{name} {rel}"
            );
        }

        let seen = runtime
            .block_on(cache.refresh(&*store, Listing::Objects))
            .unwrap();

        assert_eq!(
            (seen.added, cache.blocks().len()),
            (vec![meta.ulid], 1),
            "{name}"
        );
    });
}

#[test]
fn two_nodes_that_publish_at_once_both_succeed() {
    for_each_store(|name, store, dir, runtime| {
        let (meta, path) = block(dir, 20, 2.0);
        let a = local(&path);
        let b = local(&path);
        let both =
            async { futures::future::join(publish(&*store, &a), publish(&*store, &b)).await };
        let (first, second) = runtime.block_on(both);
        let results = [first.unwrap(), second.unwrap()];
        assert!(results.contains(&Published::Uploaded), "{name}");

        assert_eq!(
            runtime.block_on(compare(&*store, &a)).unwrap(),
            CopyState::Same,
            "{name}"
        );

        assert!(
            runtime
                .block_on(fetch_meta(&*store, meta.ulid))
                .unwrap()
                .is_some(),
            "{name}"
        );
    });
}

#[test]
fn a_local_file_that_has_changed_since_it_was_hashed_gets_into_no_object() {
    for_each_store(|name, store, dir, runtime| {
        let (meta, path) = block(dir, 20, 4.0);
        let ours = local(&path);
        let mut bytes = std::fs::read(path.join("chunks/000001")).unwrap();
        let middle = bytes.len() / 2;

        bytes[middle] ^= 1;
        std::fs::write(path.join("chunks/000001"), bytes).unwrap();
        let error = runtime.block_on(publish(&*store, &ours)).unwrap_err();
        assert!(
            matches!(error, BucketError::Differs { .. }),
            "{name}: {error}"
        );

        let object = Object::from(format!("{}/chunks/000001", meta.ulid));
        assert!(runtime.block_on(store.head(&object)).is_err(), "{name}");
    });
}

#[test]
fn another_block_under_the_same_name_is_reported_and_kept() {
    for_each_store(|name, store, dir, runtime| {
        let (meta, path) = block(dir, 5, 3.0);
        let ours = local(&path);
        let mut other = ours.meta().clone();
        let files = &mut other.thanos.as_mut().unwrap().files;

        files[0].size_bytes = Some(1);
        let object = Object::from(format!("{}/meta.json", meta.ulid));
        runtime
            .block_on(store.put(&object, PutPayload::from(other.to_json())))
            .unwrap();

        let error = runtime.block_on(publish(&*store, &ours)).unwrap_err();
        assert!(
            matches!(error, BucketError::Differs { .. }),
            "{name}: {error}"
        );

        let there = runtime
            .block_on(fetch_meta(&*store, meta.ulid))
            .unwrap()
            .unwrap();

        assert_eq!(there.thanos.unwrap().files[0].size_bytes, Some(1), "{name}");
    });
}

#[test]
fn marks_are_seen_and_a_deleted_block_is_gone() {
    for_each_store(|name, store, dir, runtime| {
        let ((a, path_a), (b, path_b)) = (block(dir, 3, 4.0), block(dir, 3, 5.0));
        for path in [path_a, path_b] {
            runtime.block_on(publish(&*store, &local(&path))).unwrap();
        }

        let cache = MetaCache::new(ReadRules {
            tenant_label: "tenant_id".into(),
            ..ReadRules::default()
        });

        runtime
            .block_on(cache.refresh(&*store, Listing::Objects))
            .unwrap();
        runtime
            .block_on(mark_for_deletion(&*store, a.ulid, "test", 77))
            .unwrap();

        // The first mark counts.
        runtime
            .block_on(mark_for_deletion(&*store, a.ulid, "test", 99))
            .unwrap();
        runtime
            .block_on(mark_no_compact(&*store, b.ulid, "manual", "", 5))
            .unwrap();
        runtime
            .block_on(mark_no_downsample(&*store, b.ulid, "empty", 6))
            .unwrap();

        let seen = runtime
            .block_on(cache.refresh(&*store, Listing::Objects))
            .unwrap();
        assert!(
            seen.added.is_empty() && seen.removed.is_empty(),
            "{name}: {seen:?}"
        );

        assert_eq!(
            cache
                .get(a.ulid)
                .unwrap()
                .deletion
                .as_ref()
                .unwrap()
                .deletion_time,
            77,
            "{name}"
        );

        assert_eq!(
            cache
                .get(b.ulid)
                .unwrap()
                .no_compact
                .as_ref()
                .unwrap()
                .reason,
            "manual",
            "{name}"
        );

        let mark = cache.get(b.ulid).unwrap().no_downsample.clone().unwrap();
        assert_eq!(
            (mark.id, mark.no_downsample_time, &*mark.details),
            (b.ulid, 6, "empty"),
            "{name}"
        );

        assert_eq!(cache.select("a", 0, 1).len(), 2, "{name}");
        assert_eq!(cache.select("b", 0, 1).len(), 0, "{name}");
        assert_eq!(cache.select("a", END, END).len(), 0, "{name}");
        runtime.block_on(delete_block(&*store, a.ulid)).unwrap();
        runtime.block_on(delete_block(&*store, a.ulid)).unwrap();

        let seen = runtime
            .block_on(cache.refresh(&*store, Listing::Objects))
            .unwrap();

        assert_eq!(
            (seen.removed, seen.partial),
            (vec![a.ulid], vec![]),
            "{name}"
        );
    });
}

#[test]
fn names_alone_tell_what_is_new_and_what_is_gone() {
    for_each_store(|name, store, dir, runtime| {
        let blocks: Vec<_> = (0..3).map(|i| block(dir, 3, 40.0 + f64::from(i))).collect();
        let first = blocks[0].0.ulid;
        let second = blocks[1].0.ulid;
        let third = blocks[2].0.ulid;
        let cache = MetaCache::default();
        let refresh = |listing| runtime.block_on(cache.refresh(&*store, listing)).unwrap();

        runtime
            .block_on(publish(&*store, &local(&blocks[0].1)))
            .unwrap();
        assert_eq!(refresh(Listing::Names).added, [first], "{name}");

        // Begun: there is no meta yet.
        let index = Object::from(format!("{third}/index"));
        runtime
            .block_on(store.put(&index, PutPayload::from("i")))
            .unwrap();
        runtime
            .block_on(publish(&*store, &local(&blocks[1].1)))
            .unwrap();

        let seen = refresh(Listing::Names);
        assert_eq!(
            (seen.added, seen.partial),
            (vec![second], vec![third]),
            "{name}"
        );

        runtime
            .block_on(publish(&*store, &local(&blocks[2].1)))
            .unwrap();
        assert_eq!(refresh(Listing::Names).added, [third], "{name}");

        runtime
            .block_on(mark_for_deletion(&*store, second, "test", 77))
            .unwrap();
        refresh(Listing::Names);

        assert!(
            cache.get(second).unwrap().deletion.is_none(),
            "{name}: names have no marks"
        );

        refresh(Listing::Objects);
        refresh(Listing::Names);
        assert!(
            cache.get(second).unwrap().deletion.is_some(),
            "{name}: a mark that was seen stays"
        );

        runtime.block_on(delete_block(&*store, first)).unwrap();
        // A removal that was broken off leaves the mark.
        let meta = Object::from(format!("{second}/meta.json"));

        runtime.block_on(store.delete(&meta)).unwrap();
        assert_eq!(refresh(Listing::Names).removed, [first], "{name}");
        assert_eq!(refresh(Listing::Objects).removed, [second], "{name}");
        assert_eq!(cache.blocks().len(), 1, "{name}");
    });
}

#[test]
fn a_meta_that_cannot_be_read_is_named_and_the_rest_goes_on() {
    for_each_store(|name, store, dir, runtime| {
        let ((bad, _), (good, path)) = (block(dir, 2, 6.0), block(dir, 2, 7.0));
        runtime.block_on(publish(&*store, &local(&path))).unwrap();
        let object = Object::from(format!("{}/meta.json", bad.ulid));

        runtime
            .block_on(store.put(&object, PutPayload::from("{")))
            .unwrap();

        let cache = MetaCache::default();
        let seen = runtime
            .block_on(cache.refresh(&*store, Listing::Objects))
            .unwrap();

        assert_eq!(
            seen.failed.iter().map(|f| f.0).collect::<Vec<_>>(),
            [bad.ulid],
            "{name}"
        );

        assert_eq!(seen.added, [good.ulid], "{name}");
    });
}

#[test]
fn a_mark_that_cannot_be_read_does_not_hide_its_block() {
    for_each_store(|name, store, dir, runtime| {
        let mut blocks = Vec::new();
        let marks = [
            "deletion-mark.json",
            "no-compact-mark.json",
            "no-downsample-mark.json",
        ];

        for (i, mark) in marks.into_iter().enumerate() {
            for (j, bytes) in ["", "{", "null", r#"{"id":"x"}"#].into_iter().enumerate() {
                let (meta, path) = block(dir, 2, (10 * i + j) as f64);
                runtime.block_on(publish(&*store, &local(&path))).unwrap();
                let object = Object::from(format!("{}/{mark}", meta.ulid));
                runtime
                    .block_on(store.put(&object, PutPayload::from(bytes)))
                    .unwrap();
                blocks.push((meta.ulid, mark));
            }
        }

        let cache = MetaCache::new(ReadRules {
            tenant_label: "tenant_id".into(),
            ..ReadRules::default()
        });
        let seen = runtime
            .block_on(cache.refresh(&*store, Listing::Objects))
            .unwrap();

        assert_eq!(
            (seen.added.len(), seen.bad_marks.len(), seen.failed.len()),
            (12, 12, 0),
            "{name}"
        );

        for (ulid, mark) in blocks {
            let block = cache.get(ulid).unwrap();
            assert!(
                block.deletion.is_none(),
                "{name}: nothing is deleted for a mark that nobody can read"
            );

            let keeps_away = (block.no_compact.is_some(), block.no_downsample.is_some());
            let wanted = (
                mark == "no-compact-mark.json",
                mark == "no-downsample-mark.json",
            );

            assert_eq!(
                keeps_away, wanted,
                "{name}: it keeps compaction or downsampling away"
            );
        }

        assert_eq!(cache.select("a", 0, 1).len(), 12, "{name}");
    });
}

#[test]
fn damage_in_the_bucket_is_an_error_of_the_query_not_a_wrong_answer() {
    for_each_store(|name, store, dir, runtime| {
        let (meta, path) = block(dir, 50, 8.0);
        runtime.block_on(publish(&*store, &local(&path))).unwrap();
        let object = Object::from(format!("{}/chunks/000001", meta.ulid));
        let mut bytes = std::fs::read(path.join("chunks/000001")).unwrap();

        bytes[500] ^= 4;
        runtime
            .block_on(store.put(&object, PutPayload::from(bytes)))
            .unwrap();

        let meta = runtime
            .block_on(fetch_meta(&*store, meta.ulid))
            .unwrap()
            .unwrap();
        let reader = BucketReader::new(store, runtime.handle().clone(), ReaderOptions::default());
        let remote = reader.block(&meta).unwrap();
        let found = remote.select(&[], 0, END).unwrap();
        let read = found
            .iter()
            .map(|s| remote.read_series(s, 0, END, &mut Samples::default()));
        let failed: Vec<_> = read.filter_map(Result::err).collect();

        assert_eq!(failed.len(), 1, "{name}");
        assert_eq!(failed[0].kind(), trireme_base::ErrorKind::Corrupt);
    });
}

#[test]
fn files_over_a_part_are_sent_in_parts() {
    for_each_store(|name, store, dir, runtime| {
        let series = (0..60).map(|i| SeriesInput {
            labels: Labels::from_pairs([("__name__", "m"), ("i", &format!("{i:04}"))]),
            times: (0..50_000).map(|t| t * 143).collect(),
            values: (0..50_000u64)
                .map(|t| f64::from_bits(t.wrapping_mul(0x9e37_79b9_7f4a_7c15 + i)))
                .collect(),
            ..SeriesInput::default()
        });

        let meta = write_block(
            dir,
            0..END,
            &WriteOptions::default(),
            &mut IterSource(series),
        )
        .unwrap()
        .unwrap();

        let path = dir.join(meta.ulid.to_string());
        assert!(std::fs::metadata(path.join("chunks/000001")).unwrap().len() > 18 << 20);
        assert_eq!(
            runtime.block_on(publish(&*store, &local(&path))).unwrap(),
            Published::Uploaded,
            "{name}"
        );

        let object = Object::from(format!("{}/chunks/000001", meta.ulid));
        let there =
            runtime.block_on(async { store.get(&object).await.unwrap().bytes().await.unwrap() });
        let mut sent = std::fs::read(path.join("chunks/000001")).unwrap();
        assert!(there == sent, "{name}");

        // What has changed since it was hashed does not take its place.
        runtime
            .block_on(store.delete(&Object::from(format!("{}/meta.json", meta.ulid))))
            .unwrap();
        runtime.block_on(store.delete(&object)).unwrap();

        let ours = local(&path);
        sent[17 << 20] ^= 1;
        std::fs::write(path.join("chunks/000001"), sent).unwrap();

        assert!(runtime.block_on(publish(&*store, &ours)).is_err(), "{name}");
        assert!(runtime.block_on(store.head(&object)).is_err(), "{name}");
    });
}
