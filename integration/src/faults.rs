//! Orders to the library that is preloaded into a node (`integration/faults`).

use std::fs::File;
use std::ops::Range;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::Context;

#[path = "../faults/src/control.rs"]
mod control;

use control::Control;

/// Commands the disk and the wall clock of one node; holds over restarts.
#[derive(Debug, Clone, Copy)]
pub struct Faults(&'static Control);

impl Faults {
    pub(crate) fn at(path: &Path) -> anyhow::Result<Self> {
        Control::map(path)
            .map(Self)
            .with_context(|| format!("cannot map {}", path.display()))
    }

    /// Every sync takes this much longer.
    pub fn slow_syncs(&self, delay_ms: u64) {
        self.0.sync_delay_ms.store(delay_ms, Ordering::SeqCst);
    }

    /// The next `count` syncs fail with EIO.
    pub fn fail_syncs(&self, count: u64) {
        self.0.sync_errno.store(0, Ordering::SeqCst);
        self.0.sync_errors.store(count, Ordering::SeqCst);
    }

    /// The next `count` syncs fail with ENOSPC, as on a thin volume or a network file system that is full.
    pub fn fill_at_syncs(&self, count: u64) {
        self.0
            .sync_errno
            .store(libc::ENOSPC as u64, Ordering::SeqCst);
        self.0.sync_errors.store(count, Ordering::SeqCst);
    }

    /// After `skip` more writes to files, `count` fail with ENOSPC.
    pub fn fail_writes(&self, skip: u64, count: u64) {
        self.0.write_errors.store(0, Ordering::SeqCst);
        self.0.write_skip.store(skip, Ordering::SeqCst);
        self.0.write_errors.store(count, Ordering::SeqCst);
    }

    /// These bytes of a file cannot be read from now on, under whatever name: EIO.
    pub fn spoil(&self, path: &Path, range: Range<u64>) -> anyhow::Result<()> {
        let file = File::open(path).with_context(|| format!("cannot spoil {}", path.display()))?;
        let inode = file.metadata()?.ino();

        // It stays open for good: once the file was deleted, its number would else be given to the next one.
        let _ = file.into_raw_fd();
        let used = self.0.bad_ranges.load(Ordering::SeqCst);
        let bad = self
            .0
            .bad
            .get(used as usize)
            .context("too many bad ranges")?;

        bad.from.store(range.start, Ordering::SeqCst);
        bad.to.store(range.end, Ordering::SeqCst);
        bad.inode.store(inode, Ordering::SeqCst);
        self.0.bad_ranges.store(used + 1, Ordering::SeqCst);

        Ok(())
    }

    /// Everything can be read again.
    pub fn heal_reads(&self) {
        self.0.bad_ranges.store(0, Ordering::SeqCst);
    }

    /// The wall clock is ahead by this much, or behind.
    pub fn shift_clock(&self, offset_ms: i64) {
        self.0.clock_offset_ms.store(offset_ms, Ordering::SeqCst);
    }

    /// Failures given out so far.
    pub fn hits(&self) -> u64 {
        self.0.hits.load(Ordering::SeqCst)
    }
}
