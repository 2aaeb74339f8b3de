//! The sender's side.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Semaphore, TryAcquireError, oneshot};
use trireme_base::ErrorKind;

use crate::envelope::{Call, Deliver, DepthGuard, Envelope, Work};
use crate::metrics::PortMetrics;

/// Why a message was not answered.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum PortError {
    /// The queue is at its bound.
    #[error("the queue of {0} is full")]
    Full(&'static str),
    /// The actor is being restarted or the node stops.
    #[error("{0} is not running")]
    Down(&'static str),
    /// The actor ended, or could not take the work, before it answered; the work may or may not have been done.
    #[error("{0} ended or dropped the work before it answered")]
    Lost(&'static str),
    /// No answer within the deadline; the work may still be done.
    #[error("{0} did not answer in time")]
    Timeout(&'static str),
}

impl PortError {
    /// What a caller can do about it.
    pub fn kind(self) -> ErrorKind {
        match self {
            Self::Full(_) => ErrorKind::Limited,
            Self::Down(_) | Self::Lost(_) => ErrorKind::Unavailable,
            Self::Timeout(_) => ErrorKind::Timeout,
        }
    }
}

struct Inner<M: Call> {
    name: &'static str,
    places: Arc<Semaphore>,
    target: ArcSwapOption<Box<dyn Deliver<M>>>,
    metrics: PortMetrics,
}

/// A bounded, metered way to send `M` to whichever actor currently stands behind it. Clones share the bound.
pub struct Port<M: Call>(Arc<Inner<M>>);

impl<M: Call> Clone for Port<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Call> Port<M> {
    /// A port with room for `bound` messages, queued or worked on; nobody stands behind it yet.
    pub fn new(name: &'static str, bound: usize, metrics: PortMetrics) -> Self {
        let places = Arc::new(Semaphore::new(bound));
        Self(Arc::new(Inner {
            name,
            places,
            target: ArcSwapOption::empty(),
            metrics,
        }))
    }

    /// Points the port at an actor, in place of the one before.
    pub fn target(&self, deliver: Arc<dyn Deliver<M>>) {
        let deliver: Box<dyn Deliver<M>> = Box::new(move |envelope| deliver.deliver(envelope));
        self.0.target.store(Some(Arc::new(deliver)));
    }

    /// Takes the actor away: senders get [`PortError::Down`].
    pub fn detach(&self) {
        self.0.target.store(None);
    }

    /// True while an actor stands behind the port.
    pub fn is_up(&self) -> bool {
        self.0.target.load().is_some()
    }

    /// Sends and waits for the answer, at most `deadline`. Dropping the future does not take the message back.
    pub async fn call(&self, message: M, deadline: Duration) -> Result<M::Reply, PortError> {
        let answer = self.send(message)?;
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(PortError::Lost(self.0.name)),
            Err(_) => Err(PortError::Timeout(self.0.name)),
        }
    }

    /// Sends without waiting for an answer.
    pub fn tell(&self, message: M) -> Result<(), PortError> {
        self.send(message).map(drop)
    }

    /// Sends; the receiver resolves to the answer, or to an error if the actor ended first.
    pub fn send(&self, message: M) -> Result<oneshot::Receiver<M::Reply>, PortError> {
        let inner = &self.0;
        let permit = match Arc::clone(&inner.places).try_acquire_owned() {
            Ok(permit) => permit,
            Err(TryAcquireError::NoPermits) => {
                inner.metrics.rejected.inc();
                return Err(PortError::Full(inner.name));
            }
            Err(TryAcquireError::Closed) => return Err(PortError::Down(inner.name)),
        };

        let target = inner.target.load();
        let target = target.as_ref().ok_or(PortError::Down(inner.name))?;
        let (tx, rx) = oneshot::channel();
        let work = Work {
            reply: Some(tx),
            _permit: permit,
            _depth: DepthGuard::new(inner.metrics.clone()),
        };

        match target.deliver(Envelope { message, work }) {
            Ok(()) => Ok(rx),
            Err(_) => Err(PortError::Down(inner.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct Ping;
    impl Call for Ping {
        type Reply = u8;
    }

    #[tokio::test]
    async fn refuses_over_the_bound_until_work_is_done() {
        let port = Port::<Ping>::new("ping", 1, PortMetrics::unregistered());
        assert_eq!(port.tell(Ping), Err(PortError::Down("ping")));
        let held = Arc::new(Mutex::new(Vec::new()));
        let queue = Arc::clone(&held);

        port.target(Arc::new(move |envelope: Envelope<Ping>| {
            queue.lock().expect("test lock").push(envelope);
            Ok(())
        }));

        let answer = port.send(Ping).expect("one place is free");
        assert_eq!(port.tell(Ping), Err(PortError::Full("ping")));
        let (_, work) = held
            .lock()
            .expect("test lock")
            .pop()
            .expect("queued")
            .open();

        work.done(7);
        assert_eq!(answer.await, Ok(7));
        assert!(port.tell(Ping).is_ok());
    }

    #[tokio::test]
    async fn tells_the_sender_when_the_message_is_lost() {
        let port = Port::<Ping>::new("ping", 1, PortMetrics::unregistered());
        port.target(Arc::new(|envelope: Envelope<Ping>| {
            drop(envelope);
            Ok(())
        }));
        assert_eq!(
            port.call(Ping, Duration::from_secs(5)).await,
            Err(PortError::Lost("ping"))
        );
    }
}
