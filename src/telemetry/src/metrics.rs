//! The metrics registry of one node.

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, MetricFamily, MetricType};
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Why a metric could not be made; always a programming error (a name used twice or malformed).
#[derive(Debug, thiserror::Error)]
#[error("metric {name}: {reason}")]
pub struct MetricsError {
    /// The metric.
    pub name: String,
    /// What the registry said.
    pub reason: String,
}

impl MetricsError {
    fn new(name: &str, error: &prometheus::Error) -> Self {
        Self {
            name: name.to_owned(),
            reason: error.to_string(),
        }
    }
}

/// Makes and registers metrics; clones share one registry.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            registry: Registry::new(),
        }
    }
}

impl Metrics {
    /// A registry with the process's own metrics (CPU, memory, file descriptors) in it.
    pub fn with_process_metrics() -> Self {
        let metrics = Self::default();
        let process = prometheus::process_collector::ProcessCollector::for_self();
        // A second registration is impossible in a fresh registry.
        let _ = metrics.registry.register(Box::new(process));
        metrics
    }

    fn add<C: Collector + Clone + 'static>(
        &self,
        name: &str,
        made: prometheus::Result<C>,
    ) -> Result<C, MetricsError> {
        let metric = made.map_err(|e| MetricsError::new(name, &e))?;

        self.registry
            .register(Box::new(metric.clone()))
            .map_err(|e| MetricsError::new(name, &e))?;

        Ok(metric)
    }

    /// A counter.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, MetricsError> {
        self.add(name, IntCounter::new(name, help))
    }

    /// A counter with labels.
    pub fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, MetricsError> {
        self.add(name, IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A gauge.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, MetricsError> {
        self.add(name, IntGauge::new(name, help))
    }

    /// A gauge whose value is read whenever the metrics are.
    pub fn gauge_read(
        &self,
        name: &str,
        help: &str,
        read: fn() -> u64,
    ) -> Result<(), MetricsError> {
        let made = IntGauge::new(name, help).map(|gauge| ReadGauge { gauge, read });
        self.add(name, made).map(drop)
    }

    /// A gauge with labels.
    pub fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, MetricsError> {
        self.add(name, IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A histogram of seconds with buckets from 100 µs to 100 s.
    pub fn seconds(&self, name: &str, help: &str) -> Result<Histogram, MetricsError> {
        self.add(
            name,
            Histogram::with_opts(HistogramOpts::new(name, help).buckets(second_buckets())),
        )
    }

    /// A histogram of seconds with labels.
    pub fn seconds_by(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<HistogramVec, MetricsError> {
        self.add(
            name,
            HistogramVec::new(
                HistogramOpts::new(name, help).buckets(second_buckets()),
                labels,
            ),
        )
    }

    /// A histogram of counts, of whatever unit, with these upper bounds.
    pub fn counts(
        &self,
        name: &str,
        help: &str,
        bounds: Vec<f64>,
    ) -> Result<Histogram, MetricsError> {
        self.add(
            name,
            Histogram::with_opts(HistogramOpts::new(name, help).buckets(bounds)),
        )
    }

    /// Everything in the text exposition format 0.0.4.
    pub fn render(&self) -> String {
        let mut out = Vec::with_capacity(16 << 10);
        // Writing to memory fails only on a malformed family, which registration has refused.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    /// Name, labels and value of every counter and gauge, and of histogram sums and counts: what self-monitoring writes.
    pub fn samples(&self) -> Vec<(Vec<(String, String)>, f64)> {
        let mut out = Vec::new();
        for family in self.registry.gather() {
            for metric in family.get_metric() {
                let values = values_of(family.get_field_type(), metric);
                out.extend(values.into_iter().map(|(suffix, value)| {
                    let name = format!("{}{suffix}", family.name());
                    (labels_of(name, metric), value)
                }));
            }
        }

        out
    }
}

/// The values of a metric, each with what its name has behind that of the metric.
fn values_of(kind: MetricType, metric: &proto::Metric) -> Vec<(&'static str, f64)> {
    match kind {
        MetricType::COUNTER => vec![("", metric.get_counter().get_value())],
        MetricType::GAUGE => vec![("", metric.get_gauge().get_value())],
        MetricType::HISTOGRAM => {
            let histogram = metric.get_histogram();
            vec![
                ("_sum", histogram.get_sample_sum()),
                ("_count", histogram.get_sample_count() as f64),
            ]
        }
        _ => Vec::new(),
    }
}

fn labels_of(name: String, metric: &proto::Metric) -> Vec<(String, String)> {
    let named = ("__name__".to_owned(), name);
    let others = metric.get_label().iter();
    std::iter::once(named)
        .chain(others.map(|l| (l.name().to_owned(), l.value().to_owned())))
        .collect()
}

/// A gauge that asks for its value when it is collected.
#[derive(Clone)]
struct ReadGauge {
    gauge: IntGauge,
    read: fn() -> u64,
}

impl Collector for ReadGauge {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set((self.read)() as i64);
        self.gauge.collect()
    }
}

fn second_buckets() -> Vec<f64> {
    let decades = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];
    decades
        .iter()
        .flat_map(|d| [*d, d * 2.5, d * 5.0])
        .chain([100.0])
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Metrics;

    #[test]
    fn renders_what_was_counted_and_refuses_a_name_twice() {
        let metrics = Metrics::default();
        metrics
            .counter("trireme_test_total", "Test.")
            .expect("fresh name")
            .inc_by(3);

        assert!(metrics.render().contains("trireme_test_total 3"));
        assert!(metrics.counter("trireme_test_total", "Test.").is_err());
        assert_eq!(metrics.samples().len(), 1);
    }

    #[test]
    fn a_gauge_that_is_read_has_the_value_of_the_moment() {
        static VALUE: AtomicU64 = AtomicU64::new(1);

        let metrics = Metrics::default();
        metrics
            .gauge_read("trireme_test", "Test.", || VALUE.load(Ordering::Relaxed))
            .expect("fresh name");

        assert!(metrics.render().contains("trireme_test 1\n"));
        VALUE.store(7, Ordering::Relaxed);
        assert!(metrics.render().contains("trireme_test 7\n"));
    }
}
