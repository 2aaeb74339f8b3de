//! Nodes that start again and again: what is kept for the starts that are over is let go, and nothing else is.

use std::fs;

use anyhow::{Context, ensure};
use trireme_integration::{Client, Group, Load, SampleSet, until};

const STARTS: usize = 6;

/// The streams that a node knows, of each origin.
async fn streams(client: &Client) -> anyhow::Result<usize> {
    let answer = client
        .send(client.get("/api/v1/admin/replication"))
        .await?
        .success()?;
    let replication: serde_json::Value = serde_json::from_str(&answer.body)?;

    Ok(replication["streams"]
        .as_array()
        .context("no streams")?
        .len())
}

/// Each of the three keeps the stream that each is writing, and not many more.
async fn few_streams(group: &Group) -> anyhow::Result<()> {
    until(
        "the streams of earlier starts have ended everywhere",
        async || {
            for client in group.clients() {
                let streams = streams(&client).await?;
                ensure!(streams <= 6, "{} keeps {streams}", client.url());
            }
            Ok(())
        },
    )
    .await
}

/// Writes through all nodes until so many writes more are acknowledged.
async fn write(group: &Group, acknowledged: &mut SampleSet) -> anyhow::Result<()> {
    let load = Load::start(&group.clients());
    load.reaches(20).await?;
    acknowledged.merge(&load.stop().await?.acknowledged);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_starts_that_are_over_end_and_a_wiped_node_gets_what_they_had()
-> anyhow::Result<()> {
    let group = Group::of(3)
        .set("checkpoint.interval=150ms")
        .set("log.segment_bytes=1MiB")
        .short_windows(2);
    let mut group = group.start().await?;

    let mut acknowledged = SampleSet::default();
    for start in 0..STARTS {
        write(&group, &mut acknowledged).await?;
        let node = start % 2;
        group.node(node).kill()?;
        group.node(node).start()?;
        group.node(node).ready().await?;
        ensure!(
            streams(group.client(2)).await? >= 3,
            "the test looks at the wrong place"
        );
    }

    // Segments are let go when there is a next one: writing goes on until the old ones are gone.
    let load = Load::start(&group.clients());
    let ended = few_streams(&group).await;

    acknowledged.merge(&load.stop().await?.acknowledged);
    ended?;

    let wiped = group.node(2);
    wiped.kill()?;
    let dir = wiped.data_dir().to_owned();

    fs::remove_dir_all(&dir)?;
    fs::create_dir(&dir)?;
    wiped.start()?;
    until("the wiped node has installed a copy", async || {
        let node = &group.nodes()[2];
        ensure!(
            node.log()
                .contains("what was copied from a peer is installed"),
            "not yet"
        );
        Ok(())
    })
    .await?;

    group.node(2).ready().await?;
    ensure!(
        fs::exists(dir.join("head/ended"))?,
        "the copy does not say what has ended"
    );

    write(&group, &mut acknowledged).await?;

    // What it knows of ends it knows after another start, too.
    group.node(2).kill()?;
    group.node(2).start()?;
    group.node(2).ready().await?;

    let held = group.converged().await?;
    let missing = acknowledged.first_missing_in(&held);
    ensure!(
        missing.is_none(),
        "an acknowledged sample is missing: {missing:?}"
    );

    let installed = group.nodes()[2]
        .log()
        .matches("what was copied from a peer is installed")
        .count();
    ensure!(installed == 1, "it was rebuilt {installed} times");

    group.stop().await
}
