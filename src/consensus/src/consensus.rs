//! One node's part in deciding about the ring.

mod chores;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use openraft::{BasicNode, Config, SnapshotPolicy};
use slog::{Logger, info};
use trireme_base::{ErrorKind, NodeName};
use trireme_ring::{Proposal, Ring, voter_id};

use crate::RingBook;
use crate::disk::Disk;
use crate::file::FileError;
use crate::log_store::LogStore;
use crate::machine::Machine;
use crate::network::{Network, Reply, Request, Status, Voice, exchange};
use crate::types::{Answer, Command, Raft};

/// How long a call to another member may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a change may take to be decided.
const DECISION_TIMEOUT: Duration = Duration::from_secs(5);
/// Log entries after which a snapshot takes their place.
const SNAPSHOT_EVERY: u64 = 64;
/// Log entries kept behind a snapshot, for members that are a little behind.
const LOG_KEPT: u64 = 32;

/// Times of Raft.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Between a leader's signs of life.
    pub heartbeat: Duration,
    /// Silence after which another leader is looked for; up to twice as long.
    pub election: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(500),
            election: Duration::from_secs(2),
        }
    }
}

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsensusError {
    /// Nobody can decide.
    #[error(
        "no leader for ring changes: a majority of the voters ({}) must be connected; writes and queries go on without",
        voters.join(", ")
    )]
    NoLeader {
        /// Who decides.
        voters: Vec<String>,
    },
    /// Another member decides.
    #[error("{0} leads")]
    Elsewhere(NodeName),
    /// Not decided in time; it may still be.
    #[error(
        "a majority of the voters did not answer within {} s: look at the ring before asking again, the change may still come",
        DECISION_TIMEOUT.as_secs()
    )]
    Undecided,
    /// Refused by the ring.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: String,
        /// Another change came first; asking again may help.
        stale: bool,
    },
    /// Raft has stopped.
    #[error("ring changes have stopped on this node until it is restarted: {0}")]
    Stopped(String),
}

impl ConsensusError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoLeader { .. } | Self::Elsewhere(_) | Self::Undecided => ErrorKind::Unavailable,
            Self::Refused { .. } => ErrorKind::Invalid,
            Self::Stopped(_) => ErrorKind::Internal,
        }
    }
}

/// Answers what was asked on another node and forwarded to the leader.
#[async_trait]
pub trait Asked: Send + Sync + 'static {
    /// Answers; the JSON is the node's own on both ends.
    async fn answer(&self, ask: serde_json::Value) -> serde_json::Value;
}

/// What consensus works with.
pub struct ConsensusParts {
    /// This node.
    pub me: NodeName,
    /// Directory of the ring's files.
    pub dir: PathBuf,
    /// The ring.
    pub book: Arc<RingBook>,
    /// The way to other members.
    pub voice: Arc<dyn Voice>,
    /// Times.
    pub timing: Timing,
    /// Logger.
    pub log: Logger,
}

/// This node's Raft and its chores.
pub struct Consensus {
    me: NodeName,
    book: Arc<RingBook>,
    voice: Arc<dyn Voice>,
    disk: Disk,
    raft: Raft,
    /// The others do not know of a ring that was founded without this node.
    has_asked: AtomicBool,
    log: Logger,
}

impl Consensus {
    /// Starts Raft on the present runtime; [`Consensus::run`] is to be polled beside it.
    pub async fn start(parts: ConsensusParts) -> Result<Arc<Self>, ConsensusStartError> {
        let ConsensusParts {
            me,
            dir,
            book,
            voice,
            timing,
            log,
        } = parts;

        let disk = Disk::open(&dir, log.clone())?;
        if let Some(ring) = disk.look(|state| state.machine.ring.clone()).await {
            // Decided before a crash, and not yet in the book.
            book.adopt(&ring)
                .map_err(|source| FileError::Io { path: dir, source })?;
        }

        let config = raft_config(&timing)?;
        let machine = Machine {
            disk: disk.clone(),
            book: Arc::clone(&book),
        };
        let network = Network(Arc::clone(&voice));
        let store = LogStore(disk.clone());
        let raft = Raft::new(voter_id(&me), Arc::new(config), network, store, machine).await;
        let raft = raft.map_err(|e| ConsensusStartError::Raft(e.to_string()))?;

        raft.runtime_config()
            .elect(!disk.look(|state| state.forgetful).await);
        Ok(Arc::new(Self {
            me,
            book,
            voice,
            disk,
            raft,
            has_asked: AtomicBool::new(false),
            log,
        }))
    }

    /// The ring this node goes by.
    pub fn book(&self) -> &Arc<RingBook> {
        &self.book
    }

    /// True while this node decides.
    pub fn leads(&self) -> bool {
        self.leader().as_ref() == Some(&self.me)
    }

    /// Who decides, as far as this node knows.
    pub fn leader(&self) -> Option<NodeName> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let id = metrics.current_leader?;
        let node = metrics.membership_config.membership().get_node(&id)?;
        Some(NodeName::new(&node.addr))
    }

    /// Names of those who decide.
    pub fn voters(&self) -> Vec<String> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        let names = membership
            .voter_ids()
            .filter_map(|id| membership.get_node(&id).map(|n| n.addr.clone()));

        let mut names: Vec<String> = names.collect();
        if names.is_empty() {
            names = trireme_ring::voters(&self.book.current())
                .iter()
                .map(NodeName::to_string)
                .collect();
        }

        names.sort();
        names
    }

    /// Why there is nobody to ask.
    pub fn no_leader(&self) -> ConsensusError {
        ConsensusError::NoLeader {
            voters: self.voters(),
        }
    }

    /// Proposes a change; this node must lead. Gives the new epoch.
    pub async fn propose(&self, proposal: Proposal) -> Result<u64, ConsensusError> {
        match self.write(Command::Change(proposal)).await? {
            Answer::Epoch(epoch) => Ok(epoch),
            Answer::Refused { reason, stale } => Err(ConsensusError::Refused { reason, stale }),
            Answer::Nothing => Err(ConsensusError::Stopped(
                "a command had no answer".to_owned(),
            )),
        }
    }

    async fn write(&self, command: Command) -> Result<Answer, ConsensusError> {
        use openraft::error::{ClientWriteError, RaftError};

        let written = tokio::time::timeout(DECISION_TIMEOUT, self.raft.client_write(command)).await;
        match written {
            Err(_) => Err(ConsensusError::Undecided),
            Ok(Ok(done)) => Ok(done.data),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => {
                match to.leader_node {
                    Some(node) => Err(ConsensusError::Elsewhere(NodeName::new(&node.addr))),
                    None => Err(self.no_leader()),
                }
            }
            Ok(Err(RaftError::APIError(other))) => Err(ConsensusError::Refused {
                reason: other.to_string(),
                stale: true,
            }),
            Ok(Err(RaftError::Fatal(fatal))) => Err(ConsensusError::Stopped(fatal.to_string())),
        }
    }

    /// Asks the leader something on behalf of an operator.
    pub async fn ask(
        &self,
        leader: &NodeName,
        ask: serde_json::Value,
        timeout: Duration,
    ) -> Result<serde_json::Value, String> {
        match exchange(self.voice.as_ref(), leader, &Request::Ask(ask), timeout).await? {
            Reply::Asked(answer) => Ok(answer),
            _ => Err(format!("{leader} answered something else")),
        }
    }

    /// Whether this node leads itself or has a connection to who does.
    pub fn reaches(&self, leader: &NodeName) -> bool {
        *leader == self.me || self.voice.reaches(leader)
    }

    /// Looks for a leader among members that may know one.
    pub async fn find_leader(&self) -> Option<NodeName> {
        if let Some(leader) = self.leader() {
            return Some(leader);
        }
        let statuses = self.statuses().await;
        statuses
            .into_iter()
            .find_map(|(_, status)| status.leader.map(|name| NodeName::new(&name)))
    }

    /// Asks every other member of the ring for its status; those who do not answer are left out.
    pub(crate) async fn statuses(&self) -> BTreeMap<NodeName, Status> {
        let ring = self.book.current();
        let members = ring.groups.iter().flat_map(|g| g.present());
        let asked = members
            .map(|m| m.node.clone())
            .filter(|node| *node != self.me)
            .map(|node| async move {
                let reply =
                    exchange(self.voice.as_ref(), &node, &Request::Status, CALL_TIMEOUT).await;
                match reply {
                    Ok(Reply::Status(status)) => Some((node, status)),
                    _ => None,
                }
            });

        futures::future::join_all(asked)
            .await
            .into_iter()
            .flatten()
            .collect()
    }

    /// Fetches the ring of a peer that has a newer one. True if it was taken.
    pub async fn fetch(&self, peer: &NodeName) -> Result<bool, String> {
        match exchange(self.voice.as_ref(), peer, &Request::Ring, CALL_TIMEOUT).await? {
            Reply::Ring(ring) => self.adopt(ring).await,
            _ => Err(format!("{peer} answered something else")),
        }
    }

    /// Tells a peer the ring.
    pub async fn tell(&self, peer: &NodeName) -> Result<(), String> {
        let told = Request::Told((*self.book.current()).clone());
        exchange(self.voice.as_ref(), peer, &told, CALL_TIMEOUT)
            .await
            .map(drop)
    }

    async fn adopt(&self, ring: Ring) -> Result<bool, String> {
        ring.check().map_err(|e| e.to_string())?;
        let book = Arc::clone(&self.book);
        let adopted = tokio::task::spawn_blocking(move || book.adopt(&ring)).await;
        adopted
            .map_err(|e| e.to_string())?
            .map_err(|e| e.to_string())
    }

    /// Answers what another member sent with its [`Voice`].
    pub async fn answer(&self, body: &[u8], asked: &dyn Asked) -> Result<Bytes, String> {
        let request: Request = serde_json::from_slice(body).map_err(|e| e.to_string())?;
        let reply = match request {
            Request::Append(append) => {
                let leader_commit = append.leader_commit;
                let reply = self.raft.append_entries(append).await;
                if reply.as_ref().is_ok_and(|r| r.is_success()) {
                    self.remember(leader_commit).await;
                }
                Reply::Append(reply)
            }
            Request::Vote(vote) => match self.may_vote().await {
                true => Reply::Vote(self.raft.vote(vote).await),
                false => Reply::No(format!(
                    "{} has lost what it voted for and asks a leader first",
                    self.me
                )),
            },
            Request::Snapshot(snapshot) => {
                Reply::Snapshot(self.raft.install_snapshot(snapshot).await)
            }
            Request::Status => Reply::Status(self.status()),
            Request::Ring => Reply::Ring((*self.book.current()).clone()),
            Request::Told(ring) => match self.adopt(ring).await {
                Ok(_) => Reply::Told {
                    epoch: self.book.current().epoch,
                },
                Err(why) => Reply::No(why),
            },
            Request::Ask(ask) => Reply::Asked(asked.answer(ask).await),
        };

        serde_json::to_vec(&reply)
            .map(Bytes::from)
            .map_err(|e| e.to_string())
    }

    /// Whether this node may vote: it remembers what it did before, or has never been asked.
    ///
    /// A node without a file cannot tell a first start from a disk that was wiped. The others can: so it asks them before
    /// its first vote.
    async fn may_vote(&self) -> bool {
        let (is_blank, is_forgetful) = self
            .disk
            .look(|state| (state.is_blank(), state.forgetful))
            .await;
        if is_forgetful {
            return false;
        }

        if !is_blank || self.has_asked.load(Ordering::Relaxed) {
            return true;
        }

        let statuses = self.statuses().await;
        if statuses.values().any(|status| status.founded) {
            // Where that cannot be written down, it is asked again next time.
            let _ = self.came_late().await;
            return false;
        }

        self.has_asked.store(true, Ordering::Relaxed);
        true
    }

    /// The ring was founded before this node came, or before its disk was wiped.
    async fn came_late(&self) -> Result<(), String> {
        let forgetful = self.disk.change(|state| state.forgetful = true).await;
        forgetful.map_err(|e| e.to_string())?;
        self.raft.runtime_config().elect(false);
        info!(
            self.log,
            "the ring was founded before this node came, it will be told"
        );

        Ok(())
    }

    fn status(&self) -> Status {
        let metrics = self.raft.metrics();
        let founded = {
            let metrics = metrics.borrow();
            metrics.vote.is_committed() || metrics.last_applied.is_some()
        };

        Status {
            founded,
            leader: self.leader().map(|node| node.to_string()),
            epoch: self.book.current().epoch,
        }
    }

    /// A forgetful node that has everything a leader calls decided may vote again.
    async fn remember(&self, leader_commit: Option<crate::types::LogId>) {
        if !self
            .disk
            .look(|state: &crate::disk::State| {
                let last = state
                    .log
                    .last_key_value()
                    .map(|(_, e)| e.log_id)
                    .or(state.purged);
                state.forgetful && leader_commit.is_some() && last >= leader_commit
            })
            .await
        {
            return;
        }
        if self
            .disk
            .change(|state| state.forgetful = false)
            .await
            .is_ok()
        {
            self.raft.runtime_config().elect(true);
            info!(self.log, "this node knows the ring's log again and votes");
        }
    }

    fn node(&self, name: &NodeName) -> (u64, BasicNode) {
        (voter_id(name), BasicNode::new(name.as_str()))
    }
}

fn raft_config(timing: &Timing) -> Result<Config, ConsensusStartError> {
    let election_ms = timing.election.as_millis() as u64;
    let config = Config {
        cluster_name: "ring".to_owned(),
        heartbeat_interval: timing.heartbeat.as_millis() as u64,
        election_timeout_min: election_ms,
        election_timeout_max: election_ms * 2,
        install_snapshot_timeout: CALL_TIMEOUT.as_millis() as u64,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY),
        max_in_snapshot_log_to_keep: LOG_KEPT,
        ..Config::default()
    };

    config
        .validate()
        .map_err(|e| ConsensusStartError::Raft(e.to_string()))
}

/// Why consensus did not start.
#[derive(Debug, thiserror::Error)]
pub enum ConsensusStartError {
    /// Its file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Raft itself.
    #[error("ring consensus: {0}")]
    Raft(String),
}

#[cfg(test)]
mod tests;
