//! What the block writer and the timers of a node do.

use std::collections::BTreeSet;

use trireme_base::Clock;
use trireme_head::{HeadError, Shard, covered_by_all};
use trireme_replication::PeerIdentity;
use trireme_storage::{CuttingError, GateState, NextCut};

use super::{Process, SHARDS, WINDOWS};
use crate::mutation::Mutation;

/// Where a crash is to interrupt the upkeep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// Blocks of a cut are written, its manifest is not.
    BeforeManifest,
    /// A checkpoint is written and has not got its name.
    BeforeCheckpoint,
    /// One shard has its new checkpoint, the other not.
    BetweenCheckpoints,
}

impl Process {
    /// One look of the block writer; true if it came to the point where it is to be interrupted.
    pub fn look(&mut self, interruption: Option<Interruption>) -> Result<bool, String> {
        if !self.store.replay().is_done() {
            return Ok(false);
        }

        let due = match self.mutation {
            Some(Mutation::TrustOwnClock) => Some(WINDOWS.over(self.clock.now_ms())),
            _ => self.store.due_window(&self.clock, WINDOWS),
        };

        if let Some(due) = due.filter(|due| self.closed.is_none_or(|k| k < *due)) {
            let mut closed = true;
            for writer in &mut self.writers {
                // As the real one: the first that fails ends the round, which is repeated.
                closed = closed
                    && self
                        .clock
                        .race()
                        .during(|| writer.close_window(due))
                        .is_ok();
            }

            if closed {
                self.closed = Some(due);
            }
        }

        if let Some(closed) = self.closed {
            while self.cut_next(closed, interruption)? {
                if interruption == Some(Interruption::BeforeManifest) {
                    return Ok(true);
                }
            }
        }

        let over = WINDOWS.over(self.store.now_ms(&self.clock));
        if self.collected < over {
            self.collect(over);
        }

        let now = self.clock.monotonic();
        if now.saturating_sub(self.checkpoint_at) >= self.checkpoint_every {
            self.checkpoint_at = now;
            return Ok(self.checkpoint(interruption));
        }

        Ok(false)
    }

    fn cut_next(
        &mut self,
        closed: i64,
        interruption: Option<Interruption>,
    ) -> Result<bool, String> {
        let k = match self.cutting.next_cut(closed) {
            NextCut::Ready(k) => k,
            NextCut::Blocked(k, _) if self.mutation == Some(Mutation::CutBeforeMarkers) => k,
            NextCut::Nothing | NextCut::Blocked(..) => return Ok(false),
        };

        let manifest = self.cutting.manifest.clone();
        let before = std::fs::read(&manifest).ok();

        match self.cutting.cut(k) {
            Ok(_) => {}
            // Tried again at the next look.
            Err(CuttingError::Log(_)) => return Ok(false),
            Err(error) => return Err(format!("cut {k}: {error}")),
        }

        if interruption == Some(Interruption::BeforeManifest) {
            let restored = match before {
                Some(bytes) => std::fs::write(&manifest, bytes),
                None => std::fs::remove_file(&manifest),
            };
            return restored.map(|()| true).map_err(|e| e.to_string());
        }

        self.collect(WINDOWS.over(self.store.now_ms(&self.clock)));
        Ok(true)
    }

    fn collect(&mut self, over: i64) {
        self.collected = over;
        for writer in &mut self.writers {
            let _ = self.clock.race().during(|| writer.collect_series(over));
        }
    }

    fn checkpoint(&mut self, interruption: Option<Interruption>) -> bool {
        let positions = self.store.applied_positions();
        let race = self.clock.race();
        self.writers
            .iter_mut()
            .for_each(|writer| race.during(|| writer.note_positions(&positions)));

        if self.mutation == Some(Mutation::EndUnasked) {
            let peers = self
                .hub
                .group()
                .lock()
                .peers()
                .filter_map(|(_, view)| view.identity.clone())
                .collect();

            let peers: Vec<PeerIdentity> = peers;
            self.hub.end(
                &peers
                    .iter()
                    .map(|peer| (peer.incarnation, peer.boot))
                    .collect(),
            );
        }

        if self.mutation == Some(Mutation::TrimToApplied) {
            let group = self.hub.group().lock();
            let held = positions
                .iter()
                .map(|(stream, seq)| (*stream, group.everybody_has(*stream).min(*seq)));
            let held: Vec<_> = held.collect();
            drop(group);
            let _ = self.log.trim(&held);
        }

        let publishes_first = self.mutation == Some(Mutation::CheckpointBeforeLog);
        let checkpoint = |shard: &Shard| match publishes_first {
            true => shard.checkpoint(|| Ok::<(), CuttingError>(())),
            false => self.cutting.checkpoint_of(shard),
        };

        match interruption {
            Some(Interruption::BeforeCheckpoint) => {
                let _ = self.shards[0].checkpoint::<HeadError>(|| {
                    Err(HeadError::Settings("the process ends here".to_owned()))
                });
                return true;
            }
            Some(Interruption::BetweenCheckpoints) => {
                let _ = checkpoint(&self.shards[usize::from(SHARDS) - 1]);
                return true;
            }
            _ => {}
        }

        let trims_otherwise = matches!(
            self.mutation,
            Some(Mutation::TrimTooEarly | Mutation::TrimToNewest)
        );
        if self.trims && !publishes_first && !trims_otherwise {
            // A failed one is repeated; a failed log is noticed elsewhere.
            let _ = self.cutting.checkpoint();
            return false;
        }

        let mut positions = Vec::new();
        for shard in &self.shards {
            let Ok(report) = checkpoint(shard) else {
                return false;
            };
            positions.push(report.positions);
        }

        let covered = covered_by_all(positions);
        match self.mutation {
            Some(Mutation::TrimTooEarly) => drop(self.log.trim(&covered)),
            Some(Mutation::TrimToNewest) => {
                let group = self.hub.group().lock();
                let held = covered
                    .into_iter()
                    .map(|(s, seq)| (s, group.everybody_has(s).min(seq)));
                let held: Vec<_> = held.collect();
                drop(group);
                let _ = self.log.trim(&held);
            }
            _ => {}
        }

        false
    }

    /// Answers writes whose time is over, and opens the gate of a node whose disk has room again.
    pub fn tick(&mut self) {
        self.commits.expire();
        if self.mutation != Some(Mutation::IgnoreWrongClock) {
            self.clock_watch.is_wrong();
        }
        if self.gate.state() == GateState::DiskFull && self.log.check().is_ok() {
            self.gate.set(GateState::Open);
        }
    }

    /// A sample may be refused for its time.
    pub fn may_refuse(&self) -> bool {
        self.mutation == Some(Mutation::IgnoreWrongClock) || self.clock_watch.may_refuse()
    }

    /// The log takes nothing until the next start.
    pub fn has_failed(&self) -> bool {
        self.gate.state() == GateState::LogFailed
    }

    /// What holds the next cut up, for people.
    pub fn blocked_by(&self) -> String {
        match self.closed.map(|closed| self.cutting.next_cut(closed)) {
            Some(NextCut::Blocked(k, blocker)) => format!("{k} {blocker}"),
            other => {
                let oldest = self
                    .shards
                    .iter()
                    .filter_map(|shard| shard.oldest_cut())
                    .min();
                format!("{other:?}; closed {:?}, oldest {oldest:?}", self.closed)
            }
        }
    }

    /// Nothing waits to be cut into blocks, save for the cuts of `later`.
    pub fn is_cut_but(&self, later: &BTreeSet<i64>) -> bool {
        self.shards
            .iter()
            .all(|shard| shard.oldest_cut().is_none_or(|k| later.contains(&k)))
    }
}
