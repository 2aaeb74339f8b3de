//! The work of the block writer: cuts, checkpoints, trimming. Synchronous; it runs on the CPU pool.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use trireme_base::{Clock, StreamId};
use trireme_block::{BlockError, WriteOptions, write_block};
use trireme_head::{CutManifest, CutSource, HeadError, Shard, cut_windows};
use trireme_log::LogError;
use trireme_model::Tenant;
use trireme_replication::{CutBlocker, cut_blockers};
use ulid::Ulid;

use crate::shelf::Shelf;
use crate::store::Store;

/// What the work needs; all of it outlives a run.
#[derive(Clone)]
pub struct Cutting {
    /// Log, peers, applied positions.
    pub store: Arc<Store>,
    /// The shards.
    pub shards: Vec<Arc<Shard>>,
    /// Local blocks.
    pub shelf: Arc<Shelf>,
    /// File of the cut manifest.
    pub manifest: PathBuf,
    /// External labels of blocks beside the tenant's.
    pub external_labels: BTreeMap<String, String>,
    /// Label that holds the tenant.
    pub tenant_label: String,
    /// An origin that is away for longer is not waited for.
    pub seal_after: std::time::Duration,
    /// Log kept for replicas that are away (bytes).
    pub log_retention_bytes: u64,
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
    /// Its name.
    pub ulid: Ulid,
    /// Series in it.
    pub series: u64,
    /// Samples in it.
    pub samples: u64,
    /// Start of its window (ms).
    pub start_ms: i64,
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
    fn whole(&self) -> Result<(), CuttingError> {
        if self.store.replay().is_done() { Ok(()) } else { Err(CuttingError::Replaying) }
    }

    /// Finds out what may be cut; `closed` is the last window this origin closed. Cuts are made one number at a time,
    /// so that every replica writes the same blocks however far behind it is.
    pub fn next_cut(&self, closed: i64) -> NextCut {
        if self.whole().is_err() {
            return NextCut::Nothing;
        }
        let oldest = self.shards.iter().filter_map(|shard| shard.oldest_cut()).min();
        let Some(k) = oldest.filter(|k| *k <= closed) else { return NextCut::Nothing };
        let states: Vec<_> = self.shards.iter().map(|shard| shard.streams()).collect();
        let marker = |stream: StreamId| -> Option<i64> {
            let of_shard = |states: &Vec<trireme_head::StreamState>| {
                states.iter().find(|s| s.stream == stream).and_then(|s| s.marker)
            };
            states.iter().map(of_shard).min().flatten()
        };
        let input = {
            let group = self.store.parts().hub.group().lock();
            let applied = |stream| self.store.applied_position(stream);
            group.cut_input(self.clock.monotonic(), self.seal_after, marker, applied)
        };
        match cut_blockers(k, &input).into_iter().next() {
            Some(blocker) => NextCut::Blocked(k, blocker),
            None => NextCut::Ready(k),
        }
    }

    /// Writes the blocks of cut `k`, notes on disk that it was made, and drops what is in the blocks from the head.
    ///
    /// Blocks first, then the manifest, then the head: a crash in between finds either no manifest (the same blocks are
    /// written again under the same names) or a manifest whose blocks are all there.
    pub fn cut(&self, k: i64) -> Result<Vec<Written>, CuttingError> {
        self.whole()?;
        let mut positions = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            positions.push(shard.begin_cut(k)?);
        }
        let mut written = Vec::new();
        for window in cut_windows(&self.shards, k) {
            let mut labels = self.external_labels.clone();
            labels.insert(self.tenant_label.clone(), window.tenant.to_string());
            let options = WriteOptions {
                external_labels: labels,
                source: "trireme".to_owned(),
                ..WriteOptions::default()
            };
            let dir = self.shelf.tenant_dir(&window.tenant);
            std::fs::create_dir_all(&dir)
                .map_err(|source| BlockError::Io { place: dir.display().to_string(), source })?;
            let mut source = CutSource::open(&self.shards, &window.tenant, window.window, k);
            if let Some(meta) = write_block(&dir, window.range(), &options, &mut source)? {
                self.shelf.add(&window.tenant, &meta)?;
                written.push(Written {
                    tenant: window.tenant.clone(),
                    ulid: meta.ulid,
                    series: meta.stats.num_series,
                    samples: meta.stats.num_samples,
                    start_ms: window.start_ms,
                });
            }
        }
        CutManifest { cut: k, positions }.store(&self.manifest)?;
        for shard in &self.shards {
            shard.finish_cut(k);
        }
        Ok(written)
    }

    /// Writes a checkpoint of every shard and deletes the log that neither this node nor a replica needs any more.
    pub fn checkpoint(&self) -> Result<CheckpointDone, CuttingError> {
        self.whole()?;
        let mut done = CheckpointDone::default();
        let mut covered: Option<BTreeMap<StreamId, u64>> = None;
        for shard in &self.shards {
            let log = Arc::clone(self.store.log());
            let report = shard.checkpoint(|| log.flush().map_err(CuttingError::from))?;
            done.series += report.series;
            done.bytes += report.bytes;
            let positions: BTreeMap<StreamId, u64> = report.positions.into_iter().collect();
            covered = Some(match covered {
                None => positions,
                // A stream that a shard does not know of is not covered there.
                Some(so_far) => so_far
                    .into_iter()
                    .filter_map(|(stream, seq)| Some((stream, seq.min(*positions.get(&stream)?))))
                    .collect(),
            });
        }
        let covered: Vec<_> = covered.unwrap_or_default().into_iter().collect();
        done.trimmed_bytes = self.trim(&covered)?;
        Ok(done)
    }

    fn trim(&self, covered: &[(StreamId, u64)]) -> Result<u64, CuttingError> {
        let log = self.store.log();
        let held: Vec<(StreamId, u64)> = {
            let group = self.store.parts().hub.group().lock();
            let at_peers = |stream| group.peers().map(|(_, view)| view.positions.get(stream)).min();
            covered
                .iter()
                .map(|(s, seq)| (*s, at_peers(*s).map_or(*seq, |theirs| theirs.min(*seq))))
                .collect()
        };
        let mut freed = log.trim(&held)?;
        if log.stats().disk_bytes > self.log_retention_bytes {
            // A replica that is away for so long is rebuilt from blocks rather than from the log.
            freed += log.trim(covered)?;
        }
        Ok(freed)
    }
}
