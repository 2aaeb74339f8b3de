//! Sends prepared bodies over a fixed set of connections and measures each request.
//!
//! Body `i` of a scrape always travels on connection `i % connections`, as a sender's shards do: the samples of
//! one series reach the receiver in order however slow another connection is, and no connection runs far ahead.

mod pace;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use trireme_base::Clock;

use super::body::{Body, Protocol};
use super::http::{Client, Target};
use super::latency::Latencies;
use pace::Pace;

/// What the senders did.
#[derive(Clone, Default)]
pub struct Sent {
    /// From sending a request (with a given rate: from when it was due) to its answer; failed tries not included.
    pub latencies: Latencies,
    /// Samples in answered requests with a 2xx.
    pub samples_ok: u64,
    /// Samples given up: refused with 4xx, or still failing after all tries.
    pub samples_failed: u64,
    /// Answers that were not 2xx by status, `io` for connections that failed; each try counts.
    pub errors: BTreeMap<String, u64>,
    /// What the first failed try was answered, for a person.
    pub first_error: Option<String>,
    /// Time in which requests were under way; the generator's pauses are not part of it.
    pub wall: Duration,
}

impl Sent {
    /// Adds what other senders did at the same time; the walls do not add up.
    fn merge(&mut self, other: Sent) {
        self.latencies.merge(&other.latencies);
        self.samples_ok += other.samples_ok;
        self.samples_failed += other.samples_failed;
        self.first_error = self.first_error.take().or(other.first_error);
        for (status, count) in other.errors {
            *self.errors.entry(status).or_default() += count;
        }
    }
}

/// How requests are sent.
#[derive(Clone)]
pub struct Plan {
    pub targets: Vec<Target>,
    pub connections: usize,
    /// Every request goes to the next target, instead of each connection keeping its own.
    pub rotate: bool,
    pub protocol: Protocol,
    /// Lines with CR LF added to each request.
    pub headers: String,
    /// Samples per second over all connections; none: as fast as answers come.
    pub rate: Option<f64>,
    pub retries: u32,
    pub timeout: Duration,
}

impl Plan {
    fn client(&self, target: &Target) -> Client {
        Client::new(target.clone(), self.timeout)
    }
}

/// The connections; they are kept from one call to the next.
pub struct Senders<'a> {
    plan: Plan,
    clock: &'a dyn Clock,
    connections: Vec<Connection>,
    headers: String,
    /// With a rate: when the next request is due, as time since the clock's start.
    due: Duration,
}

struct Connection {
    clients: Vec<Client>,
    next: usize,
}

impl<'a> Senders<'a> {
    /// Senders that connect at their first request.
    pub fn new(plan: Plan, clock: &'a dyn Clock) -> Self {
        let count = plan.targets.len();
        let connections = (0..plan.connections.max(1))
            .map(|i| match plan.rotate {
                true => Connection {
                    clients: plan
                        .targets
                        .iter()
                        .map(|target| plan.client(target))
                        .collect(),
                    next: i,
                },
                false => Connection {
                    clients: vec![plan.client(&plan.targets[i % count])],
                    next: 0,
                },
            })
            .collect();

        let headers = format!("{}{}", plan.protocol.headers(), plan.headers);
        Self {
            plan,
            clock,
            connections,
            headers,
            due: Duration::ZERO,
        }
    }

    /// Sends the bodies of some scrapes, one scrape after the other on each connection, and adds to `sum`.
    pub fn send(&mut self, scrapes: &[Vec<Body>], sum: &mut Sent) -> anyhow::Result<()> {
        let begin = self.clock.monotonic();
        let lanes = self.connections.len();
        let round = Round {
            due: self.due_times(scrapes, begin),
            plan: &self.plan,
            clock: self.clock,
            headers: &self.headers,
            scrapes,
            lanes,
            pace: Pace::new(lanes),
        };

        let round = &round;
        let sent = std::thread::scope(|scope| -> anyhow::Result<Vec<Sent>> {
            let mut threads = Vec::with_capacity(lanes);
            for (lane, connection) in self.connections.iter_mut().enumerate() {
                let thread = std::thread::Builder::new()
                    .name(format!("sender-{lane}"))
                    .spawn_scoped(scope, move || round.run(lane, connection));

                threads.push(thread.context("cannot start a sender")?);
            }

            Ok(threads
                .into_iter()
                .map(|thread| thread.join().expect("senders do not panic"))
                .collect())
        })?;

        sent.into_iter().for_each(|one| sum.merge(one));
        sum.wall += self.clock.monotonic() - begin;
        Ok(())
    }

    /// When each request is due, at the given rate, never in a burst for time spent preparing.
    fn due_times(&mut self, scrapes: &[Vec<Body>], begin: Duration) -> Option<Vec<Duration>> {
        let rate = self.plan.rate?;
        self.due = self.due.max(begin);
        let bodies = scrapes.iter().flatten();

        Some(
            bodies
                .map(|body| {
                    let due = self.due;
                    self.due += Duration::from_secs_f64(body.samples as f64 / rate);
                    due
                })
                .collect(),
        )
    }
}

/// Some scrapes that all connections send together.
struct Round<'a> {
    plan: &'a Plan,
    clock: &'a dyn Clock,
    headers: &'a str,
    scrapes: &'a [Vec<Body>],
    /// With a rate: when each body is due.
    due: Option<Vec<Duration>>,
    lanes: usize,
    pace: Pace,
}

impl Round<'_> {
    /// Sends the bodies of one connection.
    fn run(&self, lane: usize, connection: &mut Connection) -> Sent {
        let mut sent = Sent::default();
        let mut base = 0;
        for (number, bodies) in self.scrapes.iter().enumerate() {
            self.pace.wait(number);
            let own = bodies.iter().enumerate().skip(lane).step_by(self.lanes);
            for (index, body) in own {
                let due = self.due.as_ref().map(|due| due[base + index]);
                connection.send(self, body, due, &mut sent);
            }
            base += bodies.len();
            self.pace.finish(lane);
        }
        sent
    }
}

/// Why a try failed.
struct Failed {
    /// The status, or `io`.
    label: String,
    /// How long the receiver asks to wait before the next try; none if there is to be none.
    wait: Option<Duration>,
    text: String,
}

impl Connection {
    /// Sends a body until it is taken, refused for good, or tried often enough.
    fn send(&mut self, round: &Round<'_>, body: &Body, due: Option<Duration>, sent: &mut Sent) {
        let clock = round.clock;
        let now = clock.monotonic();
        let mut begin = now;
        if let Some(due) = due {
            // A request that starts late because the one before was slow counts from when it was due.
            begin = due;
            std::thread::sleep(due.saturating_sub(now));
        }

        let retries = round.plan.retries;
        for attempt in 0..=retries {
            let Err(failed) = self.try_once(round.headers, body) else {
                sent.latencies.add(clock.monotonic().saturating_sub(begin));
                sent.samples_ok += body.samples as u64;
                return;
            };

            sent.first_error
                .get_or_insert_with(|| format!("{}: {}", failed.label, failed.text.trim()));
            *sent.errors.entry(failed.label).or_default() += 1;

            let Some(asked) = failed.wait.filter(|_| attempt < retries) else {
                break;
            };

            std::thread::sleep(asked.max(Duration::from_millis(30 << attempt.min(7))));
        }

        sent.samples_failed += body.samples as u64;
    }

    /// Sends a body to the next server.
    fn try_once(&mut self, headers: &str, body: &Body) -> Result<(), Failed> {
        let index = self.next % self.clients.len();
        self.next += 1;
        let client = &mut self.clients[index];
        let path = client.path().to_string();

        let answer = client
            .send("POST", &path, headers, &body.bytes)
            .map_err(|error| Failed {
                label: "io".to_string(),
                wait: Some(Duration::ZERO),
                text: error.to_string(),
            })?;
        if answer.status / 100 == 2 {
            return Ok(());
        }

        let temporary = answer.status / 100 == 5 || answer.status == 429;
        let asked = Duration::from_secs(answer.retry_after_s.unwrap_or(0).min(5));
        let text = String::from_utf8_lossy(&answer.body);
        Err(Failed {
            label: answer.status.to_string(),
            wait: temporary.then_some(asked),
            text: text.chars().take(300).collect(),
        })
    }
}

#[cfg(test)]
mod tests;
