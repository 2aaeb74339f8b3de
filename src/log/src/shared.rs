//! What the log's thread and its callers share.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use trireme_base::StreamId;

use crate::base::{self, Base, Positions};
use crate::bell::Bell;
use crate::format::segment_name;
use crate::recent::Recent;
use crate::stats::{Counters, LogStats};
use crate::summary::Summary;
use crate::{AppendError, LogError, LogOptions};

/// Whether appends are taken.
#[derive(Clone, Debug)]
pub(crate) enum Health {
    Good,
    /// The disk is full, or something else is missing that comes back; the thread tries again from time to time.
    Waiting(LogError),
    /// Final until the next start.
    Failed(String),
    Stopped,
}

/// Positions and files; locked for moments only.
#[derive(Default)]
pub(crate) struct State {
    /// Last seq of each stream that is in a file.
    pub written: Positions,
    /// Last seq of each stream that is durable.
    pub durable: Positions,
    /// Below this nothing need be here.
    pub base: Base,
    /// Segments by number; the greatest is the one being written.
    pub segments: BTreeMap<u64, Summary>,
    /// Segments that were trimmed and whose files could not be removed.
    pub doomed: BTreeSet<u64>,
    /// Streams have ended that the base file does not have yet.
    pub has_unsaved_ends: bool,
}

impl State {
    /// Streams of which a segment still holds something.
    pub fn held(&self) -> BTreeSet<StreamId> {
        self.segments
            .values()
            .flat_map(|summary| summary.streams.keys().copied())
            .collect()
    }
}

pub(crate) struct Shared {
    pub dir: PathBuf,
    pub own: StreamId,
    pub options: LogOptions,
    pub state: Mutex<State>,
    /// Held while the base file is replaced.
    pub storing_base: Mutex<()>,
    /// Last foreign seq taken into the queue; the lock also keeps the queue in order.
    pub accepted: Mutex<Positions>,
    pub recent: RwLock<Recent>,
    pub health: Mutex<Health>,
    pub counters: Counters,
    /// Counts refused own appends; see [`crate::Log::own_epoch`].
    pub own_epoch: AtomicU64,
    /// Wakes the thread.
    pub bell: Bell,
}

impl Shared {
    pub fn segment_path(&self, number: u64) -> PathBuf {
        self.dir.join(segment_name(number))
    }

    /// Puts the base as it is now on disk, durably.
    pub fn store_base(&self) -> Result<(), LogError> {
        let _alone = self.storing_base.lock();
        let base = self.state.lock().base.clone();
        base::store(&self.dir, &base)
    }

    /// Refuses when the log cannot take appends now.
    pub fn check_health(&self) -> Result<(), AppendError> {
        match &*self.health.lock() {
            Health::Good => Ok(()),
            Health::Waiting(why) => Err(AppendError::Waiting(why.to_string())),
            Health::Failed(why) => Err(AppendError::Failed(why.clone())),
            Health::Stopped => Err(AppendError::Stopped),
        }
    }

    /// Ends appends until the next start; true if nothing had ended them before.
    pub fn fail(&self, why: &LogError) -> bool {
        let mut health = self.health.lock();
        let is_first = matches!(*health, Health::Good | Health::Waiting(_));
        if is_first {
            *health = Health::Failed(why.to_string());
        }
        is_first
    }

    /// Takes room in the queue or refuses. One append may exceed an empty queue's bytes, else it could never pass.
    ///
    /// Own records are in the head already when they come, so they may fill twice the bounds.
    pub fn reserve(&self, records: usize, bytes: usize, own: bool) -> Result<(), AppendError> {
        let times = if own { 2 } else { 1 };
        let queued_records = &self.counters.queued_records;
        let queued_bytes = &self.counters.queued_bytes;
        let have_records = queued_records.fetch_add(records as u64, Ordering::AcqRel) as usize;
        let have_bytes = queued_bytes.fetch_add(bytes as u64, Ordering::AcqRel) as usize;

        let over = have_records + records > self.options.queue_records_max * times
            || have_bytes + bytes > self.options.queue_bytes_max * times;
        if over && have_records > 0 {
            self.release(records, bytes);
            return Err(AppendError::Busy {
                records: have_records,
                bytes: have_bytes,
            });
        }

        Ok(())
    }

    pub fn release(&self, records: usize, bytes: usize) {
        self.counters
            .queued_records
            .fetch_sub(records as u64, Ordering::AcqRel);
        self.counters
            .queued_bytes
            .fetch_sub(bytes as u64, Ordering::AcqRel);
    }

    pub fn stats(&self) -> LogStats {
        let recent = self.recent.read().bytes() as u64;
        let state = self.state.lock();
        let bytes = state.segments.values().map(|s| s.bytes).sum();
        self.counters
            .snapshot(state.segments.len() as u64, bytes, recent)
    }
}
