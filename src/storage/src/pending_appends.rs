//! What the head of a shard has and the log has not.
//!
//! A batch is in the head before it is in the log. If the log then refuses it, because its disk or its queue is full, this
//! replica has samples that no other one hears of, and a block with them would differ from the others' blocks. So drafts
//! are kept until they are written, and what was refused is logged later, in the old order, before anything newer of the
//! shard. A checkpoint must not keep what the log has not: after a power cut this replica alone would have it, for good.

use std::collections::VecDeque;

use parking_lot::{Mutex, MutexGuard};
use trireme_log::CompletionTag;
use trireme_wire::record::RecordDraft;

struct Entry {
    /// How many appends of the shard were made before.
    number: u64,
    tag: CompletionTag,
    drafts: Vec<RecordDraft>,
    /// In the log's queue; false once it was refused.
    is_queued: bool,
}

/// Drafts of one shard on their way to the log, oldest first. Bounded by the log's queue: while something was refused,
/// the shard takes nothing new.
#[derive(Default)]
pub struct PendingAppends {
    entries: Mutex<Entries>,
    /// Held while a batch is in the head and not here yet.
    turn: Mutex<()>,
}

#[derive(Default)]
struct Entries {
    waiting: VecDeque<Entry>,
    /// Appends that were made.
    made: u64,
}

impl PendingAppends {
    /// To be held from before a change of the head until its drafts were pushed.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock()
    }

    /// The drafts of an append that is about to be made.
    pub(crate) fn push(&self, tag: CompletionTag, drafts: Vec<RecordDraft>) {
        let mut entries = self.entries.lock();
        let number = entries.made;
        entries.made += 1;
        entries.waiting.push_back(Entry {
            number,
            tag,
            drafts,
            is_queued: true,
        });
    }

    /// Appends up to now: everything that is in the head was in one of these.
    pub(crate) fn made(&self) -> u64 {
        let _turn = self.turn();
        self.entries.lock().made
    }

    /// True if the first `made` appends are written.
    pub(crate) fn are_written(&self, made: u64) -> bool {
        self.entries
            .lock()
            .waiting
            .front()
            .is_none_or(|oldest| oldest.number >= made)
    }

    /// The log has not taken the append.
    pub(crate) fn refused(&self, tag: CompletionTag) {
        let mut entries = self.entries.lock();
        entries
            .waiting
            .iter_mut()
            .filter(|entry| entry.tag == tag)
            .for_each(|entry| entry.is_queued = false);
    }

    /// The log will write nothing of what it has been given so far.
    pub(crate) fn refused_all(&self) {
        self.entries
            .lock()
            .waiting
            .iter_mut()
            .for_each(|entry| entry.is_queued = false);
    }

    /// The append was written, and with it everything that was queued before it. What was refused has an old tag until it is
    /// tried again: it is not in the log.
    pub(crate) fn written(&self, tag: CompletionTag) {
        let waiting = &mut self.entries.lock().waiting;
        while waiting
            .front()
            .is_some_and(|entry| entry.is_queued && entry.tag <= tag)
        {
            waiting.pop_front();
        }
    }

    /// The oldest append that was refused, which is tried again as `tag`.
    pub(crate) fn take_refused(&self, tag: CompletionTag) -> Option<Vec<RecordDraft>> {
        let mut entries = self.entries.lock();
        let entry = entries.waiting.iter_mut().find(|entry| !entry.is_queued)?;
        entry.tag = tag;
        entry.is_queued = true;
        Some(entry.drafts.clone())
    }

    /// Something was refused and not tried again yet.
    pub(crate) fn has_refused(&self) -> bool {
        self.entries
            .lock()
            .waiting
            .iter()
            .any(|entry| !entry.is_queued)
    }

    /// Appends that are not written yet.
    pub fn len(&self) -> usize {
        self.entries.lock().waiting.len()
    }

    /// True if everything is written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_not_written_before_it_was_tried_again() {
        let pending = PendingAppends::default();
        let tag = |n| CompletionTag(n);
        pending.push(tag(1), Vec::new());
        pending.push(tag(2), Vec::new());

        let made = pending.made();
        pending.written(tag(1));
        pending.refused(tag(2));

        assert!(pending.has_refused() && !pending.are_written(made));
        assert!(pending.take_refused(tag(5)).is_some());
        assert!(
            !pending.has_refused() && !pending.are_written(made),
            "it is in the queue only"
        );

        pending.push(tag(6), Vec::new());
        pending.written(tag(5));
        assert!(pending.are_written(made), "what came later does not count");
        assert!(!pending.are_written(pending.made()));
    }

    #[test]
    fn what_was_refused_is_kept_when_what_stood_before_it_is_written_under_a_newer_tag() {
        let pending = PendingAppends::default();
        let tag = |n| CompletionTag(n);
        pending.push(tag(1), Vec::new());
        pending.push(tag(2), Vec::new());

        let made = pending.made();
        pending.refused_all();

        // The log may write the first again before the second is queued again.
        assert!(pending.take_refused(tag(3)).is_some());
        pending.written(tag(3));

        assert!(pending.has_refused() && !pending.are_written(made));

        assert!(pending.take_refused(tag(4)).is_some());
        pending.written(tag(4));
        assert!(pending.is_empty() && pending.are_written(made));
    }
}
