//! Changes of the ring: a command and a ring in, the next ring or a refusal out.
//!
//! This is the state machine that Raft replicates, so nothing but the ring and the command may decide: no clock, no view
//! of who is connected. What depends on those is checked before a command is proposed (`guard`).

use serde::{Deserialize, Serialize};
use trireme_base::NodeName;

use crate::{Group, Member, MemberState, Refusal, Ring, Seal};

/// Members of a group that have not left.
const MEMBERS_MAX: usize = 16;
/// Members that have left and are still shown, per group.
const LEFT_SHOWN_MAX: usize = 16;
/// Seals kept; the oldest go first. By then their windows were cut long ago.
const SEALS_MAX: usize = 1024;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// Adds a member, to be filled.
    Join {
        /// Its name.
        #[serde(with = "crate::names")]
        node: NodeName,
        /// `host:port` of its cluster listener.
        address: String,
        /// Its failure domain.
        zone: Option<String>,
        /// Its group; may be left out where there is one group only, or with `replaces`.
        group: Option<String>,
        /// The member that drains and leaves once this one is active.
        #[serde(with = "crate::names::optional", default)]
        replaces: Option<NodeName>,
    },
    /// Notes the zone a member says it is in.
    Describe {
        /// The member.
        #[serde(with = "crate::names")]
        node: NodeName,
        /// Its failure domain.
        zone: Option<String>,
    },
    /// Notes where a member listens now.
    Move {
        /// The member.
        #[serde(with = "crate::names")]
        node: NodeName,
        /// `host:port` of its cluster listener.
        address: String,
    },
    /// Lets a member count for the quorum.
    Activate {
        /// The member.
        #[serde(with = "crate::names")]
        node: NodeName,
    },
    /// Stops counting a member; it takes no writes of its own any more and serves what it has.
    Drain {
        /// The member.
        #[serde(with = "crate::names")]
        node: NodeName,
    },
    /// Takes a member out for good and ends its streams.
    Leave {
        /// The member.
        #[serde(with = "crate::names")]
        node: NodeName,
        /// Ends of streams whose origin is not in the ring any more.
        seals: Vec<Seal>,
    },
}

impl Change {
    /// The member it is about.
    pub fn node(&self) -> &NodeName {
        match self {
            Self::Join { node, .. }
            | Self::Describe { node, .. }
            | Self::Move { node, .. }
            | Self::Activate { node }
            | Self::Drain { node }
            | Self::Leave { node, .. } => node,
        }
    }

    /// A word for logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Join { .. } => "join",
            Self::Describe { .. } => "describe",
            Self::Move { .. } => "move",
            Self::Activate { .. } => "activate",
            Self::Drain { .. } => "drain",
            Self::Leave { .. } => "leave",
        }
    }
}

/// A change as it is proposed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// Epoch of the ring for which it was thought out; for any other it is refused.
    pub epoch: u64,
    /// What is to change.
    pub change: Change,
    /// The reason for which an operator overrides what is refused otherwise.
    pub force: Option<String>,
}

impl Ring {
    /// The ring after a change.
    pub fn apply(&self, proposal: &Proposal) -> Result<Self, Refusal> {
        if proposal.epoch != self.epoch {
            return Err(Refusal::Stale { thought: proposal.epoch, is: self.epoch });
        }
        let mut next = self.clone();
        next.epoch += 1;
        let forced = proposal.force.is_some();
        match &proposal.change {
            Change::Join { node, address, zone, group, replaces } => {
                let group = next.group_to_join(group.as_deref(), replaces.as_ref())?;
                let member = Member {
                    node: node.clone(),
                    address: address.clone(),
                    zone: zone.clone().filter(|zone| !zone.is_empty()),
                    state: MemberState::Joining,
                    replaces: replaces.clone(),
                };
                next.join(group, member)?;
            }
            Change::Describe { node, zone } => {
                next.present(node)?.zone = zone.clone().filter(|zone| !zone.is_empty());
            }
            Change::Move { node, address } => {
                let member = next.present(node)?;
                if !is_address(address) {
                    return Err(Refusal::Address(address.clone()));
                }
                member.address = address.clone();
            }
            Change::Activate { node } => next.activate(node)?,
            Change::Drain { node } => next.drain(node, forced)?,
            Change::Leave { node, seals } => next.leave(node, seals)?,
        }
        next.check()?;
        Ok(next)
    }

    fn present(&mut self, node: &NodeName) -> Result<&mut Member, Refusal> {
        let members = self.groups.iter_mut().flat_map(|g| &mut g.members);
        let found = members.into_iter().find(|m| &m.node == node && m.state != MemberState::Left);
        found.ok_or_else(|| Refusal::Unknown(node.clone()))
    }

    fn group_to_join(&self, group: Option<&str>, replaces: Option<&NodeName>) -> Result<usize, Refusal> {
        if let Some(old) = replaces {
            let holds = |g: &Group| g.member(old).is_some_and(|m| m.state != MemberState::Left);
            let at = self.groups.iter().position(holds).ok_or_else(|| Refusal::Unknown(old.clone()))?;
            let group = &self.groups[at];
            if let Some(other) = group.present().find(|m| m.replaces.as_ref() == Some(old)) {
                return Err(Refusal::ReplacedAlready { node: old.clone(), by: other.node.clone() });
            }
            let state = group.member(old).map_or(MemberState::Left, |m| m.state);
            if state == MemberState::Joining {
                return Err(Refusal::State { node: old.clone(), state, wanted: "replaced" });
            }
            return Ok(at);
        }
        match group {
            Some(name) => {
                let at = self.groups.iter().position(|g| g.name == name);
                at.ok_or_else(|| Refusal::UnknownGroup(name.to_owned()))
            }
            None if self.groups.len() == 1 => Ok(0),
            None => Err(Refusal::WhichGroup(self.groups.iter().map(|g| g.name.clone()).collect())),
        }
    }

    fn join(&mut self, group: usize, member: Member) -> Result<(), Refusal> {
        if let Some(known) = self.member(&member.node)
            && known.state != MemberState::Left
        {
            return Err(Refusal::Exists { node: member.node, state: known.state });
        }
        if !is_address(&member.address) {
            return Err(Refusal::Address(member.address));
        }
        // Somebody of this name has been here before; the new one has nothing to do with it.
        self.groups.iter_mut().for_each(|g| g.members.retain(|m| m.node != member.node));
        let group = &mut self.groups[group];
        if group.present().count() >= MEMBERS_MAX {
            return Err(Refusal::Full { group: group.name.clone(), max: MEMBERS_MAX });
        }
        group.members.push(member);
        Ok(())
    }

    fn activate(&mut self, node: &NodeName) -> Result<(), Refusal> {
        let member = self.present(node)?;
        match member.state {
            MemberState::Joining | MemberState::Draining => member.state = MemberState::Active,
            state => return Err(Refusal::State { node: node.clone(), state, wanted: "activated" }),
        }
        Ok(())
    }

    fn drain(&mut self, node: &NodeName, forced: bool) -> Result<(), Refusal> {
        let member = self.present(node)?;
        if member.state != MemberState::Active {
            return Err(Refusal::State { node: node.clone(), state: member.state, wanted: "drained" });
        }
        member.state = MemberState::Draining;
        let factor = self.replication_factor;
        let group = self.group_of(node).ok_or_else(|| Refusal::Unknown(node.clone()))?;
        let left = group.active().count();
        if left < factor && !forced {
            return Err(Refusal::TooFewCopies { node: node.clone(), left, factor });
        }
        Ok(())
    }

    fn leave(&mut self, node: &NodeName, seals: &[Seal]) -> Result<(), Refusal> {
        let member = self.present(node)?;
        if member.state == MemberState::Active {
            return Err(Refusal::StillActive(node.clone()));
        }
        member.state = MemberState::Left;
        member.replaces = None;
        for group in &mut self.groups {
            for member in group.members.iter_mut().filter(|m| m.replaces.as_ref() == Some(node)) {
                member.replaces = None;
            }
            let gone = group.members.iter().filter(|m| m.state == MemberState::Left).count();
            let mut surplus = gone.saturating_sub(LEFT_SHOWN_MAX);
            group.members.retain(|m| {
                let drop = m.state == MemberState::Left && surplus > 0 && &m.node != node;
                surplus -= usize::from(drop);
                !drop
            });
        }
        for seal in seals {
            match self.seals.iter_mut().find(|s| s.stream() == seal.stream()) {
                Some(known) => known.seq = known.seq.max(seal.seq),
                None => self.seals.push(*seal),
            }
        }
        let surplus = self.seals.len().saturating_sub(SEALS_MAX);
        self.seals.drain(..surplus);
        Ok(())
    }
}

/// `host:port` with a port above 0.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    !host.is_empty() && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok_and(|p| p > 0)
}

#[cfg(test)]
pub(crate) mod tests;
