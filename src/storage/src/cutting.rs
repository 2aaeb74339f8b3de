//! The work of the block writer: cuts, checkpoints, trimming. Synchronous; it runs on the CPU pool.

mod ends;
mod left;
pub(crate) mod snapshot;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use trireme_base::{Clock, StreamId};
use trireme_block::{BlockError, BlockMeta, ChunkEncodings, WriteOptions, write_block};
use trireme_head::{
    CheckpointReport, CutManifest, CutSource, CutWindow, HeadError, Shard, covered_by_all,
    cut_windows, left_windows,
};
use trireme_log::LogError;
use trireme_model::Tenant;
use trireme_replication::{CutBlocker, cut_blockers};

use crate::local_blocks::{LocalBlock, LocalBlocks};
use crate::snapshots::Snapshots;
use crate::store::Store;

/// What the work needs; all of it outlives a run.
#[derive(Clone)]
pub struct Cutting {
    /// Log, peers, applied positions.
    pub store: Arc<Store>,
    /// The shards.
    pub shards: Vec<Arc<Shard>>,
    /// Local blocks.
    pub local_blocks: Arc<LocalBlocks>,
    /// File of the cut manifest.
    pub manifest: PathBuf,
    /// How blocks are written.
    pub style: BlockStyle,
    /// Small blocks that are written at the same time.
    pub blocks_at_once: usize,
    /// An origin that is away for longer is not waited for.
    pub seal_after: Duration,
    /// Log kept for replicas that are away (bytes).
    pub log_retention_bytes: u64,
    /// Log kept for replicas that are away (time since it was written).
    pub log_retention: Duration,
    /// What is held for peers that are being rebuilt.
    pub snapshots: Arc<Snapshots>,
    /// Held by a cut, a checkpoint and a snapshot: each needs files that the others replace.
    pub maintenance_lock: Arc<Mutex<()>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Why the work stopped; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum CuttingError {
    /// The head.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// A block.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The head is not whole yet.
    #[error("the log is still being replayed")]
    Replaying,
    /// What the log refused is not in it yet.
    #[error("the log does not have everything that is in the head")]
    PendingAppends,
    /// A snapshot.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What may be cut.
#[derive(Debug, PartialEq, Eq)]
pub enum NextCut {
    /// This cut, now.
    Ready(i64),
    /// There is nothing to cut up to the last closed window.
    Nothing,
    /// This cut waits for something.
    Blocked(i64, CutBlocker),
}

/// A block that a cut wrote.
#[derive(Debug)]
pub struct Written {
    /// Whose.
    pub tenant: Tenant,
    /// Its name, and what is in it.
    pub meta: BlockMeta,
    /// Chunks of the head that could not be read and are not in it.
    pub lost_chunks: u64,
    /// The cut that it is of.
    pub cut: i64,
    /// Start of its window (ms).
    pub start_ms: i64,
}

/// What a cut did.
#[derive(Debug, Default)]
pub struct CutDone {
    /// The blocks.
    pub written: Vec<Written>,
    /// Windows whose blocks could not be written, and why. Their samples stay in the head and are tried again by
    /// [`Cutting::write_left`].
    pub left: Vec<(CutWindow, BlockError)>,
}

/// How blocks are written; all replicas need the same, so that their blocks are.
#[derive(Clone, Debug)]
pub struct BlockStyle {
    /// External labels of blocks beside the tenant's.
    pub external_labels: BTreeMap<String, String>,
    /// Label that holds the tenant.
    pub tenant_label: String,
    /// Encodings of chunks.
    pub encodings: ChunkEncodings,
}

impl Default for BlockStyle {
    /// As the settings are when nobody sets them.
    fn default() -> Self {
        Self {
            external_labels: BTreeMap::new(),
            tenant_label: "tenant_id".to_owned(),
            encodings: ChunkEncodings::Classic,
        }
    }
}

impl BlockStyle {
    /// Writes the block of a window into the tenant's directory, which is made if it is missing. Chunks of the head that
    /// cannot be read are left out and counted. `None` if there is nothing to write.
    pub fn write_window(
        &self,
        shards: &[Arc<Shard>],
        dir: &Path,
        window: &CutWindow,
    ) -> Result<Option<Written>, BlockError> {
        make_dir(dir).map_err(|source| BlockError::Io {
            place: dir.display().to_string(),
            source,
        })?;

        let options = self.options(&window.tenant);
        let open = || CutSource::open(shards, &window.tenant, window.window, window.cut);
        let mut source = open();
        let meta = match write_block(dir, window.range(), &options, &mut source) {
            Err(BlockError::Input(_)) => {
                source = open().skipping_damage();
                write_block(dir, window.range(), &options, &mut source)?
            }
            written => written?,
        };

        Ok(meta.map(|meta| Written {
            tenant: window.tenant.clone(),
            lost_chunks: source.lost(),
            cut: window.cut,
            start_ms: window.start_ms,
            meta,
        }))
    }

    fn options(&self, tenant: &Tenant) -> WriteOptions {
        let mut labels = self.external_labels.clone();
        labels.insert(self.tenant_label.clone(), tenant.to_string());
        WriteOptions {
            external_labels: labels,
            source: "trireme".to_owned(),
            encodings: self.encodings,
            ..WriteOptions::default()
        }
    }
}

/// Damaged chunks that are named; more are alike.
const DAMAGE_TOLD_MAX: usize = 8;

/// Makes a directory, and its name durable: blocks in it are worth nothing without it.
fn make_dir(dir: &Path) -> std::io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }

    std::fs::create_dir_all(dir)?;
    match dir.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// The blocks of all cuts up to one.
pub struct SettledBlocks {
    /// The last cut that was made here; `None` if none was.
    pub cut: Option<i64>,
    /// The blocks, in no order.
    pub blocks: Vec<Arc<LocalBlock>>,
    /// Tenants and starts (ms) of windows that this node could not write yet.
    pub left: Vec<(Tenant, i64)>,
}

/// What a checkpoint covered.
#[derive(Debug, Default)]
pub struct CheckpointDone {
    /// Series of all shards.
    pub series: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of log that were deleted.
    pub trimmed_bytes: u64,
}

impl Cutting {
    /// What is not in the head yet would be missing in a block, and a checkpoint without it would let the log go.
    fn ensure_replayed(&self) -> Result<(), CuttingError> {
        if self.store.replay().is_done() {
            Ok(())
        } else {
            Err(CuttingError::Replaying)
        }
    }

    /// Finds out what may be cut; `closed` is the last window this origin closed. Cuts are made one number at a time,
    /// so that every replica writes the same blocks however far behind it is.
    pub fn next_cut(&self, closed: i64) -> NextCut {
        if self.ensure_replayed().is_err() || !self.store.parts().completeness.is_complete() {
            // What a peer has cut comes with its snapshot.
            return NextCut::Nothing;
        }

        let oldest = self
            .shards
            .iter()
            .filter_map(|shard| shard.due_cut(closed))
            .min();

        let Some(k) = oldest else {
            return NextCut::Nothing;
        };

        let markers = self.markers();
        let applied: BTreeMap<StreamId, u64> = self.store.applied_positions().into_iter().collect();

        // The log's thread and the links need the view: what takes time happens on a copy.
        let group = self.store.parts().hub.group().lock().clone();
        let input = group.cut_input(
            self.clock.monotonic(),
            self.seal_after,
            |stream| markers.get(&stream).copied(),
            |stream| applied.get(&stream).copied().unwrap_or(0),
        );

        match cut_blockers(k, &input).into_iter().next() {
            Some(blocker) => NextCut::Blocked(k, blocker),
            None => NextCut::Ready(k),
        }
    }

    /// For each stream that has closed windows in every shard, the last one that it has closed in all of them.
    fn markers(&self) -> HashMap<StreamId, i64> {
        let mut markers: HashMap<StreamId, (usize, i64)> = HashMap::new();
        for shard in &self.shards {
            for state in shard.streams() {
                let Some(marker) = state.marker else { continue };
                let (shards, least) = markers.entry(state.stream).or_insert((0, i64::MAX));
                *shards += 1;
                *least = marker.min(*least);
            }
        }

        let of_all = markers
            .into_iter()
            .filter(|(_, (shards, _))| *shards == self.shards.len());

        of_all.map(|(stream, (_, least))| (stream, least)).collect()
    }

    /// Writes the blocks of cut `k`, notes on disk that it was made, and drops what is in the blocks from the head.
    ///
    /// Blocks first, then the manifest, then the head: a crash in between finds either no manifest (the same blocks are
    /// written again under the same names) or a manifest whose blocks are all there. The log is made durable before the
    /// first block: a power cut must not leave a block with records that no log has any more and no other replica gets. And
    /// nobody sees a block before the cut is certain.
    ///
    /// A chunk that cannot be read costs its own samples and no other: the block is written without it, and this replica
    /// does not count as whole until it has compared its blocks with those of its peers. A block that cannot be written holds
    /// up no other either: its samples stay in the head.
    pub fn cut(&self, k: i64) -> Result<CutDone, CuttingError> {
        self.ensure_replayed()?;
        let _maintenance = self.maintenance_lock.lock();

        let mut positions = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            positions.push(shard.begin_cut(k)?);
        }

        self.store.log().flush()?;
        let mut left: Vec<_> = left_windows(&self.shards)
            .iter()
            .map(CutWindow::left)
            .collect();
        let done = self.write_each(cut_windows(&self.shards, k))?;

        left.extend(done.left.iter().map(|(window, _)| window.left()));
        CutManifest {
            cut: k,
            positions,
            left: left.clone(),
        }
        .store(&self.manifest)?;

        self.show(&done.written)?;
        let completeness = &self.store.parts().completeness;

        for shard in &self.shards {
            shard.finish_cut_leaving(k, left.clone());
        }

        completeness.note_cut(k);
        completeness.note_history();
        Ok(done)
    }

    /// Writes one block; `None` if there is nothing to write.
    fn write_window(&self, window: &CutWindow) -> Result<Option<Written>, BlockError> {
        self.style.write_window(
            &self.shards,
            &self.local_blocks.tenant_dir(&window.tenant),
            window,
        )
    }

    /// Reads every full chunk of the head; answers what is wrong with the first few that are damaged.
    pub fn check_chunks(&self) -> Vec<HeadError> {
        let mut errors = Vec::new();
        for shard in &self.shards {
            errors.append(&mut shard.check_chunks(DAMAGE_TOLD_MAX));
        }
        errors.truncate(DAMAGE_TOLD_MAX);
        errors
    }

    /// The blocks as they are between two cuts, for comparing them with those of other replicas; `None` while a cut, a
    /// checkpoint or a snapshot is being made.
    pub fn settled_blocks(&self) -> Option<SettledBlocks> {
        self.ensure_replayed().ok()?;
        let _maintenance = self.maintenance_lock.try_lock()?;
        let cut = self
            .shards
            .iter()
            .map(|shard| shard.last_cut())
            .min()
            .flatten();

        let left = left_windows(&self.shards)
            .into_iter()
            .map(|left| (left.tenant, left.start_ms));

        Some(SettledBlocks {
            cut,
            blocks: self.local_blocks.blocks(),
            left: left.collect(),
        })
    }

    /// Writes a checkpoint of every shard and deletes the log that neither this node nor a replica needs any more.
    pub fn checkpoint(&self) -> Result<CheckpointDone, CuttingError> {
        self.ensure_replayed()?;
        let _maintenance = self.maintenance_lock.lock();
        self.store.parts().completeness.save()?;

        let mut done = CheckpointDone::default();

        let mut positions = Vec::new();
        for shard in &self.shards {
            let report = self.checkpoint_of(shard)?;
            done.series += report.series;
            done.bytes += report.bytes;
            positions.push(report.trim_to);
        }

        let covered = covered_by_all(positions);
        done.trimmed_bytes = self.trim(&covered)?;
        self.end_streams(&covered)?;

        Ok(done)
    }

    /// Writes a checkpoint of one shard, which has nothing that the log has not: after a power cut this replica alone
    /// would have it, and blocks would differ.
    pub fn checkpoint_of(&self, shard: &Shard) -> Result<CheckpointReport, CuttingError> {
        let pending = &self.store.parts().pending[usize::from(shard.options().number)];
        shard.checkpoint(|| {
            let made = pending.made();
            self.store.log().flush()?;
            if pending.are_written(made) {
                Ok(())
            } else {
                Err(CuttingError::PendingAppends)
            }
        })
    }

    /// Deletes log that two checkpoints cover, so that a start which cannot read the last one loses nothing: what all peers have, and beyond the retention what they have not.
    fn trim(&self, covered: &[(StreamId, u64)]) -> Result<u64, CuttingError> {
        let completeness = &self.store.parts().completeness;
        if !completeness.is_complete() {
            // The checkpoint of a peer that will take the place of this one may stand before it.
            return Ok(0);
        }

        let log = self.store.log();
        let mut held: Vec<(StreamId, u64)> = {
            let group = self.store.parts().hub.group().lock();
            let at_peers = |stream| {
                group
                    .peers()
                    .map(|(_, view)| view.positions.get(stream))
                    .min()
            };
            covered
                .iter()
                .map(|(s, seq)| (*s, at_peers(*s).map_or(*seq, |theirs| theirs.min(*seq))))
                .collect()
        };

        self.snapshots.pin(&mut held);
        let mut freed = log.trim(&held)?;

        // A replica that is away for so long is rebuilt from a snapshot rather than from the log. But what a minority has
        // stays: a member that was left behind itself may copy another one only as long as its log can give what the other
        // one lacks.
        let spread: Vec<(StreamId, u64)> = {
            let group = self.store.parts().hub.group().lock();
            covered
                .iter()
                .map(|(s, seq)| (*s, group.quorum_has(*s).min(*seq)))
                .collect()
        };

        let mut beyond = spread.clone();
        self.snapshots.pin(&mut beyond);

        if log.stats().disk_bytes > self.log_retention_bytes {
            freed += log.trim(&beyond)?;
        }

        let retention_ms = i64::try_from(self.log_retention.as_millis()).unwrap_or(i64::MAX);
        freed += log.trim_older(
            &beyond,
            self.store
                .now_ms(self.clock.as_ref())
                .saturating_sub(retention_ms),
        )?;

        if log.stats().disk_bytes > self.log_retention_bytes.saturating_mul(2)
            && self.snapshots.drop_all("the log has twice its retention")
        {
            freed += log.trim(&spread)?;
        }

        if freed > 0 {
            completeness.note_history();
        }

        Ok(freed)
    }
}
