//! Queries that cost much, and clients that do not wait for what they asked.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::Instant;
use trireme_integration::{Asker, Client, HEAVY_QUERY, Series, costly_selector, now_ms, until};

use super::victim::{Victim, either};

/// Tenant of those who attack.
const TENANT: &str = "asker";
/// Where a selector is taken, and under which name.
const SELECTORS: [(&str, &str); 9] = [
    ("/api/v1/query", "query"),
    ("/api/v1/query_range", "query"),
    ("/api/v1/query_exemplars", "query"),
    ("/api/v1/format_query", "query"),
    ("/api/v1/parse_query", "query"),
    ("/api/v1/series", "match[]"),
    ("/api/v1/labels", "match[]"),
    ("/api/v1/label/job/values", "match[]"),
    ("/api/v1/export", "match[]"),
];

/// What one more innocent query took, in milliseconds; an error if it was refused.
async fn ask_up(client: Client) -> anyhow::Result<u128> {
    let begun = Instant::now();
    let request = client
        .get("/api/v1/query?query=up")
        .header("THANOS-TENANT", "innocent");
    client.send(request).await?.success()?;
    Ok(begun.elapsed().as_millis())
}

/// Sixty innocent queries at once; prints the slowest one.
async fn sixty_go_on(victim: &Victim) -> anyhow::Result<()> {
    let asked = (0..60).map(|_| ask_up(victim.client().clone()));
    let took = futures::future::try_join_all(asked).await?;
    println!(
        "sixty innocent queries at once: the slowest took {:?} ms",
        took.iter().max()
    );
    Ok(())
}

/// Waits until nothing of the attackers is under way any more.
async fn all_ended(victim: &Victim) -> anyhow::Result<()> {
    let begun = Instant::now();
    until("the queries end with their clients", async || {
        let left = victim.client().running(TENANT).await?;
        ensure!(left == 0, "{left} are still under way");
        Ok(())
    })
    .await?;

    println!(
        "the queries ended {:?} after their clients",
        begun.elapsed()
    );

    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_queries_of_one_tenant_cost_that_tenant() -> anyhow::Result<()> {
    let victim = Victim::start(|group| group.set("query.timeout=1m")).await?;

    let mut askers = Vec::new();
    for _ in 0..either(10, 20) {
        askers.push(
            Asker::post(
                victim.client(),
                TENANT,
                "/api/v1/query",
                &[("query", HEAVY_QUERY)],
            )
            .await?,
        );
    }

    for number in 0..either(5, 20) {
        let selector = costly_selector(number);
        for (path, name) in SELECTORS {
            let asked = [
                (name, selector.as_str()),
                ("start", "0"),
                ("end", "1"),
                ("step", "1"),
            ];
            askers.push(Asker::post(victim.client(), TENANT, path, &asked).await?);
        }
    }

    for _ in 0..either(2, 20) {
        sixty_go_on(&victim).await?;
        victim.innocent_goes_on().await?;
    }

    victim.stays_below(900).await?;

    // Half of the clients are killed, of the others the connection breaks.
    let broken = askers.split_off(askers.len() / 2);

    for asker in &mut askers {
        asker.hang_up().await?;
    }

    drop(broken);
    all_ended(&victim).await?;
    victim.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_do_not_fill_the_memory() -> anyhow::Result<()> {
    let victim = Victim::start(|group| group.set("http.write_idle_timeout=5s")).await?;

    let now = now_ms();
    for part in 0..either(5, 50) {
        let series: Vec<Series> = (0..2_000)
            .map(|i: usize| {
                let name = format!("{part}-{i}");
                let samples: Vec<(i64, f64)> = (0..30)
                    .map(|n| (now - n * 1_000, (n * i as i64) as f64 / 3.0))
                    .collect();
                Series::new(
                    "unread",
                    &[("i", &name), ("filler", &"x".repeat(200))],
                    &samples,
                )
            })
            .collect();
        victim.client().write_as(TENANT, &series).await?.success()?;
    }

    let start = (now / 1_000 - 30).to_string();
    let end = (now / 1_000).to_string();

    let mut askers = Vec::new();
    for _ in 0..either(10, 100) {
        let range = [
            ("query", "unread"),
            ("start", start.as_str()),
            ("end", end.as_str()),
            ("step", "1"),
        ];

        askers.push(Asker::post(victim.client(), TENANT, "/api/v1/query_range", &range).await?);
        askers.push(
            Asker::post(
                victim.client(),
                TENANT,
                "/api/v1/query",
                &[("query", "unread")],
            )
            .await?,
        );

        askers.push(
            Asker::post(
                victim.client(),
                TENANT,
                "/api/v1/export",
                &[("match[]", "unread")],
            )
            .await?,
        );
    }

    let mut statuses = std::collections::BTreeMap::new();
    for asker in &mut askers {
        // One that waited for its turn too long is told so, or its connection is closed.
        let status = asker.status(Duration::from_secs(150)).await.ok();
        *statuses.entry(status).or_insert(0) += 1;
    }

    println!("{} clients that do not read: {statuses:?}", askers.len());
    sixty_go_on(&victim).await?;
    victim.stays_below(2_000).await?;
    all_ended(&victim).await?;
    drop(askers);

    victim.finish().await
}
