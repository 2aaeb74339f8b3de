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
        let client = |target: &Target| Client::new(target.clone(), plan.timeout);
        let connections = (0..plan.connections.max(1))
            .map(|i| match plan.rotate {
                true => Connection {
                    clients: plan.targets.iter().map(client).collect(),
                    next: i,
                },
                false => Connection {
                    clients: vec![client(&plan.targets[i % count])],
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
        let due = self.due_times(scrapes, begin);
        let plan = &self.plan;
        let clock = self.clock;
        let headers = &self.headers;
        let lanes = self.connections.len();
        let pace = &Pace::new(lanes);
        let sent = std::thread::scope(|scope| -> anyhow::Result<Vec<Sent>> {
            let mut threads = Vec::with_capacity(lanes);
            for (lane, connection) in self.connections.iter_mut().enumerate() {
                let due = &due;
                let work = move || {
                    let mut sent = Sent::default();
                    let mut base = 0;
                    for (number, bodies) in scrapes.iter().enumerate() {
                        pace.wait(number);
                        for (index, body) in bodies.iter().enumerate().skip(lane).step_by(lanes) {
                            let due = due.as_ref().map(|due| due[base + index]);
                            connection.send(plan, clock, headers, body, due, &mut sent);
                        }
                        base += bodies.len();
                        pace.finish(lane);
                    }
                    sent
                };

                let thread = std::thread::Builder::new()
                    .name(format!("sender-{lane}"))
                    .spawn_scoped(scope, work);

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

impl Connection {
    fn send(
        &mut self,
        plan: &Plan,
        clock: &dyn Clock,
        headers: &str,
        body: &Body,
        due: Option<Duration>,
        sent: &mut Sent,
    ) {
        let now = clock.monotonic();

        let mut begin = now;
        if let Some(due) = due {
            // A request that starts late because the one before was slow counts from when it was due.
            begin = due;
            std::thread::sleep(due.saturating_sub(now));
        }

        for attempt in 0..=plan.retries {
            let index = self.next % self.clients.len();
            self.next += 1;
            let client = &mut self.clients[index];
            let path = client.path().to_string();
            let (label, wait, text) = match client.send("POST", &path, headers, &body.bytes) {
                Ok(answer) if answer.status / 100 == 2 => {
                    sent.latencies.add(clock.monotonic().saturating_sub(begin));
                    sent.samples_ok += body.samples as u64;
                    return;
                }
                Ok(answer) => {
                    let temporary = answer.status / 100 == 5 || answer.status == 429;
                    let asked = Duration::from_secs(answer.retry_after_s.unwrap_or(0).min(5));
                    let text = String::from_utf8_lossy(&answer.body)
                        .chars()
                        .take(300)
                        .collect();
                    (answer.status.to_string(), temporary.then_some(asked), text)
                }
                Err(error) => ("io".to_string(), Some(Duration::ZERO), error.to_string()),
            };

            sent.first_error
                .get_or_insert_with(|| format!("{label}: {}", text.trim()));
            *sent.errors.entry(label).or_default() += 1;

            let Some(asked) = wait.filter(|_| attempt < plan.retries) else {
                break;
            };

            std::thread::sleep(asked.max(Duration::from_millis(30 << attempt.min(7))));
        }

        sent.samples_failed += body.samples as u64;
    }
}

#[cfg(test)]
mod tests;
