//! Where the mesh puts the connection to a peer and its driver finds it.

use std::fmt;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, oneshot, watch};
use trireme_base::{NodeName, StreamId};
use trireme_replication::{LinkStats, PeerIdentity};

use crate::{FrameReader, FrameWriter};

/// The reading half of a connection, whatever it is made of.
pub type BoxedRead = Box<dyn AsyncRead + Send + Unpin>;
/// The writing half of a connection, whatever it is made of.
pub type BoxedWrite = Box<dyn AsyncWrite + Send + Unpin>;

/// A connection that has passed the handshake. Dropping it closes it.
pub struct Connection {
    /// Who is at the other end.
    pub peer: PeerIdentity,
    /// Protocol version that both speak.
    pub version: u32,
    /// Frames from the peer.
    pub reader: FrameReader<BoxedRead>,
    /// Frames to the peer.
    pub writer: FrameWriter<BoxedWrite>,
    /// Tells the mesh when the connection is dropped.
    pub(crate) _alive: oneshot::Sender<()>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection to {:?}", self.peer)
    }
}

/// What the driver last said about its link; for metrics and the status page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkStatus {
    /// Counts since the link was made; they start over when its owner was restarted.
    pub stats: LinkStats,
    /// Record bytes taken from the peer that are not applied yet.
    pub unapplied_bytes: u64,
    /// Frames that wait to be written.
    pub waiting_frames: usize,
    /// Nothing is read from the peer because the own log is busy.
    pub paused: bool,
    /// Streams taken from the peer.
    pub subscribed: Vec<StreamId>,
}

/// Holds at most one connection that waits for its driver: a newer one takes the place of an older one.
#[derive(Debug)]
pub struct PeerSlot {
    node: NodeName,
    waiting: Mutex<Option<Connection>>,
    arrived: Notify,
    problem: Mutex<Option<String>>,
    status: Mutex<LinkStatus>,
    closed: watch::Sender<bool>,
}

impl PeerSlot {
    pub(crate) fn new(node: NodeName) -> Self {
        Self {
            node,
            waiting: Mutex::new(None),
            arrived: Notify::new(),
            problem: Mutex::new(None),
            status: Mutex::default(),
            closed: watch::Sender::new(false),
        }
    }

    /// The peer.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// Why there is no connection, as of the last attempt; for the status page.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }

    /// What the driver last said; it is renewed a few times a second while there is a session.
    pub fn status(&self) -> LinkStatus {
        self.status.lock().clone()
    }

    pub(crate) fn set_status(&self, status: LinkStatus) {
        *self.status.lock() = status;
    }

    /// Notes why there is no connection; true if that is news.
    pub(crate) fn set_problem(&self, problem: Option<String>) -> bool {
        let mut current = self.problem.lock();
        let news = *current != problem;
        *current = problem;
        news
    }

    pub(crate) fn put(&self, connection: Connection) {
        let older = self.waiting.lock().replace(connection);
        drop(older);
        if *self.closed.borrow() {
            drop(self.waiting.lock().take());
            return;
        }
        self.arrived.notify_one();
    }

    /// The next connection. Cancel safe. One driver at a time.
    pub async fn next(&self) -> Connection {
        loop {
            if let Some(connection) = self.waiting.lock().take() {
                return connection;
            }
            self.arrived.notified().await;
        }
    }

    /// The peer is not in the ring any more: its session ends, and there will be no other in this slot.
    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
        drop(self.waiting.lock().take());
    }

    /// Returns when the peer is not in the ring any more. Cancel safe.
    pub async fn closed(&self) {
        let mut changes = self.closed.subscribe();
        changes
            .wait_for(|closed| *closed)
            .await
            .expect("BUG: the slot holds the sender");
    }

    /// Returns when a newer connection waits. Cancel safe.
    pub(crate) async fn superseded(&self) {
        while self.waiting.lock().is_none() {
            self.arrived.notified().await;
        }
    }
}
