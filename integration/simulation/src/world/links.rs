//! Events of the connections between machines.

use trireme_transport::Refusal;

use super::{Event, World};
use crate::process::Out;

/// How long a node does not connect after its own log refused records (us).
const STORE_FAULT_US: u64 = 5_000_000;

impl World {
    pub(super) fn close(&mut self, conn: u64, node: usize, has_power: bool) {
        if let Some((other, at)) = self.network.close(conn, node, has_power) {
            let latency = self.network.latency(&mut self.rng);
            let wait = at.saturating_sub(self.now_us) + latency;
            self.after(wait, Event::Closed { conn, node: other });
        }
    }

    pub(super) fn closed(&mut self, conn: u64, node: usize) -> Result<(), String> {
        let Some(found) = self.network.get(conn) else {
            return Ok(());
        };

        let end = usize::from(found.ends[1] == node);
        let peer = found.ends[1 - end];
        if self.network.is_blocked(peer, node) {
            // Heard when the way is open again, if the node has not given up by itself.
            self.after(500_000, Event::Closed { conn, node });
            return Ok(());
        }

        if let Some(process) = &mut self.machines[node].process
            && process.connection(peer) == Some(conn)
        {
            process.disconnect(peer);
            self.note(|| format!("n{node} loses its connection to n{peer}"));
        }

        self.network.close(conn, node, false);
        self.settle(node)
    }

    pub(super) fn dial(&mut self, from: usize, to: usize) -> Result<(), String> {
        let wait = 100_000 + self.rng.below(400_000);
        self.after(wait, Event::Dial { from, to });

        let is_silent = |node: usize| self.machines[node].silent_until > self.now_us;
        if self.names[from] == self.names[to]
            || self.network.is_blocked(from, to)
            || self.network.is_blocked(to, from)
            || is_silent(from)
            || is_silent(to)
        {
            return Ok(());
        }

        let (Some(a), Some(b)) = (&self.machines[from].process, &self.machines[to].process) else {
            return Ok(());
        };
        if a.connection(to).is_some() {
            return Ok(());
        }

        let [(one, its), (other, of_other)] =
            [a, b].map(|p| (p.identity.clone(), p.lineage.clone()));
        if let Err(refusal) = a.admits(&other, &of_other) {
            return self.turned_away(to, from, &refusal);
        }
        if let Err(refusal) = b.admits(&one, &its) {
            return self.turned_away(from, to, &refusal);
        }

        self.check_twins(from, to)?;
        self.check_twins(to, from)?;
        let conn = self.network.connect(from, to);

        self.note(|| format!("n{from} and n{to} connect ({conn})"));
        for (node, peer, identity, lineage) in [(from, to, other, of_other), (to, from, one, its)] {
            let Some(process) = &mut self.machines[node].process else {
                continue;
            };
            if let Some(old) = process.connection(peer) {
                self.network.close(old, node, true);
            }
            let Some(process) = &mut self.machines[node].process else {
                continue;
            };
            let out = process.connect(peer, identity, &lineage, conn);
            self.act(node, out)?;
        }

        self.settle(from)?;
        self.settle(to)
    }

    /// A node was refused by a peer. If enough say that it must not run, it does not any more.
    fn turned_away(&mut self, node: usize, by: usize, refusal: &Refusal) -> Result<(), String> {
        self.note(|| format!("n{by} refuses n{node}: {refusal}"));
        let Some(process) = &mut self.machines[node].process else {
            return Ok(());
        };

        match process.refused_by(by, refusal) {
            Some(why) => self.refuse(node, &why),
            None => Ok(()),
        }
    }

    /// The members have shown that a process must not run: it ends, and its directory is not used again.
    fn refuse(&mut self, node: usize, why: &str) -> Result<(), String> {
        if self.summary.set_back == 0 || node != self.victim {
            return Err(format!(
                "n{node} is said to be a copy of another one: {why}"
            ));
        }

        self.summary.refused += 1;
        self.note(|| format!("n{node} must not run: {why}"));
        self.crash(node, true);
        self.machines[node].is_refused = true;

        // An operator gives it an empty disk.
        self.after(2_000_000, Event::Replace(node));
        Ok(())
    }

    /// Two machines of one name are never connected to a node at a time.
    fn check_twins(&self, node: usize, peer: usize) -> Result<(), String> {
        let Some(process) = &self.machines[node].process else {
            return Ok(());
        };
        match process
            .connected()
            .into_iter()
            .find(|other: &usize| *other != peer && self.names[*other] == self.names[peer])
        {
            Some(_) => Err(format!(
                "n{node} is connected to two that say to be {}",
                self.names[peer]
            )),
            None => Ok(()),
        }
    }

    pub(super) fn deliver(&mut self, conn: u64, end: usize) -> Result<(), String> {
        let Some(found) = self.network.get(conn) else {
            return Ok(());
        };

        let node = found.ends[end];
        let peer = found.ends[1 - end];
        let Some(process) = &self.machines[node].process else {
            return Ok(());
        };
        if process.connection(peer) != Some(conn) {
            return Ok(());
        }

        let Some(frame) = self.network.arrived(conn, end, self.now_us)? else {
            return Ok(());
        };
        let Some(process) = &mut self.machines[node].process else {
            return Ok(());
        };

        let out = process.receive(peer, frame);
        self.act(node, out)?;

        if self.network.is_due(conn, end, self.now_us) {
            // What came while the way was cut has no event of its own any more.
            self.after(200, Event::Deliver { conn, end });
        }

        self.settle(node)
    }

    /// What was held up by a partition goes on.
    pub(super) fn resume(&mut self) {
        for conn in self.network.all() {
            for end in 0..2 {
                if self.network.is_due(conn, end, self.now_us) {
                    self.after(1_000, Event::Deliver { conn, end });
                }
            }
        }
    }

    pub(super) fn act(&mut self, node: usize, out: Vec<Out>) -> Result<(), String> {
        let life = self.machines[node].life;
        for one in out {
            let Some(process) = &mut self.machines[node].process else {
                return Ok(());
            };
            match one {
                Out::Send(peer, frame) => {
                    let Some(conn) = process.connection(peer) else {
                        continue;
                    };
                    let sent = self
                        .network
                        .send(conn, node, &frame, self.now_us, &mut self.rng);
                    if let Some((end, at)) = sent {
                        self.after(at - self.now_us, Event::Deliver { conn, end });
                    }
                }
                Out::Read(peer, stream, from, bytes) => {
                    let Some(conn) = process.connection(peer) else {
                        continue;
                    };

                    let wait = 100 + self.rng.below(5_000);
                    self.summary.catch_up_reads += 1;
                    self.after(
                        wait,
                        Event::Read {
                            node,
                            life,
                            peer,
                            conn,
                            stream,
                            from,
                            bytes,
                        },
                    );
                }
                Out::HangUp(peer, why, is_store) => {
                    let Some(conn) = process.connection(peer) else {
                        continue;
                    };
                    process.disconnect(peer);
                    self.summary.hang_ups += 1;
                    self.note(|| format!("n{node} hangs up on n{peer}: {why}"));
                    if is_store {
                        let until = self.now_us + STORE_FAULT_US;
                        self.machines[node].silent_until = until;
                    }
                    self.close(conn, node, true);
                }
                Out::Refused(why) => self.refuse(node, &why)?,
            }
        }

        Ok(())
    }
}
