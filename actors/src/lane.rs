//! Records on their way from the log to a shard.
//!
//! The log's thread must never wait, so a lane has no bound of its own: what is in it was let in by the replication
//! window, and a peer gets room for more only when records left the lane applied.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use trireme_mailbox::{Call, Port};
use trireme_wire::record::Record;

/// Tells an `Ingest` that its lane has records.
pub struct LaneReady;

impl Call for LaneReady {
    type Reply = ();
}

/// The records that wait for one shard, in log order.
pub struct Lane {
    records: Mutex<VecDeque<Record>>,
    told: AtomicBool,
    port: Port<LaneReady>,
}

impl Lane {
    /// An empty lane whose shard listens behind `port`.
    pub fn new(port: Port<LaneReady>) -> Self {
        Self { records: Mutex::default(), told: AtomicBool::new(false), port }
    }

    /// The port by which the shard is told.
    pub fn port(&self) -> &Port<LaneReady> {
        &self.port
    }

    /// Adds a record and tells the shard, once for all records it has not looked at.
    pub fn push(&self, record: Record) {
        self.records.lock().push_back(record);
        if !self.told.swap(true, Ordering::AcqRel) && self.port.tell(LaneReady).is_err() {
            // The shard restarts or is busy; it looks at its lane by itself then.
            self.told.store(false, Ordering::Release);
        }
    }

    /// Takes out up to `max` records.
    pub fn take(&self, max: usize) -> Vec<Record> {
        self.told.store(false, Ordering::Release);
        let mut records = self.records.lock();
        let n = records.len().min(max);
        records.drain(..n).collect()
    }

    /// Records that wait.
    pub fn len(&self) -> usize {
        self.records.lock().len()
    }

    /// True if none waits.
    pub fn is_empty(&self) -> bool {
        self.records.lock().is_empty()
    }
}
