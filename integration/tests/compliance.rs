//! The queries of PromQL's compliance suite, answered by a node and by Debian's Prometheus 2.42 from the same requests.

mod compliance {
    pub mod differences;
}

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, ensure};
use compliance::differences::{DIFFERENCES, Kind};
use serde::Deserialize;
use serde_json::Value as Json;
use trireme_integration::peers::{Prometheus, installed};
use trireme_integration::{
    Client, Group, Matrix, SCRAPE_INTERVAL_MS, demo_series, now_ms, requests_of,
};

const TEST: &str = "answers_the_compliance_queries_as_prometheus_does";
/// Largest difference of two numbers, relative to the larger one.
const TOLERANCE: f64 = 1e-9;
/// Both servers accept samples of this age.
const ACCEPTED_AGE: &str = "3h";
/// Range queries of half an hour in steps of ten seconds, as the suite asks.
const QUERIED_MS: i64 = 30 * 60_000;
const STEP_SECONDS: &str = "10";
/// Data after the queried time, for negative offsets.
const AFTER_MS: i64 = 10 * 60_000;
/// Data before it. Longer than every range: where a range reaches back before a counter's first sample, Prometheus 3
/// limits the extrapolation before it looks for the counter's zero, and 2.42 afterwards.
const BEFORE_MS: i64 = 65 * 60_000;
/// Samples lie off the steps by this much, and steps off the grid of subqueries by the other, because Prometheus 3 leaves
/// out what lies on the left end of a range and 2.42 does not.
const SAMPLES_OFF_MS: i64 = 7;
const STEPS_OFF_MS: i64 = 5_000;

#[derive(Deserialize)]
struct Case {
    query: String,
    should_fail: bool,
}

/// The suite's queries, which lie beside the repository; nothing if they do not.
fn cases() -> anyhow::Result<Option<Vec<Case>>> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/testdata/compliance-queries.json");
    if !path.is_file() {
        return Ok(None);
    }

    Ok(Some(
        serde_json::from_slice(&std::fs::read(&path)?)
            .with_context(|| path.display().to_string())?,
    ))
}

/// What a server says to a range query.
enum Said {
    Answer(Matrix),
    Refusal(String),
}

async fn ask(client: &Client, query: &str, start: &str, end: &str) -> anyhow::Result<Said> {
    let range = [
        ("query", query),
        ("start", start),
        ("end", end),
        ("step", STEP_SECONDS),
    ];

    let answer = client
        .send(client.get("/api/v1/query_range").query(&range))
        .await?;
    let json: Json = serde_json::from_str(&answer.body).with_context(|| answer.body.clone())?;
    if answer.is_success() {
        return Ok(Said::Answer(Matrix::of(&json["data"])?));
    }

    // A server that cannot answer is not a server that refuses.
    let is_refused = [400, 422].contains(&answer.status) && json["status"] == "error";
    ensure!(
        is_refused,
        "{query} was answered {}: {}",
        answer.status,
        answer.body
    );

    Ok(Said::Refusal(json["error"].to_string()))
}

/// Nothing if the answers are as they should be without a listed difference, otherwise what is wrong.
fn judge(case: &Case, ours: &Said, theirs: &Said) -> Option<(Option<Kind>, String)> {
    match (ours, theirs) {
        (Said::Refusal(_), Said::Refusal(_)) if case.should_fail => None,
        (Said::Answer(_), Said::Refusal(why)) => Some((
            Some(Kind::OnlyOldFails),
            format!("only Prometheus refuses: {why}"),
        )),
        (Said::Answer(ours), Said::Answer(theirs)) if !case.should_fail => ours
            .first_difference(theirs, TOLERANCE)
            .map(|what| (Some(Kind::Values), what)),
        (Said::Refusal(why), Said::Answer(_)) => {
            Some((None, format!("only Trireme refuses: {why}")))
        }
        (Said::Refusal(why), Said::Refusal(_)) => Some((None, format!("both refuse: {why}"))),
        (Said::Answer(_), Said::Answer(_)) => {
            Some((None, "both answer what should fail".to_owned()))
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_the_compliance_queries_as_prometheus_does() -> anyhow::Result<()> {
    let Some(cases) = cases()? else {
        let text =
            format!("NOT RUN: {TEST}: ../shared/testdata/compliance-queries.json is not there\n");
        return Ok(std::io::stderr().write_all(text.as_bytes())?);
    };

    let Some([prometheus]) = installed(TEST, ["prometheus"]) else {
        return Ok(());
    };

    let group = Group::of(1)
        .set(&format!("storage.out_of_order_window={ACCEPTED_AGE}"))
        .start()
        .await?;
    let judge_dir = group.dir().join("prometheus");
    let judge_server = Prometheus::in_dir(&prometheus, &judge_dir)
        .out_of_order(ACCEPTED_AGE)
        .start()
        .await?;
    let ours = group.client(0);
    let theirs = judge_server.client();

    let end = now_ms() / 60_000 * 60_000 - AFTER_MS - STEPS_OFF_MS;
    let start = end - QUERIED_MS;
    let first = start - BEFORE_MS + SAMPLES_OFF_MS;
    let last = end + AFTER_MS;

    let series = demo_series(first, ((last - first) / SCRAPE_INTERVAL_MS) as usize + 1);
    for request in requests_of(&series, 20) {
        for client in [ours, theirs] {
            client.write(&request).await?.success()?;
        }
    }

    let start = (start / 1_000).to_string();
    let end = (end / 1_000).to_string();
    let mut wrong = Vec::new();
    let mut compared = 0;
    let mut refused = 0;
    let mut unseen: BTreeSet<&str> = DIFFERENCES
        .iter()
        .map(|difference| difference.query)
        .collect();

    for case in &cases {
        let (our_word, their_word) = tokio::try_join!(
            ask(ours, &case.query, &start, &end),
            ask(theirs, &case.query, &start, &end)
        )?;
        let found = judge(case, &our_word, &their_word);
        let listed = DIFFERENCES
            .iter()
            .find(|difference| difference.query == case.query);

        if let Some(listed) = listed {
            unseen.remove(listed.query);
        }

        match (found, listed) {
            (None, None) => match our_word {
                Said::Refusal(_) => refused += 1,
                Said::Answer(matrix) => compared += usize::from(!matrix.is_empty()),
            },
            (Some((kind, _)), Some(listed)) if kind == Some(listed.kind) => {
                println!("differs as listed: {}: {}", case.query, listed.reason);
            }
            (Some((_, what)), _) => wrong.push(format!("{}: {what}", case.query)),
            (None, Some(_)) => {
                wrong.push(format!("{}: is listed as different and agrees", case.query))
            }
        }
    }

    println!(
        "{} queries: {compared} equal with a result, {refused} refused by both",
        cases.len()
    );

    ensure!(
        wrong.is_empty(),
        "{} of {} queries:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );

    ensure!(
        unseen.is_empty(),
        "listed, but no query of the suite: {unseen:?}"
    );

    // An empty server would agree on everything.
    ensure!(
        compared * 10 > cases.len() * 8,
        "only {compared} of {} queries have a result",
        cases.len()
    );

    drop(judge_server);
    group.stop().await
}
