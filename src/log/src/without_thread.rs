//! A log whose caller does the work of its thread, step by step.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use trireme_base::{Clock, StreamId};

use crate::log::Worker;
use crate::observer::LogObserver;
use crate::recovery::Recovered;
use crate::{Log, LogError, LogOptions};

impl Log {
    /// As [`Log::open`], but without a thread: nothing is written before [`Log::write_queued`] is called and nothing is
    /// durable before [`Log::sync_written`]. For simulations, which decide what happens in between.
    ///
    /// Closing or dropping such a log writes nothing, as if its process had been killed.
    pub fn open_without_thread(
        dir: &Path,
        options: LogOptions,
        own: StreamId,
        covered: &[(StreamId, u64)],
        observer: Arc<dyn LogObserver>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Recovered), LogError> {
        let (shared, commands, writer, recovered) =
            Self::prepare(dir, options, own, covered, observer, clock)?;
        let observer = Arc::downgrade(&writer.observer);
        let worker = Worker::Caller(Box::new(Mutex::new(Some((writer, None)))));

        Ok((
            Self {
                shared,
                commands,
                worker,
                observer,
            },
            recovered,
        ))
    }

    /// Writes what is queued to the file and tells the observer; true if there was anything to do, and then
    /// [`Log::sync_written`] is to follow. Does nothing while that is still to come, or where a thread does the work.
    pub fn write_queued(&self) -> bool {
        let Worker::Caller(worker) = &self.worker else {
            return false;
        };

        let mut guard = worker.lock();
        let Some((writer, turn)) = &mut *guard else {
            return false;
        };

        if turn.is_none() {
            *turn = writer.write_queued();
        }

        turn.is_some()
    }

    /// Makes durable what [`Log::write_queued`] wrote and tells the observer.
    pub fn sync_written(&self) {
        let Worker::Caller(worker) = &self.worker else {
            return;
        };

        let mut guard = worker.lock();
        let Some((writer, turn)) = &mut *guard else {
            return;
        };

        if let Some(turn) = turn.take() {
            writer.sync_turn(turn);
        }
    }

    /// Writes and syncs everything that is queued.
    pub(crate) fn work_off(&self) {
        self.sync_written();
        while !self.commands.is_empty() && self.write_queued() {
            self.sync_written();
        }
    }
}
