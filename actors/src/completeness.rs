//! Whether this replica has everything that its log and those of its peers can complete, how far a copy is, and whether
//! blocks are missing that a peer can give.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use trireme_replication::Progress;

/// Shared by the log (which says it to peers), the block writer, queries and the admin API.
#[derive(Debug)]
pub struct Completeness {
    is_complete: AtomicBool,
    has_history: AtomicBool,
    lacks_blocks: AtomicBool,
    progress: Mutex<Progress>,
}

impl Completeness {
    /// As a start finds it.
    pub fn new(is_complete: bool) -> Self {
        Self {
            is_complete: AtomicBool::new(is_complete),
            has_history: AtomicBool::new(false),
            lacks_blocks: AtomicBool::new(false),
            progress: Mutex::default(),
        }
    }

    /// True if queries may be answered from here, and windows cut.
    pub fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Acquire)
    }

    /// Says whether it is.
    pub fn set_complete(&self, is_complete: bool) {
        self.is_complete.store(is_complete, Ordering::Release);
    }

    /// True if this node has what its log alone could not give to a new replica.
    pub fn has_history(&self) -> bool {
        self.has_history.load(Ordering::Acquire)
    }

    /// The log was trimmed, or a window cut.
    pub fn note_history(&self) {
        self.has_history.store(true, Ordering::Release);
    }

    /// True if every sample that this replica should have can be read here: nothing is being rebuilt, and no block is
    /// missing or damaged of which a peer is known to have a good copy.
    pub fn has_everything(&self) -> bool {
        self.is_complete() && !self.lacks_blocks.load(Ordering::Acquire)
    }

    /// Says whether a peer has blocks that are missing or damaged here.
    pub fn set_lacks_blocks(&self, lacks_blocks: bool) {
        self.lacks_blocks.store(lacks_blocks, Ordering::Release);
    }

    /// How far the copy from a peer is.
    pub fn progress(&self) -> Progress {
        self.progress.lock().clone()
    }

    /// Tells how far it is.
    pub fn set_progress(&self, progress: Progress) {
        *self.progress.lock() = progress;
    }

    /// How much of the copy is here, in thousandths.
    pub fn permille(&self) -> u32 {
        let progress = self.progress.lock();
        let total = progress.bytes_total.max(1);
        u32::try_from(progress.bytes.min(total).saturating_mul(1_000) / total).unwrap_or(1_000)
    }
}
