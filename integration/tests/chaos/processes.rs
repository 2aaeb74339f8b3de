//! Processes that stop, stand still, or come back as somebody else.

use anyhow::{Context, ensure};
use tokio::time::Instant;
use trireme_integration::{Client, Route, until};

use super::scale::{either, pass, plan};
use super::scenario::{Scenario, progress};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t3_rolling_restarts_cost_no_request() -> anyhow::Result<()> {
    let what = "rolling restart of all nodes, one after another, again and again, by drain, stop and start";
    let Some(mut run) = Scenario::start("T3", what, |group| group).await? else {
        return Ok(());
    };

    let senders = run.load(&plan(Route::Front)).await?;
    let rounds = either(2, 20);

    let mut longest_ms = 0;
    for _ in 0..rounds {
        for node in 0..3 {
            let client = run.group.client(node).clone();
            let begun = Instant::now();
            client
                .send(client.post("/api/v1/admin/drain"))
                .await?
                .success()?;

            let status = run.group.node(node).ended().await?;
            ensure!(status.success(), "ended with {status}");
            run.group.node(node).start()?;
            run.group.node(node).ready().await?;
            longest_ms = longest_ms.max(begun.elapsed().as_millis() as u64);
            progress(&senders, 6).await?;
            pass(100, 10_000).await;
        }
    }

    let totals = senders.totals().await;
    run.figure("rounds", rounds);
    run.figure("longest_restart_ms", longest_ms);
    run.must("no request failed at a front", totals.failed_rounds == 0);
    run.must("no request got 5xx", totals.refused_attempts == 0);

    let histories = run.settle(senders).await?;
    let expected: usize = histories.iter().map(|history| history.series).sum();
    let status = run.group.client(0).api("/api/v1/status/tsdb", &[]).await?;
    let series = status["headStats"]["numSeries"]
        .as_f64()
        .context("no count of series")?;

    run.figure("series", series);
    run.must(
        "the head has the senders' series",
        series >= expected as f64,
    );
    run.must("no series appeared", series <= expected as f64 * 1.001);

    run.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t34_a_process_that_stood_still_acknowledges_nothing_stale() -> anyhow::Result<()> {
    let what = "kill -STOP of a node for a while, then -CONT";
    let Some(mut run) = Scenario::start("T34", what, |group| group).await? else {
        return Ok(());
    };

    let senders = run.load(&plan(Route::Front)).await?;
    for _ in 0..either(1, 3) {
        run.group.node(1).signal(libc::SIGSTOP)?;
        progress(&senders, 20).await?;
        pass(5_000, 20_000).await;
        run.group.node(1).signal(libc::SIGCONT)?;
        progress(&senders, 20).await?;
    }

    let totals = senders.totals().await;
    run.must("no request failed at a front", totals.failed_rounds == 0);
    run.settle(senders).await?;

    run.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t38_a_copy_of_another_nodes_disk_is_refused_and_says_why() -> anyhow::Result<()> {
    let what = "a node is started with another node's data directory, and with a copy of it";
    let Some(mut run) = Scenario::start("T38", what, |group| group).await? else {
        return Ok(());
    };

    let senders = run.load(&plan(Route::Front)).await?;
    run.group.node(1).kill()?;
    let mine = run.group.nodes()[1].data_dir().to_owned();
    let theirs = run.group.nodes()[0].data_dir().to_owned();
    let aside = mine.with_extension("aside");

    std::fs::rename(&mine, &aside)?;
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .arg(&theirs)
        .arg(&mine)
        .status()?;

    // Files vanish under the copy: the other node lives. What it has is a node's disk all the same.
    run.figure("copy", copied.to_string());
    run.group.node(1).start()?;

    let status = run
        .group
        .node(1)
        .ended()
        .await
        .context("a node on another one's disk went on")?;

    run.must("the node refuses to start", !status.success());
    let log = run.group.nodes()[1].log();
    let explains = log
        .lines()
        .rev()
        .take(5)
        .any(|line| line.contains("data directory") || line.contains("belongs"));

    run.must("it says why", explains);
    let last = log.lines().last().unwrap_or_default().to_owned();
    run.figure("last_line", last);
    std::fs::remove_dir_all(&mine)?;
    std::fs::rename(&aside, &mine)?;
    run.group.node(1).start()?;
    run.group.node(1).ready().await?;

    let totals = senders.totals().await;
    run.must("no request failed at a front", totals.failed_rounds == 0);
    run.settle(senders).await?;

    run.finish().await
}

/// How far ahead of its own clock a node sees that of n2.
async fn offset_of_n2(client: &Client) -> anyhow::Result<i64> {
    let state = client
        .send(client.get("/api/v1/admin/replication"))
        .await?
        .success()?;
    let state: serde_json::Value = serde_json::from_str(&state.body)?;
    let peers = state["peers"].as_array().context("no peers")?;
    let peer = peers
        .iter()
        .find(|peer| peer["node"] == "n2")
        .context("no n2")?;

    peer["clock_offset_ms"].as_i64().context("no offset")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t16_clocks_that_are_wrong_cost_no_sample() -> anyhow::Result<()> {
    let what = "a node's clock is 10 min ahead, then 10 min behind, then right; after that the senders' clocks are 9 min ahead";
    let Some(mut run) = Scenario::prepare("T16", what, |group| group)? else {
        return Ok(());
    };

    let clock = run.group.node(2).make_faulty()?;
    run.start_all().await?;

    let senders = run.load(&plan(Route::Turns)).await?;
    for shift_ms in [600_000, -600_000, 0] {
        clock.shift_clock(shift_ms);
        until("the others see the wrong clock", async || {
            let offset_ms = offset_of_n2(run.group.client(0)).await?;
            ensure!((offset_ms - shift_ms).abs() < 5_000, "{offset_ms} ms");
            Ok(())
        })
        .await?;
        progress(&senders, 30).await?;
        pass(1_000, 20_000).await;
    }

    senders.skew(540_000);
    progress(&senders, 30).await?;
    let totals = senders.totals().await;

    run.must(
        "no sample was refused because a clock was wrong",
        totals.rejected == 0,
    );
    run.must("no request failed at a front", totals.failed_rounds == 0);
    run.settle(senders).await?;

    run.finish().await
}
