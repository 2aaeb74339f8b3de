//! Exemplars and metadata: they cost no sample, and are the same sets on every replica, over a cut and restarts.

use anyhow::{Context, ensure};
use reqwest::RequestBuilder;
use serde_json::Value as Json;
use trireme_integration::{Client, Group, blocks_in, now_ms, read_block, until};

use super::messages::{
    Exemplar1, Exemplar2, Metadata1, Metadata2, SUMMARY, Sample, Series1, Series2, Write1, Write2,
    labels,
};
use super::{HOUR_MS, expect, write1, write2};

/// Sends a request of version 2; demands 204 and these counts of samples and exemplars.
async fn expect_written(
    request: RequestBuilder,
    samples: u64,
    exemplars: u64,
) -> anyhow::Result<()> {
    let answer = request.send().await?;
    let count = |kind: &str| {
        let value = answer
            .headers()
            .get(format!("X-Prometheus-Remote-Write-{kind}-Written"));
        value.and_then(|v| v.to_str().ok()?.parse::<u64>().ok())
    };

    let got = (
        answer.status().as_u16(),
        count("Samples"),
        count("Exemplars"),
    );

    ensure!(
        got == (204, Some(samples), Some(exemplars)),
        "{got:?}: {}",
        answer.text().await?
    );

    Ok(())
}

/// Exemplars of a metric as (trace, value, seconds).
async fn exemplars(client: &Client, metric: &str) -> anyhow::Result<Vec<(String, String, f64)>> {
    let data = client
        .api("/api/v1/query_exemplars", &[("query", metric)])
        .await?;
    let all = data
        .as_array()
        .context("a list")?
        .iter()
        .flat_map(|series| series["exemplars"].as_array());

    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    Ok(all
        .flatten()
        .map(|e: &Json| {
            (
                text(&e["labels"]["trace_id"]),
                text(&e["value"]),
                e["timestamp"].as_f64().unwrap_or(0.0),
            )
        })
        .collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_cost_no_sample_and_are_the_same_on_every_replica() -> anyhow::Result<()> {
    let group = Group::of(3)
        .short_windows(10)
        .set("checkpoint.interval=1s")
        .set("bucket.type=none");
    let mut group = group.start().await?;

    exemplars_of_version_1(&group).await?;
    exemplars_of_version_2(&group).await?;
    metadata(&group).await?;

    let written = now_ms();
    until("every node has cut the window", async || {
        series_go_on(&group).await?;
        for node in group.nodes() {
            let blocks = blocks_in(&node.data_dir().join("blocks/default-tenant"))?;
            let newest = blocks.last().context("no block")?;
            ensure!(
                read_block(newest)?.range().1 > written,
                "{} has cut no more than before",
                node.name()
            );
        }
        Ok(())
    })
    .await?;

    hints_are_everywhere(&group).await.context("after a cut")?;
    // One with its checkpoint and log alone, one in order.
    group.node(2).kill()?;
    group.node(1).stop().await?;

    for node in [1, 2] {
        group.node(node).start()?;
        group.node(node).ready().await?;
    }

    until("hints are kept over restarts", async || {
        series_go_on(&group).await?;
        hints_are_everywhere(&group).await
    })
    .await?;

    group.stop().await
}

/// Exemplars are found by their series, which lasts for as long as it has samples in memory.
async fn series_go_on(group: &Group) -> anyhow::Result<()> {
    let names: [&[(&str, &str)]; 2] = [
        &[("__name__", "requests_total"), ("job", "one")],
        &[("__name__", "calls_total")],
    ];
    let request = Write1 {
        timeseries: names
            .map(|name| Series1 {
                labels: labels(name),
                samples: vec![Sample {
                    value: 1.0,
                    timestamp: now_ms(),
                }],
                exemplars: Vec::new(),
                histograms: Vec::new(),
            })
            .into(),
        metadata: Vec::new(),
    };

    expect(write1(group.client(0), &request), 204, "samples")
        .await
        .map(drop)
}

async fn hints_are_everywhere(group: &Group) -> anyhow::Result<()> {
    exemplars_of_version_1_are_kept(group).await?;
    exemplar_of_version_2_is_kept(group).await?;
    metadata_is_kept(group).await
}

async fn exemplars_of_version_1(group: &Group) -> anyhow::Result<()> {
    let now = now_ms();
    let exemplar = |trace: &str, value: f64, timestamp: i64| Exemplar1 {
        labels: labels(&[("trace_id", trace)]),
        value,
        timestamp,
    };

    let request = Write1 {
        timeseries: vec![Series1 {
            labels: labels(&[("__name__", "requests_total"), ("job", "one")]),
            samples: vec![Sample {
                value: 1.0,
                timestamp: now,
            }],
            exemplars: vec![
                exemplar("good", 1.0, now),
                exemplar("no number", f64::NAN, now),
                exemplar("old", 1.0, now - 3 * HOUR_MS),
                exemplar("no time", 1.0, 0),
                exemplar(&"x".repeat(200), 1.0, now),
            ],
            histograms: Vec::new(),
        }],
        metadata: Vec::new(),
    };

    // As a sender does that got no answer, through every node.
    for client in group.clients() {
        expect(
            write1(&client, &request),
            204,
            "exemplars that cannot be kept",
        )
        .await?;
    }

    until("each exemplar is once at every node", async || {
        exemplars_of_version_1_are_kept(group).await
    })
    .await?;

    let dropped = group
        .client(0)
        .metric_with("trireme_api_dropped_items_total", "exemplar_too_old")
        .await?;
    ensure!(dropped == 2.0, "{dropped} exemplars are counted as too old");

    Ok(())
}

async fn exemplars_of_version_1_are_kept(group: &Group) -> anyhow::Result<()> {
    for client in group.clients() {
        let found = exemplars(&client, "requests_total").await?;
        let traces: Vec<_> = found.iter().map(|e| (e.0.as_str(), e.1.as_str())).collect();
        ensure!(
            traces == [("good", "1"), ("no number", "NaN")],
            "{traces:?}"
        );
    }
    Ok(())
}

async fn exemplars_of_version_2(group: &Group) -> anyhow::Result<()> {
    let client = group.client(0);
    let now = now_ms();
    let mut request = Write2::default();
    let series = request.refs(&["__name__", "calls_total"]);
    let stranger = request.refs(&["__name__", "never_seen_total"]);
    let trace = request.refs(&["trace_id", "t"]);
    let exemplar = |timestamp| Exemplar2 {
        labels: trace.clone(),
        value: 1.0,
        timestamp,
    };

    let alone = |labels: &[u32]| Series2 {
        labels: labels.to_vec(),
        exemplars: vec![exemplar(now)],
        ..Series2::default()
    };

    // The exemplar apart, before its series' first sample; one of a series without any; one that is too old.
    request.timeseries = vec![
        alone(&series),
        alone(&stranger),
        Series2 {
            labels: series.clone(),
            samples: vec![Sample {
                value: 1.0,
                timestamp: now,
            }],
            exemplars: vec![exemplar(now - 3 * HOUR_MS)],
            metadata: None,
        },
    ];

    expect_written(write2(client, &request), 1, 1).await?;
    // Later, when the series is known.
    request.timeseries = vec![alone(&series), alone(&stranger)];
    until("another node knows the series", async || {
        expect_written(write2(group.client(1), &request), 0, 1).await
    })
    .await?;

    until("the exemplar is once at every node", async || {
        exemplar_of_version_2_is_kept(group).await
    })
    .await
}

async fn exemplar_of_version_2_is_kept(group: &Group) -> anyhow::Result<()> {
    for client in group.clients() {
        ensure!(exemplars(&client, "calls_total").await?.len() == 1);
        ensure!(
            client.instant("count(never_seen_total)").await?.is_none(),
            "exemplars make no series"
        );
    }
    Ok(())
}

async fn metadata(group: &Group) -> anyhow::Result<()> {
    let says = |help: &[&str]| Write1 {
        timeseries: Vec::new(),
        metadata: help
            .iter()
            .map(|help| Metadata1 {
                kind: 1,
                family: "requests_total".into(),
                help: (*help).to_owned(),
                unit: String::new(),
            })
            .collect(),
    };

    expect(
        write1(group.client(0), &says(&["said to n0", "said to both"])),
        204,
        "metadata",
    )
    .await?;

    expect(
        write1(group.client(1), &says(&["said to both", "said to n1"])),
        204,
        "metadata",
    )
    .await?;

    let mut summary = Write2::default();
    let help = summary.refs(&["a summary"])[0];
    let labels = summary.refs(&["__name__", "col_sum", "quantile", "0.5"]);
    let samples = vec![Sample {
        value: 1.0,
        timestamp: now_ms(),
    }];
    let metadata = Some(Metadata2 {
        kind: SUMMARY,
        help,
    });

    summary.timeseries = vec![Series2 {
        labels,
        samples,
        metadata,
        ..Series2::default()
    }];

    expect_written(write2(group.client(2), &summary), 1, 0).await?;

    until("every node shows all that was said", async || {
        metadata_is_kept(group).await
    })
    .await
}

async fn metadata_is_kept(group: &Group) -> anyhow::Result<()> {
    for client in group.clients() {
        let all = client.api("/api/v1/metadata", &[]).await?;
        let entries = all["requests_total"].as_array().context("no entries")?;
        let help: Vec<_> = entries
            .iter()
            .filter_map(|entry| entry["help"].as_str())
            .collect();
        ensure!(
            help == ["said to n1", "said to n0", "said to both"],
            "{help:?}"
        );

        ensure!(all["col_sum"].is_array() && all["col"].is_null(), "{all}");
        let one = client
            .api("/api/v1/metadata", &[("limit_per_metric", "1")])
            .await?;
        ensure!(
            one["requests_total"]
                .as_array()
                .is_some_and(|entries| entries.len() == 1),
            "{one}"
        );
    }
    Ok(())
}
