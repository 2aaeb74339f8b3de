//! Queries divided among three replicas: right while one of them dies, and never older than an acknowledged write.

use anyhow::{Context, ensure};
use trireme_integration::{Client, Group, Series, now_ms};

/// Queries of the stream: `TRIREME_QUERIES`, or 1,000.
fn queries() -> usize {
    std::env::var("TRIREME_QUERIES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000)
}

/// The only value of a query, which must have neither warnings nor gaps.
async fn value(client: &Client, query: &str) -> anyhow::Result<f64> {
    let answer = client
        .send(client.get("/api/v1/query").query(&[("query", query)]))
        .await?
        .success()?;
    ensure!(
        !answer.body.contains("\"warnings\""),
        "{query} has a warning: {}",
        answer.body
    );

    client
        .instant(query)
        .await?
        .with_context(|| format!("{query} has no result"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_right_while_a_replica_is_killed() -> anyhow::Result<()> {
    let mut group = Group::of(3).set("query.distribute=always").start().await?;
    let clients = group.clients();
    let total = queries();

    let mut sum = 0.0;
    for i in 0..total {
        if i == total / 2 {
            group.node(2).kill()?;
        }

        let number = i as f64;
        let label = i.to_string();
        let series = Series::new(
            "tick",
            &[("i", &label), ("parity", &(i % 2).to_string())],
            &[(now_ms(), number)],
        );

        // Written at one living node, asked at the other: it must see what was acknowledged.
        let writer = &clients[i % 2];
        let reader = &clients[(i + 1) % 2];

        writer.write(&[series]).await?.success()?;
        sum += number;
        let (query, want) = match i % 5 {
            0 => ("sum(last_over_time(tick[1h]))", sum),
            1 => ("count(last_over_time(tick[1h]))", number + 1.0),
            2 => ("avg(last_over_time(tick[1h]))", sum / (number + 1.0)),
            3 => ("max(last_over_time(tick[1h]))", number),
            _ => ("scalar(topk(1, last_over_time(tick[1h])))", number),
        };

        let got = value(reader, query)
            .await
            .with_context(|| format!("query {i}"))?;
        ensure!(
            (got - want).abs() <= 1e-9 * want.abs(),
            "query {i}: {query} is {got}, not {want}"
        );
    }

    for client in &clients[..2] {
        let shards = client.metric("trireme_query_peer_shards_total").await?;
        ensure!(
            shards > 0.0,
            "a living replica was never asked for its shard"
        );
    }

    group.node(2).start()?;
    group.node(2).ready().await?;
    let got = value(&clients[2], "sum(last_over_time(tick[1h]))").await?;
    ensure!(got == sum, "the returned replica answers {got}, not {sum}");

    group.stop().await
}
