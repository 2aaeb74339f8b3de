//! What is known about members at this moment, and whether a change is safe by it.
//!
//! Raft makes sure that all nodes agree on a change; it knows nothing of samples. Before the leader proposes a change it
//! gathers evidence here. The rule behind all checks: whoever makes a quorum after the change must hold everything that a
//! quorum before it may have acknowledged. One voting change at a time, each thought out for one epoch, keeps two
//! neighbouring quorums overlapping; that replicas are level carries the older entries over.

use std::collections::BTreeMap;

use trireme_base::{Incarnation, NodeName, StreamId};

use crate::{Change, Group, Member, MemberState, Proposal, Refusal, Ring, Seal};

/// What is known about one member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberEvidence {
    /// It is connected to who gathers this, or is that node.
    pub connected: bool,
    /// Epoch of the ring it has.
    pub epoch: u64,
    /// Records it does not have durably although somebody held them when everybody had heard of the ring, or of a stream
    /// that nobody writes any more.
    pub behind_records: u64,
    /// It has writes of its own that wait for a quorum.
    pub writing: bool,
    /// Its data directory, if it has been seen since this node started.
    pub incarnation: Option<Incarnation>,
}

/// What is known about everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Each stream with the longest prefix that anybody connected holds.
    pub streams: BTreeMap<StreamId, u64>,
    /// Members by name.
    pub members: BTreeMap<NodeName, MemberEvidence>,
}

impl Evidence {
    fn of(&self, node: &NodeName) -> MemberEvidence {
        self.members.get(node).cloned().unwrap_or_default()
    }

    /// The member is connected, knows the ring and has everything.
    fn level(&self, node: &NodeName, ring: &Ring) -> Result<(), Refusal> {
        let known = self.of(node);
        let node = node.clone();
        if !known.connected {
            return Err(Refusal::Unreachable { node });
        }
        if known.epoch != ring.epoch {
            return Err(Refusal::NotInformed { node, epoch: known.epoch });
        }
        if known.behind_records > 0 {
            return Err(Refusal::Behind { node, records: known.behind_records });
        }
        Ok(())
    }

    /// Ends of the streams whose origin is not in the ring when `leaving` has left.
    ///
    /// A stream that is not of `leaving` is an orphan only if the data directory of everybody else is known.
    pub fn seals(&self, ring: &Ring, leaving: &NodeName) -> Vec<Seal> {
        let staying = || ring.groups.iter().flat_map(Group::present).filter(|m| &m.node != leaving);
        let known = |m: &Member| self.of(&m.node).incarnation;
        let all_known = staying().all(|m| known(m).is_some());
        let own = self.of(leaving).incarnation;
        let is_orphan = |stream: &StreamId| {
            own == Some(stream.incarnation)
                || (all_known && staying().all(|m| known(m) != Some(stream.incarnation)))
        };
        let orphans = self.streams.iter().filter(|(stream, _)| is_orphan(stream));
        orphans.map(|(stream, seq)| Seal::new(*stream, *seq)).collect()
    }
}

/// Whether a change is safe as things are. `force` of the proposal overrides it.
pub fn guard(ring: &Ring, proposal: &Proposal, evidence: &Evidence) -> Result<(), Refusal> {
    let next = ring.apply(proposal)?;
    if proposal.force.is_some() {
        return Ok(());
    }
    let node = proposal.change.node();
    match &proposal.change {
        Change::Join { .. } | Change::Describe { .. } | Change::Move { .. } => Ok(()),
        Change::Activate { .. } => {
            evidence.level(node, ring)?;
            level_quorum(ring, &next, node, evidence)
        }
        Change::Drain { .. } => level_actives(ring, &next, node, evidence),
        Change::Leave { .. } => {
            let leaving = evidence.of(node);
            if leaving.connected {
                if leaving.epoch != ring.epoch {
                    return Err(Refusal::NotInformed { node: node.clone(), epoch: leaving.epoch });
                }
                if leaving.writing {
                    return Err(Refusal::Writing { node: node.clone() });
                }
            }
            level_actives(ring, &next, node, evidence)
        }
    }
}

fn group_with<'a>(ring: &'a Ring, node: &NodeName) -> Result<&'a Group, Refusal> {
    let found = ring.groups.iter().find(|g| g.member(node).is_some());
    found.ok_or_else(|| Refusal::Unknown(node.clone()))
}

/// A quorum of the group after the change has everything.
fn level_quorum(ring: &Ring, next: &Ring, node: &NodeName, evidence: &Evidence) -> Result<(), Refusal> {
    let group = group_with(next, node)?;
    let level = group.active().filter(|m| evidence.level(&m.node, ring).is_ok()).count();
    let needed = next.quorum(group).needed();
    if level < needed {
        return Err(Refusal::NoLevelQuorum { group: group.name.clone(), level, needed });
    }
    Ok(())
}

/// Every active member of the group after the change has everything.
fn level_actives(ring: &Ring, next: &Ring, node: &NodeName, evidence: &Evidence) -> Result<(), Refusal> {
    let group = group_with(next, node)?;
    group.active().try_for_each(|m| evidence.level(&m.node, ring))
}

/// The next step of a replacement that is under way, if it is safe now: activate the new member, drain the old one, let
/// it leave.
pub fn next_step(ring: &Ring, evidence: &Evidence) -> Option<Proposal> {
    let members = ring.groups.iter().flat_map(Group::present);
    let steps = members.filter_map(|m| step_of(ring, m, m.replaces.as_ref()?, evidence));
    steps
        .map(|change| Proposal { epoch: ring.epoch, change, force: None })
        .find(|proposal| guard(ring, proposal, evidence).is_ok())
}

fn step_of(ring: &Ring, new: &Member, old: &NodeName, evidence: &Evidence) -> Option<Change> {
    match (new.state, ring.member(old)?.state) {
        (MemberState::Joining, _) => Some(Change::Activate { node: new.node.clone() }),
        (MemberState::Active, MemberState::Active) => Some(Change::Drain { node: old.clone() }),
        (MemberState::Active, MemberState::Draining) => {
            Some(Change::Leave { node: old.clone(), seals: evidence.seals(ring, old) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
