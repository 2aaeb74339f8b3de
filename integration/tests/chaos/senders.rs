//! Senders that cannot make up their mind.

use trireme_integration::{Client, Outcome, Route};

use super::scale::{either, pass, plan};
use super::scenario::{Scenario, progress};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t12_senders_that_change_the_node_with_every_request_count_once() -> anyhow::Result<()> {
    let what = "every request of a sender goes to another node than the one before";
    let Some(mut run) = Scenario::start("T12", what, |group| group).await? else {
        return Ok(());
    };

    let senders = run.load(&plan(Route::Turns)).await?;
    pass(2_000, 60_000).await;
    progress(&senders, 50).await?;

    let before = resident(run.group.client(0)).await?;
    pass(4_000, 240_000).await;
    progress(&senders, 50).await?;

    let after = resident(run.group.client(0)).await?;
    run.figure("resident_bytes", vec![before, after]);

    // Samples take room until their window is cut; what must not happen is growth with the number of requests.
    run.must(
        "memory is flat",
        after < before * 1.3 + f64::from(either(64 << 20, 256 << 20)),
    );

    let totals = senders.totals().await;
    run.must("no request failed at a front", totals.failed_rounds == 0);
    let histories = run.settle(senders).await?;
    let acknowledged: usize = histories
        .iter()
        .map(|h| h.series * h.count(Outcome::Acknowledged))
        .sum();
    let unknown: usize = histories
        .iter()
        .map(|h| h.series * h.count(Outcome::Unknown))
        .sum();

    for node in 0..3 {
        let count = run
            .group
            .client(node)
            .instant("sum(count_over_time(history_total[1h]))")
            .await?;
        let count = count.unwrap_or(0.0);
        run.figure(&format!("samples_counted_by_n{node}"), count);
        let possible = acknowledged as f64..=(acknowledged + unknown) as f64;
        run.must(
            format!("a query of n{node} counts every sample once"),
            possible.contains(&count),
        );
    }

    run.finish().await
}

async fn resident(client: &Client) -> anyhow::Result<f64> {
    client.metric("process_resident_memory_bytes").await
}
