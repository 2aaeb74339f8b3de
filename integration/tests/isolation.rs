//! A query, a body or a tenant costs itself, never the node.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use trireme_integration::{
    Asker, Client, Group, HEAVY_QUERY, Series, blocks_in, costly_selector, empty_histograms_body,
    now_ms, until,
};

fn sample() -> Series {
    Series::new("up", &[("job", "innocent")], &[(now_ms(), 1.0)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_node_answers_from_blocks_that_are_only_in_the_bucket() -> anyhow::Result<()> {
    let mut group = Group::of(1).short_windows(5).start().await?;
    let written = now_ms();
    let series = Series::new("old_metric", &[("job", "a")], &[(written, 7.0)]);

    group.client(0).write(&[series]).await?.success()?;
    let bucket = group.bucket_dir();
    until("the window is in the bucket", async || {
        ensure!(!blocks_in(&bucket)?.is_empty(), "no block is there");
        Ok(())
    })
    .await?;

    // As after `storage.retention`.
    ensure!(
        group.node(0).terminate().await?.success(),
        "the node does not stop in order"
    );

    let data = group.node(0).data_dir().to_owned();
    for gone in ["blocks", "index-headers"] {
        if data.join(gone).exists() {
            std::fs::remove_dir_all(data.join(gone))?;
        }
    }

    group.node(0).start()?;
    group.node(0).ready().await?;

    let client = group.client(0).clone();
    let at = format!("{}", (written + 1_000) as f64 / 1_000.0);
    let since = format!("{}", (written - 10_000) as f64 / 1_000.0);

    until("the list of the bucket was read", async || {
        let answer = client.send(
            client
                .get("/api/v1/query")
                .query(&[("query", "old_metric"), ("time", &at)]),
        );
        let body = answer.await?.success()?.body;
        ensure!(
            body.contains("\"7\"") && !body.contains("\"warnings\""),
            "{body}"
        );
        Ok(())
    })
    .await?;

    let lookback = [("query", "old_metric"), ("lookback_delta", "2000d")];
    let span = [("start", since.as_str()), ("end", at.as_str())];
    type Asked<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a str);

    let asked: [Asked<'_>; 7] = [
        ("/api/v1/query", lookback.to_vec(), "\"7\""),
        (
            "/api/v1/query_range",
            [vec![("query", "old_metric"), ("step", "1")], span.to_vec()].concat(),
            "\"7\"",
        ),
        (
            "/api/v1/series",
            vec![("match[]", "old_metric")],
            "old_metric",
        ),
        ("/api/v1/labels", vec![], "job"),
        ("/api/v1/labels", vec![("match[]", "old_metric")], "job"),
        ("/api/v1/label/job/values", span.to_vec(), "\"a\""),
        ("/api/v1/export", vec![("match[]", "old_metric")], "[7]"),
    ];

    for (path, parameters, expected) in asked {
        let body = client
            .send(client.get(path).query(&parameters))
            .await?
            .success()?
            .body;
        ensure!(body.contains(expected), "{path} {parameters:?}: {body}");
    }

    group.stop().await
}

/// Opens a connection from a loopback address, asks for `path` and leaves it open; `None` if it was not answered.
async fn ask_from(
    client: &Client,
    from: &str,
    path: &str,
) -> anyhow::Result<Option<(tokio::net::TcpStream, String)>> {
    let address = client.address().parse()?;
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(format!("{from}:0").parse()?)?;

    let mut stream = socket.connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut text = Vec::new();

    // A connection that is refused ends, or is reset, before or after the request.
    if stream.write_all(request.as_bytes()).await.is_err() {
        return Ok(None);
    }

    let head_ends = |text: &[u8]| text.windows(4).any(|four| four == b"\r\n\r\n");
    while !head_ends(&text) {
        match stream.read_buf(&mut text).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) => {}
        }
    }

    Ok(Some((stream, String::from_utf8_lossy(&text).into_owned())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_takes_no_more_connections_than_it_may() -> anyhow::Result<()> {
    const MOST: usize = 5;

    let group = Group::of(1)
        .set(&format!("http.connections_per_address={MOST}"))
        .start()
        .await?;
    let client = group.client(0);
    let mut open = Vec::new();

    let mut refused = 0;
    for _ in 0..4 * MOST {
        match ask_from(client, "127.0.0.2", "/-/healthy").await? {
            Some((stream, answer)) if answer.starts_with("HTTP/1.1 200") => open.push(stream),
            Some((_, answer)) => {
                ensure!(answer.starts_with("HTTP/1.1 503"), "{answer}");
                ensure!(answer.to_lowercase().contains("retry-after"), "{answer}");
                refused += 1;
            }
            None => refused += 1,
        }
    }

    ensure!(
        (open.len(), refused) == (MOST, 3 * MOST),
        "{} open, {refused} refused",
        open.len()
    );

    // Another address goes on as before, and sees what happened.
    let counted = client
        .metric("trireme_node_connections_refused_total")
        .await?;
    ensure!(
        counted == refused as f64,
        "{counted} are counted of {refused}"
    );

    ensure!(
        group.nodes()[0]
            .log()
            .contains("http.connections_per_address"),
        "no line in the log"
    );

    drop(open.pop());
    until("a place is free again", async || {
        let answered = ask_from(client, "127.0.0.2", "/-/healthy")
            .await?
            .context("refused")?;
        ensure!(answered.1.starts_with("HTTP/1.1 200"), "{}", answered.1);
        Ok(())
    })
    .await?;

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_queries_and_patterns_leave_the_node_to_others() -> anyhow::Result<()> {
    let group = Group::of(1).set("query.timeout=20s").start().await?;
    let client = group.client(0).clone();
    client.write(&[sample()]).await?.success()?;

    // More than there are places, each of them heavy; and patterns that take a second each to compile.
    let mut askers = Vec::new();

    for _ in 0..40 {
        askers
            .push(Asker::post(&client, "heavy", "/api/v1/query", &[("query", HEAVY_QUERY)]).await?);
    }

    for number in 0..20 {
        let selector = costly_selector(number);
        askers.push(
            Asker::post(
                &client,
                "patterns",
                "/api/v1/query",
                &[("query", &selector)],
            )
            .await?,
        );
    }

    until("the heavy queries are under way", async || {
        ensure!(client.running("heavy").await? >= 20, "not yet");
        Ok(())
    })
    .await?;

    // Another tenant's probes, writes and queries go on. The bounds are wide: the machine is busy with the heavy ones.
    let mut slowest = Duration::ZERO;

    for _ in 0..20 {
        for path in ["/-/healthy", "/api/v1/query?query=up"] {
            let begun = Instant::now();
            client
                .send(client.get(path))
                .await?
                .success()
                .with_context(|| path.to_owned())?;
            slowest = slowest.max(begun.elapsed());
        }
        let begun = Instant::now();
        client.write(&[sample()]).await?.success()?;
        slowest = slowest.max(begun.elapsed());
    }

    println!("slowest request of the innocent tenant: {slowest:?}");
    ensure!(
        slowest < Duration::from_secs(3),
        "a request of the innocent tenant took {slowest:?}"
    );

    // Clients that hang up, with FIN only, take their queries with them.
    for asker in &mut askers {
        asker.hang_up().await?;
    }

    let begun = Instant::now();
    until("the queries end with their clients", async || {
        let left = client.running("heavy").await? + client.running("patterns").await?;
        ensure!(left == 0, "{left} are still under way");
        Ok(())
    })
    .await?;

    println!(
        "queries ended {:?} after their clients had gone",
        begun.elapsed()
    );

    ensure!(
        begun.elapsed() < Duration::from_secs(5),
        "they took {:?} to end",
        begun.elapsed()
    );

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_are_refused_and_the_node_lives() -> anyhow::Result<()> {
    let group = Group::of(1).start().await?;
    let client = group.client(0).clone();
    let series: Vec<Series> = (0..2_000)
        .map(|i| {
            Series::new(
                "bomb",
                &[("i", &i.to_string()), ("x", "0123456789")],
                &[(now_ms(), 1.0)],
            )
        })
        .collect();

    client.write(&series).await?.success()?;

    let joined = (0..20).fold("bomb".to_owned(), |inner, _| {
        format!(r#"label_join({inner},"x","","x","x")"#)
    });
    let answer = client
        .send(client.form("/api/v1/query", &[("query", &joined)])?)
        .await?;
    ensure!(answer.status == 422, "{} {}", answer.status, answer.body);

    ensure!(answer.body.contains("label_join()"), "{}", answer.body);

    let patterns: Vec<String> = (0..1_000)
        .map(|n| format!(r#"a=~"\\pL{{200}}{n}""#))
        .collect();

    let text = format!("{{{}}}", patterns.join(","));
    for (path, key) in [
        ("/api/v1/query", "query"),
        ("/api/v1/series", "match[]"),
        ("/api/v1/labels", "match[]"),
        ("/api/v1/format_query", "query"),
        ("/api/v1/parse_query", "query"),
    ] {
        let answer = client.send(client.form(path, &[(key, &text)])?).await?;
        ensure!(
            answer.status == 400 && answer.body.contains("64 MiB"),
            "{path}: {} {}",
            answer.status,
            answer.body
        );
    }

    // One series of three million empty histograms: some kilobytes on the wire.
    let body = empty_histograms_body(3_000_000)?;
    let answer = client
        .send(client.write_builder("/api/v1/write", body))
        .await?;
    ensure!(
        answer.status == 400 || answer.status == 503,
        "{} {}",
        answer.status,
        answer.body
    );

    client.write(&[sample()]).await?.success()?;
    ensure!(
        client.instant("count(bomb)").await? == Some(2_000.0),
        "the data is still there"
    );

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_does_not_read_is_given_up() -> anyhow::Result<()> {
    let group = Group::of(1)
        .set("http.write_idle_timeout=1s")
        .set("query.max_streams=4")
        .start()
        .await?;

    let client = group.client(0).clone();

    let now = now_ms();
    for part in 0..20 {
        let series: Vec<Series> = (0..1_000)
            .map(|i| {
                let name = format!("{part}-{i}");
                let samples: Vec<(i64, f64)> = (0..50)
                    .map(|n| (now - n * 1_000, (n * i) as f64 / 3.0))
                    .collect();
                Series::new("slow", &[("i", &name)], &samples)
            })
            .collect();
        client.write(&series).await?.success()?;
    }

    let mut askers = Vec::new();
    for _ in 0..12 {
        let asked = [("match[]", "slow")];
        askers.push(Asker::post(&client, "default-tenant", "/api/v1/export", &asked).await?);
    }

    // All of them begin, although there are places for a few at a time, and none stays.
    for asker in &mut askers {
        let status = asker.status(Duration::from_secs(60)).await?;
        ensure!(status == 200, "answered {status}");
    }

    until("the streams have ended", async || {
        let left = client.running("default-tenant").await?;
        ensure!(left == 0, "{left} are still held");
        Ok(())
    })
    .await?;

    drop(askers);
    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_over_its_rate_waits_and_the_others_do_not() -> anyhow::Result<()> {
    let group = Group::of(1)
        .set("tenants.overrides.a.samples_per_second=1")
        .start()
        .await?;
    let client = group.client(0).clone();
    let several = vec![sample(); 30];

    client.write_as("a", &several).await?.success()?;
    let refused = client.write_as("a", &[sample()]).await?;
    ensure!(
        refused.status == 429
            && refused
                .body
                .contains("a writes more than samples_per_second=1"),
        "{} {}",
        refused.status,
        refused.body
    );

    ensure!(
        refused.retry_after.is_some(),
        "a sender is told when to come again"
    );

    client.write_as("b", &several).await?.success()?;
    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_tenants_are_asked_to_wait_when_there_are_as_many_as_may_be() -> anyhow::Result<()> {
    let group = Group::of(1).set("tenants.max=3").start().await?;

    let client = group.client(0).clone();
    for tenant in ["a", "b", "c"] {
        client.write_as(tenant, &[sample()]).await?.success()?;
    }

    let refused = client.write_as("d", &[sample()]).await?;
    ensure!(
        refused.status == 429 && refused.body.contains("tenants.max"),
        "{} {}",
        refused.status,
        refused.body
    );

    client.write_as("a", &[sample()]).await?.success()?;

    let two = client
        .get("/api/v1/query?query=up")
        .header("THANOS-TENANT", "a")
        .header("X-Scope-OrgID", "b");
    let refused = client.send(two).await?;
    ensure!(
        refused.status == 400 && refused.body.contains("two tenants"),
        "{}",
        refused.body
    );

    group.stop().await
}
