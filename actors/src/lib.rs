//! The actors of a node: supervised shells that own a mailbox, a timer and I/O.
//!
//! No logic lives here that a plain unit test of a library crate could not reach. The files follow the way of a
//! sample; `policy.rs` is the table of how each kind runs, `supervisor.rs` restarts what dies.

mod canary;
mod commits;
mod delivery;
mod front;
mod gate;
mod lane;
mod ledger;
mod membership;
mod policy;
mod ports;
mod query_shard;
mod replicator;
mod store;
mod supervisor;

pub use canary::Canary;
pub use commits::{CommitReceiver, Commits, Committed};
pub use front::{Front, FrontPorts, GetHealth, MemberHealth, PeerHealth, Substitute};
pub use gate::{Gate, GateState};
pub use lane::{Lane, LaneReady};
pub use ledger::ApplyLedger;
pub use membership::{GetRing, Membership};
pub use policy::{ActorKind, POLICIES, Placement, Policy, policy};
pub use ports::MailboxMetrics;
pub use query_shard::{Evaluate, EvaluateError, QueryShard, evaluate};
pub use replicator::{Replicator, ReplicatorParts};
pub use store::{Store, StoreMetrics, StoreParts};
pub use supervisor::{Start, Started, Supervisor, SupervisorHandle, SupervisorParts};
