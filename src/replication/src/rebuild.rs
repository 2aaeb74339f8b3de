//! How a replica without everything gets it from a peer: which peer, what next, and what after a fault.
//!
//! A replica whose disk is new, whose gap is longer than the logs of its peers, or whose checkpoints are damaged, copies
//! a *snapshot* of a complete peer: the checkpoints of its shards with a position for each stream, and its blocks. With
//! the snapshot installed it follows the logs from those positions on, as after any other restart. Meanwhile it takes
//! writes and serves its own stream; streams whose beginning it lacks it cannot follow, so its position of them stays
//! where it is and counts for no quorum.
//!
//! The machine decides and remembers; it does no I/O. Its driver asks [`Rebuild::next`], does what it says and reports
//! back with one of the other calls.

mod files;
mod source;

use std::collections::BTreeMap;
use std::time::Duration;

use trireme_base::{ErrorKind, NodeName};
use trireme_wire::rebuild::Manifest;

use files::Files;
pub use files::Have;
pub use source::Source;

/// Times and bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuildLimits {
    /// Bytes asked for at a time.
    pub piece_bytes: u32,
    /// Streams that everybody who has more has trimmed, for this long, make a rebuild necessary; if all are served again
    /// for this long, it is not.
    pub stranded_for: Duration,
    /// A source that is away for longer is given up.
    pub source_away: Duration,
    /// A source that failed is not asked again before; twice as long with each further failure.
    pub ask_again_after: Duration,
    /// The longest such pause: each question makes the source write its whole head.
    pub ask_again_max: Duration,
    /// A group in which all wait for all waits for so long before one of them goes on with what it has.
    pub last_resort_after: Duration,
    /// Faults in a row after which a source is given up.
    pub faults_max: u32,
}

impl Default for RebuildLimits {
    fn default() -> Self {
        Self {
            piece_bytes: 1 << 20,
            stranded_for: Duration::from_secs(5),
            source_away: Duration::from_secs(10),
            ask_again_after: Duration::from_secs(10),
            ask_again_max: Duration::from_secs(600),
            last_resort_after: Duration::from_secs(30),
            faults_max: 5,
        }
    }
}

/// Why a replica does not have everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebuildReason {
    /// Its data directory is new.
    NewDisk,
    /// It was away for longer than the logs of its peers reach back.
    LeftBehind,
    /// A checkpoint of its own cannot be read.
    Damaged,
}

impl RebuildReason {
    /// For logs and the file that keeps it.
    pub fn text(self) -> &'static str {
        match self {
            Self::NewDisk => "new disk",
            Self::LeftBehind => "left behind",
            Self::Damaged => "damaged",
        }
    }

    /// The reason with this text.
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::NewDisk, Self::LeftBehind, Self::Damaged]
            .into_iter()
            .find(|reason| reason.text() == text)
    }
}

/// What is known of the group at a moment.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// Time since some fixed point.
    pub now: Duration,
    /// The connected peers.
    pub sources: Vec<Source>,
    /// This node and the connected peers make a quorum.
    pub quorum_connected: bool,
    /// The group is forming, so it has no quorum yet, and all who are in it have told what they have.
    pub is_new_group: bool,
    /// There are streams of which a peer has more, and whoever has more has said that the next records are trimmed.
    pub is_stranded: bool,
    /// Every stream of which a peer has more is being received.
    pub is_served: bool,
    /// Everybody who is connected, a quorum, was left behind as well, and nobody has more than this node.
    pub is_furthest: bool,
}

/// Why a rebuild that was needed is not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// The logs of the peers give everything again.
    Served,
    /// All were left behind, so that nobody could give a snapshot, and this replica has the most.
    LastResort,
}

impl Revoked {
    /// For logs.
    pub fn text(self) -> &'static str {
        match self {
            Self::Served => "the logs of the peers give everything again",
            Self::LastResort => {
                "every member of the group waits for another one, and this one has the most records"
            }
        }
    }
}

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing; ask again after a while.
    Wait,
    /// Note on disk that a rebuild is needed; [`Rebuild::next`] goes on with it.
    Need(RebuildReason),
    /// Note on disk that nothing is missing: the logs of the others can give everything.
    Complete,
    /// Note on disk that no rebuild is needed after all, and why.
    Revoke(Revoked),
    /// Ask this peer for a snapshot, then [`Rebuild::began`].
    Begin(NodeName),
    /// Ask for bytes of a file and append them to what is there, then [`Rebuild::fetched`].
    Fetch {
        /// Whom.
        source: NodeName,
        /// Which snapshot.
        snapshot: u64,
        /// Number of the file in the manifest.
        file: usize,
        /// First byte.
        offset: u64,
        /// Most bytes.
        bytes_max: u32,
    },
    /// Compare the file with the source's and make it durable, then [`Rebuild::checked`].
    Check {
        /// Whom to ask.
        source: NodeName,
        /// Which snapshot.
        snapshot: u64,
        /// Number of the file in the manifest.
        file: usize,
    },
    /// Everything is there: install it.
    Install,
}

/// What went wrong with a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceFault {
    /// It does not have the snapshot any more.
    SnapshotGone,
    /// It did not answer, or not sensibly.
    NoAnswer,
    /// What it has does not fit this node (other settings), or cannot be installed.
    Unfit,
}

/// Why a rebuild is not cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// There is none.
    #[error("this replica is not being rebuilt")]
    NotNeeded,
    /// It lacks what no log can give.
    #[error(
        "this replica is being rebuilt because its disk is {}; going on without would leave gaps in its answers",
        if *.0 == RebuildReason::NewDisk { "new" } else { "damaged" }
    )]
    Lacks(RebuildReason),
    /// It is too late.
    #[error("the copy is whole and is being installed")]
    Installing,
}

impl CancelError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// Whether a rebuild for this reason may be cancelled; `None` means that there is none.
pub fn may_cancel(reason: Option<RebuildReason>) -> Result<(), CancelError> {
    match reason {
        None => Err(CancelError::NotNeeded),
        Some(RebuildReason::LeftBehind) => Ok(()),
        Some(reason) => Err(CancelError::Lacks(reason)),
    }
}

/// How far a rebuild is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Who gives.
    pub source: Option<NodeName>,
    /// Bytes here.
    pub bytes: u64,
    /// Bytes in all; 0 while that is not known.
    pub bytes_total: u64,
}

#[derive(Debug)]
enum State {
    /// The directory is new: whether there is anything to copy is not known yet.
    Undecided,
    /// Nothing is missing that the logs could not give.
    Complete {
        stranded_since: Option<Duration>,
    },
    /// A source has to be found.
    Choosing,
    /// A source was asked for a snapshot.
    Asked {
        source: NodeName,
    },
    Copying {
        source: NodeName,
        files: Files,
        away_since: Option<Duration>,
    },
    Copied {
        source: NodeName,
    },
}

/// The machine of one node.
#[derive(Debug)]
pub struct Rebuild {
    limits: RebuildLimits,
    state: State,
    /// Why it is needed, while it is.
    reason: Option<RebuildReason>,
    /// Since when a rebuild because of trimmed logs is not needed any more.
    served_since: Option<Duration>,
    /// Since when all wait for all, and this node has the most.
    furthest_since: Option<Duration>,
    faults: u32,
    /// Sources that failed.
    avoided: BTreeMap<NodeName, Avoided>,
}

/// A source that failed.
#[derive(Debug, Clone, Copy, Default)]
struct Avoided {
    /// It is not asked before.
    until: Duration,
    /// Snapshots of it that came to nothing.
    failures: u32,
}

impl Rebuild {
    fn with(limits: RebuildLimits, state: State, reason: Option<RebuildReason>) -> Self {
        Self {
            limits,
            state,
            reason,
            served_since: None,
            furthest_since: None,
            faults: 0,
            avoided: BTreeMap::new(),
        }
    }

    /// For a data directory that has everything, save for what the logs can give.
    pub fn complete(limits: RebuildLimits) -> Self {
        Self::with(
            limits,
            State::Complete {
                stranded_since: None,
            },
            None,
        )
    }

    /// For a data directory that is new.
    pub fn undecided(limits: RebuildLimits) -> Self {
        Self::with(limits, State::Undecided, None)
    }

    /// For one that is known to need a rebuild.
    pub fn needed(limits: RebuildLimits, reason: RebuildReason) -> Self {
        Self::with(limits, State::Choosing, Some(reason))
    }

    /// For one that was copying when its process ended; `have` tells what is there of each file.
    pub fn resumed(
        limits: RebuildLimits,
        reason: RebuildReason,
        source: NodeName,
        manifest: Manifest,
        have: impl Fn(&str, u64) -> Have,
    ) -> Self {
        let files = Files::new(manifest, have);
        Self::with(
            limits,
            State::Copying {
                source,
                files,
                away_since: None,
            },
            Some(reason),
        )
    }

    /// Why a rebuild is needed, while one is.
    pub fn reason(&self) -> Option<RebuildReason> {
        self.reason
    }

    /// True if this replica has everything that the logs cannot give.
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete { .. })
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        match &self.state {
            State::Copying { source, files, .. } => Progress {
                source: Some(source.clone()),
                bytes: files.bytes_done(),
                bytes_total: files.bytes_total(),
            },
            State::Asked { source } => Progress {
                source: Some(source.clone()),
                ..Progress::default()
            },
            _ => Progress::default(),
        }
    }

    /// The manifest that is being copied.
    pub fn manifest(&self) -> Option<&Manifest> {
        match &self.state {
            State::Copying { files, .. } => Some(files.manifest()),
            _ => None,
        }
    }

    /// Decides what to do now.
    pub fn next(&mut self, look: &Look) -> Action {
        if let Some(why) = self.revoked(look) {
            self.set_complete();
            return Action::Revoke(why);
        }
        match &mut self.state {
            State::Undecided => self.decide(look),
            State::Complete { stranded_since } => {
                let since = look.is_stranded.then(|| stranded_since.unwrap_or(look.now));
                *stranded_since = since;
                if since
                    .is_some_and(|since| look.now.saturating_sub(since) >= self.limits.stranded_for)
                {
                    return self.need(RebuildReason::LeftBehind);
                }
                Action::Wait
            }
            State::Choosing | State::Asked { .. } => {
                match source::choose(&look.sources, self.reason, |node: &NodeName| {
                    self.avoided.get(node).is_none_or(|a| a.until <= look.now)
                }) {
                    Some(source) => {
                        self.state = State::Asked {
                            source: source.clone(),
                        };
                        Action::Begin(source)
                    }
                    None => Action::Wait,
                }
            }
            State::Copying { .. } => self.copy_on(look),
            State::Copied { .. } => Action::Install,
        }
    }

    /// Asks for what is not copied yet.
    fn copy_on(&mut self, look: &Look) -> Action {
        let State::Copying {
            source,
            files,
            away_since,
        } = &mut self.state
        else {
            return Action::Wait;
        };

        if files.is_done() {
            self.state = State::Copied {
                source: source.clone(),
            };
            return Action::Install;
        }

        if look.sources.iter().any(|peer| peer.node == *source) {
            *away_since = None;
            return files.next(source, self.limits.piece_bytes);
        }

        let since = *away_since.get_or_insert(look.now);
        if look.now.saturating_sub(since) >= self.limits.source_away {
            self.state = State::Choosing;
        }

        Action::Wait
    }

    /// A new directory has nothing to copy if a quorum is there and nobody has more than a log can give, or if there is no
    /// quorum yet.
    fn decide(&mut self, look: &Look) -> Action {
        if look.sources.iter().any(|peer| peer.has_history) {
            return self.need(RebuildReason::NewDisk);
        }
        if look.quorum_connected || look.is_new_group {
            self.set_complete();
            return Action::Complete;
        }

        Action::Wait
    }

    fn need(&mut self, reason: RebuildReason) -> Action {
        self.state = State::Choosing;
        self.reason = Some(reason);
        (self.served_since, self.furthest_since) = (None, None);
        Action::Need(reason)
    }

    fn set_complete(&mut self) {
        self.state = State::Complete {
            stranded_since: None,
        };
        self.reason = None;
    }

    /// Trimmed logs are a reason that may go away: a peer comes back that has the records, or it shows that the whole group
    /// waits for itself. A new or damaged disk stays one.
    fn revoked(&mut self, look: &Look) -> Option<Revoked> {
        let may_be = self.reason == Some(RebuildReason::LeftBehind)
            && !matches!(self.state, State::Copied { .. })
            && look.quorum_connected;
        let is_served = may_be && look.is_served;
        let is_furthest = may_be && look.is_furthest;

        self.served_since = is_served.then(|| self.served_since.unwrap_or(look.now));
        self.furthest_since = is_furthest.then(|| self.furthest_since.unwrap_or(look.now));

        let now = look.now;
        if lasts(self.served_since, self.limits.stranded_for, now) {
            return Some(Revoked::Served);
        }

        lasts(self.furthest_since, self.limits.last_resort_after, now)
            .then_some(Revoked::LastResort)
    }

    /// An operator says that this replica is to go on with what it has. What a new or damaged disk lacks would then be
    /// missing from its answers without a word, so these are refused.
    pub fn cancel(&mut self) -> Result<(), CancelError> {
        may_cancel(self.reason)?;
        if matches!(self.state, State::Copied { .. }) {
            return Err(CancelError::Installing);
        }
        self.set_complete();
        Ok(())
    }

    /// The source made a snapshot; `have` tells what is there of each file, by path and length.
    pub fn began(&mut self, manifest: Manifest, have: impl Fn(&str, u64) -> Have) {
        if let State::Asked { source } = &self.state {
            let source = source.clone();
            self.faults = 0;
            self.state = State::Copying {
                source,
                files: Files::new(manifest, have),
                away_since: None,
            };
        }
    }

    /// Bytes of a file came and were appended.
    pub fn fetched(&mut self, file: usize, bytes: u64) {
        if let State::Copying { files, .. } = &mut self.state {
            self.faults = 0;
            files.fetched(file, bytes);
        }
    }

    /// A file was compared with the source's. One that differs starts over.
    pub fn checked(&mut self, file: usize, is_equal: bool, now: Duration) {
        if let State::Copying { files, .. } = &mut self.state {
            files.checked(file, is_equal);
            if !is_equal {
                self.failed(SourceFault::NoAnswer, now);
            }
        }
    }

    /// A call to the source failed.
    pub fn failed(&mut self, fault: SourceFault, now: Duration) {
        let source = match &self.state {
            State::Copying { source, .. } | State::Asked { source } => source.clone(),
            _ => return,
        };

        self.faults += 1;
        let give_up = match fault {
            // The same source may make another one at once, but not again and again.
            SourceFault::SnapshotGone => {
                let avoided = self.avoided.entry(source.clone()).or_default();
                let is_first = avoided.failures == 0;
                avoided.failures += 1;
                self.state = State::Choosing;
                !is_first
            }
            SourceFault::NoAnswer => {
                matches!(self.state, State::Asked { .. }) || self.faults >= self.limits.faults_max
            }
            SourceFault::Unfit => true,
        };

        if give_up {
            self.avoid(source, now);
            self.faults = 0;
            self.state = State::Choosing;
        }
    }

    /// What was copied cannot be installed.
    pub fn not_installed(&mut self, now: Duration) {
        if let State::Copied { source } = &self.state {
            let source = source.clone();
            self.avoid(source, now);
        }
        self.state = State::Choosing;
    }

    /// Leaves a source alone for a while, for longer each time.
    fn avoid(&mut self, source: NodeName, now: Duration) {
        let avoided = self.avoided.entry(source).or_default();
        let times = 1_u32 << avoided.failures.min(16);
        let pause = self
            .limits
            .ask_again_after
            .saturating_mul(times)
            .min(self.limits.ask_again_max);

        avoided.until = now + pause;
        avoided.failures += 1;
    }
}

/// True if something has been so for `bound`.
fn lasts(since: Option<Duration>, bound: Duration, now: Duration) -> bool {
    since.is_some_and(|since| now.saturating_sub(since) >= bound)
}

#[cfg(test)]
mod tests;
