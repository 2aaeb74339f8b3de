//! Replication of origin logs, as plain state machines: events in, effects out.
//!
//! Every receiver writes what it accepts to a log of its own, a *stream*, and the replicas of a group exchange their
//! streams. There is no leader. Nothing in this crate touches a socket, a file, a clock or a runtime: time comes in as a
//! `Duration` since some fixed point, and what has to be done goes out as a list, so that a simulation runs thousands of
//! schedules with crashes, partitions and lost fsyncs in seconds (`tests/simulation`).
//!
//! | module | holds | one per |
//! |---|---|---|
//! | [`PositionVector`] | how far each stream is durable somewhere | replica |
//! | [`CommitTracker`] | which of this node's entries a quorum has, and who waits for them | node |
//! | [`GroupView`] | who is connected, what they have, which peer serves which stream | node |
//! | [`PeerLink`] | the protocol with one peer, both directions | peer |
//! | [`Rebuild`] | how a replica that the logs cannot help any more gets everything from a peer | node |
//! | [`cut_blockers`] | whether a window may be cut into blocks | call |
//!
//! The drivers are in `trireme-transport`: `run_link` moves frames between a connection, a link and a store.
//!
//! ```
//! use std::time::Duration;
//! use trireme_base::{Boot, Incarnation, NodeName, StreamId};
//! use trireme_replication::CommitTracker;
//! use trireme_ring::Quorum;
//!
//! let names = ["n0", "n1", "n2"].map(NodeName::new);
//! let own = StreamId { incarnation: Incarnation(1), boot: Boot(1) };
//! let mut commits = CommitTracker::new(own, names[0].clone(), Quorum::new(names.clone(), 3), 100);
//! commits.trust(&names[1], Incarnation(2));
//! // The write whose last entry is 5 waits for it.
//! assert_eq!(commits.wait(5, Duration::from_secs(10), "write"), Ok(None));
//! commits.own_durable(5);
//! assert!(commits.advance().is_empty(), "one copy is no quorum");
//! commits.peer_durable(&names[1], Incarnation(2), 5, 1);
//! assert_eq!(commits.advance(), ["write"]);
//! ```

mod commit;
mod cut;
mod group;
mod identity;
mod link;
mod positions;
mod rebuild;

pub use commit::{CommitTracker, TooManyWaiters};
pub use cut::{CutBlocker, CutInput, StreamCut, cut_blockers};
pub use group::{
    AdmitError, ClockWord, Ends, GroupLimits, GroupRing, GroupView, PeerView, Timekeeper,
};
pub use identity::PeerIdentity;
pub use link::{
    DisconnectReason, Effect, Event, LinkConfig, LinkStats, PeerLink, ReadFault, Taken,
};
pub use positions::{ALL, PositionVector};
pub use rebuild::{
    Action, CancelError, Have, Look, Progress, Rebuild, RebuildLimits, RebuildReason, Revoked,
    Source, SourceFault, may_cancel,
};
