//! The newest sample of each tenant, over all shards of a node.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;

/// The newest sample time (ms) of one tenant; `i64::MIN` while it has none.
#[derive(Debug)]
pub(crate) struct Newest(AtomicI64);

impl Newest {
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// There is a sample of this time.
    pub fn note(&self, t: i64) {
        if t > self.get() {
            self.0.fetch_max(t, Ordering::Relaxed);
        }
    }
}

/// Shared by the shards of a node, so that the age of a sample is judged alike whichever shard its series falls to.
#[derive(Debug, Default)]
pub struct TenantTimes(Mutex<HashMap<String, Arc<Newest>>>);

impl TenantTimes {
    pub(crate) fn of(&self, tenant: &str) -> Arc<Newest> {
        let mut tenants = self.0.lock();
        if let Some(known) = tenants.get(tenant) {
            return Arc::clone(known);
        }

        if tenants.len() == tenants.capacity() {
            // Those that every shard has forgotten.
            tenants.retain(|_, newest| Arc::strong_count(newest) > 1);
        }

        let new = Arc::new(Newest(AtomicI64::new(i64::MIN)));
        tenants.insert(tenant.to_owned(), Arc::clone(&new));
        new
    }
}
