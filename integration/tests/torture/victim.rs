//! A node under attack, and a tenant of it that does nothing wrong.

use std::time::Duration;

use anyhow::{Context, ensure};
use trireme_integration::{Audit, Client, Group, GroupBuilder, Plan, Route, Senders, until};

/// True for the sizes of `scripts/torture`.
pub fn is_full() -> bool {
    std::env::var("TRIREME_TORTURE").as_deref() == Ok("full")
}

/// The first for short runs, the second for full ones.
pub fn either<T>(short: T, full: T) -> T {
    if is_full() { full } else { short }
}

/// The innocent tenant.
const TENANT: &str = "innocent";

/// A node, and senders of an innocent tenant that run all the time.
pub struct Victim {
    group: Group,
    senders: Senders,
}

impl Victim {
    /// Starts a single node and the senders.
    pub async fn start(change: impl FnOnce(GroupBuilder) -> GroupBuilder) -> anyhow::Result<Self> {
        let group = change(Group::of(1)).start().await?;
        let plan = Plan {
            senders: 2,
            series: 100,
            every: Duration::from_millis(100),
            route: Route::Home,
            tenants: vec![TENANT.to_owned()],
            attempt_timeout: Duration::from_secs(20),
        };

        let senders = Senders::start(&group.clients(), &plan);
        let victim = Self { group, senders };
        victim.innocent_goes_on().await?;

        Ok(victim)
    }

    /// Client of the node.
    pub fn client(&self) -> &Client {
        self.group.client(0)
    }

    /// Waits until the innocent tenant's writes are acknowledged.
    pub async fn innocent_goes_on(&self) -> anyhow::Result<()> {
        let before = self.senders.totals().await.acknowledged;
        until(
            "the innocent tenant's writes are acknowledged",
            async || {
                ensure!(
                    self.senders.totals().await.acknowledged >= before + 5,
                    "not yet"
                );
                Ok(())
            },
        )
        .await
    }

    /// Resident memory of the process.
    pub async fn resident_bytes(&self) -> anyhow::Result<f64> {
        self.client().metric("process_resident_memory_bytes").await
    }

    /// Demands that memory is below `megabytes`, and says how much it is.
    pub async fn stays_below(&self, megabytes: u64) -> anyhow::Result<()> {
        let resident = self.resident_bytes().await? / f64::from(1 << 20);
        println!("resident after the attack: {resident:.0} MiB of at most {megabytes}");
        ensure!(
            resident < megabytes as f64,
            "{resident:.0} MiB resident, at most {megabytes} are possible"
        );
        Ok(())
    }

    /// The innocent tenant was never refused anything, and everything of it is there.
    pub async fn finish(self) -> anyhow::Result<()> {
        self.innocent_goes_on().await?;
        let (histories, totals) = self.senders.stop().await?;
        ensure!(
            totals.failed_rounds == 0 && totals.rejected == 0,
            "the innocent tenant suffered: {totals:?}"
        );

        let slowest = histories
            .iter()
            .flat_map(|h| &h.requests)
            .map(|r| r.latency_ms)
            .max();

        println!(
            "{} writes of the innocent tenant, the slowest took {slowest:?} ms",
            totals.acknowledged
        );
        Audit::of(self.group.client(0), &histories, 0, false)
            .await?
            .clean()
            .context("the innocent tenant")?;

        self.group.stop().await
    }
}
