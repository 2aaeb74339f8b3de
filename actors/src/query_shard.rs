//! `QueryShard`: admits queries and evaluates them on the CPU pool.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context};
use slog::{Logger, warn};
use tokio::sync::oneshot;
use trireme_base::ErrorKind;
use trireme_base::pool::{CpuPool, PoolError};
use trireme_mailbox::{Call, Envelope, Port, PortError};

use crate::canary::Canary;
use crate::delivery::{crasher, crashes};
use crate::supervisor::{Start, Started};

/// A piece of evaluation; it delivers its own result.
pub struct Evaluate {
    job: Box<dyn FnOnce() + Send>,
}

impl Call for Evaluate {
    type Reply = ();
}

/// Why an evaluation gave no result.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum EvaluateError {
    /// The actor's queue is full, it is restarting, or it did not answer in time.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The evaluation was dropped: the pool is full or the job panicked.
    #[error(
        "the query was dropped: the queue for queries is full, or the query failed unexpectedly"
    )]
    Dropped,
}

impl EvaluateError {
    /// What a caller can do about it.
    pub fn kind(self) -> ErrorKind {
        match self {
            Self::Port(error) => error.kind(),
            Self::Dropped => ErrorKind::Unavailable,
        }
    }
}

/// Runs `job` on the CPU pool through the actor and waits for its result, at most `deadline`.
pub async fn evaluate<T: Send + 'static>(
    port: &Port<Evaluate>,
    deadline: Duration,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, EvaluateError> {
    let (tx, rx) = oneshot::channel();
    let job = Box::new(move || drop(tx.send(job())));
    port.call(Evaluate { job }, deadline).await?;
    rx.await.map_err(|_| EvaluateError::Dropped)
}

/// Admits evaluations to the pool; the place in its queue is held until the evaluation is done.
///
/// There is nothing to decide one after the other, so the port leads straight to the pool: a query waits for one thread
/// less. The actor is what is supervised, and without it the port is closed.
pub struct QueryShard {
    _canary: Canary,
}

impl QueryShard {
    /// How the supervisor starts it.
    pub fn starter(pool: Arc<CpuPool>, log: Logger, port: Port<Evaluate>) -> Start {
        Box::new(move |canary| {
            let addr = Self { _canary: canary }.start();
            let door = addr.clone();
            let pool = Arc::clone(&pool);
            let log = log.clone();

            port.target(Arc::new(move |envelope: Envelope<Evaluate>| {
                if !door.connected() {
                    return Err(envelope);
                }
                queue(&pool, &log, envelope);
                Ok(())
            }));

            Box::pin(async move {
                Ok(Started {
                    crash: crasher(addr),
                })
            })
        })
    }
}

impl Actor for QueryShard {
    type Context = Context<Self>;
}

crashes!(QueryShard);

fn queue(pool: &CpuPool, log: &Logger, envelope: Envelope<Evaluate>) {
    let (message, work) = envelope.open();
    let queued = pool.run(move || {
        (message.job)();
        work.done(());
    });

    match queued {
        Ok(_) => {}
        // The caller is told by its dropped reply.
        Err(PoolError::Full) => {
            warn!(log, "query refused"; "reason" => "the CPU pool's queue is full")
        }
        Err(error) => warn!(log, "query refused"; "err" => %error),
    }
}
