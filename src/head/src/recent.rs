//! What came after a moment, so that a query can leave it out.
//!
//! A query reads one series after the other while writes go on. So that it sees each request of a shard whole or not at all,
//! and all its selectors the same ones, it holds a [`Moment`]: a number of samples that had been stored when it began. While
//! there are moments, every new sample is noted, in the order of storing, and leads to the note before it of its bucket; a
//! reader follows these backwards from the newest to its moment. Without moments nothing is noted.
//!
//! A note says which time is new. Of a sample that repeats or replaces one nothing is noted, and neither of one that may do
//! so without its bucket knowing: those show at once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::Shard;
use crate::bucket::{BucketId, Placed};

/// Notes of earlier changes that are kept in a shard: 8 MiB. A reader whose moment lies further back goes on at a later one.
const NOTES_MAX: usize = 1 << 19;
/// Notes of one change; beyond them none are made, and what they would be of shows at once.
const NOTES_OF_CHANGE_MAX: usize = 1 << 19;
/// Room for notes that stays when there are none.
const NOTES_KEPT: usize = 1 << 12;

struct Note {
    t: i64,
    slot: u32,
    /// Number of the note before it of the same bucket, as far as it fits.
    before: u32,
}

/// The samples that were stored last.
#[derive(Default)]
pub(crate) struct Recent {
    notes: VecDeque<Note>,
    /// Number of the first one.
    first: u64,
    /// The present change makes no note of this number or a later one.
    full_at: u64,
    is_on: bool,
}

impl Recent {
    /// Begins a change. `oldest` is the oldest moment that somebody reads at.
    pub fn begin(&mut self, oldest: Option<u64>) {
        let end = self.end();
        let needed = oldest
            .filter(|_| self.notes.len() <= NOTES_MAX)
            .unwrap_or(end)
            .clamp(self.first, end);

        self.notes.drain(..(needed - self.first) as usize);
        self.first = needed;

        if self.notes.is_empty() && self.notes.capacity() > NOTES_KEPT {
            self.notes = VecDeque::new();
        }

        self.is_on = oldest.is_some();
        self.full_at = end + NOTES_OF_CHANGE_MAX as u64;
    }

    /// Notes a sample that came to bucket `id`, whose last note is `noted`, of the series at `slot`.
    #[inline]
    pub fn note(&mut self, placed: Placed, id: BucketId, slot: u32, t: i64, noted: &mut u32) {
        // A late one may repeat one of another cut.
        if self.is_on && placed == Placed::New && id.cut == id.window {
            self.push(slot, t, noted);
        }
    }

    fn push(&mut self, slot: u32, t: i64, noted: &mut u32) {
        let number = self.end();
        if number < self.full_at {
            self.notes.push_back(Note {
                t,
                slot,
                before: *noted,
            });
            *noted = number as u32;
        }
    }

    /// Number of the next note.
    pub fn end(&self) -> u64 {
        self.first + self.notes.len() as u64
    }

    /// Adds the times that came to a bucket after `moment`.
    pub fn since(&self, moment: u64, slot: u32, noted: u32, out: &mut Vec<i64>) {
        let oldest = moment.saturating_sub(self.first) as usize;
        let mut noted = noted;
        let mut below = self.notes.len();

        // Numbers wrap, so one of long ago may seem to be here: it is of another series, or not before the one it is before.
        loop {
            let at = noted.wrapping_sub(self.first as u32) as usize;
            if at >= below || at < oldest {
                return;
            }
            let note = &self.notes[at];
            if note.slot != slot {
                return;
            }
            out.push(note.t);
            (noted, below) = (note.before, at);
        }
    }
}

/// The moments that somebody reads at.
#[derive(Default)]
pub(crate) struct Moments {
    /// Readers by moment.
    readers: Mutex<BTreeMap<u64, usize>>,
    /// Of all moments.
    count: AtomicUsize,
}

impl Moments {
    /// The oldest one.
    pub fn oldest(&self) -> Option<u64> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.readers
            .lock()
            .first_key_value()
            .map(|(number, _)| *number)
    }
}

/// A state of a shard between two requests, to read at. It costs the writer a little for as long as it is held.
pub struct Moment {
    shard: Arc<Shard>,
    number: u64,
}

impl Shard {
    /// The present state, for reading all of a query at it.
    ///
    /// What a cut moves to a block meanwhile is read there as it stands, and of a shard that takes half a million samples
    /// while a moment is held a later state is seen.
    pub fn moment(self: &Arc<Self>) -> Moment {
        // No change is under way while the lock is held, and the next one sees the count.
        let state = self.state.read();
        let number = state.recent.end();

        *self.moments.readers.lock().entry(number).or_default() += 1;
        self.moments.count.fetch_add(1, Ordering::AcqRel);
        drop(state);

        Moment {
            shard: Arc::clone(self),
            number,
        }
    }
}

impl Moment {
    /// Samples of which it is the state.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// True if it is one of this shard.
    pub(crate) fn is_of(&self, shard: &Arc<Shard>) -> bool {
        Arc::ptr_eq(&self.shard, shard)
    }
}

impl Drop for Moment {
    fn drop(&mut self) {
        let moments = &self.shard.moments;

        let mut readers = moments.readers.lock();
        if let Some(count) = readers.get_mut(&self.number) {
            *count -= 1;
            if *count == 0 {
                readers.remove(&self.number);
            }
        }

        moments.count.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: BucketId = BucketId { window: 1, cut: 1 };

    fn since(recent: &Recent, moment: u64, slot: u32, noted: u32) -> Vec<i64> {
        let mut out = Vec::new();
        recent.since(moment, slot, noted, &mut out);
        out
    }

    #[test]
    fn times_since_a_moment_are_those_of_the_bucket_behind_it() {
        let mut recent = Recent::default();
        let mut a = 0;
        let mut b = 0;

        recent.begin(None);
        recent.note(Placed::New, ID, 1, 10, &mut a);
        assert_eq!((recent.end(), a), (0, 0), "nobody reads");
        recent.begin(Some(0));
        recent.push(1, 20, &mut a);
        recent.push(2, 20, &mut b);

        let moment = recent.end();
        recent.begin(Some(0));
        recent.push(1, 30, &mut a);
        recent.push(1, 40, &mut a);
        assert_eq!(since(&recent, 0, 1, a), [40, 30, 20]);
        assert_eq!(since(&recent, moment, 1, a), [40, 30]);
        assert_eq!(since(&recent, moment, 2, b), [0; 0]);
        recent.begin(Some(moment));
        assert_eq!(since(&recent, moment, 1, a), [40, 30]);
        recent.begin(None);
        assert_eq!(since(&recent, moment, 1, a), [0; 0]);
        assert_eq!(recent.end(), 4, "moments go on");
    }

    #[test]
    fn notes_are_bounded_and_go_as_whole_changes() {
        let mut recent = Recent::default();
        let mut noted = 0;
        recent.begin(Some(0));

        for t in 0..2 * NOTES_OF_CHANGE_MAX as i64 {
            recent.push(7, t, &mut noted);
        }

        assert_eq!(recent.notes.len(), NOTES_OF_CHANGE_MAX);
        recent.begin(Some(0));
        recent.push(7, -1, &mut noted);
        recent.begin(Some(0));
        assert_eq!(recent.notes.len(), 0);
        assert_eq!(since(&recent, 0, 7, noted), [0; 0]);
    }

    #[test]
    fn numbers_that_wrap_lead_nowhere_else() {
        let mut recent = Recent {
            first: u64::from(u32::MAX),
            ..Recent::default()
        };
        let mut a = 0;
        let mut b = 5;

        recent.begin(Some(u64::from(u32::MAX)));
        recent.push(1, 10, &mut a);
        recent.push(1, 20, &mut a);
        recent.push(2, 30, &mut b);
        assert_eq!(since(&recent, 0, 1, a), [20, 10]);
        assert_eq!(since(&recent, 0, 2, b), [30]);
        assert_eq!(
            since(&recent, 0, 2, 0),
            [0; 0],
            "a number of long ago, now of another series"
        );
    }
}
