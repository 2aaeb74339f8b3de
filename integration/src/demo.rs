//! Data like that of the demonstration service which PromQL's compliance suite queries.

use trireme_base::SeededRng;

use crate::protocol::Series;

/// Between two samples of a series, in milliseconds.
pub const SCRAPE_INTERVAL_MS: i64 = 15_000;

const INSTANCES: [&str; 3] = [
    "demo.promlabs.com:10000",
    "demo.promlabs.com:10001",
    "demo.promlabs.com:10002",
];
/// Upper bounds of the histogram's buckets, in seconds.
const BOUNDS: [&str; 12] = [
    "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1",
    "0.25", "+Inf",
];
/// Bits of the NaN by which senders mark the end of a series.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// All `demo_*` series with `scrapes` samples each, the first one at `start_ms`. The same arguments give the same data.
///
/// Counters start anew now and then, and `demo_intermittent_metric` comes and goes, with a stale marker at its end.
pub fn demo_series(start_ms: i64, scrapes: usize) -> Vec<Series> {
    let times = (0..scrapes as i64)
        .map(|i| start_ms + i * SCRAPE_INTERVAL_MS)
        .collect();
    let mut demo = Demo {
        times,
        rng: SeededRng::new(20),
        series: Vec::new(),
    };

    for (n, instance) in INSTANCES.into_iter().enumerate() {
        demo.gauges(n, instance);
        demo.counters(n, instance);

        for path in ["/api/foo", "/api/bar"] {
            for status in ["200", "500"] {
                demo.histogram(&[
                    ("instance", instance),
                    ("job", "demo"),
                    ("method", "GET"),
                    ("path", path),
                    ("status", status),
                ]);
            }
        }
    }

    demo.series
}

/// The series cut into requests of `samples` samples each, in time order.
pub fn requests_of(series: &[Series], samples: usize) -> Vec<Vec<Series>> {
    let mut requests: Vec<Vec<Series>> = Vec::new();
    for one in series {
        // By time, not by number: a series may have gaps.
        let first = series
            .iter()
            .filter_map(|s| s.samples.first())
            .map(|(t, _)| *t)
            .min()
            .unwrap_or(0);
        for sample in &one.samples {
            let request = ((sample.0 - first) / SCRAPE_INTERVAL_MS) as usize / samples;
            if requests.len() <= request {
                requests.resize_with(request + 1, Vec::new);
            }
            match requests[request].last_mut() {
                Some(last) if last.labels == one.labels => last.samples.push(*sample),
                _ => requests[request].push(Series {
                    labels: one.labels.clone(),
                    samples: vec![*sample],
                }),
            }
        }
    }

    requests
}

struct Demo {
    times: Vec<i64>,
    rng: SeededRng,
    series: Vec<Series>,
}

impl Demo {
    /// Adds a series; `value` gets the number of the scrape and its time, and answers nothing for a gap.
    fn add(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        mut value: impl FnMut(&mut SeededRng, usize, i64) -> Option<f64>,
    ) {
        let Self { times, rng, .. } = self;
        let samples: Vec<(i64, f64)> = times
            .iter()
            .enumerate()
            .filter_map(|(i, t)| Some((*t, value(rng, i, *t)?)))
            .collect();
        self.series.push(Series::new(name, labels, &samples));
    }

    fn gauges(&mut self, n: usize, instance: &str) {
        let plain = [("instance", instance), ("job", "demo")];
        for (k, kind) in ["used", "cached", "buffers", "free"]
            .into_iter()
            .enumerate()
        {
            let labels = [plain[0], plain[1], ("type", kind)];
            self.add("demo_memory_usage_bytes", &labels, |rng, i, _| {
                let wave = (i as f64 / 37.0 + (n + k) as f64).sin();
                Some((1e9 * (k + 1) as f64 + 5e8 * wave + 1e6 * rng.unit()).floor())
            });
        }

        self.add("demo_num_cpus", &plain, |_, _, _| Some(4.0));
        self.add("demo_disk_total_bytes", &plain, |_, _, _| {
            Some(268_435_456_000.0)
        });
        self.add("demo_disk_usage_bytes", &plain, |rng, i, _| {
            Some((1e10 + 7e5 * (i * (n + 1)) as f64 + 1e4 * rng.unit()).floor())
        });
        self.add(
            "demo_batch_last_success_timestamp_seconds",
            &plain,
            |rng, _, t| Some((t / 180_000 * 180) as f64 + rng.unit() / 1e3),
        );

        self.add("demo_intermittent_metric", &plain, |_, i, _| {
            match (i + 7 * n) % 30 {
                0..20 => Some(i as f64),
                20 => Some(f64::from_bits(STALE)),
                _ => None,
            }
        });
    }

    fn counters(&mut self, n: usize, instance: &str) {
        for (k, mode) in ["idle", "user", "system"].into_iter().enumerate() {
            let labels = [("instance", instance), ("job", "demo"), ("mode", mode)];
            let mut total = 0.0;
            self.add("demo_cpu_usage_seconds_total", &labels, |rng, i, _| {
                let restarts = (i + 50 * n) % 211 == 210;
                total = if restarts { 0.0 } else { total } + rng.unit() * (k + 1) as f64 * 5.0;
                Some(total)
            });
        }
    }

    fn histogram(&mut self, labels: &[(&str, &str)]) {
        let bounds = BOUNDS.map(|bound| bound.parse().unwrap_or(f64::INFINITY));
        // Per scrape: the cumulative buckets, and the sum behind them.
        let mut scrapes: Vec<([f64; BOUNDS.len()], f64)> = Vec::new();
        let mut buckets = [0.0; BOUNDS.len()];

        let mut sum = 0.0;
        for _ in 0..self.times.len() {
            for _ in 0..=self.rng.below(30) {
                let seconds = -self.rng.unit().ln() / 30.0;
                sum += seconds;
                for (count, _) in buckets
                    .iter_mut()
                    .zip(bounds)
                    .filter(|(_, bound)| seconds <= *bound)
                {
                    *count += 1.0;
                }
            }
            scrapes.push((buckets, sum));
        }

        for (b, bound) in BOUNDS.into_iter().enumerate() {
            let mut all = labels.to_vec();
            all.push(("le", bound));
            self.add(
                "demo_api_request_duration_seconds_bucket",
                &all,
                |_, i, _| Some(scrapes[i].0[b]),
            );
        }

        let count = BOUNDS.len() - 1;
        self.add(
            "demo_api_request_duration_seconds_count",
            labels,
            |_, i, _| Some(scrapes[i].0[count]),
        );

        self.add(
            "demo_api_request_duration_seconds_sum",
            labels,
            |_, i, _| Some(scrapes[i].1),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_hold_every_sample_once_in_time_order() {
        let series = demo_series(1_007, 50);
        let requests = requests_of(&series, 20);
        assert_eq!(requests.len(), 3);

        let samples = |all: &[Series]| all.iter().map(|s| s.samples.len()).sum::<usize>();
        assert_eq!(
            requests.iter().map(|r| samples(r)).sum::<usize>(),
            samples(&series)
        );

        let last = |r: &[Series]| {
            r.iter()
                .filter_map(|s| s.samples.last())
                .map(|(t, _)| *t)
                .max()
        };

        let first = |r: &[Series]| {
            r.iter()
                .filter_map(|s| s.samples.first())
                .map(|(t, _)| *t)
                .min()
        };

        assert!(
            requests
                .windows(2)
                .all(|pair| last(&pair[0]) < first(&pair[1]))
        );
    }
}
