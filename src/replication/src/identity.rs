//! Who is at the other end.

use trireme_base::{Boot, Incarnation, NodeName, StreamId};

/// A node as it is running now: its name, its data directory and which start of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerIdentity {
    /// Configured name.
    pub node: NodeName,
    /// Identity of its data directory.
    pub incarnation: Incarnation,
    /// Which start of that data directory.
    pub boot: Boot,
}

impl PeerIdentity {
    /// The stream the node writes now.
    pub fn stream(&self) -> StreamId {
        StreamId {
            incarnation: self.incarnation,
            boot: self.boot,
        }
    }
}
