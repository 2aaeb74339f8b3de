//! Keeps connections close to each other in logical time.

use std::sync::{Condvar, Mutex, PoisonError};

/// Scrapes a connection may be ahead of the slowest one. A connection that carries fewer bodies than others would run
/// hours ahead, and receivers refuse what is much older than their newest sample.
const LEAD_MAX: usize = 2;

/// How many scrapes each connection has finished.
pub struct Pace {
    finished: Mutex<Vec<usize>>,
    moved: Condvar,
}

impl Pace {
    /// All connections stand before scrape 0.
    pub fn new(connections: usize) -> Self {
        Self {
            finished: Mutex::new(vec![0; connections]),
            moved: Condvar::new(),
        }
    }

    /// Waits until `scrape` is at most [`LEAD_MAX`] ahead of the slowest connection.
    pub fn wait(&self, scrape: usize) {
        // No holder of the lock can leave the numbers half changed, so a poisoned lock is as good.
        let finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        drop(
            self.moved
                .wait_while(finished, |finished: &mut Vec<usize>| {
                    finished
                        .iter()
                        .min()
                        .is_some_and(|slowest| scrape > slowest + LEAD_MAX)
                }),
        );
    }

    /// Says that a connection has finished another scrape.
    pub fn finish(&self, connection: usize) {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)[connection] += 1;
        self.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_waits_for_the_slowest() {
        let pace = Pace::new(2);
        (0..=LEAD_MAX).for_each(|scrape| {
            pace.wait(scrape);
            pace.finish(0);
        });
        std::thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel();
            let pace = &pace;
            scope.spawn(move || {
                pace.wait(LEAD_MAX + 1);
                tell.send(()).expect("the test listens");
            });
            assert!(told.try_recv().is_err());
            pace.finish(1);
            told.recv().expect("the fast one goes on");
        });
    }
}
