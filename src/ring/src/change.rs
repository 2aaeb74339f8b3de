//! Changes of the ring: a command and a ring in, the next ring or a refusal out.
//!
//! This is the state machine that Raft replicates, so nothing but the ring and the command may decide: no clock, no view
//! of who is connected. What depends on those is checked before a command is proposed (`guard`).

mod groups;

use serde::{Deserialize, Serialize};
use trireme_base::NodeName;

use crate::{Group, GroupPhase, Member, MemberState, Refusal, Ring, Seal};

/// Longest name of a member, a group or a zone, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest address of a member, in bytes: a host name has 253 at most.
const ADDRESS_BYTES_MAX: usize = 300;
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
        /// Weight of the group if this member is its first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        found: Option<u32>,
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
    /// Changes the share of a group.
    Weigh {
        /// The group.
        group: String,
        /// Its weight from now on.
        weight: u32,
    },
    /// Lets a group that was to leave take series again.
    Resume {
        /// The group.
        group: String,
    },
    /// Gives the series of a group to the others. It answers queries about what it has.
    Retire {
        /// The group.
        group: String,
    },
    /// Takes a group out for good, with all its members.
    Dissolve {
        /// The group.
        group: String,
    },
}

impl Change {
    /// The member it is about; `None` if it is about a group.
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Self::Join { node, .. }
            | Self::Describe { node, .. }
            | Self::Move { node, .. }
            | Self::Activate { node }
            | Self::Drain { node }
            | Self::Leave { node, .. } => Some(node),
            Self::Weigh { .. }
            | Self::Resume { .. }
            | Self::Retire { .. }
            | Self::Dissolve { .. } => None,
        }
    }

    /// The group it is about; `None` if it is about a member that need not be in a group yet.
    pub fn group<'a>(&'a self, ring: &'a Ring) -> Option<&'a Group> {
        match self {
            Self::Weigh { group, .. }
            | Self::Resume { group }
            | Self::Retire { group }
            | Self::Dissolve { group } => ring.group(group),
            _ => self.node().and_then(|node| ring.group_of(node)),
        }
    }

    /// What it is about, for logs.
    pub fn subject(&self) -> &str {
        match self {
            Self::Weigh { group, .. }
            | Self::Resume { group }
            | Self::Retire { group }
            | Self::Dissolve { group } => group,
            _ => self.node().map_or("", NodeName::as_str),
        }
    }

    /// Bounds what comes into the ring: it is on every disk, goes to everybody and is shown. For whoever proposes; all
    /// nodes must apply what was decided, whatever release they are of.
    pub(crate) fn check_lengths(&self) -> Result<(), Refusal> {
        let (zone, address, group) = match self {
            Self::Join {
                address,
                zone,
                group,
                ..
            } => (zone.as_deref(), address.as_str(), group.as_deref()),
            Self::Describe { zone, .. } => (zone.as_deref(), "", None),
            Self::Move { address, .. } => (None, address.as_str(), None),
            _ => (None, "", None),
        };

        is_short(
            "a name",
            self.node().map_or("", NodeName::as_str),
            NAME_BYTES_MAX,
        )?;

        is_short("a name", group.unwrap_or_default(), NAME_BYTES_MAX)?;
        is_short("a zone", zone.unwrap_or_default(), NAME_BYTES_MAX)?;
        is_short("an address", address, ADDRESS_BYTES_MAX)
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
            Self::Weigh { .. } => "weigh",
            Self::Resume { .. } => "resume",
            Self::Retire { .. } => "retire",
            Self::Dissolve { .. } => "dissolve",
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
            return Err(Refusal::Stale {
                thought: proposal.epoch,
                is: self.epoch,
            });
        }

        let mut next = self.clone();
        next.epoch += 1;

        next.make(&proposal.change, proposal.force.is_some())?;

        next.check()?;
        Ok(next)
    }

    fn make(&mut self, change: &Change, forced: bool) -> Result<(), Refusal> {
        match change {
            Change::Join {
                node,
                address,
                zone,
                group,
                replaces,
                found,
            } => {
                let group = self.group_to_join(group.as_deref(), replaces.as_ref(), *found)?;
                let member = Member {
                    node: node.clone(),
                    address: address.clone(),
                    zone: named(zone),
                    state: MemberState::Joining,
                    replaces: replaces.clone(),
                };
                self.join(group, member)
            }
            Change::Describe { node, zone } => {
                self.present(node)?.zone = named(zone);
                Ok(())
            }
            Change::Move { node, address } => self.move_to(node, address),
            Change::Activate { node } => self.activate(node),
            Change::Drain { node } => self.drain(node, forced),
            Change::Leave { node, seals } => self.leave(node, seals),
            Change::Weigh { group, weight } => {
                self.phased(group, "weighed", &[])?.weight = *weight;
                Ok(())
            }
            Change::Resume { group } => {
                self.phased(group, "resumed", &[GroupPhase::Leaving])?.phase = GroupPhase::Serving;
                Ok(())
            }
            Change::Retire { group } => self.retire(group),
            Change::Dissolve { group } => self.dissolve(group),
        }
    }

    fn move_to(&mut self, node: &NodeName, address: &str) -> Result<(), Refusal> {
        let member = self.present(node)?;
        if !is_address(address) {
            return Err(Refusal::Address(address.to_owned()));
        }
        member.address = address.to_owned();
        Ok(())
    }

    fn present(&mut self, node: &NodeName) -> Result<&mut Member, Refusal> {
        let members = self.groups.iter_mut().flat_map(|g| &mut g.members);
        let found = members
            .into_iter()
            .find(|m| &m.node == node && m.state != MemberState::Left);
        found.ok_or_else(|| Refusal::Unknown(node.clone()))
    }

    fn join(&mut self, group: usize, member: Member) -> Result<(), Refusal> {
        if let Some(known) = self.member(&member.node)
            && known.state != MemberState::Left
        {
            return Err(Refusal::Exists {
                node: member.node,
                state: known.state,
            });
        }

        if !is_address(&member.address) {
            return Err(Refusal::Address(member.address));
        }

        // Somebody of this name has been here before; the new one has nothing to do with it.
        self.groups
            .iter_mut()
            .for_each(|g| g.members.retain(|m| m.node != member.node));

        let group = &mut self.groups[group];
        if group.present().count() >= MEMBERS_MAX {
            return Err(Refusal::Full {
                group: group.name.clone(),
                max: MEMBERS_MAX,
            });
        }

        group.members.push(member);
        Ok(())
    }

    fn activate(&mut self, node: &NodeName) -> Result<(), Refusal> {
        let member = self.present(node)?;
        match member.state {
            MemberState::Joining | MemberState::Draining => member.state = MemberState::Active,
            state => {
                return Err(Refusal::State {
                    node: node.clone(),
                    state,
                    wanted: "activated",
                });
            }
        }

        let factor = self.replication_factor;
        for group in self
            .groups
            .iter_mut()
            .filter(|g| g.phase == GroupPhase::Forming)
        {
            if group.active().count() >= factor {
                group.phase = GroupPhase::Serving;
            }
        }

        Ok(())
    }

    fn drain(&mut self, node: &NodeName, forced: bool) -> Result<(), Refusal> {
        let member = self.present(node)?;
        if member.state != MemberState::Active {
            return Err(Refusal::State {
                node: node.clone(),
                state: member.state,
                wanted: "drained",
            });
        }

        member.state = MemberState::Draining;
        let factor = self.replication_factor;
        let group = self
            .group_of(node)
            .ok_or_else(|| Refusal::Unknown(node.clone()))?;

        let left = group.active().count();
        if left < factor && !forced && group.phase != GroupPhase::Forming {
            return Err(Refusal::TooFewCopies {
                node: node.clone(),
                left,
                factor,
            });
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
            for member in group
                .members
                .iter_mut()
                .filter(|m| m.replaces.as_ref() == Some(node))
            {
                member.replaces = None;
            }

            let gone = group
                .members
                .iter()
                .filter(|m| m.state == MemberState::Left)
                .count();

            let mut surplus = gone.saturating_sub(LEFT_SHOWN_MAX);
            group.members.retain(|m| {
                let drop = m.state == MemberState::Left && surplus > 0 && &m.node != node;
                surplus -= usize::from(drop);
                !drop
            });
        }

        self.add_seals(seals);
        Ok(())
    }

    fn add_seals(&mut self, seals: &[Seal]) {
        for seal in seals {
            match self.seals.iter_mut().find(|s| s.stream() == seal.stream()) {
                Some(known) => known.seq = known.seq.max(seal.seq),
                None => self.seals.push(*seal),
            }
        }

        let surplus = self.seals.len().saturating_sub(SEALS_MAX);
        self.seals.drain(..surplus);
    }
}

/// A zone without a name is none.
fn named(zone: &Option<String>) -> Option<String> {
    zone.clone().filter(|zone| !zone.is_empty())
}

fn is_short(what: &'static str, text: &str, bytes_max: usize) -> Result<(), Refusal> {
    if text.len() > bytes_max {
        return Err(Refusal::TooLong {
            what,
            bytes: text.len(),
            bytes_max,
        });
    }
    Ok(())
}

/// `host:port` with a port above 0.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    !host.is_empty()
        && !host.contains(char::is_whitespace)
        && port.parse::<u16>().is_ok_and(|p| p > 0)
}

#[cfg(test)]
pub(crate) mod tests;
