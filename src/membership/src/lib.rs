//! Who is in the ring: an operator's change on its way to the leader, and the leader's care that no change loses data.
//!
//! [`submit`] takes a [`ChangeRequest`] to the node that leads. There the [`RingController`] gathers evidence about the group,
//! has `trireme_ring` guard the change by it, and proposes it to the consensus; it also brings replacements to their end, one
//! step after the other. Only a member of a group sees its peers' positions: the leader asks one of another group.
//! [`LocalHoldings`] says what a node has that the bucket has not, which its group must not take with it.
//!
//! # Invariants
//!
//! - No change is proposed without evidence that was taken under the ring it changes, save one that an operator forces with a
//!   reason.
//! - Who is called level has everything that was acknowledged under earlier rings, see `EpochBarrier`.
//! - An answer that was lost is no answer: whoever asked looks whether the change came about.
//!
//! # Not here
//!
//! What may change and why (`trireme_ring`), how the majority decides (`trireme_consensus`), what a node does when the ring has
//! changed (`trireme_node`).

mod change_request;
mod controller;
mod holdings;
mod messages;

pub use change_request::{ChangeRequest, Op, RequestError, submit};
pub use controller::{RingController, RingControllerParts};
pub use holdings::LocalHoldings;
