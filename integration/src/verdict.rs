//! What a test may leave out, and how long the long ones run.

use std::io::Write;

/// Says plainly that a test is left out and why. In CI that is a failure: there, everything has to run.
///
/// The line goes to the real standard error, past the test harness's capture, and to the file named by
/// `TRIREME_LEFT_OUT`, from which `scripts/test` prints its summary.
pub fn left_out(test: &str, reason: &str) {
    let line = format!("LEFT OUT: {test}: {reason}\n");
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{line}in CI no test may be left out"
    );

    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("TRIREME_LEFT_OUT") {
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path);
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}

/// Seconds a real sender runs: `TRIREME_SENDER_SECONDS`, or `default`.
pub fn seconds(default: u64) -> u64 {
    number("TRIREME_SENDER_SECONDS", default)
}

/// Rounds of a test with faults: `TRIREME_ROUNDS`, or `default`.
pub fn rounds(default: u64) -> u64 {
    number("TRIREME_ROUNDS", default)
}

/// Rounds of a loop of crashes: `TRIREME_CRASH_ROUNDS`, or `default`.
pub fn crash_rounds(default: u64) -> u64 {
    number("TRIREME_CRASH_ROUNDS", default)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}
