//! A group of replicas and its members.

use serde::{Deserialize, Serialize};
use trireme_base::NodeName;

/// Greatest weight of a group.
pub(crate) const WEIGHT_MAX: u32 = 64;

/// Where a member is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// Is being filled; receives everything, its acknowledgements do not count.
    Joining,
    /// Counts for the quorum.
    Active,
    /// Still serves what it has, its acknowledgements do not count any more.
    Draining,
    /// Gone.
    Left,
}

impl MemberState {
    /// The state as a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Left => "left",
        }
    }
}

/// One receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Name, unique in the ring.
    #[serde(with = "crate::names")]
    pub node: NodeName,
    /// `host:port` of its cluster listener.
    pub address: String,
    /// Failure domain, for example a rack or an availability zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Where it is in its life.
    pub state: MemberState,
    /// The member that leaves once this one is active.
    #[serde(
        with = "crate::names::optional",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub replaces: Option<NodeName>,
}

impl Member {
    /// An active member without a zone.
    pub fn active(node: &str, address: &str) -> Self {
        Self {
            node: NodeName::new(node),
            address: address.to_owned(),
            zone: None,
            state: MemberState::Active,
            replaces: None,
        }
    }
}

/// Where a group is in its life.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum GroupPhase {
    /// Has never had as many active members as the replication factor asks for, and takes no series before it has.
    Forming,
    /// Takes its share of the series.
    #[default]
    Serving,
    /// Takes no series any more; answers queries until what it has is in the bucket.
    Leaving,
    /// All its members have left.
    Gone,
}

impl GroupPhase {
    /// The phase as a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Forming => "forming",
            Self::Serving => "serving",
            Self::Leaving => "leaving",
            Self::Gone => "gone",
        }
    }

    fn is_serving(&self) -> bool {
        *self == Self::Serving
    }
}

/// Receivers that hold the same data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Name, unique in the ring.
    pub name: String,
    /// Where it is in its life.
    #[serde(default, skip_serializing_if = "GroupPhase::is_serving")]
    pub phase: GroupPhase,
    /// Share of the series it takes, relative to the other groups.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u32,
    /// Members in the order in which they came.
    pub members: Vec<Member>,
}

fn one() -> u32 {
    1
}

fn is_one(weight: &u32) -> bool {
    *weight == 1
}

impl Group {
    /// A group of these members that takes series.
    pub fn new(name: &str, members: Vec<Member>) -> Self {
        Self {
            name: name.to_owned(),
            phase: GroupPhase::Serving,
            weight: 1,
            members,
        }
    }

    /// The member of this name.
    pub fn member(&self, node: &NodeName) -> Option<&Member> {
        self.members.iter().find(|m| &m.node == node)
    }

    /// Members whose acknowledgements count.
    pub fn active(&self) -> impl Iterator<Item = &Member> {
        self.members
            .iter()
            .filter(|m| m.state == MemberState::Active)
    }

    /// Members that have not left.
    pub fn present(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|m| m.state != MemberState::Left)
    }

    /// Members that `me` exchanges records with: everybody who has not left, without `me`.
    pub fn peers_of<'a>(&'a self, me: &'a NodeName) -> impl Iterator<Item = &'a Member> {
        self.present().filter(move |m| &m.node != me)
    }
}
