//! Records on their way from the log to a shard.
//!
//! The log's thread must never wait, so a lane has no bound of its own: what is in it was let in by the replication
//! window, and a peer gets room for more only when records left the lane applied.
//!
//! Nobody waits for a record to be applied, save a query that comes just then. So the shard is woken for several records
//! together, or by its own timer, or by [`ApplyQueue::hurry`].
//!
//! A new lane holds its records: what the log has of their streams must be applied before them, and a replay does that.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use trireme_mailbox::{Call, Port};
use trireme_wire::record::Record;

/// Records that a shard applies at a time, and for which it is woken; about a millisecond of its work.
pub const TURN_RECORDS: usize = 16;

/// Tells an `Ingest` that its lane has records.
pub struct ApplyReady;

impl Call for ApplyReady {
    type Reply = ();
}

/// The records that wait for one shard, in log order.
pub struct ApplyQueue {
    records: Mutex<VecDeque<Record>>,
    told: AtomicBool,
    /// Nothing is given out yet.
    held: AtomicBool,
    port: Port<ApplyReady>,
}

impl ApplyQueue {
    /// An empty lane whose shard listens behind `port`; it gives nothing out before [`ApplyQueue::release`].
    pub fn new(port: Port<ApplyReady>) -> Self {
        Self {
            records: Mutex::default(),
            told: AtomicBool::new(false),
            held: AtomicBool::new(true),
            port,
        }
    }

    /// The replay is done: gives out what waits, and from now on what comes.
    pub fn release(&self) {
        self.held.store(false, Ordering::Release);
        self.hurry();
    }

    /// The port by which the shard is told.
    pub fn port(&self) -> &Port<ApplyReady> {
        &self.port
    }

    /// Adds a record. The shard does not hear of it at once.
    pub fn push(&self, record: Record) {
        self.records.lock().push_back(record);
    }

    /// Tells the shard that it has work, if that is enough to be worth it.
    pub fn tell(&self) {
        if self.len() >= TURN_RECORDS {
            self.hurry();
        }
    }

    /// Tells the shard that it has work, if it has some and does not know yet.
    pub fn hurry(&self) {
        // A look at the records is ordered with a release by their lock: one of the two sees the other.
        if self.has_work()
            && !self.told.swap(true, Ordering::AcqRel)
            && self.port.tell(ApplyReady).is_err()
        {
            // The shard restarts or is busy; it looks at its lane by itself then.
            self.told.store(false, Ordering::Release);
        }
    }

    /// Takes out up to `max` records; none while they are held.
    pub fn take(&self, max: usize) -> Vec<Record> {
        if self.held.load(Ordering::Acquire) {
            return Vec::new();
        }
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

    /// True if [`ApplyQueue::take`] would give something out.
    pub fn has_work(&self) -> bool {
        !self.is_empty() && !self.held.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use trireme_base::{Boot, Incarnation, StreamId};
    use trireme_mailbox::PortMetrics;
    use trireme_wire::record::{RecordDraft, RecordKind};

    use super::*;

    #[test]
    fn gives_nothing_out_before_it_is_released_and_then_everything_in_order() {
        let apply_queue = ApplyQueue::new(Port::new("ingest-lane", 1, PortMetrics::unregistered()));
        let stream = StreamId {
            incarnation: Incarnation(1),
            boot: Boot(1),
        };

        for seq in 1..=3 {
            apply_queue.push(RecordDraft::new(0, RecordKind::Samples).seal(stream, seq));
        }

        assert!(
            apply_queue.take(8).is_empty() && !apply_queue.has_work() && apply_queue.len() == 3
        );
        apply_queue.release();
        assert!(apply_queue.has_work());

        assert_eq!(
            apply_queue
                .take(8)
                .iter()
                .map(Record::seq)
                .collect::<Vec<_>>(),
            [1, 2, 3]
        );

        assert!(!apply_queue.has_work());
    }
}
