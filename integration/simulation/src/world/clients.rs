//! Events of senders.

use std::time::Duration;

use trireme_base::Clock;
use trireme_model::Tenant;

use super::{Event, World};
use crate::history::Wanted;
use crate::request::Answer;
use crate::scenario::Kind;

/// Patience of a sender (us).
const PATIENCE_US: u64 = 7_000_000;
/// Requests that wait at a sender; beyond that it makes no new samples.
const QUEUE_MAX: usize = 60;

impl World {
    /// A sender scrapes its targets.
    pub(super) fn produce(&mut self, sender: usize) {
        if self.is_healing {
            return;
        }

        let mut again = 700_000 + self.rng.below(1_800_000);
        if self.scenario.load.moves && self.rng.chance(0.03) {
            // Until its series are let go, which takes some windows.
            again += 20_000_000 + self.rng.below(40_000_000);
        }

        self.after(again, Event::Produce(sender));
        if self.senders[sender].queue.len() >= QUEUE_MAX || self.is_quiet() {
            return;
        }

        let now_ms = self.clock.now_ms() + self.senders[sender].skew_ms;
        let series = self.senders[sender].series;
        let t = match self.rng.below(100) {
            // Late, by up to three windows, and perhaps for a time that has a value already.
            0..6 => (now_ms - self.rng.below(60_000) as i64) / 500 * 500,
            _ => now_ms / 500 * 500,
        };

        let first = self.next_value;
        self.next_value += 10;
        let wanted = self.wanted(sender, series, t);
        let made = self.history.make(&wanted, |n| (first + n as u64) as f64);

        self.senders[sender].queue.push_back(made);
        if self.rng.chance(0.05) {
            // Another sender of a pair, or one that has not heard its answer: the same again.
            let old = self.rng.below(made as u64 + 1) as usize;
            self.senders[sender].queue.push_back(old);
        }

        if self.rng.chance(0.03) {
            let value = self.rng.below(1 << 20) + (1 << 20);
            let other = self.history.make(&wanted, |n| (value + n as u64) as f64);
            self.senders[sender].queue.push_back(other);
        }

        self.send(sender);
    }

    fn is_quiet(&self) -> bool {
        let now = Duration::from_micros(self.now_us);
        self.scenario
            .load
            .quiet
            .is_some_and(|(from, to)| (from..to).contains(&now))
    }

    /// What a scrape is of: whose, and whether there is something about the metrics in it.
    pub(super) fn wanted(&mut self, sender: usize, series: usize, t: i64) -> Wanted {
        let load = &self.scenario.load;
        let moves = load.moves;
        let has_histograms = load.has_histograms;
        let has_metadata = load.has_metadata;

        if moves && self.rng.chance(0.03) {
            let name = format!("tenant-{}", self.history.tenants.len());
            self.senders[sender].tenant = Tenant::new(&name).expect("letters and digits");
        }

        let is_early = Duration::from_micros(self.now_us) < self.scenario.load.only_metadata_until;
        let about = match has_metadata {
            true if is_early => 0,
            true => self.rng.below(10),
            false => 9,
        };

        let help = (about < 3).then(|| format!("help {}", self.rng.below(3)));
        let series = if about == 0 { 0 } else { series };
        let tenant = match about {
            // Nothing else is ever sent for it.
            0 if self.rng.chance(0.3) => {
                Tenant::new(&format!("about-{sender}")).expect("letters and digits")
            }
            _ => self.senders[sender].tenant.clone(),
        };

        Wanted {
            tenant,
            sender,
            series,
            t,
            has_histograms,
            help,
        }
    }

    /// Sends what is first in the queue.
    pub(super) fn send(&mut self, sender: usize) {
        let client = &mut self.senders[sender];
        if client.attempt.is_some() {
            return;
        }
        let Some(batch) = client.queue.front().copied() else {
            return;
        };

        if client.wanders {
            client.home = self.rng.below(self.scenario.targets() as u64) as usize;
        }

        let attempt = self.next_attempt;
        let node = client.home;
        self.next_attempt += 1;
        client.attempt = Some((attempt, node));

        let way = self.network.latency(&mut self.rng);
        self.after(
            way,
            Event::Arrive {
                sender,
                attempt,
                node,
                batch,
            },
        );

        let answer = Answer::Later("no answer in time".to_owned());
        self.after(
            PATIENCE_US,
            Event::Answer {
                sender,
                attempt,
                answer,
            },
        );
    }

    /// A request reaches its node.
    pub(super) fn arrive(
        &mut self,
        sender: usize,
        attempt: u64,
        node: usize,
        batch: usize,
    ) -> Result<(), String> {
        let Some(process) = &mut self.machines[node].process else {
            let answer = Answer::Later("connection refused".to_owned());
            return self.answered(sender, attempt, answer);
        };
        process.write(attempt, &self.history.batches[batch]);
        self.attempts.insert(attempt, sender);
        self.settle(node)
    }

    /// A node answers.
    pub(super) fn answer(&mut self, attempt: u64, answer: Answer) -> Result<(), String> {
        let Some(sender) = self.attempts.remove(&attempt) else {
            return Ok(());
        };

        if answer == Answer::Stored {
            self.check_stored(sender, attempt)?;
        }

        if self.scenario.kind == Kind::Network && !self.is_healing && self.rng.chance(0.02) {
            // Lost on its way.
            return Ok(());
        }

        let way = self.network.latency(&mut self.rng);
        self.after(
            way,
            Event::Answer {
                sender,
                attempt,
                answer,
            },
        );

        Ok(())
    }

    /// Whoever is told that a request is stored is told so because a quorum has it.
    fn check_stored(&self, sender: usize, attempt: u64) -> Result<(), String> {
        let client = &self.senders[sender];
        let is_current = client
            .attempt
            .is_some_and(|(current, _)| current == attempt);
        let Some(batch) = client.queue.front().copied().filter(|_| is_current) else {
            return Ok(());
        };

        if self.decided.is_some() {
            // Who counts changes; queries are checked instead.
            return Ok(());
        }

        let voters = &self.machines[..self.scenario.voters];
        // A disk that was replaced, or a machine that stood in for another one, may have held it when that was confirmed.
        let has_stand_in = |n: usize| self.scenario.has_twin && n == self.victim;
        let lacking: Vec<usize> = (0..voters.len())
            .filter(|n: &usize| voters[*n].before.is_none() && !has_stand_in(*n))
            .filter(|n: &usize| {
                voters[*n]
                    .process
                    .as_ref()
                    .is_some_and(|p| self.history.lacks(batch, p))
            })
            .collect();

        if voters.len() - lacking.len() < self.quorum.needed() {
            return Err(format!(
                "request {batch} is called stored, but n{lacking:?} do not have all of it"
            ));
        }

        Ok(())
    }

    /// A sender hears an answer, or stops waiting for it.
    pub(super) fn answered(
        &mut self,
        sender: usize,
        attempt: u64,
        answer: Answer,
    ) -> Result<(), String> {
        if self.senders[sender]
            .attempt
            .is_none_or(|(current, _)| current != attempt)
        {
            return Ok(());
        }

        match answer {
            Answer::Stored => {
                if let Some(batch) = self.senders[sender].decided() {
                    self.history.acknowledge(batch);
                }
                self.summary.stored += 1;
                self.send(sender);
            }
            Answer::Refused(why) => {
                return Err(format!(
                    "a request with nothing wrong in it was refused for good: {why}"
                ));
            }
            Answer::Later(_) => {
                self.summary.retried += 1;
                let wait = self.senders[sender].failed();
                if self.rng.chance(0.6) {
                    self.senders[sender].home =
                        self.rng.below(self.scenario.targets() as u64) as usize;
                }
                self.after(wait, Event::Send(sender));
            }
        }

        Ok(())
    }
}
