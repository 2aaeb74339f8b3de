//! What the driver of a rebuild does for a node that was left behind, and for a peer that copies from it.

use std::path::Path;
use std::sync::Arc;

use trireme_base::{Clock, Incarnation, StreamId};
use trireme_head::{HeadError, verify_checkpoint};
use trireme_log::Log;
use trireme_replication::{Action, PositionVector, Rebuild};
use trireme_wire::rebuild::Manifest;

use super::Process;
use crate::staging;

impl Process {
    /// What a rebuild has to do now, if one is needed.
    pub fn rebuild_step(&mut self) -> Action {
        let now = self.clock.monotonic();
        let look = {
            let group = self.hub.group().lock();
            match self.rebuild.is_complete() {
                true => group.standing_look(now),
                false => group.rebuild_look(now),
            }
        };

        let action = self.rebuild.next(&look);
        self.show_rebuild();
        action
    }

    /// The machine that decides.
    pub fn rebuild(&mut self) -> &mut Rebuild {
        &mut self.rebuild
    }

    /// True if something has to be copied from a peer.
    pub fn is_rebuilding(&self) -> bool {
        !self.rebuild.is_complete()
    }

    /// Tells peers and block writer how it stands.
    pub(super) fn show_rebuild(&self) {
        let completeness = &self.store.parts().completeness;
        completeness.set_complete(self.rebuild.is_complete());
        completeness.set_reason(self.rebuild.reason());
    }

    /// Makes a snapshot for a peer.
    pub fn snapshot(&mut self, taker: Incarnation) -> Result<Arc<Manifest>, String> {
        let positions = self.store.applied_positions();
        let race = self.clock.race();
        self.writers
            .iter_mut()
            .for_each(|writer| race.during(|| writer.note_positions(&positions)));
        self.cutting.snapshot(taker).map_err(|e| e.to_string())
    }

    /// Bytes of a file of a snapshot, and of how many there are; `None` if it is not held any more.
    pub fn piece(
        &self,
        snapshot: u64,
        file: usize,
        offset: u64,
        bytes_max: u64,
    ) -> Option<Vec<u8>> {
        let (path, bytes) = self.cutting.snapshots.file(snapshot, file)?;
        staging::read(&path, offset, bytes_max.min(bytes.saturating_sub(offset))).ok()
    }

    /// A stream of which this node has more than a snapshot, without the log that leads there.
    pub fn would_lose(&self, manifest: &Manifest, dir: &Path) -> Option<StreamId> {
        let theirs: PositionVector = manifest
            .positions
            .iter()
            .map(|p| (p.stream(), p.seq))
            .collect();

        let is_there = |stream, seq| {
            self.log
                .first_seq(stream)
                .is_some_and(|first| first <= seq + 1)
        };

        let copied = Log::load_ended(&staging::ended_of(dir));
        let has_ended = copied.ok().and_then(Result::ok).unwrap_or_default();
        let mine = self
            .log
            .written_positions()
            .into_iter()
            .filter(|(stream, _)| !has_ended.has(*stream));

        mine.map(|(stream, seq)| (stream, seq, theirs.get(stream)))
            .find_map(|(stream, seq, theirs)| {
                (seq > theirs && !is_there(stream, theirs)).then_some(stream)
            })
    }

    /// Reads copied checkpoints as a start would.
    pub fn verify_copy(&self, dir: &Path) -> Result<(), HeadError> {
        self.shards.iter().try_for_each(|shard| {
            let options = shard.options();
            verify_checkpoint(&staging::head_of(dir, options.number), options)
        })
    }
}
