//! What queries have cost: cheap ones are not worth a round trip.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap};
use parking_lot::Mutex;
use trireme_model::Tenant;

/// Queries that are remembered; when there are more, all are forgotten.
const QUERIES_MAX: usize = 4_096;
/// A query that reads fewer samples than this is cheap: a few milliseconds.
const CHEAP_SAMPLES: u64 = 100_000;

/// A query as far as its cost goes: its tenant's data, and about how long a time it covers.
#[derive(Clone, Copy, Hash)]
pub(super) struct Asked<'a> {
    pub(super) tenant: &'a Tenant,
    pub(super) text: &'a str,
    pub(super) step_ms: i64,
    /// From the first step to the last (ms).
    pub(super) span_ms: i64,
}

/// Samples that queries have read. Texts may be long, so only hashes of them are kept; a wrong guess costs a round trip,
/// or spares one that would have been worth it.
#[derive(Default)]
pub(super) struct CostHistory {
    samples: Mutex<HashMap<u64, u64>>,
    hasher: DefaultHashBuilder,
}

impl CostHistory {
    /// Takes note of what a query has read.
    pub(super) fn note(&self, asked: Asked<'_>, samples: u64) {
        let key = self.key(asked);
        let mut queries = self.samples.lock();
        if queries.len() >= QUERIES_MAX {
            queries.clear();
        }
        queries.insert(key, samples);
    }

    /// True if the query was cheap when it was last asked. An unknown one may be expensive.
    pub(super) fn is_cheap(&self, asked: Asked<'_>) -> bool {
        let key = self.key(asked);
        self.samples
            .lock()
            .get(&key)
            .is_some_and(|samples| *samples < CHEAP_SAMPLES)
    }

    /// A panel that moves on with the time keeps its key; the same panel over a month has another than over an hour.
    fn key(&self, asked: Asked<'_>) -> u64 {
        let magnitude = i64::from(asked.span_ms.max(1).ilog2());
        self.hasher.hash_one(Asked {
            span_ms: magnitude,
            ..asked
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_known_by_its_tenant_text_step_and_length() {
        let one = Tenant::new("one").expect("valid");
        let other = Tenant::new("other").expect("valid");
        let hour = Asked {
            tenant: &one,
            text: "up",
            step_ms: 15_000,
            span_ms: 3_600_000,
        };

        let memory = CostHistory::default();
        assert!(!memory.is_cheap(hour), "unknown");
        memory.note(hour, 10);

        assert!(
            memory.is_cheap(hour)
                && memory.is_cheap(Asked {
                    span_ms: 3_601_000,
                    ..hour
                })
        );

        assert!(!memory.is_cheap(Asked {
            span_ms: 30 * 86_400_000,
            ..hour
        }));
        assert!(!memory.is_cheap(Asked {
            tenant: &other,
            ..hour
        }));

        assert!(!memory.is_cheap(Asked {
            text: "down",
            ..hour
        }));

        memory.note(hour, 1_000_000);
        assert!(!memory.is_cheap(hour));
    }
}
