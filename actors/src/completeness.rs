//! Whether this replica has everything that its log and those of its peers can complete, and how far a copy is.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use trireme_replication::Progress;

/// Shared by the log (which says it to peers), the block writer, queries and the admin API.
#[derive(Debug)]
pub struct Completeness {
    is_complete: AtomicBool,
    has_history: AtomicBool,
    progress: Mutex<Progress>,
}

impl Completeness {
    /// As a start finds it.
    pub fn new(is_complete: bool) -> Self {
        Self {
            is_complete: AtomicBool::new(is_complete),
            has_history: AtomicBool::new(false),
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
