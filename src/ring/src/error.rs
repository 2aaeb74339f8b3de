//! Why a ring is not valid.

use trireme_base::{ErrorKind, NodeName};

/// Why a ring is not valid.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum RingError {
    /// The replication factor is outside 1..=7.
    #[error("replication factor {0} is not between 1 and 7")]
    ReplicationFactor(usize),
    /// There is no group.
    #[error("the ring has no group")]
    NoGroup,
    /// No group takes series.
    #[error("no group of the ring takes series")]
    NobodyServes,
    /// A weight is outside its bounds.
    #[error("group {group} has weight {weight}, which is not between 1 and 64")]
    Weight {
        /// The group.
        group: String,
        /// Its weight.
        weight: u32,
    },
    /// A name is empty.
    #[error("a group or node without a name")]
    NoName,
    /// Two groups have one name.
    #[error("group {0} is listed twice")]
    DuplicateGroup(String),
    /// A node is listed twice.
    #[error("node {0} is listed twice")]
    DuplicateNode(NodeName),
    /// Two nodes have one address.
    #[error("address {address} belongs to {first} and {second}")]
    DuplicateAddress {
        /// The address.
        address: String,
        /// One owner.
        first: NodeName,
        /// The other.
        second: NodeName,
    },
    /// A group cannot reach its quorum even when all its members are up.
    #[error("group {group} has {active} active members, a write needs {needed}")]
    TooFewActive {
        /// The group.
        group: String,
        /// Active members.
        active: usize,
        /// Quorum.
        needed: usize,
    },
}

impl RingError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}
