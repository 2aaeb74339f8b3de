//! The runtime for sockets and the object store.

use std::io;
use std::ops::Deref;

use tokio::runtime::{Builder, Runtime};
use trireme_base::memory;

/// A runtime of its own that can be dropped anywhere, also by a start that fails half-way: a plain one must not be
/// dropped on a thread that drives another.
pub(crate) struct IoThreads(Option<Runtime>);

impl IoThreads {
    /// Starts the threads.
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(threads)
            .thread_name("io")
            .enable_all();
        builder.on_thread_park(memory::give_back_if_asked);
        Ok(Self(Some(builder.build()?)))
    }
}

impl Deref for IoThreads {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("taken only by drop")
    }
}

impl Drop for IoThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // What is still on its way is repaired or repeated by the next start.
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::IoThreads;

    #[tokio::test]
    async fn can_be_dropped_inside_another_runtime() {
        let io = IoThreads::start(1).expect("threads start");
        let (sender, receiver) = tokio::sync::oneshot::channel();
        io.spawn(async move { sender.send(7) });
        assert_eq!(receiver.await, Ok(7));
        drop(io);
    }
}
