//! Virtual time: one queue of events for all machines, the network between them and their clients.

mod clients;
mod faults;
mod finish;
mod links;
mod nodes;
mod rebuild;
mod ring;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use trireme_base::{NodeName, SeededRng, StreamId};
use trireme_replication::PositionVector;
use trireme_ring::{Quorum, Ring};

use crate::clock::SimClock;
use crate::history::History;
use crate::machine::Machine;
use crate::mutation::Mutation;
use crate::network::Network;
use crate::request::Answer;
use crate::scenario::Scenario;
use crate::sender::Sender;
use crate::{Summary, trace::Trace};
use faults::Repair;

/// Something that will happen. Numbers are those of machines; a `life` names one process of a machine.
#[derive(Debug)]
enum Event {
    Start(usize),
    Crash {
        node: usize,
        life: u64,
        has_power: bool,
    },
    Tick {
        node: usize,
        life: u64,
    },
    Look {
        node: usize,
        life: u64,
    },
    Replay {
        node: usize,
        life: u64,
    },
    LogWrite {
        node: usize,
        life: u64,
    },
    LogSync {
        node: usize,
        life: u64,
    },
    Drain {
        node: usize,
        life: u64,
    },
    News {
        node: usize,
        life: u64,
        peer: usize,
    },
    Read {
        node: usize,
        life: u64,
        peer: usize,
        conn: u64,
        stream: StreamId,
        from: u64,
        bytes: u64,
    },
    Dial {
        from: usize,
        to: usize,
    },
    Deliver {
        conn: u64,
        end: usize,
    },
    Closed {
        conn: u64,
        node: usize,
    },
    Produce(usize),
    Send(usize),
    Arrive {
        sender: usize,
        attempt: u64,
        node: usize,
        batch: usize,
    },
    Answer {
        sender: usize,
        attempt: u64,
        answer: Answer,
    },
    Fault,
    Repair(Repair),
    /// The disk is replaced by an empty one.
    Replace(usize),
    /// The data directory is replaced by an older state of itself.
    SetBack(usize),
    ChangeRing,
    /// A node takes the ring of another one.
    Adopt {
        node: usize,
        from: usize,
    },
    Query,
}

/// One run.
pub struct World {
    scenario: Scenario,
    mutation: Option<Mutation>,
    rng: SeededRng,
    now_us: u64,
    order: u64,
    queue: BTreeMap<(u64, u64), Event>,
    clock: SimClock,
    names: Vec<NodeName>,
    quorum: Quorum,
    machines: Vec<Machine>,
    /// Cuts of streams that began by a clock that nobody had confirmed.
    first_cuts: BTreeSet<i64>,
    network: Network,
    senders: Vec<Sender>,
    history: History,
    next_attempt: u64,
    next_value: u64,
    /// Who made which attempt that a machine works on.
    attempts: BTreeMap<u64, usize>,
    /// Faults and new samples have ended.
    is_healing: bool,
    /// The machine whose disk is damaged or replaced, if any.
    victim: usize,
    was_wiped: bool,
    /// The ring that was decided last, where rings change.
    decided: Option<Ring>,
    /// Up to where each stream was acknowledged.
    acked: PositionVector,
    summary: Summary,
    trace: Trace,
}

impl World {
    /// A group that is about to start, on data directories under `root`.
    pub fn new(
        scenario: Scenario,
        mutation: Option<Mutation>,
        root: &std::path::Path,
        trace: Trace,
    ) -> anyhow::Result<Self> {
        let mut rng = SeededRng::new(scenario.seed);
        let clock = SimClock::default();
        clock.set_us(1_000_000);

        let mut names: Vec<NodeName> = (0..scenario.members())
            .map(|n| NodeName::new(&format!("n{n}")))
            .collect();

        let victim = rng.below(scenario.voters as u64) as usize;
        if scenario.has_twin {
            names.push(names[victim].clone());
        }

        let mut machines = Vec::new();
        for index in 0..names.len() {
            let dir = root.join(format!("n{index}"));
            std::fs::create_dir_all(&dir)?;
            machines.push(Machine::new(dir, index, clock.beside(), mutation));
        }

        let network = Network::new(&mut rng);
        let senders = (0..3)
            .map(|n| {
                let skew_ms = if rng.chance(0.3) {
                    rng.below(4_000) as i64 - 2_000
                } else {
                    0
                };
                Sender::new(
                    n % scenario.voters,
                    2 + rng.below(3) as usize,
                    skew_ms,
                    rng.chance(0.2),
                )
            })
            .collect();

        let quorum = Quorum::new(names[..scenario.voters].to_vec(), scenario.voters);
        let mut world = Self {
            scenario,
            mutation,
            rng,
            now_us: 1_000_000,
            order: 0,
            queue: BTreeMap::new(),
            clock,
            names,
            quorum,
            first_cuts: BTreeSet::new(),
            machines,
            network,
            senders,
            history: History::default(),
            next_attempt: 1,
            next_value: 1,
            attempts: BTreeMap::new(),
            is_healing: false,
            victim,
            was_wiped: false,
            decided: None,
            acked: PositionVector::new(),
            summary: Summary::default(),
            trace,
        };

        if world.scenario.spares > 0 {
            let first = ring::first_ring(&world.names[..world.scenario.voters]);
            (0..world.scenario.voters).for_each(|n| world.machines[n].ring = Some(first.clone()));
            world.decided = Some(first);
        }

        if let Some(twin) = world.twin() {
            world.machines[twin].is_idle = true;
        }

        if world.scenario.has_years && world.rng.chance(0.3) {
            world.year(world.victim);
        }

        world.begin();
        Ok(world)
    }

    /// The machine that says to be the victim, if there is one.
    fn twin(&self) -> Option<usize> {
        self.scenario.has_twin.then(|| self.scenario.members())
    }

    fn begin(&mut self) {
        for node in 0..self.machines.len() {
            let wait = self.rng.below(300_000);
            self.after(wait, Event::Start(node));
            for to in node + 1..self.machines.len() {
                let wait = 100_000 + self.rng.below(300_000);
                self.after(wait, Event::Dial { from: node, to });
            }
        }

        for sender in 0..self.senders.len() {
            let wait = 500_000 + self.rng.below(1_500_000);
            self.after(wait, Event::Produce(sender));
        }

        self.after(4_000_000, Event::Fault);
        if self.decided.is_some() {
            self.after(3_000_000, Event::ChangeRing);
            self.after(1_000_000, Event::Query);
        }
    }

    fn after(&mut self, wait_us: u64, event: Event) {
        self.order += 1;
        self.queue
            .insert((self.now_us + wait_us, self.order), event);
    }

    /// Lets everything happen that is due within `span`.
    fn run_for(&mut self, span: Duration) -> Result<(), String> {
        let end = self.now_us + span.as_micros() as u64;
        while let Some(((at, order), event)) = self.queue.pop_first() {
            if at > end {
                self.queue.insert((at, order), event);
                break;
            }

            self.now_us = at;
            self.clock.set_us(at);
            if let Some(until) = self.paused_until(&event).filter(|until| *until > at) {
                // The order stays: what waits at a machine that is stopped comes to it in the order in which it came.
                self.queue.insert((until, order), event);
                continue;
            }

            self.summary.events += 1;
            self.handle(event)?;
        }

        self.now_us = end;
        self.clock.set_us(end);
        Ok(())
    }

    /// When the machine that an event happens on goes on, as far as it matters to the event.
    fn paused_until(&self, event: &Event) -> Option<u64> {
        let node = match event {
            Event::Tick { node, .. }
            | Event::Look { node, .. }
            | Event::Replay { node, .. }
            | Event::LogWrite { node, .. }
            | Event::LogSync { node, .. }
            | Event::Drain { node, .. }
            | Event::News { node, .. }
            | Event::Read { node, .. }
            | Event::Closed { node, .. }
            | Event::Adopt { node, .. }
            | Event::Arrive { node, .. } => *node,
            Event::Deliver { conn, end } => self.network.get(*conn)?.ends[*end],
            Event::Dial { from, to } => {
                return Some(
                    self.machines[*from]
                        .paused_until
                        .max(self.machines[*to].paused_until),
                );
            }
            // Whoever ends a process or starts one needs no help from it.
            _ => return None,
        };
        Some(self.machines[node].paused_until)
    }

    fn handle(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Start(node) => self.start(node),
            Event::Crash {
                node,
                life,
                has_power,
            } => {
                if self.lives(node, life) {
                    self.crash(node, has_power);
                }
                Ok(())
            }
            Event::Tick { node, life } => self.tick(node, life),
            Event::Look { node, life } => self.look(node, life),
            Event::Replay { node, life } => self.replay(node, life),
            Event::LogWrite { node, life } => self.log_write(node, life),
            Event::LogSync { node, life } => self.log_sync(node, life),
            Event::Drain { node, life } => self.drain(node, life),
            Event::News { node, life, peer } => self.news(node, life, peer),
            Event::Read {
                node,
                life,
                peer,
                conn,
                stream,
                from,
                bytes,
            } => {
                let Some(process) = self.process(node, life) else {
                    return Ok(());
                };
                if process.connection(peer) != Some(conn) {
                    return Ok(());
                }
                let out = process.read(peer, stream, from, bytes);
                self.act(node, out)?;
                self.settle(node)
            }
            Event::Dial { from, to } => self.dial(from, to),
            Event::Deliver { conn, end } => self.deliver(conn, end),
            Event::Closed { conn, node } => self.closed(conn, node),
            Event::Produce(sender) => {
                self.produce(sender);
                Ok(())
            }
            Event::Send(sender) => {
                self.send(sender);
                Ok(())
            }
            Event::Arrive {
                sender,
                attempt,
                node,
                batch,
            } => self.arrive(sender, attempt, node, batch),
            Event::Answer {
                sender,
                attempt,
                answer,
            } => self.answered(sender, attempt, answer),
            Event::Fault => {
                self.fault();
                Ok(())
            }
            Event::Repair(repair) => {
                self.repair(repair);
                Ok(())
            }
            Event::Replace(node) => self.replace(node),
            Event::SetBack(node) => self.set_back(node),
            Event::ChangeRing => self.change_ring(),
            Event::Adopt { node, from } => self.adopt(node, from),
            Event::Query => self.query(),
        }
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        self.trace.note(self.now_us, text);
    }

    /// What was noted, if anything was.
    pub fn into_trace(self) -> Trace {
        self.trace
    }
}
