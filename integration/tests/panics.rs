//! A panic in the middle of a change costs nothing that was acknowledged: the process ends, the next builds its shards from
//! disk, and all replicas are equal afterwards (I2, I6).

use anyhow::ensure;
use trireme_integration::{Group, SampleSet, Series, first_differences, now_ms, until};

/// See `src/node/src/panics.rs`.
const PANIC_FOR_TEST: &str = "TEST_PANIC_IN_TRIREME";

fn series(start: i64, n: i64) -> Vec<Series> {
    (0..50)
        .map(|i: i64| {
            Series::new(
                "kept",
                &[("i", &i.to_string())],
                &[(start + n, (n * 100 + i) as f64)],
            )
        })
        .collect()
}

/// Writes through the first node.
async fn write(
    group: &Group,
    range: std::ops::Range<i64>,
    start: i64,
    sent: &mut SampleSet,
) -> anyhow::Result<()> {
    for n in range {
        let series = series(start, n);
        group.client(0).write(&series).await?.success()?;
        series.iter().for_each(|series| series.add_to(sent));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_while_a_record_is_applied_leaves_replicas_equal() -> anyhow::Result<()> {
    let mut group = Group::of(3).start().await?;
    let mut sent = SampleSet::default();
    let start = now_ms() - 2_000;

    write(&group, 0..20, start, &mut sent).await?;
    group.node(2).stop().await?;
    group
        .node(2)
        .start_with(&[(PANIC_FOR_TEST, "apply:default-tenant")])?;
    group.node(2).ready().await?;
    write(&group, 20..40, start, &mut sent).await?;

    let status = group.node(2).ended().await?;
    ensure!(status.code() == Some(70), "ended with {status}");
    write(&group, 40..60, start, &mut sent).await?;
    group.node(2).start()?;
    group.node(2).ready().await?;
    first_differences(("sent", &sent), ("held", &group.converged().await?))?;

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_while_a_write_is_taken_leaves_replicas_equal() -> anyhow::Result<()> {
    let mut group = Group::of(3).start().await?;
    let mut sent = SampleSet::default();
    let start = now_ms() - 2_000;

    write(&group, 0..20, start, &mut sent).await?;
    group.node(1).stop().await?;
    group
        .node(1)
        .start_with(&[(PANIC_FOR_TEST, "ingest:victim")])?;
    group.node(1).ready().await?;

    let doomed = group.client(1).write_as("victim", &series(start, 0)).await;
    ensure!(
        !doomed.is_ok_and(|answer| answer.is_success()),
        "a write that was never logged was acknowledged"
    );

    let status = group.node(1).ended().await?;
    ensure!(status.code() == Some(70), "ended with {status}");
    write(&group, 20..40, start, &mut sent).await?;
    group.node(1).start()?;
    group.node(1).ready().await?;
    first_differences(("sent", &sent), ("held", &group.converged().await?))?;

    let answer = until("the victim writes again", async || {
        let answer = group
            .client(1)
            .write_as("victim", &series(start, 0))
            .await?;
        ensure!(answer.is_success(), "{answer:?}");
        Ok(answer)
    });

    answer.await?;
    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_panics_twice_is_refused_at_the_third_time() -> anyhow::Result<()> {
    let mut group = Group::of(1).start().await?;
    let mut sent = SampleSet::default();
    let start = now_ms() - 2_000;
    let doomed = || series(start, 0)[..1].to_vec();
    let fragile = [(PANIC_FOR_TEST, "ingest:victim")];

    group.node(0).stop().await?;
    for attempt in 0..2 {
        group.node(0).start_with(&fragile)?;
        group.node(0).ready().await?;
        let answer = group.client(0).write_as("victim", &doomed()).await;
        ensure!(
            !answer.is_ok_and(|answer| answer.is_success()),
            "attempt {attempt} was acknowledged"
        );
        let status = group.node(0).ended().await?;
        ensure!(
            status.code() == Some(70),
            "attempt {attempt} ended with {status}"
        );
    }

    group.node(0).start_with(&fragile)?;
    group.node(0).ready().await?;

    for _ in 0..2 {
        let answer = group.client(0).write_as("victim", &doomed()).await?;
        ensure!(
            answer.status == 400 && answer.body.contains("set_aside: 1 refused"),
            "{answer:?}"
        );
    }

    let refused = group
        .client(0)
        .metric("trireme_head_set_aside_items_total")
        .await?;
    ensure!(refused == 2.0, "{refused} items");

    write(&group, 0..20, start, &mut sent).await?;
    first_differences(("sent", &sent), ("held", &group.converged().await?))?;

    // A process that would store it, as one of a release without the fault: it is refused until the note is removed.
    group.node(0).stop().await?;
    group.node(0).start()?;
    group.node(0).ready().await?;

    let answer = group.client(0).write_as("victim", &doomed()).await?;
    ensure!(answer.status == 400, "{answer:?}");
    let other = group
        .client(0)
        .write_as("victim", &series(start, 1))
        .await?;
    ensure!(other.is_success(), "{other:?}");

    group.stop().await
}
