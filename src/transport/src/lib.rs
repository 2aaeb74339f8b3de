//! The TCP mesh between nodes, and the driver that runs replication over it.
//!
//! ```text
//!  Mesh ── listens, dials, shakes hands ──▶ PeerSlot (one per peer) ──▶ run_link ◀──▶ PeerLink (trireme-replication)
//!                                                                        │   ▲
//!                                          Calls (requests to the peer) ─┘   └── Feed (what the own log did) ◀── Hub
//! ```
//!
//! Two nodes hold **one** connection, dialled by the one whose name is smaller. One connection instead of one per
//! direction: both sides then agree on whether they are connected, the handshake is judged once, acknowledgements of one
//! direction ride with the records of the other, and there is no case in which data flows but its acknowledgement cannot.
//! A connection replaces an older one with the same peer, because after a power cut one side may not have noticed yet.
//!
//! Nothing in this crate spawns a task: [`Mesh::run`] and [`run_link`] are futures that their owner polls. What is built
//! here therefore dies with its owner, and a restarted owner starts from the store and a fresh connection.
//!
//! | module | holds |
//! |---|---|
//! | `frames` | reading and writing frames on a byte stream, without copying what they carry |
//! | `handshake` | who may talk to whom, and the exchange of hellos |
//! | `mesh` | listening, dialling with backoff, handing connections over |
//! | `hub`, `feed` | what the own log did, collected for each peer without blocking the log |
//! | `calls` | requests and answers beside replication |
//! | `driver` | one peer's loop |

mod calls;
mod config;
mod driver;
mod error;
mod feed;
mod frames;
mod handshake;
mod hub;
mod mesh;
mod slot;

pub use calls::{CallBook, CallError, CallHandler, Calls, NoCalls};
pub use config::{MeshConfig, PeerAddress, PeerRole};
pub use driver::{AppendRefused, Intake, LinkEnd, LinkParts, ReplicaStore, run_link};
pub use error::TransportError;
pub use feed::{Feed, FeedBatch};
pub use frames::{FrameReader, FrameWriter};
pub use handshake::{LocalNode, Refusal};
pub use hub::{Hub, SharedGroup};
pub use mesh::{Lineage, Mesh, NewFile, Processes, Witnesses, note_start};
pub use slot::{Connection, LinkStatus, PeerSlot};
