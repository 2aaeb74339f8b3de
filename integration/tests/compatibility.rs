//! What senders and clients of others do, which is not always what the manuals say.

#[path = "compatibility/following.rs"]
mod following;
#[path = "compatibility/hints.rs"]
mod hints;
#[path = "compatibility/messages.rs"]
mod messages;
#[path = "compatibility/one_bucket.rs"]
mod one_bucket;
#[path = "compatibility/otlp.rs"]
mod otlp;

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, ensure};
use messages::{Histogram, Sample, Series1, Series2, Write1, Write2, body, labels};
use reqwest::RequestBuilder;
use serde_json::{Value as Json, json};
use trireme_integration::{Client, Group, Series, now_ms};

const HOUR_MS: i64 = 3_600_000;

fn write1(client: &Client, request: &Write1) -> RequestBuilder {
    client.write_builder("/api/v1/write", body(request))
}

fn write2(client: &Client, request: &Write2) -> RequestBuilder {
    client
        .post("/api/v1/write")
        .header(
            "Content-Type",
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        )
        .header("Content-Encoding", "snappy")
        .header("X-Prometheus-Remote-Write-Version", "2.0.0")
        .body(body(request))
}

/// A query in a form.
fn form(client: &Client, path: &str, query: &str) -> RequestBuilder {
    let escaped = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    let body = format!("query={}", query.bytes().map(escaped).collect::<String>());

    client
        .post(path)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(body)
}

/// Sends; demands the status; gives the body.
async fn expect(request: RequestBuilder, status: u16, what: &str) -> anyhow::Result<String> {
    let answer = request.send().await?;
    let got = answer.status().as_u16();
    let text = answer.text().await?;
    ensure!(
        got == status,
        "{what}: answered {got} and not {status}: {text:.1000}"
    );

    Ok(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_others_are_understood() -> anyhow::Result<()> {
    let group = Group::of(1).start().await?;
    let client = group.client(0);
    let now = now_ms();
    let many: Vec<Series> = (0..2_000)
        .map(|i| {
            Series::new(
                "many",
                &[("i", &format!("{i:04}")), ("text", "longer than short")],
                &[(now, 1.0)],
            )
        })
        .collect();

    client.write(&many).await?.success()?;

    wrong_bodies_and_units(client).await?;
    one_age_for_all_series(client).await?;
    long_chains(client).await?;
    paths_and_forms(client).await?;
    old_http(client)?;
    stale_histograms(client).await?;
    histograms_of_otlp(client).await?;
    small_print(client).await?;
    reports_of_strangers(client).await?;

    group.stop().await
}

async fn wrong_bodies_and_units(client: &Client) -> anyhow::Result<()> {
    let mut request = Write2::default();
    let labels = request.refs(&["__name__", "lost"]);
    let samples = vec![Sample {
        value: 1.0,
        timestamp: now_ms(),
    }];

    request.timeseries = vec![Series2 {
        labels,
        samples,
        ..Series2::default()
    }];

    let as_version_1 = client.write_builder("/api/v1/write", body(&request));
    let said = expect(as_version_1, 400, "a 2.0 body under the type of 1.0").await?;
    ensure!(said.contains("io.prometheus.write.v2.Request"), "{said}");

    let now = now_ms();
    let units = [
        (0, "seconds"),
        (now / 1_000, "seconds"),
        (10_000_000_000, "seconds"),
        (now * 1_000, "microseconds"),
    ];

    for (i, (timestamp, unit)) in units.into_iter().enumerate() {
        let answer = client
            .write_as(
                &format!("new-{i}"),
                &[Series::new("m", &[], &[(timestamp, 1.0)])],
            )
            .await?;

        ensure!(answer.status == 400, "{timestamp}: {}", answer.status);
        let expected = "expected milliseconds since 1970, this looks like";
        ensure!(
            answer.body.contains(&format!("{expected} {unit}")),
            "{timestamp}: {}",
            answer.body
        );
    }

    Ok(())
}

/// The newest sample of a tenant counts for all its series, in whatever shard they are.
async fn one_age_for_all_series(client: &Client) -> anyhow::Result<()> {
    let now = now_ms();
    client
        .write_as("young", &[Series::new("first", &[], &[(now, 1.0)])])
        .await?
        .success()?;

    for (age, status) in [(25 * HOUR_MS, 400), (23 * HOUR_MS, 204)] {
        for i in 0..40 {
            let series = Series::new("m", &[("i", &i.to_string())], &[(now - age, 1.0)]);
            let answer = client.write_as("young", &[series]).await?;
            ensure!(
                answer.status == status,
                "series {i}, {age} ms old: {} {}",
                answer.status,
                answer.body
            );
        }
    }

    Ok(())
}

async fn long_chains(client: &Client) -> anyhow::Result<()> {
    let chain = |term: &str, op: &str, terms: usize| vec![term; terms].join(op);
    for terms in [300, 1_900] {
        for (query, value) in [
            (chain("1", "+", terms), terms as f64),
            (
                format!("count({})", chain(r#"many{i=~"000."}"#, " or ", terms)),
                10.0,
            ),
            (
                format!(r#"sum(many{{i="0001"}} + {})"#, chain("1", "+", terms)),
                terms as f64 + 1.0,
            ),
        ] {
            let asked = form(client, "/api/v1/query", &query);
            let answer: Json = serde_json::from_str(&expect(asked, 200, "a chain").await?)?;
            let result = &answer["data"]["result"];
            let got = result[0]["value"][1]
                .as_str()
                .or(result[1].as_str())
                .context("no value")?;
            ensure!(
                got.parse() == Ok(value),
                "{terms} terms of {query:.20}: {got}"
            );

            let asked = form(client, "/api/v1/format_query", &query);
            expect(
                asked,
                if terms < 1_000 { 200 } else { 400 },
                "a chain in format_query",
            )
            .await?;

            let asked = form(client, "/api/v1/parse_query", &query);
            expect(asked, 200, "a chain in parse_query").await?;
        }
    }

    let too_long = chain("1", "+", 10_000);
    let said = expect(
        form(client, "/api/v1/query", &too_long),
        400,
        "a chain too long",
    )
    .await?;

    ensure!(said.contains("2000 operators"), "{said}");
    let replaced = r#"label_replace(vector(1), "dst", "$1x-${1x}", "", "(?P<1x>)")"#;
    ensure!(client.instant(replaced).await? == Some(1.0));

    Ok(())
}

async fn paths_and_forms(client: &Client) -> anyhow::Result<()> {
    for path in ["/api/v1/query/", "//api/v1/query", "/api/v1//query"] {
        let answer = expect(client.get(path).query(&[("query", "1 + 1")]), 200, path).await?;
        ensure!(answer.contains(r#""2""#), "{path}: {answer}");
    }

    let form = "--x\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\n1 + 2\r\n--x--\r\n";
    let multipart = client
        .post("/api/v1/query")
        .header("Content-Type", "multipart/form-data; boundary=x")
        .body(form);
    let answer = expect(multipart, 200, "a multipart form").await?;
    ensure!(answer.contains(r#""3""#), "{answer}");

    Ok(())
}

/// Clients of HTTP/1.0 know no chunks.
fn old_http(client: &Client) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(client.address())?;
    stream
        .write_all(b"GET /api/v1/series?match[]=many HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")?;

    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
    ensure!(
        body.len() > 100 << 10,
        "the answer has only {} bytes",
        body.len()
    );

    ensure!(
        !head.to_ascii_lowercase().contains("transfer-encoding"),
        "{head}"
    );

    let json: Json = serde_json::from_str(body).context("the body is not plain")?;
    ensure!(
        json["data"]
            .as_array()
            .is_some_and(|series| series.len() == 2_000)
    );

    Ok(())
}

async fn stale_histograms(client: &Client) -> anyhow::Result<()> {
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let request = Write1 {
        timeseries: vec![Series1 {
            labels: labels(&[("__name__", "gone")]),
            histograms: vec![Histogram {
                sum: stale,
                timestamp: now_ms(),
            }],
            ..Series1::default()
        }],
        metadata: Vec::new(),
    };

    expect(write1(client, &request), 204, "a stale histogram").await?;
    let export = expect(
        client.get("/api/v1/export").query(&[("match[]", "gone")]),
        200,
        "export",
    )
    .await?;

    ensure!(export.contains(r#""sum":"StaleNaN""#), "{export}");
    Ok(())
}

/// Bounds that are infinite, and buckets that overlap the zero bucket: those are cut at its edge when they are looked at.
async fn histograms_of_otlp(client: &Client) -> anyhow::Result<()> {
    let time = format!("{}000000", now_ms());
    let explicit = json!({
        "timeUnixNano": time, "count": "3", "sum": 4.0,
        "explicitBounds": ["-Infinity", 1.0, "Infinity"], "bucketCounts": ["0", "1", "2", "0"],
    });

    // (0.5, 1] with 3 observations and (1, 2] with one; whatever is below 0.6 counts as zero.
    let exponential = json!({
        "timeUnixNano": time, "count": "4", "sum": 5.0, "scale": 0, "zeroCount": "0", "zeroThreshold": 0.6,
        "positive": { "offset": -1, "bucketCounts": ["3", "1"] },
    });

    // The same on both sides: two of five lie below -0.6.
    let two_sided = json!({
        "timeUnixNano": time, "count": "5", "sum": 1.0, "scale": 0, "zeroCount": "0", "zeroThreshold": 0.6,
        "positive": { "offset": -1, "bucketCounts": ["3"] }, "negative": { "offset": -1, "bucketCounts": ["2"] },
    });
    let cumulative = 2;
    let metrics = json!([
        { "name": "bounded", "histogram": { "aggregationTemporality": cumulative, "dataPoints": [explicit] } },
        { "name": "overlapping",
          "exponentialHistogram": { "aggregationTemporality": cumulative, "dataPoints": [exponential] } },
        { "name": "two_sided",
          "exponentialHistogram": { "aggregationTemporality": cumulative, "dataPoints": [two_sided] } },
    ]);

    let request = json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": metrics }] }] });
    let send = client
        .post("/otlp/v1/metrics")
        .header("Content-Type", "application/json");

    expect(send.body(request.to_string()), 200, "histograms of OTLP").await?;

    let data = client
        .api(
            "/api/v1/query",
            &[("query", "sort_by_label(bounded_bucket, \"le\")")],
        )
        .await?;

    let bucket = |series: &Json| (series["metric"]["le"].clone(), series["value"][1].clone());
    let buckets: Vec<(Json, Json)> = data["result"]
        .as_array()
        .into_iter()
        .flatten()
        .map(bucket)
        .collect();

    let wanted =
        [("+Inf", "3"), ("-Inf", "0"), ("1", "1")].map(|(le, count)| (json!(le), json!(count)));
    ensure!(buckets == wanted, "{buckets:?}");

    let data = client
        .api("/api/v1/query", &[("query", "overlapping")])
        .await?;
    let lowest = &data["result"][0]["histogram"][1]["buckets"][0];
    ensure!(*lowest == json!([0, "0.6", "1", "3"]), "{data}");

    for (query, wanted) in [
        ("histogram_quantile(0.1, overlapping)", 0.642),
        ("histogram_fraction(0.5, 0.7, overlapping)", 0.226),
        ("histogram_stddev(overlapping)", 0.4198),
        ("histogram_quantile(0.5, overlapping </ 0.7)", 0.7746),
        ("histogram_quantile(0.4, two_sided)", -0.6),
    ] {
        let got = client.instant(query).await?.context("no answer")?;
        ensure!((got - wanted).abs() < 0.0005, "{query} is {got}");
    }

    Ok(())
}

async fn small_print(client: &Client) -> anyhow::Result<()> {
    let backwards = [
        ("match[]", "many"),
        ("start", "2000000000"),
        ("end", "1000000000"),
    ];

    let nothing = r#"{"status":"success","data":[]}"#;
    for (path, status, part) in [
        ("/api/v1/series", 200, nothing),
        ("/api/v1/labels", 200, nothing),
        ("/api/v1/label/i/values", 200, nothing),
    ] {
        let answer = expect(client.get(path).query(&backwards), status, path).await?;
        ensure!(answer.trim() == part, "{path}: {answer}");
    }

    for (path, status, part) in [
        ("/api/v1/label/%FF/values", 400, "invalid label name"),
        ("/api/v1/label/U__bad_zz_/values", 200, nothing),
        ("/api/v1/rules?type=x", 400, "not supported value"),
        (
            "/api/v1/status/tsdb?limit=0",
            400,
            "limit must be a positive number",
        ),
        (
            "/api/v1/status/tsdb?limit=10001",
            400,
            "limit must not exceed 10000",
        ),
        ("/api/v1/status/tsdb/blocks", 200, r#"{"blocks":[]}"#),
        ("/api/v1/status/self_metrics", 200, nothing),
        ("/api/v1/notifications", 200, nothing),
        (
            "/api/v1/targets/relabel_steps",
            400,
            "no scrapePool parameter provided",
        ),
        (
            "/api/v1/scrape_pools/config",
            400,
            "no scrapePool parameter provided",
        ),
        (
            "/api/v1/scrape_pools/config?scrapePool=a",
            404,
            r#"scrape pool \"a\" not found"#,
        ),
        (
            "/api/v1/labels?limit=x",
            400,
            r#"strconv.Atoi: parsing \"x\": invalid syntax"#,
        ),
        (
            "/api/v1/query?query=many&time=x",
            400,
            "Invalid time value for 'time': cannot parse",
        ),
        (
            "/api/v1/query?query=many&time=2024-01-01T00:00Z",
            400,
            "to a valid timestamp",
        ),
        ("/api/v1/metadata?limit_per_metric=-1", 200, "success"),
        (
            "/api/v1/status/runtimeinfo",
            200,
            r#""storageRetention":"30d""#,
        ),
        ("/-/reload", 405, "Only POST or PUT requests allowed"),
        ("/api/v1/nowhere", 404, "404 page not found"),
    ] {
        let answer = expect(client.get(path), status, path).await?;
        ensure!(answer.contains(part), "{path}: {answer}");
    }

    let said = expect(client.delete("/api/v1/query"), 405, "DELETE").await?;
    ensure!(said.contains("Method Not Allowed"), "{said}");
    let said = expect(client.post("/-/reload"), 403, "a reload").await?;
    ensure!(said == "Lifecycle API is not enabled.", "{said}");

    let said = expect(
        client.post("/api/v1/read").body("no snappy"),
        400,
        "no remote read",
    )
    .await?;

    ensure!(!said.contains("status"), "{said}");
    let said = expect(
        client.post("/api/v1/admin/tsdb/snapshot"),
        503,
        "an administration of blocks",
    )
    .await?;

    ensure!(said.contains("admin APIs disabled"), "{said}");

    // No histogram: said once, without a name; `anchored` changes nothing at an instant.
    let query = [("query", "histogram_quantile(0.9, many)")];
    let said = expect(
        client.get("/api/v1/query").query(&query),
        200,
        "no histogram",
    )
    .await?;

    let said: Json = serde_json::from_str(&said)?;
    let warnings = said["warnings"].as_array().context("no warning")?;
    ensure!(
        warnings.len() == 1 && !said.to_string().contains("for metric name"),
        "{said}"
    );
    ensure!(client.instant(r#"many{i="0001"} anchored"#).await? == Some(1.0));

    // What Prometheus's hash of these labels chooses.
    ensure!(client.instant("count(limit_ratio(0.5, many))").await? == Some(989.0));
    ensure!(
        client
            .instant(r#"count(limit_ratio(-0.5, many{i=~"000.|001[01]"}))"#)
            .await?
            == Some(3.0)
    );

    // Values that several shards have count once.
    let status = client.api("/api/v1/status/tsdb", &[]).await?;
    let of = |list: &str, name: &str| {
        let rows = status[list].as_array().into_iter().flatten();
        rows.clone()
            .find(|row| row["name"] == name)
            .and_then(|row| row["value"].as_u64())
    };

    ensure!(
        of("labelValueCountByLabelName", "i") == Some(2_000),
        "{status}"
    );
    ensure!(
        of("labelValueCountByLabelName", "text") == Some(1),
        "{status}"
    );

    ensure!(
        of("memoryInBytesByLabelName", "i") == Some(8_000),
        "{status}"
    );
    ensure!(
        of("seriesCountByMetricName", "many") == Some(2_000),
        "{status}"
    );

    ensure!(
        of("seriesCountByLabelValuePair", "text=longer than short") == Some(2_000),
        "{status}"
    );
    ensure!(
        status["headStats"]["chunkCount"].as_u64() >= Some(2_000),
        "{status}"
    );

    Ok(())
}

/// Public bug reports about others, tried here; docs/compatibility.md lists them.
async fn reports_of_strangers(client: &Client) -> anyhow::Result<()> {
    let now = now_ms();
    let series = |pairs: &[(&str, &str)], value: f64| Series {
        labels: pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        samples: vec![(now, value)],
    };

    // prometheus/prometheus#19665 and #9214: a label twice is told, and costs the rest of the request nothing.
    let twice = series(
        &[("__name__", "dup_demo"), ("zone", "a"), ("zone", "b")],
        1.0,
    );
    let beside = series(&[("__name__", "beside")], 1.0);
    ensure!(client.write(&[twice, beside]).await?.status == 400);

    ensure!(
        client.instant("count(dup_demo)").await?.is_none()
            && client.instant("beside").await? == Some(1.0)
    );

    // vectordotdev/vector#20799: an empty value is no label.
    client
        .write(&[series(&[("__name__", "hollow"), ("empty", "")], 1.0)])
        .await?
        .success()?;

    ensure!(client.instant(r#"count(hollow{empty=""})"#).await? == Some(1.0));
    // prometheus/prometheus#11505: unsorted labels are the same series.
    client
        .write(&[series(
            &[("z", "1"), ("__name__", "order"), ("a", "1")],
            1.0,
        )])
        .await?
        .success()?;

    client
        .write(&[series(
            &[("__name__", "order"), ("a", "1"), ("z", "1")],
            1.0,
        )])
        .await?
        .success()?;

    ensure!(client.instant("count(order)").await? == Some(1.0));

    // thanos-io/thanos#4077 and #6309: old samples and other values of the same time make no 409.
    for (timestamp, value) in [(now, 1.0), (now - 60_000, 2.0), (now, 3.0), (now, 2.0)] {
        client
            .write(&[Series::new("late", &[], &[(timestamp, value)])])
            .await?
            .success()?;
    }

    ensure!(client.instant("late").await? == Some(3.0));

    // GreptimeTeam/greptimedb#5769 and openobserve/openobserve#14635: matchers for the name, ranges, no matchers.
    let named = [("match[]", r#"{__name__="many"}"#)];
    let values = client.api("/api/v1/label/text/values", &named).await?;
    ensure!(
        values == serde_json::json!(["longer than short"]),
        "{values}"
    );

    let seconds = |ms: i64| format!("{}", ms / 1_000);
    let from = seconds(now - 60_000);
    let to = seconds(now + 60_000);

    let range = [("start", from.as_str()), ("end", to.as_str())];
    for path in [
        "/api/v1/labels",
        "/api/v1/label/__name__/values",
        "/api/v1/label/text/values",
    ] {
        let found = client.api(path, &range).await?;
        ensure!(
            found.as_array().is_some_and(|list| !list.is_empty()),
            "{path}: {found}"
        );
    }

    // grafana/grafana#56479 and #38875: POST without a body; `match` for `match[]`.
    let labels = expect(client.post("/api/v1/labels"), 200, "POST without a body").await?;
    ensure!(labels.contains("__name__"), "{labels}");

    expect(
        client.get("/api/v1/series").query(&[("match", "many")]),
        400,
        "match for match[]",
    )
    .await?;

    // ClickHouse/ClickHouse#115679, openobserve/openobserve#14764, cortexproject/cortex#1668.
    let range = |query: &str, start: &str, end: &str, step: &str| {
        let parameters = [
            ("query", query),
            ("start", start),
            ("end", end),
            ("step", step),
        ];
        client.get("/api/v1/query_range").query(&parameters)
    };

    expect(range("vector(1)", "10", "10", "0"), 400, "no step").await?;
    let one = expect(range("vector(1)", "10", "10", "1"), 200, "one point").await?;
    ensure!(one.contains(r#"[[10,"1"]]"#), "{one}");

    let unaligned = expect(
        range("vector(1)", "1790078349.759", "1790079249.759", "5m"),
        200,
        "unaligned",
    )
    .await?;

    ensure!(unaligned.matches(r#""1""#).count() == 4, "{unaligned}");

    for (query, value) in [
        ("vector(0/0)", "NaN"),
        ("vector(1/0)", "+Inf"),
        ("vector(-1/0)", "-Inf"),
    ] {
        let answer = expect(range(query, "10", "20", "10"), 200, query).await?;
        ensure!(
            answer.contains(&format!(r#"[[10,"{value}"],[20,"{value}"]]"#)),
            "{answer}"
        );
    }

    Ok(())
}
