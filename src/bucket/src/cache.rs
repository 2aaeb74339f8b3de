//! Pieces of objects in memory, up to a bound.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use parking_lot::Mutex;

/// Bytes of a page. Small enough for a postings list or a chunk, large enough that a request is worth it.
pub(crate) const PAGE_BYTES: u64 = 64 << 10;

/// File number and page number.
type Key = (u64, u64);

/// Pages by file, the longest unused dropped first.
pub struct PageCache {
    bytes_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    pages: HashMap<Key, (Bytes, u64)>,
    /// Keys by last use.
    used: BTreeMap<u64, Key>,
    clock: u64,
    next_file: u64,
    stats: CacheStats,
}

/// Counters since the start, and the present size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Pages found.
    pub hits: u64,
    /// Pages not found.
    pub misses: u64,
    /// Pages dropped for others.
    pub evicted: u64,
    /// Bytes held.
    pub bytes: usize,
}

impl PageCache {
    /// A cache of at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, inner: Mutex::default() }
    }

    /// A number for a newly opened file; pages of closed files age out.
    pub(crate) fn file_number(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.next_file += 1;
        inner.next_file
    }

    /// Counters.
    pub fn stats(&self) -> CacheStats {
        self.inner.lock().stats
    }

    pub(crate) fn get(&self, key: Key) -> Option<Bytes> {
        let mut inner = self.inner.lock();
        inner.clock += 1;
        let now = inner.clock;
        let Some((page, last)) = inner.pages.get_mut(&key) else {
            inner.stats.misses += 1;
            return None;
        };
        let (page, before) = (page.clone(), std::mem::replace(last, now));
        inner.used.remove(&before);
        inner.used.insert(now, key);
        inner.stats.hits += 1;
        Some(page)
    }

    pub(crate) fn put(&self, key: Key, page: Bytes) {
        if page.len() > self.bytes_max {
            return;
        }
        let mut inner = self.inner.lock();
        inner.clock += 1;
        let now = inner.clock;
        inner.stats.bytes += page.len();
        if let Some((old, before)) = inner.pages.insert(key, (page, now)) {
            inner.stats.bytes -= old.len();
            inner.used.remove(&before);
        }
        inner.used.insert(now, key);
        while inner.stats.bytes > self.bytes_max {
            let Some((_, oldest)) = inner.used.pop_first() else { break };
            if let Some((page, _)) = inner.pages.remove(&oldest) {
                inner.stats.bytes -= page.len();
                inner.stats.evicted += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_the_longest_unused_and_keeps_to_its_bound() {
        let cache = PageCache::new(30);
        let page = |n: u8| Bytes::from(vec![n; 10]);
        for n in 0..3 {
            cache.put((1, u64::from(n)), page(n));
        }
        assert!(cache.get((1, 0)).is_some());
        cache.put((1, 3), page(3));
        assert!(cache.get((1, 1)).is_none());
        assert_eq!(cache.get((1, 0)), Some(page(0)));
        cache.put((1, 0), page(9));
        cache.put((2, 0), Bytes::from(vec![0; 31]));
        let stats = cache.stats();
        assert_eq!((stats.bytes, stats.evicted, stats.hits, stats.misses), (30, 1, 2, 1));
    }
}
