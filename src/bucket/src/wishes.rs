//! What a piece of work lacks to be done without waiting.
//!
//! Code that reads a block is plain and waits for what it reads. Over many blocks that would be one request at a time. So it
//! is tried first: within [`attempt`] a read of something that is not in memory is noted and fails at once. When all blocks
//! were tried, all that they lack is fetched side by side, and those that lacked something are tried again. The notes are
//! kept by thread, because between the one who tries and the one who reads lies code that knows nothing of this.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use trireme_block::BlockMeta;

use crate::cache::{FileId, PAGE_BYTES};
use crate::remote::Object;

/// Things to fetch.
#[derive(Default)]
pub struct Wishes {
    pub(crate) pages: HashMap<FileId, (Arc<Object>, BTreeSet<u64>)>,
    /// A block that cannot be opened without a request.
    pub(crate) block: Option<BlockMeta>,
    count: usize,
}

impl Wishes {
    /// True if nothing is lacking.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn has_page(&self, id: FileId, page: u64) -> bool {
        self.pages
            .get(&id)
            .is_some_and(|(_, pages)| pages.contains(&page))
    }

    pub(crate) fn add_page(&mut self, object: &Arc<Object>, page: u64) {
        let (_, pages) = self
            .pages
            .entry(object.id)
            .or_insert_with(|| (Arc::clone(object), BTreeSet::new()));
        self.count += usize::from(pages.insert(page));
    }

    pub(crate) fn add_block(&mut self, meta: &BlockMeta) {
        self.block = Some(meta.clone());
        self.count += 1;
    }
}

thread_local! {
    static WISHES: RefCell<Option<Wishes>> = const { RefCell::new(None) };
}

/// Gives back what was noted before, also if the work panics.
struct Restore(Option<Wishes>);

impl Drop for Restore {
    fn drop(&mut self) {
        WISHES.set(self.0.take());
    }
}

/// Runs `job`, in which reads of what is not in memory fail; gives what they lacked.
pub fn attempt<T>(job: impl FnOnce() -> T) -> (T, Wishes) {
    let restore = Restore(WISHES.replace(Some(Wishes::default())));
    let result = job();
    let wishes = WISHES.take().unwrap_or_default();
    drop(restore);
    (result, wishes)
}

/// Bytes that the attempt of this thread lacks so far.
pub fn lacking_bytes() -> u64 {
    WISHES.with_borrow(|wishes| {
        wishes
            .as_ref()
            .map_or(0, |wishes| wishes.count as u64 * PAGE_BYTES)
    })
}

/// Notes something within [`attempt`]; false outside of it.
pub(crate) fn note(note: impl FnOnce(&mut Wishes)) -> bool {
    WISHES.with_borrow_mut(|wishes| match wishes {
        Some(wishes) => {
            note(wishes);
            true
        }
        None => false,
    })
}

/// What a read says that was noted.
pub(crate) fn later() -> io::Error {
    io::Error::new(io::ErrorKind::WouldBlock, "is not in memory")
}
