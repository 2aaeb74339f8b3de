//! What a scrub counts.

use prometheus::{IntCounter, IntCounterVec, IntGauge};
use trireme_telemetry::{Metrics, MetricsError};

/// Metrics of the scrub.
#[derive(Clone)]
pub struct ScrubberMetrics {
    pub(super) rounds: IntCounter,
    pub(super) finished: IntGauge,
    pub(super) read_bytes: IntCounter,
    pub(super) damaged: IntCounter,
    pub(super) differences: IntCounterVec,
    pub(super) wanted: IntGauge,
    pub(super) repaired: IntCounterVec,
    pub(super) fetched_bytes: IntCounter,
    pub(super) failures: IntCounterVec,
}

impl ScrubberMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            rounds: metrics
                .counter("trireme_scrub_rounds_total", "Times that all local blocks were read again.")?,
            finished: metrics.gauge(
                "trireme_scrub_finished_timestamp_seconds",
                "When all local blocks had been read again last.",
            )?,
            read_bytes: metrics
                .counter("trireme_scrub_read_bytes_total", "Bytes of local blocks that were read again.")?,
            damaged: metrics.counter(
                "trireme_scrub_damaged_blocks_total",
                "Local blocks whose bytes were found to have changed.",
            )?,
            differences: metrics.counters(
                "trireme_scrub_differences_total",
                "Blocks of other replicas that were found to be missing here (nothing of their window is here) or to \
                 differ (the window has other blocks here).",
                &["kind"],
            )?,
            wanted: metrics.gauge(
                "trireme_scrub_wanted_blocks",
                "Blocks that are missing or damaged here and were not fetched yet.",
            )?,
            repaired: metrics.counters(
                "trireme_scrub_repaired_blocks_total",
                "Blocks fetched, by where from.",
                &["from"],
            )?,
            fetched_bytes: metrics.counter("trireme_scrub_fetched_bytes_total", "Bytes of blocks fetched.")?,
            failures: metrics.counters(
                "trireme_scrub_failures_total",
                "Blocks that could not be read again or fetched, and peers that could not be compared with.",
                &["reason"],
            )?,
        })
    }
}
