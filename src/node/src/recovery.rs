//! From disk to shards: the checkpoints, and what has to follow from the log.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use slog::{Logger, error, info};
use trireme_base::StreamId;
use trireme_base::pool::CpuPool;
use trireme_head::{CutManifest, HeadError, Shard, ShardOptions, covered_by_all};
use trireme_log::{Log, Recovered, ReplayPlan};
use trireme_settings::Settings;
use trireme_wire::entry::read_marker;

use crate::datadir::DataDir;
use crate::panics;

/// The shards as their checkpoints left them, and what these cover.
pub(crate) struct OpenShards {
    pub(crate) shards: Vec<Arc<Shard>>,
    /// Per stream the seq up to which every shard has it.
    pub(crate) covered: Vec<(StreamId, u64)>,
}

/// File of the cut manifest in the data directory.
pub(crate) const CUT_MANIFEST: &str = "head/cut";

/// Opens every shard on the CPU pool.
pub(crate) async fn open_shards(
    settings: &Settings,
    data_dir: &DataDir,
    own: StreamId,
    pool: &CpuPool,
    log: &Logger,
) -> anyhow::Result<OpenShards> {
    let manifest = Arc::new(CutManifest::load(&data_dir.path(CUT_MANIFEST))?);

    let mut opening = Vec::new();
    for options in shard_options(settings, &data_dir.path(""), own) {
        let manifest = Arc::clone(&manifest);
        opening.push(pool.run(move || Shard::recover(options, manifest.as_ref().as_ref()))?);
    }

    let mut opened = Vec::new();
    let mut positions = Vec::new();
    let mut series = 0;

    let mut bytes = 0;
    for shard in opening {
        let (shard, recovered) = shard.await.context("a shard could not be opened")??;
        opened.push(shard);
        series += recovered.series;
        bytes += recovered.bytes;
        if let Some(err) = recovered.damage {
            error!(log, "a checkpoint is damaged; the one before it was loaded, and more of the log is replayed";
                "err" => %err);
        }
        positions.push(recovered.positions);
    }

    info!(log, "checkpoints loaded"; "series" => series, "bytes" => bytes);
    Ok(OpenShards {
        shards: opened,
        covered: covered_by_all(positions),
    })
}

/// Settings of the shards whose files lie in `dir/head`.
pub(crate) fn shard_options(settings: &Settings, dir: &Path, own: StreamId) -> Vec<ShardOptions> {
    let shards = settings.storage.shards;
    let window_ms = settings.storage.window.as_millis_i64();
    let times = Arc::default();
    let of = |number: u16| ShardOptions {
        windows_max: settings.storage.tenant_windows_max,
        times: Arc::clone(&times),
        on_suspect: Some(panics::end_process),
        panic_for: panics::wanted_by_test(),
        ..ShardOptions::new(
            number,
            shards,
            window_ms,
            dir.join(format!("head/{number:03}")),
            own,
        )
    };

    (0..shards).map(of).collect()
}

/// True if an error of opening says that files of the head are not what was written.
pub(crate) fn is_damage(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<HeadError>()
        .is_some_and(HeadError::is_damage)
}

/// Tells an operator what the log found.
pub(crate) fn report(recovered: &Recovered, log: &Logger) {
    if let Some(tail) = &recovered.tail_cut {
        info!(log, "torn end of the log was cut, as after a crash";
            "segment" => %tail.segment.display(), "offset" => tail.offset, "reason" => &tail.what);
    }
    for damage in &recovered.damage {
        error!(log, "damage in the log; the records are fetched again from a peer";
            "segment" => %damage.segment.display(), "offset" => damage.offset, "reason" => &damage.what);
    }
}

/// Looks the log through and fixes what is to be replayed behind the checkpoints.
pub(crate) fn plan(open: &OpenShards, wal: &Log, log: &Logger) -> anyhow::Result<ReplayPlan> {
    let plan = wal.plan_replay(&open.covered)?;
    for damage in &plan.damage {
        error!(log, "damage in the log; the records behind it are fetched again from a peer";
            "segment" => %damage.segment.display(), "offset" => damage.offset, "reason" => &damage.what);
    }
    Ok(plan)
}

/// The windows that streams have closed, as the checkpoints and the log behind them have them.
pub(crate) fn markers(open: &OpenShards, plan: &ReplayPlan) -> Vec<i64> {
    let streams = open.shards.iter().flat_map(|shard| shard.streams());
    let logged = plan
        .markers
        .iter()
        .filter_map(|payload| read_marker(payload).ok());

    streams
        .filter_map(|stream| stream.marker)
        .chain(logged)
        .collect()
}
