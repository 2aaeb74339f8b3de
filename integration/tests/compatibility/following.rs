//! What changed with Prometheus 3.15 and 3.16, asked at the doors of one node and of three. The right values are those of a
//! Prometheus 3.16.0 with the same data.

use anyhow::{Context, ensure};
use serde_json::{Value as Json, json};
use trireme_integration::{Client, Group, Series, now_ms, until};

use super::messages::{Exemplar1, Sample, Series1, Write1, labels};
use super::{expect, write1};

/// Instant queries and the series they give: labels and value.
const QUERIES: [(&str, &str); 21] = [
    // __type__ and __unit__ take no part in matching, and no aggregation keeps them.
    ("cap_bytes - avail", r#"[[{"n":"t"},"70"]]"#),
    (
        "cap_bytes and avail",
        r#"[[{"__name__":"cap_bytes","__type__":"gauge","__unit__":"bytes","n":"t"},"100"]]"#,
    ),
    ("cap_bytes unless avail", "[]"),
    (
        "avail or cap_bytes",
        r#"[[{"__name__":"avail","n":"t"},"30"]]"#,
    ),
    ("sum without (n) (cap_bytes)", r#"[[{},"100"]]"#),
    (
        r#"absent(nope{__type__="gauge", a="b"})"#,
        r#"[[{"a":"b"},"1"]]"#,
    ),
    // Ranks beside an infinity.
    (r#"quantile(0.5, some{v=~"1|2|inf"})"#, r#"[[{},"2"]]"#),
    (r#"quantile(1, some{v=~"1|inf"})"#, r#"[[{},"+Inf"]]"#),
    (r#"quantile(0.5, some{v="-inf"})"#, r#"[[{},"-Inf"]]"#),
    // Sides of a fill.
    (
        "node_meta * on (instance) group_right fill_left (1) cpu_info",
        r#"[[{"cpu":"0","instance":"a"},"6"],[{"cpu":"0","instance":"b"},"3"]]"#,
    ),
    // Start timestamps are nothing that an unmodified range needs; anchored and smoothed are always there.
    ("increase(steps[2m] anchored)", r#"[[{},"20"]]"#),
    ("sum(increase(steps[2m] smoothed))", r#"[[{},"20"]]"#),
    ("avail anchored", r#"[[{"__name__":"avail","n":"t"},"30"]]"#),
    ("rad(vector(1e308))", r#"[[{},"1.7453292519943295e+306"]]"#),
    ("deg(vector(1e306))", r#"[[{},"5.729577951308232e+307"]]"#),
    // Functions and names that are new.
    ("integral(level[2m])", r#"[[{},"120"]]"#),
    (
        "http.server.requests",
        r#"[[{"__name__":"http.server.requests","http.route":"/a"},"9"]]"#,
    ),
    (
        r#"{"http.server.requests"}"#,
        r#"[[{"__name__":"http.server.requests","http.route":"/a"},"9"]]"#,
    ),
    ("sum_over_time(level[2m:60s])", r#"[[{},"4"]]"#),
    ("max_over_time(level[range()])", "error"),
    ("sum(level[min_of(1m, 0m)])", "error"),
];

/// Paths with what their answers contain; the status is 200 unless it says otherwise.
const PATHS: [(&str, u16, &[&str]); 19] = [
    ("/api/v1/status/buildinfo", 200, &[r#""version":"3.16.0"#]),
    (
        "/api/v1/features",
        200,
        &[
            "promql_functions",
            "promql_operators",
            "otlp",
            "anchored",
            "smoothed",
            "duration_expr",
            "fill",
        ],
    ),
    ("/api/v1/status/self_metrics", 200, &[]),
    ("/api/v1/status/tsdb/blocks", 200, &["blocks"]),
    ("/api/v1/notifications", 200, &[]),
    ("/api/v1/openapi.yaml", 200, &["openapi:"]),
    (
        "/api/v1/query?query=level&timeout=0",
        400,
        &["timeout must be positive"],
    ),
    (
        "/api/v1/query?query=level&timeout=-1",
        400,
        &["timeout must be positive"],
    ),
    (
        "/api/v1/query?query=level&stats=foo",
        200,
        &["warnings", "foo"],
    ),
    (
        "/api/v1/query?query=level&stats=all",
        200,
        &[
            "samplesRead",
            "seriesTouched",
            "totalQueryableSamplesPerStep",
        ],
    ),
    (
        "/api/v1/query_cost?query=level",
        200,
        &[r#""estimate":{"seriesTouched":1,"samplesRead":1}"#],
    ),
    (
        "/api/v1/query?query=some&max_series=1",
        422,
        &[
            "cost_limit",
            "query would load too many series into memory in query execution",
        ],
    ),
    (
        "/api/v1/query?query=level%5Bmin_of(1m,0m)%5D",
        400,
        &["bad_data", "duration must be greater than 0"],
    ),
    (
        "/api/v1/parse_query?query=level%5B2*step()%5D",
        200,
        &["rangeExpr"],
    ),
    (
        "/api/v1/search/metric_names?search=lev",
        200,
        &[r#""level""#],
    ),
    (
        "/api/v1/search/label_names?search=inst",
        200,
        &[r#""instance""#],
    ),
    (
        "/api/v1/search/label_values?label=instance&search=a",
        200,
        &[r#""a""#],
    ),
    ("/federate?match%5B%5D=level", 200, &["level{"]),
    (
        "/federate?match%5B%5D=%7B%22http.server.requests%22%7D",
        200,
        &["http_server_requests{http_route=\"/a\""],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_prometheus_changed_is_so_at_one_node_and_at_three() -> anyhow::Result<()> {
    for nodes in [1, 3] {
        let group = Group::of(nodes)
            .set("features.search-api=true")
            .set("features.query-cost=true")
            .set("features.promql-unquoted-utf8-names=true")
            .set("features.promql-per-step-stats=true");

        let group = group.start().await?;
        let end = now_ms() / 60_000 * 60_000;
        group.client(0).write(&data(end)).await?.success()?;

        for client in group.clients() {
            until("it has the data", async || {
                ensure!(
                    client.instant("count(http.server.requests)").await? == Some(1.0),
                    "not yet"
                );
                Ok(())
            })
            .await?;

            let mut wrong = queries(&client, end).await?;
            wrong.extend(paths(&client, end).await?);
            ensure!(
                wrong.is_empty(),
                "{} of {nodes} nodes:\n{}",
                client.url(),
                wrong.join("\n")
            );

            headers(&client, end).await?;
        }

        exemplars(group.client(0)).await?;
        group.stop().await?;
    }
    Ok(())
}

fn data(end: i64) -> Vec<Series> {
    let at_end = |name: &str, labels: &[(&str, &str)], value: f64| {
        Series::new(name, labels, &[(end, value)])
    };
    let each_minute = |name: &str, value: &dyn Fn(i64) -> f64| {
        let samples: Vec<(i64, f64)> = (0..=4)
            .map(|n| (end - (4 - n) * 60_000, value(n)))
            .collect();
        Series::new(name, &[], &samples)
    };

    vec![
        at_end(
            "cap_bytes",
            &[("__type__", "gauge"), ("__unit__", "bytes"), ("n", "t")],
            100.0,
        ),
        at_end("avail", &[("n", "t")], 30.0),
        at_end("some", &[("v", "1")], 1.0),
        at_end("some", &[("v", "2")], 2.0),
        at_end("some", &[("v", "inf")], f64::INFINITY),
        at_end("some", &[("v", "-inf")], f64::NEG_INFINITY),
        at_end("node_meta", &[("instance", "a")], 2.0),
        at_end("node_meta", &[("instance", "c")], 300.0),
        at_end("cpu_info", &[("instance", "a"), ("cpu", "0")], 3.0),
        at_end("cpu_info", &[("instance", "b"), ("cpu", "0")], 3.0),
        each_minute("steps", &|n| 10.0 * n as f64),
        each_minute("level", &|_| 2.0),
        at_end("http.server.requests", &[("http.route", "/a")], 9.0),
    ]
}

/// Series of a vector as (labels, value), in order.
fn series_of(data: &Json) -> anyhow::Result<Vec<Json>> {
    let found = data["result"].as_array().context("a vector")?;
    let mut series: Vec<Json> = found
        .iter()
        .map(|s| json!([s["metric"], s["value"][1]]))
        .collect();
    series.sort_by_key(Json::to_string);
    Ok(series)
}

/// Asks all queries; says which answers are wrong.
async fn queries(client: &Client, end: i64) -> anyhow::Result<Vec<String>> {
    let time = (end / 1_000).to_string();

    let mut wrong = Vec::new();
    for (query, wanted) in QUERIES {
        let request = client
            .get("/api/v1/query")
            .query(&[("query", query), ("time", time.as_str())]);
        let answer = client.send(request).await?;
        let found: Json = serde_json::from_str(&answer.body).context(query)?;
        let is_right = match wanted {
            "error" => answer.status == 400 && found["errorType"] == "bad_data",
            _ => {
                let wanted: Vec<Json> = serde_json::from_str(wanted)?;
                answer.is_success() && series_of(&found["data"]).is_ok_and(|found| found == wanted)
            }
        };

        if !is_right {
            wrong.push(format!("{query} is {:.500} and not {wanted}", answer.body));
        }
    }

    Ok(wrong)
}

/// Asks all paths; says which answers are wrong.
async fn paths(client: &Client, end: i64) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (path, status, parts) in PATHS {
        let at = if path.contains("query=") {
            format!("&time={}", end / 1_000)
        } else {
            String::new()
        };

        let answer = client.send(client.get(&format!("{path}{at}"))).await?;
        let lacks: Vec<&&str> = parts
            .iter()
            .filter(|part| !answer.body.contains(**part))
            .collect();

        if answer.status != status || !lacks.is_empty() {
            wrong.push(format!(
                "{path} is {} without {lacks:?}: {:.700}",
                answer.status, answer.body
            ));
        }
    }

    Ok(wrong)
}

async fn headers(client: &Client, end: i64) -> anyhow::Result<()> {
    let query = || {
        client.get("/api/v1/query").query(&[
            ("query", "increase(steps[2m])"),
            ("time", &(end / 1_000).to_string()),
        ])
    };

    for value in ["true", "false"] {
        expect(
            query().header("X-Prometheus-Use-Start-Timestamps", value),
            200,
            value,
        )
        .await?;
    }

    let said = expect(
        query().header("X-Prometheus-Use-Start-Timestamps", "maybe"),
        400,
        "maybe",
    )
    .await?;

    ensure!(said.contains("X-Prometheus-Use-Start-Timestamps"), "{said}");

    let federate = || {
        client
            .get("/federate")
            .query(&[("match[]", r#"{"http.server.requests"}"#)])
    };

    for (escaping, line) in [
        ("underscores", r#"http_server_requests{http_route="/a""#),
        (
            "allow-utf-8",
            r#"{"http.server.requests","http.route"="/a""#,
        ),
    ] {
        let accept = format!("text/plain;version=1.0.0;escaping={escaping}");
        let said = expect(federate().header("Accept", accept), 200, escaping).await?;
        ensure!(said.contains(line), "{escaping}: {said}");
    }

    let protobuf = federate().header(
        "Accept",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    );
    let answer = protobuf.send().await?;
    let kind = answer
        .headers()
        .get("Content-Type")
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default()
        .to_owned();

    ensure!(
        kind.starts_with("application/vnd.google.protobuf"),
        "{kind}"
    );

    Ok(())
}

/// An exemplar that has a label name twice is not stored; its sample is.
async fn exemplars(client: &Client) -> anyhow::Result<()> {
    let now = now_ms();
    let exemplar = Exemplar1 {
        labels: labels(&[("trace_id", "a"), ("trace_id", "b")]),
        value: 1.0,
        timestamp: now,
    };

    let series = Series1 {
        labels: labels(&[("__name__", "twice")]),
        samples: vec![Sample {
            value: 1.0,
            timestamp: now,
        }],
        exemplars: vec![exemplar],
        ..Series1::default()
    };

    expect(
        write1(
            client,
            &Write1 {
                timeseries: vec![series],
                ..Write1::default()
            },
        ),
        204,
        "a name twice",
    )
    .await?;

    ensure!(
        client.instant("twice").await? == Some(1.0),
        "the sample is missing"
    );

    let found = client
        .api("/api/v1/query_exemplars", &[("query", "twice")])
        .await?;
    ensure!(found.as_array().is_some_and(Vec::is_empty), "{found}");

    Ok(())
}
