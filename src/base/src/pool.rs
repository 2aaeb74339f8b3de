//! The CPU pool: threads fed by one bounded channel.
//!
//! Event loops must not compute for longer than half a millisecond, so queries, block writing and replay run
//! here. A job that panics is caught and reported to its caller; the thread lives on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::memory;

/// Stack of a thread unless something else is asked for, as the standard library has it.
const STACK_BYTES: usize = 2 << 20;

/// A thread without work for so long looks whether memory is wanted back.
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// Why a job gave no result.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum PoolError {
    /// The queue is at its bound; try later.
    #[error("the queue of the CPU pool is full")]
    Full,
    /// The job panicked; the panic was reported on the pool's thread.
    #[error("a job on the CPU pool panicked")]
    Panicked,
    /// The pool is stopped.
    #[error("the CPU pool is stopped")]
    Stopped,
}

/// A fixed set of threads that run closures.
pub struct CpuPool {
    jobs: Mutex<Option<Sender<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    size: usize,
}

impl CpuPool {
    /// Starts `threads` threads called `name-N` behind a queue of `queue_jobs` jobs.
    pub fn new(name: &str, threads: usize, queue_jobs: usize) -> std::io::Result<Self> {
        Self::with_stack(name, threads, queue_jobs, STACK_BYTES)
    }

    /// The same with stacks of `stack_bytes`; what a thread does not touch takes no memory.
    #[allow(clippy::disallowed_methods)]
    pub fn with_stack(
        name: &str,
        threads: usize,
        queue_jobs: usize,
        stack_bytes: usize,
    ) -> std::io::Result<Self> {
        let (tx, rx) = bounded::<Job>(queue_jobs);

        let mut handles = Vec::with_capacity(threads);
        for i in 0..threads {
            let rx: Receiver<Job> = rx.clone();
            let builder = std::thread::Builder::new()
                .name(format!("{name}-{i}"))
                .stack_size(stack_bytes);
            let handle = builder.spawn(move || {
                loop {
                    match rx.recv_timeout(IDLE) {
                        // The caller sees the panic as a dropped reply; the panic hook has logged it.
                        Ok(job) => drop(catch_unwind(AssertUnwindSafe(job))),
                        Err(RecvTimeoutError::Timeout) => memory::give_back_if_asked(),
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                }
            })?;

            handles.push(handle);
        }

        Ok(Self {
            jobs: Mutex::new(Some(tx)),
            threads: Mutex::new(handles),
            size: threads,
        })
    }

    /// Number of threads.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Jobs waiting for a thread.
    pub fn queued(&self) -> usize {
        self.jobs.lock().as_ref().map_or(0, Sender::len)
    }

    /// Queues `job` and gives a handle that resolves to its result. Dropping the handle does not stop the job.
    pub fn run<T, F>(&self, job: F) -> Result<oneshot::Receiver<T>, PoolError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (tx, rx) = oneshot::channel();
        let boxed: Job = Box::new(move || {
            let _ = tx.send(job());
        });
        let guard = self.jobs.lock();

        let jobs = guard.as_ref().ok_or(PoolError::Stopped)?;
        match jobs.try_send(boxed) {
            Ok(()) => Ok(rx),
            Err(TrySendError::Full(_)) => Err(PoolError::Full),
            Err(TrySendError::Disconnected(_)) => Err(PoolError::Stopped),
        }
    }

    /// Runs `job` and waits for its result.
    pub async fn call<T, F>(&self, job: F) -> Result<T, PoolError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.run(job)?.await.map_err(|_| PoolError::Panicked)
    }

    /// Refuses new jobs, runs the queued ones and joins the threads.
    pub fn stop(&self) {
        drop(self.jobs.lock().take());
        for thread in self.threads.lock().drain(..) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn survives_a_panicking_job() {
        let pool = CpuPool::new("test", 1, 4).expect("threads start");
        let failed = pool.call(|| -> u8 { panic!("expected by the test") }).await;
        assert_eq!(failed, Err(PoolError::Panicked));
        assert_eq!(pool.call(|| 41 + 1).await, Ok(42));
        pool.stop();
        assert_eq!(pool.call(|| 1).await, Err(PoolError::Stopped));
    }

    #[tokio::test]
    async fn refuses_when_the_queue_is_full() {
        let pool = CpuPool::new("test", 1, 1).expect("threads start");
        let (release, wait) = crossbeam_channel::bounded::<()>(0);
        let (started_tx, started) = crossbeam_channel::bounded::<()>(0);
        let first = pool.run(move || {
            started_tx.send(()).expect("test waits");
            wait.recv().expect("test releases");
        });

        started.recv().expect("first job started");
        let second = pool.run(|| ());
        assert!(matches!(pool.run(|| ()), Err(PoolError::Full)));

        release.send(()).expect("first job waits");
        first.expect("queued").await.expect("ran");
        second.expect("queued").await.expect("ran");
        pool.stop();
    }
}
