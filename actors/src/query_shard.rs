//! `QueryShard`: admits queries and evaluates them on the CPU pool.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler};
use slog::{Logger, warn};
use tokio::sync::oneshot;
use trireme_base::ErrorKind;
use trireme_base::pool::{CpuPool, PoolError};
use trireme_mailbox::{Call, Port, PortError};

use crate::canary::Canary;
use crate::delivery::{Delivery, behind, crasher, crashes};
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
    #[error("the query was dropped: the queue for queries is full, or the query failed unexpectedly")]
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

/// Passes evaluations to the pool; the place in its mailbox is held until the evaluation is done.
pub struct QueryShard {
    pool: Arc<CpuPool>,
    log: Logger,
    _canary: Canary,
}

impl QueryShard {
    /// How the supervisor starts it.
    pub fn starter(pool: Arc<CpuPool>, log: Logger, port: Port<Evaluate>) -> Start {
        Box::new(move |canary| {
            let addr = Self { pool: Arc::clone(&pool), log: log.clone(), _canary: canary }.start();
            port.target(behind(addr.clone()));
            Box::pin(async move { Ok(Started { crash: crasher(addr) }) })
        })
    }
}

impl Actor for QueryShard {
    type Context = Context<Self>;
}

crashes!(QueryShard);

impl Handler<Delivery<Evaluate>> for QueryShard {
    type Result = ();

    fn handle(&mut self, Delivery(envelope): Delivery<Evaluate>, _: &mut Context<Self>) {
        let (message, work) = envelope.open();
        let queued = self.pool.run(move || {
            (message.job)();
            work.done(());
        });
        match queued {
            Ok(_) => {}
            // The caller is told by its dropped reply.
            Err(PoolError::Full) => {
                warn!(self.log, "query refused"; "reason" => "the CPU pool's queue is full")
            }
            Err(error) => warn!(self.log, "query refused"; "err" => %error),
        }
    }
}
