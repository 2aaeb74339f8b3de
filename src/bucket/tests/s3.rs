//! S3 servers as they are, not as the manual says.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "s3/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use object_store::ObjectStore;
use server::{Condition, Server};
use slog::{Drain, Logger, OwnedKVList, Record, o};
use tokio::runtime::Runtime;
use trireme_block::{IterSource, SeriesInput, WriteOptions, write_block};
use trireme_bucket::{
    BucketConfig, BucketError, BucketKind, ConditionalPut, HashedBlock, Listing, MetaCache,
    Published, list_blocks, mark_for_deletion, publish,
};
use trireme_model::Labels;

const END: i64 = 7_200_000;

/// Keeps messages, to be counted.
#[derive(Clone, Default)]
struct Messages(Arc<Mutex<Vec<String>>>);

impl Drain for Messages {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), slog::Never> {
        self.0.lock().unwrap().push(record.msg().to_string());
        Ok(())
    }
}

impl Messages {
    fn logger(&self) -> Logger {
        Logger::root(self.clone(), o!())
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

fn config(server: &Server, prefix: &str) -> BucketConfig {
    BucketConfig {
        kind: BucketKind::S3,
        name: "metrics".into(),
        prefix: prefix.into(),
        endpoint: server.url(),
        region: "us-east-1".into(),
        access_key: "key".into(),
        secret_key: "secret".into(),
        allow_http: true,
        ..BucketConfig::default()
    }
}

fn local(dir: &Path, value: f64) -> HashedBlock {
    let series = SeriesInput {
        labels: Labels::from_pairs([("__name__", "m")]),
        times: (0..100).map(|t| t * 15_000).collect(),
        values: (0..100).map(|t| value + f64::from(t)).collect(),
        ..SeriesInput::default()
    };

    let source = &mut IterSource(std::iter::once(series));
    let meta = write_block(dir, 0..END, &WriteOptions::default(), source)
        .unwrap()
        .unwrap();
    let labels = BTreeMap::from([("tenant_id".to_owned(), "a".to_owned())]);

    HashedBlock::open(&dir.join(meta.ulid.to_string()), &labels, "trireme").unwrap()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn open(config: &BucketConfig, log: &Messages) -> Arc<dyn ObjectStore> {
    config.open(&log.logger()).unwrap().unwrap()
}

#[test]
fn blocks_reach_servers_that_know_no_condition_which_is_noticed_once() {
    let runtime = runtime();
    let dir = tempfile::tempdir().unwrap();

    let blocks = [local(dir.path(), 1.0), local(dir.path(), 2.0)];
    for (condition, lacking) in [
        (Condition::Kept, false),
        (Condition::Refused(501), true),
        (Condition::Refused(400), true),
        (Condition::Ignored, true),
    ] {
        let server = Server::start(condition);
        let log = Messages::default();

        let store = open(&config(&server, "blocks"), &log);
        for block in &blocks {
            let publish = || runtime.block_on(publish(&*store, block)).unwrap();
            assert_eq!(publish(), Published::Uploaded, "{condition:?}");
            assert_eq!(publish(), Published::AlreadyThere, "{condition:?}");
        }

        assert_eq!(
            runtime.block_on(list_blocks(&*store)).unwrap().len(),
            2,
            "{condition:?}"
        );

        assert_eq!(
            log.count(),
            usize::from(lacking),
            "{condition:?}: {:?}",
            log.0
        );

        // Two files and a meta each; the condition is asked once too often at most, never again and again.
        let puts = server.count("PUT");
        assert!((6..=7).contains(&puts), "{condition:?}: {puts} PUTs");

        let checked = runtime
            .block_on(config(&server, "").check(&log.logger(), "try"))
            .unwrap();

        assert_eq!(checked.creates_conditionally, !lacking, "{condition:?}");
        assert!(
            !server.keys().iter().any(|key| key == "try"),
            "{condition:?}: a check leaves nothing"
        );
    }
}

#[test]
fn a_server_that_is_known_to_lack_conditions_is_not_asked() {
    let runtime = runtime();
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Condition::Refused(501));
    let log = Messages::default();
    let config = BucketConfig {
        conditional_put: ConditionalPut::Off,
        ..config(&server, "")
    };
    let store = open(&config, &log);

    assert_eq!(
        runtime
            .block_on(publish(&*store, &local(dir.path(), 1.0)))
            .unwrap(),
        Published::Uploaded
    );

    assert_eq!(
        (server.count("PUT"), server.refusals(), log.count()),
        (3, 0, 0)
    );
}

#[test]
fn another_block_that_comes_in_between_does_not_go_unnoticed() {
    let runtime = runtime();

    let dir = tempfile::tempdir().unwrap();
    for condition in [Condition::Refused(501), Condition::Ignored] {
        let server = Server::start(condition);
        let log = Messages::default();
        let store = open(&config(&server, ""), &log);
        let ours = local(dir.path(), 1.0);
        let mut theirs = ours.meta().clone();

        theirs.thanos.as_mut().unwrap().files[0].size_bytes = Some(1);
        // As if another writer's request arrived right behind ours.
        server.overwrite_after_put("meta.json", theirs.to_json());

        let error = runtime.block_on(publish(&*store, &ours)).unwrap_err();
        assert!(
            matches!(error, BucketError::Differs { .. }),
            "{condition:?}: {error}"
        );
    }
}

#[test]
fn a_server_in_trouble_is_not_taken_for_one_without_conditions() {
    let runtime = runtime();
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Condition::Kept);
    let log = Messages::default();
    let store = open(&config(&server, ""), &log);

    server.fail_next(503);
    assert_eq!(
        runtime
            .block_on(publish(&*store, &local(dir.path(), 1.0)))
            .unwrap(),
        Published::Uploaded
    );

    assert_eq!(log.count(), 0, "{:?}", log.0);
}

#[test]
fn refreshes_ask_for_names_and_for_what_is_new() {
    const BLOCKS: usize = 150;

    let runtime = runtime();
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Condition::Kept);
    let log = Messages::default();
    let store = open(&config(&server, "a/b"), &log);
    let block = local(dir.path(), 1.0);
    let put = |n: usize| {
        let mut meta = block.meta().clone();
        meta.ulid = ulid::Ulid::from_parts(n as u64, 0);
        for name in ["chunks/000001", "chunks/000002", "index"] {
            server.insert(&format!("a/b/{}/{name}", meta.ulid), Vec::new());
        }
        server.insert(&format!("a/b/{}/meta.json", meta.ulid), meta.to_json());
    };

    (0..BLOCKS).for_each(put);

    let cache = MetaCache::default();
    let requests = |listing| {
        let before = (server.count("LIST"), server.count("GET"));
        let seen = runtime.block_on(cache.refresh(&*store, listing)).unwrap();
        assert_eq!((seen.partial.len(), seen.failed.len()), (0, 0));
        (
            seen.added.len(),
            server.count("LIST") - before.0,
            server.count("GET") - before.1,
        )
    };

    assert_eq!(
        requests(Listing::Objects),
        (BLOCKS, 6, BLOCKS),
        "four objects a block, a hundred a page"
    );

    assert_eq!(requests(Listing::Names), (0, 2, 0));
    put(BLOCKS);
    put(BLOCKS + 1);
    assert_eq!(requests(Listing::Names), (2, 2, 2));
    assert_eq!(requests(Listing::Objects), (0, 7, 0));
}

#[test]
fn a_prefix_is_the_key_that_was_named() {
    let runtime = runtime();
    let dir = tempfile::tempdir().unwrap();

    let block = local(dir.path(), 1.0);
    for prefix in ["team a/größe 指标", "100%25 ~sure", "plain"] {
        let server = Server::start(Condition::Kept);
        let log = Messages::default();
        let store = open(&config(&server, prefix), &log);

        runtime.block_on(publish(&*store, &block)).unwrap();
        let ulid = block.meta().ulid;
        assert!(
            server
                .keys()
                .contains(&format!("{prefix}/{ulid}/meta.json")),
            "{:?}",
            server.keys()
        );

        runtime
            .block_on(mark_for_deletion(&*store, ulid, "", 7))
            .unwrap();

        let cache = MetaCache::default();
        let seen = runtime
            .block_on(cache.refresh(&*store, Listing::Objects))
            .unwrap();

        assert_eq!((seen.added, seen.failed.len()), (vec![ulid], 0), "{prefix}");
        assert!(cache.get(ulid).unwrap().deletion.is_some(), "{prefix}");

        let files = BucketConfig {
            kind: BucketKind::File,
            path: dir.path().join("files"),
            ..config(&server, prefix)
        };

        let store = open(&files, &log);
        runtime.block_on(publish(&*store, &block)).unwrap();
        let meta = dir
            .path()
            .join("files")
            .join(prefix)
            .join(ulid.to_string())
            .join("meta.json");

        assert!(meta.is_file(), "{}", meta.display());
        assert_eq!(
            runtime.block_on(list_blocks(&*store)).unwrap(),
            [ulid],
            "{prefix}"
        );
    }
}
