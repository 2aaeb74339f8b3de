//! Series that come and go: once the windows they were in are cut, the head forgets them.
#![allow(clippy::print_stdout)] // Figures of a run, for whoever runs it by hand.

use std::time::Duration;

use anyhow::ensure;
use trireme_integration::{Client, Group, Plan, Route, Senders, Series, now_ms, until, until_for};

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
        let series: Vec<Series> = (0..1_000)
            .map(|i: usize| {
                let pod = format!("pod-{generation}-{chunk}-{i}");
                let number = generation.to_string();
                let labels = [
                    ("pod", pod.as_str()),
                    ("generation", number.as_str()),
                    ("job", "churn"),
                ];
                Series::new(
                    "churned_total",
                    &labels,
                    &[(now, 1.0), (now + 1, 2.0), (now + 2, 3.0)],
                )
            })
            .collect();

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
    let group = Group::of(1)
        .short_windows(2)
        .set("checkpoint.interval=1s")
        .start()
        .await?;

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
        ensure!(
            client.metric("trireme_head_series").await? >= STEADY as f64,
            "not yet"
        );
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
    ensure!(
        second <= first * 1.15 + f64::from(32 << 20),
        "memory of series that ended is not used again"
    );

    let (_, totals) = senders.stop().await?;
    ensure!(
        totals.rejected == 0 && totals.refused_attempts == 0,
        "{totals:?}"
    );

    group.stop().await
}

/// Series of a burst, and how many bursts; `TRIREME_BURSTS` is `series,bursts` of a longer run.
fn bursts() -> (usize, usize) {
    let asked = std::env::var("TRIREME_BURSTS").ok();
    let asked = asked.as_deref().and_then(|text| text.split_once(','));
    asked
        .and_then(|(series, bursts)| Some((series.parse().ok()?, bursts.parse().ok()?)))
        .unwrap_or((30_000, 3))
}

/// MiB a node uses, and MiB it has from the system, as it counts them itself.
///
/// The resident memory would not do as a judge: pages of files and what the kernel takes back late are in it.
async fn memory(client: &Client) -> anyhow::Result<(f64, f64)> {
    let mebibytes = f64::from(1 << 20);
    let used = client.metric("trireme_memory_allocated_bytes").await?;
    let held = client.metric("trireme_memory_held_bytes").await?;
    Ok((used / mebibytes, held / mebibytes))
}

/// Nothing is written beside the bursts: the last windows that are cut must not be the end of collecting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bursts_give_their_memory_back_and_leave_no_more_than_one() -> anyhow::Result<()> {
    let group = Group::of(1)
        .short_windows(4)
        .set("checkpoint.interval=1s")
        .start()
        .await?;

    let client = group.client(0).clone();
    let (series, count) = bursts();
    let (before, held_before) = memory(&client).await?;

    let mut left = Vec::new();
    for burst in 0..count {
        for chunk in 0..series / 1_000 {
            client
                .write(
                    &(0..1_000)
                        .map(|i: usize| {
                            let pod = format!("pod-{burst}-{chunk}-{i}");
                            let burst = burst.to_string();
                            let labels = [
                                ("pod", pod.as_str()),
                                ("burst", burst.as_str()),
                                ("job", "bursts"),
                            ];
                            Series::new("burst_total", &labels, &[(now_ms(), 1.0)])
                        })
                        .collect::<Vec<_>>(),
                )
                .await?
                .success()?;
        }

        let mut peak = 0.0_f64;
        until("they are known", async || {
            ensure!(
                client.metric("trireme_head_series").await? > 0.0,
                "none yet"
            );
            Ok(())
        })
        .await?;

        until_for("the series of the burst are collected", BOUND, async || {
            peak = peak.max(memory(&client).await?.0);
            let held = client.metric("trireme_head_series").await?;
            ensure!(held == 0.0, "{held} are left");
            Ok(())
        })
        .await?;

        let bound = left.first().map_or(f64::MAX, |first| first * 1.15 + 2.0);
        until_for(
            "their memory is given back",
            Duration::from_secs(120),
            async || {
                let (used, held) = memory(&client).await?;
                let all = format!(
                    "{before:.1} MiB before, {peak:.1} at most, {used:.1} now, {held:.1} held"
                );
                ensure!(used <= before + (peak - before) / 3.0 + 2.0, "{all}");
                ensure!(
                    used <= bound,
                    "{all}, and after the first burst {:.1}",
                    left[0]
                );

                // What the allocator may keep for later, over the stacks and tables a process begins with.
                ensure!(held <= held_before + used * 1.25 + 16.0, "{all}");
                Ok(())
            },
        )
        .await?;

        let (used, held) = memory(&client).await?;
        println!(
            "burst {burst} of {series} series: {before:.1} MiB before all, {peak:.1} at the peak, {used:.1} left, \
             {held:.1} held"
        );
        left.push(used);
    }

    group.stop().await
}
