//! A bucket of made-up blocks behind a store that is slow and counts.
#![allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods
)]

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Object;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use trireme_block::{IterSource, SeriesInput, WriteOptions, write_block};
use trireme_bucket::{BucketReader, HashedBlock, Listing, MetaCache, ReadRules, ReaderOptions};
use trireme_model::{Labels, Matcher, MetricMetadata, Tenant};
use trireme_query::{
    Catalog, ExemplarSeries, Far, Labelled, RemoteBlock, Scope, Source, SourceError, SourceList,
    TsdbStatus,
};

pub const STEP_MS: i64 = 60_000;
pub const WINDOW_MS: i64 = 2 * 3_600_000;
pub const START_MS: i64 = 1_700_006_400_000;
pub const TENANT: &str = "a";

/// What a store was asked.
#[derive(Default)]
pub struct Counts {
    pub requests: AtomicU64,
    pub bytes: AtomicU64,
    now: AtomicU64,
    pub side_by_side: AtomicU64,
}

impl Counts {
    /// Requests, bytes and most requests side by side since the last call.
    pub fn take(&self) -> (u64, u64, u64) {
        let take = |count: &AtomicU64| count.swap(0, Ordering::SeqCst);
        (
            take(&self.requests),
            take(&self.bytes),
            take(&self.side_by_side),
        )
    }
}

/// A store that answers after a while, and counts.
pub struct Slow {
    inner: LocalFileSystem,
    delay: Duration,
    pub counts: Arc<Counts>,
}

impl Slow {
    pub fn new(dir: &Path, delay: Duration) -> Self {
        let inner = LocalFileSystem::new_with_prefix(dir).unwrap();
        Self {
            inner,
            delay,
            counts: Arc::default(),
        }
    }

    async fn wait(&self) {
        let counts = &self.counts;
        counts.requests.fetch_add(1, Ordering::SeqCst);
        let now = counts.now.fetch_add(1, Ordering::SeqCst) + 1;
        counts.side_by_side.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(self.delay).await;
        counts.now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("slow")
    }
}

impl fmt::Debug for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("slow")
    }
}

#[async_trait]
impl ObjectStore for Slow {
    async fn put_opts(
        &self,
        path: &Object,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Object,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Object, options: GetOptions) -> Result<GetResult> {
        self.wait().await;
        let answer = self.inner.get_opts(path, options).await?;
        self.counts
            .bytes
            .fetch_add(answer.range.end - answer.range.start, Ordering::SeqCst);
        Ok(answer)
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Object>>,
    ) -> BoxStream<'static, Result<Object>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Object>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counts.requests.fetch_add(1, Ordering::SeqCst);
        let delay = self.delay;
        let listed = self.inner.list(prefix);

        futures::stream::once(async move {
            tokio::time::sleep(delay).await;
            listed
        })
        .flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Object>) -> Result<ListResult> {
        self.wait().await;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Object, to: &Object, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// `count` series: a tenth `cpu_seconds_total` by `mode` and `cpu`, the rest twenty of each metric, in label order.
pub fn series(count: usize, window: &Range<i64>, extra: &[(&str, &str)]) -> Vec<SeriesInput> {
    let times: Vec<i64> = window.clone().step_by(STEP_MS as usize).collect();
    let one = |n: usize| {
        let (metric, a, b) = match n < count / 10 {
            true => (
                "cpu_seconds_total".to_owned(),
                ("cpu", n / 8),
                ("mode", n % 8),
            ),
            false => (
                format!("metric_{:03}_total", n / 20),
                ("instance", n % 20),
                ("job", n % 3),
            ),
        };

        let a = (a.0, format!("{}", a.1));
        let b = (b.0, format!("{}", b.1));
        let pairs = [("__name__", metric.as_str()), (a.0, &a.1), (b.0, &b.1)];
        let labels = Labels::from_pairs(pairs.into_iter().chain(extra.iter().copied()));

        SeriesInput {
            labels,
            values: times
                .iter()
                .map(|t: &i64| {
                    ((t / STEP_MS) as f64) * ((n % 7) as f64 + 1.0)
                        + ((t / STEP_MS * 31) % 17) as f64 / 10.0
                })
                .collect(),
            times: times.clone(),
            ..Default::default()
        }
    };

    let mut all: Vec<SeriesInput> = (0..count).map(one).collect();
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    all
}

/// Writes `blocks` windows one after the other, with external labels beside the tenant's.
pub fn fill(dir: &Path, blocks: usize, count: usize, external: &[(&str, &str)]) {
    std::fs::create_dir_all(dir).unwrap();
    let labels = external.iter().copied().chain([("tenant_id", TENANT)]);
    let external_labels: BTreeMap<String, String> =
        labels.map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let options = WriteOptions {
        external_labels,
        ..WriteOptions::default()
    };

    for number in 0..blocks as i64 {
        let begin = START_MS + number * WINDOW_MS;
        let window = begin..begin + WINDOW_MS;
        let mut source = IterSource(series(count, &window, &[]).into_iter());
        let meta = write_block(dir, window, &options, &mut source)
            .unwrap()
            .unwrap();
        // As it is published, with the lengths of its files.
        let path = dir.join(meta.ulid.to_string());
        let published = HashedBlock::open(&path, &options.external_labels, "test").unwrap();
        published.meta().write(&path).unwrap();
    }
}

/// The blocks of a bucket and nothing else.
pub struct BucketOnly {
    pub metas: MetaCache,
    pub reader: Arc<BucketReader>,
    /// Blocks are read side by side.
    pub side_by_side: bool,
}

impl BucketOnly {
    pub fn new(
        store: Arc<dyn ObjectStore>,
        runtime: &tokio::runtime::Runtime,
        options: ReaderOptions,
    ) -> Self {
        let rules = ReadRules {
            tenant_label: "tenant_id".into(),
            ..ReadRules::default()
        };
        let metas = MetaCache::new(rules);

        runtime
            .block_on(metas.refresh(store.as_ref(), Listing::Objects))
            .unwrap();

        let reader = Arc::new(BucketReader::new(store, runtime.handle().clone(), options));
        Self {
            metas,
            reader,
            side_by_side: true,
        }
    }
}

impl Catalog for BucketOnly {
    fn sources(&self, scope: &Scope) -> SourceList {
        let blocks = self
            .metas
            .select(scope.tenant.as_str(), scope.start_ms, scope.end_ms);
        let far = Far {
            reader: Arc::clone(&self.reader),
            tenant: scope.tenant.as_str().into(),
        };
        let far = self.side_by_side.then_some(far);

        SourceList {
            sources: blocks
                .into_iter()
                .map(|read| {
                    let labels = Arc::clone(&Arc::<trireme_bucket::ReadBlock>::clone(&read).labels);
                    let block = RemoteBlock::new(Arc::clone(&self.reader), read, true);
                    Arc::new(Labelled::new(block, labels)) as Arc<dyn Source>
                })
                .collect(),
            far,
            warnings: Vec::new(),
        }
    }

    fn exemplars(
        &self,
        _: &Tenant,
        _: &[Vec<Matcher>],
        _: i64,
        _: i64,
    ) -> std::result::Result<Vec<ExemplarSeries>, SourceError> {
        Ok(Vec::new())
    }

    fn metadata(
        &self,
        _: &Tenant,
        _: Option<&str>,
    ) -> std::result::Result<Vec<(String, MetricMetadata)>, SourceError> {
        Ok(Vec::new())
    }

    fn tsdb_status(&self, _: &Tenant, _: usize) -> std::result::Result<TsdbStatus, SourceError> {
        Ok(TsdbStatus::default())
    }
}
