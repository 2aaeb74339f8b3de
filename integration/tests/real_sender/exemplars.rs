//! Senders with exemplars: Debian's Prometheus, and OpenTelemetry's SDK.

use anyhow::{Context, ensure};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use trireme_integration::peers::{OTEL_SDK, Prometheus, Python, installed};
use trireme_integration::{Client, Group, now_ms, until};

/// Exemplars that a scraper has to see before they are compared.
const EXEMPLARS: usize = 5;

/// Serves OpenMetrics on a free port: each scrape shows one request more, with a trace of its own.
async fn serve_exemplars() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        let mut scrapes = 0;
        while let Ok((stream, _)) = listener.accept().await {
            scrapes += 1;
            drop(answer_scrape(stream, scrapes).await);
        }
    });

    Ok(port)
}

async fn answer_scrape(mut stream: TcpStream, scrapes: u32) -> anyhow::Result<()> {
    let mut request = [0; 4_096];
    ensure!(stream.read(&mut request).await? > 0, "no request");
    let trace = format!("{{trace_id=\"trace-{scrapes}\"}}");
    let body = format!(
        "# TYPE orders counter\n# HELP orders Orders.\norders_total {scrapes} # {trace} 1\n\
         # TYPE wait histogram\nwait_bucket{{le=\"1\"}} {scrapes} # {trace} 0.5\n\
         wait_bucket{{le=\"+Inf\"}} {scrapes}\nwait_sum {scrapes}\nwait_count {scrapes}\n# EOF\n"
    );

    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\
                Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;

    Ok(())
}

/// Exemplars of all series whose names match, series by series in order.
async fn exemplars(client: &Client, query: &str, end_ms: i64) -> anyhow::Result<Vec<Json>> {
    let end = format!("{}.{:03}", end_ms / 1_000, end_ms % 1_000);
    let data = client
        .api(
            "/api/v1/query_exemplars",
            &[("query", query), ("start", "0"), ("end", &end)],
        )
        .await?;

    let mut series = data.as_array().context("a list")?.clone();
    series.sort_by_key(|series| series["seriesLabels"].to_string());
    Ok(series)
}

fn count(series: &[Json]) -> usize {
    series
        .iter()
        .filter_map(|series| series["exemplars"].as_array())
        .map(Vec::len)
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_has_the_exemplars_that_prometheus_scraped() -> anyhow::Result<()> {
    let test = "every_node_has_the_exemplars_that_prometheus_scraped";
    let Some([prometheus]) = installed(test, ["prometheus"]) else {
        return Ok(());
    };

    let group = Group::of(3).start().await?;
    let port = serve_exemplars().await?;
    let sender = Prometheus::in_dir(&prometheus, &group.dir().join("prometheus"))
        .scrape(port)
        .exemplars()
        .remote_write(&format!("{}/api/v1/write", group.client(0).url()))
        .start()
        .await?;

    let query = "{__name__=~\"orders_total|wait_bucket\"}";
    until("exemplars are scraped", async || {
        let scraped = exemplars(sender.client(), query, now_ms()).await?;
        ensure!(
            count(&scraped) >= 2 * EXEMPLARS,
            "{} exemplars",
            count(&scraped)
        );
        Ok(())
    })
    .await?;

    let end = now_ms();
    let scraped = exemplars(sender.client(), query, end).await?;
    until("every node has them", async || {
        for client in group.clients() {
            let held = exemplars(&client, query, end).await?;
            ensure!(held == scraped, "{held:?}\nagainst Prometheus: {scraped:?}");
        }
        Ok(())
    })
    .await?;

    for name in [
        "samples_failed",
        "samples_dropped",
        "exemplars_failed",
        "exemplars_dropped",
    ] {
        let name = format!("prometheus_remote_storage_{name}_total");
        let lost = sender.client().metric(&name).await?;
        ensure!(lost == 0.0, "{name} is {lost}");
    }

    drop(sender);
    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_has_what_the_sdk_of_opentelemetry_pushed() -> anyhow::Result<()> {
    let test = "every_node_has_what_the_sdk_of_opentelemetry_pushed";
    let Some(python) = Python::with(OTEL_SDK, test) else {
        return Ok(());
    };

    let group = Group::of(3).start().await?;
    let pushed = python.run(include_str!("otel.py"), &[group.client(1).url()])?;
    ensure!(
        pushed == json!({ "flushed": true, "calls": 6, "traces": 6 }),
        "{pushed}"
    );

    for client in group.clients() {
        let joined =
            "calls_total * on (job, instance) group_left (deployment_environment) target_info";
        for (query, value) in [
            (r#"calls_total{k_v="ü", job="py", instance="i1"}"#, 6.0),
            ("open_conns", 6.0),
            ("temp_celsius", 5.0),
            (r#"lat_duration_seconds_bucket{le="0.25"}"#, 3.0),
            ("lat_duration_seconds_count", 6.0),
            ("histogram_count(exp_duration_bytes)", 6.0),
            ("histogram_sum(exp_duration_bytes)", 156.0),
            (
                r#"count(target_info{deployment_environment="test", job="py"})"#,
                1.0,
            ),
            (&format!(r#"count({joined})"#), 1.0),
        ] {
            let got = client.instant(query).await?;
            ensure!(got == Some(value), "{query}: {got:?} instead of {value}");
        }

        let held = exemplars(&client, "calls_total", now_ms()).await?;
        ensure!(count(&held) > 0, "no exemplars");
        let first = &held[0]["exemplars"][0]["labels"];
        ensure!(
            first["trace_id"].as_str().map(str::len) == Some(32),
            "{held:?}"
        );

        ensure!(
            held == exemplars(group.client(0), "calls_total", now_ms()).await?,
            "nodes differ"
        );
    }

    group.stop().await
}
