//! The ring, decided by a majority.
//!
//! ```text
//!  operator ─▶ leader: guard ─▶ propose ─▶ Raft ─▶ Machine (Ring::apply) ─▶ RingBook ─▶ the node
//!                                                                              ▲
//!                                         a peer with a newer ring ── told ────┘
//! ```
//!
//! Raft (`openraft`) orders the changes; what a change means is `trireme_ring`'s. The [`RingBook`] holds the newest decided
//! ring. It is what the rest of the node goes by, and it is spread by two ways: to voters and learners as Raft's log, and
//! from peer to peer by whoever sees another epoch in a heartbeat. So a node needs no majority to learn of a change, only
//! one peer that knows it, and where no majority can be found the last ring stays in force: the ring stands still, writes
//! go on.
//!
//! Two files in `ring/` of the data directory, each replaced whole and checksummed: `ring.json` (the book) and
//! `raft.json` (vote, log, state machine).
//!
//! A fresh cluster founds the ring by itself: as soon as a majority of the members named in the settings sees each other
//! without a log, each starts Raft with the same list. A node whose disk was wiped finds the ring founded. It then does
//! not vote before a leader has told it everything, because it may have forgotten what it voted for.
//!
//! | module | holds |
//! |---|---|
//! | `book` | the ring of this node |
//! | `file` | files that are old or new, never torn |
//! | `disk`, `log_store`, `machine` | Raft's storage |
//! | `network` | messages between members |
//! | `consensus` | the whole: proposing, answering, founding, voters |

mod book;
mod consensus;
mod disk;
mod file;
mod log_store;
mod machine;
mod network;
mod types;

pub use book::RingBook;
pub use consensus::{
    Asked, Consensus, ConsensusError, ConsensusParts, ConsensusStartError, Timing,
};
pub use file::FileError;
pub use network::{Status, Voice};
