//! What the process has used.

use std::time::Duration;

/// CPU time of the process.
pub fn cpu() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// Resident bytes of the process.
pub fn rss() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("linux");
    statm
        .split_whitespace()
        .nth(1)
        .and_then(|p| p.parse::<u64>().ok())
        .expect("pages")
        * 4_096
}
