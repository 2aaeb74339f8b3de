//! The page of orders. The tests include this file as a module of their own: the library itself must not be linked
//! into them, or it would stand before their C library, too.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64};

/// Ranges that can be bad at a time.
pub const BAD_RANGES: usize = 16;

/// A part of a file that cannot be read. It is known by its inode, as a disk knows sectors and no names: a file that takes
/// the place of this one can be read.
#[repr(C)]
#[derive(Debug)]
pub struct BadRange {
    /// The file; 0 while the entry is not used. Set last.
    pub inode: AtomicU64,
    /// First bad byte.
    pub from: AtomicU64,
    /// First good byte behind it.
    pub to: AtomicU64,
}

/// The shared page of orders.
#[repr(C)]
#[derive(Debug)]
pub struct Control {
    /// Milliseconds that each sync takes longer.
    pub sync_delay_ms: AtomicU64,
    /// Syncs that are still to fail.
    pub sync_errors: AtomicU64,
    /// What they fail with; 0 is EIO.
    pub sync_errno: AtomicU64,
    /// Writes that still succeed before the first failure.
    pub write_skip: AtomicU64,
    /// Writes that are still to fail.
    pub write_errors: AtomicU64,
    /// Added to the wall clock.
    pub clock_offset_ms: AtomicI64,
    /// Failures given out so far.
    pub hits: AtomicU64,
    /// Entries of `bad` that are looked at.
    pub bad_ranges: AtomicU64,
    /// What cannot be read.
    pub bad: [BadRange; BAD_RANGES],
}

impl Control {
    /// Size of the file.
    pub const BYTES: u64 = size_of::<Self>() as u64;

    /// Maps the file at `path`, which is made if it is not there.
    pub fn map(path: &Path) -> io::Result<&'static Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;

        file.set_len(Self::BYTES)?;
        // SAFETY: a fresh mapping that is never unmapped; the page holds atomics only, for which every content is
        // valid.
        unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let size = Self::BYTES as usize;
            let page = libc::mmap(
                std::ptr::null_mut(),
                size,
                protection,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            );

            if page == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }

            Ok(&*page.cast::<Self>())
        }
    }
}
