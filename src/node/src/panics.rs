//! Panics go to the log like everything else, with their place.

use std::panic::PanicHookInfo;
use std::sync::Once;

use slog::{Logger, crit};

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
