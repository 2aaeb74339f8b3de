//! Panics go to the log like everything else, with their place.

use std::panic::PanicHookInfo;
use std::sync::Once;
use std::time::Duration;

use slog::{Logger, crit};
use trireme_head::PanicPoint;
use trireme_model::Tenant;

/// Status of a process that ended because a shard was half changed; a supervisor of processes starts it again.
const HALF_CHANGED: i32 = 70;
/// The thread of the logger writes what was logged until then.
const LOG_PAUSE: Duration = Duration::from_millis(200);
/// For tests: in which change a process is to panic, `ingest:TENANT` or `apply:TENANT`.
const PANIC_FOR_TEST: &str = "TEST_PANIC_IN_TRIREME";

/// Sends panics to `log` from now on; only the first call in a process has an effect.
pub(crate) fn log_panics(log: &Logger) {
    static ONCE: Once = Once::new();

    let log = log.clone();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            let reason = info.payload_as_str().unwrap_or("no message");
            let place = info.location().map_or_else(String::new, |at| format!("{}:{}", at.file(), at.line()));
            let thread = std::thread::current();
            crit!(log, "panic"; "reason" => reason, "at" => place, "thread" => thread.name().unwrap_or(""));
        }));
    });
}

/// Ends the process, as a power cut would: a panic left a shard half changed, so nothing of it may be read, cut or saved.
/// What was acknowledged is in the log, and the next start builds the shard from it.
pub(crate) fn end_process(_shard: u16) {
    #[allow(clippy::disallowed_methods)]
    // the process ends, and the log is written by another thread
    std::thread::sleep(LOG_PAUSE);
    std::process::exit(HALF_CHANGED);
}

/// The change in which a test wants this process to panic; never in a build for users.
pub(crate) fn wanted_by_test() -> Option<(PanicPoint, Tenant)> {
    if !cfg!(debug_assertions) {
        return None;
    }

    let text = std::env::var(PANIC_FOR_TEST).ok()?;
    let (point, tenant) = text.split_once(':')?;
    let point = match point {
        "ingest" => PanicPoint::Ingest,
        "apply" => PanicPoint::Apply,
        _ => return None,
    };

    Some((point, Tenant::new(tenant).ok()?))
}
