//! Requests counted for a node that wants to leave: it may go when nobody comes any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the requests of clients; clones share the count. Probes and scrapes are no clients.
#[derive(Debug, Clone, Default)]
pub struct Traffic(Arc<AtomicU64>);

impl Traffic {
    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn note(&self, path: &str) {
        let is_probe =
            path.starts_with("/-/") || path == "/metrics" || path.starts_with("/api/v1/admin/");
        if !is_probe {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_do_not_hold_a_node_up() {
        let traffic = Traffic::default();
        for path in ["/-/ready", "/-/healthy", "/metrics", "/api/v1/admin/drain"] {
            traffic.note(path);
        }
        assert_eq!(traffic.requests(), 0);
        traffic.clone().note("/api/v1/write");
        assert_eq!(traffic.requests(), 1);
    }
}
