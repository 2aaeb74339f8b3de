//! Crashes while writes run, of an actor or of the whole process again and again: the node recovers, and nothing
//! acknowledged is lost.

use anyhow::{Context, ensure};
use trireme_base::SeededRng;
use trireme_integration::{Client, Group, Load, SampleSet, now_ms, rounds, until};

/// Values of the label `actor` of `trireme_actor_up`.
async fn actors(client: &Client) -> anyhow::Result<Vec<String>> {
    let text = client.send(client.get("/metrics")).await?.success()?.body;
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("trireme_actor_up{actor=\""));
    let mut names: Vec<String> = lines
        .filter_map(|line| Some(line.split_once('"')?.0.to_owned()))
        .collect();

    names.sort();
    names.dedup();
    Ok(names)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_any_actor_loses_nothing_acknowledged() -> anyhow::Result<()> {
    let mut group = Group::of(3)
        .set("telemetry.fault_injection=true")
        .short_windows(5)
        .start()
        .await?;

    let victim = group.client(0).clone();

    let names = actors(&victim).await?;
    for kind in [
        "front",
        "ingest",
        "replicator",
        "block-writer",
        "uploader",
        "scrubber",
        "query-shard",
        "membership",
    ] {
        ensure!(
            names.iter().any(|name| name.starts_with(kind)),
            "no actor {kind} among {names:?}"
        );
    }

    let load = Load::start(&group.clients());
    for name in &names {
        let so_far = load.look(|sent| sent.successes).await;
        load.reaches(so_far + 10)
            .await
            .with_context(|| format!("before the panic of {name}"))?;

        let part = format!("actor=\"{name}\"");
        let restarts = victim
            .metric_with("trireme_actor_restarts_total", &part)
            .await?;
        let crash = victim.post("/api/v1/admin/crash").query(&[("actor", name)]);

        victim
            .send(crash)
            .await?
            .success()
            .with_context(|| format!("crash of {name}"))?;

        until(&format!("{name} is up again"), async || {
            let now = victim
                .metric_with("trireme_actor_restarts_total", &part)
                .await?;
            ensure!(now > restarts, "it was not restarted");
            ensure!(
                victim.metric_with("trireme_actor_up", &part).await? == 1.0,
                "it is not up"
            );
            ensure!(victim.is_ready().await, "the node is not ready");
            Ok(())
        })
        .await?;

        let fresh = Load::start(std::slice::from_ref(&victim));
        until(
            &format!("the node acknowledges writes after {name} crashed"),
            async || {
                ensure!(fresh.look(|sent| sent.successes).await >= 3, "not yet");
                Ok(())
            },
        )
        .await?;

        fresh.stop().await?;
    }

    let sent = load.stop().await?;
    let not_retryable = sent.refusals.iter().find(|answer| answer.status != 503);
    ensure!(
        not_retryable.is_none(),
        "a crash was answered with {not_retryable:?}"
    );

    let held = group.converged().await?;
    let missing = sent.acknowledged.first_missing_in(&held);
    ensure!(
        missing.is_none(),
        "an acknowledged sample is missing: {missing:?}"
    );

    group.stop().await
}

#[tokio::test]
async fn crashing_on_demand_is_refused_unless_it_is_switched_on() -> anyhow::Result<()> {
    let group = Group::of(1).start().await?;
    let client = group.client(0);
    let answer = client
        .send(
            client
                .post("/api/v1/admin/crash")
                .query(&[("actor", "front")]),
        )
        .await?;

    ensure!(
        (400..500).contains(&answer.status),
        "answered {}",
        answer.status
    );

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_that_are_killed_soon_after_they_took_writes_add_up_to_everything_acknowledged()
-> anyhow::Result<()> {
    let seed = std::env::var("TRIREME_SEED")
        .ok()
        .and_then(|t| t.parse().ok())
        .unwrap_or(now_ms() as u64);

    println!("TRIREME_SEED={seed}");
    let mut random = SeededRng::new(seed);

    // No checkpoint in between: each start replays everything since the first one, while it takes writes.
    let mut group = Group::of(1).set("checkpoint.interval=1h").start().await?;

    let mut acknowledged = SampleSet::default();
    for round in 0..rounds(6) {
        let load = Load::start(&group.clients());
        let wanted = 1 + random.below(if round % 2 == 0 { 100 } else { 3 });
        load.reaches(wanted).await?;
        group.node(0).kill()?;
        acknowledged.merge(&load.stop().await?.acknowledged);
        group.node(0).start()?;
        group.node(0).ready().await?;
    }

    let client = group.client(0).clone();
    // A question that comes before the replay is over is answered from all of it.
    let held = client.export().await?;
    let missing = acknowledged.first_missing_in(&held);
    ensure!(
        missing.is_none(),
        "an acknowledged sample is missing: {missing:?}"
    );

    until("the replay is over", async || {
        let answer = client
            .send(client.get("/api/v1/status/walreplay"))
            .await?
            .success()?;
        ensure!(answer.body.contains("\"done\""), "{}", answer.body);
        Ok(())
    })
    .await?;

    group.stop().await
}
