//! How the parts of a simulated node are set: everything small, so that every bound is met within a minute.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use trireme_base::pool::CpuPool;
use trireme_head::IngestLimits;
use trireme_log::LogOptions;
use trireme_replication::LinkConfig;
use trireme_storage::Windows;

use super::Start;

/// Shards of every node.
pub const SHARDS: u16 = 2;
/// Length of a window (ms).
pub const WINDOW_MS: i64 = 20_000;
/// How long a window stays open after its end (ms).
pub const GRACE_MS: i64 = 2_000;
/// Both.
pub const WINDOWS: Windows = Windows {
    window_ms: WINDOW_MS,
    grace_ms: GRACE_MS,
};
/// How long a write may wait for its quorum.
pub(super) const ACK_TIMEOUT: Duration = Duration::from_secs(4);
/// Writes that may wait for their quorum.
pub(super) const WAITERS_MAX: usize = 1_000;
/// File of the cut manifest.
pub(super) const MANIFEST: &str = "head/cut";

/// The pool that the store wants; simulated reads do not go through it.
pub(super) fn pool() -> anyhow::Result<Arc<CpuPool>> {
    static POOL: OnceLock<Arc<CpuPool>> = OnceLock::new();
    if let Some(pool) = POOL.get() {
        return Ok(Arc::clone(pool));
    }
    let made = Arc::new(CpuPool::new("simulation", 1, 1)?);
    Ok(Arc::clone(POOL.get_or_init(|| made)))
}

pub(super) fn link_config() -> LinkConfig {
    LinkConfig {
        window_bytes: 4_000,
        other_window_bytes: 4_000,
        frame_bytes: 1_200,
        read_bytes: 2_000,
        fresh_bytes: 2_000,
        sending_bytes: 3_000,
        ..LinkConfig::default()
    }
}

/// Bounds of all tenants.
pub(super) fn limits() -> IngestLimits {
    IngestLimits {
        out_of_order_window_ms: 86_400_000,
        ..IngestLimits::default()
    }
}

/// How the log of a node behaves.
pub(super) fn log_options(start: &Start<'_>) -> LogOptions {
    LogOptions {
        segment_bytes: start.scenario.segment_bytes,
        queue_records_max: 200,
        queue_bytes_max: 60_000,
        batch_bytes_max: 8_000,
        recent_bytes_max: 4_000,
        compress: start.scenario.packs,
        salt: start.scenario.seed,
        disk: Arc::new(start.disk.clone()),
        ..LogOptions::default()
    }
}

/// Folders of a data directory.
pub(super) fn make_folders(dir: &Path) -> std::io::Result<()> {
    ["log", "head", "blocks"]
        .iter()
        .try_for_each(|part| std::fs::create_dir_all(dir.join(part)))
}
