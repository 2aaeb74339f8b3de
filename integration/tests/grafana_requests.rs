//! The requests that Grafana's Prometheus data source makes, in its order and form: codes, content types, shapes.

mod grafana_requests {
    pub mod described;
}

use std::io::Read;

use anyhow::{Context, ensure};
use flate2::read::GzDecoder;
use grafana_requests::described;
use reqwest::RequestBuilder;
use serde_json::{Value as Json, json};
use trireme_integration::{Client, Group, now_ms};

/// Grafana's default limit of series.
const LIMIT: &str = "40000";

/// An answer with what Grafana looks at before its body.
struct Reply {
    status: u16,
    content_type: String,
    encoding: Option<String>,
    bytes: Vec<u8>,
}

impl Reply {
    /// `data` of a success.
    fn data(&self) -> anyhow::Result<Json> {
        let mut json: Json = serde_json::from_slice(&self.bytes).context("body")?;
        ensure!(
            self.status == 200 && json["status"] == "success",
            "answered {}: {json}",
            self.status
        );

        ensure!(
            self.content_type == "application/json",
            "the type is {}",
            self.content_type
        );

        ensure!(
            json.get("error").is_none() && json.get("warnings").is_none(),
            "not a clean success: {json}"
        );

        json.as_object_mut()
            .and_then(|o| o.remove("data"))
            .context("a success without data")
    }
}

async fn send(request: RequestBuilder) -> anyhow::Result<Reply> {
    let answer = request.send().await?;
    let header = |name: &str| {
        answer
            .headers()
            .get(name)
            .and_then(|v| v.to_str().ok())
            .map(str::to_owned)
    };

    Ok(Reply {
        status: answer.status().as_u16(),
        content_type: header("content-type").unwrap_or_default(),
        encoding: header("content-encoding"),
        bytes: answer.bytes().await?.to_vec(),
    })
}

/// A POST with its parameters as a form, Grafana's first choice.
async fn post(client: &Client, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Json> {
    send(client.form(path, parameters)?)
        .await?
        .data()
        .with_context(|| format!("POST {path}"))
}

async fn get(client: &Client, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Json> {
    send(client.get(path).query(parameters))
        .await?
        .data()
        .with_context(|| format!("GET {path}"))
}

/// A node with a minute of a described counter; its times in seconds, as Grafana sends them.
async fn node_with_data() -> anyhow::Result<(Group, String, String)> {
    let group = Group::of(1).start().await?;
    let last = now_ms() / 15_000 * 15_000;
    let times: Vec<i64> = (0..5).map(|i| last - 60_000 + i * 15_000).collect();
    let client = group.client(0);
    let body = described::request(&times)?;

    client
        .send(client.write_builder("/api/v1/write", body))
        .await?
        .success()?;

    Ok((
        group,
        (times[0] / 1_000).to_string(),
        (last / 1_000).to_string(),
    ))
}

#[tokio::test]
async fn saving_the_data_source_succeeds() -> anyhow::Result<()> {
    let (group, ..) = node_with_data().await?;
    let client = group.client(0);
    let data = post(client, "/api/v1/query", &[("query", "1+1"), ("time", "4")]).await?;
    ensure!(
        data == json!({"resultType": "scalar", "result": [4, "2"]}),
        "1+1 is {data}"
    );

    let build = get(client, "/api/v1/status/buildinfo", &[]).await?;
    // Features would mean a Mimir with a ruler, a missing version an unknown kind of server.
    ensure!(build.get("features").is_none(), "{build}");

    let version = build["version"].as_str().context("no version")?;
    let core: Vec<u32> = version
        .split(['-', '+'])
        .next()
        .into_iter()
        .flat_map(|v| v.split('.'))
        .flat_map(str::parse)
        .collect();

    ensure!(
        core.len() == 3 && core[0] >= 3,
        "{version} is not a version of Prometheus 3"
    );

    // What the alerting pages ask besides.
    let rules = get(client, "/api/v1/rules", &[]).await?;
    ensure!(rules == json!({"groups": []}), "{rules}");

    let rules = get(
        client,
        "/api/v1/rules",
        &[("type", "alert"), ("exclude_alerts", "true")],
    )
    .await?;

    ensure!(rules == json!({"groups": []}), "{rules}");
    let old = post(
        client,
        "/api/v1/query",
        &[("query", "prometheus_build_info")],
    )
    .await?;

    ensure!(
        old == json!({"resultType": "vector", "result": []}),
        "{old}"
    );

    group.stop().await
}

#[tokio::test]
async fn the_query_editor_finds_names_values_and_metadata() -> anyhow::Result<()> {
    let (group, start, end) = node_with_data().await?;
    let client = group.client(0);
    let span = [("start", &*start), ("end", &*end), ("limit", LIMIT)];
    let with = |name: &'static str, value: &'static str| [&span[..], &[(name, value)]].concat();

    let metadata = get(client, "/api/v1/metadata", &[("limit", LIMIT)]).await?;
    let entry = json!([{"type": "counter", "help": "Requests that were answered.", "unit": ""}]);
    ensure!(
        metadata == json!({"grafana_requests_total": entry}),
        "{metadata}"
    );

    let names = json!(["__name__", "host", "http.status"]);
    for labels in [
        post(client, "/api/v1/labels", &span).await?,
        post(
            client,
            "/api/v1/labels",
            &with("match[]", "grafana_requests_total"),
        )
        .await?,
        post(
            client,
            "/api/v1/labels",
            &with("match[]", r#"{"http.status"="500"}"#),
        )
        .await?,
    ] {
        ensure!(labels == names, "{labels}");
    }

    // Names that are not plain are escaped in the path; plain ones may be.
    for (name, matching, values) in [
        ("__name__", None, json!(["grafana_requests_total"])),
        ("U__http_2e_status", None, json!(["200", "500"])),
        (
            "U__http_2e_status",
            Some(r#"{"grafana_requests_total",host="b"}"#),
            json!(["500"]),
        ),
        (
            "U__host",
            Some(r#"grafana_requests_total{"http.status"=~"2.."}"#),
            json!(["a"]),
        ),
        ("nobody", None, json!([])),
    ] {
        let mut parameters = span.to_vec();
        parameters.extend(matching.map(|matching| ("match[]", matching)));
        let found = get(client, &format!("/api/v1/label/{name}/values"), &parameters).await?;
        ensure!(found == values, "{name}: {found}");
    }

    let series = post(client, "/api/v1/series", &with("match[]", r#"{host="a"}"#)).await?;
    let one = json!([{"__name__": "grafana_requests_total", "host": "a", "http.status": "200"}]);
    ensure!(series == one, "{series}");

    group.stop().await
}

#[tokio::test]
async fn panels_get_ranges_instants_and_exemplars() -> anyhow::Result<()> {
    let (group, start, end) = node_with_data().await?;
    let client = group.client(0);
    let span = [("start", &*start), ("end", &*end)];
    let (from, to): (i64, i64) = (start.parse()?, end.parse()?);

    let range = [
        &span[..],
        &[
            (
                "query",
                r#"sum by (host) (grafana_requests_total{host="a"})"#,
            ),
            ("step", "15"),
        ],
    ]
    .concat();

    let matrix = post(client, "/api/v1/query_range", &range).await?;
    let values: Vec<Json> = (0..5)
        .map(|i| json!([from + i * 15, i.to_string()]))
        .collect();
    let expected =
        json!({"resultType": "matrix", "result": [{"metric": {"host": "a"}, "values": values}]});
    ensure!(matrix == expected, "{matrix}");

    ensure!(
        get(client, "/api/v1/query_range", &range).await? == expected,
        "GET differs from POST"
    );

    let query = r#"{"grafana_requests_total","http.status"="500"}"#;
    let vector = post(client, "/api/v1/query", &[("query", query), ("time", &end)]).await?;
    let metric = json!({"__name__": "grafana_requests_total", "host": "b", "http.status": "500"});
    let expected =
        json!({"resultType": "vector", "result": [{"metric": metric, "value": [to, "4"]}]});
    ensure!(vector == expected, "{vector}");

    let asked = [&span[..], &[("query", "rate(grafana_requests_total[1m])")]].concat();
    let exemplars = post(client, "/api/v1/query_exemplars", &asked).await?;
    let expected = json!([{
        "seriesLabels": {"__name__": "grafana_requests_total", "host": "a", "http.status": "200"},
        "exemplars": [{"labels": {"trace_id": "abc"}, "value": "0.25", "timestamp": to}],
    }]);
    ensure!(exemplars == expected, "{exemplars}");

    group.stop().await
}

#[tokio::test]
async fn answers_are_compressed_for_those_who_ask() -> anyhow::Result<()> {
    let (group, start, end) = node_with_data().await?;
    let client = group.client(0);

    // A second a step, so that there is something to compress.
    let range = [
        ("query", "grafana_requests_total"),
        ("start", &*start),
        ("end", &*end),
        ("step", "1"),
    ];

    let plain = send(client.form("/api/v1/query_range", &range)?).await?;
    ensure!(
        plain.encoding.is_none(),
        "encoded unasked: {:?}",
        plain.encoding
    );

    let request = client
        .form("/api/v1/query_range", &range)?
        .header("Accept-Encoding", "gzip");
    let packed = send(request).await?;
    ensure!(
        packed.encoding.as_deref() == Some("gzip"),
        "the encoding is {:?}",
        packed.encoding
    );

    ensure!(
        packed.content_type == "application/json",
        "the type is {}",
        packed.content_type
    );

    let mut unpacked = Vec::new();
    GzDecoder::new(packed.bytes.as_slice()).read_to_end(&mut unpacked)?;
    ensure!(
        unpacked == plain.bytes && packed.bytes.len() < plain.bytes.len() / 2,
        "{}",
        packed.bytes.len()
    );

    group.stop().await
}

#[tokio::test]
async fn mistakes_are_told_so_that_the_editor_can_show_them() -> anyhow::Result<()> {
    let (group, start, end) = node_with_data().await?;
    let client = group.client(0);
    type Refusal<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

    let refusals: [Refusal; 6] = [
        (
            "/api/v1/query_range",
            &[
                ("query", "up[1m]"),
                ("start", &start),
                ("end", &end),
                ("step", "1"),
            ],
            "range vector",
        ),
        (
            "/api/v1/query",
            &[("query", "sum(")],
            "1:5: parse error: unclosed left parenthesis",
        ),
        (
            "/api/v1/query_range",
            &[
                ("query", "up"),
                ("start", &end),
                ("end", &start),
                ("step", "15"),
            ],
            "end",
        ),
        (
            "/api/v1/query_range",
            &[
                ("query", "up"),
                ("start", &start),
                ("end", &end),
                ("step", "0"),
            ],
            "step",
        ),
        (
            "/api/v1/series",
            &[("start", &start)],
            "no match[] parameter provided",
        ),
        (
            "/api/v1/labels",
            &[("match[]", "{}")],
            "match[] must contain at least one non-empty matcher",
        ),
    ];

    for (path, parameters, what) in refusals {
        for request in [
            client.form(path, parameters)?,
            client.get(path).query(parameters),
        ] {
            let reply = send(request).await?;
            let json: Json = serde_json::from_slice(&reply.bytes)?;
            ensure!(
                reply.status == 400 && reply.content_type == "application/json",
                "{path}: {json}"
            );
            ensure!(
                json["status"] == "error" && json["errorType"] == "bad_data",
                "{path}: {json}"
            );

            ensure!(
                json["error"]
                    .as_str()
                    .is_some_and(|error| error.contains(what)),
                "{path}: {json}"
            );
        }
    }

    // With 405 Grafana asks again by GET.
    let by_post = send(client.form("/api/v1/label/host/values", &[])?).await?;
    ensure!(by_post.status == 405, "answered {}", by_post.status);

    let unknown = send(client.get("/api/v1/nothing")).await?;
    ensure!(unknown.status == 404, "answered {}", unknown.status);
    group.stop().await
}
