//! What queries have cost: cheap ones are not worth a round trip.

use hashbrown::HashMap;
use parking_lot::Mutex;

/// Queries that are remembered; when there are more, all are forgotten.
const QUERIES_MAX: usize = 4_096;
/// A query that reads fewer samples than this is cheap: a few milliseconds.
const CHEAP_SAMPLES: u64 = 100_000;

/// Samples that queries have read, by text and step.
#[derive(Default)]
pub(super) struct Memory(Mutex<HashMap<(String, i64), u64>>);

impl Memory {
    /// Takes note of what a query has read.
    pub(super) fn note(&self, text: &str, step_ms: i64, samples: u64) {
        let mut queries = self.0.lock();
        if queries.len() >= QUERIES_MAX {
            queries.clear();
        }
        queries.insert((text.to_owned(), step_ms), samples);
    }

    /// True if the query was cheap when it was last asked. An unknown one may be expensive.
    pub(super) fn is_cheap(&self, text: &str, step_ms: i64) -> bool {
        self.0.lock().get(&(text.to_owned(), step_ms)).is_some_and(|samples| *samples < CHEAP_SAMPLES)
    }
}
