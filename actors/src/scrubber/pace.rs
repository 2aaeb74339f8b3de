//! Bytes a second.

use std::sync::Arc;
use std::time::Duration;

use trireme_base::Clock;

/// Holds work back so that its bytes stay below a rate.
pub(super) struct Pace {
    /// Bytes a second; 0 means no bound.
    rate: u64,
    /// The rate allows the next piece then.
    next_at: Duration,
    clock: Arc<dyn Clock>,
}

impl Pace {
    pub(super) fn new(rate: u64, clock: &Arc<dyn Clock>) -> Self {
        Self {
            rate,
            next_at: Duration::ZERO,
            clock: Arc::clone(clock),
        }
    }

    /// Waits until the next piece may be read.
    pub(super) async fn keep(&self) {
        let wait = self.wait();
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn wait(&self) -> Duration {
        self.next_at.saturating_sub(self.clock.monotonic())
    }

    /// A piece was read.
    pub(super) fn paid(&mut self, bytes: usize) {
        if self.rate > 0 {
            let takes = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
            self.next_at = self.next_at.max(self.clock.monotonic()) + takes;
        }
    }
}

#[cfg(test)]
mod tests {
    use trireme_base::ManualClock;

    use super::*;

    #[test]
    fn a_piece_is_paid_for_before_the_next_one() {
        let clock: Arc<ManualClock> = Arc::new(ManualClock::at(0));
        clock.advance_ms(5_000);
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let mut pace = Pace::new(1_000, &shared);

        assert_eq!(pace.wait(), Duration::ZERO);
        pace.paid(500);
        pace.paid(1_000);
        assert_eq!(pace.wait(), Duration::from_millis(1_500));
        clock.advance_ms(10_000);
        assert_eq!(pace.wait(), Duration::ZERO);
        pace.paid(100);
        assert_eq!(
            pace.wait(),
            Duration::from_millis(100),
            "time that went by unused is not saved up"
        );

        let mut free = Pace::new(0, &shared);
        free.paid(usize::MAX);
        assert_eq!(free.wait(), Duration::ZERO);
    }
}
