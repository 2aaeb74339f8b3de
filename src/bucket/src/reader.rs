//! Blocks of the bucket, queried in place.

mod layouts;
mod open;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt, Shared, join_all};
use object_store::ObjectStore;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use trireme_block::{
    Block, BlockError, BlockMeta, CHUNKS_DIR, ChunkReader, INDEX_FILE, IndexReader, RangeRead,
    Tombstones, segment_name,
};
use ulid::Ulid;

use crate::cache::FileId;
use crate::file::BucketFile;
use crate::remote::{FetchError, Object, Remote};
use crate::scan::{Pieces, ScanFile};
use crate::wishes::{self, Wishes};
use crate::{BucketError, PageCache, ReadBlock, header, layout};
use layouts::{Layout, Layouts};
use open::OpenBlocks;

/// Bounds of a [`BucketReader`].
#[derive(Clone, Debug)]
pub struct ReaderOptions {
    /// Memory for pieces of objects (bytes).
    pub cache_bytes_max: usize,
    /// Memory for what is kept of open blocks (bytes).
    pub open_bytes_max: usize,
    /// The longest wait for one request.
    pub timeout: Duration,
    /// Directory for copies of small indexes and of the symbols and postings tables of others, which outlive a restart;
    /// made if missing.
    pub header_dir: Option<PathBuf>,
    /// Room on disk for them (bytes).
    pub header_bytes_max: u64,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            cache_bytes_max: 256 << 20,
            open_bytes_max: 128 << 20,
            timeout: Duration::from_secs(60),
            header_dir: None,
            header_bytes_max: 8 << 30,
        }
    }
}

/// Blocks that are opened ahead at once.
const OPENED_AT_ONCE: usize = 48;
/// How often a fetch looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The making of a copy under way.
type Copying = Shared<BoxFuture<'static, Result<(), FetchError>>>;

/// Opens blocks of the bucket and keeps those used last.
///
/// Its methods block, or within [`attempt`](crate::attempt) note what they would wait for; call them on a CPU pool thread,
/// never on a thread of an async runtime.
pub struct BucketReader {
    remote: Arc<Remote>,
    options: ReaderOptions,
    open: Mutex<OpenBlocks>,
    layouts: Layouts,
    copying: Mutex<HashMap<Ulid, Copying>>,
    /// Why the local disk takes no copies, if so: blocks are then read without.
    cannot_copy: Arc<OnceLock<String>>,
    /// Bytes of all copies, at least.
    copied_bytes: Arc<AtomicU64>,
}

impl BucketReader {
    /// `runtime` drives the requests to the store.
    pub fn new(store: Arc<dyn ObjectStore>, runtime: Handle, options: ReaderOptions) -> Self {
        let cache = Arc::new(PageCache::new(options.cache_bytes_max));
        let remote = Arc::new(Remote::new(store, runtime, cache, options.timeout));
        let dir = options.header_dir.as_deref();
        let copied = dir.map_or(Ok(0), |dir| {
            header::keep_within(dir, options.header_bytes_max)
        });

        Self {
            copied_bytes: Arc::new(AtomicU64::new(*copied.as_ref().unwrap_or(&0))),
            cannot_copy: Arc::new(
                copied
                    .err()
                    .map(|e| OnceLock::from(e.to_string()))
                    .unwrap_or_default(),
            ),
            remote,
            open: Mutex::new(OpenBlocks::new(options.open_bytes_max)),
            options,
            layouts: Layouts::default(),
            copying: Mutex::default(),
        }
    }

    /// The block of a meta, opened if it is not open.
    pub fn block(&self, meta: &BlockMeta) -> Result<Arc<Block>, BucketError> {
        if let Some(block) = self.open.lock().get(meta.ulid) {
            return Ok(block);
        }
        let Some(layout) = self.layouts.of(meta) else {
            self.note_or_wait(meta)?;
            let layout = self
                .layouts
                .of(meta)
                .ok_or_else(|| Layouts::gone(meta.ulid))?;
            return self.open_block(meta, &layout);
        };

        self.open_block(meta, &layout)
    }

    /// The block of a meta, to be read from its begin to its end once: by large pieces, past the cache. What is fetched is
    /// added to `fetched_bytes`. It is opened anew by each call.
    pub fn scan(
        &self,
        meta: &BlockMeta,
        fetched_bytes: &Arc<AtomicU64>,
    ) -> Result<Block, BucketError> {
        self.remote.runtime.block_on(self.prepare(meta))?;
        let layout = self
            .layouts
            .of(meta)
            .ok_or_else(|| Layouts::gone(meta.ulid))?;

        let of_index = Pieces::default();
        let of_chunks = Pieces::default();
        let index = self.scan_file(index_of(meta.ulid, &layout), &of_index, fetched_bytes);
        let index: Arc<dyn RangeRead> = Arc::new(index);
        let copied = self
            .header_dir()
            .and_then(|dir| header::over(dir, meta.ulid, &index));
        let index = IndexReader::open(copied.unwrap_or(index))?;
        let segments = segments_of(meta.ulid, &layout);
        let segments = segments
            .map(|object| Arc::new(self.scan_file(object, &of_chunks, fetched_bytes)) as _)
            .collect();
        let chunks = ChunkReader::unchecked(segments);

        Ok(Block::from_parts(
            meta.clone(),
            index,
            chunks,
            Tombstones::default(),
        ))
    }

    fn scan_file(
        &self,
        object: Object,
        pieces: &Pieces,
        fetched_bytes: &Arc<AtomicU64>,
    ) -> ScanFile {
        ScanFile::new(
            Arc::clone(&self.remote),
            object,
            Arc::clone(pieces),
            Arc::clone(fetched_bytes),
        )
    }

    fn open_block(&self, meta: &BlockMeta, layout: &Layout) -> Result<Arc<Block>, BucketError> {
        let index: Arc<dyn RangeRead> = Arc::new(self.file(index_of(meta.ulid, layout)));
        let copied = self.copied_header(meta, &index)?;

        let is_copy = copied.is_some();
        let index = IndexReader::open(copied.unwrap_or(index)).inspect_err(|error| {
            if is_copy && error.is_damage() {
                self.forget(meta.ulid);
            }
        })?;

        let segments = segments_of(meta.ulid, layout)
            .map(|object| Arc::new(self.file(object)) as _)
            .collect();

        // Tombstones are not uploaded; deletions are rewritten into new blocks.
        let chunks = ChunkReader::unchecked(segments);
        let block = Arc::new(Block::from_parts(
            meta.clone(),
            index,
            chunks,
            Tombstones::default(),
        ));

        self.open.lock().put(meta.ulid, &block);
        Ok(block)
    }

    /// The index over its copied header; where there is none yet it is fetched first, or wished for.
    fn copied_header(
        &self,
        meta: &BlockMeta,
        index: &Arc<dyn RangeRead>,
    ) -> Result<Option<Arc<dyn RangeRead>>, BucketError> {
        let Some(dir) = self.header_dir() else {
            return Ok(None);
        };
        if let Some(known) = header::over(dir, meta.ulid, index) {
            return Ok(Some(known));
        }

        self.note_or_wait(meta)?;
        Ok(header::over(dir, meta.ulid, index))
    }

    /// Where copies are, as long as the disk takes them.
    fn header_dir(&self) -> Option<&Path> {
        self.options
            .header_dir
            .as_deref()
            .filter(|_| self.cannot_copy.get().is_none())
    }

    fn file(&self, object: Object) -> BucketFile {
        BucketFile::new(Arc::clone(&self.remote), object)
    }

    /// Within an attempt, notes that the block cannot be opened yet; elsewhere waits until it can.
    fn note_or_wait(&self, meta: &BlockMeta) -> Result<(), BucketError> {
        if wishes::note(|wishes| wishes.add_block(meta)) {
            let source = wishes::later();
            return Err(BlockError::Io {
                place: meta.ulid.to_string(),
                source,
            }
            .into());
        }
        self.remote.runtime.block_on(self.prepare(meta))
    }

    /// Fetches what opening a block takes.
    async fn prepare(&self, meta: &BlockMeta) -> Result<(), BucketError> {
        let layout = match self.layouts.of(meta) {
            Some(layout) => layout,
            None => {
                self.layouts
                    .fetch(self.remote.store.as_ref(), meta.ulid)
                    .await?
            }
        };

        let Some(dir) = self.header_dir() else {
            return Ok(());
        };

        let index = index_of(meta.ulid, &layout);
        let place = index.path.to_string();
        let copying = self
            .copying
            .lock()
            .entry(meta.ulid)
            .or_insert_with(|| self.copy(index, dir))
            .clone();

        let copied = copying.await;
        self.copying.lock().remove(&meta.ulid);
        copied.map_err(|e| {
            BlockError::Io {
                place,
                source: e.into(),
            }
            .into()
        })
    }

    fn copy(&self, index: Object, dir: &Path) -> Copying {
        let remote = Arc::clone(&self.remote);
        let dir = dir.to_owned();
        let cannot_copy = Arc::clone(&self.cannot_copy);
        let copied_bytes = Arc::clone(&self.copied_bytes);
        let bytes_max = self.options.header_bytes_max;
        let copy = async move {
            let bytes = match header::fetch(&remote, &index, &dir).await {
                Ok(bytes) => bytes,
                Err(header::CopyError::Disk(error)) => {
                    cannot_copy.get_or_init(|| error.to_string());
                    return Ok(());
                }
                Err(header::CopyError::Index(error)) => return Err(FetchError::of(&error)),
            };

            if copied_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > bytes_max {
                // Some room beyond the bound is made, so that not every copy has to look for it.
                if let Ok(Ok(left)) = tokio::task::spawn_blocking(move || {
                    header::keep_within(&dir, bytes_max / 8 * 7)
                })
                .await
                {
                    copied_bytes.store(left, Ordering::Relaxed);
                }
            }

            Ok(())
        };

        copy.boxed().shared()
    }

    /// Begins to read for a query: what is read once from now on does not push out what was read before more than once.
    pub fn begin_pass(&self) {
        self.remote.cache.begin_pass();
    }

    /// Fetches what attempts lacked, side by side, for a tenant; gives for each whether that went well. `is_over` says
    /// whether nobody waits any more.
    pub fn fetch(
        &self,
        wishes: &[Wishes],
        tenant: &str,
        is_over: &dyn Fn() -> bool,
    ) -> Vec<Result<(), BucketError>> {
        let share = self.remote.share(tenant);

        let mut all =
            join_all(wishes.iter().map(|wishes| self.fetch_one(wishes, &share))).boxed_local();
        loop {
            let fetched = self
                .remote
                .runtime
                .block_on(async { tokio::time::timeout(LOOK_EVERY, &mut all).await });
            match fetched {
                Ok(results) => return results,
                Err(_) if is_over() => return wishes.iter().map(|_| Ok(())).collect(),
                Err(_) => {}
            }
        }
    }

    async fn fetch_one(&self, wishes: &Wishes, share: &Arc<Semaphore>) -> Result<(), BucketError> {
        if let Some(meta) = &wishes.block {
            self.prepare(meta).await?;
        }

        let pages = wishes.pages.values().map(|(object, pages)| async move {
            let wanted: Vec<u64> = pages.iter().copied().collect();
            let fetched = self.remote.pages(object, &wanted, Some(share)).await;
            fetched.map(drop).map_err(|e| BlockError::Io {
                place: object.path.to_string(),
                source: e.into(),
            })
        });

        join_all(pages)
            .await
            .into_iter()
            .collect::<Result<(), _>>()?;

        Ok(())
    }

    /// Opens blocks ahead of queries, as many as are kept open, in the order given.
    pub async fn open_ahead(self: Arc<Self>, blocks: Vec<Arc<ReadBlock>>) {
        let opened = futures::stream::iter(blocks).map(|read| {
            let reader = Arc::clone(&self);
            tokio::task::spawn_blocking(move || {
                if !reader.open.lock().is_full() {
                    // Whoever asks for it is told what is wrong with it.
                    drop(reader.block(&read.block.meta));
                }
            })
        });
        opened
            .buffer_unordered(OPENED_AT_ONCE)
            .for_each(|_| std::future::ready(()))
            .await;
    }

    /// Closes a block in which something was damaged and removes the copy of its index, so that it is read anew.
    pub fn forget(&self, ulid: Ulid) {
        self.open.lock().remove(ulid);
        if let Some(dir) = &self.options.header_dir {
            header::remove(dir, ulid);
        }
    }

    /// Forgets blocks for which `keep` is false: closes them and removes their copies on disk.
    pub fn retain(&self, keep: &dyn Fn(Ulid) -> bool) -> Result<(), BucketError> {
        self.open.lock().retain(keep);
        self.layouts.retain(keep);
        match &self.options.header_dir {
            Some(dir) => header::retain(dir, keep),
            None => Ok(()),
        }
    }

    /// Why no copies of indexes are kept on disk any more, if so.
    pub fn cannot_copy(&self) -> Option<&str> {
        self.cannot_copy.get().map(String::as_str)
    }

    /// Bytes that a query may fetch ahead of reading them.
    pub fn ahead_bytes(&self) -> u64 {
        self.remote.cache.bytes_max() as u64 / 4
    }

    /// Counters of the page cache.
    pub fn cache(&self) -> &Arc<PageCache> {
        &self.remote.cache
    }
}

fn segments_of(ulid: Ulid, layout: &Layout) -> impl Iterator<Item = Object> {
    layout.segments.iter().enumerate().map(move |(at, len)| {
        let path = layout::object(ulid, &format!("{CHUNKS_DIR}/{}", segment_name(at)));
        Object {
            path,
            id: FileId {
                ulid,
                number: at as u32 + 1,
            },
            len: *len,
        }
    })
}

fn index_of(ulid: Ulid, layout: &Layout) -> Object {
    let path = layout::object(ulid, INDEX_FILE);
    Object {
        path,
        id: FileId { ulid, number: 0 },
        len: layout.index,
    }
}
