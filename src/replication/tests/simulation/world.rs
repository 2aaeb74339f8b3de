//! Machines, the network between them, the schedule and the checks.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use trireme_base::SeededRng;
use trireme_ring::Quorum;
use trireme_wire::frame::{Decoder, Frame};
use trireme_wire::record::Record;

use super::Bug;
use super::disk::Disk;
use super::node::{NODES, Outcome, Process, name};

/// Rounds that healing may take; a round is 50 simulated milliseconds.
const HEAL_ROUNDS: usize = 2000;

#[derive(Debug, Default, Clone)]
pub struct Summary {
    pub acknowledged: u64,
    pub unacknowledged: u64,
    pub kills: u64,
    pub power_cuts: u64,
    pub lost_unsynced: u64,
    pub connections_lost: u64,
    pub catch_up_reads: u64,
    pub trimmed: u64,
}

impl Summary {
    pub fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.unacknowledged += other.unacknowledged;
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
        self.lost_unsynced += other.lost_unsynced;
        self.connections_lost += other.connections_lost;
        self.catch_up_reads += other.catch_up_reads;
        self.trimmed += other.trimmed;
    }
}

/// One direction of a pair of nodes: bytes on their way, in order, as long as the connection lives.
#[derive(Default)]
struct Pipe {
    frames: VecDeque<BytesMut>,
    /// Neither end can tell that nothing arrives any more.
    dead: bool,
}

pub struct World {
    rng: SeededRng,
    bug: Bug,
    now: Duration,
    disks: Vec<Disk>,
    processes: Vec<Option<Process>>,
    /// `pipes[from][to]`.
    pipes: Vec<Vec<Pipe>>,
    partitioned: Vec<Vec<bool>>,
    /// Disks that take writes but do not sync.
    stuck: [bool; NODES],
    acknowledged: Vec<Record>,
    summary: Summary,
}

type Steps = Result<Vec<(usize, Outcome)>, String>;

impl World {
    pub fn new(seed: u64, bug: Bug) -> Self {
        let now = Duration::from_secs(1);
        let mut disks: Vec<Disk> = (0..NODES).map(|_| Disk::default()).collect();
        let processes = disks
            .iter_mut()
            .enumerate()
            .map(|(i, disk)| Some(Process::start(i, disk, bug, now)))
            .collect();

        Self {
            rng: SeededRng::new(seed),
            bug,
            now,
            disks,
            processes,
            pipes: (0..NODES)
                .map(|_| (0..NODES).map(|_| Pipe::default()).collect())
                .collect(),
            partitioned: vec![vec![false; NODES]; NODES],
            stuck: [false; NODES],
            acknowledged: Vec::new(),
            summary: Summary::default(),
        }
    }

    fn node(&mut self) -> usize {
        self.rng.below(NODES as u64) as usize
    }

    fn pair(&mut self) -> (usize, usize) {
        let a = self.node();
        let b = (a + 1 + self.rng.below(NODES as u64 - 1) as usize) % NODES;
        (a, b)
    }

    /// Does `steps` random things.
    pub fn disturb(&mut self, steps: usize) -> Result<(), String> {
        for _ in 0..steps {
            let (a, b) = self.pair();
            match self.rng.below(1000) {
                0..100 => self.write(a),
                100..250 => {
                    self.step(a, |w, p, d| p.write_log(d, 1 + w.below(8) as usize, w.now))?
                }
                250..330 if self.stuck[a] => {}
                250..330 => self.step(a, |w, p, d| p.sync_log(d, w.now))?,
                330..410 => self.step(a, |w, p, d| p.apply(d, &mut w.rng, w.now))?,
                410..700 => self.deliver(a, b, 6)?,
                700..760 => self.step(a, |w, p, d| p.read_log(d, &mut w.rng, w.now))?,
                760..820 => self.step(a, |w, p, _| p.sent(b, w.now))?,
                820..880 => self.pass_time(a, b)?,
                880..940 => self.connect(a, b)?,
                940..948 => self.lose_connection(a, b),
                948..951 => self.partition(a, b),
                951..959 => self.heal_pair(a, b),
                959..961 => self.kill(a),
                961..964 => self.cut_power(a),
                964..980 => self.restart(a),
                980..984 => self.stuck[a] = true,
                984..988 => self.stuck[a] = false,
                _ => self.trim(a),
            }

            self.settle_commits()?;
        }
        Ok(())
    }

    fn write(&mut self, node: usize) {
        for _ in 0..=self.rng.below(4) {
            if let Some(process) = &mut self.processes[node] {
                process.accept_write(&mut self.rng, self.now);
            }
        }
    }

    fn trim(&mut self, node: usize) {
        if let Some(process) = &mut self.processes[node] {
            self.summary.trimmed += process.trim(&mut self.disks[node], &mut self.rng);
        }
    }

    /// One step of a running process; what it sends is put on its way.
    fn step(
        &mut self,
        node: usize,
        step: impl FnOnce(&mut Tools, &mut Process, &mut Disk) -> Steps,
    ) -> Result<(), String> {
        let Some(process) = &mut self.processes[node] else {
            return Ok(());
        };

        let mut tools = Tools {
            rng: self.rng.clone(),
            now: self.now,
        };
        let outcomes = step(&mut tools, process, &mut self.disks[node]);

        self.rng = tools.rng;
        for (peer, outcome) in outcomes.map_err(|problem| format!("n{node}: {problem}"))? {
            match outcome {
                Outcome::Send(frame) => self.send(node, peer, &frame),
                Outcome::HangUp => self.hang_up(node, peer),
            }
        }

        Ok(())
    }

    fn send(&mut self, from: usize, to: usize, frame: &Frame) {
        let pipe = &mut self.pipes[from][to];
        if !pipe.dead {
            let mut bytes = BytesMut::new();
            frame.encode().write_to(&mut bytes);
            pipe.frames.push_back(bytes);
        }
    }

    fn deliver(&mut self, from: usize, to: usize, frames: u64) -> Result<(), String> {
        for _ in 0..=self.rng.below(frames) {
            if self.partitioned[from][to] {
                return Ok(());
            }
            let Some(mut bytes) = self.pipes[from][to].frames.pop_front() else {
                return Ok(());
            };

            let frame = Decoder::default()
                .next(&mut bytes)
                .map_err(|e| e.to_string())?
                .ok_or("half a frame")?;

            self.step(to, |w, p, _| {
                if p.is_connected(from) {
                    p.receive(from, frame, w.now)
                } else {
                    Ok(vec![])
                }
            })?;
        }
        Ok(())
    }

    fn pass_time(&mut self, node: usize, peer: usize) -> Result<(), String> {
        self.now += Duration::from_millis(self.rng.below(300));
        self.step(node, |w, p, _| p.tick(peer, w.now))
    }

    /// A dial that succeeds replaces what was there; one side may not have noticed that it was lost.
    fn connect(&mut self, a: usize, b: usize) -> Result<(), String> {
        let up = |p: &Option<Process>| p.as_ref().map(|p| p.identity.clone());
        let (Some(id_a), Some(id_b)) = (up(&self.processes[a]), up(&self.processes[b])) else {
            return Ok(());
        };

        let level = |w: &Self, x: usize, y: usize| {
            w.processes[x].as_ref().is_some_and(|p| p.is_connected(y))
        };
        let alive = level(self, a, b) && level(self, b, a) && !self.pipes[a][b].dead;
        if alive || self.partitioned[a][b] {
            return Ok(());
        }

        self.break_pipes(a, b, false);
        self.step(a, |w, p, _| p.connect(b, &id_b, w.now))?;
        self.step(b, |w, p, _| p.connect(a, &id_a, w.now))
    }

    fn break_pipes(&mut self, a: usize, b: usize, dead: bool) {
        for (from, to) in [(a, b), (b, a)] {
            self.pipes[from][to] = Pipe {
                frames: VecDeque::new(),
                dead,
            };
        }
    }

    /// `node` closes; the other side notices, or not.
    fn hang_up(&mut self, node: usize, peer: usize) {
        self.summary.connections_lost += 1;
        self.break_pipes(node, peer, true);

        let notices = !self.partitioned[node][peer] && self.rng.chance(0.5);
        for (one, other) in [(node, peer), (peer, node)] {
            if let Some(process) = self.processes[one]
                .as_mut()
                .filter(|_| one == node || notices)
            {
                process.disconnect(other, self.now);
            }
        }
    }

    fn lose_connection(&mut self, a: usize, b: usize) {
        if self.processes[a]
            .as_ref()
            .is_some_and(|p| p.is_connected(b))
        {
            self.hang_up(a, b);
        }
    }

    fn partition(&mut self, a: usize, b: usize) {
        self.partitioned[a][b] = true;
        self.partitioned[b][a] = true;
    }

    fn heal_pair(&mut self, a: usize, b: usize) {
        self.partitioned[a][b] = false;
        self.partitioned[b][a] = false;
    }

    /// The process dies; the system closes its connections and keeps what it wrote.
    fn kill(&mut self, node: usize) {
        if self.processes[node].take().is_some() {
            self.summary.kills += 1;
            for peer in (0..NODES).filter(|p| *p != node) {
                self.break_pipes(node, peer, true);
                if let Some(process) = self.processes[peer]
                    .as_mut()
                    .filter(|_| !self.partitioned[node][peer])
                {
                    process.disconnect(node, self.now);
                }
            }
        }
    }

    /// The machine is gone at once; nobody is told.
    fn cut_power(&mut self, node: usize) {
        if self.processes[node].take().is_some() {
            self.summary.power_cuts += 1;
            self.summary.lost_unsynced += self.disks[node].power_cut(&mut self.rng);
            (0..NODES)
                .filter(|p| *p != node)
                .for_each(|peer| self.break_pipes(node, peer, true));
        }
    }

    fn restart(&mut self, node: usize) {
        if self.processes[node].is_none() {
            self.processes[node] = Some(Process::start(
                node,
                &mut self.disks[node],
                self.bug,
                self.now,
            ));
        }
    }

    /// Answers writes, and checks each answer at the moment it is given.
    fn settle_commits(&mut self) -> Result<(), String> {
        let quorum = Quorum::new((0..NODES).map(name), NODES);
        for node in 0..NODES {
            let Some(process) = &mut self.processes[node] else {
                continue;
            };

            self.summary.unacknowledged += process.commits.expire(self.now).len() as u64;
            for record in process.commits.advance() {
                let holders = (0..NODES)
                    .filter(|n| self.disks[*n].is_synced(&record))
                    .map(name);
                let holders: Vec<_> = holders.collect();
                if !quorum.is_met_by(&holders) {
                    return Err(format!(
                        "{record:?} was acknowledged but is durable on {holders:?} only"
                    ));
                }
                self.summary.acknowledged += 1;
                self.acknowledged.push(record);
            }
        }

        Ok(())
    }

    /// Repairs everything and lets all parts work until the replicas are equal.
    pub fn heal(&mut self) -> Result<(), String> {
        for a in 0..NODES {
            self.restart(a);
            self.stuck[a] = false;
            (0..NODES).for_each(|b| self.heal_pair(a, b));
        }

        for _ in 0..HEAL_ROUNDS {
            self.now += Duration::from_millis(50);
            for a in 0..NODES {
                self.step(a, |w, p, d| p.write_log(d, usize::MAX, w.now))?;
                self.step(a, |w, p, d| p.sync_log(d, w.now))?;
                for _ in 0..NODES * 4 {
                    self.step(a, |w, p, d| p.apply(d, &mut w.rng, w.now))?;
                    self.step(a, |w, p, d| p.read_log(d, &mut w.rng, w.now))?;
                }
                for b in (0..NODES).filter(|b| *b != a) {
                    self.connect(a, b)?;
                    self.step(a, |w, p, _| p.sent(b, w.now))?;
                    self.step(a, |w, p, _| p.tick(b, w.now))?;
                    self.deliver(a, b, 50)?;
                }
            }

            self.settle_commits()?;
            if self.is_level() {
                return Ok(());
            }
        }

        let vectors: Vec<String> = self
            .disks
            .iter()
            .map(|d| format!("{:?}", d.synced()))
            .collect();

        Err(format!("not level after healing: {}", vectors.join(" | ")))
    }

    /// All have applied everything, and know it of each other.
    fn is_level(&self) -> bool {
        let first = self.disks[0].synced();
        let level = |(disk, process): (&Disk, &Option<Process>)| {
            let Some(process) = process else { return false };
            let applied: usize = disk.streams().values().map(Vec::len).sum();
            disk.synced() == first
                && disk.written() == *first
                && process.head.len() == applied
                && process
                    .group
                    .peers()
                    .all(|(_, peer)| peer.positions == *first)
        };

        self.disks.iter().zip(&self.processes).all(level)
    }

    /// The promises.
    pub fn check(mut self) -> Result<Summary, String> {
        for record in &self.acknowledged {
            for (node, disk) in self.disks.iter().enumerate() {
                if disk.get(record.stream(), record.seq()) != Some(record) {
                    return Err(format!(
                        "acknowledged {record:?} is missing or different on n{node}"
                    ));
                }
            }
        }

        for node in 1..NODES {
            if self.disks[node].streams() != self.disks[0].streams() {
                return Err(format!("n{node} and n0 hold different records"));
            }
        }

        for process in self.processes.iter().flatten() {
            if let Some(((stream, seq), times)) =
                process.head.iter().find(|(_, times)| **times != 1)
            {
                return Err(format!(
                    "{stream}#{seq} was applied {times} times on {}",
                    process.identity.node
                ));
            }
            self.summary.catch_up_reads += process.catch_up_reads();
        }

        Ok(self.summary)
    }
}

/// What a step may use of the world.
pub struct Tools {
    pub rng: SeededRng,
    pub now: Duration,
}

impl Tools {
    fn below(&mut self, bound: u64) -> u64 {
        self.rng.below(bound)
    }
}
