//! The list by which a node stops, in order.
//!
//! Readiness off and no new writes, then what is in flight, then background work, then the log, then a checkpoint, HTTP last.
//! A part that does not finish in its time is named in the log and left behind: the next start repairs from the log.

use std::time::Duration;

use futures::future::LocalBoxFuture;
use slog::{Logger, info, warn};

type Step = Box<dyn FnOnce() -> LocalBoxFuture<'static, bool>>;

/// Steps in the order in which they were added.
#[derive(Default)]
pub(crate) struct StopList {
    steps: Vec<(&'static str, Step)>,
}

impl StopList {
    /// Adds a step; it answers whether it finished in its time.
    pub(crate) fn push<F>(&mut self, name: &'static str, step: impl FnOnce() -> F + 'static)
    where
        F: Future<Output = bool> + 'static,
    {
        self.steps.push((name, Box::new(move || Box::pin(step()))));
    }

    /// Takes all steps.
    pub(crate) async fn run(self, log: &Logger, elapsed: impl Fn() -> Duration) {
        for (name, step) in self.steps {
            let before = elapsed();
            let finished = step().await;
            let elapsed_ms = (elapsed() - before).as_millis() as u64;
            if finished {
                info!(log, "stopped"; "step" => name, "elapsed_ms" => elapsed_ms);
            } else {
                warn!(log, "did not finish in its time"; "step" => name, "elapsed_ms" => elapsed_ms);
            }
        }
    }
}
