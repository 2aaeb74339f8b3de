//! Two tenants that write through a number of whole windows.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use trireme_integration::{Client, SampleSet, Series, now_ms, until_for};

/// The tenants.
pub const TENANTS: [&str; 2] = ["team-a", "team-b"];

/// What was written and acknowledged.
pub struct Written {
    /// Start of the first whole window, in milliseconds.
    pub start: i64,
    /// End of the last whole window.
    pub end: i64,
    by_tenant: BTreeMap<&'static str, SampleSet>,
}

impl Written {
    /// Samples of a tenant, those before and after the whole windows included.
    pub fn of(&self, tenant: &str) -> &SampleSet {
        &self.by_tenant[tenant]
    }
}

/// Writes every fifth of a second to all nodes in turn until `windows` whole windows lie behind.
pub async fn write_through_windows(
    clients: &[Client],
    window_seconds: u64,
    windows: i64,
) -> anyhow::Result<Written> {
    let window_ms = window_seconds as i64 * 1_000;
    let start = (now_ms() / window_ms + 1) * window_ms;
    let end = start + windows * window_ms;
    let mut by_tenant: BTreeMap<&'static str, SampleSet> = TENANTS
        .iter()
        .map(|tenant| (*tenant, SampleSet::default()))
        .collect();

    let bound = Duration::from_millis((end - now_ms()) as u64 + 60_000);
    for count in 0_u32.. {
        // Never on a tenth of a second; see where answers are compared.
        let at = now_ms() / 10 * 10 + 7;
        if at >= end + window_ms / 2 {
            break;
        }

        for (t, tenant) in TENANTS.into_iter().enumerate() {
            let series = series(at, count, t + 1);
            let client = &clients[(count as usize + t) % clients.len()];
            client
                .write_as(tenant, &series)
                .await?
                .success()
                .with_context(|| format!("write of {tenant}"))?;
            let set = by_tenant.entry(tenant).or_default();
            series.iter().for_each(|series| series.add_to(set));
        }

        until_for("the next fifth of a second", bound, async || {
            anyhow::ensure!(now_ms() >= at + 200, "time runs");
            Ok(())
        })
        .await?;
    }

    Ok(Written {
        start,
        end,
        by_tenant,
    })
}

/// Gauges, counters with resets, a histogram, and every kind of float a block has to keep.
fn series(at: i64, count: u32, scale: usize) -> Vec<Series> {
    let mut all = Vec::new();
    for i in 0..20 * scale {
        let number = i.to_string();
        let parity = if i % 2 == 0 { "even" } else { "odd" };
        let labels = [
            ("i", number.as_str()),
            ("parity", parity),
            ("text", "a \"quoted\" \\ word, ü"),
        ];

        let gauge = (f64::from(count) * 0.7 + i as f64).sin() * 1e3;
        all.push(Series::new("block_test", &labels, &[(at, gauge)]));
        all.push(Series::new(
            "block_test_total",
            &labels,
            &[(at, f64::from(count % 40) * (i + 1) as f64)],
        ));
    }

    for (bound, part) in [("0.1", 0.2), ("1", 0.7), ("+Inf", 1.0)] {
        let observed = (f64::from(count) * 10.0 * part).floor();
        all.push(Series::new(
            "block_test_bucket",
            &[("le", bound)],
            &[(at, observed)],
        ));
    }

    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let odd = [
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        -0.0,
        f64::MIN_POSITIVE,
        f64::MAX,
        stale,
        1.5,
    ];

    all.push(Series::new(
        "odd_floats",
        &[],
        &[(at, odd[count as usize % odd.len()])],
    ));

    all
}
