//! Connections between machines: ordered bytes, as long as they live, and partitions of every shape.

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;
use trireme_base::SeededRng;
use trireme_wire::frame::{Decoder, Frame};

/// A connection as its two ends see it; end 0 is the one that dialled.
pub struct Conn {
    /// Machines at the ends.
    pub ends: [usize; 2],
    /// Whether each end still holds it open.
    pub open: [bool; 2],
    /// Bytes on their way to each end, with the time at which they are there (us).
    pipes: [VecDeque<(u64, BytesMut)>; 2],
}

/// All connections.
pub struct Network {
    conns: BTreeMap<u64, Conn>,
    next: u64,
    /// Nothing gets from the first machine to the second.
    blocked: BTreeMap<(usize, usize), bool>,
    /// Longest time on the way (us).
    latency_us: u64,
}

impl Network {
    /// A network without connections.
    pub fn new(rng: &mut SeededRng) -> Self {
        let latency_us = [500, 3_000, 40_000][rng.below(3) as usize];
        Self {
            conns: BTreeMap::new(),
            next: 1,
            blocked: BTreeMap::new(),
            latency_us,
        }
    }

    /// Time that something takes now (us).
    pub fn latency(&self, rng: &mut SeededRng) -> u64 {
        100 + rng.below(self.latency_us)
    }

    /// Cuts or mends one direction.
    pub fn set_blocked(&mut self, from: usize, to: usize, is_blocked: bool) {
        self.blocked.insert((from, to), is_blocked);
    }

    /// Nothing gets from one to the other.
    pub fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocked.get(&(from, to)).copied().unwrap_or(false)
    }

    /// Directions that are cut.
    pub fn cuts(&self) -> Vec<(usize, usize)> {
        self.blocked
            .iter()
            .filter(|(_, blocked)| **blocked)
            .map(|(pair, _)| *pair)
            .collect()
    }

    /// A new connection.
    pub fn connect(&mut self, from: usize, to: usize) -> u64 {
        let conn = self.next;
        self.next += 1;
        self.conns.insert(
            conn,
            Conn {
                ends: [from, to],
                open: [true, true],
                pipes: Default::default(),
            },
        );

        conn
    }

    /// The connection with this number, while one end is open.
    pub fn get(&self, conn: u64) -> Option<&Conn> {
        self.conns.get(&conn)
    }

    /// Numbers of all connections of a machine.
    pub fn of(&self, machine: usize) -> Vec<u64> {
        self.conns
            .iter()
            .filter(|(_, c)| c.ends.contains(&machine))
            .map(|(n, _)| *n)
            .collect()
    }

    /// Numbers of all connections.
    pub fn all(&self) -> Vec<u64> {
        self.conns.keys().copied().collect()
    }

    /// Puts a frame on its way; answers which end gets it and when.
    pub fn send(
        &mut self,
        conn: u64,
        from: usize,
        frame: &Frame,
        now: u64,
        rng: &mut SeededRng,
    ) -> Option<(usize, u64)> {
        let latency = self.latency(rng);
        let found = self.conns.get_mut(&conn)?;
        let to = usize::from(found.ends[0] == from);
        if !found.open[1 - to] {
            return None;
        }

        let mut bytes = BytesMut::new();
        frame.encode().write_to(&mut bytes);
        let pipe = &mut found.pipes[to];
        let at = pipe.back().map_or(0, |(at, _)| *at).max(now + latency);

        pipe.push_back((at, bytes));
        Some((to, at))
    }

    /// What has arrived at an end.
    pub fn arrived(&mut self, conn: u64, end: usize, now: u64) -> Result<Option<Frame>, String> {
        let Some(found) = self.conns.get(&conn) else {
            return Ok(None);
        };

        let from = found.ends[1 - end];
        let to = found.ends[end];
        if self.is_blocked(from, to) {
            return Ok(None);
        }
        let Some(found) = self.conns.get_mut(&conn) else {
            return Ok(None);
        };

        if found.pipes[end].front().is_none_or(|(at, _)| *at > now) {
            return Ok(None);
        }
        let Some((_, mut bytes)) = found.pipes[end].pop_front() else {
            return Ok(None);
        };

        let frame = Decoder::default()
            .next(&mut bytes)
            .map_err(|e| e.to_string())?;

        frame.ok_or_else(|| "half a frame".to_owned()).map(Some)
    }

    /// Something has arrived at an end and was not taken.
    pub fn is_due(&self, conn: u64, end: usize, now: u64) -> bool {
        let first = self.conns.get(&conn).and_then(|c| c.pipes[end].front());
        first.is_some_and(|(at, _)| *at <= now)
    }

    /// One end closes; answers the other machine and when it can notice. A machine without power says nothing, and what
    /// it had in its buffers is lost.
    pub fn close(&mut self, conn: u64, machine: usize, has_power: bool) -> Option<(usize, u64)> {
        let found = self.conns.get_mut(&conn)?;
        let end = usize::from(found.ends[1] == machine);
        found.open[end] = false;

        let other = 1 - end;
        if !has_power {
            found.pipes[other].clear();
        }

        let told = (
            found.ends[other],
            found.pipes[other].back().map_or(0, |(at, _)| *at),
        );
        if !found.open[other] {
            self.conns.remove(&conn);
            return None;
        }

        has_power.then_some(told)
    }
}
