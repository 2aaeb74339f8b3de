//! The actors of a node: supervised shells that own a mailbox, a timer and I/O.
//!
//! No logic lives here that a plain unit test of a library crate could not reach. The files follow the way of a
//! sample; `policy.rs` is the table of how each kind runs, `supervisor.rs` restarts what dies.

mod canary;
mod delivery;
mod policy;
mod supervisor;

pub use canary::Canary;
pub use policy::{ActorKind, POLICIES, Placement, Policy, policy};
pub use supervisor::{Start, Started, Supervisor, SupervisorHandle, SupervisorParts};
