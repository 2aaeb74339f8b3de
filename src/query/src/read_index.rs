//! How far a query has to read.

use trireme_base::StreamId;

/// What the group had when a query began. A query takes it once, however many selectors it has.
#[derive(Debug)]
pub struct ReadIndex {
    /// By stream, the seq up to which somebody told that he has it.
    pub positions: Vec<(StreamId, u64)>,
    /// A quorum has told, so that `positions` cover every acknowledged write.
    pub known: bool,
    /// Moreover, this replica has applied it.
    pub complete: bool,
}
