//! Blocks of the bucket, queried in place.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use trireme_block::{
    Block, BlockMeta, CHUNKS_DIR, ChunkReader, INDEX_FILE, IndexReader, RangeRead, Tombstones, segment_name,
};
use ulid::Ulid;

use crate::error::at;
use crate::{BucketError, BucketFile, PageCache, header, layout};

/// Bounds of a [`BucketReader`].
#[derive(Clone, Debug)]
pub struct ReaderOptions {
    /// Memory for pieces of objects (bytes).
    pub cache_bytes_max: usize,
    /// Blocks held open; each holds its symbols and postings table in memory or mapped.
    pub open_blocks_max: usize,
    /// The longest wait for one request.
    pub timeout: Duration,
    /// Directory for copies of symbols and postings tables, which are then mapped instead of held in memory and
    /// outlive a restart; made if missing.
    pub header_dir: Option<PathBuf>,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            cache_bytes_max: 256 << 20,
            open_blocks_max: 64,
            timeout: Duration::from_secs(60),
            header_dir: None,
        }
    }
}

/// Opens blocks of the bucket and keeps those used last.
///
/// Its methods block; call them on a CPU pool thread, never on a thread of an async runtime.
pub struct BucketReader {
    store: Arc<dyn ObjectStore>,
    runtime: Handle,
    cache: Arc<PageCache>,
    options: ReaderOptions,
    /// The last used at the end.
    open: Mutex<Vec<(Ulid, Arc<Block>)>>,
}

impl BucketReader {
    /// `runtime` drives the requests to the store.
    pub fn new(store: Arc<dyn ObjectStore>, runtime: Handle, options: ReaderOptions) -> Self {
        let cache = Arc::new(PageCache::new(options.cache_bytes_max));
        Self { store, runtime, cache, options, open: Mutex::new(Vec::new()) }
    }

    /// The block of a meta, opened if it is not open.
    pub fn block(&self, meta: &BlockMeta) -> Result<Arc<Block>, BucketError> {
        if let Some(block) = self.reuse(meta.ulid) {
            return Ok(block);
        }
        let mut index: Arc<dyn RangeRead> = Arc::new(self.file(meta, INDEX_FILE.to_owned())?);
        if let Some(dir) = &self.options.header_dir {
            index = header::with_header(dir, meta.ulid, index)?;
        }
        let index = IndexReader::open(index)?;
        let mut segments: Vec<Arc<dyn RangeRead>> = Vec::new();
        for rel_path in self.segments(meta)? {
            segments.push(Arc::new(self.file(meta, rel_path)?));
        }
        let chunks = ChunkReader::open(segments)?;
        // Tombstones are not uploaded; deletions are rewritten into new blocks.
        let block = Arc::new(Block::from_parts(meta.clone(), index, chunks, Tombstones::default()));
        let mut open = self.open.lock();
        open.push((meta.ulid, block.clone()));
        let over = open.len().saturating_sub(self.options.open_blocks_max);
        open.drain(..over);
        Ok(block)
    }

    /// Forgets blocks for which `keep` is false: closes them and removes their copies on disk.
    pub fn retain(&self, keep: &dyn Fn(Ulid) -> bool) -> Result<(), BucketError> {
        self.open.lock().retain(|(ulid, _)| keep(*ulid));
        match &self.options.header_dir {
            Some(dir) => header::retain(dir, keep),
            None => Ok(()),
        }
    }

    /// Counters of the page cache.
    pub fn cache(&self) -> &Arc<PageCache> {
        &self.cache
    }

    fn reuse(&self, ulid: Ulid) -> Option<Arc<Block>> {
        let mut open = self.open.lock();
        let at = open.iter().position(|(u, _)| *u == ulid)?;
        let entry = open.remove(at);
        let block = entry.1.clone();
        open.push(entry);
        Some(block)
    }

    /// A file of the block; its size is in the meta, or else the store is asked.
    fn file(&self, meta: &BlockMeta, rel_path: String) -> Result<BucketFile, BucketError> {
        let path = layout::object(meta.ulid, &rel_path);
        let files = meta.thanos.iter().flat_map(|t| &t.files);
        let listed = files.filter(|f| f.rel_path == rel_path).find_map(|f| f.size_bytes);
        let len = match listed {
            Some(len) => len,
            None => self.runtime.block_on(self.store.head(&path)).map_err(at(&path))?.size,
        };
        let (store, cache) = (self.store.clone(), self.cache.clone());
        Ok(BucketFile::new(store, path, len, cache, self.runtime.clone(), self.options.timeout))
    }

    /// Paths of the chunk files, in order.
    fn segments(&self, meta: &BlockMeta) -> Result<Vec<String>, BucketError> {
        let files = meta.thanos.iter().flat_map(|t| &t.files);
        let mut count = files.filter(|f| f.rel_path.starts_with(CHUNKS_DIR)).count();
        if count == 0 {
            let dir = layout::object(meta.ulid, CHUNKS_DIR);
            let list = self.runtime.block_on(self.store.list_with_delimiter(Some(&dir))).map_err(at(&dir))?;
            count = list.objects.len();
        }
        Ok((0..count).map(|n| format!("{CHUNKS_DIR}/{}", segment_name(n))).collect())
    }
}
