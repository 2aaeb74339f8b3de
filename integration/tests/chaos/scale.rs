//! How large and how long the scenarios are.

use std::time::Duration;

use trireme_integration::{Plan, Route};

/// True for the long forms.
pub fn is_full() -> bool {
    std::env::var("TRIREME_CHAOS").as_deref() == Ok("full")
}

/// The first for the short forms, the second for the long ones.
pub fn either<T>(short: T, full: T) -> T {
    if is_full() { full } else { short }
}

/// The load: a few thousand samples a second, or 200,000 series with 50,000 samples a second.
pub fn plan(route: Route) -> Plan {
    let (senders, series, every_ms) = either((6, 50, 100), (100, 2_000, 4_000));
    Plan {
        senders,
        series,
        every: Duration::from_millis(every_ms),
        route,
        attempt_timeout: Duration::from_secs(5),
        ..Plan::default()
    }
}

/// Waits while faults are in force or after them.
pub async fn pass(short_ms: u64, full_ms: u64) {
    tokio::time::sleep(Duration::from_millis(either(short_ms, full_ms))).await;
}
