//! How far each stream has been applied to the head.
//!
//! Records of one stream go to different shards, which finish them in any order. A stream is applied up to the last seq
//! before the first unfinished one.

use std::collections::{HashMap, VecDeque};

use trireme_base::StreamId;

/// Seqs handed to shards and not yet known to be applied, per stream.
#[derive(Debug, Default)]
pub struct ApplyLedger {
    streams: HashMap<StreamId, Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    /// Everything up to here is applied.
    applied: u64,
    /// For `applied + 1`, `applied + 2`, ...: how many shards still work on it.
    shards_left: VecDeque<u16>,
}

impl ApplyLedger {
    /// The stream is applied up to `seq`, as a recovery found it.
    pub fn recovered(&mut self, stream: StreamId, seq: u64) {
        let pending = self.streams.entry(stream).or_default();
        pending.applied = pending.applied.max(seq);
    }

    /// The record `seq` was handed to `shards` shards. Seqs of a stream come in order.
    pub fn dispatched(&mut self, stream: StreamId, seq: u64, shards: u16) {
        let pending = self.streams.entry(stream).or_default();
        if pending.shards_left.is_empty() {
            // After a hole that a recovery skipped, the stream goes on behind it.
            pending.applied = pending.applied.max(seq - 1);
        }
        pending.shards_left.push_back(shards);
    }

    /// A shard has applied `seq`. Answers the stream's new position if it moved.
    pub fn applied(&mut self, stream: StreamId, seq: u64) -> Option<u64> {
        let pending = self.streams.get_mut(&stream)?;
        let at = usize::try_from(seq.checked_sub(pending.applied + 1)?).ok()?;
        let left = pending.shards_left.get_mut(at)?;
        *left = left.saturating_sub(1);
        let before = pending.applied;
        while pending.shards_left.front() == Some(&0) {
            pending.shards_left.pop_front();
            pending.applied += 1;
        }
        (pending.applied > before).then_some(pending.applied)
    }

    /// How far a stream is applied.
    pub fn position(&self, stream: StreamId) -> u64 {
        self.streams.get(&stream).map_or(0, |p| p.applied)
    }

    /// All streams' positions.
    pub fn positions(&self) -> Vec<(StreamId, u64)> {
        self.streams.iter().map(|(s, p)| (*s, p.applied)).collect()
    }
}

#[cfg(test)]
mod tests {
    use trireme_base::{Boot, Incarnation};

    use super::*;

    #[test]
    fn moves_only_behind_finished_records() {
        let stream = StreamId { incarnation: Incarnation(1), boot: Boot(1) };
        let mut ledger = ApplyLedger::default();
        ledger.recovered(stream, 4);
        for (seq, shards) in [(5, 1), (6, 2), (7, 1)] {
            ledger.dispatched(stream, seq, shards);
        }
        assert_eq!(ledger.applied(stream, 7), None);
        assert_eq!(ledger.applied(stream, 6), None);
        assert_eq!(ledger.applied(stream, 5), Some(5));
        assert_eq!(ledger.applied(stream, 6), Some(7));
        assert_eq!(ledger.applied(stream, 6), None, "a repetition is no news");
        assert_eq!(ledger.position(stream), 7);
    }
}
