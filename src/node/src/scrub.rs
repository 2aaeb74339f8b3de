//! Starts the scrubber, unless the settings say that there is none.

use std::sync::Arc;

use object_store::ObjectStore;
use trireme_actors::{
    ActorKind, Scrubber, ScrubberMetrics, ScrubberOptions, ScrubberParts, Supervisor,
};

use crate::cluster::Cluster;
use crate::context::NodeContext;
use crate::disk;
use crate::storage::Storage;

/// Where the time of the last round is noted, in the data directory.
const NOTE: &str = "scrubbed";

/// Has the supervisor run a scrubber.
pub(crate) async fn add_scrubber(
    supervisor: &mut Supervisor,
    context: &NodeContext,
    cluster: &Cluster,
    storage: &Storage,
    bucket: Option<&Arc<dyn ObjectStore>>,
) -> anyhow::Result<()> {
    let settings = &context.settings.storage;
    if settings.scrub_interval.as_duration().is_zero() {
        return Ok(());
    }

    let data_dir = context.data_dir.path("");
    let free_min = settings.disk_free_min.0;
    let parts = ScrubberParts {
        cutting: storage.cutting(context),
        hub: Arc::clone(&cluster.hub),
        calls: Arc::clone(&cluster.calls),
        bucket: bucket.cloned(),
        runtime: context.io.handle().clone(),
        pool: Arc::clone(&context.pool),
        room: Arc::new(move || disk::room(&data_dir, free_min)),
        options: ScrubberOptions {
            interval: settings.scrub_interval.as_duration(),
            read_rate: settings.scrub_rate.0,
            copy_rate: context.settings.cluster.rebuild_rate.0,
            window_ms: settings.window.as_millis_i64(),
            retention_ms: settings.retention.as_millis_i64(),
            retention_bytes: settings.retention_bytes.0,
            note: context.data_dir.path(NOTE),
        },
        clock: Arc::clone(&context.clock),
        metrics: ScrubberMetrics::new(&context.metrics)?,
        log: supervisor.logger("scrubber"),
    };

    Ok(supervisor
        .add(ActorKind::Scrubber, "scrubber", Scrubber::starter(parts))
        .await?)
}
