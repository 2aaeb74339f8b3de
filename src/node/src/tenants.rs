//! Which tenants may write.
//!
//! Any header value could make a tenant, and each tenant takes memory in every replica. So either tenants are listed, or
//! there are at most so many at a time. One that has lost its data, or never had any, makes room for another.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use trireme_head::Shard;
use trireme_model::{RetryLater, Tenant, WriteOutcome};
use trireme_settings::{Settings, TenantCreation};

use crate::rates::Rates;

/// A tenant that finds no room is asked to come again after this.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Tenants that may write; see the module.
pub(crate) struct TenantGate {
    /// `None`: any tenant.
    listed: Option<HashSet<Tenant>>,
    /// 0: no bound.
    tenants_max: usize,
    known: Mutex<Known>,
    /// `None`: no tenant has a rate.
    rates: Option<Mutex<Rates>>,
}

#[derive(Default)]
struct Known {
    /// With data when that was last looked at, and those that came since.
    tenants: HashSet<Tenant>,
    /// Those that came since, which may not have their data yet.
    newcomers: HashSet<Tenant>,
}

impl TenantGate {
    pub(crate) fn new(settings: &Settings) -> anyhow::Result<Self> {
        let tenants = &settings.tenants;
        let names = tenants.overrides.keys().chain([&tenants.default]);
        let listed = match tenants.create {
            TenantCreation::Any => None,
            TenantCreation::Listed => Some(
                names
                    .map(|name| Tenant::new(name))
                    .collect::<Result<_, _>>()?,
            ),
        };

        let rates = Rates::new(tenants)?;
        let rates = rates.are_any().then(|| Mutex::new(rates));
        Ok(Self {
            listed,
            tenants_max: tenants.max,
            known: Mutex::default(),
            rates,
        })
    }

    /// The answer to a write of a tenant that may not, or not now (monotonic); nothing of it was stored.
    pub(crate) fn refuse(
        &self,
        tenant: &Tenant,
        items: u64,
        now: Duration,
    ) -> Option<WriteOutcome> {
        self.refuse_newcomer(tenant, items).or_else(|| {
            let limited = Some(self.rates.as_ref()?.lock().take(tenant, items, now)?);
            Some(WriteOutcome {
                limited,
                ..WriteOutcome::default()
            })
        })
    }

    fn refuse_newcomer(&self, tenant: &Tenant, items: u64) -> Option<WriteOutcome> {
        if self
            .listed
            .as_ref()
            .is_some_and(|listed| !listed.contains(tenant))
        {
            let mut outcome = WriteOutcome::default();
            outcome
                .rejections
                .add("tenant_not_listed", items.max(1), || {
                    format!(
                        "{tenant} is not listed in tenants.overrides (tenants.create is \"listed\")"
                    )
                });
            return Some(outcome);
        }

        let mut known = self.known.lock();
        if known.tenants.contains(tenant) {
            return None;
        }

        if self.tenants_max > 0 && known.tenants.len() >= self.tenants_max {
            let message = format!(
                "{tenant} is new, and there are {} tenants, as many as may be (tenants.max)",
                known.tenants.len()
            );
            let limited = Some(RetryLater {
                message,
                after: RETRY_AFTER,
            });
            return Some(WriteOutcome {
                limited,
                ..WriteOutcome::default()
            });
        }

        known.tenants.insert(tenant.clone());
        known.newcomers.insert(tenant.clone());
        None
    }

    /// Forgets tenants without data. Those that came since the last look stay until the next one.
    pub(crate) fn look(&self, shards: &[Arc<Shard>], now: Duration) {
        if let Some(rates) = &self.rates {
            rates.lock().look(now);
        }

        let mut with_data: HashSet<Tenant> = HashSet::new();
        for shard in shards {
            with_data.extend(shard.tenants_with_data());
        }

        let mut known = self.known.lock();
        let newcomers = std::mem::take(&mut known.newcomers);
        with_data.extend(newcomers);
        known.tenants = with_data;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> Tenant {
        Tenant::new(name).expect("a valid name")
    }

    #[test]
    fn a_new_tenant_is_told_to_come_later_when_there_is_no_room() {
        let mut settings = Settings::default();
        settings.tenants.max = 2;
        let gate = TenantGate::new(&settings).expect("valid");
        assert!(
            gate.refuse(&tenant("a"), 1, Duration::ZERO).is_none()
                && gate.refuse(&tenant("b"), 1, Duration::ZERO).is_none()
        );

        let refused = gate
            .refuse(&tenant("c"), 1, Duration::ZERO)
            .expect("no room");
        assert!(
            refused
                .limited
                .is_some_and(|later| later.message.contains("tenants.max"))
        );

        assert!(
            gate.refuse(&tenant("a"), 1, Duration::ZERO).is_none(),
            "who is known goes on"
        );

        // Neither has data: the first look leaves them time to get some, the next one makes room.
        gate.look(&[], Duration::ZERO);
        assert!(gate.refuse(&tenant("c"), 1, Duration::ZERO).is_some());

        gate.look(&[], Duration::ZERO);
        assert!(gate.refuse(&tenant("c"), 1, Duration::ZERO).is_none());
    }

    #[test]
    fn only_listed_tenants_and_the_default_one_write_if_so_set() {
        let mut settings = Settings::default();
        settings.tenants.create = TenantCreation::Listed;
        settings
            .tenants
            .overrides
            .insert("team-a".to_owned(), Default::default());

        let gate = TenantGate::new(&settings).expect("valid");
        assert!(gate.refuse(&tenant("team-a"), 1, Duration::ZERO).is_none());
        assert!(
            gate.refuse(&tenant("default-tenant"), 1, Duration::ZERO)
                .is_none()
        );

        let refused = gate
            .refuse(&tenant("typo"), 3, Duration::ZERO)
            .expect("not listed");

        assert_eq!(refused.rejections.total(), 3);
    }
}
