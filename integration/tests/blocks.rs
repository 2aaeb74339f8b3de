//! Windows become blocks: the same bytes everywhere, once in the bucket, and what Prometheus's own tools say about them.

#[path = "blocks/doors.rs"]
mod doors;
#[path = "blocks/workload.rs"]
mod workload;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::Value as Json;
use trireme_integration::peers::{Moto, Prometheus, Promtool, installed};
use trireme_integration::{
    BlockCopy, Client, Group, blocks_in, first_differences, read_block, until,
};
use workload::{TENANTS, Written, write_through_windows};

const WINDOW_SECONDS: u64 = 10;
const WINDOWS: i64 = 2;

/// Blocks of a directory that lie in the time of `written`, by tenant and start.
fn by_window(
    blocks: &[BlockCopy],
    written: &Written,
) -> anyhow::Result<BTreeMap<(String, i64), BlockCopy>> {
    let mut found = BTreeMap::new();
    for block in blocks {
        let (start, end) = block.range();
        if start < written.start || end > written.end {
            continue;
        }

        let tenant = block
            .external_label("tenant_id")
            .context("block without a tenant label")?
            .to_owned();
        let earlier = found.insert((tenant.clone(), start), block.clone());
        ensure!(
            earlier.is_none(),
            "tenant {tenant} has two blocks of the window at {start}: {earlier:?}"
        );
    }

    Ok(found)
}

fn read_all(dir: &Path) -> anyhow::Result<Vec<BlockCopy>> {
    blocks_in(dir)?
        .iter()
        .map(|path| read_block(path))
        .collect()
}

fn local_blocks(group: &Group, node: usize) -> anyhow::Result<Vec<BlockCopy>> {
    let root = group.nodes()[node].data_dir().join("blocks");
    let mut all = Vec::new();
    for tenant in TENANTS {
        all.extend(read_all(&root.join(tenant))?);
    }
    Ok(all)
}

/// Blocks as objects of an S3 bucket.
fn blocks_of(objects: &BTreeMap<String, Vec<u8>>) -> anyhow::Result<Vec<BlockCopy>> {
    let ulids = objects
        .keys()
        .filter_map(|key| key.strip_suffix("/meta.json"));
    let block = |ulid: &str| {
        let inside = |key: &str| key.strip_prefix(ulid)?.strip_prefix('/').map(str::to_owned);
        let mut files: BTreeMap<String, Vec<u8>> = objects
            .iter()
            .filter_map(|(key, bytes)| Some((inside(key)?, bytes.clone())))
            .collect();
        let meta = files.remove("meta.json").context("no meta.json")?;
        Ok(BlockCopy {
            ulid: ulid.to_owned(),
            meta: serde_json::from_slice(&meta)?,
            files,
        })
    };

    ulids.map(block).collect()
}

/// Exactly one block per window and tenant, holding as many samples as were written.
fn covers(blocks: &BTreeMap<(String, i64), BlockCopy>, written: &Written) -> anyhow::Result<()> {
    for tenant in TENANTS {
        for window in 0..WINDOWS {
            let start = written.start + window * WINDOW_SECONDS as i64 * 1_000;
            let block = blocks.get(&(tenant.to_owned(), start));
            let block =
                block.with_context(|| format!("no block of {tenant} for the window at {start}"))?;
            let expected = written
                .of(tenant)
                .between(start, start + WINDOW_SECONDS as i64 * 1_000)
                .sample_count();
            ensure!(
                block.samples() == expected as u64,
                "{} samples of {expected}: {}",
                block.samples(),
                block.meta
            );
        }
    }
    Ok(())
}

/// Waits until each node has its blocks, and holds them against `published`.
async fn same_on_all_nodes(
    group: &Group,
    written: &Written,
    published: &BTreeMap<(String, i64), BlockCopy>,
) -> anyhow::Result<()> {
    for node in 0..group.nodes().len() {
        let local = until("the node has written its blocks", async || {
            let local = by_window(&local_blocks(group, node)?, written)?;
            covers(&local, written)?;
            Ok(local)
        })
        .await?;

        ensure!(
            local.keys().eq(published.keys()),
            "n{node} has blocks {:?}",
            local.keys()
        );

        for (window, block) in published {
            ensure!(
                local[window].ulid == block.ulid,
                "n{node} names the block of {window:?} otherwise"
            );

            for (name, bytes) in &local[window].files {
                ensure!(
                    block.files.get(name) == Some(bytes),
                    "{name} of {} differs on n{node}",
                    block.ulid
                );
            }

            for name in ["index", "chunks/000001"] {
                ensure!(
                    block.files.contains_key(name),
                    "{} has no {name}",
                    block.ulid
                );
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_block_per_window_and_tenant_equal_on_all_nodes_and_readable_by_prometheus()
-> anyhow::Result<()> {
    let test = "one_block_per_window_and_tenant_equal_on_all_nodes_and_readable_by_prometheus";
    let group = Group::of(3).short_windows(WINDOW_SECONDS).start().await?;
    let written = write_through_windows(&group.clients(), WINDOW_SECONDS, WINDOWS).await?;
    let published = until(
        "the bucket has one block per window and tenant",
        async || {
            let blocks = by_window(&read_all(&group.bucket_dir())?, &written)?;
            covers(&blocks, &written)?;
            Ok(blocks)
        },
    )
    .await?;

    same_on_all_nodes(&group, &written, &published).await?;
    if let Some([promtool, prometheus]) = installed(test, ["promtool", "prometheus"]) {
        for tenant in TENANTS {
            let copy = group.dir().join(format!("copy-of-{tenant}"));
            copy_blocks(&published, tenant, &copy)?;
            promtool_agrees(
                &Promtool::at(&promtool),
                &copy,
                &published,
                tenant,
                &written,
            )?;
        }

        let copy = group.dir().join(format!("copy-of-{}", TENANTS[0]));
        let reader = Prometheus::in_dir(&prometheus, &group.dir().join("reader"))
            .data(&copy)
            .start()
            .await?;

        first_differences(
            (
                "written",
                &written
                    .of(TENANTS[0])
                    .between(written.start, written.end)
                    .without_negative_zeros(),
            ),
            (
                "Prometheus on the blocks",
                &reader.stored(written.start, written.end).await?,
            ),
        )?;

        same_answers(group.client(1), reader.client(), &written).await?;
    }

    // Looked at again at the end: nothing was published twice in the meantime.
    covers(
        &by_window(&read_all(&group.bucket_dir())?, &written)?,
        &written,
    )?;

    group.stop().await
}

fn copy_blocks(
    blocks: &BTreeMap<(String, i64), BlockCopy>,
    tenant: &str,
    to: &Path,
) -> anyhow::Result<()> {
    // Old versions of promtool want to look into a write-ahead log, even an empty one.
    std::fs::create_dir_all(to.join("wal"))?;

    for block in blocks
        .iter()
        .filter(|((of, _), _)| of == tenant)
        .map(|(_, block)| block)
    {
        let dir = to.join(&block.ulid);
        std::fs::create_dir_all(dir.join("chunks"))?;
        std::fs::write(dir.join("meta.json"), serde_json::to_vec(&block.meta)?)?;
        for (name, bytes) in &block.files {
            std::fs::write(dir.join(name), bytes)?;
        }
    }

    Ok(())
}

fn promtool_agrees(
    promtool: &Promtool,
    copy: &Path,
    blocks: &BTreeMap<(String, i64), BlockCopy>,
    tenant: &str,
    written: &Written,
) -> anyhow::Result<()> {
    let listed = promtool.list(copy)?;
    let expected: Vec<&BlockCopy> = blocks
        .iter()
        .filter(|((of, _), _)| of == tenant)
        .map(|(_, b)| b)
        .collect();

    ensure!(listed.len() == expected.len(), "promtool lists {listed:?}");

    for block in expected {
        let line = listed.iter().find(|line| line.starts_with(&block.ulid));
        let line =
            line.with_context(|| format!("promtool does not list {}: {listed:?}", block.ulid))?;
        ensure!(
            line.split_whitespace()
                .any(|field| field == block.samples().to_string()),
            "{line}"
        );

        let analysis = promtool.analyze(copy, &block.ulid)?;
        let series = block.meta["stats"]["numSeries"].to_string();
        let counted = analysis
            .lines()
            .find_map(|line| line.strip_prefix("Series: "))
            .context("no line of series")?;
        ensure!(
            counted.trim() == series,
            "promtool counts {counted} series, meta.json {series}"
        );
    }

    let samples = written
        .of(tenant)
        .between(written.start, written.end)
        .without_staleness();

    first_differences(
        ("written", &samples),
        ("promtool dump", &promtool.dump(copy)?),
    )
}

/// Range queries give the same numbers on both, apart from the last digits that the order of a sum decides.
async fn same_answers(ours: &Client, theirs: &Client, written: &Written) -> anyhow::Result<()> {
    // No range reaches back before the first block: only ours has samples there. Samples never lie on a tenth of a
    // second, so that open and closed ends of ranges make no difference.
    let start = (written.start + 6_000) / 1_000;

    let end = (written.end - 1_000) / 1_000;
    for query in [
        "sum(block_test)",
        "block_test",
        "sum by (parity) (rate(block_test_total[5s]))",
        "max_over_time(block_test[3s])",
        "count_over_time(block_test_total[4s])",
        "histogram_quantile(0.9, sum by (le) (rate(block_test_bucket[5s])))",
        "block_test_total - ignoring(none) block_test_total offset 2s",
    ] {
        let range = [
            ("query", query),
            ("start", &start.to_string()),
            ("end", &end.to_string()),
            ("step", "1"),
        ];

        let mut request = ours.get("/api/v1/query_range").query(&range);
        request = request.header("THANOS-TENANT", TENANTS[0]);
        let answer: Json = serde_json::from_str(&ours.send(request).await?.success()?.body)?;
        let ours = matrix(&answer["data"])?;
        let theirs = matrix(&theirs.api("/api/v1/query_range", &range).await?)?;
        ensure!(!ours.is_empty(), "{query} has no result");
        ensure!(
            ours.keys().eq(theirs.keys()),
            "{query}: {:?} against {:?}",
            ours.keys(),
            theirs.keys()
        );

        for (at, ours) in &ours {
            let theirs = theirs[at];
            let close =
                (ours - theirs).abs() <= 1e-12 * theirs.abs() || ours.to_bits() == theirs.to_bits();
            ensure!(
                close || (ours.is_nan() && theirs.is_nan()),
                "{query} at {at:?}: {ours} against {theirs}"
            );
        }
    }

    Ok(())
}

/// Values of a range query by series and time.
fn matrix(data: &Json) -> anyhow::Result<BTreeMap<(String, String), f64>> {
    let mut found = BTreeMap::new();
    for series in data["result"].as_array().context("no result array")? {
        let labels: BTreeMap<String, String> = serde_json::from_value(series["metric"].clone())?;
        for value in series["values"].as_array().context("no values")? {
            let number = value[1]
                .as_str()
                .context("value is no text")?
                .replace("Inf", "inf")
                .parse()?;
            found.insert((format!("{labels:?}"), value[0].to_string()), number);
        }
    }

    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_reach_an_s3_server_once_and_are_answered_from_there() -> anyhow::Result<()> {
    let Some(moto) = Moto::installed("blocks_reach_an_s3_server_once_and_are_answered_from_there")
    else {
        return Ok(());
    };

    let dir = tempfile::tempdir()?;
    let mut s3 = Moto::start(&moto, dir.path(), "metrics").await?;
    let group = Group::of(3)
        .short_windows(WINDOW_SECONDS)
        .set("bucket.type=s3")
        .set("bucket.name=metrics")
        .set(&format!("bucket.endpoint={}", s3.endpoint()))
        .set("bucket.allow_http=true")
        .set("bucket.access_key=test")
        .set("bucket.secret_key=test")
        .start()
        .await?;

    let written = write_through_windows(&group.clients(), WINDOW_SECONDS, WINDOWS).await?;
    let published = until(
        "the S3 bucket has one block per window and tenant",
        async || {
            let blocks = by_window(&blocks_of(&s3.objects().await?)?, &written)?;
            covers(&blocks, &written)?;
            Ok(blocks)
        },
    )
    .await?;

    same_on_all_nodes(&group, &written, &published).await?;
    all_nodes_answer(&group, &written).await?;
    group.stop().await
}

/// Every node answers every written sample of the whole windows, wherever it lies by now.
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_windows_are_answered_from_the_bucket_after_local_blocks_are_gone() -> anyhow::Result<()>
{
    let group = Group::of(3)
        .short_windows(WINDOW_SECONDS)
        .set("storage.retention=5s")
        .start()
        .await?;

    let written = write_through_windows(&group.clients(), WINDOW_SECONDS, WINDOWS).await?;
    until(
        "local blocks are gone and the bucket has them",
        async || {
            covers(
                &by_window(&read_all(&group.bucket_dir())?, &written)?,
                &written,
            )?;
            for node in 0..group.nodes().len() {
                let local = by_window(&local_blocks(&group, node)?, &written)?;
                ensure!(local.is_empty(), "n{node} has {} blocks", local.len());
            }
            Ok(())
        },
    )
    .await?;

    until("every node has seen the bucket", async || {
        all_nodes_answer(&group, &written).await
    })
    .await?;

    let bucket = group.bucket_dir();
    doors::answer_from_the_bucket_alone(&bucket, &written).await?;
    group.stop().await
}
