//! Where the mesh puts the connection to a peer and its driver finds it.

use std::fmt;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, oneshot};
use trireme_base::NodeName;
use trireme_replication::PeerIdentity;

use crate::{FrameReader, FrameWriter};

/// The reading half of a connection, whatever it is made of.
pub type BoxedRead = Box<dyn AsyncRead + Send + Unpin>;
/// The writing half of a connection, whatever it is made of.
pub type BoxedWrite = Box<dyn AsyncWrite + Send + Unpin>;

/// A connection that has passed the handshake. Dropping it closes it.
pub struct Connection {
    /// Who is at the other end.
    pub peer: PeerIdentity,
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

/// Holds at most one connection that waits for its driver: a newer one takes the place of an older one.
#[derive(Debug)]
pub struct PeerSlot {
    node: NodeName,
    waiting: Mutex<Option<Connection>>,
    arrived: Notify,
    problem: Mutex<Option<String>>,
}

impl PeerSlot {
    pub(crate) fn new(node: NodeName) -> Self {
        Self { node, waiting: Mutex::new(None), arrived: Notify::new(), problem: Mutex::new(None) }
    }

    /// The peer.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// Why there is no connection, as of the last attempt; for the status page.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
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

    /// Returns when a newer connection waits. Cancel safe.
    pub(crate) async fn superseded(&self) {
        while self.waiting.lock().is_none() {
            self.arrived.notified().await;
        }
    }
}
