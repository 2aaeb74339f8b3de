//! What the process's allocator knows and does, for parts that must not depend on which one it is.
//!
//! An allocator belongs to the process and not to a node, so this is global. The binary installs its own; in a process
//! that has none, as those of tests, figures are unknown and nothing is given back.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

static ALLOCATOR: OnceLock<Allocator> = OnceLock::new();

/// Rises with each [`ask_threads`].
static ASKED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// What this thread has followed of [`ASKED`].
    static FOLLOWED: Cell<u64> = const { Cell::new(0) };
}

/// How to ask the allocator.
#[derive(Clone, Copy, Debug)]
pub struct Allocator {
    /// Bytes that were asked for and are in use.
    pub allocated: fn() -> u64,
    /// Bytes that the process has from the system, those kept for later included; 0 if that is not known.
    pub held: fn() -> u64,
    /// Gives back to the system what this thread's part of it has free. Takes milliseconds.
    pub give_back: fn(),
}

/// Says what this process has; only the first call counts.
pub fn install(allocator: Allocator) {
    let _ = ALLOCATOR.set(allocator);
}

/// What was installed.
pub fn allocator() -> Option<&'static Allocator> {
    ALLOCATOR.get()
}

/// Asks every thread that calls [`give_back_if_asked`] to give back what it has free.
pub fn ask_threads() {
    ASKED.fetch_add(1, Ordering::Relaxed);
}

/// Gives back what this thread has free, if that was asked for since its last call. Allocators keep free memory by thread,
/// and only the thread itself can give it back; so threads that live for long call this now and then while they have
/// nothing to do.
pub fn give_back_if_asked() {
    let asked = ASKED.load(Ordering::Relaxed);
    let is_new = FOLLOWED.with(|followed| followed.replace(asked) != asked);
    if let Some(allocator) = ALLOCATOR.get().filter(|_| is_new) {
        (allocator.give_back)();
    }
}
