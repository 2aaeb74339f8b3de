//! What breaks, and what mends it.

mod lasting;

use trireme_base::{Clock, StreamId};

use super::{Event, World};
use crate::disk::SyncFault;
use crate::machine::{CrashPoint, Pace};
use crate::mutation::Mutation;
use crate::process::{Interruption, Process, SHARDS};
use crate::scenario::Kind;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Kill,
    PowerCut,
    PowerCutOfAll,
    CrashPoint,
    Pair,
    Isolate,
    OneWay,
    Drop,
    Swizzle,
    Slow,
    Stuck,
    Eio,
    FullSync,
    Full,
    Jump,
    Year,
    Damage,
    BadSector,
    LoseEnds,
    SpoilCheckpoint,
    Absent,
    SetBack,
    Twin,
    Wipe,
    Pause,
    WriterDies,
    HalfChange,
}

/// What ends a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// One direction between two machines.
    Way(usize, usize),
    /// The disk of a machine.
    Disk(usize),
    /// A machine that is nobody's is stopped, and emptied.
    Twin(usize),
}

use Fault::*;

fn faults_of(kind: Kind) -> &'static [Fault] {
    match kind {
        Kind::Crashes => &[
            Kill,
            Kill,
            PowerCut,
            PowerCut,
            PowerCutOfAll,
            CrashPoint,
            CrashPoint,
            CrashPoint,
        ],
        Kind::Network => &[
            Pair, Pair, Isolate, OneWay, OneWay, Drop, Drop, Swizzle, Kill, CrashPoint,
        ],
        Kind::Disks => &[
            Slow, Slow, Stuck, Eio, Eio, FullSync, FullSync, Full, Full, Kill, PowerCut, PowerCut,
            CrashPoint,
        ],
        Kind::Clocks => &[Jump, Jump, Year, Year, Kill, Drop],
        Kind::Mixed => &[
            Kill,
            PowerCut,
            PowerCutOfAll,
            CrashPoint,
            CrashPoint,
            Pair,
            Isolate,
            OneWay,
            Drop,
            Swizzle,
            Slow,
            Stuck,
            Eio,
            FullSync,
            Full,
        ],
        Kind::Away => &[Isolate, Pair, Kill, PowerCut, Drop, CrashPoint, OneWay],
        Kind::Damage => &[
            Damage, Damage, BadSector, BadSector, LoseEnds, LoseEnds, Kill, Drop, CrashPoint,
            PowerCut,
        ],
        Kind::Wiped => &[Slow, Stuck, Pair, Kill, PowerCut, Wipe, Wipe],
        Kind::Stalls => &[
            Stuck,
            Stuck,
            Stuck,
            Pause,
            Pause,
            Slow,
            Kill,
            PowerCut,
            PowerCutOfAll,
            Drop,
        ],
        Kind::Tenants => &[
            Kill,
            Kill,
            PowerCut,
            PowerCutOfAll,
            CrashPoint,
            CrashPoint,
            Drop,
            Isolate,
            Full,
        ],
        Kind::Lives => &[Kill, Kill, Kill, PowerCut, CrashPoint, Drop],
        Kind::Rings => &[
            Pair, Pair, Isolate, OneWay, OneWay, Drop, Slow, Stuck, Kill, PowerCut, CrashPoint,
        ],
        Kind::Behind => &[Absent, Absent, Kill, PowerCut, CrashPoint, Drop],
        Kind::Copies => &[
            SetBack,
            SetBack,
            Twin,
            Kill,
            PowerCut,
            PowerCutOfAll,
            Slow,
            CrashPoint,
            Drop,
        ],
        Kind::Checkpoints => &[
            SpoilCheckpoint,
            SpoilCheckpoint,
            Kill,
            PowerCut,
            CrashPoint,
            CrashPoint,
            Drop,
        ],
        Kind::Writers => &[
            Full, Full, Full, WriterDies, WriterDies, HalfChange, HalfChange, Slow, Kill, PowerCut,
            Drop,
        ],
    }
}

impl World {
    /// The next fault happens.
    pub(super) fn fault(&mut self) {
        if self.is_healing {
            return;
        }

        let every = self.scenario.fault_every.as_micros() as u64;
        let wait = every / 2 + self.rng.below(every);
        self.after(wait, Event::Fault);

        let faults = faults_of(self.scenario.kind);
        let fault = faults[self.rng.below(faults.len() as u64) as usize];
        let node = self.rng.below(self.scenario.members() as u64) as usize;

        self.summary.faults += 1;
        self.note(|| format!("fault {fault:?} n{node}"));
        self.break_one(fault, node);
    }

    fn break_one(&mut self, fault: Fault, node: usize) {
        let members = self.scenario.members();
        let peer = (node + 1 + self.rng.below(members as u64 - 1) as usize) % members;
        let long = self.scenario.fault_max.as_micros() as u64;

        let span = 300_000 + self.rng.below(long);
        match fault {
            Kill => self.crash(node, true),
            PowerCut => self.crash(node, false),
            PowerCutOfAll => (0..members).for_each(|node| self.crash(node, false)),
            CrashPoint => self.plan_crash(node),
            Pair => self.cut(&[(node, peer), (peer, node)], span),
            OneWay => self.cut(&[(node, peer)], span),
            Isolate => {
                let others = (0..members).filter(|other| *other != node);
                let ways: Vec<_> = others
                    .flat_map(|other| [(node, other), (other, node)])
                    .collect();
                self.cut(&ways, span);
            }
            Swizzle => {
                for other in (0..members).filter(|other| *other != node) {
                    let span = 300_000 + self.rng.below(long);
                    self.cut(&[(node, other), (other, node)], span);
                }
            }
            Drop => {
                let conn = self.machines[node]
                    .process
                    .as_ref()
                    .and_then(|p| p.connection(peer));
                if let Some(conn) = conn {
                    self.after(0, Event::Closed { conn, node });
                    self.after(1_000, Event::Closed { conn, node: peer });
                }
            }
            Slow | Stuck => {
                self.machines[node].pace = if fault == Slow {
                    Pace::Slow
                } else {
                    Pace::Stuck
                };
                self.after(span, Event::Repair(Repair::Disk(node)));
            }
            Eio => self.machines[node].disk.fail_next_sync(SyncFault::Io),
            FullSync => self.machines[node].disk.fail_next_sync(SyncFault::Full),
            Full => {
                let room = self.rng.below(6_000);
                self.machines[node].disk.set_free_bytes(Some(room));
                self.after(span, Event::Repair(Repair::Disk(node)));
            }
            Jump => {
                let by = self.rng.below(90_000) as i64 - 45_000;
                let by = if self.rng.chance(0.3) { 0 } else { by };
                self.machines[node].clock.set_skew_ms(by);
            }
            Year => self.year(self.victim),
            Damage | BadSector => self.damage(fault == BadSector),
            LoseEnds => self.lose_ends(),
            SpoilCheckpoint => self.spoil_checkpoint(),
            Absent => self.leave(self.victim),
            SetBack => self.plan_set_back(),
            Twin => self.begin_twin(span),
            Wipe => self.wipe(),
            Pause => {
                let heal_at = 1_000_000 + self.scenario.disturbed.as_micros() as u64;
                self.machines[node].paused_until = (self.now_us + span).min(heal_at);
            }
            HalfChange => self.half_change(node),
            WriterDies => {
                self.machines[node].dying = Some(self.rng.below(u64::from(SHARDS)) as usize);
            }
        }
    }

    /// The writers of a node die inside a change. What they leave behind is not trusted: the process ends.
    fn half_change(&mut self, node: usize) {
        let sender = self.rng.below(self.senders.len() as u64) as usize;
        let series = self.senders[sender].series;
        let t = self.clock.now_ms() / 500 * 500;
        let wanted = self.wanted(sender, series, t);
        let value = self.rng.below(1 << 20) as f64 + 0.5;
        let made = self.history.make(&wanted, |n| value + n as f64);
        let Some(process) = &mut self.machines[node].process else {
            return;
        };

        process.half_change(&self.history.batches[made]);
        if self.mutation == Some(Mutation::SaveSuspectShard) {
            process.save_shards();
        }

        if self.mutation != Some(Mutation::KeepSuspectShard) {
            return self.crash(node, true);
        }

        (0..usize::from(SHARDS)).for_each(|shard| process.replace_writer(shard));
    }

    fn plan_crash(&mut self, node: usize) {
        let point = match self.rng.below(7) {
            0..3 => CrashPoint::BeforeSync,
            3 => CrashPoint::AfterSync,
            4 => CrashPoint::Upkeep(Interruption::BeforeManifest),
            5 => CrashPoint::Upkeep(Interruption::BeforeCheckpoint),
            _ => CrashPoint::Upkeep(Interruption::BetweenCheckpoints),
        };

        let has_power = self.rng.chance(0.4);
        self.machines[node].crash = Some((point, has_power));
    }

    fn cut(&mut self, ways: &[(usize, usize)], span: u64) {
        for (from, to) in ways {
            self.network.set_blocked(*from, *to, true);
            self.after(span, Event::Repair(Repair::Way(*from, *to)));
        }
    }

    /// The victim gets an empty disk, once. Before that another node's disk gets stuck and its way to the others is cut,
    /// so that it has entries of which the victim has the only safe copy.
    fn wipe(&mut self) {
        if std::mem::replace(&mut self.was_wiped, true) {
            return;
        }

        let victim = self.victim;
        let voters = self.scenario.voters;
        if self.scenario.trims {
            return self.after(200_000, Event::Replace(victim));
        }

        let origin = (victim + 1) % voters;
        self.machines[origin].pace = Pace::Stuck;

        // About when it meets the victim with its new disk: it takes nobody else for the victim while it believes that the
        // old one is connected.
        let repaired = 4_500_000 + self.rng.below(3_000_000);

        self.after(repaired, Event::Repair(Repair::Disk(origin)));
        for other in (0..voters).filter(|other| ![victim, origin].contains(other)) {
            self.cut(&[(origin, other), (other, origin)], 9_000_000);
        }

        self.after(1_500_000, Event::Replace(victim));
    }

    pub(super) fn replace(&mut self, node: usize) -> Result<(), String> {
        if self.scenario.trims && !self.lacks_only_ended(node) {
            if !self.is_healing {
                self.after(200_000, Event::Replace(node));
            }
            return Ok(());
        }

        self.crash(node, false);
        let wiped = self.machines[node].wipe(&mut self.rng, self.mutation);

        // Where logs are kept for everybody, they give all, and nothing may be copied.
        self.machines[node].staging.is_undecided = self.scenario.trims;
        self.note(|| format!("n{node} has an empty disk"));
        self.summary.wipes += 1;

        // A new disk is busy at first, so that others can count on what it does not have yet.
        self.machines[node].pace = Pace::Slow;
        self.after(7_000_000, Event::Repair(Repair::Disk(node)));
        self.after(200_000, Event::Start(node));

        wiped.map_err(|e| format!("cannot wipe the disk of n{node}: {e}"))
    }

    /// Streams with records have ended for all others, and their logs have everything of those that have not.
    fn lacks_only_ended(&self, node: usize) -> bool {
        let others = (0..self.scenario.members()).filter(|other| *other != node);
        let running: Option<Vec<&Process>> = others
            .map(|other| self.machines[other].process.as_ref())
            .collect();
        let Some(running) = running else { return false };

        let is_held = |stream: StreamId| running.iter().any(|p| p.log.first_seq(stream) == Some(1));
        running.iter().all(|process| {
            let known = process.log.written_positions();
            // The first stream of a directory is that of boot 1.
            process.log.ended().iter().any(|(_, end)| end.before.0 > 1)
                && known
                    .iter()
                    .all(|(stream, seq)| *seq == 0 || is_held(*stream))
        })
    }

    /// A fault ends.
    pub(super) fn repair(&mut self, repair: Repair) {
        match repair {
            Repair::Way(from, to) => {
                self.network.set_blocked(from, to, false);
                self.resume();
            }
            Repair::Disk(node) => {
                self.machines[node].pace = Pace::Normal;
                self.machines[node].disk.set_free_bytes(None);
            }
            Repair::Twin(node) => self.end_twin(node),
        }
        self.note(|| format!("repair {repair:?}"));
    }

    /// All faults end.
    pub(super) fn repair_all(&mut self) {
        for (from, to) in self.network.cuts() {
            self.network.set_blocked(from, to, false);
        }

        for machine in &mut self.machines {
            machine.pace = Pace::Normal;
            machine.disk.mend();
            machine.clock.set_skew_ms(0);
            machine.crash = None;
            machine.loses_ends = false;
        }

        if let Some(twin) = self.twin() {
            self.end_twin(twin);
        }

        // Whoever has left is stopped by an operator, also if it never heard of that.
        let members = self.members();
        let left: Vec<usize> = (0..self.scenario.members())
            .filter(|n| !members.contains(n))
            .collect();

        left.into_iter().for_each(|node| self.crash(node, true));
        self.resume();
    }
}
