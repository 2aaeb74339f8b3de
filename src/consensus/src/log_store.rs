//! The log of ring changes, as Raft asks for it.

use std::fmt::Debug;
use std::ops::RangeBounds;

use openraft::storage::{LogFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{OptionalSend, StorageIOError};

use crate::disk::Disk;
use crate::types::{Entry, LogId, RingRaft, StorageError, Vote};

/// The log; clones share it.
#[derive(Clone)]
pub(crate) struct LogStore(pub(crate) Disk);

impl RaftLogReader<RingRaft> for LogStore {
    async fn try_get_log_entries<B: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: B,
    ) -> Result<Vec<Entry>, StorageError> {
        Ok(self
            .0
            .look(|state| {
                state
                    .log
                    .range(range)
                    .map(|(_, entry)| entry.clone())
                    .collect()
            })
            .await)
    }
}

impl RaftLogStorage<RingRaft> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<RingRaft>, StorageError> {
        Ok(self
            .0
            .look(|state: &crate::disk::State| {
                let last = state.log.last_key_value().map(|(_, entry)| entry.log_id);
                LogState {
                    last_purged_log_id: state.purged,
                    last_log_id: last.or(state.purged),
                }
            })
            .await)
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let saved = self.0.change(|state| state.vote = Some(*vote)).await;
        saved.map_err(|e| StorageIOError::write_vote(&e).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.0.look(|state| state.vote).await)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let saved = self.0.change(|state| state.committed = committed).await;
        saved.map_err(|e| StorageIOError::write(&e).into())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.0.look(|state| state.committed).await)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<RingRaft>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        match self
            .0
            .change(|state: &mut crate::disk::State| {
                state
                    .log
                    .extend(entries.into_iter().map(|entry| (entry.log_id.index, entry)));
            })
            .await
        {
            Ok(()) => {
                callback.log_io_completed(Ok(()));
                Ok(())
            }
            Err(err) => {
                let failed = StorageIOError::write_logs(&err).into();
                callback.log_io_completed(Err(err));
                Err(failed)
            }
        }
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let cut = self
            .0
            .change(|state| drop(state.log.split_off(&log_id.index)))
            .await;
        cut.map_err(|e| StorageIOError::write_logs(&e).into())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.0
            .change(|state: &mut crate::disk::State| {
                state.log = state.log.split_off(&(log_id.index + 1));
                state.purged = Some(log_id);
            })
            .await
            .map_err(|e| StorageIOError::write_logs(&e).into())
    }
}
