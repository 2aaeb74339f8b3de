//! How far each stream has been applied to the head.
//!
//! Records of one stream go to different shards, which finish them in any order. A stream is applied up to the last seq
//! before the first unfinished one.

use std::collections::{HashMap, VecDeque};

use trireme_base::{Ended, StreamId};
use trireme_replication::ALL;

/// Seqs handed to shards and not yet known to be applied, per stream.
#[derive(Debug, Default)]
pub struct ApplyTracker {
    streams: HashMap<StreamId, Pending>,
    /// While a replay runs: what the checkpoints have of each stream that it reads.
    replaying: HashMap<StreamId, u64>,
    /// Everything of these is applied.
    ended: Ended,
}

#[derive(Debug, Default)]
struct Pending {
    /// Everything up to here is applied.
    applied: u64,
    /// For `applied + 1`, `applied + 2`, ...: how many shards still work on it.
    shards_left: VecDeque<u16>,
}

impl Pending {
    /// Moves behind records that no shard works on any more; true if there were some.
    fn move_on(&mut self) -> bool {
        let before = self.applied;
        while self.shards_left.front() == Some(&0) {
            self.shards_left.pop_front();
            self.applied += 1;
        }
        self.applied > before
    }
}

impl ApplyTracker {
    /// Streams have ended: everything of them is applied, and nothing is kept.
    pub fn end(&mut self, ended: &Ended) {
        self.ended.merge(ended);
        self.streams.retain(|stream, _| !ended.has(*stream));
        self.replaying.retain(|stream, _| !ended.has(*stream));
    }

    /// The stream is applied up to `seq`, as a recovery found it.
    pub fn recovered(&mut self, stream: StreamId, seq: u64) {
        if self.ended.has(stream) {
            return;
        }

        let pending = self.streams.entry(stream).or_default();
        // What was handed out meanwhile and lies before is known to be applied, too.
        let known = usize::try_from(seq.saturating_sub(pending.applied)).unwrap_or(usize::MAX);

        pending
            .shards_left
            .drain(..known.min(pending.shards_left.len()));
        pending.applied = pending.applied.max(seq);
        pending.move_on();
    }

    /// A replay begins that reads these streams behind these seqs: until [`ApplyTracker::replayed`] they count as applied
    /// up to there, whatever comes behind.
    pub fn replaying(&mut self, from: impl IntoIterator<Item = (StreamId, u64)>) {
        self.replaying.extend(from);
    }

    /// The replay has applied these streams up to these seqs.
    pub fn replayed(&mut self, to: impl IntoIterator<Item = (StreamId, u64)>) {
        self.replaying.clear();
        to.into_iter()
            .for_each(|(stream, seq)| self.recovered(stream, seq));
    }

    /// The record `seq` is to be handed to `shards` shards; false if it need not be, because it was applied before: the log
    /// had lost it to damage and has got it again. Seqs of a stream come in order. One for no shard at all counts as applied
    /// in its turn.
    pub fn dispatched(&mut self, stream: StreamId, seq: u64, shards: u16) -> bool {
        let pending = self.streams.entry(stream).or_default();
        if seq <= pending.applied {
            return false;
        }

        if pending.shards_left.is_empty() {
            // After a hole that a recovery skipped, the stream goes on behind it.
            pending.applied = pending.applied.max(seq - 1);
        }

        pending.shards_left.push_back(shards);
        pending.move_on();
        true
    }

    /// A shard has applied `seq`. Answers the stream's new position if it moved.
    pub fn applied(&mut self, stream: StreamId, seq: u64) -> Option<u64> {
        let pending = self.streams.get_mut(&stream)?;
        let at = usize::try_from(seq.checked_sub(pending.applied + 1)?).ok()?;
        let left = pending.shards_left.get_mut(at)?;
        *left = left.saturating_sub(1);
        pending.move_on().then_some(pending.applied)
    }

    /// How far a stream is applied; [`ALL`] if it has ended.
    pub fn position(&self, stream: StreamId) -> u64 {
        self.replaying.get(&stream).copied().unwrap_or_else(|| {
            self.streams.get(&stream).map_or_else(
                || if self.ended.has(stream) { ALL } else { 0 },
                |p| p.applied,
            )
        })
    }

    /// All streams' positions.
    pub fn positions(&self) -> Vec<(StreamId, u64)> {
        let known = self.streams.keys().chain(
            self.replaying
                .keys()
                .filter(|s| !self.streams.contains_key(s)),
        );
        known
            .map(|stream| (*stream, self.position(*stream)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use trireme_base::{Boot, Incarnation};

    use super::*;

    #[test]
    fn moves_only_behind_finished_records() {
        let stream = StreamId {
            incarnation: Incarnation(1),
            boot: Boot(1),
        };
        let mut tracker = ApplyTracker::default();

        tracker.recovered(stream, 4);
        for (seq, shards) in [(5, 1), (6, 2), (7, 1)] {
            tracker.dispatched(stream, seq, shards);
        }

        assert_eq!(tracker.applied(stream, 7), None);
        assert_eq!(tracker.applied(stream, 6), None);
        assert_eq!(tracker.applied(stream, 5), Some(5));
        assert_eq!(tracker.applied(stream, 6), Some(7));
        assert_eq!(tracker.applied(stream, 6), None, "a repetition is no news");
        assert_eq!(tracker.position(stream), 7);

        // Eight is for a shard that does not exist; what comes after it is counted at its own place.
        assert!(tracker.dispatched(stream, 8, 0));
        assert_eq!(tracker.position(stream), 8);

        for (seq, shards) in [(9, 1), (10, 0), (11, 1)] {
            tracker.dispatched(stream, seq, shards);
        }

        assert_eq!(tracker.applied(stream, 11), None);
        assert_eq!(tracker.applied(stream, 9), Some(11));

        // Also where a recovery says how far it is.
        for (seq, shards) in [(12, 1), (13, 0)] {
            tracker.dispatched(stream, seq, shards);
        }

        tracker.recovered(stream, 12);
        assert_eq!(tracker.position(stream), 13);
    }

    #[test]
    fn of_a_stream_that_has_ended_everything_is_applied() {
        let stream = |boot| StreamId {
            incarnation: Incarnation(1),
            boot: Boot(boot),
        };
        let mut tracker = ApplyTracker::default();

        (1..=3).for_each(|boot| tracker.recovered(stream(boot), 4));
        tracker.end(&[(Incarnation(1), Boot(3))].into_iter().collect());
        assert_eq!(tracker.positions(), [(stream(3), 4)]);
        assert_eq!(
            (tracker.position(stream(2)), tracker.position(stream(4))),
            (ALL, 0)
        );
        tracker.recovered(stream(2), 4);
        assert_eq!(
            tracker.positions().len(),
            1,
            "an older checkpoint brings nothing back"
        );
    }

    #[test]
    fn what_was_applied_before_it_came_again_is_not_waited_for() {
        let stream = StreamId {
            incarnation: Incarnation(1),
            boot: Boot(1),
        };
        let mut tracker = ApplyTracker::default();

        tracker.replaying([(stream, 0)]);
        for seq in 1..=5 {
            assert!(tracker.dispatched(stream, seq, 1), "not known yet");
        }

        // The replay found a copy that the log's positions do not count.
        tracker.replayed([(stream, 7)]);
        assert!(!tracker.dispatched(stream, 6, 1) && !tracker.dispatched(stream, 7, 1));
        assert!(tracker.dispatched(stream, 8, 2) && tracker.dispatched(stream, 9, 1));

        assert_eq!(tracker.applied(stream, 3), None);
        assert_eq!(tracker.applied(stream, 8), None, "one of two shards");
        assert_eq!(tracker.applied(stream, 9), None);
        assert_eq!(tracker.applied(stream, 8), Some(9));
    }

    #[test]
    fn what_arrives_behind_a_replay_does_not_count_before_it_is_done() {
        let stream = |n| StreamId {
            incarnation: Incarnation(n),
            boot: Boot(1),
        };
        let mut tracker = ApplyTracker::default();

        tracker.replaying([(stream(1), 40), (stream(2), 0)]);
        // The stream goes on at its peer while this node replays up to 100.
        tracker.dispatched(stream(1), 101, 1);
        tracker.dispatched(stream(3), 1, 1);
        assert_eq!(
            (tracker.position(stream(1)), tracker.position(stream(3))),
            (40, 0)
        );

        let mut all = tracker.positions();
        all.sort_unstable();
        assert_eq!(all, [(stream(1), 40), (stream(2), 0), (stream(3), 0)]);
        tracker.replayed([(stream(1), 100), (stream(2), 7)]);
        assert_eq!(
            (tracker.position(stream(1)), tracker.position(stream(2))),
            (100, 7)
        );
        assert_eq!(tracker.applied(stream(1), 101), Some(101));
        assert_eq!(tracker.applied(stream(3), 1), Some(1));
    }
}
