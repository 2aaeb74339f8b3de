//! A full disk: writes get 503 and come back when there is room, queries go on, nothing acknowledged is lost.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, ensure};
use trireme_integration::{
    Answer, Client, DiskImage, Group, SampleSet, Series, left_out, now_ms, until,
};

/// Size of the node's disk.
const DISK_MEGABYTES: u64 = 64;

/// Writes one request with new samples of a thousand series; adds it to `acknowledged` if it was.
async fn write(client: &Client, acknowledged: &mut SampleSet) -> anyhow::Result<Answer> {
    let now = now_ms();
    let series: Vec<Series> = (0..1_000)
        .map(|i: u32| {
            Series::new(
                "full_disk",
                &[("i", &i.to_string())],
                &[(now, f64::from(i))],
            )
        })
        .collect();

    let answer = client.write(&series).await?;
    if answer.is_success() {
        series.iter().for_each(|series| series.add_to(acknowledged));
    }

    Ok(answer)
}

/// Fills the disk to the last byte.
fn fill(path: &Path) -> anyhow::Result<()> {
    let mut ballast = File::create(path)?;
    let piece = [0x55; 64 << 10];
    while ballast.write_all(&piece).is_ok() {}
    while ballast.write_all(&piece[..1]).is_ok() {}
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_with_503_until_there_is_room_again() -> anyhow::Result<()> {
    if let Some(reason) = DiskImage::missing() {
        left_out(
            "a_full_disk_refuses_writes_with_503_until_there_is_room_again",
            &reason,
        );
        return Ok(());
    }

    let mut group = Group::of(1)
        .set("storage.disk_free_min=8MiB")
        .set("log.segment_bytes=1MiB")
        .set("checkpoint.interval=1s")
        .set("storage.tick=200ms")
        .prepare()?;

    let image = DiskImage::make(&group.dir().join("n0.image"), DISK_MEGABYTES)?;
    std::fs::create_dir_all(group.nodes()[0].data_dir())?;
    group.node(0).mount_over_data_dir(&image.mount_options());
    group.node(0).start()?;
    group.node(0).ready().await?;

    let client = group.client(0).clone();
    let mut acknowledged = SampleSet::default();
    write(&client, &mut acknowledged).await?.success()?;

    let ballast = group.nodes()[0].data_dir_seen_by_process()?.join("ballast");
    fill(&ballast)?;
    let refused = until("a write is refused", async || {
        let answer = write(&client, &mut acknowledged).await?;
        ensure!(!answer.is_success(), "answered {}", answer.status);
        Ok(answer)
    })
    .await?;

    ensure!(refused.status == 503, "answered {refused:?}");
    ensure!(refused.retry_after.is_some(), "no Retry-After");
    ensure!(group.node(0).is_running(), "the node ended");

    let count = client
        .instant("count(full_disk)")
        .await?
        .context("no answer to a query on a full disk")?;
    ensure!(count == 1_000.0, "a query on a full disk answers {count}");

    std::fs::remove_file(&ballast)?;
    until("writes are accepted again", async || {
        let answer = write(&client, &mut acknowledged).await?;
        answer.success().map(drop)
    })
    .await?;

    fill(&ballast)?;
    group.node(0).kill()?;
    group.node(0).start()?;
    until(
        "a node that starts on a full disk answers queries",
        async || {
            let count = client
                .instant("count(last_over_time(full_disk[10m]))")
                .await?;
            ensure!(count == Some(1_000.0), "{count:?}");
            Ok(())
        },
    )
    .await?;

    let refused = write(&client, &mut acknowledged).await?;
    ensure!(
        refused.status == 503 && refused.retry_after.is_some(),
        "answered {refused:?}"
    );

    let ballast = group.nodes()[0].data_dir_seen_by_process()?.join("ballast");
    std::fs::remove_file(&ballast)?;
    until("writes are accepted after the start", async || {
        let answer = write(&client, &mut acknowledged).await?;
        answer.success().map(drop)
    })
    .await?;

    let missing = acknowledged.first_missing_in(&client.export().await?);
    ensure!(
        missing.is_none(),
        "an acknowledged sample is missing: {missing:?}"
    );

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_data_directory_is_taken_away_acknowledges_nothing_more() -> anyhow::Result<()>
{
    let mut group = Group::of(3).start().await?;
    let mut acknowledged = SampleSet::default();
    let client = group.client(0).clone();

    write(&client, &mut acknowledged).await?.success()?;
    let lost = group.nodes()[0].data_dir().with_extension("lost");
    std::fs::rename(group.nodes()[0].data_dir(), &lost)?;
    until("the node says so", async || {
        let ready = client.send(client.get("/-/ready")).await?;
        ensure!(
            ready.status == 503 && ready.body.contains("the log failed"),
            "{ready:?}"
        );
        Ok(())
    })
    .await?;

    ensure!(
        group.nodes()[0].log().contains("was deleted or replaced"),
        "the log does not say why"
    );

    // Others take its writes, and two of three are a quorum; without one of those the third copy is not counted.
    write(&client, &mut acknowledged).await?.success()?;
    let count = client
        .instant("count(last_over_time(full_disk[10m]))")
        .await?;
    ensure!(count == Some(1_000.0), "queries go on: {count:?}");

    group.node(2).kill()?;
    let refused = write(&group.client(1).clone(), &mut acknowledged).await?;
    ensure!(
        refused.status == 503,
        "one copy that a start finds is no quorum: {refused:?}"
    );

    // With an empty directory it is a new replica, which the others fill.
    group.node(2).start()?;
    group.node(2).ready().await?;
    group.node(0).kill()?;
    group.node(0).start()?;
    group.node(0).ready().await?;

    let held = group.converged().await?;
    let missing = acknowledged.first_missing_in(&held);
    ensure!(
        missing.is_none(),
        "an acknowledged sample is missing: {missing:?}"
    );

    group.stop().await
}
