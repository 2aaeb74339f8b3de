//! One peer's loop: moves frames between a connection, a link and the store.
//!
//! Everything happens in one future, so that the state machine has one owner and nothing needs a lock. Reading from the
//! peer never waits for writing to it (two nodes that did so would wait for each other for ever); it stops only while the
//! own log takes no records, and then the peer is stopped by TCP and by its credit.

mod lanes;
mod requests;
mod session;
mod store;

pub use store::{AppendRefused, Intake, ReplicaStore};

use std::fmt;
use std::sync::Arc;

use slog::Logger;
use trireme_base::{Clock, ErrorKind};
use trireme_replication::{AdmitError, DisconnectReason, PeerLink};

use crate::{CallHandler, Calls, Connection, Hub, PeerSlot, TransportError};
use session::Session;

/// What a driver works with. The owner keeps all of it over connections, except that a restarted owner makes a new link.
pub struct LinkParts<S: ?Sized> {
    /// Where newer connections arrive; one ends the session.
    pub slot: Arc<PeerSlot>,
    /// The own log and head.
    pub store: Arc<S>,
    /// News of the own log, and the view of the group.
    pub hub: Arc<Hub>,
    /// Calls to the peer.
    pub calls: Arc<Calls>,
    /// Answers the peer's calls.
    pub handler: Arc<dyn CallHandler>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Log with the peer's name.
    pub log: Logger,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkEnd {
    /// The peer has connected again.
    #[error("replaced by a newer connection")]
    Superseded,
    /// The peer has left the ring.
    #[error("peer has left the ring")]
    Removed,
    /// The group does not let the peer in.
    #[error(transparent)]
    Admission(#[from] AdmitError),
    /// The link gave the peer up.
    #[error(transparent)]
    Link(#[from] DisconnectReason),
    /// The connection failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The own log failed; it will not get better by connecting again.
    #[error("own log failed: {0}")]
    Store(String),
}

impl LinkEnd {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Superseded | Self::Removed => ErrorKind::Cancelled,
            Self::Admission(error) => error.kind(),
            Self::Link(reason) => reason.kind(),
            Self::Transport(error) => error.kind(),
            Self::Store(_) => ErrorKind::Internal,
        }
    }
}

impl<S: ?Sized> fmt::Debug for LinkParts<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "parts of the link to {}", self.slot.node())
    }
}

/// Runs one session over `connection` until it ends, and says why, which the owner logs; the owner then takes the next
/// connection from the slot.
///
/// Dropping the future ends the session: the connection closes and the group view is told. `link` can be used for the next
/// session either way.
pub async fn run_link<S: ReplicaStore + ?Sized>(
    link: &mut PeerLink,
    parts: &LinkParts<S>,
    connection: Connection,
) -> LinkEnd {
    match Session::begin(link, parts, connection) {
        Ok(mut session) => session.run().await,
        Err(end) => end,
    }
}

#[cfg(test)]
mod tests;
