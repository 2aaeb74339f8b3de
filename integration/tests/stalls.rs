//! A disk that stands still for half a minute is slow and nothing else: no replica takes it for a gap that no log can fill.

use std::time::Duration;

use anyhow::ensure;
use trireme_integration::{Client, Group, SampleSet, Series, now_ms, until, until_for};

/// How long one sync of a log takes.
const STALL_MS: u64 = 30_000;
/// From the end of a stall on, debug builds on a busy machine.
const LEVEL_BOUND: Duration = Duration::from_secs(90);

/// Writes a request with new series; adds it to `acknowledged` if it was.
async fn write(client: &Client, acknowledged: &mut SampleSet) -> anyhow::Result<bool> {
    let now = now_ms();
    let series: Vec<Series> = (0..50)
        .map(|i: u32| Series::new("stalls", &[("i", &i.to_string())], &[(now, f64::from(i))]))
        .collect();

    let is_success = client.write(&series).await?.is_success();
    if is_success {
        series.iter().for_each(|series| series.add_to(acknowledged));
    }

    Ok(is_success)
}

async fn nobody_is_rebuilt(group: &Group) -> anyhow::Result<()> {
    for node in group.nodes() {
        ensure!(
            !node.log().contains("has to be rebuilt"),
            "{}: {}",
            node.name(),
            node.log()
        );
        ensure!(
            node.client().metric("trireme_rebuild_incomplete").await? == 0.0,
            "{}",
            node.name()
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_that_stand_still_make_nobody_rebuild_itself() -> anyhow::Result<()> {
    let mut group = Group::of(3).set("cluster.ack_timeout=2s").prepare()?;

    let mut disks = Vec::new();
    for node in 0..3 {
        disks.push(group.node(node).make_faulty()?);
        group.node(node).start()?;
    }

    for node in 0..3 {
        group.node(node).ready().await?;
    }

    let mut acknowledged = SampleSet::default();
    until("a quorum takes writes", async || {
        ensure!(write(group.client(0), &mut acknowledged).await?, "not yet");
        Ok(())
    })
    .await?;

    for stalled in [&disks[2..], &disks[..]] {
        let began_ms = now_ms();
        stalled.iter().for_each(|disk| disk.slow_syncs(STALL_MS));
        until_for("the stall is over", LEVEL_BOUND, async || {
            write(group.client(0), &mut acknowledged).await?;
            write(group.client(1), &mut acknowledged).await?;
            // Syncs that have begun are as slow as they are.
            if now_ms() - began_ms > 2_000 {
                stalled.iter().for_each(|disk| disk.slow_syncs(0));
            }
            ensure!(now_ms() - began_ms > STALL_MS as i64 + 5_000, "it goes on");
            Ok(())
        })
        .await?;

        until_for(
            "writes are acknowledged again, by everybody",
            LEVEL_BOUND,
            async || {
                for client in group.clients() {
                    ensure!(write(&client, &mut acknowledged).await?, "{}", client.url());
                }
                Ok(())
            },
        )
        .await?;

        nobody_is_rebuilt(&group).await?;
        let held = group.converged().await?;
        let missing = acknowledged.first_missing_in(&held);
        ensure!(
            missing.is_none(),
            "an acknowledged sample is missing: {missing:?}"
        );
    }

    group.stop().await
}
