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

#[global_allocator]
static ALLOCATOR: Counted = Counted::new();
static NEXT_LANE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    // Neither made nor dropped by code, so that it can be used in an allocation at any time of a thread's life.
    static LANE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// mimalloc, counted.
struct Counted {
    counts: [Lane; LANES],
}

impl Counted {
    const fn new() -> Counted {
        Counted {
            counts: [const { Lane(AtomicI64::new(0)) }; LANES],
        }
    }

    fn count(&self, bytes: i64) {
        let lane = LANE.with(|lane| {
            if lane.get() == usize::MAX {
                lane.set(NEXT_LANE.fetch_add(1, Ordering::Relaxed) % LANES);
            }
            lane.get()
        });
        self.counts[lane].0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn allocated(&self) -> u64 {
        // What one thread takes another may free, so that a lane alone may be below nothing.
        let sum: i64 = self
            .counts
            .iter()
            .map(|lane| lane.0.load(Ordering::Relaxed))
            .sum();
        sum.max(0) as u64
    }
}

// SAFETY: everything is passed on to an allocator that keeps the contract.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        let memory = unsafe { MiMalloc.alloc(layout) };
        if !memory.is_null() {
            self.count(layout.size() as i64);
        }
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        let memory = unsafe { MiMalloc.alloc_zeroed(layout) };
        if !memory.is_null() {
            self.count(layout.size() as i64);
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        self.count(-(layout.size() as i64));
        // SAFETY: the caller keeps the contract.
        unsafe { MiMalloc.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        let moved = unsafe { MiMalloc.realloc(memory, layout, size) };
        if !moved.is_null() {
            self.count(size as i64 - layout.size() as i64);
        }
        moved
    }
}

/// Makes the allocator known to the parts of a node.
pub fn install() {
    trireme_base::memory::install(Allocator {
        allocated,
        held,
        give_back,
    });
}

fn allocated() -> u64 {
    ALLOCATOR.allocated()
}

/// What the process has in memory that is not of files. The allocator's own figure counts what it may use, not what it does.
fn held() -> u64 {
    held_pages().unwrap_or(0) * PAGE_BYTES
}

fn held_pages() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut fields = statm.split_whitespace().skip(1).map(str::parse::<u64>);
    let resident = fields.next()?.ok()?;
    let shared = fields.next()?.ok()?;
    Some(resident.saturating_sub(shared))
}

fn give_back() {
    // SAFETY: acts on what the calling thread has free.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory of one's own allocator, which other tests that run beside do not touch.
    struct Memory {
        from: &'static Counted,
        at: *mut u8,
        layout: Layout,
    }

    // SAFETY: memory belongs to whoever holds this.
    unsafe impl Send for Memory {}

    impl Memory {
        fn new(from: &'static Counted, layout: Layout) -> Memory {
            // SAFETY: no layout of these tests is empty.
            let at = unsafe { from.alloc(layout) };
            assert!(!at.is_null());
            Memory { from, at, layout }
        }

        fn resize(&mut self, size: usize) {
            // SAFETY: came from this allocator with this layout.
            self.at = unsafe { self.from.realloc(self.at, self.layout, size) };
            assert!(!self.at.is_null());
            self.layout = Layout::from_size_align(size, self.layout.align()).expect("a layout");
        }
    }

    impl Drop for Memory {
        fn drop(&mut self) {
            // SAFETY: came from this allocator with this layout.
            unsafe { self.from.dealloc(self.at, self.layout) }
        }
    }

    #[test]
    fn counts_what_is_in_use_whichever_thread_frees_it() {
        static OWN: Counted = Counted::new();

        let mut memory = Memory::new(&OWN, Layout::new::<[u64; 1_000]>());
        assert_eq!(OWN.allocated(), 8_000);
        memory.resize(20_000);
        assert_eq!(OWN.allocated(), 20_000);
        memory.resize(70);

        let second = Memory::new(&OWN, Layout::new::<[u8; 5]>());
        assert_eq!(OWN.allocated(), 75);

        #[allow(clippy::disallowed_methods)] // memory that another thread gives back
        let other = std::thread::Builder::new().name("frees".to_owned());
        other
            .spawn(move || drop(memory))
            .expect("starts")
            .join()
            .expect("it frees");

        assert_eq!(OWN.allocated(), 5);
        drop(second);
        assert_eq!(OWN.allocated(), 0);
    }

    #[test]
    fn the_process_uses_it() {
        let list = vec![1u8; 50 << 20];
        // Lanes are read one after the other while other tests run, so that the sum may be a little off.
        assert!(allocated() >= 40 << 20, "{}", allocated());
        assert!(held() >= 50 << 20, "{}", held());
        drop(list);
        give_back();
    }
}
