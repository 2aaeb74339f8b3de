//! Names of tenants, as many as somebody likes to make up.

use anyhow::ensure;
use trireme_integration::{Client, Series, now_ms};

use super::victim::{Victim, either};

/// Requests under way at once.
const AT_ONCE: usize = 8;

/// One series for each tenant of `from..to`; answers how many were refused.
async fn flood(client: Client, from: usize, to: usize) -> anyhow::Result<usize> {
    let mut refused = 0;
    for number in from..to {
        let series = [Series::new("up", &[("job", "flood")], &[(now_ms(), 1.0)])];
        let answer = client
            .write_as(&format!("tenant-{number}"), &series)
            .await?;
        ensure!(
            answer.is_success() || answer.status == 429,
            "answered {answer:?}"
        );

        if !answer.is_success() {
            ensure!(
                answer.retry_after.is_some(),
                "a sender is not told when to come again: {answer:?}"
            );
            ensure!(answer.body.contains("tenants.max"), "{answer:?}");
            refused += 1;
        }
    }

    Ok(refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_tenants_ends_at_their_bound() -> anyhow::Result<()> {
    let (most, tenants) = either((200, 400), (10_000, 12_000));
    let victim = Victim::start(|group| group.set(&format!("tenants.max={most}"))).await?;
    let share = tenants / AT_ONCE;
    let floods: Vec<_> = (0..AT_ONCE)
        .map(|k| tokio::spawn(flood(victim.client().clone(), k * share, (k + 1) * share)))
        .collect();

    let mut refused = 0;
    for flood in floods {
        refused += flood.await??;
    }

    println!("{tenants} tenants where {most} may be: {refused} were refused");
    // The innocent one and the node's default one may have a place, too.
    let over = tenants - most;
    ensure!(
        (over..=over + 2).contains(&refused),
        "{refused} were refused, {over} are too many"
    );

    victim.stays_below(1_000).await?;
    victim.finish().await
}
