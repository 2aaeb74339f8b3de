//! Events of machines.

use trireme_base::StreamId;

use super::{Event, World};
use crate::machine::{CrashPoint, Pace};
use crate::process::{Process, Start};

/// Time between ticks of a node (us).
const TICK_US: u64 = 100_000;
/// Time between looks of the block writer (us).
const LOOK_US: u64 = 1_000_000;

impl World {
    pub(super) fn lives(&self, node: usize, life: u64) -> bool {
        self.machines[node].life == life && self.machines[node].process.is_some()
    }

    pub(super) fn process(&mut self, node: usize, life: u64) -> Option<&mut Process> {
        let machine = &mut self.machines[node];
        if machine.life == life {
            machine.process.as_mut()
        } else {
            None
        }
    }

    pub(super) fn start(&mut self, node: usize) -> Result<(), String> {
        let has_left = !self.members().contains(&node) && self.is_healing;
        let is_outside = self.decided.is_some() && self.machines[node].ring.is_none();

        let machine = &self.machines[node];
        if machine.process.is_some()
            || machine.is_idle
            || machine.is_refused
            || has_left
            || is_outside
        {
            return Ok(());
        }

        if machine.absent_until > self.now_us && !self.is_healing {
            let wait = machine.absent_until - self.now_us;
            self.after(wait, Event::Start(node));
            return Ok(());
        }

        let number = self.rng.next_u64();
        let mutation = self.mutation;
        self.with_staging(node, |staging, dir| staging.install(dir, mutation))?;

        let stream = self.machines[node].count_start(self.mutation);
        let machine = &self.machines[node];
        let started = Process::start(&Start {
            index: node,
            names: &self.names,
            dir: &machine.dir,
            stream,
            number,
            disk: &machine.disk,
            clock: &machine.clock,
            scenario: &self.scenario,
            ring: machine.ring.as_ref(),
            staging: &machine.staging,
            mutation: self.mutation,
        });

        let process = match started {
            Ok(process) => process,
            Err(error) => {
                self.machines[node].disk.kill(&mut self.rng);
                self.note(|| format!("n{node} cannot start as {stream}: {error:#}"));
                if self.is_healing && !self.machines[node].disk.is_short() {
                    return Err(format!("n{node} cannot start: {error:#}"));
                }
                self.after(1_000_000, Event::Start(node));
                return Ok(());
            }
        };

        self.summary.starts += 1;
        let found = process.log.written_positions();
        self.note(|| {
            let found: Vec<_> = found
                .iter()
                .map(|(stream, seq)| format!("{stream}#{seq}"))
                .collect();
            format!(
                "n{node} starts as {stream}, its log has {}",
                found.join(" ")
            )
        });

        self.first_cuts.extend(process.first_cut);
        let machine = &mut self.machines[node];
        machine.process = Some(process);
        machine
            .note_found()
            .map_err(|problem| format!("n{node}: {problem}"))?;

        let life = machine.life;
        let replay = 1_000 + self.rng.below(self.scenario.replay_max.as_micros() as u64);
        self.after(replay, Event::Replay { node, life });

        let look = replay + self.rng.below(LOOK_US);
        self.after(look, Event::Look { node, life });
        self.after(TICK_US, Event::Tick { node, life });

        self.settle(node)
    }

    /// The process ends at once; without power, so does the page cache.
    pub(super) fn crash(&mut self, node: usize, has_power: bool) {
        let machine = &mut self.machines[node];
        let Some(process) = machine.process.take() else {
            return;
        };

        machine.crash = None;
        machine.pace = Pace::Normal;
        machine.paused_until = 0;

        for request in &process.requests {
            if let Some(sender) = self.attempts.remove(&request.attempt).filter(|_| has_power) {
                let answer = crate::request::Answer::Later("connection reset".to_owned());
                self.order += 1;
                let event = Event::Answer {
                    sender,
                    attempt: request.attempt,
                    answer,
                };
                self.queue.insert((self.now_us + 1_000, self.order), event);
            }
        }

        drop(process);
        if has_power {
            self.machines[node].disk.kill(&mut self.rng);
            self.summary.kills += 1;
        } else {
            if std::mem::take(&mut self.machines[node].loses_ends) {
                self.summary.bad_sectors += self.machines[node].disk.lose_ends(&mut self.rng);
            }
            self.machines[node].disk.cut_power(&mut self.rng);
            self.summary.power_cuts += 1;
        }

        for conn in self.network.of(node) {
            self.close(conn, node, has_power);
        }

        self.note(|| {
            format!(
                "n{node} {}",
                if has_power {
                    "is killed"
                } else {
                    "loses power"
                }
            )
        });

        let down = 100_000 + self.rng.below(self.scenario.down_max.as_micros() as u64);
        self.after(down, Event::Start(node));
    }

    pub(super) fn tick(&mut self, node: usize, life: u64) -> Result<(), String> {
        let Some(process) = self.process(node, life) else {
            return Ok(());
        };

        process.tick();
        if process.has_failed() {
            let wait = 300_000 + self.rng.below(3_000_000);
            self.after(
                wait,
                Event::Crash {
                    node,
                    life,
                    has_power: true,
                },
            );
        }

        self.rebuild(node)?;
        let Some(process) = self.process(node, life) else {
            return Ok(());
        };

        for peer in process.connected() {
            let Some(process) = self.process(node, life) else {
                return Ok(());
            };
            let out = process.tick_link(peer);
            self.act(node, out)?;
        }

        self.hear(node);
        self.after(TICK_US, Event::Tick { node, life });
        self.settle(node)
    }

    pub(super) fn look(&mut self, node: usize, life: u64) -> Result<(), String> {
        if !self.lives(node, life) {
            return Ok(());
        }

        let wait = LOOK_US / 2 + self.rng.below(LOOK_US);
        self.after(wait, Event::Look { node, life });
        if self.machines[node].pace == Pace::Stuck {
            return Ok(());
        }

        let interruption = match self.machines[node].crash {
            Some((CrashPoint::Upkeep(interruption), _)) => Some(interruption),
            _ => None,
        };
        let Some(process) = self.process(node, life) else {
            return Ok(());
        };

        let cut = process.local_blocks.blocks().len();
        let trimmed = process.log.stats().segments;
        let interrupted = process
            .look(interruption)
            .map_err(|problem| format!("n{node}: {problem}"))?;
        let cut_now = process.local_blocks.blocks().len();
        let segments = process.log.stats().segments;

        self.summary.blocks += (cut_now - cut) as u64;
        self.summary.trimmed += trimmed.saturating_sub(segments);

        if cut_now > cut {
            let names = self.machines[node]
                .process
                .as_ref()
                .map(crate::content::blocks);
            self.note(|| {
                format!(
                    "n{node} cut: {:?}",
                    names.unwrap_or_default().split_off(cut)
                )
            });
        }

        self.machines[node].note_safe();
        if interrupted {
            let has_power = self.machines[node]
                .crash
                .is_none_or(|(_, has_power)| has_power);
            self.note(|| format!("n{node} is interrupted: {interruption:?}"));
            self.crash(node, has_power);
            return Ok(());
        }

        self.settle(node)
    }

    pub(super) fn replay(&mut self, node: usize, life: u64) -> Result<(), String> {
        let Some(process) = self.process(node, life) else {
            return Ok(());
        };
        process
            .replay()
            .map_err(|problem| format!("n{node}: {problem}"))?;
        self.settle(node)
    }

    pub(super) fn log_write(&mut self, node: usize, life: u64) -> Result<(), String> {
        let Some(process) = self.process(node, life) else {
            return Ok(());
        };

        let wrote = process.log.write_queued();
        if !wrote {
            self.machines[node].log_busy = false;
            return Ok(());
        }

        let crashes = match self.machines[node].crash {
            Some((CrashPoint::BeforeSync, has_power)) => Some(has_power),
            _ => None,
        };

        if let Some(has_power) = crashes {
            self.machines[node].pace = Pace::Stuck;
            self.machines[node].crash = None;
            let wait = self.rng.below(60_000);
            self.after(
                wait,
                Event::Crash {
                    node,
                    life,
                    has_power,
                },
            );
        }

        let wait = match self.machines[node].pace {
            Pace::Normal => 300 + self.rng.below(6_000),
            Pace::Slow => 100_000 + self.rng.below(1_500_000),
            Pace::Stuck => 50_000,
        };

        self.after(wait, Event::LogSync { node, life });
        self.settle(node)
    }

    pub(super) fn log_sync(&mut self, node: usize, life: u64) -> Result<(), String> {
        if self.lives(node, life) && self.machines[node].pace == Pace::Stuck {
            self.after(50_000, Event::LogSync { node, life });
            return Ok(());
        }
        let Some(process) = self.process(node, life) else {
            return Ok(());
        };

        process.log.sync_written();
        self.machines[node].log_busy = false;
        self.machines[node].note_safe();

        if let Some((CrashPoint::AfterSync, has_power)) = self.machines[node].crash {
            self.crash(node, has_power);
            return Ok(());
        }

        self.settle(node)
    }

    pub(super) fn drain(&mut self, node: usize, life: u64) -> Result<(), String> {
        let dying = self.machines[node].dying;
        let Some(process) = self.process(node, life) else {
            return Ok(());
        };

        if let Some(shard) = dying.filter(|shard| process.waits_for(*shard)) {
            process.replace_writer(shard);
            self.machines[node].dying = None;
        }

        let Some(process) = self.process(node, life) else {
            return Ok(());
        };

        process.drain_apply_queues();
        self.machines[node].lanes_busy = false;
        self.settle(node)
    }

    pub(super) fn news(&mut self, node: usize, life: u64, peer: usize) -> Result<(), String> {
        let Some(process) = self.process(node, life) else {
            return Ok(());
        };
        process.set_told(peer, false);
        let out = process.news(peer);
        self.act(node, out)?;
        self.settle(node)
    }

    /// After something happened on a node: plans what follows from it, answers clients, and checks what it calls
    /// committed.
    pub(super) fn settle(&mut self, node: usize) -> Result<(), String> {
        let machine = &mut self.machines[node];
        machine.note_safe();
        let life = machine.life;
        let Some(process) = &mut machine.process else {
            return Ok(());
        };

        let mut planned = Vec::new();
        if !machine.log_busy && process.has_log_work() {
            machine.log_busy = true;
            planned.push((self.rng.below(1_500), Event::LogWrite { node, life }));
        }

        if !machine.lanes_busy && process.has_apply_work() {
            machine.lanes_busy = true;
            planned.push((self.rng.below(4_000), Event::Drain { node, life }));
        }

        for peer in process.connected() {
            if process.has_news(peer) {
                process.set_told(peer, true);
                planned.push((self.rng.below(1_000), Event::News { node, life, peer }));
            }
        }

        let answers = process.answers();
        let committed = process.commits.committed();
        let stream = process.identity.stream();
        let checked = std::mem::replace(&mut machine.checked, committed);

        for (wait, event) in planned {
            self.after(wait, event);
        }

        if committed > checked {
            self.acked.advance(stream, committed);
            self.check_within_seal(node, stream, committed)?;
            let quorum = match &self.machines[node].ring {
                Some(ring) => ring.quorum(&ring.groups[0]),
                None => self.quorum.clone(),
            };
            let holders = (0..self.machines.len())
                .filter(|n| self.seems_to_hold(node, *n, stream, committed));
            let holders: Vec<_> = holders.map(|n| self.names[n].clone()).collect();
            if !quorum.is_met_by(&holders) {
                return Err(format!(
                    "n{node} calls {stream}#{committed} committed, but it is durable on {holders:?} only"
                ));
            }
        }

        for (attempt, answer) in answers {
            self.answer(attempt, answer)?;
        }

        Ok(())
    }

    /// As far as `node` can know, `holder` has the entry safely.
    fn seems_to_hold(&self, node: usize, holder: usize, stream: StreamId, seq: u64) -> bool {
        let machine = &self.machines[holder];
        if machine.safe.get(stream) >= seq {
            return true;
        }
        let Some((incarnation, before)) = &machine.before else {
            return false;
        };

        let Some(process) = &self.machines[node].process else {
            return false;
        };

        let group = process.hub.group().lock();
        let known = group.peers().find(|(name, _)| **name == self.names[holder]);
        let known = known
            .and_then(|(_, view)| view.identity.as_ref())
            .map(|id| id.incarnation);

        known == Some(*incarnation) && before.get(stream) >= seq
    }
}
