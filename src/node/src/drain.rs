//! The first step of a stop: clients move to other nodes, and none of their requests fails.
//!
//! The node says that it is not ready, ends each connection with an answer, and goes on doing what it is asked, until
//! nobody asks any more or the time is over. A balancer that looks at `/-/ready` has left by then; a sender with a list
//! of nodes has, too.

use std::sync::Arc;
use std::time::Duration;

use trireme_api::Traffic;
use trireme_base::Clock;
use trireme_storage::{Gate, GateState};

/// So long without a request, and the clients are gone.
const QUIET: Duration = Duration::from_secs(1);
/// Between two looks at the count of requests.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Drains the node for at most `longest`; true if it became quiet. A node that takes no writes is not waited for.
pub(crate) async fn until_quiet(
    gate: Arc<Gate>,
    traffic: Traffic,
    clock: Arc<dyn Clock>,
    longest: Duration,
) -> bool {
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    if !gate.set(GateState::Draining) {
        return true;
    }

    let mut seen = traffic.requests();
    let mut since = clock.monotonic();
    let mut now = since;
    let end = since + longest;

    while now < end {
        tokio::time::sleep(LOOK_EVERY).await;
        now = clock.monotonic();
        let requests = traffic.requests();
        if requests != seen {
            seen = requests;
            since = now;
        }
        if now.saturating_sub(since) >= QUIET {
            return true;
        }
    }

    false
}
