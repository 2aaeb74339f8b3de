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
    /// A sync that finds no room is called a success.
    IgnoreFullSync,
    /// A segment gets its name before it is synced, and what a start logs again is in it.
    NameBeforeSync,
    /// A sector that cannot be read ends the start.
    StopAtBadSector,
    /// Windows are closed by the node's own wall clock, whatever the others say.
    TrustOwnClock,
    /// Which process a data directory was is forgotten with a restart.
    ForgetProcesses,
    /// Samples are refused by a clock that is wrong, or that nobody has confirmed.
    IgnoreWrongClock,
    /// What does not come for ten seconds is taken to be trimmed everywhere.
    TakeStallForLoss,
    /// A stream that a full log has let go of is not asked for again in the session.
    StayPaused,
    /// A shard whose writer died inside a change is saved before the process ends.
    SaveSuspectShard,
    /// The log is trimmed to the last checkpoint, not to the one before it.
    TrimToNewest,
    /// Positions count whatever the ring they were told under.
    CountUnderAnyRing,
    /// Of a copy of a peer, blocks are not installed.
    InstallHeadAlone,
    /// A data directory that was set back is let in.
    TrustSetBack,
    /// Another machine of the same name takes the place of one that is connected.
    LetTwinsIn,
    /// A process does not say which ones of its data directory came before it.
    ForgetStarts,
    /// Streams of earlier starts are taken for ended without asking anybody.
    EndUnasked,
}

impl Mutation {
    /// All of them; the seeds must find each.
    pub const ALL: [Self; 41] = [
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
        Self::KeepOldQuorum,
        Self::ReadAlone,
        Self::IgnoreFullSync,
        Self::NameBeforeSync,
        Self::StopAtBadSector,
        Self::TrustOwnClock,
        Self::ForgetProcesses,
        Self::IgnoreWrongClock,
        Self::TakeStallForLoss,
        Self::StayPaused,
        Self::SaveSuspectShard,
        Self::InstallHeadAlone,
        Self::TrustSetBack,
        Self::LetTwinsIn,
        Self::ForgetStarts,
        Self::TrimToNewest,
        Self::EndUnasked,
    ];

    /// Those that take more seeds to find than a test has time for.
    pub const FURTHER: [Self; 5] = [
        Self::ChangeUnmeasured,
        Self::IgnoreUninformed,
        Self::SealByOwnLog,
        Self::ReadByOldRing,
        Self::CountUnderAnyRing,
    ];

    /// Kinds of runs in which it may show.
    pub fn kinds(self) -> &'static [Kind] {
        match self {
            Self::TrustWiped => &[Kind::Wiped],
            Self::SealAtOnce => &[Kind::Network],
            Self::KeepSuspectShard | Self::LoseLane | Self::SaveSuspectShard => &[Kind::Writers],
            Self::IgnoreFullSync => &[Kind::Disks],
            Self::NameBeforeSync => &[Kind::Disks, Kind::Crashes],
            Self::StopAtBadSector => &[Kind::Damage],
            Self::TrustOwnClock | Self::IgnoreWrongClock => &[Kind::Clocks],
            Self::TakeStallForLoss => &[Kind::Stalls],
            Self::StayPaused => &[Kind::Writers, Kind::Disks],
            Self::TrimToNewest => &[Kind::Checkpoints],
            Self::InstallHeadAlone => &[Kind::Behind],
            Self::EndUnasked => &[Kind::Lives],
            Self::TrustSetBack | Self::LetTwinsIn | Self::ForgetProcesses | Self::ForgetStarts => {
                &[Kind::Copies]
            }
            Self::ChangeUnmeasured
            | Self::IgnoreUninformed
            | Self::KeepOldQuorum
            | Self::SealByOwnLog
            | Self::ReadAlone
            | Self::ReadByOldRing
            | Self::CountUnderAnyRing => &[Kind::Rings],
            _ => &Kind::ALL,
        }
    }

    /// The bug with this name, as `Debug` prints it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .chain(Self::FURTHER)
            .find(|mutation| format!("{mutation:?}") == name)
    }
}
