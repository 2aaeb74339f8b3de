//! How a running query is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use trireme_base::{Clock, ErrorKind};

/// Why a query has to stop.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The caller went away.
    #[error("query was canceled in query execution")]
    Canceled,
    /// The deadline passed.
    #[error("query timed out in query execution")]
    TimedOut,
}

impl Stop {
    /// What a caller can do about it.
    pub fn kind(self) -> ErrorKind {
        match self {
            Self::Canceled => ErrorKind::Cancelled,
            Self::TimedOut => ErrorKind::Timeout,
        }
    }
}

/// A flag that anyone may set, and a deadline; clones share the flag.
#[derive(Clone, Default)]
pub struct Cancel {
    flag: Arc<AtomicBool>,
    clock: Option<Arc<dyn Clock>>,
    deadline: Option<Duration>,
}

impl Cancel {
    /// No deadline and no clock: only [`Cancel::cancel`] stops the query.
    pub fn never() -> Self {
        Self::default()
    }

    /// Can be given deadlines, which are read from `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            flag: Arc::default(),
            clock: Some(clock),
            deadline: None,
        }
    }

    /// The same flag with a deadline `timeout` from now, or the present one if that is earlier.
    ///
    /// Without a clock there are no deadlines and this is a clone.
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        let Some(clock) = &self.clock else {
            return self.clone();
        };

        let at = clock.monotonic().saturating_add(timeout);
        let deadline = self.deadline.map_or(at, |present| present.min(at));
        Self {
            deadline: Some(deadline),
            ..self.clone()
        }
    }

    /// Asks the query to stop.
    pub fn cancel(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }

    /// Says whether to go on. Costs an atomic load and, with a deadline, a look at the clock: call it per series, not per sample.
    pub fn check(&self) -> Result<(), Stop> {
        if self.flag.load(Ordering::Relaxed) {
            return Err(Stop::Canceled);
        }
        if let (Some(clock), Some(deadline)) = (&self.clock, self.deadline)
            && clock.monotonic() >= deadline
        {
            return Err(Stop::TimedOut);
        }

        Ok(())
    }

    /// The clock that deadlines are read from.
    pub fn clock(&self) -> Option<&Arc<dyn Clock>> {
        self.clock.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use trireme_base::ManualClock;

    use super::*;

    #[test]
    fn stops_at_the_earlier_deadline_and_on_request() {
        let clock = Arc::new(ManualClock::at(0));
        let outer = Cancel::new(clock.clone()).with_timeout(Duration::from_secs(2));
        let inner = outer.with_timeout(Duration::from_secs(10));

        assert_eq!(inner.check(), Ok(()));
        clock.advance_ms(2_000);
        assert_eq!(inner.check(), Err(Stop::TimedOut));
        outer.cancel();
        assert_eq!(inner.check(), Err(Stop::Canceled));
    }
}
