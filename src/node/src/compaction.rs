//! Starts the compactor, unless the settings say that there is none.

use std::sync::Arc;

use slog::warn;
use trireme_actors::{ActorKind, Compacting, CompactingMetrics, CompactingParts, Supervisor};
use trireme_bucket::MetaCache;
use trireme_compaction::{Compactor, CompactorParts, Limits, Retention, Streams};
use trireme_settings::{Settings, Span};

use crate::bucket::{Store, read_rules};
use crate::cluster::Cluster;
use crate::context::NodeContext;
use crate::disk;
use crate::storage::Storage;

/// Blocks under construction, in the data directory.
const DIR: &str = "compaction";
/// The most blocks that become one: each takes some MiB of memory while it is read.
const SOURCES_MAX: usize = 32;

/// What the planner of compaction goes by, as the settings say.
pub fn compaction_limits(settings: &Settings) -> Limits {
    Limits {
        ranges: Limits::ranges_of(settings.storage.window.as_millis_i64()),
        grace_ms: settings.compaction.grace.as_millis_i64(),
        block_bytes_max: settings.compaction.block_bytes_max.0,
        sources_max: SOURCES_MAX,
        streams: Streams::Own {
            tenant_label: settings.tenants.label.clone(),
            labels: settings.bucket.external_labels.clone(),
        },
        downsampling: settings.compaction.downsampling,
        retention: Retention {
            raw_ms: unless_zero(settings.compaction.retention_raw),
            five_minutes_ms: unless_zero(settings.compaction.retention_5m),
            hour_ms: unless_zero(settings.compaction.retention_1h),
        },
    }
}

fn unless_zero(span: Span) -> Option<i64> {
    Some(span.as_millis_i64()).filter(|ms| *ms > 0)
}

/// Has the supervisor run a compactor.
pub(crate) async fn add_compactor(
    supervisor: &mut Supervisor,
    context: &NodeContext,
    cluster: &Cluster,
    storage: &Storage,
    store: &Store,
) -> anyhow::Result<()> {
    let settings = &context.settings.compaction;
    if !settings.enabled {
        return Ok(());
    }

    let limits = compaction_limits(&context.settings);
    let tenant_label = &context.settings.tenants.label;
    let log = supervisor.logger("compactor");
    let compactor = CompactorParts {
        store: Arc::clone(store),
        local: Compacting::from_shelf(&storage.local_blocks, tenant_label),
        dir: context.data_dir.path(DIR),
        part_ms: limits.part_ms(),
        runtime: context.io.handle().clone(),
        stop: Arc::default(),
        log: log.clone(),
    };

    if let Err(err) = Compactor::new(compactor.clone()).clear_dir() {
        warn!(log, "what a crash left of compaction cannot be removed"; "err" => %err);
    }

    let data_dir = context.data_dir.path("");
    let free_min = context.settings.storage.disk_free_min.0;
    let parts = CompactingParts {
        compactor,
        listed: Arc::new(MetaCache::new(read_rules(&context.settings))),
        limits,
        delete_delay: settings.delete_delay.as_duration(),
        interval: settings.interval.as_duration(),
        at_once: settings.concurrency,
        tenant_label: tenant_label.clone(),
        hub: Arc::clone(&cluster.hub),
        room: Arc::new(move || disk::room(&data_dir, free_min)),
        clock: Arc::clone(&context.clock),
        metrics: CompactingMetrics::new(&context.metrics)?,
        log,
    };

    Ok(supervisor
        .add(
            ActorKind::Compactor,
            "compactor",
            Compacting::starter(parts),
        )
        .await?)
}
