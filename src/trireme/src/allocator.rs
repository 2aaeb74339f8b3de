//! The allocator: mimalloc, with a count of what is in use.
//!
//! What the system says of a process is what the allocator holds. How much of that is in use it does not tell, and without
//! that nobody can say whether memory leaks or is only kept. So sizes are added up here, as they were asked for.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use mimalloc::MiMalloc;
use trireme_base::memory::Allocator;

/// Counters, of which each thread uses one, so that threads do not wait for each other's cache lines.
const LANES: usize = 64;
/// Bytes of a page of memory, as the system counts.
const PAGE_BYTES: u64 = 4_096;

#[repr(align(64))]
struct Lane(AtomicI64);

static COUNTS: [Lane; LANES] = [const { Lane(AtomicI64::new(0)) }; LANES];
static NEXT_LANE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    // Neither made nor dropped by code, so that it can be used in an allocation at any time of a thread's life.
    static LANE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// mimalloc, counted.
pub struct Counted;

fn count(bytes: i64) {
    let lane = LANE.with(|lane| {
        if lane.get() == usize::MAX {
            lane.set(NEXT_LANE.fetch_add(1, Ordering::Relaxed) % LANES);
        }
        lane.get()
    });
    COUNTS[lane].0.fetch_add(bytes, Ordering::Relaxed);
}

// SAFETY: everything is passed on to an allocator that keeps the contract.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        let memory = unsafe { MiMalloc.alloc(layout) };
        if !memory.is_null() {
            count(layout.size() as i64);
        }
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        let memory = unsafe { MiMalloc.alloc_zeroed(layout) };
        if !memory.is_null() {
            count(layout.size() as i64);
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller keeps the contract.
        unsafe { MiMalloc.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        let moved = unsafe { MiMalloc.realloc(memory, layout, size) };
        if !moved.is_null() {
            count(size as i64 - layout.size() as i64);
        }
        moved
    }
}

/// Makes the allocator known to the parts of a node.
pub fn install() {
    trireme_base::memory::install(Allocator { allocated, held, give_back });
}

fn allocated() -> u64 {
    // What one thread takes another may free, so that a lane alone may be below nothing.
    let sum: i64 = COUNTS.iter().map(|lane| lane.0.load(Ordering::Relaxed)).sum();
    sum.max(0) as u64
}

/// What the process has in memory that is not of files. The allocator's own figure counts what it may use, not what it does.
fn held() -> u64 {
    let pages = || {
        let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
        let mut fields = statm.split_whitespace().skip(1).map(str::parse::<u64>);
        let (resident, shared) = (fields.next()?.ok()?, fields.next()?.ok()?);
        Some(resident.saturating_sub(shared))
    };
    pages().unwrap_or(0) * PAGE_BYTES
}

fn give_back() {
    // SAFETY: acts on what the calling thread has free.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_in_use_whichever_thread_frees_it() {
        let before = allocated();
        let mut list = vec![0u8; 50 << 20];
        list.reserve_exact(30 << 20);
        list.shrink_to(70 << 20);
        let during = allocated() - before;
        // Other tests run beside.
        assert!((69 << 20..72 << 20).contains(&during), "{during}");
        assert!(held() > 1 << 20, "{}", held());
        let other = std::thread::Builder::new().name("frees".to_owned());
        other.spawn(move || drop(list)).expect("starts").join().expect("it frees");
        give_back();
        assert!(allocated() < before + (2 << 20), "{} {before}", allocated());
    }
}
