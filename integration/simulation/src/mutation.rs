//! Known bugs that can be put in. Each must make some run fail, or the checks are worth nothing.
//!
//! They live in the simulation's own shell around the product's parts (its disk, its quorum, its driver), so no build of
//! the daemon can hold one.

/// A defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// A write is acknowledged as soon as its origin has it durably.
    AckBeforeQuorum,
    /// A sync of the log does nothing.
    AckBeforeFsync,
    /// Peers are told positions that are written and not synced.
    PositionBeforeFsync,
    /// A repeated sample is acknowledged without waiting for the record that repeats it.
    AckDuplicateAtOnce,
    /// A write that no quorum has in time is answered 400.
    RefuseForGood,
    /// An empty disk keeps the identity of the old one, and its streams are used again.
    ReuseSequence,
    /// The log is trimmed to the checkpoint without asking who needs it.
    TrimTooEarly,
    /// Streams of earlier starts are not taken from peers.
    SkipStreams,
    /// A joining replica counts in the place of a member.
    CountJoining,
    /// Positions of a replica count on after its disk was replaced.
    TrustWiped,
    /// A start does not know which cut was made: what is in blocks is applied again.
    ApplyAfterCut,
    /// The last records of earlier starts are dropped at a replay.
    DropTail,
    /// A window is cut without waiting for the markers of all streams.
    CutBeforeMarkers,
    /// A replica that is away is given up at once.
    SealAtOnce,
    /// A new stream begins without a marker.
    OpenWithoutMarker,
    /// A write that was torn by a full disk is called a success.
    AckTornWrite,
    /// Records of peers are applied before the replay is over.
    ApplyBeforeReplay,
    /// A checkpoint is published before the log is durable.
    CheckpointBeforeLog,
    /// A peer never gets room again for what was applied.
    KeepCredit,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::AckBeforeQuorum,
        Self::AckBeforeFsync,
        Self::PositionBeforeFsync,
        Self::AckDuplicateAtOnce,
        Self::RefuseForGood,
        Self::ReuseSequence,
        Self::TrimTooEarly,
        Self::SkipStreams,
        Self::CountJoining,
        Self::TrustWiped,
        Self::ApplyAfterCut,
        Self::DropTail,
        Self::CutBeforeMarkers,
        Self::SealAtOnce,
        Self::OpenWithoutMarker,
        Self::AckTornWrite,
        Self::ApplyBeforeReplay,
        Self::CheckpointBeforeLog,
        Self::KeepCredit,
    ];

    /// The bug with this name, as `Debug` prints it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mutation| format!("{mutation:?}") == name)
    }
}
