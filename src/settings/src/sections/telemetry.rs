//! `[telemetry]`: logs and self-monitoring.

use serde::{Deserialize, Serialize};

use crate::units::Span;

/// `[telemetry]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Telemetry {
    /// `auto`, `terminal` or `json`.
    pub log_format: String,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: String,
    /// Writes the node's own metrics into the cluster.
    pub self_monitoring: bool,
    /// Time between these writes.
    pub self_monitoring_interval: Span,
    /// Tenants that have lines of their own in the node's metrics; the others are counted together as `other`.
    pub metric_tenants_max: usize,
    /// Lets `POST /api/v1/admin/crash?actor=NAME` make an actor panic, for tests and game days.
    pub fault_injection: bool,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            log_format: "auto".into(),
            log_level: "info".into(),
            self_monitoring: false,
            self_monitoring_interval: Span::from_secs(15),
            metric_tenants_max: 1_000,
            fault_injection: false,
        }
    }
}
