//! Getting back what can be read of a head that no start can load, as blocks.
//!
//! A replica with a damaged head copies a peer's. Where every peer's is damaged too, or there is none, what is left of each
//! is written as blocks beside the others: the scrub then gives each replica the blocks of all, and queries unite them. So
//! a sample is lost only if every copy of it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;

use anyhow::{Context, ensure};
use trireme_base::{StreamId, SystemClock};
use trireme_head::{CutManifest, HeadError, Shard, cut_windows, left_windows};
use trireme_log::{Log, NoObserver, ReplayWatch};
use trireme_settings::Settings;
use trireme_storage::{LocalBlocks, Written, note_missing};

use crate::datadir::{DataDir, INCOMPLETE};
use crate::rebuild::Staging;
use crate::recovery::{CUT_MANIFEST, shard_options};
use crate::storage::{block_style, log_options};

/// What was got back of one head.
#[derive(Debug)]
pub struct Salvaged {
    /// Where it lies.
    pub from: PathBuf,
    /// Series that could be read of its checkpoints.
    pub series: u64,
    /// Records of its log that were applied.
    pub records: u64,
    /// Of these, records that name a series whose labels are lost; their other samples are there.
    pub in_part: u64,
    /// The blocks.
    pub blocks: Vec<SalvagedBlock>,
    /// What could not be read; more of one file are alike.
    pub damage: Vec<String>,
}

/// A block of what was got back.
#[derive(Debug)]
pub struct SalvagedBlock {
    /// Its name.
    pub ulid: String,
    /// Whose.
    pub tenant: String,
    /// Series in it.
    pub series: u64,
    /// Samples in it.
    pub samples: u64,
    /// Chunks that could not be read and are not in it.
    pub lost_chunks: u64,
}

impl SalvagedBlock {
    fn of(block: &Written) -> Self {
        Self {
            ulid: block.meta.ulid.to_string(),
            tenant: block.tenant.to_string(),
            series: block.meta.stats.num_series,
            samples: block.meta.stats.num_samples,
            lost_chunks: block.lost_chunks,
        }
    }
}

/// Writes blocks of what can be read of the heads that were set aside in the data directory of a node that does not run, and
/// of its own head if that is damaged. The next start goes on with them and copies nothing. `tell` hears of each head.
///
/// Nothing that was set aside is deleted, and repeating it writes the same blocks.
pub fn salvage(settings: &Settings, mut tell: impl FnMut(&Salvaged)) -> anyhow::Result<()> {
    let root = Path::new(&settings.node.data_dir);
    ensure!(
        DataDir::is_one(root),
        "{} is not the data directory of a node",
        root.display()
    );

    let data_dir = DataDir::open(root, settings.storage.shards)?;
    if is_head_damaged(settings, &data_dir)? {
        data_dir
            .set_aside()
            .context("the damaged head cannot be set aside")?;
    }

    let aside = data_dir.aside()?;
    ensure!(
        !aside.is_empty(),
        "there is nothing to salvage: the head can be read, and none was set aside"
    );

    for from in aside {
        let done =
            of_one(settings, &data_dir, &from).with_context(|| from.display().to_string())?;
        tell(&done);
    }

    // First the doubt: a start in between must not count as whole.
    note_missing(&data_dir.path(INCOMPLETE), "blocks")?;
    Staging::of(root).clear()?;

    Ok(())
}

/// True if a start could not load the head.
fn is_head_damaged(settings: &Settings, data_dir: &DataDir) -> anyhow::Result<bool> {
    let is_damaged = |error: HeadError| {
        if error.is_damage() {
            Ok(true)
        } else {
            Err(error.into())
        }
    };

    let manifest = match CutManifest::load(&data_dir.path(CUT_MANIFEST)) {
        Ok(manifest) => manifest,
        Err(error) => return is_damaged(error),
    };

    for options in shard_options(settings, &data_dir.path(""), data_dir.stream()) {
        if let Err(error) = Shard::recover(options, manifest.as_ref()) {
            return is_damaged(error);
        }
    }

    Ok(false)
}

fn of_one(settings: &Settings, data_dir: &DataDir, from: &Path) -> anyhow::Result<Salvaged> {
    let mut done = Salvaged {
        from: from.to_owned(),
        series: 0,
        records: 0,
        in_part: 0,
        blocks: vec![],
        damage: vec![],
    };

    let own = data_dir.stream();
    let manifest = match CutManifest::load(&from.join(CUT_MANIFEST)) {
        Ok(manifest) => manifest,
        // Windows that are in blocks are written once more then.
        Err(error) if error.is_damage() => {
            done.damage.push(error.to_string());
            None
        }
        Err(error) => return Err(error.into()),
    };

    let mut shards = Vec::new();
    for options in shard_options(settings, from, own) {
        let (shard, damage) = Shard::salvage(options, manifest.as_ref())?;
        done.series += shard.stats().series;
        done.damage.extend(damage.iter().map(HeadError::to_string));
        shards.push(shard);
    }

    apply_log(settings, own, &shards, &mut done)?;
    let last = shards
        .iter()
        .filter_map(|shard| shard.waiting_cut(i64::MAX))
        .max();
    let mut windows = left_windows(&shards);

    windows.extend(
        last.map(|last| cut_windows(&shards, last))
            .unwrap_or_default(),
    );

    let style = block_style(settings);
    for window in &windows {
        let dir = LocalBlocks::tenant_dir_in(&data_dir.path("blocks"), &window.tenant);
        let written = style.write_window(&shards, &dir, window)?;
        done.blocks.extend(written.as_ref().map(SalvagedBlock::of));
    }

    Ok(done)
}

/// Applies everything that the log has, whatever the checkpoints had.
fn apply_log(
    settings: &Settings,
    own: StreamId,
    shards: &[Arc<Shard>],
    done: &mut Salvaged,
) -> anyhow::Result<()> {
    let dir = done.from.join("log");
    // What stands behind a hole is better than nothing.
    let options = log_options(settings, true);
    let (log, recovered) = Log::open(
        &dir,
        options,
        own,
        &[],
        Arc::new(NoObserver),
        Arc::new(SystemClock::default()),
    )?;

    let plan = log.plan_replay(&[])?;
    let damage = recovered.damage.iter().chain(&plan.damage);
    done.damage
        .extend(damage.map(|d| format!("{} at {}: {}", d.segment.display(), d.offset, d.what)));

    let in_part = AtomicU64::new(0);
    let threads = available_parallelism().map_or(1, usize::from);
    let replayed = log.replay(
        &plan,
        shards.len() as u16,
        threads,
        &ReplayWatch::default(),
        |shard, record| {
            if shards[usize::from(shard)].apply(record).is_err() {
                in_part.fetch_add(1, Ordering::Relaxed);
            }
        },
    )?;

    (done.records, done.in_part) = (replayed.records, in_part.into_inner());
    log.close();
    Ok(())
}
