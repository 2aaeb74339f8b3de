//! A write is acknowledged by a quorum, and what was acknowledged is on every replica after the heal (I1, I2).

use anyhow::ensure;
use trireme_base::SeededRng;
use trireme_integration::{Group, Load, SampleSet, now_ms, rounds, until};

/// Seed of the random moments: `TRIREME_SEED`, or the time. It is printed with a failure.
fn seed() -> u64 {
    std::env::var("TRIREME_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(now_ms() as u64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_samples_survive_kill_9_of_one_and_two_of_three() -> anyhow::Result<()> {
    let seed = seed();
    println!("TRIREME_SEED={seed}");
    let mut random = SeededRng::new(seed);
    let mut group = Group::of(3).start().await?;

    let mut acknowledged = SampleSet::default();
    for round in 0..rounds(3) {
        println!("round {round}");
        let load = Load::start(&group.clients());
        load.reaches(10 + random.below(100)).await?;

        let first = random.below(3) as usize;
        group.node(first).kill()?;
        let so_far = load.look(|sent| sent.successes).await;

        load.reaches(so_far + 20 + random.below(100)).await?;
        let refused = load.look(|sent| sent.refusals.first().cloned()).await;
        ensure!(
            refused.is_none(),
            "a write was refused with one of three nodes down: {refused:?}"
        );

        let second = (first + 1 + random.below(2) as usize) % 3;
        group.node(second).kill()?;
        let refusals_reach = async |wanted: usize| {
            until("writes without a quorum are refused", async || {
                let refusals = load.look(|sent| sent.refusals.len()).await;
                ensure!(refusals >= wanted, "{refusals} of {wanted}");
                Ok(())
            })
            .await
        };

        // What was on its way when the second node died may still have been on two nodes; later requests cannot.
        refusals_reach(1).await?;
        let so_far = load.look(|sent| sent.successes).await;

        refusals_reach(3).await?;
        ensure!(
            load.look(|sent| sent.successes).await == so_far,
            "a write was acknowledged by one of three nodes"
        );

        let refusals = load.look(|sent| sent.refusals.clone()).await;
        for refusal in refusals {
            ensure!(
                refusal.status == 503,
                "a write without a quorum got {refusal:?}"
            );
            ensure!(
                refusal.retry_after.is_some(),
                "no Retry-After in {refusal:?}"
            );
        }

        for node in [first, second] {
            group.node(node).start()?;
        }

        for node in [first, second] {
            group.node(node).ready().await?;
        }

        let so_far = load.look(|sent| sent.successes).await;
        load.reaches(so_far + 10).await?;
        acknowledged.merge(&load.stop().await?.acknowledged);

        let held = group.converged().await?;
        let missing = acknowledged.first_missing_in(&held);
        ensure!(
            missing.is_none(),
            "round {round}: an acknowledged sample is missing: {missing:?}"
        );
    }

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_process_holds_nobody_up_and_catches_up() -> anyhow::Result<()> {
    let mut group = Group::of(3).start().await?;
    let living: Vec<_> = group.clients().into_iter().take(2).collect();
    let load = Load::start(&living);

    load.reaches(20).await?;
    group.node(2).signal(libc::SIGSTOP)?;
    load.reaches(120).await?;
    group.node(2).signal(libc::SIGCONT)?;

    let sent = load.stop().await?;
    ensure!(
        sent.refusals.is_empty(),
        "refused with one of three nodes stopped: {:?}",
        sent.refusals.first()
    );

    let held = group.converged().await?;
    let missing = sent.acknowledged.first_missing_in(&held);
    ensure!(
        missing.is_none(),
        "an acknowledged sample is missing: {missing:?}"
    );

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_killed_at_once_comes_back_with_everything_acknowledged() -> anyhow::Result<()> {
    let mut group = Group::of(3).start().await?;
    let load = Load::start(&group.clients());
    load.reaches(60).await?;

    for node in 0..3 {
        group.node(node).kill()?;
    }

    let sent = load.stop().await?;
    for node in 0..3 {
        group.node(node).start()?;
    }

    for node in 0..3 {
        group.node(node).ready().await?;
    }

    let held = group.converged().await?;
    let missing = sent.acknowledged.first_missing_in(&held);
    ensure!(
        missing.is_none(),
        "an acknowledged sample is missing: {missing:?}"
    );

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_missed_writes_catches_up_after_its_start() -> anyhow::Result<()> {
    let mut group = Group::of(3).start().await?;
    group.node(1).kill()?;
    let living = [group.client(0).clone(), group.client(2).clone()];
    let load = Load::start(&living);

    load.reaches(50).await?;
    let sent = load.stop().await?;

    // The origin of half of the samples is gone before the third node returns: any replica serves any stream.
    group.node(0).kill()?;
    group.node(1).start()?;
    group.node(1).ready().await?;

    let held = group.converged().await?;
    let missing = sent.acknowledged.first_missing_in(&held);
    ensure!(
        missing.is_none(),
        "an acknowledged sample is missing: {missing:?}"
    );

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_an_empty_disk_fetches_what_the_logs_still_hold() -> anyhow::Result<()> {
    let mut group = Group::of(3).start().await?;
    let load = Load::start(&group.clients());
    load.reaches(60).await?;
    group.node(2).kill()?;
    std::fs::remove_dir_all(group.node(2).data_dir())?;

    let so_far = load.look(|sent| sent.successes).await;
    load.reaches(so_far + 20).await?;
    group.node(2).start()?;
    group.node(2).ready().await?;

    let sent = load.stop().await?;
    let held = group.converged().await?;
    let missing = sent.acknowledged.first_missing_in(&held);
    ensure!(
        missing.is_none(),
        "an acknowledged sample is missing: {missing:?}"
    );

    group.stop().await
}
