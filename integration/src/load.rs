//! A writer that remembers what was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::ensure;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::client::{Answer, Client};
use crate::protocol::Series;
use crate::samples::SampleSet;
use crate::wait::{now_ms, until};

/// Series of each request.
const SERIES: usize = 50;
/// Pause between requests of one writer; keeps a two-core machine free for the nodes.
const PAUSE: Duration = Duration::from_millis(10);

/// What happened to the requests of a [`Load`].
#[derive(Debug, Default)]
pub struct Sent {
    /// Samples whose request was answered 2xx.
    pub acknowledged: SampleSet,
    /// Number of requests answered 2xx.
    pub successes: u64,
    /// Answers other than 2xx, in order.
    pub refusals: Vec<Answer>,
    /// Requests without an answer, for example because the node was killed under them.
    pub broken: u64,
}

/// Writers, one a client, that send until they are stopped.
pub struct Load {
    is_over: Arc<AtomicBool>,
    sent: Arc<Mutex<Sent>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts one writer for each client. Each has series of its own, so that every sample is sent once.
    pub fn start(clients: &[Client]) -> Self {
        Self::start_from(0, clients)
    }

    /// As [`Load::start`], with series of writers from `first` on, for a load beside another one.
    pub fn start_from(first: usize, clients: &[Client]) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(Mutex::new(Sent::default()));
        let tasks = (first..).zip(clients).map(|(writer, client)| {
            tokio::spawn(write_until_over(
                writer,
                client.clone(),
                is_over.clone(),
                sent.clone(),
            ))
        });

        let tasks = tasks.collect();
        Self {
            is_over,
            sent,
            tasks,
        }
    }

    /// Looks at what was sent so far.
    pub async fn look<T>(&self, look: impl FnOnce(&Sent) -> T) -> T {
        look(&*self.sent.lock().await)
    }

    /// Waits until so many writes were acknowledged.
    pub async fn reaches(&self, wanted: u64) -> anyhow::Result<()> {
        until("more writes are acknowledged", async || {
            let successes = self.look(|sent| sent.successes).await;
            ensure!(successes >= wanted, "{successes} of {wanted}");
            Ok(())
        })
        .await
    }

    /// Forgets refusals and broken requests so far.
    pub async fn forget_refusals(&self) {
        let mut sent = self.sent.lock().await;
        sent.refusals.clear();
        sent.broken = 0;
    }

    /// Ends the writers after their current request and answers what was sent.
    pub async fn stop(self) -> anyhow::Result<Sent> {
        self.is_over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await?;
        }
        Ok(std::mem::take(&mut *self.sent.lock().await))
    }
}

async fn write_until_over(
    writer: usize,
    client: Client,
    is_over: Arc<AtomicBool>,
    sent: Arc<Mutex<Sent>>,
) {
    let mut last_timestamp = 0;

    let mut count = 0_u32;
    while !is_over.load(Ordering::Relaxed) {
        last_timestamp = now_ms().max(last_timestamp + 1);
        count += 1;
        let series: Vec<Series> = (0..SERIES)
            .map(|i| {
                let labels = [("writer", writer.to_string()), ("i", i.to_string())];
                let labels = labels
                    .each_ref()
                    .map(|(name, value)| (*name, value.as_str()));
                Series::new(
                    "load_total",
                    &labels,
                    &[(last_timestamp, f64::from(count) + i as f64 / 64.0)],
                )
            })
            .collect();

        let answer = client.write(&series).await;

        let mut sent = sent.lock().await;
        match answer {
            Ok(answer) if answer.is_success() => {
                sent.successes += 1;
                series
                    .iter()
                    .for_each(|series| series.add_to(&mut sent.acknowledged));
            }
            Ok(answer) => sent.refusals.push(answer),
            Err(_) => sent.broken += 1,
        }

        drop(sent);
        tokio::time::sleep(PAUSE).await;
    }
}
