//! Blocks that could not be written: what stays of their cuts in the head, and the next attempts.

use std::collections::BTreeSet;
use std::io;

use trireme_base::side_by_side;
use trireme_block::BlockError;
use trireme_head::{CutManifest, CutWindow, left_windows};
use trireme_model::Tenant;

use super::{CutDone, Cutting, CuttingError, Written};

/// Windows that are left behind; with more of them it is not one tenant's place on the disk that is bad.
const LEFT_MAX: usize = 10_000;
/// With no more series than this a tenant's block is small.
const SMALL_SERIES: usize = 1_000;
/// Small blocks that are begun before anybody looks how the last ones went.
const SMALL_PER_ROUND: usize = 256;

impl Cutting {
    /// How many windows cuts have left to be written.
    pub fn left_count(&self) -> usize {
        self.shards.first().map_or(0, |shard| shard.left().len())
    }

    /// Writes what earlier cuts have left, as far as that is possible now.
    ///
    /// The manifest that does not name a window any more is on disk before its samples leave the head, as with a cut.
    pub fn write_left(&self) -> Result<CutDone, CuttingError> {
        self.ensure_replayed()?;
        let _maintenance = self.maintenance_lock.lock();
        let windows = left_windows(&self.shards);
        let done = self.write_each(windows.clone())?;
        let still_left: BTreeSet<&CutWindow> = done.left.iter().map(|(window, _)| window).collect();
        let over: BTreeSet<_> = windows
            .iter()
            .filter(|window| !still_left.contains(window))
            .map(CutWindow::left)
            .collect();

        if over.is_empty() {
            return Ok(done);
        }

        if let Some(mut manifest) = CutManifest::load(&self.manifest)? {
            manifest.left.retain(|left| !over.contains(left));
            manifest.store(&self.manifest)?;
        }

        self.show(&done.written)?;
        for left in &over {
            self.shards.iter().for_each(|shard| shard.finish_left(left));
        }

        Ok(done)
    }

    /// Writes the blocks of these windows, each for itself. An error is one of the disk, and of no window: nothing could be
    /// written because there is no room, or far too much could not be.
    ///
    /// A small block is mostly waiting for the disk, which syncs many files in hardly more time than one: such blocks are
    /// written side by side.
    pub(super) fn write_each(&self, windows: Vec<CutWindow>) -> Result<CutDone, CuttingError> {
        let series = |tenant: &Tenant| {
            self.shards
                .iter()
                .map(|shard| shard.series_count(tenant))
                .sum::<usize>()
        };

        let (small, large): (Vec<_>, Vec<_>) = windows
            .into_iter()
            .partition(|window| series(&window.tenant) <= SMALL_SERIES);
        let mut done = CutDone::default();

        let mut has_written = false;
        for windows in large.chunks(1).chain(small.chunks(SMALL_PER_ROUND)) {
            let blocks = side_by_side("cut", self.blocks_at_once, windows, |window| {
                self.write_window(window)
            });
            for (window, block) in windows.iter().zip(blocks) {
                match block {
                    Ok(block) => {
                        has_written = true;
                        done.written.extend(block);
                    }
                    Err(err) if !has_written && is_full(&err) => return Err(err.into()),
                    Err(err) if done.left.len() >= LEFT_MAX => return Err(err.into()),
                    Err(err) => done.left.push((window.clone(), err)),
                }
            }
        }

        Ok(done)
    }

    /// Puts blocks of which the manifest knows where queries find them.
    pub(super) fn show(&self, written: &[Written]) -> Result<(), CuttingError> {
        for block in written {
            self.local_blocks.add(&block.tenant, &block.meta)?;
        }
        if written.iter().any(|block| block.lost_chunks > 0) {
            self.store.parts().completeness.doubt_blocks();
        }
        Ok(())
    }
}

/// True if there is no room on the disk, for this block or any other.
fn is_full(err: &BlockError) -> bool {
    let full = [
        io::ErrorKind::StorageFull,
        io::ErrorKind::QuotaExceeded,
        io::ErrorKind::ReadOnlyFilesystem,
    ];
    matches!(err, BlockError::Io { source, .. } if full.contains(&source.kind()))
}
