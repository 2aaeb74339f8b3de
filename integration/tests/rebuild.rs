//! A node whose disk was lost, or that was away for longer than the logs reach back, gets everything from a peer (I2).

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use trireme_integration::{
    Client, Group, GroupBuilder, Load, SampleSet, Sent, Series, blocks_in, now_ms, until, until_for,
};

const TENANT: &str = "default-tenant";
/// Copying at a bounded rate on a busy machine.
const REBUILD_BOUND: Duration = Duration::from_secs(120);

/// Windows and logs so short that logs reach back for seconds only; no bucket that could help.
fn forgetful() -> GroupBuilder {
    Group::of(3)
        .short_windows(5)
        .set("bucket.type=none")
        .set("log.segment_bytes=1MiB")
        .set("log.retention_bytes=4MiB")
        .set("checkpoint.interval=500ms")
}

/// Between requests of [`churn`]; keeps a two-core machine free for the nodes.
const PAUSE: Duration = Duration::from_millis(50);

/// Writes requests with new series of long names, which makes logs long, until `done`.
async fn churn(
    client: &Client,
    acknowledged: &mut SampleSet,
    done: impl Fn() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    for _ in 0..1_000 {
        if done()? {
            return Ok(());
        }

        tokio::time::sleep(PAUSE).await;
        let now = now_ms();
        let value = |i: u32| f64::from(i) + 0.5;
        let series: Vec<Series> = (0..200)
            .map(|i: u32| {
                let id = format!("{now}-{i}-{}", "x".repeat(300));
                Series::new("churn", &[("id", &id)], &[(now, value(i))])
            })
            .collect();

        let answer = client.write(&series).await?;
        if answer.is_success() {
            series.iter().for_each(|series| series.add_to(acknowledged));
        }
    }
    anyhow::bail!("1000 requests did not do it")
}

/// Number of the oldest segment of a node's log.
fn oldest_segment(data_dir: &Path) -> anyhow::Result<u64> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(data_dir.join("log"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        numbers.extend(
            name.strip_suffix(".log")
                .and_then(|digits| digits.parse::<u64>().ok()),
        );
    }

    numbers.into_iter().min().context("no segment")
}

fn block_names(data_dir: &Path) -> anyhow::Result<BTreeSet<String>> {
    let dir = data_dir.join("blocks").join(TENANT);
    if !dir.exists() {
        return Ok(BTreeSet::new());
    }

    Ok(blocks_in(&dir)?
        .iter()
        .filter_map(|path: &std::path::PathBuf| {
            path.file_name().map(|n| n.to_string_lossy().into_owned())
        })
        .collect())
}

/// Writes until every node has blocks, and the oldest log of each was trimmed.
async fn with_history(group: &Group, acknowledged: &mut SampleSet) -> anyhow::Result<()> {
    let dirs: Vec<_> = group
        .nodes()
        .iter()
        .map(|node| node.data_dir().to_owned())
        .collect();
    churn(group.client(0), acknowledged, || {
        let mut is_old = true;
        for dir in &dirs {
            is_old &= block_names(dir)?.len() >= 2 && oldest_segment(dir)? > 1;
        }
        Ok(is_old)
    })
    .await
}

/// Writes through n0 until the logs of n0 and n1 do not reach back to now any more.
async fn outlive_the_logs(group: &Group, acknowledged: &mut SampleSet) -> anyhow::Result<()> {
    let dirs: Vec<_> = group.nodes()[..2]
        .iter()
        .map(|node| node.data_dir().to_owned())
        .collect();
    let newest = |dir: &Path| -> anyhow::Result<u64> {
        let names = std::fs::read_dir(dir.join("log"))?
            .flatten()
            .map(|e| e.file_name());
        let numbers = names.filter_map(|n| n.to_str()?.strip_suffix(".log")?.parse::<u64>().ok());
        numbers.max().context("no segment")
    };

    let then = dirs
        .iter()
        .map(|dir| newest(dir))
        .collect::<anyhow::Result<Vec<u64>>>()?;

    churn(group.client(0), acknowledged, || {
        let now = dirs
            .iter()
            .map(|dir| oldest_segment(dir))
            .collect::<anyhow::Result<Vec<u64>>>()?;
        Ok(now
            .iter()
            .zip(&then)
            .all(|(oldest, newest)| oldest > newest))
    })
    .await
}

/// An answer of the admin API.
async fn admin(client: &Client, path: &str) -> anyhow::Result<serde_json::Value> {
    let answer = client.send(client.get(path)).await?.success()?;
    serde_json::from_str(&answer.body).with_context(|| answer.body.clone())
}

/// What the ring of `client`'s node says about the rebuild of `name`.
async fn rebuild_of(client: &Client, name: &str) -> anyhow::Result<Option<String>> {
    let ring = admin(client, "/api/v1/admin/ring").await?;
    let members = ring["groups"][0]["members"]
        .as_array()
        .context("no members")?;
    let member = members
        .iter()
        .find(|m| m["node"] == name)
        .context("no such member")?;

    Ok(member["rebuild"].as_str().map(str::to_owned))
}

async fn is_installed(group: &mut Group, node: usize) -> anyhow::Result<()> {
    until_for("the copy is installed", REBUILD_BOUND, async || {
        ensure!(
            group.nodes()[node]
                .log()
                .contains("what was copied from a peer is installed"),
            "not yet"
        );
        let name = group.nodes()[node].name().to_owned();
        let state = rebuild_of(group.client(node), &name).await?;
        ensure!(state.is_none(), "{state:?}");
        Ok(())
    })
    .await?;
    group.node(node).ready().await
}

/// Exports, positions and blocks of all three are the same, and nothing acknowledged is missing.
async fn all_equal(group: &mut Group, acknowledged: &SampleSet) -> anyhow::Result<()> {
    let held = group.converged().await?;
    let missing = acknowledged.first_missing_in(&held);
    ensure!(
        missing.is_none(),
        "an acknowledged sample is missing: {missing:?}"
    );

    until("positions and blocks are equal", async || {
        for client in group.clients() {
            let replication = admin(&client, "/api/v1/admin/replication").await?;
            for stream in replication["streams"].as_array().context("no streams")? {
                ensure!(stream["records_behind"] == 0, "{stream}");
                ensure!(stream["applied"] == stream["own"], "{stream}");
            }
        }

        let names = group.nodes().iter().map(|n| block_names(n.data_dir()));
        let names = names.collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(names[0].len() >= 2, "only {names:?}");
        ensure!(
            names.iter().all(|n| *n == names[0]),
            "blocks differ: {names:?}"
        );

        Ok(())
    })
    .await
}

/// No write through the nodes that stayed was refused.
fn none_refused(sent: &Sent) -> anyhow::Result<()> {
    ensure!(
        sent.refusals.is_empty(),
        "a write was refused: {:?}",
        sent.refusals.first()
    );
    ensure!(sent.broken == 0, "{} writes had no answer", sent.broken);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_copies_what_the_logs_cannot_give_and_answers_no_query_before()
-> anyhow::Result<()> {
    let mut group = forgetful().set("cluster.rebuild_rate=2MiB").start().await?;
    let mut acknowledged = SampleSet::default();
    with_history(&group, &mut acknowledged).await?;

    let load = Load::start(&[group.client(0).clone(), group.client(1).clone()]);
    group.node(2).kill()?;
    std::fs::remove_dir_all(group.node(2).data_dir())?;
    outlive_the_logs(&group, &mut acknowledged).await?;

    group.node(2).start()?;
    group.node(2).ready().await?;
    let whole = group.client(0).clone();
    let rebuilt = group.client(2).clone();

    until("the peers see the rebuild", async || {
        let state = rebuild_of(&whole, "n2").await?;
        ensure!(
            state
                .as_deref()
                .is_some_and(|s| s.ends_with('%') && s != "0%"),
            "{state:?}"
        );
        Ok(())
    })
    .await?;

    ensure!(
        rebuilt.metric("trireme_rebuild_incomplete").await? == 1.0,
        "the metric does not say so"
    );

    // Its writes are taken, and its queries are answered by who has everything.
    let fresh = Load::start(std::slice::from_ref(&rebuilt));
    until("the node takes writes while it is rebuilt", async || {
        ensure!(fresh.look(|sent| sent.successes).await >= 5, "not yet");
        Ok(())
    })
    .await?;

    let early = acknowledged.sample_count();
    let count = "count(count_over_time(churn[1h]))";
    let there = whole.instant(count).await?.context("no answer")?;
    ensure!(there >= early as f64, "{there} of {early}");
    ensure!(
        rebuilt.instant(count).await? == Some(there),
        "the query was not passed on"
    );

    let state = rebuild_of(&rebuilt, "n2").await?;
    ensure!(
        state.is_some(),
        "the rebuild was over before the query was asked"
    );

    acknowledged.merge(&fresh.stop().await?.acknowledged);
    is_installed(&mut group, 2).await?;
    let sent = load.stop().await?;

    none_refused(&sent)?;
    acknowledged.merge(&sent.acknowledged);
    all_equal(&mut group, &acknowledged).await?;

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_both_of_whose_checkpoints_are_damaged_copies_one_from_a_peer() -> anyhow::Result<()>
{
    let mut group = forgetful().start().await?;
    let mut acknowledged = SampleSet::default();
    with_history(&group, &mut acknowledged).await?;

    let load = Load::start(&[group.client(0).clone(), group.client(1).clone()]);
    group.node(2).kill()?;
    let dir = group.node(2).data_dir().to_owned();

    // With the one before it could help itself.
    for name in ["checkpoint", "checkpoint.previous"] {
        let checkpoint = dir.join("head/000").join(name);
        let mut bytes = std::fs::read(&checkpoint)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        std::fs::write(&checkpoint, bytes)?;
    }

    group.node(2).start()?;
    group.node(2).ready().await?;
    is_installed(&mut group, 2).await?;

    let log = group.nodes()[2].log();
    ensure!(
        log.contains("the head on disk is damaged"),
        "the damage was not told"
    );

    let aside = std::fs::read_dir(&dir)?.flatten().map(|entry| entry.path());
    let aside = aside
        .filter(|path| path.join("head/000/checkpoint").is_file())
        .find(|path| path.join("log").is_dir());
    ensure!(
        aside.is_some_and(|path| path.join("identity.toml").is_file()),
        "it was not set aside"
    );

    let sent = load.stop().await?;
    none_refused(&sent)?;
    acknowledged.merge(&sent.acknowledged);
    all_equal(&mut group, &acknowledged).await?;

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_goes_on_after_a_crash_of_either_side() -> anyhow::Result<()> {
    let mut group = forgetful().set("cluster.rebuild_rate=1MiB").start().await?;
    let mut acknowledged = SampleSet::default();
    with_history(&group, &mut acknowledged).await?;
    group.node(2).kill()?;
    std::fs::remove_dir_all(group.node(2).data_dir())?;
    outlive_the_logs(&group, &mut acknowledged).await?;
    group.node(2).start()?;

    let copies_from = async |client: &Client| {
        until("the copy is on its way", async || {
            let state = rebuild_of(client, "n2").await?.context("no rebuild")?;
            let (percent, source) = state.split_once("% from ").with_context(|| state.clone())?;
            ensure!(percent.parse::<u32>()? > 0, "{state}");
            Ok(source.split(',').next().unwrap_or_default().to_owned())
        })
        .await
    };

    let client = group.client(2).clone();
    copies_from(&client).await?;

    // The rebuilt node dies: what it has it keeps.
    group.node(2).kill()?;
    group.node(2).start()?;
    group.node(2).ready().await?;

    let source = copies_from(&client).await?;
    // The source dies: the other one takes over, under writes that it and the rebuilt node see.
    let source = if source == "n0" { 0 } else { 1 };

    group.node(source).kill()?;
    until_for("another source takes over", REBUILD_BOUND, async || {
        let state = rebuild_of(&client, "n2").await?.context("no rebuild")?;
        let other = format!("from n{}", 1 - source);
        ensure!(state.contains(&other), "{state}");
        Ok(())
    })
    .await?;

    group.node(source).start()?;
    group.node(source).ready().await?;
    let load = Load::start(&[group.client(0).clone(), group.client(1).clone()]);

    is_installed(&mut group, 2).await?;
    acknowledged.merge(&load.stop().await?.acknowledged);
    all_equal(&mut group, &acknowledged).await?;

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_for_longer_than_the_logs_reach_back_is_rebuilt() -> anyhow::Result<()>
{
    let mut group = forgetful().start().await?;
    let mut acknowledged = SampleSet::default();
    with_history(&group, &mut acknowledged).await?;

    // What only this node has in its log, its own last writes, must come out of the rebuild as well.
    let last = Load::start(std::slice::from_ref(group.client(2)));
    until(
        "the node that will be away has acknowledged writes",
        async || {
            ensure!(last.look(|sent| sent.successes).await >= 20, "not yet");
            Ok(())
        },
    )
    .await?;

    group.node(2).kill()?;
    acknowledged.merge(&last.stop().await?.acknowledged);
    outlive_the_logs(&group, &mut acknowledged).await?;

    // What is trimmed on disk may still be in the memory of who wrote it.
    for node in [0, 1] {
        group.node(node).stop().await?;
        group.node(node).start()?;
        group.node(node).ready().await?;
    }

    group.node(2).start()?;
    group.node(2).ready().await?;
    is_installed(&mut group, 2).await?;
    all_equal(&mut group, &acknowledged).await?;

    group.stop().await
}
