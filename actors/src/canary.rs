//! Notices that an actor ended.
//!
//! A panic in a handler ends an actix actor silently: its future is dropped and nobody is told. So every actor carries a
//! [`Canary`]; when it is dropped outside an ordered stop, the supervisor learns which actor died.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Where canaries report to; one flag a slot, so that nothing queues.
#[derive(Default)]
pub struct Morgue {
    changed: Notify,
    stopping: AtomicBool,
}

impl Morgue {
    /// From now on actors may end without being missed.
    pub fn close(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.changed.notify_one();
    }

    /// True after [`Morgue::close`].
    pub fn is_closed(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Makes the supervisor look again.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    /// Waits until some canary died or the morgue was closed.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Lives inside an actor; its drop is the news.
pub struct Canary {
    dead: Arc<AtomicBool>,
    morgue: Arc<Morgue>,
}

impl Canary {
    /// A canary and the flag that its death raises.
    pub fn new(morgue: Arc<Morgue>) -> (Self, Arc<AtomicBool>) {
        let dead = Arc::new(AtomicBool::new(false));
        (
            Self {
                dead: Arc::clone(&dead),
                morgue,
            },
            dead,
        )
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.dead.store(true, Ordering::SeqCst);
        self.morgue.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn death_raises_the_flag_and_wakes_the_supervisor() {
        let morgue = Arc::new(Morgue::default());
        let (canary, dead) = Canary::new(Arc::clone(&morgue));
        assert!(!dead.load(Ordering::SeqCst));
        drop(canary);
        morgue.changed().await;
        assert!(dead.load(Ordering::SeqCst));
    }
}
