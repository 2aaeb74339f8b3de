//! A node that is killed over and over, at any moment of its life: it always starts, and nothing acknowledged is missing.
//!
//! `TRIREME_CRASH_ROUNDS` says how often; `scripts/acceptance` asks for a thousand. `TRIREME_SEED` repeats the moments.
#![allow(clippy::print_stdout)] // Figures of a run, for whoever runs it by hand.

use std::time::Duration;

use anyhow::{Context, ensure};
use trireme_base::SeededRng;
use trireme_integration::{
    Audit, Client, Group, History, Outcome, Plan, Route, Senders, crash_rounds, now_ms, until,
};

const TENANTS: [&str; 3] = ["team-a", "team-b", "team-c"];
/// Rounds after which everything written so far is looked at; in between only what could be in motion.
const ROUNDS_BETWEEN_FULL_AUDITS: u64 = 100;
/// What is older lies in blocks that many starts have already shown to be whole.
const IN_MOTION_MS: i64 = 20_000;

/// What the loop has met so far, printed at the end.
#[derive(Debug, Default)]
struct Met {
    kills_while_starting: u64,
    kills_while_running: u64,
    samples_checked: u64,
    blocks: u64,
    checkpoints: u64,
    replayed: u64,
    torn_tails: u64,
    longest_start_ms: i64,
}

/// Every acknowledged sample from `from_ms` on is there, of every tenant.
async fn everything_is_there(
    client: &Client,
    histories: &[History],
    from_ms: i64,
    met: &mut Met,
) -> anyhow::Result<()> {
    for tenant in TENANTS {
        let of = |history: &&History| history.tenant.as_deref() == Some(tenant);
        let mine: Vec<History> = histories.iter().filter(of).cloned().collect();
        let audit = Audit::of(client, &mine, from_ms, false).await?;
        audit.clean().with_context(|| tenant.to_owned())?;
        met.samples_checked += audit.held;
    }
    Ok(())
}

/// Lines of a node's log with this message.
fn lines_with(log: &str, message: &str) -> u64 {
    log.matches(message).count() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_killed_at_any_moment_always_starts_with_everything_acknowledged()
-> anyhow::Result<()> {
    let seed = std::env::var("TRIREME_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(now_ms() as u64);

    println!("TRIREME_SEED={seed}");
    let mut random = SeededRng::new(seed);
    let rounds = crash_rounds(12);
    let mut group = Group::of(1)
        .short_windows(1)
        // Tails of requests that lived through some crashes are still in time.
        .set("storage.out_of_order_window=60s")
        .set("storage.tick=50ms")
        // An export of thousands of blocks takes its time on a busy machine.
        .set("query.timeout=15m")
        .set("checkpoint.interval=150ms")
        .set("log.segment_bytes=1MiB")
        .set("telemetry.log_level=debug")
        .set("bucket.upload_turn=100ms")
        .prepare()?;

    let client = group.client(0).clone();
    let plan = Plan {
        senders: 6,
        series: 40,
        every: Duration::from_millis(15),
        route: Route::Home,
        tenants: TENANTS.map(str::to_owned).to_vec(),
        ..Plan::default()
    };

    let senders = Senders::start(std::slice::from_ref(&client), &plan);

    let mut met = Met::default();
    for round in 0..rounds {
        group.node(0).start()?;
        if random.chance(0.2) {
            // Somewhere in the replay, mostly.
            tokio::time::sleep(Duration::from_millis(random.below(400))).await;
            group.node(0).kill()?;
            met.kills_while_starting += 1;
            continue;
        }

        let begun_ms = now_ms();
        group
            .node(0)
            .ready()
            .await
            .with_context(|| format!("start of round {round}"))?;

        met.longest_start_ms = met.longest_start_ms.max(now_ms() - begun_ms);
        let is_full = round % ROUNDS_BETWEEN_FULL_AUDITS == 0;
        let from_ms = if is_full { 0 } else { now_ms() - IN_MOTION_MS };
        let histories = senders.histories().await;

        everything_is_there(&client, &histories, from_ms, &mut met)
            .await
            .with_context(|| format!("round {round}"))?;

        let so_far = senders.totals().await.acknowledged;
        until("writes are acknowledged again", async || {
            ensure!(senders.totals().await.acknowledged > so_far, "not yet");
            Ok(())
        })
        .await?;

        tokio::time::sleep(Duration::from_millis(50 + random.below(450))).await;
        group.node(0).kill()?;
        met.kills_while_running += 1;
    }

    let last = (histories_at_the_end(&mut group, senders).await?, &mut met);
    let log = group.nodes()[0].log();
    met_of_log(&log, last.1);
    everything_is_there(&client, &last.0, 0, last.1)
        .await
        .context("at the end")?;

    let requests: usize = last
        .0
        .iter()
        .map(|history| history.count(Outcome::Acknowledged))
        .sum();

    println!("{rounds} rounds, {requests} requests acknowledged, {met:?}");
    ensure!(met.blocks > 0, "no window was cut in the loop");
    ensure!(met.replayed > 0, "no start replayed anything");

    group.stop().await
}

/// Starts the node for a last time and ends the senders, so that no request is left in the air.
async fn histories_at_the_end(group: &mut Group, senders: Senders) -> anyhow::Result<Vec<History>> {
    group.node(0).start()?;
    group.node(0).ready().await.context("last start")?;
    let (histories, totals) = senders.stop().await?;
    ensure!(
        totals.rejected == 0,
        "a request was refused for good: {}",
        totals.last_refusal
    );

    Ok(histories)
}

fn met_of_log(log: &str, met: &mut Met) {
    met.blocks = lines_with(log, "\"block written\"");
    met.checkpoints = lines_with(log, "\"checkpoint written\"");
    met.replayed = lines_with(log, "\"log replayed, the head is whole\"");
    met.torn_tails = lines_with(log, "torn end of the log was cut");
}
