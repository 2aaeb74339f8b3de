//! Start timestamps of floats: sent by remote write 2.0, known on every node, kept over a kill and into blocks.

use anyhow::{Context, ensure};
use prost::Message;
use serde_json::Value as Json;
use trireme_integration::{Client, Group, blocks_in, now_ms, until};

/// The fields of `io.prometheus.write.v2` that are used here.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
    #[prost(int64, tag = "3")]
    start_timestamp: i64,
}

/// Writes (time, value, start) samples of `requests_total`.
async fn write(client: &Client, samples: &[(i64, f64, i64)]) -> anyhow::Result<()> {
    let sample = |&(timestamp, value, start_timestamp)| Sample { value, timestamp, start_timestamp };
    let series = TimeSeries { labels_refs: vec![1, 2], samples: samples.iter().map(sample).collect() };
    let symbols = ["", "__name__", "requests_total"].map(str::to_owned).to_vec();
    let body = Request { symbols, timeseries: vec![series] }.encode_to_vec();
    let request = client
        .post("/api/v1/write")
        .header("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
        .header("Content-Encoding", "snappy")
        .header("X-Prometheus-Remote-Write-Version", "2.0.0")
        .body(snap::raw::Encoder::new().compress_vec(&body)?);
    client.send(request).await?.success()?;
    Ok(())
}

/// Asks each node for the start of each sample.
async fn known_everywhere(group: &Group, samples: &[(i64, f64, i64)]) -> anyhow::Result<()> {
    for node in group.nodes() {
        for (t, _, start) in samples {
            let time = format!("{:.3}", *t as f64 / 1e3);
            let parameters = [("query", "start_timestamp(requests_total)"), ("time", time.as_str())];
            let data: Json = node.client().api("/api/v1/query", &parameters).await?;
            let value = data["result"][0]["value"][1].as_str().with_context(|| format!("{data}"))?;
            let found = (value.parse::<f64>()? * 1e3).round() as i64;
            ensure!(found == *start, "{} says that {t} starts at {found}, not at {start}", node.name());
        }
    }
    Ok(())
}

#[tokio::test]
async fn start_timestamps_reach_every_node_and_survive_a_kill_and_a_cut() -> anyhow::Result<()> {
    const WINDOW_SECONDS: u64 = 20;
    let group = Group::of(3).short_windows(WINDOW_SECONDS);
    let group = group.set("storage.float_encoding=xor2").set("log.compression=zstd");
    let mut group = group.set("checkpoint.interval=1s").set("bucket.type=none").start().await?;
    let window_ms = WINDOW_SECONDS as i64 * 1_000;
    // Room for all samples in the middle of one window.
    let now = until("a window is young", async || {
        let now = now_ms();
        ensure!((4_000..9_000).contains(&(now % window_ms)), "it is not");
        Ok(now)
    })
    .await?;
    let (first, second) = (now - 3_600_000, now - 1_500);
    let in_order = [(now - 3_000, 5.0, first), (now - 2_000, 9.0, first), (now - 1_000, 1.0, second)];
    write(group.client(0), &in_order).await?;
    // Late, and beside a sample that is there already.
    let late = [(now - 2_500, 7.0, first + 1), (now - 1_250, 0.5, second)];
    write(group.client(1), &late).await?;
    let mut all = [in_order.as_slice(), late.as_slice()].concat();
    all.sort_by_key(|sample| sample.0);
    until("all nodes know all starts", async || known_everywhere(&group, &all).await).await?;

    group.node(2).kill()?;
    group.node(2).start()?;
    group.node(2).ready().await?;
    until("they are known after a kill", async || known_everywhere(&group, &all).await).await?;

    let dirs: Vec<_> =
        group.nodes().iter().map(|node| node.data_dir().join("blocks/default-tenant")).collect();
    until("every node has cut the window", async || {
        for dir in &dirs {
            ensure!(dir.exists() && !blocks_in(dir)?.is_empty(), "{} has no block", dir.display());
        }
        Ok(())
    })
    .await?;
    until("they are known from blocks", async || known_everywhere(&group, &all).await).await?;
    group.stop().await
}
