//! The ring of groups.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use trireme_base::NodeName;
use xxhash_rust::xxh3::Xxh3;

use crate::group::WEIGHT_MAX;
use crate::{Group, GroupPhase, Member, MemberState, Quorum, RingError, Seal};

/// Largest replication factor.
const REPLICATION_FACTOR_MAX: usize = 7;

/// Who is in the cluster. Two nodes talk to each other only while they agree on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ring {
    /// Grows with every change.
    pub epoch: u64,
    /// Copies of each series.
    pub replication_factor: usize,
    /// The groups in the order in which they came.
    pub groups: Vec<Group>,
    /// Where the streams of origins that have left end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seals: Vec<Seal>,
}

impl Ring {
    /// A checked ring.
    pub fn new(
        epoch: u64,
        replication_factor: usize,
        groups: Vec<Group>,
    ) -> Result<Self, RingError> {
        let ring = Self {
            epoch,
            replication_factor,
            groups,
            seals: Vec::new(),
        };

        ring.check()?;
        Ok(ring)
    }

    /// Checks what deserialising does not: unique names and addresses, and that a quorum is possible.
    pub fn check(&self) -> Result<(), RingError> {
        if !(1..=REPLICATION_FACTOR_MAX).contains(&self.replication_factor) {
            return Err(RingError::ReplicationFactor(self.replication_factor));
        }
        if self.groups.is_empty() {
            return Err(RingError::NoGroup);
        }

        let mut groups = BTreeSet::new();
        let mut nodes = BTreeSet::new();

        let mut addresses = BTreeMap::new();
        for group in &self.groups {
            if group.name.is_empty() || group.members.iter().any(|m| m.node.as_str().is_empty()) {
                return Err(RingError::NoName);
            }
            if !groups.insert(&group.name) {
                return Err(RingError::DuplicateGroup(group.name.clone()));
            }

            if !(1..=WEIGHT_MAX).contains(&group.weight) {
                return Err(RingError::Weight {
                    group: group.name.clone(),
                    weight: group.weight,
                });
            }

            for member in &group.members {
                check_member(member, &mut nodes, &mut addresses)?;
            }

            self.check_group(group)?;
        }

        if self.serving().next().is_none() {
            return Err(RingError::NobodyServes);
        }

        Ok(())
    }

    fn check_group(&self, group: &Group) -> Result<(), RingError> {
        if matches!(group.phase, GroupPhase::Forming | GroupPhase::Gone) {
            return Ok(());
        }

        let active = group.active().count();

        let needed = self.quorum(group).needed();
        if active < needed {
            return Err(RingError::TooFewActive {
                group: group.name.clone(),
                active,
                needed,
            });
        }

        Ok(())
    }

    /// What an operator should know of: members that count together and would fail together.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for group in &self.groups {
            let mut zones: BTreeMap<&str, &Member> = BTreeMap::new();
            for member in group.present().filter(|m| m.state != MemberState::Draining) {
                let Some(zone) = member.zone.as_deref() else {
                    continue;
                };
                if let Some(first) = zones.insert(zone, member) {
                    let name = &group.name;
                    let first = &first.node;
                    let second = &member.node;
                    warnings.push(format!(
                        "group {name}: {first} and {second} are both in zone {zone}"
                    ));
                }
            }
        }

        warnings
    }

    /// The member of this name, wherever it is in its life.
    pub fn member(&self, node: &NodeName) -> Option<&Member> {
        self.groups.iter().find_map(|g| g.member(node))
    }

    /// The group this node belongs to; a node that has left belongs to none.
    pub fn group_of(&self, node: &NodeName) -> Option<&Group> {
        self.groups
            .iter()
            .find(|g| g.member(node).is_some_and(|m| m.state != MemberState::Left))
    }

    /// The group of this name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|g| g.name == name)
    }

    /// Groups that take series.
    pub fn serving(&self) -> impl Iterator<Item = &Group> {
        self.groups
            .iter()
            .filter(|g| g.phase == GroupPhase::Serving)
    }

    /// The quorum of a group of this ring.
    pub fn quorum(&self, group: &Group) -> Quorum {
        Quorum::new(
            group.active().map(|m| m.node.clone()),
            self.replication_factor,
        )
    }

    /// A hash over everything two nodes must agree on. Addresses are left out: each side may know the other under
    /// another address, for example behind a NAT.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Xxh3::with_seed(self.epoch);
        put_field(&mut hash, &(self.replication_factor as u64).to_le_bytes());
        let mut groups: Vec<&Group> = self.groups.iter().collect();
        groups.sort_by(|a, b| a.name.cmp(&b.name));

        for group in groups {
            put_field(&mut hash, group.name.as_bytes());
            // Left out where they are what they always were when there was one group.
            if (group.phase, group.weight) != (GroupPhase::Serving, 1) {
                put_field(&mut hash, &[group.phase as u8]);
                put_field(&mut hash, &group.weight.to_le_bytes());
            }

            put_field(&mut hash, &(group.members.len() as u64).to_le_bytes());
            let mut members: Vec<&Member> = group.members.iter().collect();
            members.sort_by(|a, b| a.node.cmp(&b.node));

            for member in members {
                put_field(&mut hash, member.node.as_str().as_bytes());
                put_field(&mut hash, &[member.state as u8]);
            }
        }

        hash.digest()
    }
}

/// No member has the name of another, and none that is present has the address of another.
fn check_member<'a>(
    member: &'a Member,
    nodes: &mut BTreeSet<&'a NodeName>,
    addresses: &mut BTreeMap<&'a String, &'a NodeName>,
) -> Result<(), RingError> {
    if !nodes.insert(&member.node) {
        return Err(RingError::DuplicateNode(member.node.clone()));
    }
    if member.state == MemberState::Left {
        return Ok(());
    }

    if let Some(first) = addresses.insert(&member.address, &member.node) {
        let first = NodeName::clone(first);
        let second = member.node.clone();
        return Err(RingError::DuplicateAddress {
            address: member.address.clone(),
            first,
            second,
        });
    }
    Ok(())
}

fn put_field(hash: &mut Xxh3, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests;
