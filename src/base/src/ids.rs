//! Identities of nodes, data directories and streams.

use std::fmt;
use std::sync::Arc;

/// Configured name of a node, unique in its cluster, for example `n0`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// Wraps a name; the settings have already validated it.
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Identity of a data directory, minted at random when the directory is created.
///
/// A wiped or cloned disk is a new replica: its old acknowledgements are not trusted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// How many times the process was started on a data directory, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Boot(pub u32);

/// The log of one origin since one start of its process.
///
/// Only the origin appends to a stream. A new start opens a new stream, so a sequence number is never used
/// twice, not even after a power cut that lost an unsynced tail.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct StreamId {
    /// The data directory that wrote the stream; it names the origin.
    pub incarnation: Incarnation,
    /// Which start of that origin.
    pub boot: Boot,
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.incarnation, self.boot.0)
    }
}
