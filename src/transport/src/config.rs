//! Settings of the mesh.

use std::path::PathBuf;
use std::time::Duration;

use trireme_base::NodeName;

/// What a peer is to this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerRole {
    /// A member of the same group: records are exchanged.
    Replica,
    /// A member of another group: only calls and signs of life are.
    Neighbour,
}

/// Where a peer listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerAddress {
    /// Its name.
    pub node: NodeName,
    /// What it is to this node. A peer whose role changes is connected anew.
    pub role: PeerRole,
    /// `host:port` of its cluster listener; names are looked up at every attempt.
    pub address: String,
}

/// Settings of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshConfig {
    /// Every other node of the ring at the start; see [`crate::Mesh::set_ring`].
    pub peers: Vec<PeerAddress>,
    /// A connection must be made within this time.
    pub connect_timeout: Duration,
    /// The handshake must be over within this time.
    pub handshake_timeout: Duration,
    /// First wait after a failed attempt.
    pub backoff_min: Duration,
    /// Longest wait between attempts.
    pub backoff_max: Duration,
    /// A connection that lasted this long was a success: the next wait is the first one again.
    pub settled_after: Duration,
    /// First wait before peers that dial this node are asked whether they would let it in, while nobody does.
    pub ask_min: Duration,
    /// Longest wait between such questions.
    pub ask_max: Duration,
    /// Handshakes that others began and that may be under way at a time; the oldest gives way to the next.
    pub handshakes_max: usize,
    /// The same for those of one address.
    pub handshakes_per_source_max: usize,
    /// Where the mesh writes down which processes its peers are; nowhere if nothing is given.
    pub processes: Option<PathBuf>,
}

impl MeshConfig {
    /// The defaults with these peers.
    pub fn new(peers: Vec<PeerAddress>) -> Self {
        Self {
            peers,
            connect_timeout: Duration::from_secs(3),
            handshake_timeout: Duration::from_secs(5),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            settled_after: Duration::from_secs(10),
            ask_min: Duration::from_secs(1),
            ask_max: Duration::from_secs(10),
            handshakes_max: 32,
            handshakes_per_source_max: 12,
            processes: None,
        }
    }
}
