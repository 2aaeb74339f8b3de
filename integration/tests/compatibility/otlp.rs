//! OTLP through the door of one node, looked at from all three.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use prost::Message;
use serde_json::{Value as Json, json};
use trireme_integration::{
    Client, Group, Matrix, SampleSet, Value, first_differences, now_ms, until,
};

use super::expect;
use super::messages::{MetricsAnswer, NumberPoint, message};

/// What Prometheus's translation makes of requests whose times lie around 1,700,000,000 s.
const TABLE: &str = include_str!("../../../src/remote/tests/data/otlp-translation.json");
const TABLE_TIME_MS: i64 = 1_700_000_000_000;
const HALF_HOUR_MS: i64 = 30 * 60_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_holds_what_prometheus_makes_of_otlp() -> anyhow::Result<()> {
    let group = Group::of(3).start().await?;
    translations(&group).await?;
    malformed_texts(&group).await?;
    temporalities(&group).await?;
    target_info_joins(&group).await?;
    group.stop().await
}

async fn post_json(client: &Client, tenant: &str, request: &Json) -> anyhow::Result<String> {
    let post = client.post("/v1/metrics").header("THANOS-TENANT", tenant);
    expect(
        post.header("Content-Type", "application/json")
            .body(request.to_string()),
        200,
        tenant,
    )
    .await
}

/// Each case of the table is a tenant, so that none meets another's series.
async fn translations(group: &Group) -> anyhow::Result<()> {
    let later_ms = (now_ms() - HALF_HOUR_MS) / 1_000 * 1_000 - TABLE_TIME_MS;
    let cases: Vec<Json> = serde_json::from_str(TABLE)?;
    ensure!(cases.len() >= 100, "the table has {} cases", cases.len());

    let mut wanted = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        let mut request = case["request"].clone();
        move_times(&mut request, later_ms)?;
        post_json(group.client(i % 3), &format!("case-{i}"), &request).await?;
        wanted.push(series_of(case, later_ms)?);
    }

    for client in group.clients() {
        for (i, (case, wanted)) in cases.iter().zip(&wanted).enumerate() {
            let held = client
                .export_of(&format!("case-{i}"), TABLE_TIME_MS, now_ms() + 60_000)
                .await?;
            first_differences(("Prometheus", wanted), ("the node", &held))
                .with_context(|| case["name"].to_string())?;
        }
    }

    Ok(())
}

/// Adds to all times of a request (ns since the epoch, as texts).
fn move_times(json: &mut Json, by_ms: i64) -> anyhow::Result<()> {
    match json {
        Json::Array(list) => list.iter_mut().try_for_each(|item| move_times(item, by_ms)),
        Json::Object(fields) => fields.iter_mut().try_for_each(|(name, value)| {
            if !name.ends_with("UnixNano") {
                return move_times(value, by_ms);
            }
            let time: i64 = value.as_str().context("a time as text")?.parse()?;
            *value = json!((time + by_ms * 1_000_000).to_string());
            Ok(())
        }),
        _ => Ok(()),
    }
}

fn series_of(case: &Json, later_ms: i64) -> anyhow::Result<SampleSet> {
    let mut set = SampleSet::default();
    for sample in case["series"].as_array().context("a list")? {
        let labels: BTreeMap<String, String> = serde_json::from_value(sample["labels"].clone())?;
        let value = match sample["v"].as_str().context("a value")? {
            "stale" => Value::STALE,
            number => Value::of(number.parse()?),
        };
        set.add(
            &labels,
            sample["t"].as_i64().context("a time")? + later_ms,
            value,
        );
    }

    Ok(set)
}

/// An attribute that is no UTF-8 costs its own point.
async fn malformed_texts(group: &Group) -> anyhow::Result<()> {
    let nanos = now_ms() as u64 * 1_000_000;
    let points =
        [&b"first"[..], b"\xff\xfe", b"last"].map(|text| NumberPoint::with("k", text, nanos, 1.0));
    let gauge: Vec<u8> = points
        .iter()
        .flat_map(|point| message(1, &point.encode_to_vec()))
        .collect();
    let metric = [message(1, b"beside"), message(5, &gauge)].concat();
    let body = message(1, &message(2, &message(2, &metric)));

    let post = group
        .client(1)
        .post("/v1/metrics")
        .header("Content-Type", "application/x-protobuf");
    let answer = post
        .body(body)
        .send()
        .await?
        .error_for_status()?
        .bytes()
        .await?;

    let refused = MetricsAnswer::decode(&answer[..])?
        .partial_success
        .context("nothing is said")?;
    ensure!(
        refused.rejected == 1 && refused.message.contains("malformed data point"),
        "{refused:?}"
    );

    for client in group.clients() {
        ensure!(client.instant(r#"count(beside{k=~"first|last"})"#).await? == Some(2.0));
        ensure!(client.instant("count(beside)").await? == Some(2.0));
    }

    Ok(())
}

/// What says nothing of its temporality, or that it is a difference, is no cumulative value.
async fn temporalities(group: &Group) -> anyhow::Result<()> {
    let time = format!("{}000000", now_ms());
    let sum = |name: &str, temporality: i32| {
        let point = json!({ "timeUnixNano": time, "asInt": "7" });
        json!({ "name": name, "sum": {
            "aggregationTemporality": temporality, "isMonotonic": true, "dataPoints": [point] } })
    };

    let histogram = json!({ "timeUnixNano": time, "count": "1", "sum": 1.0, "explicitBounds": [], "bucketCounts": ["1"] });
    let exponential =
        json!({ "timeUnixNano": time, "count": "1", "sum": 1.0, "scale": 0, "zeroCount": "1" });
    let request = json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [
        sum("unset", 0), sum("delta", 1), sum("good", 2), sum("unknown", 7),
        { "name": "unset_histogram", "histogram": { "aggregationTemporality": 0, "dataPoints": [histogram] } },
        { "name": "unknown_native", "exponentialHistogram": { "aggregationTemporality": 9, "dataPoints": [exponential] } },
    ] }] }] });

    let said: Json =
        serde_json::from_str(&post_json(group.client(2), "temporal", &request).await?)?;
    let partial = &said["partialSuccess"];
    let text = partial["errorMessage"]
        .as_str()
        .context("nothing is said")?;
    ensure!(partial["rejectedDataPoints"] == "5", "{said}");

    ensure!(
        text.contains("unknown temporality") && text.contains("delta temporality"),
        "{text}"
    );

    for client in group.clients() {
        let held = client.export_of("temporal", 0, now_ms() + 60_000).await?;
        let names: Vec<_> = held
            .series()
            .filter_map(|(labels, _)| labels.get("__name__"))
            .collect();
        ensure!(names == ["good_total"], "{names:?}");
    }

    Ok(())
}

/// Points of half an hour in one request: the resource's labels can be joined at each of them.
async fn target_info_joins(group: &Group) -> anyhow::Result<()> {
    let newest = now_ms() / 60_000 * 60_000;
    let times: Vec<i64> = (0..=30)
        .map(|minute| newest - HALF_HOUR_MS + minute * 60_000)
        .collect();
    let points: Vec<Json> = times
        .iter()
        .map(|time| json!({ "timeUnixNano": format!("{time}000000"), "asDouble": 5.0 }))
        .collect();
    let attribute =
        |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let resource = json!({ "attributes": [
        attribute("service.name", "shop"), attribute("service.instance.id", "i1"), attribute("host.name", "h1"),
    ] });
    let request = json!({ "resourceMetrics": [{
        "resource": resource,
        "scopeMetrics": [{ "metrics": [{ "name": "waiting", "gauge": { "dataPoints": points } }] }],
    }] });

    post_json(group.client(0), "default-tenant", &request).await?;

    let start = (times[0] / 1_000).to_string();
    let end = (newest / 1_000).to_string();
    let query = "waiting * on (job, instance) group_left (host_name) target_info";
    let range = [
        ("query", query),
        ("start", &*start),
        ("end", &*end),
        ("step", "60"),
    ];

    until("every node joins at each point", async || {
        for client in group.clients() {
            let found = Matrix::of(&client.api("/api/v1/query_range", &range).await?)?;
            let expected = json!([{
                "metric": { "host_name": "h1", "instance": "i1", "job": "shop" },
                "values": times.iter().map(|time| json!([time / 1_000, "5"])).collect::<Vec<_>>(),
            }]);
            let expected = Matrix::of(&json!({ "resultType": "matrix", "result": expected }))?;
            let difference = expected.first_difference(&found, 0.0);
            ensure!(difference.is_none(), "{}", difference.unwrap_or_default());
        }
        Ok(())
    })
    .await
}
