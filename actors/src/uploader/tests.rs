//! Rounds over a store that counts.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path as Object;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Barrier;
use trireme_base::{Boot, Incarnation, ManualClock, NodeName};
use trireme_block::{IterSource, SeriesInput, WriteOptions, write_block};
use trireme_bucket::Listing;
use trireme_model::Labels;
use trireme_replication::{GroupLimits, GroupView, PeerIdentity};
use trireme_ring::Quorum;

use super::*;

const WINDOW: Range<i64> = 0..7_200_000;
const AT_ONCE: usize = 3;
const BLOCKS: usize = 2 * AT_ONCE;

/// Takes an index only together with those of two other blocks, and counts what is under way.
#[derive(Debug)]
struct Counting {
    inner: InMemory,
    together: Barrier,
    now: AtomicUsize,
    most: AtomicUsize,
    gets: AtomicUsize,
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("counting")
    }
}

#[async_trait]
impl ObjectStore for Counting {
    async fn put_opts(
        &self,
        path: &Object,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);

        if path.filename() == Some("index") {
            self.together.wait().await;
        }

        let put = self.inner.put_opts(path, payload, options).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        put
    }

    async fn put_multipart_opts(
        &self,
        path: &Object,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Object, options: GetOptions) -> Result<GetResult> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Object>>,
    ) -> BoxStream<'static, Result<Object>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Object>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Object>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Object, to: &Object, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn write(root: &Path, value: f64) {
    let labels = Labels::from_pairs([("__name__", "up")]);
    let series = SeriesInput {
        labels,
        times: vec![7],
        values: vec![value],
        ..SeriesInput::default()
    };

    let dir = root.join(Tenant::DEFAULT);
    let mut source = IterSource(std::iter::once(series));
    write_block(&dir, WINDOW, &WriteOptions::default(), &mut source)
        .expect("written")
        .expect("not empty");
}

/// An uploader of a node without peers.
fn parts(root: &Path, bucket: Arc<Counting>) -> UploaderParts {
    let me = NodeName::new("me");
    let identity = PeerIdentity {
        node: me.clone(),
        incarnation: Incarnation(1),
        boot: Boot(1),
    };

    let view = GroupView::new(
        identity,
        Quorum::new([me], 1),
        [],
        GroupLimits::default(),
        Duration::ZERO,
    );

    let log = Logger::root(slog::Discard, slog::o!());
    UploaderParts {
        bucket,
        listed: Arc::default(),
        local_blocks: Arc::new(LocalBlocks::open(root, log.clone()).expect("opened")),
        hub: Arc::new(Hub::new(view, 1 << 20)),
        pool: Arc::new(CpuPool::new("test", 2, 100).expect("started")),
        runtime: Handle::current(),
        external_labels: BTreeMap::new(),
        tenant_label: "tenant_id".to_owned(),
        turn: Duration::ZERO,
        interval: Duration::from_secs(5),
        at_once: AT_ONCE,
        clock: Arc::new(ManualClock::at(0)),
        metrics: UploaderMetrics::new(&Metrics::default()).expect("registered"),
        log,
    }
}

#[tokio::test]
async fn so_many_blocks_are_uploaded_side_by_side_and_none_is_asked_for_before_a_list() {
    let here = tempfile::tempdir().expect("a directory");
    (0..BLOCKS).for_each(|n| write(here.path(), n as f64));
    let bucket = Arc::new(Counting {
        inner: InMemory::new(),
        together: Barrier::new(AT_ONCE),
        now: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
        gets: AtomicUsize::new(0),
    });

    let parts = parts(here.path(), Arc::clone(&bucket));
    let look = async |shipments: Shipments| {
        let looked = round(
            parts.clone(),
            parts.local_blocks.blocks(),
            shipments,
            Duration::ZERO,
        );
        tokio::time::timeout(Duration::from_secs(60), looked)
            .await
            .expect("blocks are sent side by side")
    };

    let shipments = look(Shipments::new()).await;
    assert_eq!(shipments.len(), BLOCKS);
    assert_eq!(bucket.gets.load(Ordering::SeqCst), 0, "the list will tell");
    parts
        .listed
        .refresh(bucket.as_ref(), Listing::Names)
        .await
        .expect("listed");

    look(shipments).await;
    assert!(
        parts
            .local_blocks
            .blocks()
            .iter()
            .all(|block| block.is_shipped())
    );
    assert_eq!(bucket.most.load(Ordering::SeqCst), AT_ONCE);
    parts
        .listed
        .refresh(bucket.as_ref(), Listing::Names)
        .await
        .expect("listed");

    assert_eq!(parts.listed.blocks().len(), BLOCKS);
}

#[tokio::test]
async fn what_is_sent_at_once_fits_the_room() {
    let here = tempfile::tempdir().expect("a directory");
    write(here.path(), 1.0);
    let local_blocks =
        LocalBlocks::open(here.path(), Logger::root(slog::Discard, slog::o!())).expect("opened");
    let labels = BTreeMap::from([("tenant_id".to_owned(), "a".to_owned())]);
    let small = HashedBlock::open(&local_blocks.blocks()[0].dir, &labels, "test").expect("hashed");
    let longest = small.sending_bytes();
    assert!(longest > 0 && longest < 4_096, "{longest} bytes");

    assert_eq!(
        u64::from(permits_of(&small)),
        longest.div_ceil(PERMIT_BYTES)
    );
    assert_eq!(
        ROOM_BYTES / PERMIT_BYTES,
        64 << 10,
        "as much as the largest block takes"
    );
}
