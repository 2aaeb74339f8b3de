//! Request latencies in a fixed amount of memory.

use std::time::Duration;

/// Buckets per power of two: a quantile is at most 1/64 too high.
const SUB_BUCKETS: u64 = 64;
/// Buckets for up to 2^40 microseconds.
const BUCKETS: usize = 64 * 36;

/// Counts of latencies in microseconds, exact below 64 µs and within 1.6 % above.
#[derive(Clone)]
pub struct Latencies {
    counts: Vec<u64>,
    total: u64,
    max_us: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
            max_us: 0,
        }
    }
}

impl Latencies {
    /// Counts one request.
    pub fn add(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros())
            .unwrap_or(u64::MAX)
            .min(1 << 39);
        self.counts[bucket(us)] += 1;
        self.total += 1;
        self.max_us = self.max_us.max(us);
    }

    /// Adds all counts of `other`.
    pub fn merge(&mut self, other: &Latencies) {
        self.counts
            .iter_mut()
            .zip(&other.counts)
            .for_each(|(mine, theirs)| *mine += theirs);
        self.total += other.total;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// The latency below or at which the share `q` (0 to 1) of the requests lies, in milliseconds; none without requests.
    pub fn quantile_ms(&self, q: f64) -> Option<f64> {
        let rank = ((self.total as f64 * q).ceil() as u64).clamp(1, self.total.max(1));

        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= rank {
                return Some(upper_us(index).min(self.max_us) as f64 / 1_000.0);
            }
        }

        None
    }

    /// The slowest request, in milliseconds.
    pub fn max_ms(&self) -> f64 {
        self.max_us as f64 / 1_000.0
    }
}

fn bucket(us: u64) -> usize {
    if us < SUB_BUCKETS {
        return us as usize;
    }
    let shift = u64::from(us.ilog2()) - 6;
    (SUB_BUCKETS * shift + (us >> shift)) as usize
}

/// Greatest latency in a bucket.
fn upper_us(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 * SUB_BUCKETS {
        return index;
    }
    let shift = index / SUB_BUCKETS - 1;
    ((index - SUB_BUCKETS * shift + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_close_and_never_too_low() {
        let mut latencies = Latencies::default();
        (1..=10_000u64).for_each(|us| latencies.add(Duration::from_micros(us)));

        for (q, exact_us) in [
            (0.5, 5_000.0),
            (0.9, 9_000.0),
            (0.99, 9_900.0),
            (1.0, 10_000.0),
        ] {
            let got = latencies.quantile_ms(q).expect("has requests") * 1_000.0;
            assert!(got >= exact_us && got <= exact_us * 1.017, "{q}: {got}");
        }

        assert_eq!(Latencies::default().quantile_ms(0.5), None);
    }

    #[test]
    fn every_bucket_holds_its_upper_edge() {
        for us in (0..5_000_000u64).step_by(37) {
            assert!(upper_us(bucket(us)) >= us);
            assert_eq!(bucket(upper_us(bucket(us))), bucket(us));
        }
        assert!(bucket(1 << 39) < BUCKETS);
    }
}
