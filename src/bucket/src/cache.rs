//! Pieces of objects in memory, up to a bound.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use parking_lot::Mutex;
use ulid::Ulid;

/// Bytes of a page. Small enough for a postings list or a chunk, large enough that a request is worth it.
pub(crate) const PAGE_BYTES: u64 = 64 << 10;

/// Dropped pages that are remembered however small the cache is.
const DROPPED_MIN: usize = 64;

/// A file of a block; the same however often it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FileId {
    pub(crate) ulid: Ulid,
    /// 0 for the index, from 1 on for chunk files.
    pub(crate) number: u32,
}

/// A page of a file.
pub(crate) type Key = (FileId, u64);

/// Pages by file, in two parts: what was read in one pass only, and what was read in several, which may take three quarters.
///
/// What is read once is dropped first, so that a scan pushes out nothing that is read often. Names of pages that were dropped so
/// are kept for a while: one that is fetched again is read often. A pass is a query; it may read a page many times
/// and has then read it once.
pub struct PageCache {
    bytes_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    pages: HashMap<Key, Entry>,
    /// Keys by last use.
    once: BTreeMap<u64, Key>,
    often: BTreeMap<u64, Key>,
    often_bytes: usize,
    /// Pages that were dropped, with the pass that read them, by the time of that.
    dropped: HashMap<Key, (u64, u64)>,
    dropped_at: BTreeMap<u64, Key>,
    clock: u64,
    pass: u64,
    stats: CacheStats,
}

struct Entry {
    page: Bytes,
    used: u64,
    /// The pass that read it first.
    pass: u64,
    is_often: bool,
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
        Self {
            bytes_max,
            inner: Mutex::default(),
        }
    }

    /// Most bytes.
    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Begins a pass.
    pub(crate) fn begin_pass(&self) {
        self.inner.lock().pass += 1;
    }

    /// Counters.
    pub fn stats(&self) -> CacheStats {
        self.inner.lock().stats
    }

    /// True if the page is there; counts as no use of it.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.inner.lock().pages.contains_key(key)
    }

    pub(crate) fn get(&self, key: Key) -> Option<Bytes> {
        let mut inner = self.inner.lock();

        let page = inner.touch(key);
        match &page {
            Some(_) => inner.stats.hits += 1,
            None => inner.stats.misses += 1,
        }

        inner.demote(self.bytes_max / 4 * 3);
        page
    }

    pub(crate) fn put(&self, key: Key, page: Bytes) {
        if page.len() > self.bytes_max {
            return;
        }

        let mut inner = self.inner.lock();
        inner.remove(&key);
        inner.clock += 1;

        let used = inner.clock;
        let pass = inner.pass;
        let is_often = inner.was_dropped(&key).is_some_and(|before| before != pass);

        inner.stats.bytes += page.len();
        if is_often {
            inner.often_bytes += page.len();
            inner.often.insert(used, key);
        } else {
            inner.once.insert(used, key);
        }

        inner.pages.insert(
            key,
            Entry {
                page,
                used,
                pass,
                is_often,
            },
        );

        inner.demote(self.bytes_max / 4 * 3);
        inner.make_room(self.bytes_max);
    }
}

impl Inner {
    /// Drops pages until the others are within the bound: first those that were asked for once.
    fn make_room(&mut self, bytes_max: usize) {
        while self.stats.bytes > bytes_max {
            let oldest = self
                .once
                .first_key_value()
                .or_else(|| self.often.first_key_value());
            let Some(oldest) = oldest.map(|(_, key)| *key) else {
                break;
            };
            let dropped_max = (bytes_max / PAGE_BYTES as usize).max(DROPPED_MIN);
            self.drop_page(&oldest, dropped_max);
        }
    }

    /// The page, as the one that was used last.
    fn touch(&mut self, key: Key) -> Option<Bytes> {
        self.clock += 1;
        let entry = self.pages.get_mut(&key)?;
        let before = std::mem::replace(&mut entry.used, self.clock);
        let was_often = entry.is_often;

        entry.is_often |= entry.pass != self.pass;
        let is_often = entry.is_often;
        let page = entry.page.clone();

        if was_often {
            self.often.remove(&before);
        } else {
            self.once.remove(&before);
        }

        if is_often {
            self.often.insert(self.clock, key);
        } else {
            self.once.insert(self.clock, key);
        }

        if is_often && !was_often {
            self.often_bytes += page.len();
        }

        Some(page)
    }

    /// Keeps what is read often to its part.
    fn demote(&mut self, often_bytes_max: usize) {
        while self.often_bytes > often_bytes_max
            && let Some((used, key)) = self.often.pop_first()
        {
            self.once.insert(used, key);
            if let Some(entry) = self.pages.get_mut(&key) {
                entry.is_often = false;
                self.often_bytes -= entry.page.len();
            }
        }
    }

    /// Drops a page, and remembers the names of so many.
    fn drop_page(&mut self, key: &Key, remembered_max: usize) {
        let Some(pass) = self.remove(key) else { return };
        self.stats.evicted += 1;
        self.clock += 1;
        self.was_dropped(key);
        self.dropped.insert(*key, (self.clock, pass));
        self.dropped_at.insert(self.clock, *key);

        if self.dropped.len() > remembered_max
            && let Some((_, oldest)) = self.dropped_at.pop_first()
        {
            self.dropped.remove(&oldest);
        }
    }

    /// The pass that read a page which was dropped, if that is remembered; forgets it.
    fn was_dropped(&mut self, key: &Key) -> Option<u64> {
        let (at, pass) = self.dropped.remove(key)?;
        self.dropped_at.remove(&at);
        Some(pass)
    }

    /// Takes a page out, and gives the pass that read it first.
    fn remove(&mut self, key: &Key) -> Option<u64> {
        let entry = self.pages.remove(key)?;
        self.stats.bytes -= entry.page.len();

        if entry.is_often {
            self.often.remove(&entry.used);
            self.often_bytes -= entry.page.len();
        } else {
            self.once.remove(&entry.used);
        }

        Some(entry.pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32, page: u64) -> Key {
        (
            FileId {
                ulid: Ulid::nil(),
                number,
            },
            page,
        )
    }

    #[test]
    fn drops_the_longest_unused_and_keeps_to_its_bound() {
        let cache = PageCache::new(30);

        let page = |n: u8| Bytes::from(vec![n; 10]);
        for n in 0..3 {
            cache.put(key(1, u64::from(n)), page(n));
        }

        assert!(cache.get(key(1, 0)).is_some());
        cache.put(key(1, 3), page(3));
        assert!(cache.get(key(1, 1)).is_none());

        assert_eq!(cache.get(key(1, 0)), Some(page(0)));
        cache.put(key(1, 0), page(9));
        cache.put(key(2, 0), Bytes::from(vec![0; 31]));

        let stats = cache.stats();
        assert_eq!(
            (stats.bytes, stats.evicted, stats.hits, stats.misses),
            (30, 1, 2, 1)
        );
    }

    #[test]
    fn a_scan_pushes_out_nothing_that_is_read_often() {
        let cache = PageCache::new(100);
        let page = || Bytes::from(vec![0; 10]);
        (0..5).for_each(|n| cache.put(key(1, n), page()));
        cache.begin_pass();
        (0..5).for_each(|n| assert!(cache.get(key(1, n)).is_some()));

        cache.begin_pass();
        for n in 0..1_000 {
            cache.put(key(2, n), page());
            // Twice by the same query is once.
            assert!(cache.get(key(2, n)).is_some() && cache.get(key(2, n)).is_some());
        }

        (0..5).for_each(|n| assert!(cache.get(key(1, n)).is_some(), "{n}"));
        assert!(cache.stats().bytes <= 100);

        // What is read often now takes the place of what was.
        for _ in 0..2 {
            cache.begin_pass();
            for n in 0..7 {
                if cache.get(key(3, n)).is_none() {
                    cache.put(key(3, n), page());
                }
            }
        }

        cache.begin_pass();
        (0..7).for_each(|n| assert!(cache.get(key(3, n)).is_some(), "{n}"));
        assert!(cache.stats().bytes <= 100);
    }
}
