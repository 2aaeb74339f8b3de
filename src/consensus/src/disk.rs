//! Everything Raft must not forget, in one file.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openraft::{BasicNode, SnapshotMeta};
use serde::{Deserialize, Serialize};
use slog::{Logger, error};
use tokio::sync::Mutex;
use trireme_ring::Ring;

use crate::file::{self, FileError};
use crate::types::{Entry, LogId, Membership, Vote};

/// How long to wait before a full disk is tried again.
const FULL_DISK_WAIT: Duration = Duration::from_secs(1);

/// What is in the file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) vote: Option<Vote>,
    pub(crate) log: BTreeMap<u64, Entry>,
    pub(crate) purged: Option<LogId>,
    pub(crate) committed: Option<LogId>,
    pub(crate) machine: MachineState,
    pub(crate) snapshot: Option<StoredSnapshot>,
    /// This node may have voted or acknowledged something that it has forgotten, because its disk was wiped: it must not
    /// vote before a leader has told it everything.
    pub(crate) forgetful: bool,
}

/// The state machine.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MachineState {
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: Membership,
    pub(crate) ring: Option<Ring>,
}

/// A snapshot that a member that is far behind gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredSnapshot {
    pub(crate) meta: SnapshotMeta<u64, BasicNode>,
    pub(crate) ring: Option<Ring>,
}

impl State {
    /// Nothing has ever been voted or logged.
    pub(crate) fn is_blank(&self) -> bool {
        self.vote.is_none()
            && self.log.is_empty()
            && self.purged.is_none()
            && self.machine.applied.is_none()
    }
}

/// The file and what is in it. Clones share it.
#[derive(Clone)]
pub(crate) struct Disk {
    path: Arc<PathBuf>,
    state: Arc<Mutex<State>>,
    log: Logger,
}

impl Disk {
    /// Opens the file in `dir`. Damage is put aside and leaves a node that has forgotten what it did.
    pub(crate) fn open(dir: &Path, log: Logger) -> Result<Self, FileError> {
        let path = dir.join("raft.json");
        let state = match file::read::<State>(&path) {
            Ok(found) => found.unwrap_or_default(),
            Err(FileError::Damaged { reason, .. }) => {
                error!(log, "the log of ring changes is damaged, it is fetched again"; "reason" => reason);
                Self::forget(&path, &log)
            }
            Err(error) => return Err(error),
        };

        Ok(Self {
            path: Arc::new(path),
            state: Arc::new(Mutex::new(state)),
            log,
        })
    }

    /// The state of a node that has forgotten what it did. It is written over the damage at once: without a file the next
    /// start would pass for one that has never voted. Where that fails, the next start meets the damage again.
    fn forget(path: &Path, log: &Logger) -> State {
        let state = State {
            forgetful: true,
            ..State::default()
        };

        let kept = file::keep_copy(path).and_then(|()| file::write(path, &state));
        if let Err(err) = kept {
            error!(log, "the damaged log of ring changes stays where it is"; "path" => %path.display(), "err" => %err);
        }

        state
    }

    /// Looks at the state.
    pub(crate) async fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&*self.state.lock().await)
    }

    /// Changes the state; when this returns, the change survives a power cut.
    ///
    /// A full disk is waited for: nothing else would bring Raft back before the next start of the process.
    pub(crate) async fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> io::Result<T> {
        let mut state = self.state.lock().await;

        let result = change(&mut state);
        loop {
            let path = Arc::clone(&self.path);
            let copy = state.clone();
            let written = tokio::task::spawn_blocking(move || file::write(&path, &copy)).await;
            match written.unwrap_or_else(|e| Err(io::Error::other(e))) {
                Ok(()) => return Ok(result),
                Err(err) if err.kind() == io::ErrorKind::StorageFull => {
                    error!(self.log, "disk is full, ring changes wait"; "err" => %err);
                    tokio::time::sleep(FULL_DISK_WAIT).await;
                }
                Err(err) => return Err(err),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use slog::{Discard, o};

    use super::*;

    #[tokio::test]
    async fn what_damage_made_it_forget_it_does_not_take_for_a_new_beginning() {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::write(dir.path().join("raft.json"), "trireme-ring 1 nonsense").expect("writable");
        for start in 1..=3 {
            let disk = Disk::open(dir.path(), Logger::root(Discard, o!())).expect("opens");
            assert!(disk.look(|state| state.forgetful).await, "start {start}");
        }
        assert!(dir.path().join("raft.damaged").exists());
    }
}
