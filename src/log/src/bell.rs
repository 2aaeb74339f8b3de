//! What wakes the log's thread.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Wakes the log's thread, which then writes everything that is queued.
///
/// Queueing and waking are two things because a request has several appends, one a shard: if each of them woke the thread,
/// it would write, sync and tell the peers once for each.
///
/// Not a channel: a receiver spins and yields before it sleeps, and this thread sleeps after every request.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<Rung>);

#[derive(Debug, Default)]
struct Rung {
    /// Rung and not heard yet; that stands for all rings that follow.
    is_rung: Mutex<bool>,
    rings: Condvar,
}

impl Bell {
    /// Wakes the thread. Never waits.
    pub fn ring(&self) {
        if !std::mem::replace(&mut *self.0.is_rung.lock(), true) {
            self.0.rings.notify_one();
        }
    }

    /// Waits for a ring, at most for a time if one is given.
    pub(crate) fn wait(&self, at_most: Option<Duration>) {
        let mut is_rung = self.0.is_rung.lock();
        match at_most {
            Some(time) => drop(self.0.rings.wait_while_for(&mut is_rung, is_silent, time)),
            None => self.0.rings.wait_while(&mut is_rung, is_silent),
        }
        *is_rung = false;
    }

    /// Rings when the last clone of what is returned is dropped: for appends that come from several threads and belong
    /// together. However one of them ends, the others are not forgotten.
    pub fn ring_once_all_are_in(&self) -> Arc<LastRings> {
        Arc::new(LastRings(self.clone()))
    }
}

fn is_silent(is_rung: &mut bool) -> bool {
    !*is_rung
}

/// Held by each of several appends that belong together; see [`Bell::ring_once_all_are_in`].
#[derive(Debug)]
pub struct LastRings(Bell);

impl Drop for LastRings {
    fn drop(&mut self) {
        self.0.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_when_the_last_of_several_is_dropped_however_it_ends() {
        let bell = Bell::default();
        let first = bell.ring_once_all_are_in();
        let second = Arc::clone(&first);

        drop(first);
        assert!(!*bell.0.is_rung.lock());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _held = second;
            panic!("an append that dies");
        }));
        assert!(panicked.is_err());

        assert!(*bell.0.is_rung.lock());
        bell.ring();
        bell.wait(None);

        assert!(!*bell.0.is_rung.lock(), "one ring stands for all");
    }
}
