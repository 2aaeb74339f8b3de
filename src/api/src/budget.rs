//! Memory of all requests' bodies in progress, bounded in all and for each tenant (I8, I9).

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::IntGauge;
use trireme_model::Tenant;

/// What a tenant may take of the whole, so that one that floods the node leaves room for the others.
const TENANT_SHARE: usize = 2;

#[derive(Default)]
struct Held {
    all: usize,
    /// Tenants with requests in progress, and so bounded by these.
    by_tenant: HashMap<Tenant, usize>,
}

struct Inner {
    bytes_max: usize,
    held: Mutex<Held>,
    gauge: IntGauge,
}

/// What is left of the bound.
#[derive(Clone)]
pub(crate) struct Budget(Arc<Inner>);

/// A request's part of the budget; dropping it gives it back.
pub(crate) struct Reserved {
    budget: Budget,
    tenant: Tenant,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize, gauge: IntGauge) -> Self {
        Self(Arc::new(Inner {
            bytes_max,
            held: Mutex::default(),
            gauge,
        }))
    }

    /// A reservation of nothing, to be grown.
    pub(crate) fn open(&self, tenant: &Tenant) -> Reserved {
        Reserved {
            budget: self.clone(),
            tenant: tenant.clone(),
            bytes: 0,
        }
    }

    /// Takes `bytes` more for a request that holds `mine` already.
    fn take(&self, tenant: &Tenant, mine: usize, bytes: usize) -> bool {
        let mut held = self.0.held.lock();
        let before = held.by_tenant.get(tenant).copied().unwrap_or(0);
        let of_tenant = before + bytes;
        let all = held.all + bytes;

        // A single large request must get through some time, so alone it may have more than the share.
        let is_alone = before == mine;
        if all > self.0.bytes_max || (of_tenant > self.0.bytes_max / TENANT_SHARE && !is_alone) {
            return false;
        }

        held.all = all;
        held.by_tenant.insert(tenant.clone(), of_tenant);
        self.0.gauge.add(bytes as i64);

        true
    }

    fn give_back(&self, tenant: &Tenant, bytes: usize) {
        let mut held = self.0.held.lock();
        held.all -= bytes;

        if let Some(of_tenant) = held.by_tenant.get_mut(tenant) {
            *of_tenant -= bytes;
            if *of_tenant == 0 {
                held.by_tenant.remove(tenant);
            }
        }

        self.0.gauge.sub(bytes as i64);
    }
}

impl Reserved {
    /// Makes the reservation at least `bytes` large; false, with nothing changed, if there is no room now.
    #[must_use]
    pub(crate) fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return true;
        }
        let is_taken = self.budget.take(&self.tenant, self.bytes, more);
        self.bytes += if is_taken { more } else { 0 };
        is_taken
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.give_back(&self.tenant, self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_over_the_bound_and_takes_back_what_is_dropped() {
        let gauge = IntGauge::new("g", "g").expect("valid");
        let budget = Budget::new(100, gauge.clone());
        let tenants = ["a", "b", "c"].map(|name| Tenant::new(name).expect("valid"));
        let mut first = budget.open(&tenants[0]);
        assert!(first.grow_to(30) && first.grow_to(40) && first.grow_to(10));
        assert!(
            !budget.open(&tenants[0]).grow_to(20),
            "over a tenant's share with another request"
        );

        let mut second = budget.open(&tenants[1]);
        assert!(second.grow_to(50));
        assert!(!budget.open(&tenants[2]).grow_to(20), "over the whole");

        assert_eq!(gauge.get(), 90);
        drop(first);
        drop(second);
        assert_eq!(gauge.get(), 0);

        assert!(budget.0.held.lock().by_tenant.is_empty());
    }

    #[test]
    fn one_large_request_of_a_tenant_gets_through() {
        let budget = Budget::new(100, IntGauge::new("g", "g").expect("valid"));
        let tenant = Tenant::new("a").expect("valid");
        let mut large = budget.open(&tenant);
        assert!(large.grow_to(40) && large.grow_to(90) && !large.grow_to(101));
        assert!(!budget.open(&tenant).grow_to(1));
    }
}
