//! Jobs are done, broken off at every effect, and done again.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path as Object;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::runtime::Runtime;
use trireme_block::{
    Aggregate, AggregateSamples, Block, BlockMeta, ChunkEncodings, IterSource, RESOLUTION_1H_MS,
    RESOLUTION_5M_MS, Samples, SeriesInput, WriteOptions, write_block,
};
use trireme_bucket::{
    BucketReader, HashedBlock, Listing, MetaCache, ReadRules, ReaderOptions, delete_block, publish,
};
use trireme_compaction::{
    CompactionError, Compactor, CompactorParts, Done, Finished, Job, Limits, Plan, ReadBytes,
    Retention, Streams, plan,
};
use trireme_model::{AnyHistogram, Histogram, HistogramSample, Labels, Span};
use ulid::Ulid;

const HOUR: i64 = 3_600_000;
const NOW_S: i64 = 20 * 3_600;
const DELAY: Duration = Duration::from_secs(3_600);

/// Takes so many changes, then nothing more: the process has died.
#[derive(Debug)]
struct Dying {
    inner: Arc<InMemory>,
    changes_left: AtomicUsize,
    is_dead: AtomicBool,
}

impl fmt::Display for Dying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dying")
    }
}

impl Dying {
    fn new(inner: &Arc<InMemory>, changes: usize) -> Arc<Self> {
        let changes_left = AtomicUsize::new(changes);
        Arc::new(Self {
            inner: Arc::clone(inner),
            changes_left,
            is_dead: AtomicBool::new(false),
        })
    }

    fn alive(&self) -> Result<()> {
        let error = || Error::Generic {
            store: "dying",
            source: "dead".into(),
        };
        if self.is_dead.load(Ordering::SeqCst) {
            Err(error())
        } else {
            Ok(())
        }
    }

    fn change(&self) -> Result<()> {
        let left = self
            .changes_left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        self.is_dead.fetch_or(left.is_err(), Ordering::SeqCst);
        self.alive()
    }
}

#[async_trait]
impl ObjectStore for Dying {
    async fn put_opts(
        &self,
        path: &Object,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.change()?;
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Object,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.change()?;
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Object, options: GetOptions) -> Result<GetResult> {
        self.alive()?;
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Object>>,
    ) -> BoxStream<'static, Result<Object>> {
        let left = self.changes_left.load(Ordering::SeqCst);
        match self.change() {
            // One path at a time is all that this program asks for.
            Ok(()) => self.inner.delete_stream(paths),
            Err(error) => {
                assert_eq!(left, 0);
                futures::stream::once(async move { Err(error) }).boxed()
            }
        }
    }

    fn list(&self, prefix: Option<&Object>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.alive() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures::stream::once(async move { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Object>) -> Result<ListResult> {
        self.alive()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Object, to: &Object, options: CopyOptions) -> Result<()> {
        self.change()?;
        self.inner.copy_opts(from, to, options).await
    }
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("tenant_id".into(), "a".into())])
}

fn streams() -> Streams {
    Streams::Own {
        tenant_label: "tenant_id".into(),
        labels: BTreeMap::new(),
    }
}

fn limits() -> Limits {
    Limits {
        ranges: Limits::ranges_of(2 * HOUR),
        grace_ms: 12 * HOUR,
        block_bytes_max: u64::MAX,
        sources_max: 32,
        streams: streams(),
        downsampling: true,
        retention: Retention::default(),
    }
}

fn series_name(i: usize) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("i", &format!("{i:02}"))])
}

fn histogram(count: u64) -> AnyHistogram {
    AnyHistogram::Int(Arc::new(Histogram {
        count,
        sum: count as f64 * 1.5,
        schema: 2,
        zero_threshold: 1e-128,
        positive_spans: vec![Span {
            offset: 1,
            length: 2,
        }],
        positive_buckets: vec![(count / 2) as i64, (count - count / 2 * 2) as i64],
        ..Histogram::default()
    }))
}

/// Floats in some series, histograms in others, and such that change from one to the other; a part has start timestamps.
fn series(hours: Range<i64>, numbers: Range<usize>, step_ms: i64, salt: f64) -> Vec<SeriesInput> {
    let mut all = Vec::new();
    for i in numbers {
        let mut one = SeriesInput {
            labels: series_name(i),
            ..SeriesInput::default()
        };

        let mut t = hours.start * HOUR + (i as i64 % 3) * 1_000;
        while t < hours.end * HOUR {
            let is_histogram = i % 4 == 3 || (i % 4 == 2 && t / HOUR % 2 == 1);

            let start = if i % 3 == 1 { t / HOUR * HOUR } else { 0 };
            if is_histogram {
                // It is reset now and then.
                let count = (t / 60_000 % 50) as u64 + 10;
                one.histograms.push(HistogramSample {
                    t,
                    st: start,
                    h: histogram(count),
                });
            } else {
                one.times.push(t);
                one.values.push((t as f64 / 1e7).sin() + i as f64 + salt);
                one.starts.push(start);
            }

            t += step_ms;
        }

        if one.starts.iter().all(|start| *start == 0) {
            one.starts.clear();
        }

        all.push(one);
    }

    all
}

/// Writes a block as a node does.
fn write(dir: &Path, hours: Range<i64>, all: Vec<SeriesInput>) -> Ulid {
    let options = WriteOptions {
        external_labels: labels(),
        encodings: ChunkEncodings::Starts,
        segment_bytes_max: 40_000,
        ..WriteOptions::default()
    };

    let window = hours.start * HOUR..hours.end * HOUR;
    write_block(dir, window, &options, &mut IterSource(all.into_iter()))
        .unwrap()
        .unwrap()
        .ulid
}

type Samplesets = BTreeMap<(String, i64), (u64, i64, u64)>;

fn add_samples(into: &mut Samplesets, labels: &Labels, samples: &Samples) {
    let start = |at: usize| samples.starts.get(at).copied().unwrap_or(0);
    for (at, t) in samples.times.iter().enumerate() {
        let key = (labels.to_string(), *t);
        let found = (samples.values[at].to_bits(), start(at), 0);
        // In these tests what is there twice is the same.
        assert_eq!(*into.entry(key).or_insert(found), found);
    }

    for sample in &samples.histograms {
        let AnyHistogram::Int(h) = &sample.h else {
            panic!("no float histogram was written")
        };
        let found = (h.sum.to_bits(), sample.st, h.count);
        assert_eq!(
            *into.entry((labels.to_string(), sample.t)).or_insert(found),
            found
        );
    }
}

fn samples_of(block: &Block, into: &mut Samplesets) {
    for series in block.select(&[], i64::MIN, i64::MAX).unwrap() {
        let mut samples = Samples::default();
        block
            .read_series(&series, i64::MIN, i64::MAX, &mut samples)
            .unwrap();
        add_samples(into, &series.labels, &samples);
    }
}

struct World {
    dir: tempfile::TempDir,
    runtime: Runtime,
    bucket: Arc<InMemory>,
    reference: Samplesets,
    limits: Limits,
}

impl World {
    /// With these blocks in the bucket.
    fn new(given: Vec<(Range<i64>, Vec<SeriesInput>)>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();

        let mut world = Self {
            dir: tempfile::tempdir().unwrap(),
            runtime,
            bucket: Arc::new(InMemory::new()),
            reference: Samplesets::new(),
            limits: limits(),
        };

        for (hours, all) in given {
            world.upload(hours, all);
        }

        world
    }

    fn upload(&mut self, hours: Range<i64>, all: Vec<SeriesInput>) -> Ulid {
        let ulid = write(&self.shelf(), hours, all);
        let dir = self.shelf().join(ulid.to_string());
        let local = HashedBlock::open(&dir, &labels(), "trireme").unwrap();

        self.runtime
            .block_on(publish(self.bucket.as_ref(), &local))
            .unwrap();
        samples_of(&Block::open(&dir).unwrap(), &mut self.reference);

        ulid
    }

    fn shelf(&self) -> std::path::PathBuf {
        self.dir.path().join("shelf")
    }

    fn compactor(&self, store: Arc<dyn ObjectStore>) -> Compactor {
        Compactor::new(CompactorParts {
            store,
            local: Arc::new(|_| None),
            dir: self.dir.path().join("compaction"),
            part_ms: self.limits.part_ms(),
            runtime: self.runtime.handle().clone(),
            stop: Arc::default(),
            log: slog::Logger::root(slog::Discard, slog::o!()),
        })
    }

    fn list(&self) -> (MetaCache, Vec<Ulid>) {
        let metas = MetaCache::new(ReadRules {
            tenant_label: "tenant_id".into(),
            ..ReadRules::default()
        });
        let refreshed = self
            .runtime
            .block_on(metas.refresh(self.bucket.as_ref(), Listing::Objects))
            .unwrap();
        assert!(refreshed.failed.is_empty() && refreshed.bad_marks.is_empty());

        (metas, refreshed.partial)
    }

    fn plan(&self) -> Plan {
        plan(&self.list().0.blocks(), NOW_S * 1_000, &self.limits)
    }

    /// One round, as a node makes it; an error ends it.
    fn round(
        &self,
        store: Arc<dyn ObjectStore>,
        now_s: i64,
    ) -> std::result::Result<(Finished, Vec<Done>), CompactionError> {
        let compactor = self.compactor(store);
        let (metas, partial) = self.list();
        let blocks = metas.blocks();

        self.runtime.block_on(async {
            let finished = compactor
                .finish(&blocks, &partial, &self.limits, (now_s, DELAY), &|_| true)
                .await;
            let mut done = Vec::new();
            for job in &plan(&blocks, now_s * 1_000, &self.limits).jobs {
                done.push(compactor.compact(job, now_s).await?);
            }
            Ok((finished, done))
        })
    }

    /// Rounds until nothing is left to do, an hour apart.
    fn settle(&self) {
        for hour in 0..20 {
            let (finished, done) = self
                .round(self.bucket.clone(), NOW_S + hour * 3_600)
                .unwrap();
            assert!(finished.failed.is_empty(), "{:?}", finished.failed);
            if hour > 1
                && done.is_empty()
                && finished.marked.is_empty()
                && finished.deleted.is_empty()
            {
                return;
            }
        }
        panic!("it never ends");
    }

    /// All samples of the blocks that queries read.
    fn readable(&self) -> Samplesets {
        let reader = BucketReader::new(
            self.bucket.clone(),
            self.runtime.handle().clone(),
            ReaderOptions::default(),
        );

        let mut found = Samplesets::new();
        for read in self.list().0.select("a", i64::MIN, i64::MAX) {
            samples_of(&reader.block(&read.block.meta).unwrap(), &mut found);
        }

        found
    }

    fn names(&self) -> Vec<Ulid> {
        self.list()
            .0
            .blocks()
            .iter()
            .map(|block| block.meta.ulid)
            .collect()
    }
}

fn made(done: &Done) -> &BlockMeta {
    done.meta.as_ref().unwrap()
}

fn windows() -> Vec<(Range<i64>, Vec<SeriesInput>)> {
    let mut all: Vec<_> = [0, 2, 4, 6, 8]
        .map(|from| (from..from + 2, series(from..from + 2, 0..9, 60_000, 0.0)))
        .into();
    // Late samples: some are in the block of the window too, some lie between, and one series is only here.
    all.push((2..4, series(3..4, 2..10, 90_000, 0.0)));
    all
}

#[test]
fn every_sample_is_kept_once_with_histograms_and_start_timestamps() {
    let world = World::new(windows());
    let planned = world.plan();
    assert_eq!(
        planned
            .jobs
            .iter()
            .map(|job| job.sources.len())
            .collect::<Vec<_>>(),
        [5]
    );

    let (_, done) = world.round(world.bucket.clone(), NOW_S).unwrap();
    let [done] = done.as_slice() else {
        panic!("one job")
    };
    assert!(done.is_new && done.read.bucket > 0 && done.read.local == 0);

    let meta = made(done);
    assert_eq!(
        (meta.compaction.level, meta.compaction.sources.len()),
        (2, 5)
    );
    assert_eq!(meta.range(), 0..8 * HOUR);
    assert_eq!(world.readable(), world.reference);

    let reader = BucketReader::new(
        world.bucket.clone(),
        world.runtime.handle().clone(),
        ReaderOptions::default(),
    );

    let block = reader.block(meta).unwrap();
    assert_eq!(block.verify(), []);
    let inside = world
        .reference
        .keys()
        .filter(|(_, t)| *t < 8 * HOUR)
        .count();

    assert_eq!(meta.stats.num_samples, inside as u64);
    assert!(meta.stats.num_histogram_samples > 100);

    world.settle();
    assert_eq!(world.names().len(), 2);
    assert_eq!(world.readable(), world.reference);

    assert!(world.plan().jobs.is_empty());
}

#[test]
fn a_death_at_any_change_loses_nothing_and_leaves_nothing_undone() {
    let mut changes = 0;

    let mut names = None;
    loop {
        let world = World::new(windows());
        let store = Dying::new(&world.bucket, changes);

        // The first round publishes and marks, the second deletes.
        let ended = world.round(store.clone(), NOW_S).map(drop);
        let ended = ended.and_then(|()| world.round(store.clone(), NOW_S + 3_600).map(drop));

        assert_eq!(world.readable(), world.reference, "after {changes} changes");
        world.settle();
        assert_eq!(
            world.readable(),
            world.reference,
            "after {changes} changes and what followed"
        );

        assert_eq!(
            *names.get_or_insert(world.names()),
            world.names(),
            "after {changes} changes"
        );

        let left: Vec<_> = world.runtime.block_on(world.bucket.list(None).collect());
        let partial = world.list().1;
        assert!(
            partial.is_empty(),
            "after {changes} changes: {partial:?} of {} objects",
            left.len()
        );

        if ended.is_ok() && !store.is_dead.load(Ordering::SeqCst) {
            break;
        }

        changes += 1;
    }

    // Files and meta, five marks, and the objects of five blocks.
    assert!(changes > 20, "{changes} changes");
}

#[test]
fn the_same_samples_give_the_same_block_from_whatever_they_are_merged() {
    let window = |from: i64| (from..from + 2, series(from..from + 2, 0..9, 60_000, 0.0));
    let contained = (2..4, series(2..4, 3..5, 120_000, 0.0));
    let merged = |given: Vec<(Range<i64>, Vec<SeriesInput>)>, by: &[&[usize]]| {
        let mut world = World::new(Vec::new());
        let names: Vec<Ulid> = given
            .into_iter()
            .map(|(hours, all)| world.upload(hours, all))
            .collect();
        let compactor = world.compactor(world.bucket.clone());

        let mut made = Vec::new();
        for group in by {
            let listed = world.list().0;
            let sources = group
                .iter()
                .map(|n| *names.get(*n).unwrap_or_else(|| &made[*n - 10]));
            let sources = sources.map(|name| listed.get(name).unwrap()).collect();
            let job = Job {
                resolution_ms: 0,
                labels: labels(),
                range: 0..8 * HOUR,
                sources,
            };

            made.push(
                world
                    .runtime
                    .block_on(compactor.compact(&job, NOW_S))
                    .unwrap()
                    .meta
                    .unwrap()
                    .ulid,
            );
        }

        *made.last().unwrap()
    };

    let four = || (0..4).map(|n| window(n * 2)).collect::<Vec<_>>();
    let name = merged(four(), &[&[0, 1, 2, 3]]);
    assert_eq!(name, merged(four(), &[&[3, 1, 0, 2]]));
    assert_eq!(name, merged(four(), &[&[0, 1], &[2, 3], &[10, 11]]));
    assert_eq!(
        name,
        merged([four(), vec![contained]].concat(), &[&[0, 1, 2, 3, 4]])
    );
}

#[test]
fn a_source_that_cannot_be_read_is_set_apart_and_the_others_go_on() {
    let mut world = World::new(windows());
    let bad = world.plan().jobs[0].sources[1].meta.ulid;
    spoil(&world, &format!("{bad}/chunks/000001"), |length| length / 2);

    let job = world.plan().jobs.remove(0);
    let error = world.round(world.bucket.clone(), NOW_S).unwrap_err();
    assert_eq!(error.bad_source(&job), Some(bad));

    assert!(world.list().0.get(bad).unwrap().no_compact.is_some());
    assert!(
        world
            .list()
            .0
            .blocks()
            .iter()
            .all(|block| block.deletion.is_none())
    );

    let planned = world.plan();
    assert!(
        planned.jobs[0]
            .sources
            .iter()
            .all(|source| source.meta.ulid != bad)
    );

    world.settle();
    assert!(
        world.names().contains(&bad),
        "it stays for somebody to look at"
    );

    // One that lacks samples that its meta counts is none to be deleted either.
    let name = world.upload(10..12, series(10..12, 0..3, 60_000, 0.0));
    world.upload(12..14, series(12..14, 0..3, 60_000, 0.0));

    let mut listed = world.list().0.get(name).unwrap().as_ref().clone();
    listed.meta.stats.num_samples += 1;
    let meta = Object::from(format!("{name}/meta.json"));

    world
        .runtime
        .block_on(world.bucket.put(&meta, listed.meta.to_json().into()))
        .unwrap();

    let error = world
        .round(world.bucket.clone(), NOW_S + 10 * 3_600)
        .unwrap_err();
    assert!(
        matches!(error, CompactionError::SampleCount { block, .. } if block == name),
        "{error}"
    );
}

#[test]
fn a_source_stays_where_its_successor_is_gone_or_not_what_it_was() {
    let world = World::new(windows());
    let (_, done) = world.round(world.bucket.clone(), NOW_S).unwrap();
    let result = made(&done[0]).ulid;
    let before = world.names().len();
    let path = Object::from(format!("{result}/index"));
    let index = world
        .runtime
        .block_on(async { world.bucket.get(&path).await.unwrap().bytes().await })
        .unwrap();

    world
        .runtime
        .block_on(world.bucket.put(&path, index.slice(1..).into()))
        .unwrap();

    let (finished, _) = world.round(world.bucket.clone(), NOW_S + 3_600).unwrap();
    assert_eq!((finished.deleted.len(), finished.failed.len()), (0, 1));
    world
        .runtime
        .block_on(delete_block(world.bucket.as_ref(), result))
        .unwrap();

    let (finished, _) = world.round(world.bucket.clone(), NOW_S + 3_600).unwrap();
    assert!(finished.deleted.is_empty());
    assert_eq!(world.names().len(), before - 1);
    assert_eq!(
        world.readable(),
        world.reference,
        "marked blocks are read while nothing stands for them"
    );
}

#[test]
fn local_copies_are_read_instead_of_the_bucket() {
    let world = World::new(windows());
    let shelf = world.shelf();
    let mut compactor = world.compactor(world.bucket.clone());
    let local =
        move |meta: &trireme_block::BlockMeta| Block::open(&shelf.join(meta.ulid.to_string())).ok();

    compactor = Compactor::new(CompactorParts {
        local: Arc::new(move |meta| local(meta).map(Arc::new)),
        ..compactor.into_parts()
    });

    let job = world.plan().jobs.remove(0);
    let done = world
        .runtime
        .block_on(compactor.compact(&job, NOW_S))
        .unwrap();

    assert_eq!(
        done.read,
        ReadBytes {
            local: job.bytes(),
            bucket: 0
        }
    );

    assert_eq!(world.readable(), world.reference);
    let left = std::fs::read_dir(world.dir.path().join("compaction")).unwrap();
    assert_eq!(left.count(), 0, "nothing stays on the local disk");
}

#[test]
fn a_query_that_reads_a_block_which_is_deleted_meanwhile_is_told() {
    let world = World::new(windows());
    let reader = BucketReader::new(
        world.bucket.clone(),
        world.runtime.handle().clone(),
        ReaderOptions::default(),
    );

    let opened: Vec<_> = world
        .list()
        .0
        .blocks()
        .iter()
        .map(|b| reader.block(&b.meta).unwrap())
        .collect();

    world.settle();
    let gone = opened
        .iter()
        .filter(|block| !world.names().contains(&block.meta().ulid));

    let mut count = 0;
    for block in gone {
        count += 1;
        let read = block.select(&[], i64::MIN, i64::MAX).and_then(|all| {
            let mut samples = Samples::default();
            all.iter()
                .try_for_each(|one| block.read_series(one, i64::MIN, i64::MAX, &mut samples))
        });
        let error = read.expect_err("nothing of it was read before");
        assert_eq!(error.kind(), trireme_base::ErrorKind::NotFound, "{error}");
    }

    assert_eq!(count, 5);
    assert_eq!(
        world.readable(),
        world.reference,
        "who lists the bucket now sees all"
    );
}

fn long_ranges() -> Vec<i64> {
    [2, 4, 8, 16].map(|hours| hours * HOUR).to_vec()
}

/// Ranges so short that two of its blocks, of eight hours, are long enough for windows of 5 minutes, and what they become for
/// windows of an hour.
fn long_blocks(numbers: Range<usize>) -> World {
    let of = |hours: Range<i64>| (hours.clone(), series(hours, numbers.clone(), 600_000, 0.0));
    let mut world = World::new(vec![of(0..8), of(8..16), of(16..18)]);
    world.limits.ranges = long_ranges();
    world
}

/// Resolutions and hours of the coarse blocks that are not held by others.
fn coarse(world: &World) -> Vec<(i64, Range<i64>)> {
    let downsampled = world.list().0.downsampled("a", i64::MIN, i64::MAX);
    let mut found: Vec<_> = downsampled.iter().map(|read| &read.block.meta).collect();
    found.sort_by_key(|meta| (meta.resolution_ms(), meta.min_time));
    found
        .iter()
        .map(|m| (m.resolution_ms(), m.min_time / HOUR..m.max_time / HOUR))
        .collect()
}

/// Each coarse block counts each sample of its time once.
fn check_counts(world: &World) {
    let reader = BucketReader::new(
        world.bucket.clone(),
        world.runtime.handle().clone(),
        ReaderOptions::default(),
    );
    for read in world.list().0.downsampled("a", i64::MIN, i64::MAX) {
        let meta = &read.block.meta;
        let mut counted = BTreeMap::new();
        let block = reader.block(meta).unwrap();

        assert_eq!(block.verify(), []);
        for series in block.select(&[], i64::MIN, i64::MAX).unwrap() {
            let mut found = AggregateSamples::default();
            let all = (i64::MIN, i64::MAX);
            block
                .read_aggregate(&series, all, Aggregate::Average, usize::MAX, &mut found)
                .unwrap();
            let count: f64 = found.counts.iter().map(|counted| counted.n).sum();
            counted.insert(series.labels.to_string(), count as usize);
        }

        let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
        for (labels, _) in world
            .reference
            .keys()
            .filter(|(_, t)| meta.range().contains(t))
        {
            *wanted.entry(labels.clone()).or_default() += 1;
        }

        assert_eq!(
            counted,
            wanted,
            "{:?} at {}",
            meta.range(),
            meta.resolution_ms()
        );
    }
}

/// Looks at these hours.
fn looks(
    world: &World,
    store: &Arc<Dying>,
) -> std::result::Result<Vec<Vec<Done>>, CompactionError> {
    let hours = [15, 20, 20, 20, 22].into_iter();
    hours
        .map(|hour| {
            world
                .round(store.clone(), hour * 3_600)
                .map(|(_, done)| done)
        })
        .collect()
}

#[test]
fn long_blocks_are_downsampled_and_anew_when_they_have_become_one() {
    let world = long_blocks(0..9);
    let store = Dying::new(&world.bucket, usize::MAX);
    let done = looks(&world, &store).unwrap();
    let done: Vec<Vec<_>> = done
        .iter()
        .map(|done| {
            done.iter()
                .map(|done: &Done| {
                    let meta = made(done);
                    (
                        meta.resolution_ms(),
                        meta.min_time / HOUR..meta.max_time / HOUR,
                        done.is_new,
                        done.marked.len(),
                    )
                })
                .collect()
        })
        .collect();

    let first = vec![
        (RESOLUTION_5M_MS, 0..8, true, 0),
        (RESOLUTION_5M_MS, 8..16, true, 0),
    ];
    let wanted = [
        first,
        vec![(0, 0..16, true, 2)],
        vec![(RESOLUTION_5M_MS, 0..16, true, 0)],
        vec![(RESOLUTION_1H_MS, 0..16, true, 0)],
        vec![],
    ];

    assert_eq!(done, wanted);
    assert_eq!(
        coarse(&world),
        [(RESOLUTION_5M_MS, 0..16), (RESOLUTION_1H_MS, 0..16)]
    );
    check_counts(&world);
    assert_eq!(world.readable(), world.reference);
    assert_eq!(
        world.names().len(),
        4,
        "raw, 5 minutes, 1 hour, and what is not over"
    );

    assert!(world.plan().jobs.is_empty());
}

#[test]
fn a_death_at_any_change_leaves_nothing_downsampled_twice_and_raw_samples_whole() {
    let mut changes = 0;

    let mut names = None;
    loop {
        let world = long_blocks(2..4);
        let store = Dying::new(&world.bucket, changes);
        let ended = looks(&world, &store);

        assert_eq!(world.readable(), world.reference, "after {changes} changes");
        check_counts(&world);

        // What was begun is gone on with; an upload of what nobody wants any more would stay.
        world.round(world.bucket.clone(), 15 * 3_600).unwrap();
        world.settle();
        assert_eq!(
            world.readable(),
            world.reference,
            "after {changes} changes and what followed"
        );

        assert_eq!(
            coarse(&world),
            [(RESOLUTION_5M_MS, 0..16), (RESOLUTION_1H_MS, 0..16)]
        );
        check_counts(&world);
        assert_eq!(
            *names.get_or_insert(world.names()),
            world.names(),
            "after {changes} changes"
        );

        assert!(world.list().1.is_empty(), "after {changes} changes");
        if ended.is_ok() && !store.is_dead.load(Ordering::SeqCst) {
            break;
        }

        changes += 1;
    }

    assert_eq!(names.unwrap().len(), 4);
    // Five blocks that are new, four marks, and the objects of four blocks.
    assert!(changes > 30, "{changes} changes");
}

#[test]
fn a_block_without_samples_that_count_is_tried_once() {
    let mut world = World::new(Vec::new());
    world.limits.ranges = long_ranges();
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let one = SeriesInput {
        labels: series_name(1),
        times: vec![HOUR],
        values: vec![stale],
        ..SeriesInput::default()
    };

    let name = world.upload(0..8, vec![one]);
    let (_, done) = world.round(world.bucket.clone(), NOW_S).unwrap();
    assert_eq!(done.len(), 1);

    assert!(done[0].meta.is_none() && done[0].marked.is_empty());
    let mark = world
        .list()
        .0
        .get(name)
        .unwrap()
        .no_downsample
        .clone()
        .unwrap();

    assert!(mark.details.contains("no samples"), "{}", mark.details);
    assert!(world.plan().jobs.is_empty());
    world.settle();
    assert_eq!(
        (world.names(), world.readable()),
        (vec![name], world.reference.clone())
    );
}

/// Changes a byte of an object.
fn spoil(world: &World, path: &str, at: impl Fn(usize) -> usize) {
    let path = Object::from(path);
    world.runtime.block_on(async {
        let mut bytes = world
            .bucket
            .get(&path)
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap()
            .to_vec();
        let at = at(bytes.len());
        bytes[at] ^= 1;
        world.bucket.put(&path, bytes.into()).await.unwrap();
    });
}

#[test]
fn a_block_that_cannot_be_read_is_downsampled_no_more_and_the_others_are() {
    // In the middle of its samples, and in the table of contents of its index.
    type Place = (&'static str, fn(usize) -> usize);

    let places: [Place; 2] = [("chunks/000001", |len| len / 2), ("index", |len| len - 6)];
    for (file, at) in places {
        let world = long_blocks(0..4);
        let planned = plan(&world.list().0.blocks(), 15 * HOUR, &world.limits);
        let bad = planned.jobs[0].sources[0].meta.ulid;

        spoil(&world, &format!("{bad}/{file}"), at);
        let error = world.round(world.bucket.clone(), 15 * 3_600).unwrap_err();
        assert_eq!(
            error.bad_source(&planned.jobs[0]),
            Some(bad),
            "{file}: {error}"
        );

        let listed = world.list().0.get(bad).unwrap();
        assert!(
            listed.no_downsample.is_some()
                && listed.no_compact.is_none()
                && listed.deletion.is_none()
        );

        world.round(world.bucket.clone(), 15 * 3_600).unwrap();
        assert_eq!(coarse(&world), [(RESOLUTION_5M_MS, 8..16)]);

        // Merging it finds out for itself.
        let job = world.plan().jobs.remove(0);
        let error = world.round(world.bucket.clone(), NOW_S).unwrap_err();

        assert_eq!(error.bad_source(&job), Some(bad), "{file}: {error}");
        assert!(world.list().0.get(bad).unwrap().no_compact.is_some());
        world.settle();

        assert!(world.names().contains(&bad));
    }
}

#[test]
fn what_is_wrong_with_the_local_disk_marks_no_block() {
    let world = long_blocks(0..4);
    std::fs::write(world.dir.path().join("compaction"), "no directory").unwrap();
    let error = world.round(world.bucket.clone(), 15 * 3_600).unwrap_err();
    assert!(matches!(error, CompactionError::Write(_)), "{error}");
    assert!(
        world
            .list()
            .0
            .blocks()
            .iter()
            .all(|block| block.no_downsample.is_none())
    );
}

#[test]
fn a_local_copy_is_downsampled_if_it_says_the_same_as_the_one_in_the_bucket() {
    let world = long_blocks(0..4);
    let job = plan(&world.list().0.blocks(), 15 * HOUR, &world.limits)
        .jobs
        .remove(0);
    let name = job.sources[0].meta.ulid;
    let done = |changes: &dyn Fn(&mut BlockMeta)| {
        let shelf = world.shelf();
        let local = shelf.join(name.to_string());
        let mut meta = BlockMeta::read(&local).unwrap();

        changes(&mut meta);
        std::fs::write(local.join("meta.json"), meta.sealed().to_json()).unwrap();
        let find: trireme_compaction::FindLocal = Arc::new(move |meta| {
            Block::open(&shelf.join(meta.ulid.to_string()))
                .ok()
                .map(Arc::new)
        });

        let parts = CompactorParts {
            local: find,
            ..world.compactor(world.bucket.clone()).into_parts()
        };

        world
            .runtime
            .block_on(Compactor::new(parts).compact(&job, NOW_S))
            .unwrap()
    };

    let of_local = done(&|_| {});
    assert_eq!(
        of_local.read,
        ReadBytes {
            local: job.bytes(),
            bucket: 0
        }
    );

    let of_bucket = done(&|meta| meta.compaction.sources = vec![name, Ulid::from_parts(7, 7)]);
    assert!(of_bucket.read.bucket > 0 && of_bucket.read.local == 0);
    assert_eq!(of_local.meta, of_bucket.meta);

    assert!(of_local.is_new && !of_bucket.is_new);
}

#[test]
fn blocks_go_when_their_retention_is_over_and_is_so_still_after_the_delay() {
    let mut world = World::new(windows());
    world.limits.sources_max = 2;
    world.limits.ranges.truncate(1);
    world.limits.retention.raw_ms = Some(6 * HOUR);
    let before = world.names();
    let bucket = || -> Arc<dyn ObjectStore> { world.bucket.clone() };

    // The newest sample is of hour 10: what ends at hour 4 or before is over, the late block among it.
    let (finished, _) = world.round(bucket(), NOW_S).unwrap();
    assert_eq!((finished.expired.len(), finished.deleted.len()), (3, 0));
    assert_eq!(world.names(), before, "they are marked only");

    let late = NOW_S + DELAY.as_secs() as i64;
    let (finished, _) = world.round(bucket(), late - 1).unwrap();
    assert_eq!((finished.expired.len(), finished.deleted.len()), (0, 0));

    // Somebody has thought better of it.
    let mut patient = World::new(Vec::new());
    patient.bucket = Arc::clone(&world.bucket);
    patient.limits.ranges.truncate(1);
    patient.limits.retention.raw_ms = Some(9 * HOUR);
    let (finished, _) = patient.round(bucket(), late).unwrap();
    assert_eq!((finished.expired.len(), finished.deleted.len()), (0, 0));
    let marked = patient.list().0.blocks();
    assert!(marked.iter().all(|block| block.deletion.is_none()));

    let (finished, _) = world.round(bucket(), late).unwrap();
    assert_eq!(finished.expired.len(), 3, "they are marked anew");
    let (finished, _) = world
        .round(bucket(), late + DELAY.as_secs() as i64)
        .unwrap();
    assert_eq!(finished.deleted.len(), 3);

    let left = world.readable();
    assert!(!left.is_empty() && left.keys().all(|(_, t)| *t >= 4 * HOUR));
    assert_eq!(world.names().len(), before.len() - 3);
    assert!(world.list().1.is_empty(), "nothing is left in part");
}

#[test]
fn what_was_merged_goes_with_the_block_that_holds_it_when_both_are_too_old() {
    let mut world = World::new(windows());
    let (_, done) = world.round(world.bucket.clone(), NOW_S).unwrap();
    let merged = made(&done[0]).ulid;
    let sources = world.names().len() - 2;
    assert_eq!((done.len(), sources), (1, 5));

    // The sources have their marks, and now everything but the newest block is too old.
    world.limits.retention.raw_ms = Some(HOUR);
    world.limits.downsampling = false;
    let (finished, _) = world.round(world.bucket.clone(), NOW_S).unwrap();
    assert_eq!(finished.expired, [merged]);

    let late = NOW_S + DELAY.as_secs() as i64;
    let (finished, done) = world.round(world.bucket.clone(), late).unwrap();
    assert_eq!((finished.deleted.len(), done.len()), (6, 0));
    assert_eq!(world.names().len(), 1);
}
