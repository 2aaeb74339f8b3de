//! The end of a run: everything is mended, and the promises must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use trireme_base::{Clock, StreamId};
use trireme_replication::{ALL, PositionVector};
use trireme_transport::ReplicaStore;

use super::World;
use crate::Summary;
use crate::content::{self, Content};
use crate::process::{Process, WINDOWS};
use crate::scenario::Kind;

/// The replicas must be level so soon after the last fault. A stream that a peer could not serve is asked for again after
/// 30 s, and that may happen twice.
const LEVEL_WITHIN: Duration = Duration::from_secs(120);
/// All windows must be blocks so soon after that.
const CUT_WITHIN: Duration = Duration::from_secs(120);
/// Streams of earlier starts must be let go so soon after that: two checkpoints, and the word of all.
const ENDED_WITHIN: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl World {
    /// The whole run.
    pub fn run(&mut self) -> Result<Summary, String> {
        self.run_for(self.scenario.disturbed)?;
        self.summary.ended_under_faults = self.ended();
        self.is_healing = true;
        self.note(|| "heal".to_owned());
        self.repair_all();
        self.until(LEVEL_WITHIN, Self::unlevel)?;

        let before = self.compare("before the last cut")?;
        // The samples of the last windows may be ahead of all clocks by some seconds.
        self.run_for(Duration::from_secs(2))?;
        let cut_within = CUT_WITHIN + self.scenario.seal_after.min(Duration::from_secs(60));
        self.until(cut_within, Self::uncut)?;
        if self.uncut_but(&BTreeSet::new()).is_some() {
            self.let_days_pass();
            self.until(cut_within, |world| world.uncut_but(&BTreeSet::new()))?;
        }

        let after = self.compare("after the last cut")?;
        if let Some(difference) = content::difference(&before, &after) {
            return Err(format!("a cut changed the content: {difference}"));
        }

        self.compare_blocks()?;
        if self.scenario.kind == Kind::Lives {
            self.until(ENDED_WITHIN, Self::lasting)?;
        }

        self.summary.acked = self.history.acked;
        self.summary.ended = self.ended();
        Ok(self.summary)
    }

    /// Runs until `problem` has none, or names it.
    fn until(
        &mut self,
        limit: Duration,
        problem: fn(&Self) -> Option<String>,
    ) -> Result<(), String> {
        let end = self.now_us + limit.as_micros() as u64;
        while let Some(problem) = problem(self) {
            if self.now_us >= end {
                return Err(format!(
                    "{} s after the last fault {problem}",
                    limit.as_secs()
                ));
            }
            self.run_for(LOOK_EVERY)?;
        }

        Ok(())
    }

    /// The processes of all members, with the numbers of their machines.
    fn running(&self) -> Result<Vec<(usize, &Process)>, String> {
        self.members()
            .into_iter()
            .map(|n: usize| {
                let process = self.machines[n].process.as_ref();
                process
                    .map(|process| (n, process))
                    .ok_or_else(|| format!("n{n} does not run"))
            })
            .collect()
    }

    /// What keeps the replicas from being level.
    fn unlevel(&self) -> Option<String> {
        let running = match self.running() {
            Ok(running) => running,
            Err(problem) => return Some(problem),
        };

        if let Some(waiting) = self
            .senders
            .iter()
            .position(|s| !s.queue.is_empty() || s.attempt.is_some())
        {
            return Some(format!("sender {waiting} still waits for an answer"));
        }

        let one = running[0].0;

        let first = running[0].1.store.durable();
        for (n, process) in &running {
            if !process.store.replay().is_done() {
                return Some(format!("n{n} still replays"));
            }
            if process.is_rebuilding() {
                return Some(format!("n{n} is still being rebuilt"));
            }

            let durable = process.store.durable();
            if let Some(text) = differ(&first, &durable) {
                return Some(format!("positions differ between n{one} and n{n}: {text}"));
            }

            let applied: PositionVector = process.store.applied_positions().into_iter().collect();
            if let Some((stream, have, want)) = applied.behind(&durable).next() {
                return Some(format!("n{n} has applied {stream} up to {have} of {want}"));
            }

            let group = process.hub.group().lock();
            if group.has_missed_ends() {
                return Some(format!("n{n} lacks something of streams that have ended"));
            }

            for (name, view) in group.peers() {
                if !view.connected {
                    return Some(format!("n{n} is not connected to {name}"));
                }
                if let Some(text) = differ(&first, &view.positions) {
                    return Some(format!("n{n} does not know that {name} is level: {text}"));
                }
            }
        }

        None
    }

    /// A window that should have been cut by now.
    fn uncut(&self) -> Option<String> {
        let now = WINDOWS.of(self.clock.now_ms());
        let later = self.first_cuts.range(now..).copied().collect();
        self.uncut_but(&later)
    }

    fn uncut_but(&self, later: &BTreeSet<i64>) -> Option<String> {
        match self.running() {
            Ok(running) => {
                let (n, process) = running
                    .iter()
                    .find(|(_, process)| !process.is_cut_but(later))?;
                Some(format!(
                    "n{n} still has windows to cut: {}",
                    process.blocked_by()
                ))
            }
            Err(problem) => Some(problem),
        }
    }

    /// All clocks go on by more than a first marker may be ahead. A node that began its first stream with a clock some days ahead
    /// has late samples in a cut of that time, and they must become blocks when it has come.
    fn let_days_pass(&mut self) {
        self.note(|| "days pass".to_owned());
        for machine in &mut self.machines {
            machine.clock.set_skew_ms(8 * 86_400_000);
        }
    }

    /// Streams of earlier starts that the running replicas have let go.
    fn ended(&self) -> u64 {
        let running = self
            .machines
            .iter()
            .filter_map(|machine| machine.process.as_ref());
        running
            .map(|process: &Process| -> u64 {
                process
                    .log
                    .ended()
                    .iter()
                    .map(|(_, end)| u64::from(end.before.0))
                    .sum()
            })
            .sum()
    }

    /// A stream of an earlier start that is kept although no log holds anything of it.
    fn lasting(&self) -> Option<String> {
        let running = self.running().ok()?;
        let held: BTreeSet<StreamId> = running
            .iter()
            .flat_map(|(_, process)| process.log.held())
            .collect();

        for (n, process) in &running {
            let mut known = process.log.written_positions();
            known.sort_unstable();
            // They end in order.
            let oldest = known
                .chunk_by(|(a, _), (b, _)| a.incarnation == b.incarnation)
                .find(|streams: &&[(StreamId, u64)]| !held.contains(&streams[0].0));
            if let Some(streams) = oldest.filter(|streams| streams.len() > 1) {
                return Some(format!("n{n} still keeps {}", streams[0].0));
            }
        }

        None
    }

    /// Every replica has the same content, and it is what the history asks for.
    fn compare(&self, when: &str) -> Result<Content, String> {
        let mut first: Option<Content> = None;
        for (n, process) in self.running()? {
            let content = content::content(process, &self.history.tenants)
                .map_err(|e| format!("n{n}: {e}"))?;
            self.history
                .check(n, &content)
                .map_err(|problem| format!("{problem}, {when}"))?;
            if let Some(first) = &first
                && let Some(difference) = content::difference(first, &content)
            {
                return Err(format!("n{n} and the first differ, {when}: {difference}"));
            }
            first.get_or_insert(content);
        }

        Ok(first.unwrap_or_default())
    }

    fn compare_blocks(&self) -> Result<(), String> {
        if !self.scenario.equal_blocks {
            return Ok(());
        }

        let running = self.running()?;

        let first = content::blocks(running[0].1);
        for (n, process) in &running {
            let blocks = content::blocks(process);
            if blocks != first {
                let only = |a: &[(i64, String)], b: &[(i64, String)]| -> Vec<(i64, String)> {
                    a.iter()
                        .filter(|block| !b.contains(block))
                        .cloned()
                        .collect()
                };
                return Err(format!(
                    "blocks differ: the first alone has {:?}, n{n} alone has {:?}",
                    only(&first, &blocks),
                    only(&blocks, &first)
                ));
            }
        }

        Ok(())
    }
}

/// The first stream that stands differently.
fn differ(a: &PositionVector, b: &PositionVector) -> Option<String> {
    let mut streams: BTreeMap<StreamId, (u64, u64)> = BTreeMap::new();
    a.iter()
        .for_each(|(stream, seq)| streams.entry(stream).or_default().0 = seq);
    b.iter()
        .for_each(|(stream, seq)| streams.entry(stream).or_default().1 = seq);

    // Of a stream that has ended for one of them nothing is missing.
    let has_ended = |stream: StreamId| a.get(stream) == ALL || b.get(stream) == ALL;
    let (stream, (a, b)) = streams
        .into_iter()
        .find(|(stream, (at_a, at_b))| at_a != at_b && !has_ended(*stream))?;

    Some(format!("{stream} is at {a} and at {b}"))
}
