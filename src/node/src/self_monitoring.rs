//! Writes the node's own metrics into the cluster, so that a new group has something to show at once.

use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, debug};
use trireme_api::WriteSink;
use trireme_base::Clock;
use trireme_model::{FloatSample, Labels, SeriesKey, Tenant};
use trireme_telemetry::Metrics;
use trireme_wire::batch::{Batch, BatchSeries};

/// One write every `every`, until the future is dropped. A write that fails is not repeated: the next one follows.
pub(crate) async fn write_own_metrics(
    metrics: Metrics,
    sink: Arc<dyn WriteSink>,
    clock: Arc<dyn Clock>,
    every: Duration,
    instance: String,
    tenant: Tenant,
    log: Logger,
) {
    loop {
        let batch = batch_of(&metrics, clock.now_ms(), &instance, &tenant);
        let outcome = sink.write(tenant.clone(), batch).await;
        if let Some(later) = outcome.unavailable {
            debug!(log, "own metrics were not written"; "reason" => later.message);
        }
        tokio::time::sleep(every).await;
    }
}

fn batch_of(metrics: &Metrics, now_ms: i64, instance: &str, tenant: &Tenant) -> Batch {
    let up = (vec![("__name__".to_owned(), "up".to_owned())], 1.0);

    let mut batch = Batch::default();
    for (mut pairs, v) in metrics.samples().into_iter().chain([up]) {
        pairs.push(("job".to_owned(), "trireme".to_owned()));
        pairs.push(("instance".to_owned(), instance.to_owned()));
        let labels = Labels::from_pairs(pairs);
        let label_start = batch.label_bytes.len() as u32;
        let sample_start = batch.samples.len() as u32;

        batch.label_bytes.extend_from_slice(labels.as_bytes());
        batch.samples.push(FloatSample { t: now_ms, v });
        batch.series.push(BatchSeries {
            key: SeriesKey::of(tenant.seed(), labels.as_bytes()),
            labels: label_start..batch.label_bytes.len() as u32,
            samples: sample_start..sample_start + 1,
            histograms: 0..0,
            exemplars: 0..0,
        });
    }

    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_names_the_instance_and_says_up() {
        let metrics = Metrics::default();
        metrics
            .counter("trireme_test_total", "Test.")
            .expect("fresh name")
            .inc();

        let batch = batch_of(&metrics, 5, "n0", &Tenant::default());
        let labels: Vec<_> = batch
            .series
            .iter()
            .map(|s| Labels::from_wire(batch.labels_of(s)).expect("ours"))
            .collect();

        assert_eq!(labels.len(), 2);
        assert!(
            labels
                .iter()
                .all(|l| l.get("instance") == Some("n0") && l.get("job") == Some("trireme"))
        );

        assert!(labels.iter().any(|l| l.metric_name() == "up"));
    }
}
