//! Blocks that could not be written: what stays of their cuts in the head, and the next attempts.

use std::io;

use trireme_block::BlockError;
use trireme_head::{CutManifest, CutWindow, left_windows};

use super::{CutDone, Cutting, CuttingError, Written};

/// Windows that are left behind; with more of them it is not one tenant's place on the disk that is bad.
const LEFT_MAX: usize = 10_000;

impl Cutting {
    /// How many windows cuts have left to be written.
    pub fn left_count(&self) -> usize {
        self.shards.first().map_or(0, |shard| shard.left().len())
    }

    /// Writes what earlier cuts have left, as far as that is possible now.
    ///
    /// The manifest that does not name a window any more is on disk before its samples leave the head, as with a cut.
    pub fn write_left(&self) -> Result<CutDone, CuttingError> {
        self.whole()?;
        let _alone = self.alone.lock();
        let mut done = CutDone::default();
        let mut over = Vec::new();
        for window in left_windows(&self.shards) {
            match self.write_window(&window) {
                Ok(block) => {
                    done.written.extend(block);
                    over.push(window.left());
                }
                Err(err) => done.left.push((window, err)),
            }
        }
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
    pub(super) fn write_each(&self, windows: Vec<CutWindow>) -> Result<CutDone, CuttingError> {
        let mut done = CutDone::default();
        let mut has_written = false;
        for window in windows {
            match self.write_window(&window) {
                Ok(block) => {
                    has_written = true;
                    done.written.extend(block);
                }
                Err(err) if !has_written && is_full(&err) => return Err(err.into()),
                Err(err) if done.left.len() >= LEFT_MAX => return Err(err.into()),
                Err(err) => done.left.push((window, err)),
            }
        }
        Ok(done)
    }

    /// Puts blocks of which the manifest knows where queries find them.
    pub(super) fn show(&self, written: &[Written]) -> Result<(), CuttingError> {
        for block in written {
            self.shelf.add(&block.tenant, &block.meta)?;
        }
        if written.iter().any(|block| block.lost_chunks > 0) {
            self.store.parts().completeness.doubt_blocks();
        }
        Ok(())
    }
}

/// True if there is no room on the disk, for this block or any other.
fn is_full(err: &BlockError) -> bool {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::ReadOnlyFilesystem];
    matches!(err, BlockError::Io { source, .. } if full.contains(&source.kind()))
}
