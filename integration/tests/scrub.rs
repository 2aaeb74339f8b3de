//! Blocks that were damaged or lost on one node are found, and fetched from the others (I2).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use trireme_integration::{
    Client, Group, GroupBuilder, SampleSet, Series, blocks_in, first_differences, now_ms,
    read_block, until, until_for,
};

const TENANT: &str = "default-tenant";
const WINDOW_SECONDS: u64 = 5;
/// Blocks that every node has before something happens to one of them.
const BLOCKS_MIN: usize = 3;
/// A debug build on a busy machine.
const REPAIR_BOUND: Duration = Duration::from_secs(90);

/// Short windows, a scrub every two seconds, and no bucket that could help.
fn scrubbed() -> GroupBuilder {
    scrubbed_every("2s")
}

fn scrubbed_every(interval: &str) -> GroupBuilder {
    Group::of(3)
        .short_windows(WINDOW_SECONDS)
        .set("bucket.type=none")
        .set(&format!("storage.scrub_interval={interval}"))
        .set("log.segment_bytes=1MiB")
}

fn tenant_dir(group: &Group, node: usize) -> PathBuf {
    group.nodes()[node].data_dir().join("blocks").join(TENANT)
}

fn names_in(dir: &Path) -> anyhow::Result<BTreeSet<String>> {
    Ok(blocks_in(dir)?
        .iter()
        .filter_map(|path: &PathBuf| path.file_name().map(|n| n.to_string_lossy().into_owned()))
        .collect())
}

/// Writes to all nodes in turn until each has `more` blocks more than now, and waits until they have the same.
async fn write_blocks(
    group: &Group,
    more: usize,
    written: &mut SampleSet,
) -> anyhow::Result<BTreeSet<String>> {
    let dirs: Vec<PathBuf> = (0..3).map(|node| tenant_dir(group, node)).collect();
    let least = |dirs: &[PathBuf]| -> anyhow::Result<usize> {
        let counts = dirs
            .iter()
            .map(|dir| names_in(dir).map(|names| names.len()));
        Ok(counts
            .collect::<anyhow::Result<Vec<_>>>()?
            .into_iter()
            .min()
            .unwrap_or(0))
    };

    let enough = least(&dirs)? + more;
    let mut turn = 0_usize;
    until_for("every node has blocks", REPAIR_BOUND, async || {
        let at = now_ms();
        let series: Vec<Series> = (0..20_i64)
            .map(|i| {
                Series::new(
                    "scrub_test",
                    &[("i", &i.to_string())],
                    &[(at, (at % 1_000 + i) as f64)],
                )
            })
            .collect();

        turn += 1;
        group.client(turn % 3).write(&series).await?.success()?;
        series.iter().for_each(|series| series.add_to(written));

        let found = least(&dirs)?;
        ensure!(found >= enough, "{found} of {enough}");
        Ok(())
    })
    .await?;

    until("all have the same blocks", async || {
        let names = dirs
            .iter()
            .map(|dir| names_in(dir))
            .collect::<anyhow::Result<Vec<_>>>()?;
        // The last window is in nobody's block yet, or in everybody's.
        ensure!(
            names.iter().all(|of_node| *of_node == names[0]),
            "{names:?}"
        );
        Ok(names[0].clone())
    })
    .await
}

/// Changes a byte in the middle of a file, in place: the node has it mapped.
fn flip(path: &Path) -> anyhow::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let at = file.metadata()?.len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 0x10], at)?;
    Ok(())
}

/// Every node holds what was written, and the same.
async fn all_whole(group: &mut Group, written: &SampleSet) -> anyhow::Result<()> {
    let held = group.converged().await?;
    first_differences(("written", written), ("held", &held))
}

/// Waits until node 2 has a good copy of each of these blocks in its place.
async fn repaired(group: &Group, names: &[&String]) -> anyhow::Result<()> {
    until_for("the blocks are good again", REPAIR_BOUND, async || {
        for name in names {
            let there = read_block(&tenant_dir(group, 2).join(name))
                .with_context(|| format!("{name} of n2"))?;
            let theirs = read_block(&tenant_dir(group, 0).join(name))?;
            ensure!(there == theirs, "{name} differs from that of n0");
        }
        Ok(())
    })
    .await
}

/// Scrub counters of a node.
async fn counters(client: &Client) -> anyhow::Result<BTreeMap<&'static str, f64>> {
    let mut found = BTreeMap::new();
    for (name, part) in [
        ("trireme_scrub_damaged_blocks_total", ""),
        ("trireme_scrub_differences_total", "missing"),
        ("trireme_scrub_repaired_blocks_total", "peer"),
    ] {
        found.insert(name, client.metric_with(name, part).await?);
    }

    Ok(found)
}

async fn counts(client: &Client, damaged: f64, missing: f64, repaired: f64) -> anyhow::Result<()> {
    let found = counters(client).await?;
    let wanted = BTreeMap::from([
        ("trireme_scrub_damaged_blocks_total", damaged),
        ("trireme_scrub_differences_total", missing),
        ("trireme_scrub_repaired_blocks_total", repaired),
    ]);

    ensure!(found == wanted, "{found:?}, not {wanted:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_byte_that_changes_on_one_disk_is_found_and_the_block_fetched_again() -> anyhow::Result<()>
{
    let mut group = scrubbed().start().await?;
    let mut written = SampleSet::default();
    let names = write_blocks(&group, BLOCKS_MIN, &mut written).await?;
    let in_chunks = names.first().context("no block")?;
    let in_index = names.iter().nth(1).context("one")?;

    flip(&tenant_dir(&group, 2).join(in_chunks).join("chunks/000001"))?;
    flip(&tenant_dir(&group, 2).join(in_index).join("index"))?;

    repaired(&group, &[in_chunks, in_index]).await?;
    for name in [in_chunks, in_index] {
        let aside = tenant_dir(&group, 2).join(format!("quarantine-{name}"));
        ensure!(
            aside.join("meta.json").is_file(),
            "{name} was not set aside"
        );

        // The file is there a moment before the log says so.
        until("it is told", async || {
            let log = group.nodes()[2].log();
            let told = |what: &str| {
                log.lines()
                    .any(|line| line.contains(what) && line.contains(name.as_str()))
            };
            ensure!(
                told("a block is damaged"),
                "the damage of {name} was not told"
            );

            ensure!(
                told("block fetched and verified"),
                "the copy of {name} was not told"
            );

            Ok(())
        })
        .await?;
    }

    until("it is counted", async || {
        counts(group.client(2), 2.0, 0.0, 2.0).await?;
        let left = group
            .client(2)
            .metric("trireme_scrub_wanted_blocks")
            .await?;
        ensure!(left == 0.0, "{left} blocks are wanted still");
        Ok(())
    })
    .await?;

    for healthy in [0, 1] {
        counts(group.client(healthy), 0.0, 0.0, 0.0).await?;
    }

    all_whole(&mut group, &written).await?;
    // What was fetched is on disk: it is there after a restart, with nobody to fetch it from.
    group.node(2).kill()?;
    group.node(0).stop().await?;
    group.node(1).stop().await?;
    group.node(2).start()?;
    until_for(
        "the node alone holds everything",
        REPAIR_BOUND,
        async || {
            first_differences(
                ("written", &written),
                ("n2", &group.client(2).export().await?),
            )
        },
    )
    .await?;

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_that_a_query_meets_does_not_wait_for_the_next_round() -> anyhow::Result<()> {
    let mut group = scrubbed_every("1d").start().await?;
    let mut written = SampleSet::default();
    let names = write_blocks(&group, BLOCKS_MIN, &mut written).await?;
    let name = names.first().context("no block")?;

    flip(&tenant_dir(&group, 2).join(name).join("chunks/000001"))?;
    let answered = group.client(2).export().await;
    let is_whole = answered
        .is_ok_and(|held| first_differences(("written", &written), ("held", &held)).is_ok());
    ensure!(!is_whole, "no damage was met");

    repaired(&group, &[name]).await?;
    until("it is counted", async || {
        counts(group.client(2), 1.0, 0.0, 1.0).await
    })
    .await?;
    all_whole(&mut group, &written).await?;

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_that_are_gone_or_set_aside_come_back_from_a_replica() -> anyhow::Result<()> {
    let mut group = scrubbed().start().await?;
    let mut written = SampleSet::default();
    let names = write_blocks(&group, BLOCKS_MIN, &mut written).await?;
    let mut names = names.iter();
    let mut next = || names.next().context("too few blocks");
    let removed = next()?;
    let removed_away = next()?;
    let broken = next()?;

    // Under a running node, which goes on answering from the files it has mapped.
    std::fs::remove_dir_all(tenant_dir(&group, 2).join(removed))?;
    repaired(&group, &[removed]).await?;
    until("it is counted", async || {
        counts(group.client(2), 1.0, 0.0, 1.0).await
    })
    .await?;
    all_whole(&mut group, &written).await?;

    // While it is down: one is gone, another is found to be broken at the start and set aside.
    group.node(2).kill()?;
    std::fs::remove_dir_all(tenant_dir(&group, 2).join(removed_away))?;
    std::fs::write(tenant_dir(&group, 2).join(broken).join("index"), b"rotten")?;
    group.node(2).start()?;
    group.node(2).ready().await?;
    repaired(&group, &[removed_away, broken]).await?;

    ensure!(
        group.nodes()[2]
            .log()
            .contains("damaged block was set aside"),
        "the start did not see it"
    );

    until("both are counted", async || {
        counts(group.client(2), 0.0, 2.0, 2.0).await
    })
    .await?;
    all_whole(&mut group, &written).await?;

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_peers_fetches_a_damaged_block_from_the_bucket() -> anyhow::Result<()> {
    let group = Group::of(1)
        .short_windows(WINDOW_SECONDS)
        .set("storage.scrub_interval=2s")
        .start()
        .await?;

    let mut written = SampleSet::default();
    let dir = tenant_dir(&group, 0);
    let name = until_for("a block is in the bucket", REPAIR_BOUND, async || {
        let status = sample(group.client(0), "scrub_test", now_ms(), &mut written).await?;
        ensure!(status == 204, "a write was answered {status}");
        let names = if dir.exists() {
            names_in(&dir)?
        } else {
            BTreeSet::new()
        };
        names
            .into_iter()
            .find(|name: &String| dir.join(format!("{name}.shipped")).exists())
            .context("not yet")
    })
    .await?;

    let chunks = dir.join(&name).join("chunks/000001");
    let good = std::fs::read(&chunks)?;
    flip(&chunks)?;
    until_for("the block is good again", REPAIR_BOUND, async || {
        ensure!(std::fs::read(&chunks)? == good, "not yet");
        let repaired = group
            .client(0)
            .metric_with("trireme_scrub_repaired_blocks_total", "bucket")
            .await?;
        ensure!(repaired == 1.0, "{repaired} blocks came from the bucket");
        Ok(())
    })
    .await?;

    let held = group.client(0).export().await?;
    first_differences(("written", &written), ("held", &held))?;
    group.stop().await
}

/// Writes one sample of a series at `at` through a node, whatever the answer is.
async fn sample(
    client: &Client,
    name: &str,
    at: i64,
    written: &mut SampleSet,
) -> anyhow::Result<u16> {
    let series = [Series::new(name, &[("job", "scrub")], &[(at, 1.5)])];
    let answer = client.write(&series).await?;
    series.iter().for_each(|series| series.add_to(written));
    Ok(answer.status)
}

/// Names of the blocks of a node whose window is the one of `at`.
fn names_of_window(group: &Group, node: usize, at: i64) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for path in blocks_in(&tenant_dir(group, node))? {
        let block = read_block(&path)?;
        let (start, end) = block.range();
        if (start..end).contains(&at) {
            found.insert(block.ulid);
        }
    }

    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_differs_is_united_from_the_blocks_of_all_replicas() -> anyhow::Result<()> {
    let mut group = scrubbed()
        .set("storage.seal_after=1s")
        .set("storage.out_of_order_window=10m")
        .start()
        .await?;

    let mut written = SampleSet::default();
    let at = now_ms();
    sample(group.client(0), "known_to_all", at, &mut written).await?;

    // What only n2 has in its log comes too late for the block of the window, and makes a second one.
    group.node(0).kill()?;
    group.node(1).kill()?;

    let status = sample(group.client(2), "known_to_one", at, &mut written).await?;
    ensure!(status == 503, "without a quorum it was answered {status}");
    group.node(2).kill()?;

    for node in [0, 1] {
        group.node(node).start()?;
    }

    for node in [0, 1] {
        group.node(node).ready().await?;
    }

    until_for("the others have cut the window", REPAIR_BOUND, async || {
        sample(group.client(0), "later", now_ms(), &mut written).await?;
        ensure!(!names_of_window(&group, 0, at)?.is_empty(), "not yet");
        ensure!(!names_of_window(&group, 1, at)?.is_empty(), "not yet");
        Ok(())
    })
    .await?;

    group.node(2).start()?;
    group.node(2).ready().await?;
    let names = same_names(&group, at, 2, &mut written).await?;

    // One of the two is lost on n2: the window is there, and differs.
    // A block that n2 has written itself, whose cut is over: what it lost in the middle of a cut it would write again.
    let lost = until("n2 is done with a block of the window", async || {
        let log = group.nodes()[2].log();
        names
            .iter()
            .find(|name: &&String| {
                log.lines()
                    .any(|line| line.contains("block written") && line.contains(name.as_str()))
            })
            .context("not yet")
    })
    .await?;

    group.node(2).kill()?;
    std::fs::remove_dir_all(tenant_dir(&group, 2).join(lost))?;
    group.node(2).start()?;
    group.node(2).ready().await?;

    ensure!(
        same_names(&group, at, 2, &mut written).await? == names,
        "there are other blocks now"
    );

    until("it is counted", async || {
        let told = group
            .client(2)
            .metric_with("trireme_scrub_differences_total", "differs")
            .await?;
        ensure!(told == 1.0, "{told} differences");
        Ok(())
    })
    .await?;

    let log = group.nodes()[2].log();
    let told = log
        .lines()
        .any(|line| line.contains("a window differs from") && line.contains(lost.as_str()));
    ensure!(told, "n2 has not told it");

    all_whole(&mut group, &written).await?;
    group.stop().await
}

/// Goes on writing until all nodes have the same blocks of the window of `at`, `least` of them or more.
async fn same_names(
    group: &Group,
    at: i64,
    least: usize,
    written: &mut SampleSet,
) -> anyhow::Result<BTreeSet<String>> {
    until_for(
        "all have all blocks of the window",
        REPAIR_BOUND,
        async || {
            sample(group.client(0), "later", now_ms(), written).await?;
            let names = (0..3).map(|node| names_of_window(group, node, at));
            let names = names.collect::<anyhow::Result<Vec<_>>>()?;
            ensure!(
                names[0].len() >= least && names.iter().all(|of_node| *of_node == names[0]),
                "{names:?}"
            );
            Ok(names[0].clone())
        },
    )
    .await
}
