//! Where a write goes: to the shards of this node, to another member of the group, to other groups.
//!
//! [`WritePath`] is the way in. It asks the [`Route`] which group takes which series, hands the own part to the shards of
//! `trireme_storage`, and has the [`Forwarder`] send the rest. The outcome is that of all parts, each with a quorum of its own.
//! [`Neighbours`] knows the members of the other groups and how far they are.
//!
//! # Invariants
//!
//! - A write counts only when every record that it led to is on a quorum of its group.
//! - A write that one member forwards is never forwarded by the next one, so that two full nodes cannot loop. A part for another
//!   group is passed on at most [`PASSES_MAX`] times.
//! - A part may be sent again, since samples are a set.
//!
//! # Not here
//!
//! Reading requests of clients (`trireme_api`), applying samples (`trireme_storage`), connections (`trireme_transport`).

mod forward;
mod neighbours;
mod route;
mod write_path;

pub use forward::{ForwardMetrics, Forwarder, OutcomeMessage, PASSES_MAX, PickForwardTarget};
pub use neighbours::{NeighbourGroup, NeighbourStore, Neighbours};
pub use route::{Route, Routes};
pub use write_path::WritePath;
