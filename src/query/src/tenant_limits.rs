//! What the queries of one tenant may take, beside the bounds that hold for all tenants.

use std::collections::HashMap;
use std::time::Duration;

use trireme_base::ErrorKind;
use trireme_model::Tenant;
use trireme_promql::format_duration;

use crate::QueryError;

/// Limits of a tenant; 0 means that it has only those of all tenants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantLimits {
    /// Samples that a query may hold (`query_samples_max`).
    pub samples_max: usize,
    /// Queries, and streams, at the same time (`query_concurrency_max`).
    pub places_max: usize,
    /// From the first to the last step of a range query (`query_range_max`).
    pub range_max: Duration,
}

impl TenantLimits {
    /// Refuses a range that is too long.
    pub fn check_range(&self, start_ms: i64, end_ms: i64) -> Result<(), QueryError> {
        let max_ms = i64::try_from(self.range_max.as_millis()).unwrap_or(i64::MAX);
        let range_ms = end_ms.saturating_sub(start_ms);
        if max_ms == 0 || range_ms <= max_ms {
            return Ok(());
        }

        let range = format_duration(range_ms);
        let max = format_duration(max_ms);
        let why = format!(
            "the query has a time range of {range}, this tenant's may have {max} (query_range_max of \
             tenants.limits, or of its entry in tenants.overrides)"
        );

        Err(QueryError::new(ErrorKind::TooLarge, why))
    }
}

/// The limits of all tenants.
#[derive(Clone, Debug, Default)]
pub struct TenantLimitsTable {
    of_others: TenantLimits,
    overrides: HashMap<Tenant, TenantLimits>,
}

impl TenantLimitsTable {
    /// Limits of those that have none of their own, and of those that have.
    pub fn new(
        of_others: TenantLimits,
        overrides: impl IntoIterator<Item = (Tenant, TenantLimits)>,
    ) -> Self {
        Self {
            of_others,
            overrides: overrides.into_iter().collect(),
        }
    }

    /// What holds for a tenant.
    pub fn of(&self, tenant: &Tenant) -> TenantLimits {
        self.overrides
            .get(tenant)
            .copied()
            .unwrap_or(self.of_others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_refused_when_it_is_longer_than_the_tenants() {
        let day = Duration::from_secs(86_400);
        let limits = TenantLimits {
            range_max: day,
            ..TenantLimits::default()
        };

        assert_eq!(limits.check_range(1_000, 86_401_000), Ok(()));
        let error = limits
            .check_range(1_000, 86_401_001)
            .expect_err("a millisecond too long");

        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert_eq!(
            TenantLimits::default().check_range(i64::MIN, i64::MAX),
            Ok(())
        );
    }
}
