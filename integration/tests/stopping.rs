//! SIGTERM stops a node in order: it says it is going, finishes what it took, and loses nothing.

use anyhow::ensure;
use trireme_integration::{Group, Load, Plan, Senders, Sent, Series, now_ms, until};

/// No answer during a stop may make a sender drop data.
fn only_retryable(sent: &Sent) -> anyhow::Result<()> {
    let wrong = sent
        .refusals
        .iter()
        .find(|answer| answer.status != 503 || answer.retry_after.is_none());
    ensure!(
        wrong.is_none(),
        "a write during a stop was answered {wrong:?}"
    );

    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_stopped_under_load_exits_cleanly_and_keeps_what_it_acknowledged()
-> anyhow::Result<()> {
    let mut group = Group::of(3).start().await?;
    for i in 0..3 {
        let load = Load::start(&group.clients());
        load.reaches(50).await?;
        group.node(i).stop().await?;

        let so_far = load.look(|sent| sent.successes).await;
        load.reaches(so_far + 20).await?;
        group.node(i).start()?;
        group.node(i).ready().await?;

        let sent = load.stop().await?;
        only_retryable(&sent)?;
        let held = group.converged().await?;
        let missing = sent.acknowledged.first_missing_in(&held);
        ensure!(
            missing.is_none(),
            "an acknowledged sample is missing: {missing:?}"
        );
    }

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_node_stops_and_starts_with_everything() -> anyhow::Result<()> {
    let mut group = Group::of(1).start().await?;
    let load = Load::start(&group.clients());
    load.reaches(50).await?;
    group.node(0).stop().await?;

    let sent = load.stop().await?;
    only_retryable(&sent)?;
    group.node(0).start()?;
    group.node(0).ready().await?;

    let held = group.converged().await?;
    let missing = sent.acknowledged.first_missing_in(&held);
    ensure!(
        missing.is_none(),
        "an acknowledged sample is missing: {missing:?}"
    );

    group.stop().await
}

#[tokio::test]
async fn ctrl_c_stops_like_sigterm() -> anyhow::Result<()> {
    let mut group = Group::of(1).start().await?;
    group.node(0).signal(libc::SIGINT)?;
    let status = group.node(0).ended().await?;
    ensure!(status.success(), "ended with {status}");
    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_each_node_in_turn_costs_no_request_of_senders_with_another_node()
-> anyhow::Result<()> {
    let mut group = Group::of(3).start().await?;
    let senders = Senders::start(&group.clients(), &Plan::default());
    let more = async || {
        let wanted = senders.totals().await.acknowledged + 30;
        until("writes are acknowledged", async || {
            ensure!(senders.totals().await.acknowledged >= wanted, "not yet");
            Ok(())
        })
        .await
    };

    for i in 0..3 {
        more().await?;
        let client = group.client(i).clone();
        client
            .send(client.post("/api/v1/admin/drain"))
            .await?
            .success()?;
        let status = group.node(i).ended().await?;
        ensure!(status.success(), "ended with {status}");
        group.node(i).start()?;
        group.node(i).ready().await?;
    }

    more().await?;
    let (_, totals) = senders.stop().await?;
    ensure!(
        totals.refused_attempts == 0,
        "a write was refused: {totals:?}"
    );
    ensure!(
        totals.failed_rounds == 0,
        "a write failed at every node: {totals:?}"
    );

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_node_says_so_and_goes_on_until_its_clients_have_left() -> anyhow::Result<()> {
    let mut group = Group::of(1).start().await?;
    let client = group.client(0).clone();
    let write = async || {
        client
            .write(&[Series::new("drained", &[], &[(now_ms(), 1.0)])])
            .await
    };

    write().await?.success()?;
    client
        .send(client.post("/api/v1/admin/drain"))
        .await?
        .success()?;
    until("the node is not ready", async || {
        // A request now and then, so that the node does not find itself alone.
        write().await?.success()?;
        ensure!(!client.is_ready().await, "it is ready");
        Ok(())
    })
    .await?;

    let answer = client
        .get("/api/v1/query")
        .query(&[("query", "1")])
        .send()
        .await?;

    ensure!(
        answer.status() == 200,
        "a query was answered {}",
        answer.status()
    );

    let connection = answer
        .headers()
        .get("connection")
        .map(|value| value.as_bytes().to_vec());
    ensure!(
        connection.as_deref() == Some(b"close"),
        "the connection is kept: {connection:?}"
    );

    write().await?.success()?;
    // Nobody comes any more.
    let status = group.node(0).ended().await?;
    ensure!(status.success(), "ended with {status}");

    group.stop().await
}
