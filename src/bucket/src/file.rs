//! An object that is read like a file.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;
use trireme_block::{RangeRead, past_end};

use crate::cache::{PAGE_BYTES, PageCache};

/// Reads longer than this go past the cache: they are sections that their reader keeps.
const CACHED_READ_BYTES_MAX: usize = 1 << 20;

/// Reads parts of an object through a page cache; neighbouring missing pages are one request.
///
/// [`RangeRead::read_at`] blocks until the store has answered. Call it on a CPU pool thread, never on a thread of
/// an async runtime, where it panics.
pub struct BucketFile {
    store: Arc<dyn ObjectStore>,
    path: Path,
    len: u64,
    number: u64,
    cache: Arc<PageCache>,
    runtime: Handle,
    timeout: Duration,
}

impl BucketFile {
    /// An object of known length. `runtime` drives the requests, each for at most `timeout`.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        path: Path,
        len: u64,
        cache: Arc<PageCache>,
        runtime: Handle,
        timeout: Duration,
    ) -> Self {
        let number = cache.file_number();
        Self { store, path, len, number, cache, runtime, timeout }
    }

    /// One ranged request.
    fn fetch(&self, start: u64, end: u64) -> io::Result<Bytes> {
        // The timer must be made inside the runtime.
        let request = async {
            let bytes = self.store.get_range(&self.path, start..end);
            tokio::time::timeout(self.timeout, bytes).await
        };
        let bytes = self.runtime.block_on(request);
        let late = |_| {
            let text = format!("{}: no answer within {:?}", self.path, self.timeout);
            io::Error::new(io::ErrorKind::TimedOut, text)
        };
        let bytes = bytes.map_err(late)??;
        if bytes.len() as u64 != end - start {
            let text = format!("{}: {} bytes came for {start}..{end}", self.path, bytes.len());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        Ok(bytes)
    }

    /// Pages `first..=last`, from the cache or the store.
    fn pages(&self, first: u64, last: u64) -> io::Result<Vec<Bytes>> {
        let mut pages: Vec<Option<Bytes>> =
            (first..=last).map(|n| self.cache.get((self.number, n))).collect();
        let mut at = 0;
        while let Some(gap) = pages[at..].iter().position(Option::is_none) {
            let start = at + gap;
            let run = pages[start..].iter().take_while(|p| p.is_none()).count();
            let from = (first + start as u64) * PAGE_BYTES;
            let to = (from + run as u64 * PAGE_BYTES).min(self.len);
            let bytes = self.fetch(from, to)?;
            for i in 0..run {
                let begin = i * PAGE_BYTES as usize;
                let page = bytes.slice(begin..(begin + PAGE_BYTES as usize).min(bytes.len()));
                // A copy, so that a cached page does not keep its neighbours alive.
                let page = if run == 1 { page } else { Bytes::copy_from_slice(&page) };
                self.cache.put((self.number, first + (start + i) as u64), page.clone());
                pages[start + i] = Some(page);
            }
            at = start + run;
        }
        Ok(pages.into_iter().flatten().collect())
    }
}

impl RangeRead for BucketFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.len);
        let end = end.ok_or_else(|| past_end(offset, len, self.len))?;
        if len == 0 {
            return Ok(Bytes::new());
        }
        if len > CACHED_READ_BYTES_MAX {
            return self.fetch(offset, end);
        }
        let first = offset / PAGE_BYTES;
        let pages = self.pages(first, (end - 1) / PAGE_BYTES)?;
        let skip = (offset - first * PAGE_BYTES) as usize;
        if let [page] = pages.as_slice() {
            return Ok(page.slice(skip..skip + len));
        }
        let mut joined = BytesMut::with_capacity(pages.len() * PAGE_BYTES as usize);
        pages.iter().for_each(|page| joined.extend_from_slice(page));
        Ok(joined.freeze().slice(skip..skip + len))
    }
}
