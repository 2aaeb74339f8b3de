//! Whether this replica has everything that its log and those of its peers can complete, how far a copy is, and whether
//! blocks are missing that a peer can give.
//!
//! That something is missing is kept on disk until it is repaired: a restart repairs nothing.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use trireme_replication::{CancelError, Progress, RebuildReason, may_cancel};

mod missing;

pub use missing::note_missing;
use missing::{Kept, Missing};

/// Shared by the log (which says it to peers), the block writer, queries and the admin API.
#[derive(Debug)]
pub struct Completeness {
    is_complete: AtomicBool,
    has_history: AtomicBool,
    lacks_blocks: AtomicBool,
    /// Blocks here may have less than those of peers: they are to be compared now.
    doubts_blocks: AtomicBool,
    missing: Mutex<Kept>,
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

/// Cuts until samples that came after one are in blocks: those of its own window and of the next.
const CUTS_BEHIND: i64 = 2;

impl Completeness {
    /// As a start finds it, with nothing missing, and without a file.
    pub fn new(is_complete: bool) -> Self {
        Self::with(is_complete, Kept::default())
    }

    /// As a start finds it. What is missing, and was missing before, is kept in the file at `note`.
    pub fn kept_at(note: &Path, is_complete: bool) -> std::io::Result<Self> {
        let kept = Kept::load(note)?;
        let this = Self::with(is_complete, kept);
        if this.missing.lock().what() == Missing::Blocks {
            this.doubts_blocks.store(true, Ordering::Release);
        }
        Ok(this)
    }

    fn with(is_complete: bool, missing: Kept) -> Self {
        Self {
            is_complete: AtomicBool::new(is_complete),
            has_history: AtomicBool::new(false),
            lacks_blocks: AtomicBool::new(false),
            doubts_blocks: AtomicBool::new(false),
            missing: Mutex::new(missing),
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
            && self.missing.lock().what() == Missing::Nothing
    }

    /// A record could not be applied, or not all of it. Its samples are missing until blocks of peers have them.
    pub fn note_unapplied(&self) {
        self.missing.lock().set(Missing::Records);
    }

    /// A cut was made.
    pub fn note_cut(&self, k: i64) {
        let mut missing = self.missing.lock();
        match missing.what() {
            Missing::Records => missing.set(Missing::UntilCut(k.saturating_add(CUTS_BEHIND))),
            Missing::UntilCut(last) if k >= last => {
                missing.set(Missing::Blocks);
                self.doubts_blocks.store(true, Ordering::Release);
            }
            Missing::Nothing | Missing::UntilCut(_) | Missing::Blocks => {}
        }
    }

    /// Blocks here may have less than those of peers; nothing here counts as whole until they were compared.
    pub fn doubt_blocks(&self) {
        let mut missing = self.missing.lock();
        if missing.what() == Missing::Nothing {
            missing.set(Missing::Blocks);
        }
        self.doubts_blocks.store(true, Ordering::Release);
    }

    /// True once after [`Completeness::doubt_blocks`], and once after a start that found that blocks were not compared.
    pub fn take_doubt(&self) -> bool {
        self.doubts_blocks.swap(false, Ordering::AcqRel)
    }

    /// Blocks were compared with those of all peers since [`Completeness::take_doubt`], and nothing that a peer has is
    /// missing.
    pub fn compared(&self) {
        let mut missing = self.missing.lock();
        if missing.what() == Missing::Blocks && !self.doubts_blocks.load(Ordering::Acquire) {
            missing.set(Missing::Nothing);
        }
    }

    /// What is known to be missing, as the file that keeps it says; empty if nothing is.
    pub fn lacks_text(&self) -> String {
        let kept = self.missing.lock().what();
        let lacks_blocks = self.lacks_blocks.load(Ordering::Acquire);
        let what = if kept == Missing::Nothing && lacks_blocks {
            Missing::Blocks
        } else {
            kept
        };

        what.text()
    }

    /// Makes what is known to be missing durable, if it is not: a checkpoint that covers a record which could not be applied
    /// must not outlive the knowledge of that.
    pub fn save(&self) -> std::io::Result<()> {
        self.missing.lock().save()
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
            *rebuild = RebuildState {
                reason,
                problem: String::new(),
            };
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
            assert!(
                !completeness.has_everything() && !completeness.take_doubt(),
                "{k}"
            );
            completeness.note_cut(k);
        }

        // Now the blocks are looked at.
        completeness.compared();
        assert!(!completeness.has_everything(), "that began before");
        assert!(completeness.take_doubt());

        completeness.compared();
        assert!(completeness.has_everything() && !completeness.take_doubt());
    }

    #[test]
    fn a_restart_repairs_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let note = dir.path().join("incomplete");
        let start = || Completeness::kept_at(&note, true).expect("readable");
        let completeness = start();
        assert!(completeness.has_everything());

        completeness.note_unapplied();
        for k in 8..11 {
            assert!(!start().has_everything() && !start().take_doubt(), "{k}");
            start().note_cut(k);
        }

        assert!(!start().has_everything());
        let completeness = start();
        assert!(
            completeness.take_doubt(),
            "blocks were not compared before the restart"
        );

        completeness.compared();
        assert!(completeness.has_everything() && start().has_everything() && !note.exists());

        completeness.doubt_blocks();
        assert!(!start().has_everything() && start().take_doubt());
        std::fs::write(&note, "of a later version").expect("writable");

        assert!(!start().has_everything());
    }

    #[test]
    fn what_cannot_be_noted_now_is_noted_before_a_checkpoint() {
        let dir = tempfile::tempdir().expect("a directory");
        let below = dir.path().join("not there yet");
        let note = below.join("incomplete");
        let completeness = Completeness::kept_at(&note, true).expect("readable");

        completeness.note_unapplied();
        assert!(!completeness.has_everything() && completeness.save().is_err());
        std::fs::create_dir(&below).expect("writable");
        completeness.save().expect("now it can be written");

        assert!(
            !Completeness::kept_at(&note, true)
                .expect("readable")
                .has_everything()
        );
    }
}
