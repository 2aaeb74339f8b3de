//! A group of replicas and its members.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
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

/// One receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Name, unique in the ring.
    #[serde(serialize_with = "node_as_text", deserialize_with = "node_from_text")]
    pub node: NodeName,
    /// `host:port` of its cluster listener.
    pub address: String,
    /// Failure domain, for example a rack or an availability zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Where it is in its life.
    pub state: MemberState,
}

impl Member {
    /// An active member without a zone.
    pub fn active(node: &str, address: &str) -> Self {
        Self {
            node: NodeName::new(node),
            address: address.to_owned(),
            zone: None,
            state: MemberState::Active,
        }
    }
}

/// Receivers that hold the same data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Name, unique in the ring.
    pub name: String,
    /// Members in the order of the settings.
    pub members: Vec<Member>,
}

impl Group {
    /// A group of these members.
    pub fn new(name: &str, members: Vec<Member>) -> Self {
        Self { name: name.to_owned(), members }
    }

    /// The member of this name.
    pub fn member(&self, node: &NodeName) -> Option<&Member> {
        self.members.iter().find(|m| &m.node == node)
    }

    /// Members whose acknowledgements count.
    pub fn active(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|m| m.state == MemberState::Active)
    }

    /// Members that `me` exchanges records with: everybody who has not left, without `me`.
    pub fn peers_of<'a>(&'a self, me: &'a NodeName) -> impl Iterator<Item = &'a Member> {
        self.members.iter().filter(move |m| m.state != MemberState::Left && &m.node != me)
    }
}

fn node_as_text<S: Serializer>(node: &NodeName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(node.as_str())
}

fn node_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NodeName, D::Error> {
    Ok(NodeName::new(&String::deserialize(deserializer)?))
}
