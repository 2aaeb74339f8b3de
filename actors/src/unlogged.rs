//! What the head of a shard has and the log has not.
//!
//! A batch is in the head before it is in the log. If the log then refuses it, because its disk or its queue is full, this
//! replica has samples that no other one hears of, and a block with them would differ from the others' blocks. So drafts
//! are kept until they are written, and what was refused is logged later, in the old order, before anything newer of the
//! shard.

use std::collections::VecDeque;

use parking_lot::Mutex;
use trireme_log::CompletionTag;
use trireme_wire::record::RecordDraft;

struct Entry {
    tag: CompletionTag,
    drafts: Vec<RecordDraft>,
    /// In the log's queue; false once it was refused.
    is_queued: bool,
}

/// Drafts of one shard on their way to the log, oldest first. Bounded by the log's queue: while something was refused,
/// the shard takes nothing new.
#[derive(Default)]
pub struct Unlogged(Mutex<VecDeque<Entry>>);

impl Unlogged {
    /// The drafts of an append that is about to be made.
    pub(crate) fn push(&self, tag: CompletionTag, drafts: Vec<RecordDraft>) {
        self.0.lock().push_back(Entry { tag, drafts, is_queued: true });
    }

    /// The log has not taken the append.
    pub(crate) fn refused(&self, tag: CompletionTag) {
        self.0.lock().iter_mut().filter(|entry| entry.tag == tag).for_each(|entry| entry.is_queued = false);
    }

    /// The log will write nothing of what it has been given so far.
    pub(crate) fn refused_all(&self) {
        self.0.lock().iter_mut().for_each(|entry| entry.is_queued = false);
    }

    /// The append was written, and with it everything before it.
    pub(crate) fn written(&self, tag: CompletionTag) {
        let mut entries = self.0.lock();
        while entries.front().is_some_and(|entry| entry.tag <= tag) {
            entries.pop_front();
        }
    }

    /// The oldest append that was refused, which is tried again as `tag`.
    pub(crate) fn again(&self, tag: CompletionTag) -> Option<Vec<RecordDraft>> {
        let mut entries = self.0.lock();
        let entry = entries.iter_mut().find(|entry| !entry.is_queued)?;
        entry.tag = tag;
        entry.is_queued = true;
        Some(entry.drafts.clone())
    }

    /// Something was refused and not tried again yet.
    pub(crate) fn has_refused(&self) -> bool {
        self.0.lock().iter().any(|entry| !entry.is_queued)
    }

    /// Appends that are not written yet.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// True if everything is written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
