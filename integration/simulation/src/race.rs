//! The log's thread, which runs between two steps of a shard's writer.
//!
//! A writer that queues what was refused before does so in several steps. The real log's thread may write what it has been
//! given so far between any two of them. Here a look at the clock, which each step begins with, is where that happens.

use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use trireme_base::SeededRng;
use trireme_log::Log;

/// Whether and when the log's thread comes in between.
#[derive(Debug, Default)]
pub struct Race {
    is_on: AtomicBool,
    inner: Mutex<Option<Racer>>,
}

struct Racer {
    rng: SeededRng,
    log: Weak<Log>,
}

impl std::fmt::Debug for Racer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Racer")
    }
}

impl Race {
    /// From now on this log may write in between.
    pub fn enter(&self, seed: u64, log: Weak<Log>) {
        *self.inner.lock() = Some(Racer {
            rng: SeededRng::new(seed),
            log,
        });
    }

    /// Nobody comes in between any more.
    pub fn leave(&self) {
        *self.inner.lock() = None;
    }

    /// A writer works: the log may write while it does.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        self.is_on.store(true, Ordering::Relaxed);
        let result = work();
        self.is_on.store(false, Ordering::Relaxed);
        result
    }

    /// A writer begins a step.
    pub fn step(&self) {
        if !self.is_on.load(Ordering::Relaxed) {
            return;
        }

        let mut inner = self.inner.lock();
        let log = inner.as_mut().and_then(|racer| {
            if racer.rng.chance(0.5) {
                racer.log.upgrade()
            } else {
                None
            }
        });

        drop(inner);
        if let Some(log) = log {
            // The log looks at the clock itself.
            self.is_on.store(false, Ordering::Relaxed);
            log.write_queued();
            self.is_on.store(true, Ordering::Relaxed);
        }
    }
}
