//! An object that is read like a file.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use trireme_block::{RangeRead, past_end};

use crate::cache::PAGE_BYTES;
use crate::remote::{Object, Remote};
use crate::wishes;

/// Reads parts of an object through a page cache.
///
/// Within [`wishes::attempt`] what is not in memory is noted; elsewhere [`RangeRead::read_at`] blocks until the store has
/// answered. Call it on a CPU pool thread, never on a thread of an async runtime, where it panics.
pub(crate) struct BucketFile {
    remote: Arc<Remote>,
    object: Arc<Object>,
}

impl BucketFile {
    pub(crate) fn new(remote: Arc<Remote>, object: Object) -> Self {
        Self {
            remote,
            object: Arc::new(object),
        }
    }

    /// Pages `first..=last`, from the cache or the store.
    fn pages(&self, first: u64, last: u64) -> io::Result<Vec<Bytes>> {
        let id = self.object.id;
        let mut pages: Vec<Option<Bytes>> = (first..=last)
            .map(|n| self.remote.cache.get((id, n)))
            .collect();
        let missing: Vec<u64> = (first..=last)
            .zip(&pages)
            .filter(|(_, page)| page.is_none())
            .map(|(n, _)| n)
            .collect();

        if !missing.is_empty() {
            for (number, page) in self.fetch(&missing)? {
                if let Some(slot) = number
                    .checked_sub(first)
                    .and_then(|at| pages.get_mut(at as usize))
                {
                    *slot = Some(page);
                }
            }
        }

        Ok(pages.into_iter().flatten().collect())
    }

    /// Pages from the store; where only wishes are noted, an error says that they come later.
    fn fetch(&self, missing: &[u64]) -> io::Result<Vec<(u64, Bytes)>> {
        let is_noted = wishes::note(|wishes| {
            for n in missing {
                wishes.add_page(&self.object, *n);
            }
        });
        if is_noted {
            return Err(wishes::later());
        }

        let pages = self.remote.pages(&self.object, missing, None);
        Ok(self.remote.runtime.block_on(pages)?)
    }
}

impl RangeRead for BucketFile {
    fn len(&self) -> u64 {
        self.object.len
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let end = offset
            .checked_add(len as u64)
            .filter(|end| *end <= self.object.len);
        let end = end.ok_or_else(|| past_end(offset, len, self.object.len))?;
        if len == 0 {
            return Ok(Bytes::new());
        }

        // What would fill the cache goes past it; only verifying reads so much at once.
        if len > self.remote.cache.bytes_max() / 4 {
            let range = self.remote.range(&self.object.path, offset, end, None);
            return Ok(self.remote.runtime.block_on(range)?);
        }

        let first = offset / PAGE_BYTES;
        let pages = self.pages(first, (end - 1) / PAGE_BYTES)?;
        let skip = (offset - first * PAGE_BYTES) as usize;
        Ok(match pages.as_slice() {
            [page] => page.slice(skip..skip + len),
            pages => join(pages).slice(skip..skip + len),
        })
    }

    fn is_far(&self) -> bool {
        true
    }

    fn want(&self, range: Range<u64>) {
        let end = range.end.min(self.object.len);
        if range.start >= end {
            return;
        }

        wishes::note(|wishes| {
            for page in range.start / PAGE_BYTES..=(end - 1) / PAGE_BYTES {
                let id = self.object.id;
                if !wishes.has_page(id, page) && !self.remote.cache.has(&(id, page)) {
                    wishes.add_page(&self.object, page);
                }
            }
        });
    }
}

fn join(pages: &[Bytes]) -> Bytes {
    let mut joined = BytesMut::with_capacity(pages.len() * PAGE_BYTES as usize);
    pages.iter().for_each(|page| joined.extend_from_slice(page));
    joined.freeze()
}
