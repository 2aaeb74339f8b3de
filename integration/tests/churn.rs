//! Series that come and go: once the windows they were in are cut, the head forgets them.
#![allow(clippy::print_stdout)] // Figures of a run, for whoever runs it by hand.

use std::time::Duration;

use anyhow::ensure;
use trireme_integration::{Client, Group, Plan, Route, Senders, Series, now_ms, until_for};

/// Series that are there all the time.
const STEADY: usize = 2_000;
/// Series of a generation, of which each lives for a few samples.
const GENERATION: usize = 10_000;
const GENERATIONS: usize = 6;
/// Windows of two seconds, their grace and some checkpoints.
const BOUND: Duration = Duration::from_secs(90);

async fn write_generation(client: &Client, generation: usize) -> anyhow::Result<()> {
    for chunk in 0..GENERATION / 1_000 {
        let now = now_ms();
        let one = |i: usize| {
            let (pod, number) = (format!("pod-{generation}-{chunk}-{i}"), generation.to_string());
            let labels = [("pod", pod.as_str()), ("generation", number.as_str()), ("job", "churn")];
            Series::new("churned_total", &labels, &[(now, 1.0), (now + 1, 2.0), (now + 2, 3.0)])
        };
        let series: Vec<Series> = (0..1_000).map(one).collect();
        client.write(&series).await?.success()?;
    }
    Ok(())
}

/// Writes all generations and waits until the head has forgotten them; answers the resident memory at the end of the
/// writes.
async fn wave(client: &Client, number: usize) -> anyhow::Result<f64> {
    for generation in 0..GENERATIONS {
        write_generation(client, number * GENERATIONS + generation).await?;
    }
    let resident = client.metric("process_resident_memory_bytes").await?;
    until_for("the head holds the steady series only", BOUND, async || {
        let series = client.metric("trireme_head_series").await?;
        ensure!(series <= STEADY as f64 * 1.01, "{series}");
        Ok(())
    })
    .await?;
    Ok(resident)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_that_ended_leave_the_head_with_their_windows() -> anyhow::Result<()> {
    let group = Group::of(1).short_windows(2).set("checkpoint.interval=1s").start().await?;
    let client = group.client(0).clone();
    let plan = Plan {
        senders: 2,
        series: STEADY / 2,
        every: Duration::from_millis(500),
        route: Route::Home,
        ..Plan::default()
    };
    let senders = Senders::start(&group.clients(), &plan);
    until_for("the steady series are known", BOUND, async || {
        ensure!(client.metric("trireme_head_series").await? >= STEADY as f64, "not yet");
        Ok(())
    })
    .await?;
    let first = wave(&client, 0).await?;
    let second = wave(&client, 1).await?;
    let mebibytes = |bytes: f64| bytes / f64::from(1 << 20);
    println!(
        "{} series came and went twice; resident at the peaks {:.0} and {:.0} MiB",
        GENERATION * GENERATIONS,
        mebibytes(first),
        mebibytes(second)
    );
    // What the first ones took is there for the second ones.
    ensure!(second <= first * 1.15 + f64::from(32 << 20), "memory of series that ended is not used again");
    let (_, totals) = senders.stop().await?;
    ensure!(totals.rejected == 0 && totals.refused_attempts == 0, "{totals:?}");
    group.stop().await
}
