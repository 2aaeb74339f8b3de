//! Exponential waiting with jitter.

use std::time::Duration;

use crate::SeededRng;

/// Doubles the wait from `min` to `max`; each answer is jittered to 50-100 % so that peers do not move in step.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    rng: SeededRng,
}

impl Backoff {
    /// A fresh sequence; `seed` decides the jitter.
    pub fn new(min: Duration, max: Duration, seed: u64) -> Self {
        Self {
            min,
            max,
            next: min,
            rng: SeededRng::new(seed),
        }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let base = self.next;
        self.next = (self.next * 2).min(self.max);
        base.mul_f64(0.5 + 0.5 * self.rng.unit())
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_bound_and_resets() {
        let mut b = Backoff::new(Duration::from_millis(10), Duration::from_millis(35), 1);

        let waits: Vec<_> = (0..4).map(|_| b.next_wait()).collect();
        for (wait, bound) in waits.iter().zip([10, 20, 35, 35]) {
            assert!(
                *wait <= Duration::from_millis(bound) && *wait >= Duration::from_millis(bound / 2)
            );
        }

        b.reset();
        assert!(b.next_wait() <= Duration::from_millis(10));
    }
}
