//! Liveness and readiness.

/// Whether the node takes writes and queries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It does.
    Ready,
    /// It does not, and why.
    NotReady(String),
}

/// How far a start is with the log behind its checkpoints, in numbers of log segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayStatus {
    /// First segment to be read.
    pub first: u64,
    /// Last segment to be read.
    pub last: u64,
    /// The segment being read.
    pub current: u64,
    /// Everything is applied.
    pub done: bool,
}

/// What load balancers and operators ask.
pub trait Health: Send + Sync {
    /// Answers as long as the process can do anything.
    fn healthy(&self) -> bool;
    /// Whether writes are accepted.
    fn ready(&self) -> Readiness;
    /// True once the node has begun to stop.
    fn stopping(&self) -> bool;
    /// The replay of the log; writes are accepted before it is done.
    fn replay(&self) -> ReplayStatus;
}
