//! Replica groups and quorum arithmetic.
//!
//! A cluster is a [`Ring`] of [`Group`]s; each group is a handful of receivers that hold the same data. Every decision
//! that depends on "who is in" reads it from here: who is dialled, whose acknowledgement counts, how many are needed.
//! The ring comes from the settings and is the same on every node of a cluster, which the handshake between nodes
//! checks by [`Ring::fingerprint`].
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

mod error;
mod group;
mod quorum;
mod ring;

pub use error::RingError;
pub use group::{Group, Member, MemberState};
pub use quorum::Quorum;
pub use ring::Ring;
