//! What Raft replicates.

use std::io::Cursor;

use openraft::BasicNode;
use serde::{Deserialize, Serialize};
use trireme_ring::{Proposal, Refusal, Ring};

/// A command of the replicated log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// The first one: the ring of the settings. Later ones of its kind change nothing.
    Found(Ring),
    /// A change.
    Change(Proposal),
}

/// What became of a command.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was no command of ours.
    #[default]
    Nothing,
    /// The ring of this epoch is the result.
    Epoch(u64),
    /// The ring is as it was.
    Refused {
        /// Why, for people.
        reason: String,
        /// Another change came first.
        stale: bool,
    },
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self::Refused {
            stale: matches!(refusal, Refusal::Stale { .. }),
            reason: refusal.to_string(),
        }
    }
}

openraft::declare_raft_types!(
    /// Raft over rings. A node's number is `trireme_ring::voter_id` of its name, its address is its name.
    pub RingRaft:
        D = Command,
        R = Answer,
        NodeId = u64,
        Node = BasicNode,
        Entry = openraft::Entry<RingRaft>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = openraft::TokioRuntime,
);

/// A running Raft.
pub(crate) type Raft = openraft::Raft<RingRaft>;
/// Place in the log.
pub(crate) type LogId = openraft::LogId<u64>;
/// Who was voted for.
pub(crate) type Vote = openraft::Vote<u64>;
/// Entry of the log.
pub(crate) type Entry = openraft::Entry<RingRaft>;
/// Voters and learners.
pub(crate) type Membership = openraft::StoredMembership<u64, BasicNode>;
/// What storage may fail with.
pub(crate) type StorageError = openraft::StorageError<u64>;
