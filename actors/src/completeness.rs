//! Whether this replica has everything that its log and those of its peers can complete, how far a copy is, and whether
//! blocks are missing that a peer can give.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use trireme_replication::{CancelError, Progress, RebuildReason, may_cancel};

/// Shared by the log (which says it to peers), the block writer, queries and the admin API.
#[derive(Debug)]
pub struct Completeness {
    is_complete: AtomicBool,
    has_history: AtomicBool,
    lacks_blocks: AtomicBool,
    /// Blocks here may have less than those of peers: they are to be compared now.
    doubts_blocks: AtomicBool,
    unapplied: Mutex<Unapplied>,
    progress: Mutex<Progress>,
    rebuild: Mutex<RebuildState>,
    cancel_asked: AtomicBool,
}

/// What is known of a rebuild beside its progress.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RebuildState {
    /// Why one is needed, while one is.
    pub reason: Option<RebuildReason>,
    /// What went wrong last, for people; empty if nothing did.
    pub problem: String,
}

/// Whether there are records of which something could not be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unapplied {
    Nothing,
    /// Since the last cut.
    Something,
    /// What is missing is in blocks of peers when this cut is made.
    UntilCut(i64),
}

/// Cuts until samples that came after one are in blocks: those of its own window and of the next.
const CUTS_BEHIND: i64 = 2;

impl Completeness {
    /// As a start finds it.
    pub fn new(is_complete: bool) -> Self {
        Self {
            is_complete: AtomicBool::new(is_complete),
            has_history: AtomicBool::new(false),
            lacks_blocks: AtomicBool::new(false),
            doubts_blocks: AtomicBool::new(false),
            unapplied: Mutex::new(Unapplied::Nothing),
            progress: Mutex::default(),
            rebuild: Mutex::default(),
            cancel_asked: AtomicBool::new(false),
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

    /// True if every sample that this replica should have can be read here: nothing is being rebuilt, no block is
    /// missing or damaged of which a peer is known to have a good copy, and every record could be applied.
    pub fn has_everything(&self) -> bool {
        self.is_complete()
            && !self.lacks_blocks.load(Ordering::Acquire)
            && *self.unapplied.lock() == Unapplied::Nothing
    }

    /// A record could not be applied, or not all of it. Its samples are missing until blocks of peers have them.
    pub fn note_unapplied(&self) {
        *self.unapplied.lock() = Unapplied::Something;
    }

    /// A cut was made.
    pub fn note_cut(&self, k: i64) {
        let mut unapplied = self.unapplied.lock();
        match *unapplied {
            Unapplied::Nothing => {}
            Unapplied::Something => *unapplied = Unapplied::UntilCut(k.saturating_add(CUTS_BEHIND)),
            Unapplied::UntilCut(last) if k >= last => {
                self.doubt_blocks();
                *unapplied = Unapplied::Nothing;
            }
            Unapplied::UntilCut(_) => {}
        }
    }

    /// Blocks here may have less than those of peers; nothing here counts as whole until they were compared.
    pub fn doubt_blocks(&self) {
        self.set_lacks_blocks(true);
        self.doubts_blocks.store(true, Ordering::Release);
    }

    /// True once after [`Completeness::doubt_blocks`].
    pub fn take_doubt(&self) -> bool {
        self.doubts_blocks.swap(false, Ordering::AcqRel)
    }

    /// Says whether a peer has blocks that are missing or damaged here.
    pub fn set_lacks_blocks(&self, lacks_blocks: bool) {
        self.lacks_blocks.store(lacks_blocks, Ordering::Release);
    }

    /// Why a rebuild is needed, if one is, and what went wrong with it.
    pub fn rebuild(&self) -> RebuildState {
        self.rebuild.lock().clone()
    }

    /// True if a rebuild is needed for no other reason than that the logs of the peers are trimmed.
    pub fn is_left_behind(&self) -> bool {
        self.rebuild.lock().reason == Some(RebuildReason::LeftBehind)
    }

    /// Tells why a rebuild is needed, if one is. With it ends what went wrong before.
    pub fn set_reason(&self, reason: Option<RebuildReason>) {
        let mut rebuild = self.rebuild.lock();
        if rebuild.reason != reason {
            *rebuild = RebuildState { reason, problem: String::new() };
        }
    }

    /// Tells what went wrong with a rebuild.
    pub fn set_problem(&self, problem: String) {
        self.rebuild.lock().problem = problem;
    }

    /// Asks to go on without a rebuild; it happens at the next step of the copy.
    pub fn ask_cancel(&self) -> Result<(), CancelError> {
        may_cancel(self.rebuild.lock().reason)?;
        self.cancel_asked.store(true, Ordering::Release);
        Ok(())
    }

    /// True once after each [`Completeness::ask_cancel`].
    pub fn take_cancel(&self) -> bool {
        self.cancel_asked.swap(false, Ordering::AcqRel)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_applied_is_missing_until_blocks_that_have_it_were_compared() {
        let completeness = Completeness::new(true);
        completeness.note_cut(7);
        assert!(completeness.has_everything());
        completeness.note_unapplied();
        for k in 8..11 {
            assert!(!completeness.has_everything() && !completeness.take_doubt(), "{k}");
            completeness.note_cut(k);
        }
        // Now the blocks are looked at.
        assert!(!completeness.has_everything() && completeness.take_doubt());
        completeness.set_lacks_blocks(false);
        assert!(completeness.has_everything() && !completeness.take_doubt());
    }
}
