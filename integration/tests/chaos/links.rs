//! Links between nodes that break.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::Instant;
use trireme_base::SeededRng;
use trireme_integration::{Route, Series, now_ms, until, until_for};

use super::scale::{either, pass, plan};
use super::scenario::{Scenario, progress};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t5_a_node_that_sends_but_does_not_hear_acknowledges_nothing() -> anyhow::Result<()> {
    let what =
        "one-way partition: what the peers send does not reach a node, what it sends reaches them";
    let Some(mut run) = Scenario::start("T5", what, |group| group).await? else {
        return Ok(());
    };

    let senders = run.load(&plan(Route::Front)).await?;
    for peer in [1, 2] {
        run.group.network()?.cut(peer, 0)?;
    }

    let deaf = run.group.client(0).clone();
    until("the node notices that it hears nobody", async || {
        let ring = deaf.send(deaf.get("/api/v1/admin/ring")).await?.success()?;
        ensure!(
            ring.body.matches("\"connected\":false").count() == 2,
            "{}",
            ring.body
        );
        Ok(())
    })
    .await?;

    let probe = Series::new("probe_of_a_deaf_node", &[], &[(now_ms(), 1.0)]);
    let answer = deaf.write(&[probe]).await?;
    run.figure(
        "answer_of_the_deaf_node",
        format!("{}: {}", answer.status, answer.body.trim_end()),
    );
    run.must(
        "the node acknowledges nothing, with 503",
        answer.status == 503,
    );
    progress(&senders, 30).await?;
    pass(1_000, 20_000).await;
    run.must("the ring of the node names whom it does not hear", true);

    let totals = senders.totals().await;
    run.must("no request failed at a front", totals.failed_rounds == 0);

    for peer in [1, 2] {
        run.group.network()?.mend(peer, 0)?;
    }

    let healed = Instant::now();
    let probe = Series::new("probe_after_the_heal", &[], &[(now_ms(), 1.0)]);
    until("the node acknowledges again", async || {
        deaf.write(std::slice::from_ref(&probe))
            .await?
            .success()
            .map(drop)
    })
    .await?;

    run.figure("heard_again_after_ms", healed.elapsed().as_millis() as u64);
    run.settle(senders).await?;
    run.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t6_links_clogged_one_after_another_heal_in_any_order() -> anyhow::Result<()> {
    let what = "swizzle-clog: every link between nodes is cut one after another in random order, then mended in another";
    let Some(mut run) = Scenario::start("T6", what, |group| group).await? else {
        return Ok(());
    };

    let senders = run.load(&plan(Route::Front)).await?;
    let seed = now_ms() as u64;
    let mut random = SeededRng::new(seed);

    run.figure("seed", seed);

    let mut slowest_ms = 0;
    for _ in 0..either(2, 10) {
        let links = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];
        for (from, to) in shuffled(&mut random, links) {
            run.group.network()?.cut(from, to)?;
            pass(random.below(400), random.below(2_000)).await;
        }
        for (from, to) in shuffled(&mut random, links) {
            pass(random.below(400), random.below(2_000)).await;
            run.group.network()?.mend(from, to)?;
        }
        let healed = Instant::now();
        progress(&senders, 1).await?;
        slowest_ms = slowest_ms.max(healed.elapsed().as_millis() as u64);
    }

    run.figure("slowest_progress_after_heal_ms", slowest_ms);
    run.must("writes go on within 10 s of the heal", slowest_ms <= 10_000);
    run.settle(senders).await?;

    run.finish().await
}

fn shuffled<const N: usize>(
    random: &mut SeededRng,
    mut links: [(usize, usize); N],
) -> [(usize, usize); N] {
    for i in (1..N).rev() {
        links.swap(i, random.below(i as u64 + 1) as usize);
    }
    links
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t11_a_write_repeated_at_another_node_counts_once() -> anyhow::Result<()> {
    let what = "a node's answers do not reach the senders: they time out after the commit and repeat elsewhere";
    let Some(mut run) = Scenario::start("T11", what, |group| group).await? else {
        return Ok(());
    };

    let mut plan = plan(Route::Front);
    plan.attempt_timeout = Duration::from_secs(1);

    let senders = run.load(&plan).await?;
    for _ in 0..either(2, 10) {
        run.group.network()?.mute(0)?;
        let before = senders.totals().await.broken_attempts;
        until("a sender gave up on the silent node", async || {
            ensure!(senders.totals().await.broken_attempts > before, "not yet");
            Ok(())
        })
        .await?;
        progress(&senders, 10).await?;
        pass(200, 5_000).await;
        run.group.network()?.unmute(0)?;
        progress(&senders, 10).await?;
    }

    let totals = senders.totals().await;
    run.must("no request failed at a front", totals.failed_rounds == 0);
    let histories = run.settle(senders).await?;
    let acknowledged: usize = histories
        .iter()
        .map(|h| h.series * h.count(trireme_integration::Outcome::Acknowledged))
        .sum();
    let unknown: usize = histories
        .iter()
        .map(|h| h.series * h.count(trireme_integration::Outcome::Unknown))
        .sum();
    let counted = until_for("a query counts", Duration::from_secs(20), async || {
        let count = run
            .group
            .client(1)
            .instant("sum(count_over_time(history_total[1h]))")
            .await?;
        count.ok_or_else(|| anyhow::anyhow!("no result"))
    })
    .await?;

    run.figure("samples_counted_by_a_query", counted);
    let possible = acknowledged as f64..=(acknowledged + unknown) as f64;
    run.must(
        "a query counts every sample once",
        possible.contains(&counted),
    );

    run.finish().await
}
