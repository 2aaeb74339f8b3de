//! Known bugs that can be put in. Each must make some run fail, or the checks are worth nothing.
//!
//! They live in the simulation's own shell around the product's parts (its disk, its quorum, its driver), so no build of
//! the daemon can hold one.

use crate::scenario::Kind;

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
    /// A sync that failed is called a success.
    IgnoreSyncError,
    /// What waits for a shard is lost when its writer dies.
    LoseLane,
    /// A start does not count itself: its stream is that of the start before.
    ReuseBoot,
    /// The log is trimmed to what was applied, whether it is in a checkpoint or not.
    TrimToApplied,
    /// A writer that died inside a change is replaced, and its shard lives on.
    KeepSuspectShard,
    /// A change of the ring is decided without asking what members have.
    ChangeUnmeasured,
    /// A change of the ring is decided although a member does not know the ring that it changes.
    IgnoreUninformed,
    /// Writes are acknowledged by the quorum of the ring in which a process started.
    KeepOldQuorum,
    /// Streams of a member that leaves are sealed where the leader's own log ends.
    SealByOwnLog,
    /// A query asks nobody how far the group is.
    ReadAlone,
    /// A query counts a quorum of an older ring than those go by who answer it.
    ReadByOldRing,
}

impl Mutation {
    /// Those that the seeds must find.
    pub const ALL: [Self; 24] = [
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
        Self::IgnoreSyncError,
        Self::LoseLane,
        Self::ReuseBoot,
        Self::TrimToApplied,
        Self::KeepSuspectShard,
    ];

    /// Those of changing rings.
    pub const OF_RINGS: [Self; 6] = [
        Self::ChangeUnmeasured,
        Self::IgnoreUninformed,
        Self::KeepOldQuorum,
        Self::SealByOwnLog,
        Self::ReadAlone,
        Self::ReadByOldRing,
    ];

    /// Kinds of runs in which it may show.
    pub fn kinds(self) -> &'static [Kind] {
        match self {
            Self::TrustWiped => &[Kind::Wiped],
            Self::KeepSuspectShard | Self::LoseLane => &[Kind::Writers],
            Self::ChangeUnmeasured
            | Self::IgnoreUninformed
            | Self::KeepOldQuorum
            | Self::SealByOwnLog
            | Self::ReadAlone
            | Self::ReadByOldRing => &[Kind::Rings],
            _ => &Kind::ALL,
        }
    }

    /// The bug with this name, as `Debug` prints it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().chain(Self::OF_RINGS).find(|mutation| format!("{mutation:?}") == name)
    }
}
