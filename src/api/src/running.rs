//! Queries in progress: shown and canceled through `status/queries`.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use trireme_promql::Cancel;

/// Most queries that are listed; more run, but are not shown.
const LISTED_MAX: usize = 10_000;
/// Longest part of a query's text that is kept.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// One query in progress.
#[derive(Clone)]
pub(crate) struct Query {
    pub(crate) tenant: String,
    pub(crate) text: String,
    pub(crate) started_ms: i64,
    cancel: Cancel,
}

#[derive(Default)]
struct Table {
    next: u64,
    queries: BTreeMap<u64, Query>,
}

/// The table of queries in progress; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Running(Arc<Mutex<Table>>);

/// A place in the table. Dropping it cancels the query, so a client that goes away ends its work.
pub(crate) struct Entry {
    running: Running,
    id: u64,
    cancel: Cancel,
}

impl Running {
    pub(crate) fn enter(&self, tenant: &str, text: &str, started_ms: i64, cancel: Cancel) -> Entry {
        let mut table = self.0.lock();
        table.next += 1;

        let id = table.next;
        if table.queries.len() < LISTED_MAX {
            let end = (0..=text.len().min(TEXT_BYTES_MAX))
                .rev()
                .find(|i| text.is_char_boundary(*i))
                .unwrap_or(0);
            let tenant = tenant.to_owned();
            let text = text[..end].to_owned();

            table.queries.insert(
                id,
                Query {
                    tenant,
                    text,
                    started_ms,
                    cancel: cancel.clone(),
                },
            );
        }

        Entry {
            running: self.clone(),
            id,
            cancel,
        }
    }

    /// Queries of one tenant, oldest first.
    pub(crate) fn of(&self, tenant: &str) -> Vec<(u64, Query)> {
        let table = self.0.lock();
        table
            .queries
            .iter()
            .filter(|(_, q)| q.tenant == tenant)
            .map(|(id, q)| (*id, q.clone()))
            .collect()
    }

    /// Cancels one query of a tenant; false if there is none with this number.
    pub(crate) fn cancel(&self, tenant: &str, id: u64) -> bool {
        let table = self.0.lock();
        let query = table.queries.get(&id).filter(|q| q.tenant == tenant);
        query.inspect(|q| q.cancel.cancel()).is_some()
    }
}

impl Entry {
    /// The query's text; empty if the table had no room for it.
    pub(crate) fn text(&self) -> String {
        self.running
            .0
            .lock()
            .queries
            .get(&self.id)
            .map(|query| query.text.clone())
            .unwrap_or_default()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.running.0.lock().queries.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_canceled_by_its_number_and_by_its_client() {
        let running = Running::default();
        let a = Cancel::never();
        let b = Cancel::never();
        let first = running.enter("t", "up", 1, a.clone());
        let second = running.enter("t", "down", 2, b.clone());
        let id = running.of("t")[0].0;
        assert!(!running.cancel("other", id) && a.check().is_ok());

        assert!(running.cancel("t", id) && a.check().is_err());
        drop(second);
        assert!(b.check().is_err());

        drop(first);
        assert!(running.of("t").is_empty());
    }
}
