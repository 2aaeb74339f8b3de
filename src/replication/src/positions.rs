//! Position vectors.

use std::collections::BTreeMap;

use trireme_base::{Boot, Ended, Incarnation, StreamId};
use trireme_wire::frame::Position;

/// The position of everybody in a stream that has ended: nothing of it is missing.
pub const ALL: u64 = u64::MAX;

/// For each stream the highest seq up to which a replica has everything, 0 (not stored) for nothing.
///
/// Positions of one incarnation only grow, so vectors and parts of them may be merged in any order.
///
/// Streams that have ended are in no vector any more: every member has all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PositionVector {
    seqs: BTreeMap<StreamId, u64>,
    ended: Ended,
}

impl PositionVector {
    /// A vector without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Position of a stream; 0 when nothing of it is there, [`ALL`] if it has ended.
    pub fn get(&self, stream: StreamId) -> u64 {
        self.seqs
            .get(&stream)
            .copied()
            .unwrap_or_else(|| if self.ended.has(stream) { ALL } else { 0 })
    }

    /// The streams that have ended.
    pub fn ended(&self) -> &Ended {
        &self.ended
    }

    /// Lets go of streams that have ended; true if that is news.
    pub fn end(&mut self, ended: &Ended) -> bool {
        let is_news = self.ended.merge(ended);
        if is_news {
            let ended = &self.ended;
            self.seqs.retain(|stream, _| !ended.has(*stream));
        }
        is_news
    }

    /// Moves a stream forward; a lower seq changes nothing. True if the position moved.
    pub fn advance(&mut self, stream: StreamId, seq: u64) -> bool {
        if seq <= self.get(stream) {
            return false;
        }
        self.seqs.insert(stream, seq);
        true
    }

    /// Takes the higher position of each stream.
    pub fn merge(&mut self, other: &Self) {
        self.end(&other.ended);
        for (stream, seq) in other.iter() {
            self.advance(stream, seq);
        }
    }

    /// Streams on which `self` has less than `other`, as (stream, position here, position there).
    pub fn behind<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = (StreamId, u64, u64)> + 'a {
        other
            .iter()
            .map(|(stream, theirs)| (stream, self.get(stream), theirs))
            .filter(|(_, mine, theirs)| mine < theirs)
    }

    /// True if nothing of `other` is missing here.
    pub fn covers(&self, other: &Self) -> bool {
        self.behind(other).next().is_none()
    }

    /// Entries in order of stream.
    pub fn iter(&self) -> impl Iterator<Item = (StreamId, u64)> + '_ {
        self.seqs.iter().map(|(stream, seq)| (*stream, *seq))
    }

    /// Highest boot of this incarnation with an entry, or that has ended.
    pub fn latest_boot(&self, incarnation: Incarnation) -> Option<Boot> {
        let first = StreamId {
            incarnation,
            boot: Boot(0),
        };
        let last = StreamId {
            incarnation,
            boot: Boot(u32::MAX),
        };
        let entry = self
            .seqs
            .range(first..=last)
            .next_back()
            .map(|(stream, _)| stream.boot);

        let ended = self.ended.before(incarnation).0.checked_sub(1).map(Boot);
        entry.max(ended)
    }

    /// Entries of one incarnation, in order of boot.
    pub fn of(&self, incarnation: Incarnation) -> impl Iterator<Item = (StreamId, u64)> + '_ {
        let first = StreamId {
            incarnation,
            boot: Boot(0),
        };
        let last = StreamId {
            incarnation,
            boot: Boot(u32::MAX),
        };

        self.seqs
            .range(first..=last)
            .map(|(stream, seq)| (*stream, *seq))
    }

    /// Number of streams.
    pub fn len(&self) -> usize {
        self.seqs.len()
    }

    /// True if there is no stream.
    pub fn is_empty(&self) -> bool {
        self.seqs.is_empty()
    }

    /// Up to `max` entries in wire form, starting after `after`; the last one is where the next part starts.
    pub fn part(&self, after: Option<StreamId>, max: usize) -> Vec<Position> {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let entries = self
            .seqs
            .range((from, std::ops::Bound::Unbounded))
            .take(max);

        entries
            .map(|(s, seq)| Position {
                incarnation: s.incarnation.0,
                boot: s.boot.0,
                seq: *seq,
            })
            .collect()
    }
}

impl FromIterator<(StreamId, u64)> for PositionVector {
    fn from_iter<I: IntoIterator<Item = (StreamId, u64)>>(entries: I) -> Self {
        let mut vector = Self::new();
        for (stream, seq) in entries {
            vector.advance(stream, seq);
        }
        vector
    }
}

impl From<&[Position]> for PositionVector {
    fn from(entries: &[Position]) -> Self {
        entries.iter().map(|p| (p.stream(), p.seq)).collect()
    }
}

#[cfg(test)]
mod tests;
