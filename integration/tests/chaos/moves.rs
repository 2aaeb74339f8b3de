//! The ring changes under load: a receiver is replaced, a second group joins, the first one leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use trireme_integration::{Client, Plan, Route, Senders, Series, now_ms, trireme, until_for};

use super::scale::{either, pass};
use super::scenario::{Scenario, progress};

/// A change of the ring that has to copy or publish data may take so long.
const CHANGE_BOUND: Duration = Duration::from_secs(240);

/// Asks for a change of the ring until it is made.
async fn ring(client: &Client, words: &[&str]) -> anyhow::Result<()> {
    until_for(
        &format!("trireme ring {words:?}"),
        CHANGE_BOUND,
        async || {
            let mut command = Command::new(trireme()?);
            let output = command
                .arg("ring")
                .args(words)
                .args(["--url", client.url()])
                .output()
                .await?;

            ensure!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );

            Ok(())
        },
    )
    .await
}

/// Waits until a node shows these phases of groups and states of members, as `g0=serving n0=active ...`.
async fn shows(client: &Client, wanted: &str) -> anyhow::Result<()> {
    until_for(
        &format!("the ring shows {wanted}"),
        CHANGE_BOUND,
        async || {
            let ring = client.ring().await?;

            let mut shown = Vec::new();
            for group in ring["groups"].as_array().context("no groups")? {
                let text =
                    |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
                shown.push(format!(
                    "{}={}",
                    text(&group["name"]),
                    text(&group["phase"])
                ));

                let members = group["members"].as_array().context("no members")?;
                shown.extend(
                    members
                        .iter()
                        .map(|m| format!("{}={}", text(&m["node"]), text(&m["state"]))),
                );
            }

            ensure!(shown.join(" ") == wanted, "it shows {}", shown.join(" "));
            Ok(())
        },
    )
    .await
}

/// Writes a sample at one node and asks for it at another, as a user behind a front does, until it is over.
struct Reader {
    is_over: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Reader {
    fn start(clients: Vec<Client>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(read_own_writes(
            clients,
            Arc::clone(&is_over),
            Arc::clone(&seen),
        ));

        Self {
            is_over,
            seen,
            task,
        }
    }

    /// How many writes were read back; an error if one was not.
    async fn stop(self) -> anyhow::Result<u64> {
        self.is_over.store(true, Ordering::Relaxed);
        self.task.await??;
        Ok(self.seen.load(Ordering::Relaxed))
    }
}

async fn read_own_writes(
    clients: Vec<Client>,
    is_over: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    for round in 0_usize.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }

        tokio::time::sleep(Duration::from_millis(150)).await;

        // Those that a front knows to be ready.
        let mut ready = Vec::new();
        for client in &clients {
            if client.is_ready().await {
                ready.push(client);
            }
        }

        ensure!(ready.len() >= 2, "only {} nodes are ready", ready.len());
        let value = round as f64;
        let series = [Series::new("read_your_writes", &[], &[(now_ms(), value)])];
        let written = ready[round % ready.len()].write(&series).await;
        if !written.is_ok_and(|answer| answer.is_success()) {
            // A node may leave between the look and the write; nothing was promised.
            continue;
        }

        let reader = ready[(round + 1) % ready.len()];
        let Ok(found) = reader.instant("read_your_writes").await else {
            continue;
        };
        ensure!(
            found.is_some_and(|found| found >= value),
            "{} answers {found:?} after {value}",
            reader.url()
        );

        seen.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Starts many senders behind a front, and who reads what they wrote; returns once each has written.
async fn many_senders(run: &Scenario) -> anyhow::Result<(Senders, Reader)> {
    let (senders, series, every_ms) = either((6, 50, 200), (20, 1_000, 2_000));
    let plan = Plan {
        senders,
        series,
        every: Duration::from_millis(every_ms),
        route: Route::Front,
        attempt_timeout: Duration::from_secs(15),
        ..Plan::default()
    };

    let senders = Senders::start(&run.group.clients(), &plan);
    progress(&senders, plan.senders as u64).await?;
    Ok((senders, Reader::start(run.group.clients())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t26_a_receiver_is_replaced_then_a_group_is_added_and_the_first_one_removed()
-> anyhow::Result<()> {
    let what = "a receiver is replaced by a new one, a second group of three is added, the first one is removed, all under load";
    let window = either(10, 30);
    let mut run =
        Scenario::on_loopback("T26", what, |group: trireme_integration::GroupBuilder| {
            group
                .short_windows(window)
                .set("cluster.ack_timeout=10s")
                .set("cluster.peer_timeout=3s")
        })?;

    run.is_local = false;
    run.start_all().await?;

    let mut addresses = Vec::new();
    for name in ["n3", "m0", "m1", "m2"] {
        addresses.push(format!("{name}={}", run.group.newcomer(name)?.1));
    }

    // A front knows all names from the beginning; those that do not listen yet are passed over.
    let (senders, reader) = many_senders(&run).await?;
    pass(1_000, 20_000).await;

    run.group.node(3).start()?;
    let begun = Instant::now();
    let admin = run.group.client(1).clone();

    ring(&admin, &["replace", "n0", &addresses[0]]).await?;
    shows(&admin, "g0=serving n0=left n1=active n2=active n3=active").await?;
    run.figure("replaced_after_ms", begun.elapsed().as_millis() as u64);
    run.level(3).await?;
    run.figure(
        "full_redundancy_after_replacement_ms",
        begun.elapsed().as_millis() as u64,
    );
    run.group.node(0).stop().await?;
    progress(&senders, 40).await?;
    pass(0, 10_000).await;

    let begun = Instant::now();
    for (node, address) in (4..7).zip(&addresses[1..]) {
        run.group.node(node).start()?;
        ring(&admin, &["join", address, "--new-group", "g1"]).await?;
    }

    let both =
        "g0=serving n0=left n1=active n2=active n3=active g1=serving m0=active m1=active m2=active";
    shows(&admin, both).await?;
    run.figure(
        "second_group_serves_after_ms",
        begun.elapsed().as_millis() as u64,
    );
    progress(&senders, 60).await?;
    pass(0, 20_000).await;

    let begun = Instant::now();
    let admin = run.group.client(4).clone();
    ring(&admin, &["drain", "--group", "g0"]).await?;
    progress(&senders, 40).await?;
    ring(&admin, &["remove", "--group", "g0"]).await?;
    run.figure(
        "first_group_removed_after_ms",
        begun.elapsed().as_millis() as u64,
    );

    let read = reader.stop().await;
    run.figure("own_writes_read", *read.as_ref().unwrap_or(&0));

    if let Err(error) = &read {
        run.figure("own_write_missed", format!("{error:#}"));
    }

    run.must(
        "a query sees every acknowledged write before it",
        read.is_ok_and(|seen| seen > 0),
    );

    for node in 1..4 {
        run.group.node(node).stop().await?;
    }

    progress(&senders, 20).await?;
    let totals = senders.totals().await;
    run.must("no request failed at a front", totals.failed_rounds == 0);
    run.audited = Some(vec![4, 5, 6]);

    let histories = run.settle(senders).await?;
    let sent: usize = histories.iter().map(|history| history.series).sum();
    let found = run
        .group
        .client(4)
        .api("/api/v1/series", &[("match[]", "history_total")])
        .await?;

    let found = found.as_array().map_or(0, Vec::len);
    run.figure("series", found);
    run.must("the series are those that were sent", found == sent);

    run.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t42_members_are_activated_and_drained_in_a_loop_while_one_lags() -> anyhow::Result<()> {
    let what = "four members, of whom one is always drained and the next activated, again and again, while the disk of another is slow";
    let mut run =
        Scenario::on_loopback("T42", what, |group: trireme_integration::GroupBuilder| {
            group
                .set("cluster.ack_timeout=10s")
                .set("cluster.peer_timeout=3s")
        })?;

    let disk = run.group.node(2).make_faulty()?;
    run.start_all().await?;
    let address = format!("n3={}", run.group.newcomer("n3")?.1);

    run.group.node(3).start()?;
    let admin = run.group.client(2).clone();
    ring(&admin, &["join", &address]).await?;
    run.group.node(3).ready().await?;

    let (senders, reader) = many_senders(&run).await?;
    disk.slow_syncs(300);

    // The one that lags stays in the quorum.
    let turns = ["n0", "n1", "n3"];
    let mut away = "n3";
    let rounds: usize = either(6, 100);
    let begun = Instant::now();

    for round in 0..rounds {
        let next = turns[round % turns.len()];
        ring(&admin, &["activate", away]).await?;
        ring(&admin, &["drain", next]).await?;
        away = next;
        progress(&senders, 2).await?;
    }

    run.figure("rounds", rounds);
    run.figure(
        "ms_a_round",
        begun.elapsed().as_millis() as u64 / rounds as u64,
    );

    let read = reader.stop().await;
    run.figure("own_writes_read", *read.as_ref().unwrap_or(&0));

    if let Err(error) = &read {
        run.figure("own_write_missed", format!("{error:#}"));
    }

    run.must(
        "a query sees every acknowledged write before it",
        read.is_ok_and(|seen| seen > 0),
    );

    let totals = senders.totals().await;
    run.must("no request failed at a front", totals.failed_rounds == 0);
    disk.slow_syncs(0);
    run.settle(senders).await?;

    run.finish().await
}
