//! Changes of the ring, and queries, which must see every write that was acknowledged before they began.
//!
//! That all agree on the order of changes is taken for granted: here a leader has the last ring and reaches most members.
//! Which change is safe is decided by the product's guard, by what the leader knows of the others; they hear of it from
//! each other.

use std::collections::BTreeMap;

use trireme_base::{NodeName, StreamId};
use trireme_replication::PositionVector;
use trireme_ring::{
    Change, Evidence, Group, Member, MemberEvidence, MemberState, Proposal, Ring, guard, next_step,
};
use trireme_transport::ReplicaStore;

use super::{Event, World};
use crate::mutation::Mutation;

/// Members that have not left, at most.
const PRESENT_MAX: usize = 5;

/// A ring of active members.
pub(super) fn first_ring(names: &[NodeName]) -> Ring {
    let members = names
        .iter()
        .map(|name| Member::active(name.as_str(), &format!("{name}:1")))
        .collect();
    Ring::new(1, names.len(), vec![Group::new("g0", members)]).expect("names differ")
}

impl World {
    /// The group as it was decided last; `None` if it never changes.
    fn decided_group(&self) -> Option<&Group> {
        self.decided.as_ref().map(|ring| &ring.groups[0])
    }

    /// Machines of the members.
    pub(super) fn members(&self) -> Vec<usize> {
        (0..self.scenario.members())
            .filter(|n: &usize| {
                self.decided_group().is_none_or(|group: &Group| {
                    group.present().any(|member| member.node == self.names[*n])
                })
            })
            .collect()
    }

    /// Nothing is between two machines, and both run.
    pub(super) fn reaches(&self, a: usize, b: usize) -> bool {
        let runs = |n: usize| self.machines[n].process.is_some();
        runs(a) && runs(b) && !self.network.is_blocked(a, b) && !self.network.is_blocked(b, a)
    }

    /// Who decides now: a member that has the last ring and reaches most of the others.
    fn leader(&mut self) -> Option<usize> {
        let epoch = self.decided.as_ref()?.epoch;
        let members = self.members();
        let able: Vec<usize> = members
            .iter()
            .copied()
            .filter(|n: &usize| {
                let is_informed = self.machines[*n]
                    .ring
                    .as_ref()
                    .is_some_and(|ring| ring.epoch == epoch);
                let reached = members
                    .iter()
                    .filter(|other| self.reaches(*n, **other))
                    .count();
                is_informed && reached > members.len() / 2
            })
            .collect();

        if able.is_empty() {
            None
        } else {
            Some(able[self.rng.below(able.len() as u64) as usize])
        }
    }

    /// An operator asks for a change, or one goes on by itself.
    pub(super) fn change_ring(&mut self) -> Result<(), String> {
        if self.is_healing {
            return Ok(());
        }

        // Now and then the next order comes before everybody has heard of the last.
        let again = match self.rng.chance(0.2) {
            true => 1_000 + self.rng.below(100_000),
            false => 500_000 + self.rng.below(4_000_000),
        };

        self.after(again, Event::ChangeRing);
        let (Some(leader), Some(ring)) = (self.leader(), self.decided.clone()) else {
            return Ok(());
        };

        let evidence = self.evidence(leader, &ring);
        let by_itself = evidence
            .as_ref()
            .and_then(|known| next_step(&ring, &ring.groups[0], known));
        let proposal = match by_itself.filter(|_| self.rng.chance(0.5)) {
            Some(proposal) => proposal,
            None => {
                let Some(change) = self.wish(&ring, evidence.as_ref()) else {
                    return Ok(());
                };
                Proposal {
                    epoch: ring.epoch,
                    change,
                    force: None,
                }
            }
        };

        let is_unmeasured = self.mutation == Some(Mutation::ChangeUnmeasured);
        let needs_nobody = matches!(proposal.change, Change::Join { .. });
        let safe = match evidence.or(needs_nobody.then(Evidence::default)) {
            _ if is_unmeasured => ring.apply(&proposal).map(drop).map_err(|e| e.to_string()),
            Some(evidence) => guard(&ring, &proposal, &evidence).map_err(|e| e.to_string()),
            None => Err("somebody does not know the ring yet".to_owned()),
        };

        if let Err(refusal) = safe {
            self.note(|| format!("n{leader} refuses {:?}: {refusal}", proposal.change));
            return Ok(());
        }

        let next = ring.apply(&proposal).map_err(|e| e.to_string())?;
        self.note(|| {
            format!(
                "n{leader} decides {:?}, epoch {}",
                proposal.change, next.epoch
            )
        });

        self.summary.ring_changes += 1;
        self.check_seals(&proposal.change)?;

        if let Change::Join { node, .. } = &proposal.change
            && let Some(spare) = self.names.iter().position(|name| name == node)
        {
            self.machines[spare].ring = Some(next.clone());
            self.after(500_000, Event::Start(spare));
        }

        self.decided = Some(next);
        self.adopt(leader, leader)?;

        // Most are told, unless the leader dies before it comes to that; one that goes itself waits for it.
        let goes = !self.members().contains(&leader);

        for peer in self.members() {
            let way = self.network.latency(&mut self.rng);
            if peer != leader && self.reaches(leader, peer) && (goes || self.rng.chance(0.7)) {
                self.after(
                    way,
                    Event::Adopt {
                        node: peer,
                        from: leader,
                    },
                );
            }
        }

        Ok(())
    }

    /// What an operator may want.
    fn wish(&mut self, ring: &Ring, evidence: Option<&Evidence>) -> Option<Change> {
        let group = &ring.groups[0];

        let mut wishes = Vec::new();
        for member in group.present() {
            let node = member.node.clone();
            match member.state {
                MemberState::Joining => wishes.push(Change::Activate { node }),
                MemberState::Active if group.active().count() > ring.replication_factor => {
                    wishes.push(Change::Drain { node });
                }
                MemberState::Draining => {
                    let seals = evidence
                        .map(|known| known.seals(ring, &node))
                        .unwrap_or_default();
                    wishes.push(Change::Leave { node, seals });
                }
                _ => {}
            }
        }

        let spare = self.names.iter().find(|name| group.member(name).is_none());
        if let Some(node) = spare.filter(|_| group.present().count() < PRESENT_MAX) {
            let of = self.rng.below(2 * group.active().count() as u64) as usize;
            let replaces = group.active().nth(of).map(|member| member.node.clone());
            let address = format!("{node}:1");
            let node = node.clone();
            wishes.push(Change::Join {
                node,
                address,
                zone: None,
                group: None,
                replaces,
                found: None,
            });
        }

        if wishes.is_empty() {
            return None;
        }

        let which = self.rng.below(wishes.len() as u64) as usize;
        Some(wishes.swap_remove(which))
    }

    /// What a leader knows of the members; `None` while somebody who is connected does not know the ring.
    fn evidence(&mut self, leader: usize, ring: &Ring) -> Option<Evidence> {
        let known = self.known(leader, ring, &PositionVector::new())?;
        if !known
            .values()
            .all(|member: &MemberEvidence| !member.connected || member.epoch == ring.epoch)
            && self.mutation != Some(Mutation::IgnoreUninformed)
        {
            return None;
        }

        let longest = self.longest(leader)?;

        let fence = &mut self.machines[leader].fence;
        if fence.as_ref().is_none_or(|(epoch, _)| *epoch != ring.epoch) {
            *fence = Some((ring.epoch, longest.clone()));
        }

        let mut streams = fence.as_ref().map(|(_, streams)| streams.clone())?;
        let of = |member: &Member| known.get(&member.node).and_then(|k| k.incarnation);
        let writers = || {
            ring.groups[0]
                .present()
                .filter(|member| member.state != MemberState::Draining)
        };

        let is_written = |stream: StreamId| writers().any(|m| of(m) == Some(stream.incarnation));
        // What nobody writes any more stands still.
        streams.merge(
            &longest
                .iter()
                .filter(|(stream, _)| !is_written(*stream))
                .collect(),
        );

        let mut members = self.known(leader, ring, &streams)?;
        if self.mutation == Some(Mutation::IgnoreUninformed) {
            members
                .values_mut()
                .for_each(|member| member.epoch = ring.epoch);
        }

        let sealed = match self.mutation {
            Some(Mutation::SealByOwnLog) => self.machines[leader].process.as_ref()?.store.durable(),
            _ => longest,
        };
        let fenced_at = Some(ring.epoch);
        let streams = sealed.iter().collect();

        Some(Evidence {
            fenced_at,
            streams,
            members,
            ..Evidence::default()
        })
    }

    /// The longest prefix of each stream that a leader knows of.
    fn longest(&self, leader: usize) -> Option<PositionVector> {
        let process = self.machines[leader].process.as_ref()?;
        let mut longest = process.store.durable();
        let group = process.hub.group().lock();
        for (_, view) in group.peers().filter(|(_, view)| view.connected) {
            longest.merge(&view.positions);
        }
        Some(longest)
    }

    fn known(
        &self,
        leader: usize,
        ring: &Ring,
        streams: &PositionVector,
    ) -> Option<BTreeMap<NodeName, MemberEvidence>> {
        let process = self.machines[leader].process.as_ref()?;
        let behind = |positions: &PositionVector| -> u64 {
            positions
                .behind(streams)
                .map(|(_, have, others)| others - have)
                .sum()
        };

        let own = MemberEvidence {
            connected: true,
            epoch: ring.epoch,
            behind_records: behind(&process.store.durable()),
            writing: process.commits.waiting() > 0,
            incarnation: Some(process.identity.incarnation),
        };

        let group = process.hub.group().lock();
        let of = |(node, view): (&NodeName, &trireme_replication::PeerView)| {
            let evidence = MemberEvidence {
                connected: view.connected,
                epoch: view.epoch,
                behind_records: behind(&view.positions),
                writing: view.health.writes_waiting > 0,
                incarnation: view.identity.as_ref().map(|id| id.incarnation),
            };
            (node.clone(), evidence)
        };

        Some(
            group
                .peers()
                .map(of)
                .chain([(self.names[leader].clone(), own)])
                .collect(),
        )
    }

    /// A stream that is sealed must have everything that was acknowledged of it.
    ///
    /// Markers do not count: a member that drains goes on with them, nobody was answered for one, and behind the seal
    /// no window waits for one.
    fn check_seals(&self, change: &Change) -> Result<(), String> {
        let Change::Leave { node, seals } = change else {
            return Ok(());
        };

        for seal in seals {
            let acked = self.acked.get(seal.stream());
            let running = || {
                self.machines
                    .iter()
                    .filter_map(|machine| machine.process.as_ref())
            };

            let mut told =
                running().filter_map(|p| p.has_samples(seal.stream(), seal.seq + 1..=acked));
            if acked > seal.seq && told.next() != Some(false) {
                let stream = seal.stream();
                let seq = seal.seq;
                return Err(format!(
                    "{stream} is sealed at {seq} as {node} leaves, {acked} was acknowledged"
                ));
            }
        }

        Ok(())
    }

    /// Once a stream is sealed nobody is acknowledged anything behind the seal. What a member that drains goes on with, markers
    /// and released references, does not count.
    pub(super) fn check_within_seal(
        &self,
        node: usize,
        stream: StreamId,
        committed: u64,
    ) -> Result<(), String> {
        let seals = self.decided.iter().flat_map(|ring| &ring.seals);
        let seal = seals
            .filter(|seal| seal.stream() == stream)
            .map(|seal| seal.seq)
            .max();
        let Some(seal) = seal.filter(|seal| *seal < committed) else {
            return Ok(());
        };

        let process = self.machines[node].process.as_ref();
        if process.and_then(|process| process.has_samples(stream, seal + 1..=committed))
            == Some(true)
        {
            return Err(format!(
                "{stream} is sealed at {seal}, and {committed} is acknowledged afterwards"
            ));
        }

        Ok(())
    }

    /// A machine takes the ring of another one, if that is later.
    pub(super) fn adopt(&mut self, node: usize, from: usize) -> Result<(), String> {
        let told = if node == from {
            self.decided.clone()
        } else {
            self.machines[from].ring.clone()
        };

        let Some(told) = told else { return Ok(()) };

        let machine = &mut self.machines[node];
        if machine.process.is_none()
            || machine
                .ring
                .as_ref()
                .is_some_and(|own| own.epoch >= told.epoch)
        {
            return Ok(());
        }

        machine.ring = Some(told.clone());
        let Some(process) = &mut machine.process else {
            return Ok(());
        };

        let gone = process.follow(&told);
        for peer in gone {
            let Some(process) = &mut self.machines[node].process else {
                continue;
            };
            if let Some(conn) = process.connection(peer) {
                process.disconnect(peer);
                self.close(conn, node, true);
            }
        }

        self.note(|| format!("n{node} goes by epoch {}", told.epoch));
        self.settle(node)
    }

    /// A node asks those that are ahead for their ring.
    pub(super) fn hear(&mut self, node: usize) {
        if self.decided.is_none() {
            return;
        }

        let ahead = self.machines[node]
            .process
            .as_ref()
            .map(|process| process.ahead())
            .unwrap_or_default();

        for from in ahead {
            let way = 2 * self.network.latency(&mut self.rng);
            if self.reaches(node, from) {
                self.after(way, Event::Adopt { node, from });
            }
        }
    }

    /// A query begins on a node: if it calls its answer complete, it must have read everything that was acknowledged.
    pub(super) fn query(&mut self) -> Result<(), String> {
        let again = 20_000 + self.rng.below(200_000);
        self.after(again, Event::Query);
        let node = self.rng.below(self.machines.len() as u64) as usize;
        let Some(read) = self.fence(node) else {
            return Ok(());
        };

        self.summary.queries += 1;
        if let Some((stream, have, acked)) = read.behind(&self.acked).next() {
            return Err(format!(
                "a query on n{node} is complete with {stream} up to {have}, {acked} was acknowledged"
            ));
        }

        Ok(())
    }

    /// How far a query on a node must have read, once a quorum has said how far it is.
    fn fence(&mut self, node: usize) -> Option<PositionVector> {
        let process = self.machines[node].process.as_ref()?;
        if !process.store.replay().is_done() || !process.has_place() {
            return None;
        }

        let epoch = process.hub.group().lock().epoch();
        let mut read = process.store.durable();

        let (mut witnesses, mut needed) = process.witnesses();
        if self.mutation == Some(Mutation::ReadAlone) {
            needed = 0;
        }

        while needed > 0 && !witnesses.is_empty() {
            let peer = witnesses.swap_remove(self.rng.below(witnesses.len() as u64) as usize);
            let Some(told) = self.machines[peer]
                .process
                .as_ref()
                .filter(|_| self.reaches(node, peer))
            else {
                continue;
            };

            if told.hub.group().lock().epoch() > epoch
                && self.mutation != Some(Mutation::ReadByOldRing)
            {
                // It takes that ring and begins anew, which is another query here.
                return None;
            }

            read.merge(&told.store.durable());
            needed -= 1;
        }

        (needed == 0).then_some(read)
    }
}
