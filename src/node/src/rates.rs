//! How fast each tenant may write.
//!
//! A bucket of samples by tenant: it fills with time, and each request takes its samples out. A request is let in as a
//! whole while there is anything in the bucket, so that one larger than the bucket is only late and not refused for ever.

use std::collections::HashMap;
use std::time::Duration;

use trireme_model::{RetryLater, Tenant};
use trireme_settings::{Limits, Tenants};

/// No sender is asked to wait for longer.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Senders count in seconds.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// What a tenant may write.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rate {
    per_second: u64,
    burst: u64,
}

impl Rate {
    /// `None` if there is no bound.
    fn of(limits: &Limits) -> Option<Rate> {
        let per_second = limits.samples_per_second;
        let burst = limits.samples_burst.max(per_second);
        (per_second > 0).then_some(Rate { per_second, burst })
    }
}

/// What is left of it; below nothing after a request that was larger than what there was.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    samples: f64,
    at: Duration,
}

impl Bucket {
    fn full(rate: Rate, now: Duration) -> Bucket {
        Bucket {
            samples: rate.burst as f64,
            at: now,
        }
    }

    /// The same at a later time.
    fn filled(self, rate: Rate, now: Duration) -> Bucket {
        let more = now.saturating_sub(self.at).as_secs_f64() * rate.per_second as f64;
        Bucket {
            samples: (self.samples + more).min(rate.burst as f64),
            at: now,
        }
    }
}

/// The rates of all tenants, and how much of them is used.
pub(crate) struct Rates {
    of_all: Option<Rate>,
    overrides: HashMap<Tenant, Option<Rate>>,
    /// Of tenants with a rate that wrote.
    buckets: HashMap<Tenant, Bucket>,
}

impl Rates {
    pub(crate) fn new(tenants: &Tenants) -> anyhow::Result<Rates> {
        let mut overrides = HashMap::new();
        for (name, over) in &tenants.overrides {
            overrides.insert(Tenant::new(name)?, Rate::of(&over.over(&tenants.limits)));
        }

        Ok(Rates {
            of_all: Rate::of(&tenants.limits),
            overrides,
            buckets: HashMap::new(),
        })
    }

    /// False if nobody has a rate.
    pub(crate) fn are_any(&self) -> bool {
        self.of_all.is_some() || self.overrides.values().any(Option::is_some)
    }

    /// Takes `samples` out of the bucket of `tenant`, or says when to come again. `now` is monotonic.
    pub(crate) fn take(
        &mut self,
        tenant: &Tenant,
        samples: u64,
        now: Duration,
    ) -> Option<RetryLater> {
        let rate = rate_of(&self.overrides, self.of_all, tenant)?;
        let bucket = self
            .buckets
            .entry(tenant.clone())
            .or_insert(Bucket::full(rate, now));

        *bucket = bucket.filled(rate, now);

        if bucket.samples > 0.0 {
            bucket.samples -= samples as f64;
            return None;
        }

        let wait = -bucket.samples / rate.per_second as f64;
        let wait = Duration::from_secs_f64(wait.min(WAIT_MAX.as_secs_f64()));
        let message = format!(
            "{tenant} writes more than samples_per_second={} (tenants.limits, or its entry in tenants.overrides)",
            rate.per_second
        );

        Some(RetryLater {
            message,
            after: wait.clamp(WAIT_MIN, WAIT_MAX),
        })
    }

    /// Forgets tenants whose bucket has long been full.
    pub(crate) fn look(&mut self, now: Duration) {
        let overrides = &self.overrides;
        let of_all = self.of_all;
        self.buckets.retain(|tenant, bucket| {
            let rate = rate_of(overrides, of_all, tenant);
            rate.is_some_and(|rate| bucket.filled(rate, now).samples < rate.burst as f64)
        });
    }
}

/// The rate of a tenant: its own, or that of all.
fn rate_of(
    overrides: &HashMap<Tenant, Option<Rate>>,
    of_all: Option<Rate>,
    tenant: &Tenant,
) -> Option<Rate> {
    overrides.get(tenant).copied().unwrap_or(of_all)
}

#[cfg(test)]
mod tests {
    use trireme_settings::LimitsOverride;

    use super::*;

    fn rates() -> Rates {
        let mut tenants = Tenants::default();
        tenants.limits.samples_per_second = 100;
        tenants.limits.samples_burst = 300;

        let free = LimitsOverride {
            samples_per_second: Some(0),
            ..LimitsOverride::default()
        };

        tenants.overrides.insert("free".to_owned(), free);
        Rates::new(&tenants).expect("valid")
    }

    fn tenant(name: &str) -> Tenant {
        Tenant::new(name).expect("a valid name")
    }

    #[test]
    fn what_passes_in_an_hour_is_the_rate_and_one_burst() {
        let mut rates = rates();
        let a = tenant("a");
        let passed = (0..36_000u64).filter(|tick| {
            let now = Duration::from_millis(tick * 100);
            rates.take(&a, 30, now).is_none()
        });
        let passed = passed.count() * 30;
        assert!((360_000..=360_000 + 300 + 30).contains(&passed), "{passed}");
    }

    #[test]
    fn a_request_larger_than_the_burst_passes_and_is_waited_for() {
        let mut rates = rates();
        let a = tenant("a");
        assert!(rates.take(&a, 1_300, Duration::ZERO).is_none());

        let later = rates.take(&a, 1, Duration::ZERO).expect("over its rate");
        assert_eq!(later.after, Duration::from_secs(10));
        assert!(
            later.message.contains("samples_per_second=100"),
            "{}",
            later.message
        );

        assert!(rates.take(&a, 1, Duration::from_secs(9)).is_some());
        assert!(rates.take(&a, 1, Duration::from_secs(11)).is_none());
    }

    #[test]
    fn each_tenant_has_its_own_rate() {
        let mut rates = rates();
        let a = tenant("a");
        let b = tenant("b");
        let free = tenant("free");
        assert!(rates.take(&a, 1_000, Duration::ZERO).is_none());
        assert!(rates.take(&b, 1, Duration::ZERO).is_none());

        for _ in 0..100 {
            assert!(rates.take(&free, 1_000_000, Duration::ZERO).is_none());
        }
    }

    #[test]
    fn a_full_bucket_is_forgotten() {
        let mut rates = rates();
        let a = tenant("a");
        assert!(rates.take(&a, 400, Duration::ZERO).is_none());
        rates.look(Duration::from_secs(3));
        assert_eq!(rates.buckets.len(), 1);
        rates.look(Duration::from_secs(4));
        assert!(rates.buckets.is_empty());
    }
}
