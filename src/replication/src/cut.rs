//! Whether a window may be cut into blocks.
//!
//! Blocks of a window must be the same on every replica, so a replica waits until it knows everything that belongs into
//! the cut: each origin says with a marker that it has closed the window, and an origin that cannot say so any more is
//! replaced by the agreement of those that are left.

use std::time::Duration;

use trireme_base::StreamId;

/// What is known about one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamCut {
    /// The stream.
    pub stream: StreamId,
    /// Lowest over all shards of the last window marker applied; `None` while a shard has none.
    pub marker: Option<i64>,
    /// Highest seq applied in all shards here.
    pub applied: u64,
    /// Highest durable seq here.
    pub position: u64,
    /// Highest durable seq at each connected peer.
    pub peer_positions: Vec<u64>,
    /// Last seq of the stream by decision of the ring, once its origin has left.
    pub sealed_at: Option<u64>,
    /// A later boot of the same origin is known.
    pub later_boot: bool,
    /// How long the origin has been unreachable; `None` while it is connected.
    pub unreachable_for: Option<Duration>,
}

/// What is known about the group and its streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutInput {
    /// This node and the connected peers make a quorum.
    pub quorum_connected: bool,
    /// A member is away and may come back, or has come so lately that what it has may not be known yet. It may have more
    /// of a stream that has ended than anybody else, its origin included.
    pub is_unsettled: bool,
    /// An origin that is unreachable for longer is not waited for.
    pub seal_after: Duration,
    /// Every stream anybody connected has.
    pub streams: Vec<StreamCut>,
}

/// Why a stream holds a cut up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CutBlocker {
    /// The origin runs and has not closed the window in every shard.
    #[error("{0} has not closed the window yet")]
    Open(StreamId),
    /// The origin is away, but not long enough to go on without it.
    #[error("origin of {0} is away and may come back")]
    Away(StreamId),
    /// The stream has ended, but there is no quorum to say where.
    #[error("{0} has ended and no quorum is connected")]
    NoQuorum(StreamId),
    /// The stream has ended, but a replica that may have more of it is away or has just come.
    #[error("{0} has ended and not every replica has said what it has of it")]
    Unsettled(StreamId),
    /// The stream has ended, but connected replicas have different parts of it.
    #[error("{0} has ended and replicas are not level")]
    NotLevel(StreamId),
    /// The stream has ended and is not fully applied here.
    #[error("{0} has ended and is not fully applied")]
    NotApplied(StreamId),
}

/// What holds up the cut of `window`; empty when it may be done.
///
/// A stream that the ring has sealed is no obstacle once it is applied up to the seal. Without a seal, a
/// stream is no obstacle if its marker for the window (or a later one) was applied in every shard, or if it has ended
/// (a later boot of its origin is connected, or the origin is unreachable for longer than `seal_after`), nobody who may
/// come back is missing, the connected replicas are a quorum and have equal positions of it, and all of it is applied here.
pub fn cut_blockers(window: i64, input: &CutInput) -> Vec<CutBlocker> {
    input
        .streams
        .iter()
        .filter_map(|stream| blocker(window, input, stream))
        .collect()
}

fn blocker(window: i64, input: &CutInput, s: &StreamCut) -> Option<CutBlocker> {
    if s.marker.is_some_and(|marker| marker >= window) {
        return None;
    }
    if let Some(end) = s.sealed_at {
        return (s.applied < end).then_some(CutBlocker::NotApplied(s.stream));
    }

    // A start that is away has what its predecessor wrote, and perhaps nobody else does.
    let has_ended = match s.unreachable_for {
        Some(away) => away > input.seal_after,
        None => s.later_boot,
    };

    if !has_ended {
        let away = s.unreachable_for.is_some();
        return Some(if away {
            CutBlocker::Away(s.stream)
        } else {
            CutBlocker::Open(s.stream)
        });
    }

    if !input.quorum_connected {
        return Some(CutBlocker::NoQuorum(s.stream));
    }
    if input.is_unsettled {
        return Some(CutBlocker::Unsettled(s.stream));
    }

    if s.peer_positions
        .iter()
        .any(|position| *position != s.position)
    {
        return Some(CutBlocker::NotLevel(s.stream));
    }

    (s.applied < s.position).then_some(CutBlocker::NotApplied(s.stream))
}

#[cfg(test)]
mod tests;
