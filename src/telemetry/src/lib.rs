//! Logs, metrics and build information.
//!
//! A logger is a constructor argument, derived per actor; a metric is a field of the struct that counts. Nothing
//! here is global, so that two nodes fit in one test process.

mod build;
mod logging;
mod metrics;

pub use build::{BuildInfo, build_info};
pub use logging::{LogFormat, LogLevel, discard_logger, logger};
pub use metrics::{Metrics, MetricsError};
