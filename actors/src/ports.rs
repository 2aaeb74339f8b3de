//! Makes ports with the policy's bound and registered metrics.

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};
use trireme_mailbox::{Call, Port, PortMetrics};
use trireme_telemetry::{Metrics, MetricsError};

use crate::policy::{ActorKind, policy};

/// The metric families of all mailboxes of a node.
#[derive(Clone)]
pub struct MailboxMetrics {
    depth: IntGaugeVec,
    wait: HistogramVec,
    rejected: IntCounterVec,
}

impl MailboxMetrics {
    /// Registers the families.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        let by = &["mailbox"];
        Ok(Self {
            depth: metrics.gauges(
                "trireme_mailbox_depth",
                "Messages queued or being worked on.",
                by,
            )?,
            wait: metrics.seconds_by(
                "trireme_mailbox_wait_seconds",
                "Time a message waited for its actor.",
                by,
            )?,
            rejected: metrics.counters(
                "trireme_mailbox_rejected_total",
                "Messages refused because the mailbox was full.",
                by,
            )?,
        })
    }

    /// A port to actors of `kind`; `name` is constant and unique among the ports of a node.
    pub fn port<M: Call>(&self, kind: ActorKind, name: &'static str) -> Port<M> {
        let metrics = PortMetrics {
            depth: self.depth.with_label_values(&[name]),
            wait: self.wait.with_label_values(&[name]),
            rejected: self.rejected.with_label_values(&[name]),
        };
        Port::new(name, policy(kind).queue_messages, metrics)
    }
}
