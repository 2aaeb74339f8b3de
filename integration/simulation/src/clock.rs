//! Virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use trireme_base::Clock;

use crate::race::Race;

/// Wall time of all machines at the start (ms): the start of a window.
pub const START_MS: i64 = 1_700_006_400_000;

/// A machine's clocks: the monotonic one is the world's, the wall clock may be off.
#[derive(Debug, Clone, Default)]
pub struct SimClock {
    world_us: Arc<AtomicU64>,
    skew_ms: Arc<AtomicI64>,
    race: Arc<Race>,
}

impl SimClock {
    /// Another machine's clock in the same world.
    pub fn beside(&self) -> Self {
        Self {
            world_us: Arc::clone(&self.world_us),
            ..Self::default()
        }
    }

    /// Who may come in between the steps of this machine's writers.
    pub fn race(&self) -> &Race {
        &self.race
    }

    /// Moves the world's time.
    pub fn set_us(&self, now_us: u64) {
        self.world_us.store(now_us, Ordering::Relaxed);
    }

    /// Sets how far this wall clock is off (ms).
    pub fn set_skew_ms(&self, skew_ms: i64) {
        self.skew_ms.store(skew_ms, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now_ms(&self) -> i64 {
        START_MS
            + (self.world_us.load(Ordering::Relaxed) / 1_000) as i64
            + self.skew_ms.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        self.race.step();
        Duration::from_micros(self.world_us.load(Ordering::Relaxed))
    }
}
