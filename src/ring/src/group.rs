//! A group of replicas and its members.

use serde::{Deserialize, Serialize};
use trireme_base::NodeName;

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
    #[serde(with = "crate::names::optional", default, skip_serializing_if = "Option::is_none")]
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

/// Receivers that hold the same data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Name, unique in the ring.
    pub name: String,
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
    /// A group of these members.
    pub fn new(name: &str, members: Vec<Member>) -> Self {
        Self { name: name.to_owned(), weight: 1, members }
    }

    /// The member of this name.
    pub fn member(&self, node: &NodeName) -> Option<&Member> {
        self.members.iter().find(|m| &m.node == node)
    }

    /// Members whose acknowledgements count.
    pub fn active(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|m| m.state == MemberState::Active)
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
