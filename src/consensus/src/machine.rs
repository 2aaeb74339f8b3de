//! The state machine: rings, one after the other.

#![allow(clippy::result_large_err)] // the errors of the consensus library, whose traits these are

use std::io::Cursor;
use std::sync::Arc;

use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::{BasicNode, EntryPayload, OptionalSend, SnapshotMeta, StorageIOError};
use trireme_ring::Ring;

use crate::RingBook;
use crate::disk::{Disk, MachineState, StoredSnapshot};
use crate::types::{Answer, Command, Entry, LogId, Membership, RingRaft, StorageError};

/// Applies decided commands and enters the result in the book. Clones share their state.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) disk: Disk,
    pub(crate) book: Arc<RingBook>,
}

impl MachineState {
    fn apply(&mut self, entry: Entry) -> Answer {
        self.applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => Answer::Nothing,
            EntryPayload::Membership(membership) => {
                self.membership = Membership::new(Some(entry.log_id), membership);
                Answer::Nothing
            }
            EntryPayload::Normal(command) => self.command(command),
        }
    }

    fn command(&mut self, command: Command) -> Answer {
        match (command, &self.ring) {
            (Command::Found(_), Some(ring)) => Answer::Epoch(ring.epoch),
            (Command::Found(ring), None) => Answer::Epoch(self.ring.insert(ring).epoch),
            (Command::Change(_), None) => Answer::Refused {
                reason: "there is no ring yet".to_owned(),
                stale: true,
            },
            (Command::Change(proposal), Some(ring)) => match ring.apply(&proposal) {
                Ok(next) => Answer::Epoch(self.ring.insert(next).epoch),
                Err(refusal) => refusal.into(),
            },
        }
    }
}

impl Machine {
    async fn publish(&self, ring: Option<Ring>) -> Result<(), StorageError> {
        let Some(ring) = ring else { return Ok(()) };
        let book = Arc::clone(&self.book);
        let adopted = tokio::task::spawn_blocking(move || book.adopt(&ring)).await;
        let adopted = adopted.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        adopted
            .map(drop)
            .map_err(|e| StorageIOError::write_state_machine(&e).into())
    }
}

impl RaftSnapshotBuilder<RingRaft> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<RingRaft>, StorageError> {
        let stored = self
            .disk
            .change(take_snapshot)
            .await
            .map_err(|e| StorageIOError::write_snapshot(None, &e))?;

        given_out(stored)
    }
}

/// Keeps what the machine is now as the snapshot.
fn take_snapshot(state: &mut crate::disk::State) -> StoredSnapshot {
    let machine = &state.machine;
    let index = machine.applied.map_or(0, |id| id.index);
    let stored = StoredSnapshot {
        meta: SnapshotMeta {
            last_log_id: machine.applied,
            last_membership: machine.membership.clone(),
            snapshot_id: format!("{index}"),
        },
        ring: machine.ring.clone(),
    };
    state.snapshot = Some(stored.clone());
    stored
}

fn given_out(stored: StoredSnapshot) -> Result<Snapshot<RingRaft>, StorageError> {
    let bytes =
        serde_json::to_vec(&stored.ring).map_err(|e| StorageIOError::read_snapshot(None, &e))?;
    Ok(Snapshot {
        meta: stored.meta,
        snapshot: Box::new(Cursor::new(bytes)),
    })
}

impl RaftStateMachine<RingRaft> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), StorageError> {
        Ok(self
            .disk
            .look(|state| (state.machine.applied, state.machine.membership.clone()))
            .await)
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Answer>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let (answers, ring) = self
            .disk
            .change(|state: &mut crate::disk::State| {
                let answers: Vec<Answer> = entries
                    .into_iter()
                    .map(|e| state.machine.apply(e))
                    .collect();
                (answers, state.machine.ring.clone())
            })
            .await
            .map_err(|e| StorageIOError::write_state_machine(&e))?;

        self.publish(ring).await?;
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, BasicNode>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let ring: Option<Ring> =
            serde_json::from_slice(snapshot.get_ref()).map_err(|e| unreadable(meta, &e))?;
        let installed = self.disk.change(|state: &mut crate::disk::State| {
            state.machine = MachineState {
                applied: meta.last_log_id,
                membership: meta.last_membership.clone(),
                ring: ring.clone(),
            };
            state.snapshot = Some(StoredSnapshot {
                meta: meta.clone(),
                ring: ring.clone(),
            });
        });

        installed.await.map_err(|e| unreadable(meta, &e))?;
        self.publish(ring).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<RingRaft>>, StorageError> {
        let stored = self.disk.look(|state| state.snapshot.clone()).await;
        stored.map(given_out).transpose()
    }
}

fn unreadable(
    meta: &SnapshotMeta<u64, BasicNode>,
    e: &dyn std::error::Error,
) -> StorageIOError<u64> {
    StorageIOError::read_snapshot(
        Some(meta.signature()),
        openraft::AnyError::error(e.to_string()),
    )
}

#[cfg(test)]
mod tests {
    use openraft::testing::{StoreBuilder, Suite};
    use slog::{Discard, Logger, o};
    use tempfile::TempDir;
    use trireme_ring::{Group, Member};

    use super::*;
    use crate::log_store::LogStore;

    struct Builder;

    impl StoreBuilder<RingRaft, LogStore, Machine, TempDir> for Builder {
        async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError> {
            let dir = tempfile::tempdir().expect("temporary directory");
            let log = Logger::root(Discard, o!());
            let ring = Ring::new(
                1,
                1,
                vec![Group::new("g0", vec![Member::active("n0", "n0:1")])],
            );

            let book =
                RingBook::open(dir.path(), ring.expect("valid"), log.clone()).expect("opens");
            let disk = Disk::open(dir.path(), log).expect("opens");

            Ok((
                dir,
                LogStore(disk.clone()),
                Machine {
                    disk,
                    book: Arc::new(book),
                },
            ))
        }
    }

    #[test]
    fn storage_keeps_what_raft_asks_of_it() {
        Suite::test_all(Builder).expect("the suite of the consensus library passes");
    }
}
