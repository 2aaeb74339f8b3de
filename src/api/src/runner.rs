//! Where blocking work runs.

use std::panic::{AssertUnwindSafe, catch_unwind};

use async_trait::async_trait;
use tokio::sync::oneshot;
use trireme_base::ErrorKind;
use trireme_base::pool::{CpuPool, PoolError};
use trireme_query::QueryError;

/// Runs closures off the event loops, in a bounded queue.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Queues `job`; resolves when it has run, or with an error if it never will.
    async fn run(&self, job: Box<dyn FnOnce() + Send>) -> Result<(), QueryError>;
}

#[async_trait]
impl Runner for CpuPool {
    async fn run(&self, job: Box<dyn FnOnce() + Send>) -> Result<(), QueryError> {
        self.call(job).await.map_err(|e| {
            let kind = match e {
                PoolError::Full | PoolError::Stopped => ErrorKind::Unavailable,
                PoolError::Panicked => ErrorKind::Internal,
            };
            QueryError::new(kind, e.to_string())
        })
    }
}

/// Runs `job` and gives its result.
pub(crate) async fn run<T: Send + 'static>(
    runner: &dyn Runner,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, QueryError> {
    let (tx, rx) = oneshot::channel();
    runner.run(Box::new(move || drop(tx.send(job())))).await?;
    rx.await.map_err(|_| failed())
}

/// Runs `job` at once on this thread; a panic is an error, as it is elsewhere.
pub(crate) fn run_here<T>(job: impl FnOnce() -> T) -> Result<T, QueryError> {
    catch_unwind(AssertUnwindSafe(job)).map_err(|_| failed())
}

fn failed() -> QueryError {
    QueryError::new(ErrorKind::Internal, "the query failed unexpectedly")
}
