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
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::runtime::Runtime;
use trireme_block::{Block, ChunkEncodings, IterSource, Samples, SeriesInput, WriteOptions, write_block};
use trireme_bucket::{
    BucketReader, Listing, LocalBlock, MetaCache, ReadRules, ReaderOptions, delete_block, publish,
};
use trireme_compaction::{
    CompactionError, Compactor, CompactorParts, Done, Finished, Job, Limits, Plan, ReadBytes, Streams, plan,
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
        Arc::new(Self { inner: Arc::clone(inner), changes_left, is_dead: AtomicBool::new(false) })
    }

    fn alive(&self) -> Result<()> {
        let error = || Error::Generic { store: "dying", source: "dead".into() };
        if self.is_dead.load(Ordering::SeqCst) { Err(error()) } else { Ok(()) }
    }

    fn change(&self) -> Result<()> {
        let left = self.changes_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        self.is_dead.fetch_or(left.is_err(), Ordering::SeqCst);
        self.alive()
    }
}

#[async_trait]
impl ObjectStore for Dying {
    async fn put_opts(&self, path: &Object, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
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

    fn delete_stream(&self, paths: BoxStream<'static, Result<Object>>) -> BoxStream<'static, Result<Object>> {
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
    Streams::Own { tenant_label: "tenant_id".into(), labels: BTreeMap::new() }
}

fn limits() -> Limits {
    Limits {
        ranges: Limits::ranges_of(2 * HOUR),
        grace_ms: 12 * HOUR,
        block_bytes_max: u64::MAX,
        sources_max: 32,
        streams: streams(),
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
        positive_spans: vec![Span { offset: 1, length: 2 }],
        positive_buckets: vec![(count / 2) as i64, (count - count / 2 * 2) as i64],
        ..Histogram::default()
    }))
}

/// Floats in some series, histograms in others, and such that change from one to the other; a part has start timestamps.
fn series(hours: Range<i64>, numbers: Range<usize>, step_ms: i64, salt: f64) -> Vec<SeriesInput> {
    let mut all = Vec::new();
    for i in numbers {
        let mut one = SeriesInput { labels: series_name(i), ..SeriesInput::default() };
        let mut t = hours.start * HOUR + (i as i64 % 3) * 1_000;
        while t < hours.end * HOUR {
            let is_histogram = i % 4 == 3 || (i % 4 == 2 && t / HOUR % 2 == 1);
            let start = if i % 3 == 1 { t / HOUR * HOUR } else { 0 };
            if is_histogram {
                // It is reset now and then.
                let count = (t / 60_000 % 50) as u64 + 10;
                one.histograms.push(HistogramSample { t, st: start, h: histogram(count) });
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
    write_block(dir, window, &options, &mut IterSource(all.into_iter())).unwrap().unwrap().ulid
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
        let AnyHistogram::Int(h) = &sample.h else { panic!("no float histogram was written") };
        let found = (h.sum.to_bits(), sample.st, h.count);
        assert_eq!(*into.entry((labels.to_string(), sample.t)).or_insert(found), found);
    }
}

fn samples_of(block: &Block, into: &mut Samplesets) {
    for series in block.select(&[], i64::MIN, i64::MAX).unwrap() {
        let mut samples = Samples::default();
        block.read_series(&series, i64::MIN, i64::MAX, &mut samples).unwrap();
        add_samples(into, &series.labels, &samples);
    }
}

struct World {
    dir: tempfile::TempDir,
    runtime: Runtime,
    bucket: Arc<InMemory>,
    reference: Samplesets,
}

impl World {
    /// With these blocks in the bucket.
    fn new(given: Vec<(Range<i64>, Vec<SeriesInput>)>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut world = Self {
            dir: tempfile::tempdir().unwrap(),
            runtime,
            bucket: Arc::new(InMemory::new()),
            reference: Samplesets::new(),
        };
        for (hours, all) in given {
            world.upload(hours, all);
        }
        world
    }

    fn upload(&mut self, hours: Range<i64>, all: Vec<SeriesInput>) -> Ulid {
        let ulid = write(&self.shelf(), hours, all);
        let dir = self.shelf().join(ulid.to_string());
        let local = LocalBlock::open(&dir, &labels(), "trireme").unwrap();
        self.runtime.block_on(publish(self.bucket.as_ref(), &local)).unwrap();
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
            part_ms: limits().part_ms(),
            runtime: self.runtime.handle().clone(),
            stop: Arc::default(),
            log: slog::Logger::root(slog::Discard, slog::o!()),
        })
    }

    fn list(&self) -> (MetaCache, Vec<Ulid>) {
        let metas = MetaCache::new(ReadRules { tenant_label: "tenant_id".into(), ..ReadRules::default() });
        let refreshed = self.runtime.block_on(metas.refresh(self.bucket.as_ref(), Listing::Objects)).unwrap();
        assert!(refreshed.failed.is_empty() && refreshed.bad_marks.is_empty());
        (metas, refreshed.partial)
    }

    fn plan(&self) -> Plan {
        plan(&self.list().0.blocks(), NOW_S * 1_000, &limits())
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
            let finished = compactor.finish(&blocks, &partial, &streams(), (now_s, DELAY), &|_| true).await;
            let mut done = Vec::new();
            for job in &plan(&blocks, now_s * 1_000, &limits()).jobs {
                done.push(compactor.compact(job, now_s).await?);
            }
            Ok((finished, done))
        })
    }

    /// Rounds until nothing is left to do, an hour apart.
    fn settle(&self) {
        for hour in 0..20 {
            let (finished, done) = self.round(self.bucket.clone(), NOW_S + hour * 3_600).unwrap();
            assert!(finished.failed.is_empty(), "{:?}", finished.failed);
            if hour > 1 && done.is_empty() && finished.marked.is_empty() && finished.deleted.is_empty() {
                return;
            }
        }
        panic!("it never ends");
    }

    /// All samples of the blocks that queries read.
    fn readable(&self) -> Samplesets {
        let reader =
            BucketReader::new(self.bucket.clone(), self.runtime.handle().clone(), ReaderOptions::default());
        let mut found = Samplesets::new();
        for read in self.list().0.select("a", i64::MIN, i64::MAX) {
            samples_of(&reader.block(&read.block.meta).unwrap(), &mut found);
        }
        found
    }

    fn names(&self) -> Vec<Ulid> {
        self.list().0.blocks().iter().map(|block| block.meta.ulid).collect()
    }
}

fn windows() -> Vec<(Range<i64>, Vec<SeriesInput>)> {
    let mut all: Vec<_> =
        [0, 2, 4, 6, 8].map(|from| (from..from + 2, series(from..from + 2, 0..9, 60_000, 0.0))).into();
    // Late samples: some are in the block of the window too, some lie between, and one series is only here.
    all.push((2..4, series(3..4, 2..10, 90_000, 0.0)));
    all
}

#[test]
fn every_sample_is_kept_once_with_histograms_and_start_timestamps() {
    let world = World::new(windows());
    let planned = world.plan();
    assert_eq!(planned.jobs.iter().map(|job| job.sources.len()).collect::<Vec<_>>(), [5]);
    let (_, done) = world.round(world.bucket.clone(), NOW_S).unwrap();
    let [done] = done.as_slice() else { panic!("one job") };
    assert!(done.is_new && done.read.bucket > 0 && done.read.local == 0);
    assert_eq!((done.meta.compaction.level, done.meta.compaction.sources.len()), (2, 5));
    assert_eq!(done.meta.range(), 0..8 * HOUR);
    assert_eq!(world.readable(), world.reference);

    let reader =
        BucketReader::new(world.bucket.clone(), world.runtime.handle().clone(), ReaderOptions::default());
    let block = reader.block(&done.meta).unwrap();
    assert_eq!(block.verify(), []);
    let inside = world.reference.keys().filter(|(_, t)| *t < 8 * HOUR).count();
    assert_eq!(done.meta.stats.num_samples, inside as u64);
    assert!(done.meta.stats.num_histogram_samples > 100);

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
        assert_eq!(world.readable(), world.reference, "after {changes} changes and what followed");
        assert_eq!(*names.get_or_insert(world.names()), world.names(), "after {changes} changes");
        let left: Vec<_> = world.runtime.block_on(world.bucket.list(None).collect());
        let partial = world.list().1;
        assert!(partial.is_empty(), "after {changes} changes: {partial:?} of {} objects", left.len());
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
        let names: Vec<Ulid> = given.into_iter().map(|(hours, all)| world.upload(hours, all)).collect();
        let compactor = world.compactor(world.bucket.clone());
        let mut made = Vec::new();
        for group in by {
            let listed = world.list().0;
            let sources = group.iter().map(|n| *names.get(*n).unwrap_or_else(|| &made[*n - 10]));
            let sources = sources.map(|name| listed.get(name).unwrap()).collect();
            let job = Job { labels: labels(), range: 0..8 * HOUR, sources };
            made.push(world.runtime.block_on(compactor.compact(&job, NOW_S)).unwrap().meta.ulid);
        }
        *made.last().unwrap()
    };
    let four = || (0..4).map(|n| window(n * 2)).collect::<Vec<_>>();
    let name = merged(four(), &[&[0, 1, 2, 3]]);
    assert_eq!(name, merged(four(), &[&[3, 1, 0, 2]]));
    assert_eq!(name, merged(four(), &[&[0, 1], &[2, 3], &[10, 11]]));
    assert_eq!(name, merged([four(), vec![contained]].concat(), &[&[0, 1, 2, 3, 4]]));
}

#[test]
fn a_source_that_cannot_be_read_is_set_apart_and_the_others_go_on() {
    let mut world = World::new(windows());
    let bad = world.plan().jobs[0].sources[1].meta.ulid;
    let path = Object::from(format!("{bad}/chunks/000001"));
    world.runtime.block_on(async {
        let mut bytes = world.bucket.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        world.bucket.put(&path, bytes.into()).await.unwrap();
    });
    let error = world.round(world.bucket.clone(), NOW_S).unwrap_err();
    assert_eq!(error.bad_source(), Some(bad));
    assert!(world.list().0.get(bad).unwrap().no_compact.is_some());
    assert!(world.list().0.blocks().iter().all(|block| block.deletion.is_none()));
    let planned = world.plan();
    assert!(planned.jobs[0].sources.iter().all(|source| source.meta.ulid != bad));
    world.settle();
    assert!(world.names().contains(&bad), "it stays for somebody to look at");

    // One that lacks samples that its meta counts is none to be deleted either.
    let name = world.upload(10..12, series(10..12, 0..3, 60_000, 0.0));
    world.upload(12..14, series(12..14, 0..3, 60_000, 0.0));
    let mut listed = world.list().0.get(name).unwrap().as_ref().clone();
    listed.meta.stats.num_samples += 1;
    let meta = Object::from(format!("{name}/meta.json"));
    world.runtime.block_on(world.bucket.put(&meta, listed.meta.to_json().into())).unwrap();
    let error = world.round(world.bucket.clone(), NOW_S + 10 * 3_600).unwrap_err();
    assert!(matches!(error, CompactionError::SampleCount { block, .. } if block == name), "{error}");
}

#[test]
fn a_source_stays_where_its_successor_is_gone_or_not_what_it_was() {
    let world = World::new(windows());
    let (_, done) = world.round(world.bucket.clone(), NOW_S).unwrap();
    let result = done[0].meta.ulid;
    let before = world.names().len();
    let path = Object::from(format!("{result}/index"));
    let index =
        world.runtime.block_on(async { world.bucket.get(&path).await.unwrap().bytes().await }).unwrap();
    world.runtime.block_on(world.bucket.put(&path, index.slice(1..).into())).unwrap();
    let (finished, _) = world.round(world.bucket.clone(), NOW_S + 3_600).unwrap();
    assert_eq!((finished.deleted.len(), finished.failed.len()), (0, 1));
    world.runtime.block_on(delete_block(world.bucket.as_ref(), result)).unwrap();
    let (finished, _) = world.round(world.bucket.clone(), NOW_S + 3_600).unwrap();
    assert!(finished.deleted.is_empty());
    assert_eq!(world.names().len(), before - 1);
    assert_eq!(world.readable(), world.reference, "marked blocks are read while nothing stands for them");
}

#[test]
fn local_copies_are_read_instead_of_the_bucket() {
    let world = World::new(windows());
    let shelf = world.shelf();
    let mut compactor = world.compactor(world.bucket.clone());
    let local = move |meta: &trireme_block::BlockMeta| Block::open(&shelf.join(meta.ulid.to_string())).ok();
    compactor = Compactor::new(CompactorParts {
        local: Arc::new(move |meta| local(meta).map(Arc::new)),
        ..compactor.into_parts()
    });
    let job = world.plan().jobs.remove(0);
    let done = world.runtime.block_on(compactor.compact(&job, NOW_S)).unwrap();
    assert_eq!(done.read, ReadBytes { local: job.bytes(), bucket: 0 });
    assert_eq!(world.readable(), world.reference);
    let left = std::fs::read_dir(world.dir.path().join("compaction")).unwrap();
    assert_eq!(left.count(), 0, "nothing stays on the local disk");
}

#[test]
fn a_query_that_reads_a_block_which_is_deleted_meanwhile_is_told() {
    let world = World::new(windows());
    let reader =
        BucketReader::new(world.bucket.clone(), world.runtime.handle().clone(), ReaderOptions::default());
    let opened: Vec<_> = world.list().0.blocks().iter().map(|b| reader.block(&b.meta).unwrap()).collect();
    world.settle();
    let gone = opened.iter().filter(|block| !world.names().contains(&block.meta().ulid));
    let mut count = 0;
    for block in gone {
        count += 1;
        let read = block.select(&[], i64::MIN, i64::MAX).and_then(|all| {
            let mut samples = Samples::default();
            all.iter().try_for_each(|one| block.read_series(one, i64::MIN, i64::MAX, &mut samples))
        });
        let error = read.expect_err("nothing of it was read before");
        assert_eq!(error.kind(), trireme_base::ErrorKind::NotFound, "{error}");
    }
    assert_eq!(count, 5);
    assert_eq!(world.readable(), world.reference, "who lists the bucket now sees all");
}
