//! Stands between a daemon and the C library: disks that fail and clocks that are wrong, on command.
//!
//! The library is preloaded (`LD_PRELOAD`) into a daemon under test. `TRIREME_FAULTS` names a file of
//! a few bytes (`control.rs`) that both sides map; the test writes orders into it while the daemon runs. Without that
//! variable every call goes straight through.
//!
//! | order | what happens |
//! |---|---|
//! | `sync_delay_ms` | every fsync and fdatasync takes this much longer |
//! | `sync_errors`, `sync_errno` | so many syncs fail, though nothing was lost |
//! | `write_skip`, `write_errors` | after so many more writes to files, so many fail with ENOSPC |
//! | `bad` | parts of files cannot be read: EIO, after what stands before them |
//! | `clock_offset_ms` | the wall clock is wrong by this much; monotonic time is not |
//!
//! `hits` counts the failures that were given out, so that a test knows that its fault happened.

mod control;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use control::Control;

/// The orders, or nothing where nobody gives any.
fn control() -> Option<&'static Control> {
    static CONTROL: OnceLock<Option<&'static Control>> = OnceLock::new();
    *CONTROL.get_or_init(|| Control::map(Path::new(&std::env::var_os("TRIREME_FAULTS")?)).ok())
}

/// Takes one from a counter; false if it is used up.
fn take(counter: &AtomicU64) -> bool {
    counter
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
        .is_ok()
}

fn fail(control: &Control, error: c_int) -> c_int {
    control.hits.fetch_add(1, Ordering::SeqCst);
    // SAFETY: the thread's own errno.
    unsafe { *libc::__errno_location() = error };
    -1
}

/// The function that this library stands before.
fn next(name: &CStr) -> *mut c_void {
    // SAFETY: looks a name up in the libraries behind this one.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr().cast::<c_char>()) };
    assert!(!found.is_null(), "the C library has no {name:?}");
    found
}

macro_rules! before {
    ($name:ident, $kind:ty) => {{
        static NEXT: OnceLock<usize> = OnceLock::new();
        let found = *NEXT
            .get_or_init(|| next(const { name_of(concat!(stringify!($name), "\0")) }) as usize);
        // SAFETY: the C library's function of this name has this signature.
        unsafe { std::mem::transmute::<usize, $kind>(found) }
    }};
}

const fn name_of(text: &str) -> &CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(name) => name,
        Err(_) => panic!("a name has no zero inside"),
    }
}

type Sync = extern "C" fn(c_int) -> c_int;
type Write = extern "C" fn(c_int, *const c_void, usize) -> isize;
type WriteAt = extern "C" fn(c_int, *const c_void, usize, i64) -> isize;
type WriteMany = extern "C" fn(c_int, *const libc::iovec, c_int) -> isize;
type Read = extern "C" fn(c_int, *mut c_void, usize) -> isize;
type ReadAt = extern "C" fn(c_int, *mut c_void, usize, i64) -> isize;
type GetTime = extern "C" fn(libc::clockid_t, *mut libc::timespec) -> c_int;

fn sync(fd: c_int, real: Sync) -> c_int {
    let Some(control) = control() else {
        return real(fd);
    };

    let delay_ms = control.sync_delay_ms.load(Ordering::SeqCst);
    if delay_ms > 0 {
        std::thread::sleep(std::time::Duration::from_millis(delay_ms));
    }

    if !take(&control.sync_errors) {
        return real(fd);
    }

    let error = control.sync_errno.load(Ordering::SeqCst) as c_int;
    fail(control, if error == 0 { libc::EIO } else { error })
}

/// True if this write is one that has to fail. Logs on standard error are no data.
fn write_fails(fd: c_int) -> bool {
    let Some(control) = control() else {
        return false;
    };
    if fd <= 2 || control.write_errors.load(Ordering::SeqCst) == 0 || !is_file(fd) {
        return false;
    }
    if take(&control.write_skip) || !take(&control.write_errors) {
        return false;
    }

    fail(control, libc::ENOSPC);
    true
}

fn is_file(fd: c_int) -> bool {
    inode(fd).is_some()
}

/// The inode of a regular file.
fn inode(fd: c_int) -> Option<u64> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: fills the structure; zeroes are a valid one.
    let stat = unsafe {
        if libc::fstat(fd, stat.as_mut_ptr()) != 0 {
            return None;
        }
        stat.assume_init()
    };

    (stat.st_mode & libc::S_IFMT == libc::S_IFREG).then_some(stat.st_ino)
}

/// How many of `bytes` can be read at `at`, which `None` asks the file for. Bytes before a bad range are read, as from a disk;
/// `None` if the first one is bad.
fn readable(fd: c_int, at: Option<i64>, bytes: usize) -> Option<usize> {
    let Some(control) = control() else {
        return Some(bytes);
    };

    let count = control.bad_ranges.load(Ordering::SeqCst) as usize;
    if count == 0 || bytes == 0 {
        return Some(bytes);
    }
    let Some(inode) = inode(fd) else {
        return Some(bytes);
    };

    // SAFETY: asks where the file stands, and moves nothing.
    let at = at.unwrap_or_else(|| unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) });
    let Ok(at) = u64::try_from(at) else {
        return Some(bytes);
    };

    let mut end = at.saturating_add(bytes as u64);
    for bad in control
        .bad
        .iter()
        .take(count)
        .filter(|bad| bad.inode.load(Ordering::SeqCst) == inode)
    {
        let from = bad.from.load(Ordering::SeqCst);
        let to = bad.to.load(Ordering::SeqCst);
        if to > at && from < end {
            end = from.max(at);
        }
    }

    if end == at {
        fail(control, libc::EIO);
        return None;
    }

    Some((end - at) as usize)
}

/// As in `fsync(2)`.
// SAFETY: takes the C library's name on purpose, with its signature.
#[unsafe(no_mangle)]
pub extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd, before!(fsync, Sync))
}

/// As in `fdatasync(2)`.
// SAFETY: takes the C library's name on purpose, with its signature.
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd, before!(fdatasync, Sync))
}

/// As in `write(2)`.
// SAFETY: takes the C library's name on purpose, with its signature.
#[unsafe(no_mangle)]
pub extern "C" fn write(fd: c_int, data: *const c_void, bytes: usize) -> isize {
    if write_fails(fd) {
        -1
    } else {
        before!(write, Write)(fd, data, bytes)
    }
}

/// As in `pwrite(2)`.
// SAFETY: takes the C library's name on purpose, with its signature.
#[unsafe(no_mangle)]
pub extern "C" fn pwrite64(fd: c_int, data: *const c_void, bytes: usize, at: i64) -> isize {
    if write_fails(fd) {
        -1
    } else {
        before!(pwrite64, WriteAt)(fd, data, bytes, at)
    }
}

/// As in `writev(2)`.
// SAFETY: takes the C library's name on purpose, with its signature.
#[unsafe(no_mangle)]
pub extern "C" fn writev(fd: c_int, parts: *const libc::iovec, count: c_int) -> isize {
    if write_fails(fd) {
        -1
    } else {
        before!(writev, WriteMany)(fd, parts, count)
    }
}

/// As in `read(2)`.
// SAFETY: takes the C library's name on purpose, with its signature.
#[unsafe(no_mangle)]
pub extern "C" fn read(fd: c_int, data: *mut c_void, bytes: usize) -> isize {
    readable(fd, None, bytes).map_or(-1, |bytes| before!(read, Read)(fd, data, bytes))
}

/// As in `pread(2)`.
// SAFETY: takes the C library's name on purpose, with its signature.
#[unsafe(no_mangle)]
pub extern "C" fn pread64(fd: c_int, data: *mut c_void, bytes: usize, at: i64) -> isize {
    readable(fd, Some(at), bytes).map_or(-1, |bytes| before!(pread64, ReadAt)(fd, data, bytes, at))
}

/// As in `clock_gettime(2)`.
///
/// # Safety
///
/// `time` is null or points to a structure that may be written to.
// SAFETY: takes the C library's name on purpose, with its signature.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    let done = before!(clock_gettime, GetTime)(clock, time);
    if clock == libc::CLOCK_REALTIME && done == 0 && !time.is_null() {
        let offset_ms =
            control().map_or(0, |control| control.clock_offset_ms.load(Ordering::Relaxed));
        // SAFETY: the caller's structure, just filled by the C library.
        unsafe { (*time).tv_sec += offset_ms / 1_000 };
    }

    done
}
