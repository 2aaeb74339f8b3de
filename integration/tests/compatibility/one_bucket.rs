//! Two tenants whose blocks lie in one bucket, and nowhere else: neither sees a series, a name, a value, a hint or a number of the
//! other, at whatever door it asks.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use serde_json::Value as Json;
use trireme_integration::{
    Client, Group, blocks_in, now_ms, read_block, read_request, read_response, until,
};

use super::messages::{Exemplar1, Metadata1, Sample, Series1, Write1, labels};
use super::{expect, write1};

/// Tenants; their names stand in everything that they alone write.
const TENANTS: [&str; 2] = ["alpha", "beta"];
/// A tenant that never wrote.
const STRANGER: &str = "gamma";
const COUNTER: i32 = 1;
const ALL: &str = r#"{__name__=~".+"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_of_one_bucket_do_not_see_each_other() -> anyhow::Result<()> {
    let mut group = Group::of(3).short_windows(5).start().await?;

    let written = now_ms();
    for tenant in TENANTS {
        let request = write1(group.client(0), &request_of(tenant, written));
        expect(request.header("THANOS-TENANT", tenant), 204, tenant).await?;
    }

    let bucket = group.bucket_dir();
    until("both windows are in the bucket", async || {
        let found = tenants_at(&bucket, written)?;
        ensure!(
            TENANTS.iter().all(|tenant| found.contains(*tenant)),
            "only of {found:?}"
        );
        Ok(())
    })
    .await?;

    for node in 0..3 {
        group.node(node).stop().await?;
    }

    for node in 0..3 {
        let data = group.node(node).data_dir().to_owned();
        for gone in ["blocks", "index-headers"] {
            if data.join(gone).exists() {
                std::fs::remove_dir_all(data.join(gone))?;
            }
        }
        group.node(node).start()?;
    }

    for node in 0..3 {
        group.node(node).ready().await?;
        let client = group.client(node);
        for (tenant, other) in [(TENANTS[0], TENANTS[1]), (TENANTS[1], TENANTS[0])] {
            until("the bucket was seen", async || {
                sees_its_own_alone(client, tenant, other, written).await
            })
            .await?;
        }
        sees_nothing(client, written).await?;
    }

    group.stop().await
}

/// Tenants with a block in the bucket that holds samples of `time_ms`.
fn tenants_at(bucket: &std::path::Path, time_ms: i64) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for path in blocks_in(bucket)? {
        // One may be on its way.
        let Ok(block) = read_block(&path) else {
            continue;
        };
        let (start, end) = block.range();
        let tenant = block.external_label("tenant_id").map(str::to_owned);
        found.extend(tenant.filter(|_| start <= time_ms && time_ms < end));
    }

    Ok(found)
}

/// Value of the series that both tenants have under the same labels.
fn value_of(tenant: &str) -> f64 {
    if tenant == TENANTS[0] { 1.5 } else { 2.5 }
}

/// A series with a name of its own, one that the other tenant has too, and one that differs in a value of a label; each with
/// an exemplar and metadata.
fn request_of(tenant: &str, timestamp: i64) -> Write1 {
    let own_metric = format!("{tenant}_total");
    let own_label = format!("{tenant}_label");
    let series = |pairs: &[(&str, &str)]| Series1 {
        labels: labels(pairs),
        samples: vec![Sample {
            value: value_of(tenant),
            timestamp,
        }],
        exemplars: vec![Exemplar1 {
            labels: labels(&[("trace_id", &format!("trace-{tenant}"))]),
            value: 1.0,
            timestamp,
        }],
        histograms: Vec::new(),
    };

    let metadata = |family: &str| Metadata1 {
        kind: COUNTER,
        family: family.to_owned(),
        help: format!("As {tenant} says."),
        unit: String::new(),
    };

    Write1 {
        timeseries: vec![
            series(&[("__name__", &own_metric), (&own_label, tenant)]),
            series(&[("__name__", "shared_total"), ("job", "equal")]),
            series(&[("__name__", "shared_total"), ("owner", tenant)]),
        ],
        metadata: vec![metadata(&own_metric), metadata("shared_total")],
    }
}

/// What a tenant is answered at every door that answers with text.
async fn every_door(
    client: &Client,
    tenant: &str,
    written: i64,
) -> anyhow::Result<Vec<(String, String)>> {
    let seconds = |ms: i64| format!("{}.{:03}", ms / 1_000, ms % 1_000);
    let from = seconds(written - 60_000);
    let to = seconds(written + 1_000);
    let start = ("start", from.as_str());
    let end = ("end", to.as_str());
    let doors = [
        ("/api/v1/query", vec![("query", ALL), ("time", to.as_str())]),
        (
            "/api/v1/query_range",
            vec![("query", ALL), ("step", "1"), start, end],
        ),
        ("/api/v1/query_exemplars", vec![("query", ALL), start, end]),
        ("/api/v1/series", vec![("match[]", ALL), start, end]),
        ("/api/v1/series", vec![("match[]", ALL)]),
        ("/api/v1/labels", vec![start, end]),
        ("/api/v1/labels", vec![]),
        ("/api/v1/label/__name__/values", vec![start, end]),
        ("/api/v1/label/owner/values", vec![]),
        ("/api/v1/export", vec![("match[]", ALL), start, end]),
        ("/api/v1/metadata", vec![]),
        ("/federate", vec![("match[]", ALL)]),
    ];

    let mut answers = Vec::new();
    for (path, parameters) in doors {
        let request = client
            .get(path)
            .query(&parameters)
            .header("THANOS-TENANT", tenant);
        let answer = client.send(request).await?.success().context(path)?;
        ensure!(
            !answer.body.contains("\"warnings\""),
            "{path} for {tenant}: {}",
            answer.body
        );
        answers.push((format!("{path} {parameters:?}"), answer.body));
    }

    let read = client
        .post("/api/v1/read")
        .header("Content-Encoding", "snappy");
    let read = read
        .header("THANOS-TENANT", tenant)
        .body(read_request(written - 60_000, written + 1_000)?);
    let read = read.send().await?.error_for_status()?.bytes().await?;

    answers.push((
        "remote read".to_owned(),
        format!("{:?}", read_response(&read)?),
    ));

    Ok(answers)
}

async fn sees_its_own_alone(
    client: &Client,
    tenant: &str,
    other: &str,
    written: i64,
) -> anyhow::Result<()> {
    for (door, answer) in every_door(client, tenant, written).await? {
        ensure!(
            answer.contains(tenant),
            "{door}: {tenant} does not see its own: {answer}"
        );
        ensure!(
            !answer.contains(other),
            "{door}: {tenant} sees something of {other}: {answer}"
        );
    }

    // Under the same labels the numbers are each one's own.
    let time = format!("{}", written / 1_000 + 1);
    let request = client
        .get("/api/v1/query")
        .query(&[("query", "sum(shared_total)"), ("time", &time)]);
    let answer = client
        .send(request.header("THANOS-TENANT", tenant))
        .await?
        .success()?;
    let answer: Json = serde_json::from_str(&answer.body)?;
    let expected = format!("{}", 2.0 * value_of(tenant));
    ensure!(
        answer["data"]["result"][0]["value"][1] == expected.as_str(),
        "{tenant}: {answer}"
    );

    Ok(())
}

async fn sees_nothing(client: &Client, written: i64) -> anyhow::Result<()> {
    for (door, answer) in every_door(client, STRANGER, written).await? {
        let seen = TENANTS
            .iter()
            .chain(&["shared_total"])
            .find(|text| answer.contains(**text));
        ensure!(
            seen.is_none(),
            "{door}: {STRANGER} sees something of others: {answer}"
        );
    }
    Ok(())
}
