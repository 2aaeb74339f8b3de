//! A message on its way, with its permit and the place for its reply.

use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::metrics::PortMetrics;

/// A message and the type of its reply; `()` for messages that only report something.
pub trait Call: Send + 'static {
    /// What the actor answers.
    type Reply: Send + 'static;
}

/// Hands an envelope to the actor's queue; gives it back if the actor is gone.
pub trait Deliver<M: Call>: Send + Sync {
    /// Queues the envelope without waiting.
    fn deliver(&self, envelope: Envelope<M>) -> Result<(), Envelope<M>>;
}

impl<M: Call, F: Fn(Envelope<M>) -> Result<(), Envelope<M>> + Send + Sync> Deliver<M> for F {
    fn deliver(&self, envelope: Envelope<M>) -> Result<(), Envelope<M>> {
        self(envelope)
    }
}

/// A queued message. Dropping it unopened tells the sender that the message was lost.
pub struct Envelope<M: Call> {
    pub(crate) message: M,
    pub(crate) work: Work<M::Reply>,
}

/// The receiver's side of a message being worked on: answer it, or drop it to tell the sender it was lost.
pub struct Work<R> {
    pub(crate) reply: Option<oneshot::Sender<R>>,
    pub(crate) _permit: OwnedSemaphorePermit,
    pub(crate) _depth: DepthGuard,
}

/// Keeps the depth gauge right however an envelope ends.
pub(crate) struct DepthGuard {
    metrics: PortMetrics,
    queued: std::time::Instant,
}

impl DepthGuard {
    #[allow(clippy::disallowed_methods)] // measures this process only; no decision depends on it
    pub(crate) fn new(metrics: PortMetrics) -> Self {
        metrics.depth.inc();
        Self {
            metrics,
            queued: std::time::Instant::now(),
        }
    }

    fn waited(&self) -> Duration {
        self.queued.elapsed()
    }
}

impl Drop for DepthGuard {
    fn drop(&mut self) {
        self.metrics.depth.dec();
    }
}

impl<M: Call> Envelope<M> {
    /// Takes the message out to work on it.
    pub fn open(self) -> (M, Work<M::Reply>) {
        let guard = &self.work._depth;
        guard.metrics.wait.observe(guard.waited().as_secs_f64());
        (self.message, self.work)
    }
}

impl<R> Work<R> {
    /// Answers, and frees the message's place in the queue. An answer nobody waits for is dropped.
    pub fn done(mut self, reply: R) {
        if let Some(sender) = self.reply.take() {
            let _ = sender.send(reply);
        }
    }
}
