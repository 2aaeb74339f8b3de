//! What the head of this node counts.

use prometheus::{IntCounter, IntCounterVec};
use trireme_head::Applied;
use trireme_model::WriteOutcome;
use trireme_telemetry::{Metrics, MetricsError};

/// Metrics of all shards together.
#[derive(Clone)]
pub struct HeadMetrics {
    samples: IntCounterVec,
    duplicates: IntCounter,
    conflicts: IntCounter,
    set_aside: IntCounter,
}

impl HeadMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            samples: metrics.counters(
                "trireme_head_samples_total",
                "Samples and histograms that reached the head from clients (own) and from peers, duplicates included.",
                &["origin"],
            )?,
            duplicates: metrics.counter(
                "trireme_head_duplicate_samples_total",
                "Samples and histograms that were there before with the same value, from clients and peers.",
            )?,
            conflicts: metrics.counter(
                "trireme_head_conflicting_samples_total",
                "Samples of peers whose timestamp had another value; every replica keeps the same one of the two.",
            )?,
            set_aside: metrics.counter(
                "trireme_head_set_aside_items_total",
                "Items of clients that were refused because earlier processes panicked when they stored the same.",
            )?,
        })
    }

    /// A client's share of a batch was taken.
    pub fn ingested(&self, outcome: &WriteOutcome) {
        self.samples
            .with_label_values(&["own"])
            .inc_by(outcome.samples + outcome.histograms);
        self.duplicates.inc_by(outcome.duplicates);
    }

    /// Items of a client were refused because they make the process panic.
    pub fn set_aside(&self, items: u64) {
        self.set_aside.inc_by(items);
    }

    /// A record of a peer was applied.
    pub fn applied(&self, applied: &Applied) {
        self.samples
            .with_label_values(&["peer"])
            .inc_by(applied.samples);
        self.duplicates.inc_by(applied.duplicates);
        self.conflicts.inc_by(applied.conflicts);
    }
}
