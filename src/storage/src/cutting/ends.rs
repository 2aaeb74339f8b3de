//! Streams that have ended.

use std::collections::BTreeMap;

use trireme_base::{Boot, End, Ended, StreamId};
use trireme_log::LogError;

use super::Cutting;

impl Cutting {
    /// Says which streams of earlier starts this node has settled, and lets go of those that have ended. `covered` is what both
    /// kept checkpoints of all shards hold.
    pub(super) fn end_streams(&self, covered: &[(StreamId, u64)]) -> Result<(), LogError> {
        let settled = match self.store.parts().completeness.is_complete() {
            true => self.settled(covered),
            // What takes the place of these checkpoints is a peer's.
            false => Ended::default(),
        };

        self.store.note_settled(settled.clone());

        let ended = self.store.parts().hub.group().lock().may_end(&settled);
        if ended.is_empty() {
            Ok(())
        } else {
            self.store.end(&ended)
        }
    }

    /// Streams of which nothing is in the log, everything is applied, and everything is in both checkpoints.
    fn settled(&self, covered: &[(StreamId, u64)]) -> Ended {
        let log = self.store.log();
        let held = log.held();
        let covered = covered.iter().copied().collect::<BTreeMap<_, _>>();
        let mut known = log.written_positions();

        known.sort_unstable();

        let is_settled = |stream: StreamId, seq: u64| {
            stream != log.own_stream()
                && !held.contains(&stream)
                && log.taken(stream) == seq
                && self.store.applied_position(stream) >= seq
                && covered.get(&stream).is_some_and(|covered| *covered >= seq)
        };

        let mut settled = log.ended();
        for streams in known.chunk_by(|(a, _), (b, _)| a.incarnation == b.incarnation) {
            let open = streams
                .iter()
                .find(|(stream, seq)| !is_settled(*stream, *seq));
            let last = streams[streams.len() - 1].0;
            let before = open.map_or(Boot(last.boot.0.saturating_add(1)), |(stream, _)| {
                stream.boot
            });
            settled.raise(last.incarnation, End { before, digest: 0 });
        }

        settled
    }
}
