//! Start timestamps of floats and histograms: sent by remote write 2.0, known on every node, kept over a kill and into
//! blocks, carried by remote read; and known to nobody with the switch off.

use std::collections::BTreeSet;

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
    #[prost(message, repeated, tag = "3")]
    histograms: Vec<Histogram>,
}

/// A histogram whose observations are all in the zero bucket.
#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(uint64, tag = "6")]
    zero_count: u64,
    #[prost(int64, tag = "15")]
    timestamp: i64,
    #[prost(int64, tag = "17")]
    start_timestamp: i64,
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

/// What is read of a streamed answer of remote read.
#[derive(Clone, PartialEq, Message)]
struct ChunkedReadResponse {
    #[prost(message, repeated, tag = "1")]
    chunked_series: Vec<ChunkedSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct ChunkedSeries {
    #[prost(message, repeated, tag = "2")]
    chunks: Vec<Chunk>,
}

#[derive(Clone, PartialEq, Message)]
struct Chunk {
    #[prost(int32, tag = "3")]
    encoding: i32,
}

/// Names of the series: of floats, and of histograms with the same numbers as counts.
const NAMES: [&str; 2] = ["requests_total", "latency"];

/// Writes (time, value, start) samples of both series.
async fn write(client: &Client, samples: &[(i64, f64, i64)]) -> anyhow::Result<()> {
    let floats = TimeSeries {
        labels_refs: vec![1, 2],
        samples: samples
            .iter()
            .map(|&(timestamp, value, start_timestamp)| Sample {
                value,
                timestamp,
                start_timestamp,
            })
            .collect(),
        histograms: vec![],
    };

    let histograms = TimeSeries {
        labels_refs: vec![1, 3],
        samples: vec![],
        histograms: samples
            .iter()
            .map(|&(timestamp, value, start_timestamp): &(i64, f64, i64)| {
                let count = value.ceil() as u64;
                Histogram {
                    count,
                    sum: value,
                    zero_count: count,
                    timestamp,
                    start_timestamp,
                }
            })
            .collect(),
    };

    let symbols = ["", "__name__", NAMES[0], NAMES[1]]
        .map(str::to_owned)
        .to_vec();
    let body = Request {
        symbols,
        timeseries: vec![floats, histograms],
    }
    .encode_to_vec();

    let request = client
        .post("/api/v1/write")
        .header(
            "Content-Type",
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        )
        .header("Content-Encoding", "snappy")
        .header("X-Prometheus-Remote-Write-Version", "2.0.0")
        .body(snap::raw::Encoder::new().compress_vec(&body)?);

    client.send(request).await?.success()?;
    Ok(())
}

/// What a node answers to a query at a time (ms), with a header for start timestamps or none.
async fn ask(client: &Client, query: &str, t: i64, header: Option<&str>) -> anyhow::Result<Json> {
    let time = format!("{:.3}", t as f64 / 1e3);
    let mut request = client
        .get("/api/v1/query")
        .query(&[("query", query), ("time", time.as_str())]);

    if let Some(header) = header {
        request = request.header("X-Prometheus-Use-Start-Timestamps", header);
    }

    let answer: Json = serde_json::from_str(&client.send(request).await?.success()?.body)?;
    Ok(answer["data"]["result"].clone())
}

/// Asks each node for the start of each sample.
async fn known_everywhere(group: &Group, samples: &[(i64, f64, i64)]) -> anyhow::Result<()> {
    for (node, name) in group
        .nodes()
        .iter()
        .flat_map(|node| NAMES.map(|name| (node, name)))
    {
        for (t, _, start) in samples {
            let found = ask(node.client(), &format!("start_timestamp({name})"), *t, None).await?;
            let value = found[0]["value"][1]
                .as_str()
                .with_context(|| format!("{found}"))?;
            let found = (value.parse::<f64>()? * 1e3).round() as i64;
            ensure!(
                found == *start,
                "{} says that {name} at {t} starts at {found}, not at {start}",
                node.name()
            );
        }
    }
    Ok(())
}

/// What functions make of the samples, with and without start timestamps.
async fn answers(client: &Client, t: i64) -> anyhow::Result<Vec<Json>> {
    let mut answers = Vec::new();
    for name in NAMES {
        for query in [
            format!("increase({name}[2s])"),
            format!("resets({name}[2s])"),
            format!("rate({name}[1m])"),
        ] {
            for header in [None, Some("false")] {
                answers.push(ask(client, &query, t, header).await?);
            }
        }
    }

    Ok(answers)
}

/// A node knows what reading all samples costs, and reads no more than a query may.
async fn cost_is_known(client: &Client, t: i64, samples: usize) -> anyhow::Result<()> {
    let time = format!("{:.3}", t as f64 / 1e3);
    let parameters = [
        ("query", "sum_over_time(requests_total[10s])"),
        ("time", time.as_str()),
    ];
    let data: Json = client.api("/api/v1/query_cost", &parameters).await?;
    let want = serde_json::json!({ "seriesTouched": 1, "samplesRead": samples });
    ensure!(data["estimate"] == want, "estimated {data}");

    for (limit, status) in [(samples, 200), (samples - 1, 422)] {
        let request = client
            .get("/api/v1/query")
            .query(&parameters)
            .query(&[("max_samples_read", limit)]);
        let answer = client.send(request).await?;
        let is_limit = answer.body.contains("\"errorType\":\"cost_limit\"");
        ensure!(
            answer.status == status && is_limit == (status == 422),
            "with {limit}: {answer:?}"
        );
    }

    Ok(())
}

/// The encodings of the chunks that a node streams for `start..=end` (ms).
async fn streamed_encodings(
    client: &Client,
    start: i64,
    end: i64,
) -> anyhow::Result<BTreeSet<i32>> {
    const STREAMED: [u8; 2] = [0x10, 1];

    let plain = snap::raw::Decoder::new()
        .decompress_vec(&trireme_integration::read_request(start, end)?)?;
    let body = snap::raw::Encoder::new().compress_vec(&[plain.as_slice(), &STREAMED].concat())?;
    let request = client
        .post("/api/v1/read")
        .header("Content-Encoding", "snappy")
        .body(body);
    let body = request.send().await?.error_for_status()?.bytes().await?;
    let mut rest = body.as_ref();

    let mut encodings = BTreeSet::new();
    while !rest.is_empty() {
        let length = prost::encoding::decode_varint(&mut rest)? as usize;
        let (frame, behind) = rest
            .split_at_checked(4 + length)
            .context("a frame is cut off")?;
        let message = ChunkedReadResponse::decode(&frame[4..])?;
        let chunks = message
            .chunked_series
            .into_iter()
            .flat_map(|series| series.chunks);
        encodings.extend(chunks.map(|chunk| chunk.encoding));
        rest = behind;
    }

    Ok(encodings)
}

#[tokio::test]
async fn start_timestamps_reach_every_node_and_survive_a_kill_and_a_cut() -> anyhow::Result<()> {
    const WINDOW_SECONDS: u64 = 20;

    let group = Group::of(3).short_windows(WINDOW_SECONDS);
    let group = group
        .set("features.use-start-timestamps=true")
        .set("features.query-cost=true")
        .set("log.compression=zstd");
    let mut group = group
        .set("checkpoint.interval=1s")
        .set("bucket.type=none")
        .start()
        .await?;

    let window_ms = WINDOW_SECONDS as i64 * 1_000;
    // Room for all samples in the middle of one window.
    let now = until("a window is young", async || {
        let now = now_ms();
        ensure!((4_000..9_000).contains(&(now % window_ms)), "it is not");
        Ok(now)
    })
    .await?;

    let first = now - 3_600_000;
    let second = now - 1_500;
    let in_order = [
        (now - 3_000, 5.0, first),
        (now - 2_000, 9.0, first),
        (now - 1_000, 1.0, second),
    ];

    write(group.client(0), &in_order).await?;
    // Late, and beside a sample that is there already.
    let late = [(now - 2_500, 7.0, first + 1), (now - 1_250, 0.5, second)];

    write(group.client(1), &late).await?;
    let mut all = [in_order.as_slice(), late.as_slice()].concat();
    all.sort_by_key(|sample| sample.0);
    until("all nodes know all starts", async || {
        known_everywhere(&group, &all).await
    })
    .await?;

    let of_head = answers(group.client(0), now).await?;
    cost_is_known(group.client(1), now, all.len()).await?;
    ensure!(
        of_head[0] != of_head[1],
        "start timestamps make no difference: {}",
        of_head[0]
    );

    group.node(2).kill()?;
    group.node(2).start()?;
    group.node(2).ready().await?;
    until("they are known after a kill", async || {
        known_everywhere(&group, &all).await
    })
    .await?;

    let dirs: Vec<_> = group
        .nodes()
        .iter()
        .map(|node| node.data_dir().join("blocks/default-tenant"))
        .collect();

    until("every node has cut the window", async || {
        for dir in &dirs {
            ensure!(
                dir.exists() && !blocks_in(dir)?.is_empty(),
                "{} has no block",
                dir.display()
            );
        }
        Ok(())
    })
    .await?;

    until("they are known from blocks", async || {
        known_everywhere(&group, &all).await
    })
    .await?;

    for node in group.nodes() {
        cost_is_known(node.client(), now, all.len()).await?;
        let of_blocks = answers(node.client(), now).await?;
        ensure!(
            of_blocks == of_head,
            "{} from blocks: {of_blocks:?}, from the head: {of_head:?}",
            node.name()
        );
    }

    let encodings = streamed_encodings(group.client(1), now - 10_000, now).await?;
    ensure!(
        encodings.iter().all(|encoding| *encoding >= 4),
        "streamed in encodings {encodings:?}"
    );

    group.stop().await
}

#[tokio::test]
async fn start_timestamps_are_nowhere_with_the_switch_off() -> anyhow::Result<()> {
    let group = Group::of(1).set("bucket.type=none").start().await?;
    let now = now_ms();
    let samples = [
        (now - 2_000, 5.0, now - 3_000),
        (now - 1_000, 9.0, now - 1_500),
    ];

    write(group.client(0), &samples).await?;
    for name in NAMES {
        let query = format!("start_timestamp({name})");
        let of = async |header| ask(group.client(0), &query, now, header).await;
        ensure!(
            of(None).await? == serde_json::json!([]),
            "{name} without the header"
        );
        ensure!(
            of(Some("true")).await?[0]["value"][1] == "0",
            "{name}, where the header asks for them"
        );
    }

    ensure!(
        streamed_encodings(group.client(0), now - 10_000, now).await? == BTreeSet::from([1, 2])
    );

    group.stop().await
}
