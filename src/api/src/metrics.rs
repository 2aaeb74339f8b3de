//! The API's own metrics.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use trireme_model::Tenant;
use trireme_telemetry::{Metrics, MetricsError};

use crate::admission::AdmissionMetrics;

/// Counters and histograms of the HTTP layer.
#[derive(Clone)]
pub struct ApiMetrics {
    pub(crate) write_requests: IntCounterVec,
    pub(crate) write_items: IntCounterVec,
    pub(crate) write_rejected: IntCounterVec,
    pub(crate) write_dropped: IntCounterVec,
    pub(crate) write_in_flight: IntGauge,
    pub(crate) answers_in_flight: IntGauge,
    pub(crate) requests: HistogramVec,
    pub(crate) without_metadata: IntCounter,
    pub(crate) otlp_warnings: IntCounterVec,
    pub(crate) otlp_late_exemplars: IntCounter,
    /// Only where the cost of queries is counted.
    pub(crate) query_cost: Option<CostMetrics>,
    waiting: IntGaugeVec,
    places_taken: IntGaugeVec,
    waits: HistogramVec,
    refused: IntCounterVec,
    /// Tenants that have lines of their own.
    tenants: Arc<Mutex<HashSet<Tenant>>>,
}

/// What queries cost, under Prometheus's names.
#[derive(Clone)]
pub(crate) struct CostMetrics {
    pub(crate) rejected: IntCounterVec,
    pub(crate) series: Histogram,
    pub(crate) read: Histogram,
}

/// What all other tenants are called together.
const OTHER_TENANTS: &str = "other";

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
                "Samples, histograms and series refused for good.",
                &["tenant", "reason"],
            )?,
            write_dropped: metrics.counters(
                "trireme_api_dropped_items_total",
                "Exemplars and metadata left out of requests, which succeed without them.",
                &["tenant", "reason"],
            )?,
            write_in_flight: metrics.gauge(
                "trireme_api_write_in_flight_bytes",
                "Bytes of requests that are read, are decoded or wait for their quorum.",
            )?,
            answers_in_flight: metrics.gauge(
                "trireme_api_answers_in_flight_bytes",
                "Memory of answers that clients have not taken yet.",
            )?,
            waiting: metrics.gauges(
                "trireme_api_queue_depth",
                "Queries, or streams, that wait for a place.",
                &["kind"],
            )?,
            places_taken: metrics.gauges(
                "trireme_api_places_taken",
                "Queries, or streams, that have a place.",
                &["kind"],
            )?,
            waits: metrics.seconds_by(
                "trireme_api_queue_wait_seconds",
                "Time from coming in to having a place.",
                &["kind"],
            )?,
            refused: metrics.counters(
                "trireme_api_queue_rejected_total",
                "Queries, or streams, that were refused because too many were waiting.",
                &["kind"],
            )?,
            without_metadata: metrics.counter(
                "prometheus_api_remote_write_without_metadata_appended_samples_total",
                "Samples and histograms of remote write 2.0 in series that came without metadata.",
            )?,
            otlp_warnings: metrics.counters(
                "prometheus_api_otlp_translation_warnings_total",
                "What was odd about OTLP requests that were stored nevertheless, each kind once a request.",
                &["category"],
            )?,
            otlp_late_exemplars: metrics.counter(
                "prometheus_api_otlp_out_of_order_exemplars_total",
                "Exemplars of OTLP left out as they were older than samples may be.",
            )?,
            query_cost: None,
            tenants: Arc::default(),
            requests: metrics.seconds_by(
                "trireme_api_request_seconds",
                "Duration of requests until the response starts.",
                &["handler", "code"],
            )?,
        })
    }

    /// The same with metrics of what queries cost.
    pub fn with_query_cost(self, metrics: &Metrics) -> Result<Self, MetricsError> {
        let query_cost = CostMetrics {
            rejected: metrics.counters(
                "prometheus_engine_query_rejected_total",
                "Queries that were ended because they reached a limit of their cost.",
                &["reason"],
            )?,
            series: metrics.counts(
                "prometheus_engine_query_series_touched",
                "Series that the selectors of a query chose.",
                quadrupled(1.0),
            )?,
            read: metrics.counts(
                "prometheus_engine_query_samples_read",
                "Samples of storage that a query read, histograms by their size.",
                quadrupled(100.0),
            )?,
        };

        Ok(Self {
            query_cost: Some(query_cost),
            ..self
        })
    }

    /// The tenant's name as a label: the first `tenants_max` have their own, the rest share one, since each name is several
    /// lines for ever.
    pub(crate) fn name_of<'t>(&self, tenant: &'t Tenant, tenants_max: usize) -> &'t str {
        let mut named = self.tenants.lock();
        if !named.contains(tenant) {
            if named.len() >= tenants_max {
                return OTHER_TENANTS;
            }
            named.insert(tenant.clone());
        }

        tenant.as_str()
    }

    /// Those of one kind of place.
    pub(crate) fn admission(&self, kind: &str) -> AdmissionMetrics {
        AdmissionMetrics {
            waiting: self.waiting.with_label_values(&[kind]),
            taken: self.places_taken.with_label_values(&[kind]),
            wait: self.waits.with_label_values(&[kind]),
            refused: self.refused.with_label_values(&[kind]),
        }
    }
}

/// Twelve bounds from the first on, each four times the one before.
fn quadrupled(first: f64) -> Vec<f64> {
    (0..12).map(|n| first * 4f64.powi(n)).collect()
}
