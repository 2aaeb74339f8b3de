//! A query sees whole requests of a shard, and on both sides of an operator the same ones, where they are written and where
//! they are applied.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::ensure;
use trireme_integration::{Client, Group, Series, now_ms};

/// Series on each side.
const SERIES: usize = 300;
/// How long it is asked (ms).
const HOW_LONG_MS: i64 = 6_000;

/// Writes one value to all series, one request after the other.
async fn write(
    client: Client,
    written: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let mut t = now_ms() - 60_000;
    while !done.load(Ordering::SeqCst) {
        let value = written.fetch_add(1, Ordering::SeqCst) as f64;
        t += 7;
        let of = |name: &'static str| {
            (0..SERIES).map(move |i| Series::new(name, &[("i", &i.to_string())], &[(t, value)]))
        };
        client
            .write(&of("a").chain(of("b")).collect::<Vec<_>>())
            .await?
            .success()?;
    }

    Ok(())
}

/// Asks until `end_ms`; answers how often there was an answer.
async fn read(client: Client, end_ms: i64) -> anyhow::Result<usize> {
    let mut answers = 0;
    while now_ms() < end_ms {
        // None if nothing is there yet.
        if let Some(apart) = client.instant("max(abs(a - on (i) b))").await? {
            ensure!(apart == 0.0, "a and b are {apart} apart");
            answers += 1;
        }
        if let Some(same) = client.instant("count(a == on (i) b)").await? {
            ensure!(same == SERIES as f64, "{same} of {SERIES} are equal");
        }
    }

    Ok(answers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_of_an_operator_see_the_same_requests() -> anyhow::Result<()> {
    let group = Group::of(3)
        .set("storage.shards=1")
        .set("bucket.type=none")
        .start()
        .await?;

    let written = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(
        group.client(0).clone(),
        Arc::clone(&written),
        Arc::clone(&done),
    ));

    let end_ms = now_ms() + HOW_LONG_MS;
    let readers = [0, 1].map(|node| tokio::spawn(read(group.client(node).clone(), end_ms)));

    let mut answers = Vec::new();
    for reader in readers {
        answers.push(reader.await?);
    }

    done.store(true, Ordering::SeqCst);
    writer.await??;

    for answers in answers {
        let answers = answers?;
        let written = written.load(Ordering::SeqCst);
        ensure!(
            answers > 10,
            "{answers} answers while {written} requests were written"
        );
    }

    group.stop().await
}
