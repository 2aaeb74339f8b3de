//! The API's own metrics.

use prometheus::{HistogramVec, IntCounterVec, IntGauge};
use trireme_telemetry::{Metrics, MetricsError};

/// Counters and histograms of the HTTP layer.
#[derive(Clone)]
pub struct ApiMetrics {
    pub(crate) write_requests: IntCounterVec,
    pub(crate) write_items: IntCounterVec,
    pub(crate) write_rejected: IntCounterVec,
    pub(crate) write_in_flight: IntGauge,
    pub(crate) requests: HistogramVec,
}

impl ApiMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            write_requests: metrics.counters(
                "trireme_api_write_requests_total",
                "Write requests by protocol and HTTP status.",
                &["protocol", "code"],
            )?,
            write_items: metrics.counters(
                "trireme_api_written_items_total",
                "Samples, histograms and exemplars stored for write requests, duplicates included.",
                &["tenant", "kind"],
            )?,
            write_rejected: metrics.counters(
                "trireme_api_rejected_items_total",
                "Samples, histograms and exemplars refused for good.",
                &["tenant", "reason"],
            )?,
            write_in_flight: metrics.gauge(
                "trireme_api_write_in_flight_bytes",
                "Bytes of requests that are read, are decoded or wait for their quorum.",
            )?,
            requests: metrics.seconds_by(
                "trireme_api_request_seconds",
                "Duration of requests until the response starts.",
                &["handler", "code"],
            )?,
        })
    }
}
