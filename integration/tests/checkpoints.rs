//! A node starts from its checkpoints whatever its tenants and series did before, and from the ones before them when the
//! newest are damaged (I2, I6).

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use prost::Message;
use trireme_integration::{
    Group, GroupBuilder, Node, SampleSet, Series, first_differences, now_ms, until, until_for,
};

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    family: String,
}

fn metadata_only() -> anyhow::Result<Vec<u8>> {
    let metadata = vec![Metadata {
        kind: 1,
        family: "up".to_owned(),
    }];
    Ok(snap::raw::Encoder::new().compress_vec(&WriteRequest { metadata }.encode_to_vec())?)
}

fn frequent(group: GroupBuilder) -> GroupBuilder {
    group.set("checkpoint.interval=200ms")
}

/// Checkpoints of a node with this name.
fn checkpoints(data_dir: &Path, name: &str) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for shard in std::fs::read_dir(data_dir.join("head"))? {
        let path = shard?.path().join(name);
        if path.exists() {
            found.push(path);
        }
    }

    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_of_metadata_alone_is_no_reason_not_to_start() -> anyhow::Result<()> {
    let mut group = frequent(Group::of(1)).start().await?;
    let answer = group
        .client(0)
        .send(
            group
                .client(0)
                .write_builder("/api/v1/write", metadata_only()?),
        )
        .await?;

    answer.success()?;
    for _ in 0..2 {
        group.node(0).stop().await?;
        group.node(0).start()?;
        group.node(0).ready().await?;
    }

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_that_were_collected_are_no_reason_not_to_start() -> anyhow::Result<()> {
    let mut group = frequent(Group::of(1).short_windows(2)).start().await?;
    let series: Vec<Series> = (0..20)
        .map(|i| Series::new("idle", &[("i", &i.to_string())], &[(now_ms(), 1.0)]))
        .collect();

    group.client(0).write(&series).await?.success()?;
    let client = group.client(0).clone();
    until("a checkpoint has them", async || {
        let there = client.metric("trireme_head_series").await?;
        ensure!(there > 0.0, "none yet");
        Ok(())
    })
    .await?;

    // One goes on, in one of the shards, so that windows are cut.
    until("the others are collected", async || {
        client
            .write(&[Series::new("busy", &[], &[(now_ms(), 1.0)])])
            .await?
            .success()?;
        let left = client.metric("trireme_head_series").await?;
        ensure!(left == 1.0, "{left} are left");
        Ok(())
    })
    .await?;

    for _ in 0..3 {
        group.node(0).stop().await?;
        group.node(0).start()?;
        group.node(0).ready().await?;
    }

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_head_is_not_written_again_for_a_few_samples() -> anyhow::Result<()> {
    let group = frequent(Group::of(1)).start().await?;
    let client = group.client(0).clone();

    let filler = "of a label that makes the head large ".repeat(8);
    for n in 0..20 {
        client
            .write(
                &(0..1_000)
                    .map(|i: i32| {
                        Series::new(
                            "large",
                            &[("i", &format!("{n} {i} {filler}"))],
                            &[(now_ms(), 1.0)],
                        )
                    })
                    .collect::<Vec<_>>(),
            )
            .await?
            .success()?;
    }

    let made = async || client.metric("trireme_head_checkpoint_seconds_count").await;
    until("a checkpoint has them", async || {
        let there = client.metric("trireme_head_series").await?;
        ensure!(there == 20_000.0, "{there} of 20,000");
        Ok(())
    })
    .await?;

    let before = made().await?;

    let end_ms = now_ms() + 4_000;
    while now_ms() < end_ms {
        client
            .write(&[Series::new("small", &[], &[(now_ms(), 1.0)])])
            .await?
            .success()?;
    }

    let more = made().await? - before;
    ensure!(
        more <= 1.0,
        "{more} checkpoints of 20,000 series for one that goes on"
    );

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_all_of_whose_newest_checkpoints_are_damaged_loses_nothing() -> anyhow::Result<()> {
    let mut group = frequent(Group::of(3)).start().await?;
    let sent = with_two_checkpoints(&mut group, 3).await?;

    for i in 0..3 {
        for path in checkpoints(group.node(i).data_dir(), "checkpoint")? {
            let mut bytes = std::fs::read(&path)?;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
            std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
        }
        group.node(i).start()?;
    }

    for i in 0..3 {
        group.node(i).ready().await?;
    }

    first_differences(("sent", &sent), ("held", &group.converged().await?))?;
    group.stop().await
}

/// Runs `trireme rebuild salvage` for a node that is stopped; answers what it says.
fn salvage(node: &Node) -> anyhow::Result<String> {
    let output = node.command_of(&["rebuild", "salvage"], &[])?.output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );

    Ok(said)
}

/// Flips a byte of both checkpoints of a shard.
fn damage(data_dir: &Path, shard: u16, place: impl Fn(usize) -> usize) -> anyhow::Result<()> {
    for name in ["checkpoint", "checkpoint.previous"] {
        let path = data_dir.join(format!("head/{shard:03}")).join(name);
        let mut bytes = std::fs::read(&path)?;
        let at = place(bytes.len());
        bytes[at] ^= 0xff;
        std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Writes 50 times, until each shard of each node has two checkpoints with it, and stops all nodes.
async fn with_two_checkpoints(group: &mut Group, nodes: usize) -> anyhow::Result<SampleSet> {
    let mut sent = SampleSet::default();

    let start = now_ms() - 1_000;
    for n in 0..50 {
        let series: Vec<Series> = (0..40)
            .map(|i| {
                Series::new(
                    "kept",
                    &[("i", &i.to_string())],
                    &[(start + i64::from(n), f64::from(n))],
                )
            })
            .collect();

        group
            .client(n as usize % nodes)
            .write(&series)
            .await?
            .success()?;

        series.iter().for_each(|series| series.add_to(&mut sent));
    }

    group.converged().await?;
    for i in 0..nodes {
        let data_dir = group.node(i).data_dir().to_owned();
        until("there are checkpoints and those before", async || {
            let before = checkpoints(&data_dir, "checkpoint.previous")?.len();
            ensure!(before == 4, "{before} of 4");
            Ok(())
        })
        .await?;
        group.node(i).stop().await?;
    }

    Ok(sent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_none_of_whose_heads_can_be_loaded_is_salvaged() -> anyhow::Result<()> {
    let mut group = frequent(Group::of(3)).start().await?;
    let mut sent = with_two_checkpoints(&mut group, 3).await?;

    for i in 0..3 {
        // Every member has lost another part.
        damage(group.node(i).data_dir(), i as u16, |bytes| bytes / 2)?;
        group.node(i).start()?;
    }

    let late = [Series::new("late", &[], &[(now_ms(), 7.0)])];
    for i in 0..3 {
        group.node(i).ready().await?;
        let client = group.client(i).clone();
        until("it waits for a copy that nobody can give", async || {
            let state = client
                .get("/api/v1/admin/rebuild")
                .send()
                .await?
                .text()
                .await?;
            ensure!(state.contains("damaged"), "{state}");
            Ok(())
        })
        .await?;
    }

    group.client(0).write(&late).await?.success()?;
    late[0].add_to(&mut sent);

    for i in 0..3 {
        group.node(i).stop().await?;
    }

    for i in 0..3 {
        let said = salvage(group.node(i))?;
        ensure!(said.contains("block ") && said.contains("lost: "), "{said}");
        let again = salvage(group.node(i))?;
        ensure!(again.contains("block "), "{again}");
    }

    for i in 0..3 {
        group.node(i).start()?;
    }

    for i in 0..3 {
        group.node(i).ready().await?;
        let client = group.client(i).clone();
        until_for(
            "it has everything that any of them had",
            Duration::from_secs(60),
            async || {
                let missing = sent.first_missing_in(&client.export().await?);
                ensure!(missing.is_none(), "{missing:?}");
                Ok(())
            },
        )
        .await?;
    }

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_peers_is_salvaged() -> anyhow::Result<()> {
    let mut group = frequent(Group::of(1)).start().await?;
    let sent = with_two_checkpoints(&mut group, 1).await?;
    let nothing = group
        .node(0)
        .command_of(&["rebuild", "salvage"], &[])?
        .output()?;
    ensure!(
        !nothing.status.success()
            && String::from_utf8_lossy(&nothing.stderr).contains("nothing to salvage")
    );

    damage(group.node(0).data_dir(), 2, |bytes| bytes - 1)?;
    let said = salvage(group.node(0))?;
    ensure!(said.contains("lost: "), "{said}");

    group.node(0).start()?;
    group.node(0).ready().await?;
    let client = group.client(0).clone();

    until("everything is there", async || {
        let missing = sent.first_missing_in(&client.export().await?);
        ensure!(missing.is_none(), "{missing:?}");
        Ok(())
    })
    .await?;

    group.stop().await
}
