//! Logs, metrics and build information.
//!
//! [`logger`] makes the root logger in the form that the settings name, [`Metrics`] is the registry behind `/metrics`,
//! [`build_info`] says what was built from what.
//!
//! A logger is a constructor argument, derived per actor; a metric is a field of the struct that counts. Nothing
//! here is global, so that two nodes fit in one test process. Messages of the log are constant, what varies is a value
//! with a key. A metric is registered once, with its help; a second one of that name is an error at the start.

mod build;
mod logging;
mod metrics;

pub use build::{BuildInfo, build_info};
pub use logging::{LogFormat, LogLevel, discard_logger, logger};
pub use metrics::{Metrics, MetricsError};
