//! Liveness and readiness.

/// Whether the node takes writes and queries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It does.
    Ready,
    /// It does not, and why.
    NotReady(String),
}

/// What load balancers and operators ask.
pub trait Health: Send + Sync {
    /// Answers as long as the process can do anything.
    fn healthy(&self) -> bool;
    /// Whether writes are accepted.
    fn ready(&self) -> Readiness;
    /// True once the node has begun to stop.
    fn stopping(&self) -> bool;
}
