//! Figures of one run against one receiver.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::body::Body;
use super::super::disk::Size;
use super::super::fleet::Fleet;
use super::super::process::Usage;
use super::super::sender::Sent;
use super::Args;

/// Everything measured in a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// What was measured.
    pub name: String,
    pub load: Load,
    /// The first scrape: every series is new.
    pub new_series: Phase,
    /// The scrapes after it; none in a run of one scrape.
    pub steady: Option<Phase>,
    /// Data directories by the name of their first level.
    pub disk: BTreeMap<String, DiskPart>,
    pub generator: Generator,
}

/// What was sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Load {
    pub series: usize,
    pub scrapes: u64,
    pub interval_s: f64,
    pub samples_per_request: usize,
    pub connections: usize,
    pub urls: usize,
    pub protocol: String,
    pub rate: Option<f64>,
    pub churn_every: Option<u64>,
    pub labels_per_series: f64,
    /// Bytes of all messages before and after compression.
    pub raw_bytes: u64,
    pub sent_bytes: u64,
    pub samples: u64,
}

/// A stretch of the run, from a receiver at rest to a receiver at rest.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Phase {
    pub scrapes: u64,
    pub requests: u64,
    /// Samples answered with 2xx.
    pub samples: u64,
    pub samples_failed: u64,
    pub new_series: u64,
    pub stale_markers: u64,
    /// Time in which requests were under way.
    pub wall_s: f64,
    /// From the last answer until the receiver's CPU was at rest.
    pub unrest_s: f64,
    pub samples_per_s: f64,
    /// The same with the time until the receiver was at rest.
    pub samples_per_s_at_rest: f64,
    pub latency_ms: Latency,
    /// Answers other than 2xx by status, and `io` for failed connections; each try counts.
    pub errors: BTreeMap<String, u64>,
    /// None if no process was given.
    pub receiver: Option<Receiver>,
    /// Growth of the receiver's own counters.
    #[serde(default)]
    pub counters: BTreeMap<String, f64>,
}

/// Latencies of successful requests.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

/// What the receiver's processes used in a phase, in sum.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Receiver {
    pub cpu_s: f64,
    pub cpu_s_per_million_samples: f64,
    /// Only where every series was new.
    pub cpu_us_per_new_series: Option<f64>,
    /// Resident memory at the end of the phase, at rest.
    pub rss_bytes: u64,
    pub peak_rss_bytes: u64,
    pub rss_bytes_per_series: f64,
    pub peak_rss_bytes_per_series: f64,
    pub written_bytes: u64,
    pub written_bytes_per_sample: f64,
}

/// Growth of one part of the data directories.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct DiskPart {
    /// Lengths of the files, and the space they take, at the end.
    pub length_bytes: u64,
    pub allocated_bytes: u64,
    /// Growth of the length over the whole run.
    pub grown_bytes: i64,
    /// Growth of the length in the steady state per sample; none if nothing was sent then.
    pub steady_bytes_per_sample: Option<f64>,
}

/// CPU of the generator itself.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Generator {
    /// Making bodies, while nothing was sent.
    pub prepare_cpu_s: f64,
    /// While requests were under way; on the same machine the receiver had this much less.
    pub send_cpu_s: f64,
}

impl Load {
    /// The load as asked for; [`Load::count`] adds what was made of it.
    pub fn new(args: &Args, fleet: &Fleet) -> Self {
        Self {
            series: args.series,
            scrapes: args.scrapes,
            interval_s: args.interval.as_secs_f64(),
            samples_per_request: args.samples_per_request,
            connections: args.connections,
            urls: args.urls.len(),
            protocol: match args.protocol {
                super::Protocol::V1 => "1.0".to_string(),
                super::Protocol::V2 => "2.0".to_string(),
            },
            rate: args.rate,
            churn_every: args.churn_every,
            labels_per_series: fleet.labels_per_series(),
            raw_bytes: 0,
            sent_bytes: 0,
            samples: 0,
        }
    }

    /// Counts prepared bodies.
    pub fn count(&mut self, scrapes: &[Vec<Body>]) {
        for body in scrapes.iter().flatten() {
            self.raw_bytes += body.raw_bytes as u64;
            self.sent_bytes += body.bytes.len() as u64;
            self.samples += body.samples as u64;
        }
    }
}

impl Phase {
    /// Takes over what the senders did.
    pub fn fill(&mut self, sent: &Sent, unrest: Duration) {
        self.samples = sent.samples_ok;
        self.samples_failed = sent.samples_failed;
        self.wall_s = sent.wall.as_secs_f64();
        self.unrest_s = unrest.as_secs_f64();
        self.samples_per_s = ratio(self.samples as f64, self.wall_s);
        self.samples_per_s_at_rest = ratio(self.samples as f64, self.wall_s + self.unrest_s);

        let latencies = &sent.latencies;
        self.latency_ms = Latency {
            p50: latencies.quantile_ms(0.5).unwrap_or(0.0),
            p90: latencies.quantile_ms(0.9).unwrap_or(0.0),
            p99: latencies.quantile_ms(0.99).unwrap_or(0.0),
            max: latencies.max_ms(),
        };

        self.errors = sent.errors.clone();
    }
}

impl Receiver {
    /// Usage between two readings of the same processes.
    pub fn new(before: &Usage, after: &Usage, phase: &Phase, series: usize) -> Self {
        let cpu_s = after.cpu_s - before.cpu_s;
        let written_bytes = after.written_bytes.saturating_sub(before.written_bytes);
        let all_new = phase.scrapes == 1 && phase.new_series == phase.samples;

        Self {
            cpu_s,
            cpu_s_per_million_samples: ratio(cpu_s, phase.samples as f64 / 1e6),
            cpu_us_per_new_series: all_new.then(|| ratio(cpu_s * 1e6, phase.new_series as f64)),
            rss_bytes: after.rss_bytes,
            peak_rss_bytes: after.peak_rss_bytes,
            rss_bytes_per_series: ratio(after.rss_bytes as f64, series as f64),
            peak_rss_bytes_per_series: ratio(after.peak_rss_bytes as f64, series as f64),
            written_bytes,
            written_bytes_per_sample: ratio(written_bytes as f64, phase.samples as f64),
        }
    }
}

impl Report {
    /// Samples answered with 2xx.
    pub fn accepted(&self) -> u64 {
        self.new_series.samples + self.steady.as_ref().map_or(0, |steady| steady.samples)
    }
}

/// Growth of each part of the data directories.
pub fn disk_parts(
    before: &BTreeMap<String, Size>,
    first: &BTreeMap<String, Size>,
    end: &BTreeMap<String, Size>,
    steady_samples: u64,
) -> BTreeMap<String, DiskPart> {
    let part = end.iter().map(|(name, size)| {
        let now = length_bytes(end, name);
        let steady = now - length_bytes(first, name);
        let part = DiskPart {
            length_bytes: size.length_bytes,
            allocated_bytes: size.allocated_bytes,
            grown_bytes: now - length_bytes(before, name),
            steady_bytes_per_sample: (steady_samples > 0)
                .then(|| steady as f64 / steady_samples as f64),
        };
        (name.clone(), part)
    });

    part.collect()
}

fn length_bytes(sizes: &BTreeMap<String, Size>, name: &str) -> i64 {
    sizes.get(name).map_or(0, |size| {
        i64::try_from(size.length_bytes).unwrap_or(i64::MAX)
    })
}

fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}
