//! What every queue tells about itself.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge};

/// Depth, wait and refusals of one port. The owner registers them under the port's name.
#[derive(Clone)]
pub struct PortMetrics {
    /// Messages queued or being worked on.
    pub depth: IntGauge,
    /// Seconds between sending and the start of the work.
    pub wait: Histogram,
    /// Messages refused because the queue was full.
    pub rejected: IntCounter,
}

impl PortMetrics {
    /// Metrics that no registry shows, for tests.
    pub fn unregistered() -> Self {
        let fresh = "BUG: constant metric options are valid";
        Self {
            depth: IntGauge::new("depth", "Depth.").expect(fresh),
            wait: Histogram::with_opts(HistogramOpts::new("wait", "Wait.")).expect(fresh),
            rejected: IntCounter::new("rejected", "Rejected.").expect(fresh),
        }
    }
}
