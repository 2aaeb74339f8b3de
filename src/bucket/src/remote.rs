//! Requests for pieces of objects: each piece once at a time, neighbours together, all within a bound.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, Shared, join_all};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use trireme_base::ErrorKind;
use trireme_block::BlockError;

use crate::BucketError;
use crate::cache::{FileId, PAGE_BYTES, PageCache};

/// Bytes of answers under way, of all queries together.
const ROOM_BYTES: usize = 64 << 20;
/// What a small request counts: it takes a connection too, so this bounds their number to four hundred.
const REQUEST_BYTES_MIN: usize = 160 << 10;
/// Bytes of answers under way for one tenant: half, so that another one is never behind all of them.
const SHARE_BYTES: usize = ROOM_BYTES / 2;
/// Permits of the semaphores are of so many bytes.
const PERMIT_BYTES: usize = 1 << 10;
/// Pages between two that are wanted which are fetched with them: a request costs more than they do.
const GAP_PAGES: u64 = 4;
/// Most pages of a request.
const RUN_PAGES: u64 = 128;

/// An object of a block.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) path: Path,
    pub(crate) id: FileId,
    pub(crate) len: u64,
}

/// Why pieces did not come; for everybody who waits for them.
#[derive(Clone, Debug)]
pub(crate) struct FetchError {
    kind: io::ErrorKind,
    text: Arc<str>,
}

impl FetchError {
    pub(crate) fn new(error: &io::Error) -> Self {
        Self {
            kind: error.kind(),
            text: error.to_string().into(),
        }
    }

    /// The same of an error that an index is read with.
    pub(crate) fn of(error: &BucketError) -> Self {
        if let BucketError::Block(BlockError::Io { source, .. }) = error {
            return Self::new(source);
        }

        let is_damage = error.kind() == ErrorKind::Corrupt;
        let kind = if is_damage {
            io::ErrorKind::InvalidData
        } else {
            io::ErrorKind::Other
        };

        Self {
            kind,
            text: error.to_string().into(),
        }
    }
}

impl From<FetchError> for io::Error {
    fn from(error: FetchError) -> Self {
        Self::new(error.kind, &*error.text)
    }
}

/// Pages by number.
type Pages = Arc<Vec<(u64, Bytes)>>;
/// A request under way.
type Flight = Shared<BoxFuture<'static, Result<Pages, FetchError>>>;

/// The store, and what is under way.
pub(crate) struct Remote {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) runtime: Handle,
    pub(crate) cache: Arc<PageCache>,
    timeout: Duration,
    room: Semaphore,
    shares: Mutex<HashMap<String, Weak<Semaphore>>>,
    flights: Mutex<HashMap<(FileId, u64), Flight>>,
}

impl Remote {
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        runtime: Handle,
        cache: Arc<PageCache>,
        timeout: Duration,
    ) -> Self {
        let room = Semaphore::new(ROOM_BYTES / PERMIT_BYTES);
        Self {
            store,
            runtime,
            cache,
            timeout,
            room,
            shares: Mutex::default(),
            flights: Mutex::default(),
        }
    }

    /// The share of a tenant.
    pub(crate) fn share(&self, tenant: &str) -> Arc<Semaphore> {
        let mut shares = self.shares.lock();
        if let Some(share) = shares.get(tenant).and_then(Weak::upgrade) {
            return share;
        }

        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(SHARE_BYTES / PERMIT_BYTES));
        shares.insert(tenant.to_owned(), Arc::downgrade(&share));

        share
    }

    /// Pages of an object, which also go into the cache.
    pub(crate) async fn pages(
        self: &Arc<Self>,
        object: &Arc<Object>,
        wanted: &[u64],
        share: Option<&Arc<Semaphore>>,
    ) -> Result<Vec<(u64, Bytes)>, FetchError> {
        let mut pages = Vec::with_capacity(wanted.len());
        for flight in join_all(self.flights(object, wanted, share)).await {
            pages.extend(flight?.iter().cloned());
        }
        Ok(pages)
    }

    /// Requests that bring the pages: those under way, and new ones.
    fn flights(
        self: &Arc<Self>,
        object: &Arc<Object>,
        wanted: &[u64],
        share: Option<&Arc<Semaphore>>,
    ) -> Vec<Flight> {
        let mut known = self.flights.lock();
        let mut flights = Vec::new();

        let mut fresh = Vec::new();
        for page in wanted {
            match known.get(&(object.id, *page)) {
                Some(flight) => flights.push(flight.clone()),
                None => fresh.push(*page),
            }
        }

        for run in runs(&fresh) {
            let request = Arc::clone(self).fly(Arc::clone(object), run.to_vec(), share.cloned());
            let flight = request.boxed().shared();
            known.extend(run.iter().map(|page| ((object.id, *page), flight.clone())));
            // It goes on without whoever asked for it: others may have come to wait for it.
            self.runtime.spawn(flight.clone());
            flights.push(flight);
        }

        flights
    }

    async fn fly(
        self: Arc<Self>,
        object: Arc<Object>,
        pages: Vec<u64>,
        share: Option<Arc<Semaphore>>,
    ) -> Result<Pages, FetchError> {
        let fetched = self.request(&object, &pages, share.as_deref()).await;
        if let Ok(fetched) = &fetched {
            fetched
                .iter()
                .for_each(|(number, page)| self.cache.put((object.id, *number), page.clone()));
        }

        let mut known = self.flights.lock();
        pages
            .iter()
            .for_each(|page| drop(known.remove(&(object.id, *page))));

        fetched
    }

    async fn request(
        &self,
        object: &Object,
        pages: &[u64],
        share: Option<&Semaphore>,
    ) -> Result<Pages, FetchError> {
        let (Some(first), Some(last)) = (pages.first(), pages.last()) else {
            return Ok(Pages::default());
        };

        let start = first * PAGE_BYTES;
        let bytes = self
            .range(
                &object.path,
                start,
                ((last + 1) * PAGE_BYTES).min(object.len),
                share,
            )
            .await?;

        let pages = pages.iter().map(|number| {
            let begin = (number * PAGE_BYTES - start) as usize;
            let end = (begin + PAGE_BYTES as usize).min(bytes.len());
            // A copy, so that a page does not keep its neighbours alive.
            let is_all = begin == 0 && end == bytes.len();
            let page = if is_all {
                bytes.clone()
            } else {
                Bytes::copy_from_slice(&bytes[begin..end])
            };
            (*number, page)
        });

        Ok(Arc::new(pages.collect()))
    }

    /// One ranged request, as soon as there is room for its answer.
    pub(crate) async fn range(
        &self,
        path: &Path,
        start: u64,
        end: u64,
        share: Option<&Semaphore>,
    ) -> Result<Bytes, FetchError> {
        let bytes = usize::try_from(end - start).unwrap_or(usize::MAX);
        let permits = (bytes.clamp(REQUEST_BYTES_MIN, SHARE_BYTES) / PERMIT_BYTES) as u32;
        let _share = match share {
            Some(share) => Some(share.acquire_many(permits).await),
            None => None,
        };
        let _room = self.room.acquire_many(permits).await;
        let answer =
            tokio::time::timeout(self.timeout, self.store.get_range(path, start..end)).await;
        let answer = answer
            .map_err(|_| {
                let text = format!("no answer within {:?}", self.timeout);
                io::Error::new(io::ErrorKind::TimedOut, text)
            })
            .and_then(|answer| answer.map_err(io::Error::from));

        let answer = answer.map_err(|error| FetchError::new(&error))?;
        check_length(&answer, start..end)?;
        Ok(answer)
    }
}

fn check_length(answer: &Bytes, asked: Range<u64>) -> Result<(), FetchError> {
    if answer.len() as u64 == asked.end - asked.start {
        return Ok(());
    }

    let text = format!(
        "{} bytes came for {}..{}",
        answer.len(),
        asked.start,
        asked.end
    );
    Err(FetchError::new(&io::Error::new(
        io::ErrorKind::UnexpectedEof,
        text,
    )))
}

/// Divides ascending page numbers into runs that are fetched with one request each.
fn runs(pages: &[u64]) -> Vec<&[u64]> {
    let mut runs = Vec::new();

    let mut begin = 0;
    for at in 1..=pages.len() {
        let goes_on = at < pages.len()
            && pages[at] - pages[at - 1] <= GAP_PAGES + 1
            && pages[at] - pages[begin] < RUN_PAGES;
        if !goes_on && begin < at {
            runs.push(&pages[begin..at]);
            begin = at;
        }
    }

    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_lie_near_each_other_are_one_request() {
        assert_eq!(runs(&[]), Vec::<&[u64]>::new());
        assert_eq!(runs(&[3]), [&[3]]);
        assert_eq!(runs(&[1, 2, 7, 13, 14]), [&[1, 2, 7][..], &[13, 14]]);

        let many: Vec<u64> = (0..300).collect();
        assert_eq!(
            runs(&many).iter().map(|run| run.len()).collect::<Vec<_>>(),
            [128, 128, 44]
        );
    }
}
