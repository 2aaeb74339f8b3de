//! What is known about members at this moment, and whether a change is safe by it.
//!
//! Raft makes sure that all nodes agree on a change; it knows nothing of samples. Before the leader proposes a change it
//! gathers evidence here. The rule behind all checks: whoever makes a quorum after the change must hold everything that a
//! quorum before it may have acknowledged. One voting change at a time, each thought out for one epoch, keeps two
//! neighbouring quorums overlapping; that replicas are level carries the older entries over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trireme_base::{Incarnation, NodeName, StreamId};

use crate::{Change, Group, GroupPhase, Member, MemberState, Proposal, Refusal, Ring, Seal};

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

/// What a member of a group that is to go still has, in its own words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holdings {
    /// Epoch of the ring it has.
    pub epoch: u64,
    /// Everybody of its group that it is connected to has that ring, too.
    pub all_informed: bool,
    /// It has writes of its own that wait for a quorum.
    pub writing: bool,
    /// Samples that are in no block yet.
    pub open_windows: bool,
    /// Blocks that are not in the bucket.
    pub unshipped: u64,
    /// Blocks that came into the bucket so recently that some node may not have seen them there.
    pub unseen: u64,
}

/// What is known about the members of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Epoch of the ring that everybody who is connected knew when it was measured what they have; `None` if it was not
    /// measured.
    pub fenced_at: Option<u64>,
    /// Each stream with the longest prefix that anybody connected holds.
    pub streams: BTreeMap<StreamId, u64>,
    /// Members by name.
    pub members: BTreeMap<NodeName, MemberEvidence>,
    /// What members have that said so; asked for only where a group is to go.
    pub holdings: BTreeMap<NodeName, Holdings>,
}

impl Evidence {
    fn of(&self, node: &NodeName) -> MemberEvidence {
        self.members.get(node).cloned().unwrap_or_default()
    }

    /// What members have was measured under this ring, and everybody in the group who is connected goes by it.
    ///
    /// Whoever does not know the ring may acknowledge by an older one, of which nothing was measured.
    fn is_of(&self, ring: &Ring, group: &Group) -> Result<(), Refusal> {
        for member in group.present() {
            let known = self.of(&member.node);
            if known.connected && known.epoch != ring.epoch {
                return Err(Refusal::NotInformed {
                    node: member.node.clone(),
                    epoch: known.epoch,
                });
            }
        }
        match self.fenced_at {
            Some(epoch) if epoch == ring.epoch => Ok(()),
            _ => Err(Refusal::NoWord {
                group: group.name.clone(),
            }),
        }
    }

    /// The member is connected, knows the ring and has everything.
    fn level(&self, node: &NodeName, ring: &Ring) -> Result<(), Refusal> {
        let known = self.of(node);
        let node = node.clone();
        if !known.connected {
            return Err(Refusal::Unreachable { node });
        }

        if known.epoch != ring.epoch {
            return Err(Refusal::NotInformed {
                node,
                epoch: known.epoch,
            });
        }

        if known.behind_records > 0 {
            return Err(Refusal::Behind {
                node,
                records: known.behind_records,
            });
        }

        Ok(())
    }

    /// Ends of the streams whose origin is not in the group any more when `leaving` has left it.
    ///
    /// A stream that is not of `leaving` is an orphan only if the data directory of everybody else in the group is known.
    pub fn seals(&self, ring: &Ring, leaving: &NodeName) -> Vec<Seal> {
        let group = ring.group_of(leaving);
        // Nothing is known where one of them is not.
        let staying: Option<Vec<Incarnation>> = group
            .into_iter()
            .flat_map(Group::present)
            .filter(|m| &m.node != leaving)
            .map(|m| self.of(&m.node).incarnation)
            .collect();

        let own = self.of(leaving).incarnation;
        let orphans = self.streams.iter().filter(|(stream, _)| {
            own == Some(stream.incarnation)
                || staying
                    .as_ref()
                    .is_some_and(|staying| !staying.contains(&stream.incarnation))
        });

        orphans
            .map(|(stream, seq)| Seal::new(*stream, *seq))
            .collect()
    }
}

/// Whether a change is safe as things are. `force` of the proposal overrides it.
pub fn guard(ring: &Ring, proposal: &Proposal, evidence: &Evidence) -> Result<(), Refusal> {
    proposal.change.check_lengths()?;
    let next = ring.apply(proposal)?;
    if proposal.force.is_some() {
        return Ok(());
    }

    if let Change::Activate { node } | Change::Drain { node } | Change::Leave { node, .. } =
        &proposal.change
    {
        evidence.is_of(ring, group_with(ring, node)?)?;
    }

    match &proposal.change {
        Change::Join { .. } | Change::Describe { .. } | Change::Move { .. } => Ok(()),
        Change::Weigh { .. } | Change::Resume { .. } | Change::Retire { .. } => Ok(()),
        Change::Activate { node } => may_serve(ring, &next, node, evidence),
        Change::Drain { node } => level_actives(ring, &next, node, evidence),
        Change::Leave { node, .. } => may_leave(ring, &next, node, evidence),
        Change::Dissolve { group } => holds_nothing(ring, group, evidence),
    }
}

fn may_serve(
    ring: &Ring,
    next: &Ring,
    node: &NodeName,
    evidence: &Evidence,
) -> Result<(), Refusal> {
    evidence.level(node, ring)?;
    // Nobody has acknowledged anything in a group that is forming.
    match group_with(ring, node)?.phase {
        GroupPhase::Forming => Ok(()),
        _ => level_quorum(ring, next, node, evidence),
    }
}

fn may_leave(
    ring: &Ring,
    next: &Ring,
    node: &NodeName,
    evidence: &Evidence,
) -> Result<(), Refusal> {
    let leaving = evidence.of(node);
    if leaving.connected && leaving.writing {
        return Err(Refusal::Writing { node: node.clone() });
    }
    level_actives(ring, next, node, evidence)
}

/// A quorum of a group that takes no series any more knows that, and has nothing that is not in the bucket.
///
/// Whoever does not answer cannot have what this quorum has not: an acknowledged sample is at one of them, and as they all
/// know the ring, they take no new one.
fn holds_nothing(ring: &Ring, name: &str, evidence: &Evidence) -> Result<(), Refusal> {
    let group = ring
        .group(name)
        .ok_or_else(|| Refusal::UnknownGroup(name.to_owned()))?;
    let mut answered = 0;
    let active = group.active().count();

    for member in group.present() {
        let Some(has) = evidence.holdings.get(&member.node) else {
            continue;
        };

        is_empty(ring, name, &member.node, has)?;

        answered += usize::from(member.state == MemberState::Active);
    }

    let needed = if active == 0 {
        0
    } else {
        ring.quorum(group).needed()
    };

    if answered < needed {
        return Err(Refusal::FewAnswer {
            group: name.to_owned(),
            answered,
            needed,
        });
    }

    Ok(())
}

/// A member goes by the ring and has nothing that is not in the bucket.
fn is_empty(ring: &Ring, group: &str, node: &NodeName, has: &Holdings) -> Result<(), Refusal> {
    let node = node.clone();
    if has.epoch != ring.epoch || !has.all_informed {
        return Err(Refusal::NotInformed {
            node,
            epoch: has.epoch,
        });
    }

    if has.writing {
        return Err(Refusal::Writing { node });
    }

    if let Some(what) = has.in_words() {
        let soon = !has.open_windows && has.unshipped == 0;
        return Err(Refusal::Holds {
            group: group.to_owned(),
            node,
            what,
            soon,
        });
    }

    Ok(())
}

impl Holdings {
    /// What is not safely in the bucket; `None` if everything is.
    fn in_words(&self) -> Option<String> {
        let mut what = Vec::new();
        if self.open_windows {
            what.push("windows that are not cut yet".to_owned());
        }

        if self.unshipped > 0 {
            what.push(format!("{} blocks not uploaded", self.unshipped));
        }

        if self.unseen > 0 {
            what.push(format!("{} blocks uploaded only now", self.unseen));
        }

        (!what.is_empty()).then(|| what.join(", "))
    }
}

fn group_with<'a>(ring: &'a Ring, node: &NodeName) -> Result<&'a Group, Refusal> {
    let found = ring.groups.iter().find(|g| g.member(node).is_some());
    found.ok_or_else(|| Refusal::Unknown(node.clone()))
}

/// A quorum of the group after the change has everything.
fn level_quorum(
    ring: &Ring,
    next: &Ring,
    node: &NodeName,
    evidence: &Evidence,
) -> Result<(), Refusal> {
    let group = group_with(next, node)?;
    let level = group
        .active()
        .filter(|m| evidence.level(&m.node, ring).is_ok())
        .count();

    let needed = next.quorum(group).needed();
    if level < needed {
        return Err(Refusal::NoLevelQuorum {
            group: group.name.clone(),
            level,
            needed,
        });
    }

    Ok(())
}

/// Every active member of the group after the change has everything.
fn level_actives(
    ring: &Ring,
    next: &Ring,
    node: &NodeName,
    evidence: &Evidence,
) -> Result<(), Refusal> {
    let group = group_with(next, node)?;
    group
        .active()
        .try_for_each(|m| evidence.level(&m.node, ring))
}

/// The next step of what goes on by itself in a group, if it is safe now: of a replacement (activate the new member,
/// drain the old one, let it leave), or of a group that is forming (activate its members once there are enough).
pub fn next_step(ring: &Ring, group: &Group, evidence: &Evidence) -> Option<Proposal> {
    let forms =
        group.phase == GroupPhase::Forming && group.present().count() >= ring.replication_factor;
    let steps = group.present().filter_map(|m: &Member| match &m.replaces {
        Some(old) => step_of(ring, m, old, evidence),
        None if forms && m.state == MemberState::Joining => Some(Change::Activate {
            node: m.node.clone(),
        }),
        None => None,
    });

    steps
        .map(|change| Proposal {
            epoch: ring.epoch,
            change,
            force: None,
        })
        .find(|proposal| guard(ring, proposal, evidence).is_ok())
}

/// True if something may go on by itself in a group.
pub fn goes_on(group: &Group) -> bool {
    group.phase == GroupPhase::Forming || group.present().any(|m| m.replaces.is_some())
}

fn step_of(ring: &Ring, new: &Member, old: &NodeName, evidence: &Evidence) -> Option<Change> {
    match (new.state, ring.member(old)?.state) {
        (MemberState::Joining, _) => Some(Change::Activate {
            node: new.node.clone(),
        }),
        (MemberState::Active, MemberState::Active) => Some(Change::Drain { node: old.clone() }),
        (MemberState::Active, MemberState::Draining) => Some(Change::Leave {
            node: old.clone(),
            seals: evidence.seals(ring, old),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
