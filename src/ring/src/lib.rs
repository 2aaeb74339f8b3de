//! Replica groups, quorum arithmetic, and how the ring may change.
//!
//! A cluster is a [`Ring`] of [`Group`]s; each group is a handful of receivers that hold the same data. Every decision
//! that depends on "who is in" reads it from here: who is dialled, whose acknowledgement counts, how many are needed, and
//! by [`Placement`] which group a series belongs to.
//! A ring starts as the settings say and changes by [`Proposal`]s that all nodes apply in one order (`trireme-consensus`
//! replicates them): [`Ring::apply`] decides by the ring alone, [`guard`] by what is known of the members at this moment.
//! The handshake between nodes checks by [`Ring::fingerprint`] that one epoch means one ring.
//!
//! ```
//! use trireme_base::NodeName;
//! use trireme_ring::{Group, Member, Ring};
//! let members = ["n0", "n1", "n2"].map(|n| Member::active(n, &format!("{n}:7946")));
//! let ring = Ring::new(1, 3, vec![Group::new("g0", members.to_vec())]).expect("valid");
//! let group = ring.group_of(&NodeName::new("n1")).expect("a member");
//! let quorum = ring.quorum(group);
//! assert_eq!(quorum.needed(), 2);
//! // n0 has 9 entries durably, n1 has 7, n2 has none: 7 are on two of three.
//! assert_eq!(quorum.committed([("n0", 9), ("n1", 7)].map(|(n, p)| (NodeName::new(n), p))), 7);
//! ```

mod change;
mod error;
mod evidence;
mod group;
mod names;
mod placement;
mod quorum;
mod refusal;
mod ring;
mod seal;
#[cfg(test)]
mod table;
mod voters;

pub use change::{Change, NAME_BYTES_MAX, Proposal};
pub use error::RingError;
pub use evidence::{Evidence, Holdings, MemberEvidence, goes_on, guard, next_step};
pub use group::{Group, GroupPhase, Member, MemberState};
pub use placement::Placement;
pub use quorum::Quorum;
pub use refusal::Refusal;
pub use ring::Ring;
pub use seal::Seal;
pub use voters::{VOTERS_MAX, voter_id, voters};
