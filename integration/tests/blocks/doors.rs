//! A bucket alone, with blocks beside that are no good, answers at every door that reads.

use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::{Value as Json, json};
use trireme_integration::{
    BlockCopy, Client, Group, SampleSet, first_differences, read_block, read_request,
    read_response, until,
};

use super::WINDOW_SECONDS;
use super::workload::{TENANTS, Written};

/// The tenant that asks.
const TENANT: &str = TENANTS[0];

/// Name of a block that cannot be opened.
const DAMAGED: &str = "01H00000000000000000000009";

/// Series of `block_test` that the tenant has.
const SERIES: usize = 20;

/// Starts nodes that never took a sample over a copy of `bucket`, alone and three of them, and asks them everything;
/// the lone one also after a restart.
pub async fn answer_from_the_bucket_alone(bucket: &Path, written: &Written) -> anyhow::Result<()> {
    for nodes in [1, 3] {
        let group = Group::of(nodes)
            .short_windows(WINDOW_SECONDS)
            .set("storage.retention=5s");
        let mut group = group.set("query.distribute=off").prepare()?;

        spoiled_copy(bucket, &group.bucket_dir())?;
        for node in 0..nodes {
            group.node(node).start()?;
        }

        for node in 0..nodes {
            group.node(node).ready().await?;
            until("the bucket was seen", async || {
                every_door(group.client(node), written).await
            })
            .await?;
        }

        if nodes == 1 {
            group.node(0).stop().await?;
            group.node(0).start()?;
            group.node(0).ready().await?;
            until("the bucket was seen", async || {
                every_door(group.client(0), written).await
            })
            .await?;
            damage_is_said(&group, written).await?;
        }

        group.stop().await?;
    }
    Ok(())
}

/// A block of the times asked that cannot be opened: everything else is answered, with a warning, or nothing at all to
/// whoever wants all or nothing. Remote read, which knows no warnings, fails.
async fn damage_is_said(group: &Group, written: &Written) -> anyhow::Result<()> {
    let client = group.client(0);
    let blocks = trireme_integration::blocks_in(&group.bucket_dir())?;
    let mut blocks = blocks.iter().filter_map(|path| read_block(path).ok());
    let good = blocks
        .find(|block: &BlockCopy| {
            let (from, to) = block.range();
            block.external_label("tenant_id") == Some(TENANT)
                && from < written.end
                && to > written.start
        })
        .context("no block of the times asked")?;

    let mut meta = good.meta.clone();
    let mut files = good.files.clone();
    meta["ulid"] = json!(DAMAGED);
    files.insert("index".to_owned(), b"no index".to_vec());
    write_block(&group.bucket_dir().join(DAMAGED), &meta, &files)?;

    let time = format!("{}.999", written.end / 1_000 - 1);
    let over = format!(
        "sum(count_over_time(block_test[{}ms]))",
        written.end - written.start
    );
    let expected = samples_of(
        &written.of(TENANT).between(written.start, written.end),
        "block_test",
    )
    .to_string();

    let query = |partial: &'static str| {
        let asked = [
            ("query", over.as_str()),
            ("time", time.as_str()),
            ("partial_response", partial),
        ];
        client.send(
            client
                .get("/api/v1/query")
                .header("THANOS-TENANT", TENANT)
                .query(&asked),
        )
    };

    until("the damage is said", async || {
        let answer = query("true").await?.success()?;
        let answer: Json = serde_json::from_str(&answer.body)?;
        ensure!(answer["warnings"].to_string().contains(DAMAGED), "{answer}");
        ensure!(
            answer["data"]["result"][0]["value"][1] == expected.as_str(),
            "not {expected}: {answer}"
        );
        Ok(())
    })
    .await?;

    let refused = query("false").await?;
    ensure!(
        refused.status == 503 && refused.body.contains(DAMAGED),
        "{refused:?}"
    );

    let read = remote_read(client, written.start, written.end).await;
    ensure!(
        read.is_err(),
        "remote read leaves out a block and does not say so"
    );

    Ok(())
}

/// Copies a bucket and puts stray, altered and marked blocks beside its own.
fn spoiled_copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut good = Vec::new();
    for path in trireme_integration::blocks_in(from)? {
        let block = read_block(&path)?;
        write_block(&to.join(&block.ulid), &block.meta, &block.files)?;
        if block.external_label("tenant_id") == Some(TENANT) {
            good.push(block);
        }
    }

    std::fs::write(to.join("stray.txt"), "no block")?;
    std::fs::create_dir_all(to.join("no-block"))?;
    std::fs::write(to.join("no-block/meta.json"), "{}")?;

    // Marks that cannot be read hide nothing.
    for (block, mark) in good.iter().zip([
        "deletion-mark.json",
        "no-compact-mark.json",
        "no-downsample-mark.json",
    ]) {
        std::fs::write(to.join(&block.ulid).join(mark), "{")?;
    }

    let first = good.first().context("the bucket has no block")?;
    let copy = |number: usize| {
        let ulid = format!("01H0000000000000000000000{number}");
        let mut meta = first.meta.clone();
        meta["ulid"] = json!(ulid);
        (to.join(&ulid), meta, first.files.clone())
    };

    let flip = |bytes: Option<&mut Vec<u8>>| {
        let bytes = bytes.context("no such file")?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        anyhow::Ok(())
    };

    let (dir, meta, mut files) = copy(1);
    flip(files.get_mut("index"))?;
    write_block(&dir, &meta, &files)?;

    let (dir, meta, mut files) = copy(2);
    flip(files.get_mut("chunks/000001"))?;
    write_block(&dir, &meta, &files)?;

    let (dir, meta, mut files) = copy(3);
    files.remove("index");
    write_block(&dir, &meta, &files)?;

    let (dir, meta, files) = copy(4);
    write_block(&dir, &meta, &files)?;
    std::fs::write(dir.join("meta.json"), "{")?;

    // An upload under way, and a block that is to be deleted since long.
    let (dir, meta, files) = copy(5);
    write_block(&dir, &meta, &files)?;
    std::fs::remove_file(dir.join("meta.json"))?;

    let (dir, meta, files) = copy(6);
    write_block(&dir, &meta, &files)?;
    let mark = json!({ "id": meta["ulid"], "version": 1, "details": "test", "deletion_time": 1_700_000_000 });

    Ok(std::fs::write(
        dir.join("deletion-mark.json"),
        serde_json::to_vec(&mark)?,
    )?)
}

fn write_block(
    dir: &Path,
    meta: &Json,
    files: &std::collections::BTreeMap<String, Vec<u8>>,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir.join("chunks"))?;
    std::fs::write(dir.join("meta.json"), serde_json::to_vec(meta)?)?;
    for (name, bytes) in files {
        std::fs::write(dir.join(name), bytes)?;
    }
    Ok(())
}

/// Asks at every door; what comes is what was written.
async fn every_door(client: &Client, written: &Written) -> anyhow::Result<()> {
    let start = written.start;
    let end = written.end;
    let sent = written.of(TENANT).between(start, end);
    let time = format!("{}.999", end / 1_000 - 1);
    let from = (start / 1_000 + 1).to_string();
    let to = (end / 1_000 - 1).to_string();
    let span = [("start", from.as_str()), ("end", to.as_str())];

    let over = format!("sum(count_over_time(block_test[{}ms]))", end - start);
    let data = ask(
        client,
        "/api/v1/query",
        &[("query", &over), ("time", &time)],
    )
    .await?;

    let expected = samples_of(&sent, "block_test").to_string();
    ensure!(
        data["result"][0]["value"][1] == expected.as_str(),
        "not {expected} samples: {data}"
    );

    let range = [
        ("query", "count(block_test)"),
        ("step", "1"),
        span[0],
        span[1],
    ];

    let data = ask(client, "/api/v1/query_range", &range).await?;
    let values = data["result"][0]["values"]
        .as_array()
        .context("no values")?;
    let seconds = (end - start) / 1_000 - 1;
    let all = SERIES.to_string();
    ensure!(
        values.len() as i64 == seconds && values.iter().all(|v| v[1] == all.as_str()),
        "{data}"
    );

    let labels = ask(client, "/api/v1/labels", &span).await?;
    ensure!(
        labels == json!(["__name__", "i", "le", "parity", "text"]),
        "{labels}"
    );

    let values = ask(client, "/api/v1/label/parity/values", &span).await?;
    ensure!(values == json!(["even", "odd"]), "{values}");
    let series = ask(
        client,
        "/api/v1/series",
        &[("match[]", "block_test"), span[0], span[1]],
    )
    .await?;

    ensure!(series.as_array().map(Vec::len) == Some(SERIES), "{series}");

    first_differences(
        ("written", &sent),
        ("export", &client.export_of(TENANT, start, end).await?),
    )?;

    // The encoding of remote read leaves out zeros, whatever their sign, there as in Prometheus.
    let read = remote_read(client, start, end).await?;
    first_differences(
        ("written", &sent.without_negative_zeros()),
        ("remote read", &read),
    )
}

fn samples_of(set: &SampleSet, metric: &str) -> usize {
    let named = set
        .series()
        .filter(|(labels, _)| labels["__name__"] == metric);
    named.map(|(_, samples)| samples.len()).sum()
}

/// `data` of an answer to the tenant.
async fn ask(client: &Client, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Json> {
    let request = client
        .get(path)
        .query(parameters)
        .header("THANOS-TENANT", TENANT);
    let answer = client
        .send(request)
        .await?
        .success()
        .context(path.to_owned())?;

    let mut json: Json = serde_json::from_str(&answer.body)?;
    Ok(json["data"].take())
}

/// All samples of the tenant in `start..end` (ms).
async fn remote_read(client: &Client, start: i64, end: i64) -> anyhow::Result<SampleSet> {
    let request = client
        .post("/api/v1/read")
        .header("Content-Encoding", "snappy");
    let request = request
        .header("THANOS-TENANT", TENANT)
        .body(read_request(start, end - 1)?);
    let answer = request.send().await?.error_for_status()?;

    read_response(&answer.bytes().await?)
}
