//! Faults that outlast a restart: disks that lose something, directories that are not what they were, wrong clocks.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use trireme_base::SeededRng;

use super::super::{Event, World};
use super::Repair;
use crate::machine::CrashPoint;
use crate::process::SHARDS;

/// How far a wrong clock may be off (ms).
const YEAR_MS: u64 = 400 * 86_400_000;

impl World {
    /// The wall clock of a machine is wrong by up to a year, or right again.
    pub(in super::super) fn year(&mut self, node: usize) {
        if !self.scenario.has_years {
            return;
        }
        let by = self.rng.below(2 * YEAR_MS) as i64 - YEAR_MS as i64;
        let by = if self.rng.chance(0.3) { 0 } else { by };
        self.note(|| format!("the clock of n{node} is {by} ms ahead"));
        self.machines[node].clock.set_skew_ms(by);
    }

    /// Bits flip in the log of the victim while it is down, or sectors of it cannot be read any more.
    pub(super) fn damage(&mut self, loses_sectors: bool) {
        let victim = self.victim;
        self.crash(victim, true);
        self.machines[victim].note_damage();

        for _ in 0..=self.rng.below(3) {
            let dir = self.machines[victim].dir.join("log");
            let disk = self.machines[victim].disk.clone();
            match loses_sectors {
                true => {
                    let lost = disk.lose_sector(&dir, &mut self.rng);
                    self.summary.bad_sectors += u64::from(matches!(lost, Ok(true)));
                }
                false => {
                    let flipped = disk.flip_bit(&dir, &mut self.rng);
                    self.summary.flips += u64::from(matches!(flipped, Ok(true)));
                }
            }
        }
    }

    /// The victim loses power when something is written behind what is synced, and the sector that is written for the second
    /// time is lost.
    pub(super) fn lose_ends(&mut self) {
        let victim = &mut self.machines[self.victim];
        victim.note_damage();
        victim.loses_ends = true;
        victim.crash = Some((CrashPoint::BeforeSync, false));
    }

    /// The newest checkpoint of a shard of the victim cannot be read any more.
    pub(super) fn spoil_checkpoint(&mut self) {
        let victim = self.victim;
        self.crash(victim, true);
        let shard = self.rng.below(u64::from(SHARDS));
        let path = self.machines[victim]
            .dir
            .join(format!("head/{shard:03}/checkpoint"));
        if !path.with_extension("previous").exists() {
            // What is lost with the only one there is comes from a peer.
            return;
        }

        if matches!(spoil(&path, &mut self.rng), Ok(true)) {
            self.summary.bad_sectors += 1;
            self.note(|| format!("the checkpoint of shard {shard} of n{victim} is damaged"));
        }
    }

    /// A replica is away for longer than the others keep their logs.
    pub(super) fn leave(&mut self, node: usize) {
        let has_power = self.rng.chance(0.5);
        let span = 40_000_000 + self.rng.below(60_000_000);
        self.machines[node].absent_until = self.now_us + span;
        self.crash(node, has_power);
    }

    /// The data directory of the victim is copied now, or an earlier copy is put in its place: as long as its present start
    /// is known to all others. Whoever has met neither this start nor a later one cannot tell the two apart.
    pub(super) fn plan_set_back(&mut self) {
        let victim = self.victim;
        let Some(process) = &self.machines[victim].process else {
            return;
        };

        let others = (0..self.scenario.members()).filter(|n| *n != victim);
        let is_known = others
            .into_iter()
            .all(|other| process.connection(other).is_some());

        match self.machines[victim].has_older_state() {
            true if is_known => {
                let has_power = self.rng.chance(0.5);
                self.crash(victim, has_power);
                self.machines[victim].is_idle = true;
                self.after(50_000, Event::SetBack(victim));
            }
            true => {}
            false => {
                self.crash(victim, true);
                if let Err(error) = self.machines[victim].back_up() {
                    self.note(|| format!("n{victim} is not copied: {error}"));
                }
            }
        }
    }

    pub(in super::super) fn set_back(&mut self, node: usize) -> Result<(), String> {
        let machine = &mut self.machines[node];
        machine.is_idle = false;
        machine
            .set_back()
            .map_err(|e| format!("cannot set n{node} back: {e}"))?;
        self.summary.set_back += 1;
        self.note(|| format!("the data directory of n{node} is set back"));
        self.after(50_000, Event::Start(node));

        Ok(())
    }

    /// Somebody starts another machine under the victim's name, with an empty disk.
    pub(super) fn begin_twin(&mut self, span: u64) {
        let Some(twin) = self.twin().filter(|twin| self.machines[*twin].is_idle) else {
            return;
        };

        self.machines[twin].is_idle = false;
        self.after(1_000, Event::Start(twin));
        self.after(span, Event::Repair(Repair::Twin(twin)));

        if self.rng.chance(0.5) {
            self.crash(self.victim, true);
        }
    }

    pub(super) fn end_twin(&mut self, twin: usize) {
        self.machines[twin].is_idle = true;
        self.crash(twin, true);
        if let Err(error) = self.machines[twin].wipe(&mut self.rng, None) {
            self.note(|| format!("n{twin} is not emptied: {error}"));
        }
    }
}

/// Flips a bit of a file, or cuts it off; false if it is not there.
fn spoil(path: &Path, rng: &mut SeededRng) -> io::Result<bool> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    let bytes = file.metadata()?.len();
    if rng.chance(0.3) {
        file.set_len(rng.below(bytes))?;
        return Ok(true);
    }

    let at = rng.below(bytes);
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    byte[0] ^= 1 << rng.below(8);
    file.write_all_at(&byte, at)?;

    Ok(true)
}
