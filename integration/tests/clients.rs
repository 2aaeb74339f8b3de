//! Programs of others that read from a node: what they get, a Prometheus with the same data gives them too.

use anyhow::{Context, ensure};
use trireme_integration::peers::{API_CLIENT, Prometheus, Promtool, Python, VmAlert, installed};
use trireme_integration::{
    Client, Group, Matrix, SCRAPE_INTERVAL_MS, SampleSet, Series, demo_series, first_differences,
    now_ms, requests_of, until,
};

/// Scrapes of the data: half an hour.
const SCRAPES: i64 = 120;

/// When data begins and ends, in whole seconds since the epoch. Samples lie 7 ms after whole seconds.
#[derive(Clone, Copy)]
struct Span {
    start: i64,
    end: i64,
}

/// Writes the same half hour, ending now, to all.
async fn write_to(clients: &[&Client]) -> anyhow::Result<Span> {
    let last = (now_ms() - SCRAPE_INTERVAL_MS) / SCRAPE_INTERVAL_MS * SCRAPE_INTERVAL_MS;

    let first = last - (SCRAPES - 1) * SCRAPE_INTERVAL_MS;
    for request in requests_of(&demo_series(first + 7, SCRAPES as usize), 40) {
        for client in clients {
            client.write(&request).await?.success()?;
        }
    }

    Ok(Span {
        start: first / 1_000,
        end: last / 1_000 + 1,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_prints_for_a_node_what_it_prints_for_prometheus() -> anyhow::Result<()> {
    let test = "promtool_prints_for_a_node_what_it_prints_for_prometheus";
    let Some([prometheus, promtool]) = installed(test, ["prometheus", "promtool"]) else {
        return Ok(());
    };

    let group = Group::of(1).start().await?;
    let twin = Prometheus::in_dir(&prometheus, &group.dir().join("twin"))
        .out_of_order("1h")
        .start()
        .await?;
    let span = write_to(&[group.client(0), twin.client()]).await?;
    let start = format!("--start={}", span.start);
    let end = format!("--end={}", span.end);
    let time = format!("--time={}", span.end);

    // "URL" stands for the server's address. All numbers are whole, so that the order of a sum changes no digit.
    let printed: &[&[&str]] = &[
        &[
            "instant",
            &time,
            "URL",
            "sum by (type) (demo_memory_usage_bytes)",
        ],
        &["instant", &time, "-o", "json", "URL", "demo_num_cpus"],
        &["instant", &time, "URL", "sort_desc(demo_disk_usage_bytes)"],
        &["instant", &time, "URL", "demo_num_cpus[1m]"],
        &["instant", &time, "URL", "1.5e300 * 2"],
        &["instant", &time, "URL", "nothing_of_that_name"],
        &[
            "range",
            &start,
            &end,
            "--step=30s",
            "URL",
            "max(demo_disk_usage_bytes)",
        ],
        &[
            "range",
            &start,
            &end,
            "URL",
            "topk(2, demo_memory_usage_bytes)",
        ],
        &[
            "range",
            &start,
            &end,
            "--step=1m",
            "--header=x=y",
            "URL",
            "demo_intermittent_metric",
        ],
        &[
            "series",
            &start,
            &end,
            "--match=demo_num_cpus",
            "--match={type=~\"f.*\"}",
            "URL",
        ],
        &[
            "series",
            &start,
            &end,
            "--match=nothing_of_that_name",
            "URL",
        ],
        &["labels", &start, &end, "URL", "instance"],
        &["labels", &start, &end, "URL", "__name__"],
        &[
            "labels",
            &start,
            &end,
            "--match=demo_cpu_usage_seconds_total",
            "URL",
            "mode",
        ],
        &["labels", "URL", "nothing_of_that_name"],
    ];

    let tool = Promtool::at(&promtool);
    let run = |client: &Client, arguments: &[&str]| {
        let arguments: Vec<&str> = arguments
            .iter()
            .map(|a| if *a == "URL" { client.url() } else { *a })
            .collect();
        tool.query(&arguments)
    };

    for arguments in printed {
        let context = || format!("promtool query {arguments:?}");
        let theirs = run(twin.client(), arguments).with_context(context)?;
        let ours = run(group.client(0), arguments).with_context(context)?;
        ensure!(
            ours == theirs,
            "{}:\n{ours}\nagainst Prometheus:\n{theirs}",
            context()
        );

        let is_empty = theirs.trim().is_empty();
        ensure!(
            is_empty == arguments.iter().any(|a| a.contains("nothing_of_that_name")),
            "{}",
            context()
        );
    }

    for refused in [
        &["instant", "URL", "sum("][..],
        &["series", "--match={}", "URL"],
    ] {
        for client in [group.client(0), twin.client()] {
            let error = run(client, refused)
                .err()
                .context("promtool reports no error")?
                .to_string();
            ensure!(
                error.contains("parse error") || error.contains("match[]"),
                "{refused:?}: {error}"
            );
        }
    }

    drop(twin);
    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_that_reads_remotely_answers_as_the_node_does() -> anyhow::Result<()> {
    let test = "prometheus_that_reads_remotely_answers_as_the_node_does";
    let Some([prometheus]) = installed(test, ["prometheus"]) else {
        return Ok(());
    };

    let group = Group::of(1).start().await?;
    let url = format!("{}/api/v1/read", group.client(0).url());
    let reader = Prometheus::in_dir(&prometheus, &group.dir().join("reader"))
        .remote_read(&url)
        .start()
        .await?;
    let span = write_to(&[group.client(0)]).await?;

    // Half of it, so that ranges and offsets reach back into data.
    let start = ((span.start + span.end) / 2).to_string();

    let end = span.end.to_string();
    for query in [
        "demo_memory_usage_bytes",
        "{__name__=~\"demo_.*_bytes\", type!=\"free\"}",
        "demo_intermittent_metric",
        "sum by (mode) (rate(demo_cpu_usage_seconds_total{mode!~\"id.*\"}[5m]))",
        "histogram_quantile(0.9, sum by (le, path) (rate(demo_api_request_duration_seconds_bucket[2m])))",
        "demo_disk_usage_bytes - demo_disk_usage_bytes offset 10m",
        "max_over_time(demo_memory_usage_bytes{instance=~\".*:10001|.*:10002\"}[3m])",
        "count(demo_api_request_duration_seconds_bucket{status=\"500\"}) by (instance)",
        "absent(demo_num_cpus{job=\"other\"})",
    ] {
        let range = [
            ("query", query),
            ("start", &*start),
            ("end", &*end),
            ("step", "15"),
        ];

        let ours = Matrix::of(&group.client(0).api("/api/v1/query_range", &range).await?)?;
        let theirs = Matrix::of(&reader.client().api("/api/v1/query_range", &range).await?)?;
        ensure!(!ours.is_empty(), "{query} has no result");

        // Only the order of sums may differ.
        let difference = ours.first_difference(&theirs, 1e-12);
        ensure!(
            difference.is_none(),
            "{query}: {}",
            difference.unwrap_or_default()
        );
    }

    // Sample by sample, stale markers included: Prometheus hands on what it has read.
    let start = span.start * 1_000;
    let end = span.end * 1_000;
    let held = group.client(0).export().await?.between(start, end);
    ensure!(
        held.sample_count() > 10_000 && held.stale_count() > 0,
        "{} samples",
        held.sample_count()
    );

    first_differences(
        ("the node", &held),
        ("the reader", &reader.stored(start, end).await?),
    )?;
    drop(reader);

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_that_federates_stores_the_newest_samples() -> anyhow::Result<()> {
    let test = "prometheus_that_federates_stores_the_newest_samples";
    let Some([prometheus]) = installed(test, ["prometheus"]) else {
        return Ok(());
    };

    let group = Group::of(1).start().await?;
    let at = now_ms() - 2_000;
    let series = |name: &str, labels: &[(&str, &str)], value: f64| {
        let mut all = vec![("job", "federated")];
        all.extend(labels);
        Series::new(name, &all, &[(at - 20_000, 5.0), (at, value)])
    };

    let newest = [
        series("fed_total", &[("instance", "a")], 1_234_567.0),
        // Without an instance, the scraper must not put its own there.
        series("fed_total", &[], 1e-9),
        series(
            "fed_text",
            &[
                ("instance", "b"),
                ("text", "a \"quoted\" \\ word,\nü {x=\"y\"}"),
            ],
            -0.1,
        ),
        series("fed_infinite", &[("instance", "c")], f64::NEG_INFINITY),
        series("fed_nan", &[("instance", "d")], f64::NAN),
        series("fed:colons", &[("instance", "e")], 1e300),
    ];

    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let hidden = [
        series("fed_stale", &[("instance", "a")], stale),
        Series::new("fed_other_job", &[("job", "other")], &[(at, 1.0)]),
    ];

    group
        .client(0)
        .write(&[&newest[..], &hidden[..]].concat())
        .await?
        .success()?;

    let port = group
        .client(0)
        .url()
        .rsplit(':')
        .next()
        .context("no port")?
        .parse()?;

    let scraper = Prometheus::in_dir(&prometheus, &group.dir().join("scraper"))
        .federate(port, r#"{job="federated"}"#)
        .start()
        .await?;
    let mut expected = SampleSet::default();

    newest
        .iter()
        .for_each(|series| series.add_to(&mut expected));

    let expected = expected.between(at, at + 1);
    until("Prometheus holds what the node has newest", async || {
        let scraped = scraper.stored(at - 60_000, at + 1).await?;
        first_differences(("written", &expected), ("federated", &scraped))
    })
    .await?;

    // A selector that may match everything is welcome here.
    let all = group.client(0).get("/federate").query(&[("match[]", "{}")]);
    let all = group.client(0).send(all).await?.success()?.body;
    ensure!(
        all.contains("fed_other_job{") && !all.contains("fed_stale{"),
        "{all}"
    );

    ensure!(
        scraper.client().instant("up{job=\"federation\"}").await? == Some(1.0),
        "the scrape failed"
    );

    drop(scraper);
    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_python_client_gets_the_same_from_a_node_as_from_prometheus() -> anyhow::Result<()> {
    let test = "a_python_client_gets_the_same_from_a_node_as_from_prometheus";
    let Some([prometheus]) = installed(test, ["prometheus"]) else {
        return Ok(());
    };
    let Some(python) = Python::with(API_CLIENT, test) else {
        return Ok(());
    };

    let group = Group::of(1).start().await?;
    let twin = Prometheus::in_dir(&prometheus, &group.dir().join("twin"))
        .out_of_order("1h")
        .start()
        .await?;
    let span = write_to(&[group.client(0), twin.client()]).await?;
    let start = span.start.to_string();
    let end = span.end.to_string();
    let ask = |client: &Client| {
        python.run(
            include_str!("clients/api_client.py"),
            &[client.url(), &start, &end],
        )
    };

    let ours = ask(group.client(0))?;

    let theirs = ask(twin.client())?;
    for (question, theirs) in theirs.as_object().context("no object")? {
        ensure!(
            ours[question] == *theirs,
            "{question}: {}\nagainst Prometheus: {theirs}",
            ours[question]
        );
    }

    ensure!(
        ours["connected"] == true && ours["refused"] == "400",
        "{ours}"
    );
    ensure!(
        ours["samples"][0]["values"].as_array().map(Vec::len) == Some(SCRAPES as usize),
        "{ours}"
    );

    drop(twin);
    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_of_vmalert_read_from_a_node_and_write_to_it() -> anyhow::Result<()> {
    let test = "rules_of_vmalert_read_from_a_node_and_write_to_it";
    let Some([vmalert]) = installed(test, ["vmalert"]) else {
        return Ok(());
    };

    let group = Group::of(1).start().await?;
    let client = group.client(0);
    write_to(&[client]).await?;

    let rules = group.dir().join("rules.yml");
    std::fs::write(
        &rules,
        "groups:\n- name: demo\n  interval: 1s\n  rules:\n  \
         - record: job:demo_num_cpus:sum\n    expr: sum by (job) (demo_num_cpus)\n  \
         - alert: ManyCpus\n    expr: job:demo_num_cpus:sum > 10\n",
    )?;

    let mut alerts =
        VmAlert::start(&vmalert, &group.dir().join("vmalert"), &rules, client.url()).await?;
    until("the rules have their series", async || {
        alerts.must_run()?;
        ensure!(
            client
                .instant(r#"job:demo_num_cpus:sum{job="demo"}"#)
                .await?
                == Some(12.0),
            "no record"
        );
        let firing = r#"ALERTS{alertname="ManyCpus",alertstate="firing",job="demo"}"#;
        ensure!(client.instant(firing).await? == Some(1.0), "no alert");
        Ok(())
    })
    .await?;

    drop(alerts);
    group.stop().await
}
