//! Why a ring was not changed, and what to do instead.

use trireme_base::{ErrorKind, NodeName};

use crate::{GroupPhase, MemberState, RingError};

/// Why a ring was not changed. The text goes to the operator as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another change came first.
    #[error("the ring has moved on from epoch {thought} to {is}: look at it and ask again")]
    Stale {
        /// Epoch of the proposal.
        thought: u64,
        /// Epoch of the ring.
        is: u64,
    },
    /// No such member.
    #[error("{0} is not in the ring; `trireme ring show` lists its members")]
    Unknown(NodeName),
    /// No such group.
    #[error("there is no group {0:?}; `trireme ring show` lists them")]
    UnknownGroup(String),
    /// A group cannot have this name.
    #[error("{0:?} is no name of a group: use letters, digits and -_.")]
    GroupName(String),
    /// A name, a zone or an address is too long.
    #[error("{what} in the ring has at most {bytes_max} bytes, this one has {bytes}")]
    TooLong {
        /// Of what.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The ring has as many groups as it may have.
    #[error("the ring has {max} groups, which is the most")]
    TooManyGroups {
        /// The bound.
        max: usize,
    },
    /// The group is in a phase in which this makes no sense.
    #[error("group {group} is {} and cannot be {wanted}", phase.word())]
    Phase {
        /// The group.
        group: String,
        /// Its phase.
        phase: GroupPhase,
        /// What was asked for.
        wanted: &'static str,
    },
    /// Nobody else would take its series.
    #[error(
        "no other group takes series, so {0} cannot leave: found another one first (trireme ring join NAME=HOST:PORT \
         --new-group GROUP)"
    )]
    LastGroup(String),
    /// A group that takes series cannot be removed.
    #[error(
        "group {0} takes series: drain it first (trireme ring drain --group {0}), then remove it"
    )]
    StillServing(String),
    /// What a group has is not in the bucket yet.
    #[error(
        "group {group} still has samples that are not in the bucket, or not for long enough that every node has seen them \
         there ({node}: {what}). Windows are cut and uploaded by themselves after their end: wait and ask again; the group \
         answers queries until then. Without a bucket, wait until storage.retention has let the last block go"
    )]
    Holds {
        /// The group.
        group: String,
        /// The member that said so.
        node: NodeName,
        /// What it has.
        what: String,
        /// Only time has to pass, and little of it.
        soon: bool,
    },
    /// Too few members of a group say what they have.
    #[error(
        "{answered} members of group {group} said what they have, {needed} must: start the others, or see that they are \
         connected, then ask again"
    )]
    FewAnswer {
        /// The group.
        group: String,
        /// Members that answered.
        answered: usize,
        /// Quorum.
        needed: usize,
    },
    /// Nobody of a group says how far its members are.
    #[error(
        "no member of group {group} that has the present ring could be asked how far its members are: start them, or see that \
         they are connected, then ask again"
    )]
    NoWord {
        /// The group.
        group: String,
    },
    /// Members of a group that leaves still decide about the ring.
    #[error(
        "members of group {0} still vote about the ring; others take their places within a second or two, ask again then"
    )]
    StillVoting(String),
    /// There are several groups.
    #[error("name the group to join, one of {}", .0.join(", "))]
    WhichGroup(Vec<String>),
    /// The name is taken.
    #[error(
        "{node} is in the ring already, as {}: names are unique; take another name, or remove that one first",
        state.word()
    )]
    Exists {
        /// The name.
        node: NodeName,
        /// State of who has it.
        state: MemberState,
    },
    /// An address cannot be dialled.
    #[error("{0:?} is no address of the form host:port")]
    Address(String),
    /// The group is full.
    #[error("group {group} has {max} members, which is the most; remove one first")]
    Full {
        /// The group.
        group: String,
        /// The bound.
        max: usize,
    },
    /// The member is in a state in which this makes no sense.
    #[error("{node} is {} and cannot be {wanted}", state.word())]
    State {
        /// The member.
        node: NodeName,
        /// Its state.
        state: MemberState,
        /// What was asked for.
        wanted: &'static str,
    },
    /// A second replacement for one member.
    #[error("{node} is being replaced by {by} already; remove {by} first to choose another one")]
    ReplacedAlready {
        /// The member.
        node: NodeName,
        /// Its replacement.
        by: NodeName,
    },
    /// Draining would leave fewer copies than promised.
    #[error(
        "without {node} its group has {left} active members for a replication factor of {factor}: bring in another one first \
         (trireme ring replace {node} NEW=HOST:PORT, or join and activate); --force REASON drains it all the same"
    )]
    TooFewCopies {
        /// The member.
        node: NodeName,
        /// Active members without it.
        left: usize,
        /// Replication factor.
        factor: usize,
    },
    /// An active member cannot be removed.
    #[error(
        "{0} is active and counts for the quorum: drain it first (trireme ring drain {0}), then remove it"
    )]
    StillActive(NodeName),
    /// A member has to answer for this and does not.
    #[error(
        "{node} is not connected: start it, or see that the other members reach its address, then ask again"
    )]
    Unreachable {
        /// The member.
        node: NodeName,
    },
    /// A member does not know the present ring.
    #[error(
        "{node} still has the ring of epoch {epoch}: it is told within a second or two, ask again then. If that lasts, its log \
         says why it cannot take the ring; stop it, or give the reason with --force"
    )]
    NotInformed {
        /// The member.
        node: NodeName,
        /// Its epoch.
        epoch: u64,
    },
    /// A member lacks records.
    #[error(
        "{node} lacks {records} records that others have: wait until `trireme ring show` says that it has caught up"
    )]
    Behind {
        /// The member.
        node: NodeName,
        /// Records it lacks.
        records: u64,
    },
    /// A member still has writes of its own in flight.
    #[error("{node} still has writes waiting for their quorum: ask again when they are answered")]
    Writing {
        /// The member.
        node: NodeName,
    },
    /// After the change no quorum would have everything.
    #[error(
        "only {level} of the {needed} members that make a quorum of {group} are connected and have everything"
    )]
    NoLevelQuorum {
        /// The group.
        group: String,
        /// Members that have everything.
        level: usize,
        /// How many are needed.
        needed: usize,
    },
    /// The ring would not be valid.
    #[error(transparent)]
    Invalid(#[from] RingError),
}

impl Refusal {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_) | Self::UnknownGroup(_) => ErrorKind::NotFound,
            _ => ErrorKind::Invalid,
        }
    }

    /// True if asking again later may help without anybody doing something else.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Stale { .. }
                | Self::Unreachable { .. }
                | Self::NotInformed { .. }
                | Self::Behind { .. }
                | Self::Writing { .. }
                | Self::NoLevelQuorum { .. }
                | Self::Holds { soon: true, .. }
                | Self::FewAnswer { .. }
                | Self::NoWord { .. }
                | Self::StillVoting(_)
        )
    }
}
