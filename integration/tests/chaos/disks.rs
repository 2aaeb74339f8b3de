//! Disks that lose power, get slow, fill up, or lie about a sync.

use anyhow::ensure;
use trireme_integration::{DiskImage, Outcome, Route, Senders, left_out, now_ms, until};

use super::scale::{either, pass, plan};
use super::scenario::{Scenario, latencies, percentile, progress};

/// Size of a node's own disk.
const DISK_MEGABYTES: u64 = 2_048;

/// Gives every node a disk whose power can be cut.
fn disks(run: &mut Scenario) -> anyhow::Result<Vec<DiskImage>> {
    let dir = run.group.dir().to_owned();

    let mut images = Vec::new();
    for node in 0..3 {
        let image = DiskImage::make(&dir.join(format!("n{node}.image")), DISK_MEGABYTES)?;
        std::fs::create_dir_all(run.group.nodes()[node].data_dir())?;
        run.group
            .node(node)
            .mount_over_data_dir(&image.mount_options());
        images.push(image);
    }

    Ok(images)
}

/// The power of all nodes goes at once.
fn cut_power(run: &mut Scenario, images: &[DiskImage]) -> anyhow::Result<()> {
    for node in 0..3 {
        run.group.node(node).signal(libc::SIGSTOP)?;
    }

    images.iter().try_for_each(DiskImage::freeze)?;
    for node in 0..3 {
        run.group.node(node).kill()?;
    }

    images.iter().try_for_each(DiskImage::thaw)
}

async fn power_cuts(run: &mut Scenario, rounds: u64) -> anyhow::Result<Senders> {
    let images = disks(run)?;
    run.start_all().await?;
    let senders = run.load(&plan(Route::Front)).await?;

    let mut slowest_ms = 0;
    for _ in 0..rounds {
        progress(&senders, 30).await?;
        pass(500, 10_000).await;
        cut_power(run, &images)?;
        let begun = tokio::time::Instant::now();
        run.start_all().await?;
        progress(&senders, 1).await?;
        slowest_ms = slowest_ms.max(begun.elapsed().as_millis() as u64);
    }

    run.figure("rounds", rounds);
    run.figure("slowest_return_ms", slowest_ms);
    Ok(senders)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_power_cut_of_all_three_loses_nothing_acknowledged() -> anyhow::Result<()> {
    if let Some(reason) = DiskImage::missing() {
        left_out("chaos T2", &reason);
        return Ok(());
    }

    let what =
        "power cut of all three at once: everything that was not synced is gone from their disks";
    let Some(mut run) = Scenario::prepare("T2", what, |group| group)? else {
        return Ok(());
    };

    let senders = power_cuts(&mut run, either(2, 10)).await?;
    run.settle(senders).await?;
    run.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_would_notice_acknowledgements_before_the_sync() -> anyhow::Result<()> {
    if let Some(reason) = DiskImage::missing() {
        left_out("chaos T2, negative control", &reason);
        return Ok(());
    }

    let what = "negative control of T2: with log.durability=memory the same power cut has to lose something";
    let Some(mut run) = Scenario::prepare(
        "T2-control",
        what,
        |group: trireme_integration::GroupBuilder| {
            group
                .set("log.durability=memory")
                .set("log.sync_interval=60s")
                .set("checkpoint.interval=1h")
        },
    )?
    else {
        return Ok(());
    };

    let senders = power_cuts(&mut run, 1).await?;
    let (histories, _) = senders.stop().await?;
    let audit = trireme_integration::Audit::of(run.group.client(0), &histories, 0, false).await?;

    run.figure("samples_lost", audit.lost);
    run.must("the audit finds the loss", audit.lost > 0);
    run.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t7_a_slow_disk_does_not_slow_the_others() -> anyhow::Result<()> {
    let what = "every sync of one node's disk takes 200 ms longer";
    let Some(mut run) = Scenario::prepare("T7", what, |group| group)? else {
        return Ok(());
    };

    let disk = run.group.node(0).make_faulty()?;
    run.start_all().await?;
    let senders = run.load(&plan(Route::Front)).await?;
    let healthy_from = now_ms();

    pass(2_000, 20_000).await;
    progress(&senders, 30).await?;
    let healthy = latencies(&senders.histories().await, healthy_from);

    disk.slow_syncs(200);
    pass(3_000, 30_000).await;
    let slow_from = now_ms();

    pass(2_000, 20_000).await;
    progress(&senders, 30).await?;
    let slow = latencies(&senders.histories().await, slow_from);

    disk.slow_syncs(0);
    let before = percentile(&healthy, 0.99);
    let during = percentile(&slow, 0.99);

    run.figure("p99_before_ms", before);
    run.figure("p99_with_the_slow_disk_ms", during);
    let totals = senders.totals().await;

    run.must("no request failed at a front", totals.failed_rounds == 0);
    run.settle(senders).await?;
    run.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t8_a_full_disk_at_every_write_in_turn_leaves_no_damage() -> anyhow::Result<()> {
    let what =
        "ENOSPC at the first, second, third... write to a file of one node, with windows being cut";
    let Some(mut run) =
        Scenario::prepare("T8", what, |group: trireme_integration::GroupBuilder| {
            group
                .short_windows(2)
                .set("checkpoint.interval=300ms")
                .set("storage.out_of_order_window=1h")
        })?
    else {
        return Ok(());
    };

    let disk = run.group.node(1).make_faulty()?;
    run.start_all().await?;
    let senders = run.load(&plan(Route::Front)).await?;

    let calls = either(15, 80);
    for skip in 0..calls {
        let before = disk.hits();
        disk.fail_writes(skip, 2);
        until("the fault has happened", async || {
            ensure!(disk.hits() >= before + 2, "{} of 2", disk.hits() - before);
            Ok(())
        })
        .await?;

        ensure!(
            run.group.node(1).is_running(),
            "the node ended at write {skip}"
        );

        until("the node takes writes again", async || {
            ensure!(run.group.client(1).is_ready().await, "it is not ready");
            Ok(())
        })
        .await?;
    }

    run.figure("call_sites", calls);
    run.figure("faults", disk.hits());
    let totals = senders.totals().await;

    run.must("no request failed at a front", totals.failed_rounds == 0);
    // Nothing that a later start would stumble over.
    run.group.node(1).kill()?;
    run.group.node(1).start()?;
    run.group.node(1).ready().await?;

    let damage = run.group.nodes()[1]
        .log()
        .matches("damage in the log")
        .count();

    run.figure("damage", damage);
    run.must("the next start finds no damage", damage == 0);
    run.settle(senders).await?;

    run.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t9_a_failed_sync_is_never_acknowledged_and_mended_by_the_peers() -> anyhow::Result<()> {
    let what = "fsync of one node returns EIO once, then success again";
    let Some(mut run) = Scenario::prepare("T9", what, |group| group)? else {
        return Ok(());
    };

    let disk = run.group.node(0).make_faulty()?;
    run.start_all().await?;

    let senders = run.load(&plan(Route::Front)).await?;
    for _ in 0..either(1, 5) {
        let before = disk.hits();
        disk.fail_syncs(1);
        until("the sync has failed", async || {
            ensure!(disk.hits() > before, "not yet");
            Ok(())
        })
        .await?;

        let client = run.group.client(0).clone();
        until(
            "the node says that it takes no writes, or has ended",
            async || {
                ensure!(!client.is_ready().await, "it is ready");
                Ok(())
            },
        )
        .await?;

        progress(&senders, 20).await?;
        if run.group.node(0).is_running() {
            run.group.node(0).kill()?;
        }

        run.group.node(0).start()?;
        run.group.node(0).ready().await?;
        progress(&senders, 20).await?;
    }

    run.figure("faults", disk.hits());
    let totals = senders.totals().await;
    run.must("no request failed at a front", totals.failed_rounds == 0);

    let histories = run.settle(senders).await?;
    let unknown: usize = histories
        .iter()
        .map(|history| history.count(Outcome::Unknown))
        .sum();

    run.figure("requests_unknown", unknown);
    run.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t41_no_room_at_syncs_and_a_power_cut_after_it_lose_nothing_acknowledged()
-> anyhow::Result<()> {
    if let Some(reason) = DiskImage::missing() {
        left_out("chaos T41", &reason);
        return Ok(());
    }

    let what = "syncs of two nodes fail with ENOSPC, as on a full thin volume, then work again; then the power of all three is cut";
    let Some(mut run) = Scenario::prepare("T41", what, |group| group)? else {
        return Ok(());
    };

    let images = disks(&mut run)?;
    let full = [
        run.group.node(0).make_faulty()?,
        run.group.node(1).make_faulty()?,
    ];

    run.start_all().await?;
    let senders = run.load(&plan(Route::Front)).await?;

    let rounds: u64 = either(2, 10);
    for round in 0..rounds {
        progress(&senders, 30).await?;
        let before: u64 = full.iter().map(|disk| disk.hits()).sum();
        full.iter()
            .for_each(|disk| disk.fill_at_syncs(1 + round % 3));
        until("the syncs have failed", async || {
            let hits: u64 = full.iter().map(|disk| disk.hits()).sum();
            ensure!(
                hits >= before + 2 * (1 + round % 3),
                "{} of them",
                hits - before
            );
            Ok(())
        })
        .await?;

        // What is acknowledged from here on stands on the word of the syncs that follow.
        progress(&senders, 10).await?;
        cut_power(&mut run, &images)?;
        run.start_all().await?;
        progress(&senders, 1).await?;
    }

    run.figure("rounds", rounds);
    run.figure("faults", full.iter().map(|disk| disk.hits()).sum::<u64>());
    run.settle(senders).await?;

    run.finish().await
}
