//! Limits of tenants.

use std::collections::HashMap;
use std::sync::Arc;

use trireme_head::IngestLimits;
use trireme_model::Tenant;

/// Limits by tenant, with a default for those without an entry.
pub struct LimitsTable {
    default: Arc<IngestLimits>,
    overrides: HashMap<Tenant, Arc<IngestLimits>>,
}

impl LimitsTable {
    /// A table; every entry is complete.
    pub fn new(
        default: IngestLimits,
        overrides: impl IntoIterator<Item = (Tenant, IngestLimits)>,
    ) -> Self {
        let overrides = overrides
            .into_iter()
            .map(|(tenant, limits)| (tenant, Arc::new(limits)))
            .collect();
        Self {
            default: Arc::new(default),
            overrides,
        }
    }

    /// Limits of one tenant.
    pub fn of(&self, tenant: &Tenant) -> &Arc<IngestLimits> {
        self.overrides.get(tenant).unwrap_or(&self.default)
    }
}
