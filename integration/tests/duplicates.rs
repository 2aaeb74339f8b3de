//! The same data sent twice is one copy, no error, and counted (I3).

use anyhow::{Context, ensure};
use trireme_integration::{Group, SampleSet, Series, first_differences, now_ms, until};

/// Requests of one series each hundred, all with the same samples whoever sends them.
fn requests(start: i64) -> Vec<Vec<Series>> {
    (0..20)
        .map(|n: i64| {
            (0..100)
                .map(|i: i64| {
                    let sample = (start + n, (n * 100 + i) as f64 / 8.0);
                    Series::new("twice_total", &[("i", &i.to_string())], &[sample])
                })
                .collect()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn same_requests_to_two_nodes_at_once_give_one_copy_and_a_count() -> anyhow::Result<()> {
    let mut group = Group::of(3).start().await?;

    let mut sent = SampleSet::default();
    for request in requests(now_ms() - 1_000) {
        let (a, b) = tokio::join!(
            group.client(0).write(&request),
            group.client(1).write(&request)
        );
        a?.success().context("first copy")?;
        b?.success().context("second copy")?;
        request.iter().for_each(|series| series.add_to(&mut sent));
    }

    first_differences(("sent", &sent), ("held", &group.converged().await?))?;
    for i in 0..3 {
        let series = group
            .client(i)
            .api("/api/v1/series", &[("match[]", "twice_total")])
            .await?;
        let found = series.as_array().map_or(0, Vec::len);
        ensure!(found == 100, "n{i} shows {found} series, not 100");
    }

    let clients = group.clients();
    until("the second copies are counted on every node", async || {
        for client in &clients {
            let counted = client
                .metric("trireme_head_duplicate_samples_total")
                .await?;
            ensure!(
                counted >= sent.sample_count() as f64,
                "{counted} of {}",
                sent.sample_count()
            );
        }
        Ok(())
    })
    .await?;

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_value_at_the_same_time_has_one_winner_everywhere() -> anyhow::Result<()> {
    let mut group = Group::of(3).start().await?;
    let at = now_ms() - 1_000;
    let value = |v: f64| [Series::new("contested", &[], &[(at, v)])];
    let low = value(1.0);
    let high = value(2.0);
    let nan = value(f64::NAN);
    let writes = tokio::join!(
        group.client(0).write(&low),
        group.client(1).write(&high),
        group.client(2).write(&nan)
    );

    for answer in [writes.0, writes.1, writes.2] {
        answer?.success()?;
    }

    let mut winner = SampleSet::default();
    high[0].add_to(&mut winner);
    first_differences(
        ("the greater number", &winner),
        ("held", &group.converged().await?),
    )?;

    group.stop().await
}
