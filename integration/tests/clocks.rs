//! A clock that is wrong for a while costs no data: it closes no window for good, drops no block and refuses no sample.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use trireme_integration::{Answer, Client, Group, SampleSet, Series, now_ms, until, until_for};

const DAYS_400_MS: i64 = 400 * 86_400_000;
const WINDOW_SECONDS: u64 = 2;
/// Windows close three seconds after their end, on a busy machine.
const CUT_BOUND: Duration = Duration::from_secs(90);

/// Writes a sample through a node; adds it to `acknowledged` if it was.
async fn write(
    client: &Client,
    node: usize,
    acknowledged: &mut SampleSet,
) -> anyhow::Result<Answer> {
    let series = [Series::new(
        "clocks",
        &[("through", &node.to_string())],
        &[(now_ms(), 1.0)],
    )];

    let answer = client.write(&series).await?;
    if answer.is_success() {
        series.iter().for_each(|series| series.add_to(acknowledged));
    }

    Ok(answer)
}

/// Starts of the windows that wait in the head of a node (ms), with what the node says of them.
async fn waiting(client: &Client) -> anyhow::Result<BTreeMap<i64, String>> {
    let answer = client
        .send(client.get("/api/v1/admin/windows"))
        .await?
        .success()?;
    let windows: serde_json::Value = serde_json::from_str(&answer.body)?;
    let rows = windows["windows"].as_array().context("no windows")?;
    let in_head = rows.iter().filter(|row| row["ulid"].is_null());

    in_head
        .map(|row| {
            Ok((
                row["start_ms"].as_i64().context("no start")?,
                row.to_string(),
            ))
        })
        .collect()
}

/// Nothing written before `before_ms` waits in a head.
async fn is_cut(group: &Group, before_ms: i64) -> anyhow::Result<()> {
    for client in group.clients() {
        let end_ms = before_ms - WINDOW_SECONDS as i64 * 1_000;
        let late: Vec<_> = waiting(&client)
            .await?
            .into_iter()
            .filter(|(start, _)| *start < end_ms)
            .collect();
        ensure!(late.is_empty(), "{}: {late:?}", client.url());
    }
    Ok(())
}

/// Writes through all nodes in turn until everything from before now is in blocks.
async fn cut_in_time(group: &Group, acknowledged: &mut SampleSet) -> anyhow::Result<()> {
    let began_ms = now_ms();
    let mut turn = 0;
    until_for("all windows are cut", CUT_BOUND, async || {
        let node = turn % 3;
        turn += 1;
        write(group.client(node), node, acknowledged)
            .await?
            .success()?;
        ensure!(turn > 6, "each node takes some");
        is_cut(group, began_ms).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_wrong_for_seconds_costs_nothing() -> anyhow::Result<()> {
    let mut group = Group::of(3)
        .short_windows(WINDOW_SECONDS)
        .set("bucket.type=none")
        .prepare()?;
    let clock = group.node(0).make_faulty()?;

    for node in 0..3 {
        group.node(node).start()?;
    }

    for node in 0..3 {
        group.node(node).ready().await?;
    }

    let mut acknowledged = SampleSet::default();
    cut_in_time(&group, &mut acknowledged).await?;

    for shift_ms in [DAYS_400_MS, -DAYS_400_MS] {
        clock.shift_clock(shift_ms);
        let wrong_since_ms = now_ms();
        until(
            "the wrong clock is seen, and no sample is refused for it",
            async || {
                let answer = write(group.client(0), 0, &mut acknowledged).await?;
                ensure!(answer.is_success() || answer.status == 503, "{answer:?}");
                write(group.client(1), 1, &mut acknowledged)
                    .await?
                    .success()?;

                let ready = group
                    .client(0)
                    .send(group.client(0).get("/-/ready"))
                    .await?;
                ensure!(
                    ready.status == 503 && ready.body.contains("clock"),
                    "{ready:?}"
                );

                ensure!(
                    group.client(0).metric("trireme_clock_wrong").await? == 1.0,
                    "not in the metrics"
                );

                let warnings = group.client(1).ring().await?["warnings"].to_string();
                ensure!(warnings.contains("the clock of n0"), "{warnings}");

                // Some ticks of the block writer.
                ensure!(now_ms() - wrong_since_ms > 3_000, "not for long enough");
                Ok(())
            },
        )
        .await?;

        clock.shift_clock(0);
        group.node(0).ready().await?;
        cut_in_time(&group, &mut acknowledged).await?;
    }

    for node in [1, 2, 0] {
        group.node(node).stop().await?;
        group.node(node).start()?;
        group.node(node).ready().await?;
    }

    cut_in_time(&group, &mut acknowledged).await?;
    let held = group.converged().await?;
    let missing = acknowledged.first_missing_in(&held);
    ensure!(
        missing.is_none(),
        "an acknowledged sample is missing: {missing:?}"
    );

    group.stop().await
}
