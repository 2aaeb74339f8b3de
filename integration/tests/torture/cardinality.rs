//! A tenant that sends nothing but new series.

use anyhow::{Context, ensure};
use trireme_integration::{Client, Series, now_ms};

use super::victim::{Victim, either};

/// Series of a request.
const REQUEST_SERIES: usize = 2_000;
/// Requests under way at once.
const AT_ONCE: usize = 4;

fn request(from: usize) -> Vec<Series> {
    let now = now_ms();
    (from..from + REQUEST_SERIES)
        .map(|i: usize| {
            let user = format!("user-{i:09}");
            let path = format!("/api/v1/things/{i}");
            let labels = [
                ("user", user.as_str()),
                ("path", path.as_str()),
                ("job", "bomb"),
            ];
            Series::new("requests_with_everything_total", &labels, &[(now, 1.0)])
        })
        .collect()
}

/// Sends every series of `from..to` once; answers the last refusal.
async fn bomb(client: Client, from: usize, to: usize) -> anyhow::Result<Option<String>> {
    let mut last = None;
    for begin in (from..to).step_by(REQUEST_SERIES) {
        let answer = client.write_as("bomber", &request(begin)).await?;
        ensure!(
            answer.status < 500,
            "new series over the limit are refused for good, got {answer:?}"
        );
        if answer.status >= 400 {
            last = Some(answer.body);
        }
    }

    Ok(last)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cardinality_bomb_is_limited_and_the_answer_names_the_worst() -> anyhow::Result<()> {
    let (limit, series, megabytes) = either((10_000, 60_000, 600), (400_000, 5_000_000, 1_500));
    let victim =
        Victim::start(|group| group.set(&format!("tenants.limits.series_max={limit}"))).await?;
    let share = series / AT_ONCE;
    let bombs: Vec<_> = (0..AT_ONCE)
        .map(|k| tokio::spawn(bomb(victim.client().clone(), k * share, (k + 1) * share)))
        .collect();

    let mut refusals = Vec::new();
    for bomb in bombs {
        refusals.extend(bomb.await??);
    }

    let refusal = refusals.pop().context("nothing was refused")?;
    println!("{}", refusal.trim_end());

    for part in [
        "series_limit",
        "requests_with_everything_total",
        "most values",
        "user",
    ] {
        ensure!(
            refusal.contains(part),
            "the refusal does not name {part:?}: {refusal}"
        );
    }

    let held = victim.client().metric("trireme_head_series").await?;
    ensure!(
        held < limit as f64 * 1.2 + 1_000.0,
        "{held} series are held, {limit} were allowed"
    );

    // The first ones of each are known since before the limit was reached.
    for k in 0..AT_ONCE {
        let answer = victim
            .client()
            .write_as("bomber", &request(k * share))
            .await?;
        ensure!(answer.is_success(), "known series do not go on: {answer:?}");
    }

    victim.stays_below(megabytes).await?;
    victim.finish().await
}
