//! Nodes merge the blocks of their bucket, and no answer changes.

#[path = "blocks/workload.rs"]
mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value as Json;
use trireme_integration::peers::{Promtool, installed};
use trireme_integration::{
    BlockCopy, Client, Group, blocks_in, first_differences, read_block, trireme, until,
};
use workload::{TENANTS, Written, write_through_windows};

const WINDOW_SECONDS: u64 = 4;
/// One range of four windows is whole among them, wherever they begin; the one after it shows that it is over.
const WINDOWS: i64 = 8;
const WINDOW_MS: i64 = WINDOW_SECONDS as i64 * 1_000;

fn read_all(dir: &Path) -> anyhow::Result<Vec<BlockCopy>> {
    blocks_in(dir)?
        .iter()
        .map(|path| read_block(path))
        .collect()
}

/// Blocks of a tenant that lie in the time of `written`. Windows are so short that nodes downsample, too, what they have
/// merged over and over: only blocks with the samples as they were written count.
fn blocks_of(dir: &Path, tenant: &str, written: &Written) -> anyhow::Result<Vec<BlockCopy>> {
    let mut blocks = read_all(dir)?;
    blocks.retain(|block| {
        let (start, end) = block.range();
        let resolution = &block.meta["thanos"]["downsample"]["resolution"];
        block.external_label("tenant_id") == Some(tenant)
            && resolution.as_i64() == Some(0)
            && start < written.end
            && end > written.start
    });

    Ok(blocks)
}

/// The first range of four windows all of whose samples were written.
fn whole_range(written: &Written) -> (i64, i64) {
    let length = 4 * WINDOW_MS;
    let start = (written.start + length - 1).div_euclid(length) * length;
    (start, start + length)
}

/// The blocks of the whole range are one for each tenant, and what they were made of is gone.
fn merged(bucket: &Path, written: &Written) -> anyhow::Result<BTreeMap<String, BlockCopy>> {
    let (start, end) = whole_range(written);

    let mut found = BTreeMap::new();
    for tenant in TENANTS {
        let inside: Vec<BlockCopy> = blocks_of(bucket, tenant, written)?
            .into_iter()
            .filter(|block| block.range().0 < end && block.range().1 > start)
            .collect();
        let [block] = inside.as_slice() else {
            let seen = inside
                .iter()
                .map(|block| format!("{} {:?}", block.ulid, block.range()));
            let seen: Vec<String> = seen.collect();
            anyhow::bail!(
                "{tenant} has these blocks in {start}..{end}: {}",
                seen.join(", ")
            );
        };
        let sources = block.meta["compaction"]["sources"]
            .as_array()
            .map_or(0, Vec::len);
        ensure!(sources >= 4, "{} is of {sources} blocks", block.ulid);
        found.insert(tenant.to_owned(), block.clone());
    }

    Ok(found)
}

/// Every node answers every written sample of the whole windows.
async fn all_nodes_answer(group: &Group, written: &Written) -> anyhow::Result<()> {
    for node in group.nodes() {
        for tenant in TENANTS {
            let sent = written.of(tenant).between(written.start, written.end);
            let answered = node
                .client()
                .export_of(tenant, written.start, written.end)
                .await?;
            first_differences(("written", &sent), (node.name(), &answered))?;
        }
    }
    Ok(())
}

async fn answers(client: &Client, written: &Written) -> anyhow::Result<Vec<Json>> {
    let start = (written.start / 1_000 + 6).to_string();
    let end = (written.end / 1_000 - 1).to_string();

    let mut answers = Vec::new();
    for query in [
        "sum(block_test)",
        "sum by (parity) (rate(block_test_total[5s]))",
        "count_over_time(block_test_total[4s])",
        "histogram_quantile(0.9, sum by (le) (rate(block_test_bucket[5s])))",
    ] {
        let range = [
            ("query", query),
            ("start", &start),
            ("end", &end),
            ("step", "1"),
        ];

        let request = client
            .get("/api/v1/query_range")
            .query(&range)
            .header("THANOS-TENANT", TENANTS[1]);
        let answer: Json = serde_json::from_str(&client.send(request).await?.success()?.body)?;
        ensure!(
            answer["warnings"].is_null(),
            "{query}: {}",
            answer["warnings"]
        );

        ensure!(
            answer["data"]["result"][0].is_object(),
            "{query} has no result"
        );

        answers.push(answer["data"].clone());
    }

    Ok(answers)
}

fn builder() -> trireme_integration::GroupBuilder {
    Group::of(3)
        .short_windows(WINDOW_SECONDS)
        .set("storage.retention=2s")
        .set("bucket.marks_interval=1s")
        .set("compaction.grace=10s")
        .set("compaction.interval=500ms")
        .set("compaction.delete_delay=6s")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_of_a_bucket_are_merged_and_every_answer_stays() -> anyhow::Result<()> {
    let test = "blocks_of_a_bucket_are_merged_and_every_answer_stays";
    let group = builder().set("compaction.enabled=true").start().await?;
    let written = write_through_windows(&group.clients(), WINDOW_SECONDS, WINDOWS).await?;
    let bucket = group.bucket_dir();
    let blocks = until(
        "the bucket has one merged block for each tenant",
        async || merged(&bucket, &written),
    )
    .await?;

    let (start, end) = whole_range(&written);
    for (tenant, block) in &blocks {
        let sent = written.of(tenant).between(start, end).sample_count() as u64;
        let (from, to) = block.range();
        let all = written.of(tenant).between(from, to).sample_count() as u64;
        ensure!(
            block.samples() == all && all >= sent,
            "{} samples of {all}",
            block.samples()
        );
    }

    until("every node answers from the merged blocks", async || {
        all_nodes_answer(&group, &written).await
    })
    .await?;

    if let Some([promtool]) = installed(test, ["promtool"]) {
        let promtool = Promtool::at(&promtool);
        for (tenant, block) in &blocks {
            let copy = group.dir().join(format!("copy-of-{tenant}"));
            let dir = copy.join(&block.ulid);
            std::fs::create_dir_all(copy.join("wal"))?;
            std::fs::create_dir_all(dir.join("chunks"))?;
            std::fs::write(dir.join("meta.json"), serde_json::to_vec(&block.meta)?)?;

            for (name, bytes) in &block.files {
                std::fs::write(dir.join(name), bytes)?;
            }

            ensure!(
                promtool
                    .list(&copy)?
                    .iter()
                    .any(|line| line.starts_with(&block.ulid)),
                "not listed"
            );

            let (from, to) = block.range();
            let sent = written.of(tenant).between(from, to).without_staleness();
            first_differences(
                ("written", &sent),
                ("promtool dump", &promtool.dump(&copy)?),
            )?;
        }
    }

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_is_merged_by_hand_and_every_answer_stays() -> anyhow::Result<()> {
    let group = builder().start().await?;
    let written = write_through_windows(&group.clients(), WINDOW_SECONDS, WINDOWS).await?;
    let bucket = group.bucket_dir();

    until(
        "the bucket has all windows and the nodes have none",
        async || {
            for tenant in TENANTS {
                let blocks = blocks_of(&bucket, tenant, &written)?.len();
                ensure!(blocks as i64 >= WINDOWS, "{tenant} has {blocks} blocks");

                for node in group.nodes() {
                    let local = blocks_of(
                        &node.data_dir().join("blocks").join(tenant),
                        tenant,
                        &written,
                    )?;
                    ensure!(
                        local.is_empty(),
                        "{} has {} blocks",
                        node.name(),
                        local.len()
                    );
                }
            }
            all_nodes_answer(&group, &written).await
        },
    )
    .await?;

    let before = answers(group.client(1), &written).await?;

    let compact = |more: &[&str]| -> anyhow::Result<Json> {
        let mut command = Command::new(trireme()?);
        command
            .args(["bucket", "compact", "--output", "json"])
            .args(more);

        let window = format!("storage.window={WINDOW_SECONDS}s");

        let path = format!("bucket.path={}", bucket.display());
        for set in [
            &window,
            &path,
            "compaction.grace=10s",
            "compaction.delete_delay=0s",
        ] {
            command.args(["--set", set]);
        }

        let output = command.output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );

        serde_json::from_slice(&output.stdout).context("no JSON")
    };

    let names = || -> anyhow::Result<BTreeSet<String>> {
        Ok(read_all(&bucket)?
            .into_iter()
            .map(|block| block.ulid)
            .collect())
    };

    let there = names()?;
    let planned = compact(&["--dry-run"])?;
    ensure!(
        planned["jobs"]
            .as_array()
            .is_some_and(|jobs| jobs.len() >= TENANTS.len()),
        "{planned}"
    );

    ensure!(names()?.is_superset(&there), "a dry run takes nothing away");

    let done = compact(&[])?;
    ensure!(
        done["merged"]
            .as_array()
            .is_some_and(|jobs| jobs.len() >= TENANTS.len()),
        "{done}"
    );

    until("the nodes read the merged blocks", async || {
        let metrics = group.client(1).get("/metrics");
        let metrics = group.client(1).send(metrics).await?.success()?.body;
        let left_out = metrics.lines().find(|line| {
            line.starts_with("trireme_bucket_blocks_left_out") && line.contains("compacted")
        });
        ensure!(
            left_out.is_some_and(|line| !line.ends_with(" 0")),
            "{left_out:?}"
        );
        Ok(())
    })
    .await?;

    ensure!(
        answers(group.client(1), &written).await? == before,
        "with sources and results side by side"
    );

    // The next run deletes what this one has marked.
    let after = compact(&[])?;
    ensure!(
        after["deleted"]
            .as_array()
            .is_some_and(|blocks| blocks.len() >= 8),
        "{after}"
    );

    merged(&bucket, &written)?;
    until("every node has the list without the sources", async || {
        all_nodes_answer(&group, &written).await
    })
    .await?;

    ensure!(
        answers(group.client(1), &written).await? == before,
        "with results alone"
    );

    // What is older than its retention is marked by one run and deleted by the next.
    let old = [
        "--set",
        "storage.retention=2s",
        "--set",
        "compaction.retention_raw=6s",
        "--set",
        "compaction.downsampling=false",
    ];
    let there = read_all(&bucket)?;
    let newest = there.iter().map(|block| block.range().1).max();
    let newest = newest.context("the bucket is empty")?;

    let planned = compact(&[&["--dry-run"][..], &old[..]].concat())?;
    let count = |json: &Json, key: &str| json[key].as_array().map_or(0, Vec::len);
    ensure!(count(&planned, "expired") >= TENANTS.len(), "{planned}");
    let marked = compact(&old)?;
    ensure!(count(&marked, "expired") >= TENANTS.len(), "{marked}");
    let deleted = compact(&old)?;
    ensure!(count(&deleted, "deleted") >= TENANTS.len(), "{deleted}");

    let left = read_all(&bucket)?;
    ensure!(!left.is_empty() && left.len() < there.len(), "{deleted}");
    for block in left {
        let end = block.range().1;
        ensure!(end > newest - 6_000, "{} ends at {end}", block.ulid);
    }

    group.stop().await
}
