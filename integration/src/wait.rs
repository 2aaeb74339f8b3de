//! Waiting for conditions, never for time alone.

use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep};
use trireme_base::{Clock, SystemClock};

/// How long a condition may take unless a test knows better: long enough for a busy two-core machine.
const BOUND: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Milliseconds since the epoch by this machine's clock.
pub fn now_ms() -> i64 {
    SystemClock::new().now_ms()
}

/// Waits until `look` answers `Ok(value)`, at most a minute; the error names `what` and the last reason.
pub async fn until<T>(
    what: &str,
    look: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    until_for(what, BOUND, look).await
}

/// As [`until`], with a bound of its own.
pub async fn until_for<T>(
    what: &str,
    bound: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let end = Instant::now() + bound;
    loop {
        let last = match look().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if Instant::now() >= end {
            bail!(
                "not within {} s: {what}; last seen: {last:#}",
                bound.as_secs()
            );
        }
        sleep(LOOK_EVERY).await;
    }
}
