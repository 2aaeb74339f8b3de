//! Values of the generated series: a pure function of series and scrape number, so that nothing is remembered
//! between scrapes and anybody can say afterwards what must have been stored.

/// How the values of a series move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Always this number.
    Constant(f64),
    /// A number of bytes that differs between series and never changes (sizes, limits).
    Capacity,
    /// Unix time of an event in the past, with a fraction; never changes.
    StartTime,
    /// Small whole number that changes now and then.
    SmallGauge { below: u32 },
    /// Bytes in whole pages, changing at every scrape.
    PagesGauge,
    /// Two decimals, changing at every scrape (load averages, temperatures).
    HundredthsGauge { below: f64 },
    /// All 53 bits of precision, changing at every scrape.
    RatioGauge,
    /// Whole number that grows by about `per_scrape`, never the same twice in a row.
    Counter { per_scrape: f64 },
    /// Seconds in hundredths, growing by about `per_scrape` seconds (kernel clock ticks).
    CentisecondCounter { per_scrape: f64 },
    /// Seconds in nanoseconds, growing by about `per_scrape` seconds.
    NanosecondCounter { per_scrape: f64 },
    /// Bucket of a cumulative histogram that counts `per_scrape` observations, of which `share` lie below the bound.
    Bucket { per_scrape: f64, share: f64 },
}

/// The value that says "this series ended" (a NaN with its own bits).
pub const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Scrambles 64 bits (SplitMix64's finalizer).
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number in `[0, 1)` from 64 random bits.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

impl Kind {
    /// True if the values only grow.
    pub fn is_counter(self) -> bool {
        matches!(
            self,
            Kind::Counter { .. }
                | Kind::CentisecondCounter { .. }
                | Kind::NanosecondCounter { .. }
                | Kind::Bucket { .. }
        )
    }

    /// The kind of bucket `index` of `count` of a histogram whose observations grow like this kind.
    pub fn bucket(self, index: usize, count: usize) -> Kind {
        let per_scrape = match self {
            Kind::Counter { per_scrape } => per_scrape,
            _ => 10.0,
        };

        // Latencies crowd in the lower middle: the square root bends the shares that way; the last bucket holds all.
        let share = if index + 1 == count {
            1.0
        } else {
            (index as f64 / count as f64).sqrt()
        };

        Kind::Bucket { per_scrape, share }
    }

    /// The value at scrape `number` of the series with hash `series`. Series of one histogram share `group`, so
    /// that their buckets stay cumulative at every scrape.
    pub fn value(self, series: u64, group: u64, number: u64) -> f64 {
        match self {
            Kind::Constant(value) => value,
            Kind::Capacity => ((1 + mix(series) % 64) * 268_435_456) as f64,
            Kind::StartTime => 1_700_000_000.0 + (mix(series) % 4_000_000_000) as f64 / 100.0,
            Kind::SmallGauge { below } => {
                // Holds for eight scrapes, each series changing at its own moment.
                let stretch = (number + series % 8) / 8;
                (mix(series ^ stretch.wrapping_mul(0xa24b)) % u64::from(below.max(1))) as f64
            }
            Kind::PagesGauge => {
                let pages = 256 + mix(series) % 500_000;
                let jitter = (noise(series, number) * pages as f64 * 0.05) as u64;
                ((pages + jitter) * 4_096) as f64
            }
            Kind::HundredthsGauge { below } => {
                let share = 0.6 * unit(mix(series)) + 0.4 * noise(series, number);
                (below * 100.0 * share).round() / 100.0
            }
            Kind::RatioGauge => noise(series, number),
            Kind::Counter { per_scrape } => grown(per_scrape, series, number).floor(),
            Kind::CentisecondCounter { per_scrape } => {
                (grown(per_scrape, series, number) * 100.0).floor() / 100.0
            }
            Kind::NanosecondCounter { per_scrape } => {
                (grown(per_scrape, series, number) * 1e9).floor() / 1e9
            }
            Kind::Bucket { per_scrape, share } => {
                (share * grown(per_scrape, group, number).floor()).floor()
            }
        }
    }
}

/// Monotone: noise below one scrape never lets a later value be less than an earlier one.
fn grown(per_scrape: f64, of: u64, number: u64) -> f64 {
    per_scrape * busy(of) * (age(of) + number as f64 + noise(of, number))
}

/// From 0 to 1, another number for each scrape.
fn noise(of: u64, number: u64) -> f64 {
    unit(mix(of ^ number.wrapping_mul(0x9e37_79b9)))
}

/// How busy this series is against others of its kind: from a fiftieth to twice as busy.
fn busy(of: u64) -> f64 {
    0.02 + 1.98 * unit(mix(of ^ 0xb5))
}

/// Scrapes counted before the first one of the run, so that counters do not all start at zero.
fn age(of: u64) -> f64 {
    1_000.0 + (mix(of ^ 0xa6e) % 100_000) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_never_fall_and_buckets_stay_cumulative() {
        let kinds = [
            Kind::Counter { per_scrape: 0.1 },
            Kind::Counter {
                per_scrape: 90_000.0,
            },
            Kind::CentisecondCounter { per_scrape: 13.0 },
            Kind::NanosecondCounter { per_scrape: 1.5 },
        ];

        for kind in kinds {
            for series in 0..50 {
                let values: Vec<f64> = (0..200).map(|n| kind.value(mix(series), 0, n)).collect();
                assert!(values.windows(2).all(|w| w[0] <= w[1]), "{kind:?} fell");
            }
        }

        let base = Kind::Counter { per_scrape: 40.0 };
        for number in 0..200 {
            let row: Vec<f64> = (0..12)
                .map(|i| base.bucket(i, 12).value(i as u64, 77, number))
                .collect();
            assert!(
                row.windows(2).all(|w| w[0] <= w[1]),
                "buckets not cumulative at scrape {number}"
            );
        }
    }

    #[test]
    fn values_follow_from_series_and_scrape_alone() {
        let kind = Kind::NanosecondCounter { per_scrape: 2.0 };
        assert_eq!(kind.value(5, 0, 9).to_bits(), kind.value(5, 0, 9).to_bits());
        assert_ne!(kind.value(5, 0, 9).to_bits(), kind.value(6, 0, 9).to_bits());
    }
}
