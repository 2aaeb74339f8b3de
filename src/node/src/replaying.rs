//! Applying the log behind the checkpoints while the node works.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use slog::{Logger, error, info};
use tokio::sync::mpsc;
use trireme_base::Clock;
use trireme_log::{LogError, ReplayPlan, ReplayReport};
use trireme_storage::Store;

use crate::context::NodeContext;

/// A replay that was told to end needs no longer than for the records it holds.
const END_LOOK: Duration = Duration::from_millis(10);

/// What a replay works with.
struct Work {
    plan: ReplayPlan,
    store: Arc<Store>,
    threads: usize,
    clock: Arc<dyn Clock>,
    log: Logger,
    ask_stop: mpsc::Sender<String>,
}

/// Starts to replay; [`Store::replay`] tells how far it is. A node whose log cannot be replayed stops with a fault.
pub(crate) fn start(
    context: &NodeContext,
    store: &Arc<Store>,
    plan: ReplayPlan,
) -> anyhow::Result<()> {
    let work = Work {
        plan,
        store: Arc::clone(store),
        threads: context.cores,
        clock: Arc::clone(&context.clock),
        log: context.log.clone(),
        ask_stop: context.ask_stop.clone(),
    };

    // Once for each start, and it ends by itself.
    #[allow(clippy::disallowed_methods)] // one a start
    let thread = std::thread::Builder::new()
        .name("replay".to_owned())
        .spawn(move || work.run());

    thread
        .map(drop)
        .context("cannot start the thread of the replay")
}

/// Has a replay that still runs end without a result, and waits for that.
pub(crate) async fn end(store: &Store) -> bool {
    store.replay().watch().stop();
    while store.replay().is_running() {
        tokio::time::sleep(END_LOOK).await;
    }
    true
}

impl Work {
    fn run(self) {
        let began = self.clock.monotonic();

        // The panic hook has logged where; what was applied in part is not trusted.
        let result = catch_unwind(AssertUnwindSafe(|| self.apply()));
        match result {
            Ok(Ok(report)) => {
                self.store.replayed(&self.plan);
                let elapsed_ms = (self.clock.monotonic() - began).as_millis() as u64;
                info!(self.log, "log replayed, the head is whole"; "records" => report.records,
                    "bytes" => report.bytes, "elapsed_ms" => elapsed_ms);
            }
            Ok(Err(LogError::Stopped)) => self.store.replay().ended(),
            Ok(Err(err)) => self.fail(&err.to_string()),
            Err(_) => self.fail("a thread of the replay panicked"),
        }
    }

    fn apply(&self) -> Result<ReplayReport, LogError> {
        let shards = &self.store.parts().shards;
        let watch = self.store.replay().watch();
        let count = shards.len() as u16;

        self.store.log().replay(&self.plan, count, self.threads, watch, |shard, record| {
            if let Err(err) = shards[usize::from(shard)].apply(record) {
                error!(self.log, "record of the log could not be applied in full"; "shard" => shard, "err" => %err);
                self.store.parts().completeness.note_unapplied();
            }
        })
    }

    fn fail(&self, why: &str) {
        self.store.replay().ended();
        let _ = self
            .ask_stop
            .try_send(format!("the log could not be replayed: {why}"));
    }
}
