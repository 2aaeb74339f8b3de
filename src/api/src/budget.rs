//! Memory of all write requests in progress, bounded (I9).

use std::sync::Arc;

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Accounting is in units of 1 KiB.
const UNIT: usize = 1 << 10;

/// What is left of the bound.
#[derive(Clone)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    gauge: IntGauge,
}

/// A part of the budget; dropping it gives it back.
pub(crate) struct Reserved {
    _permit: OwnedSemaphorePermit,
    bytes: i64,
    gauge: IntGauge,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize, gauge: IntGauge) -> Self {
        Self { units: Arc::new(Semaphore::new((bytes_max / UNIT).min(Semaphore::MAX_PERMITS))), gauge }
    }

    /// Reserves `bytes`, or `None` if the bound is reached now.
    pub(crate) fn reserve(&self, bytes: usize) -> Option<Reserved> {
        let units = u32::try_from(bytes.div_ceil(UNIT).max(1)).ok()?;
        let permit = Arc::clone(&self.units).try_acquire_many_owned(units).ok()?;
        let bytes = i64::from(units) * UNIT as i64;
        self.gauge.add(bytes);
        Some(Reserved { _permit: permit, bytes, gauge: self.gauge.clone() })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.gauge.sub(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_over_the_bound_and_takes_back_what_is_dropped() {
        let gauge = IntGauge::new("g", "g").expect("valid");
        let budget = Budget::new(10 * UNIT, gauge.clone());
        let first = budget.reserve(6 * UNIT).expect("room");
        assert!(budget.reserve(5 * UNIT).is_none());
        assert_eq!(gauge.get(), 6 * UNIT as i64);
        drop(first);
        assert!(budget.reserve(10 * UNIT).is_some());
        assert_eq!(gauge.get(), 0);
    }
}
