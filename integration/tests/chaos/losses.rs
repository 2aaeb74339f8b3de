//! Disks that are lost in whole or in part: the peers have everything, and the node gets it back from them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::Instant;
use trireme_integration::{Client, Route, until_for};

use super::scale::{either, is_full, pass, plan};
use super::scenario::{Scenario, progress};

/// A scrub reads every block of a node under load meanwhile.
const FOUND_WITHIN: Duration = Duration::from_secs(180);

/// The incarnation that a node's peers know it by.
async fn incarnation(client: &Client, node: &str) -> anyhow::Result<String> {
    let ring = client
        .send(client.get("/api/v1/admin/ring"))
        .await?
        .success()?;
    let ring: serde_json::Value = serde_json::from_str(&ring.body)?;
    let groups = ring["groups"].as_array().context("no groups")?;
    let members = groups
        .iter()
        .filter_map(|group| group["members"].as_array())
        .flatten();
    let found = members
        .into_iter()
        .find(|member| member["node"] == node)
        .context("no such member")?;

    Ok(found["incarnation"]
        .as_str()
        .context("no incarnation")?
        .to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t1_a_node_whose_disk_was_wiped_has_everything_again() -> anyhow::Result<()> {
    let what =
        "kill -9 at a random moment, the disk wiped, the node started empty, again and again";
    let Some(mut run) = Scenario::start("T1", what, |group| group).await? else {
        return Ok(());
    };

    let senders = run.load(&plan(Route::Front)).await?;
    for round in 0..either(2, 6) {
        let node = round % 3;
        progress(&senders, 20).await?;
        pass(300, 10_000).await;
        run.group.node(node).kill()?;
        std::fs::remove_dir_all(run.group.nodes()[node].data_dir())?;
        progress(&senders, 10).await?;
        run.group.node(node).start()?;
        run.group.node(node).ready().await?;

        let begun = Instant::now();
        run.level(node).await?;
        run.figure(
            &format!("full_redundancy_after_ms_{round}"),
            begun.elapsed().as_millis() as u64,
        );
    }

    let totals = senders.totals().await;
    run.must("no request failed at a front", totals.failed_rounds == 0);
    run.settle(senders).await?;

    run.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t39_the_same_name_with_an_empty_disk_is_somebody_new() -> anyhow::Result<()> {
    let what = "a node is stopped in order and comes back under its name with an empty disk";
    let Some(mut run) = Scenario::start("T39", what, |group| group).await? else {
        return Ok(());
    };

    let senders = run.load(&plan(Route::Front)).await?;
    let before = incarnation(run.group.client(1), "n0").await?;
    run.group.node(0).stop().await?;
    std::fs::remove_dir_all(run.group.nodes()[0].data_dir())?;
    progress(&senders, 10).await?;
    run.group.node(0).start()?;
    run.group.node(0).ready().await?;
    run.level(0).await?;

    let after = incarnation(run.group.client(1), "n0").await?;
    run.must("its peers know that it is another one", before != after);
    progress(&senders, 10).await?;

    let totals = senders.totals().await;
    run.must("no request failed at a front", totals.failed_rounds == 0);
    run.settle(senders).await?;

    run.finish().await
}

/// Nobody reads a block that was set aside for a person to look at, or that was not finished.
fn is_read_by_nobody(path: &Path) -> bool {
    let path = path.to_string_lossy();
    path.contains("/quarantine-") || path.contains("/tmp-")
}

/// The newest file below `dir` that `is_wanted`.
fn newest(dir: &Path, is_wanted: &impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let mut found: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();

    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => dirs.push(path),
                Ok(meta) if meta.len() > 100 && is_wanted(&path) && !is_read_by_nobody(&path) => {
                    found.extend(meta.modified().ok().map(|at| (at, path)));
                }
                _ => {}
            }
        }
    }

    found.into_iter().max().map(|(_, path)| path)
}

/// Flips a bit in the middle of what a file holds.
fn flip(path: &Path) -> anyhow::Result<usize> {
    let mut bytes = std::fs::read(path)?;
    let used = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .context("an empty file")?;
    let at = used / 2;

    bytes[at] ^= 0x10;
    std::fs::write(path, bytes)?;
    Ok(at)
}

/// Whether a file is of the kind to be damaged.
type FileTest = Box<dyn Fn(&Path) -> bool>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t10_a_flipped_bit_is_found_and_mended_from_the_peers() -> anyhow::Result<()> {
    // Four rebuilds and copies take longer than the short forms have time for.
    if !is_full() {
        return Ok(());
    }

    let what = "a bit flips in a node's block index, block chunks, log and checkpoint, one after another, while it is down";
    let Some(mut run) = Scenario::start("T10", what, |group: trireme_integration::GroupBuilder| {
        let group = group
            .short_windows(2)
            .set("checkpoint.interval=1s")
            .set("storage.out_of_order_window=1h");
        group
            .set("storage.scrub_interval=2s")
            .set("storage.scrub_rate=0B")
    })
    .await?
    else {
        return Ok(());
    };

    let senders = run.load(&plan(Route::Front)).await?;
    let dir = run.group.nodes()[2].data_dir().to_owned();
    let ends = |ending: &'static str| move |path: &Path| path.to_string_lossy().ends_with(ending);
    let kinds: [(&str, &str, FileTest); 4] = [
        ("block index", "blocks", Box::new(ends("/index"))),
        ("block chunks", "blocks", Box::new(ends("/chunks/000001"))),
        ("log", "log", Box::new(ends(".log"))),
        // The node is another replica after this, and the others cut no window before they give up the old one.
        ("checkpoint", "head", Box::new(ends("/checkpoint"))),
    ];

    for (kind, below, is_wanted) in &kinds {
        let below = dir.join(below);
        progress(&senders, 60).await?;
        trireme_integration::until("the node has such a file", async || {
            ensure!(
                newest(&below, is_wanted).is_some(),
                "no {kind} in {}",
                below.display()
            );
            Ok(())
        })
        .await?;

        run.group.node(2).kill()?;
        let path = newest(&below, is_wanted).context("it is gone")?;
        let before = run.group.nodes()[2].log().len();
        let at = flip(&path)?;

        run.group.node(2).start()?;
        run.group.node(2).ready().await?;
        run.level(2).await?;

        // Blocks have their names in the path, and each is told by its name.
        let block = path
            .iter()
            .find(|part| part.len() == 26)
            .and_then(|part| part.to_str())
            .unwrap_or("");

        let told = until_for("the damage is told", FOUND_WITHIN, async || {
            let log = run.group.nodes()[2].log();
            log[before..]
                .lines()
                .find(|line: &&str| {
                    let is_loud = line.contains("WARN") || line.contains("ERRO");
                    is_loud && line.contains("damage") && line.contains(block)
                })
                .map(str::to_owned)
                .context("not yet")
        })
        .await;

        run.must(format!("the damage in the {kind} is found"), told.is_ok());
        let name = path
            .strip_prefix(&dir)
            .unwrap_or(&path)
            .display()
            .to_string();

        run.figure(&format!("{kind}: flipped"), format!("{name} at {at}"));
        run.figure(
            &format!("{kind}: said"),
            told.unwrap_or_else(|_| "nothing".to_owned()),
        );
    }

    let totals = senders.totals().await;
    run.must("no request failed at a front", totals.failed_rounds == 0);
    run.settle(senders).await?;

    run.finish().await
}
