//! A bucket with raw, 5 minute and 1 hour blocks of one tenant answers at the resolution that is allowed: every sample
//! counts once, and what is left out is said. Nodes make such blocks of raw ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value as Json;
use trireme_block::{IterSource, SeriesInput, WriteOptions, write_block};
use trireme_integration::{Client, Group, blocks_in, read_block, trireme, until};
use trireme_model::Labels;

const TENANT: &str = "a";
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// On the grid of two weeks.
const START: i64 = 1_405 * 14 * 24 * HOUR;
/// Hours of a block.
const BLOCK: i64 = 48;
/// Blocks: one hour windows alone; five minute windows alone; all three; raw alone.
const BLOCKS: i64 = 4;

/// Samples of the gauge and of the counter, which is reset now and then, in hours `from..to`.
fn samples(from: i64, to: i64) -> Vec<(i64, f64, f64)> {
    let mut counter = 0.0;
    let mut all: Vec<_> = (0..to * 60)
        .map(|minute: i64| {
            counter = if minute % 1_999 == 1_998 {
                1.0
            } else {
                counter + (minute % 7) as f64
            };
            (
                START + minute * MINUTE + 30_000,
                ((minute * 37) % 101) as f64 - 20.0,
                counter,
            )
        })
        .collect();

    all.split_off((from * 60) as usize)
}

fn raw_block(dir: &Path, number: i64) -> anyhow::Result<PathBuf> {
    let external_labels = BTreeMap::from([("tenant_id".to_owned(), TENANT.to_owned())]);
    let options = WriteOptions {
        external_labels,
        level: 3,
        ..WriteOptions::default()
    };

    let samples = samples(number * BLOCK, (number + 1) * BLOCK);
    let series = |name: &str, value: fn(&(i64, f64, f64)) -> f64| SeriesInput {
        labels: Labels::from_pairs([("__name__", name)]),
        times: samples.iter().map(|s| s.0).collect(),
        values: samples.iter().map(value).collect(),
        ..SeriesInput::default()
    };

    let series = [series("counter_total", |s| s.2), series("gauge", |s| s.1)];
    let window = START + number * BLOCK * HOUR..START + (number + 1) * BLOCK * HOUR;
    let meta = write_block(dir, window, &options, &mut IterSource(series.into_iter()))?;

    Ok(dir.join(meta.context("no block")?.ulid.to_string()))
}

/// Makes a block of a block with the tool, and gives its path.
fn downsampled(block: &Path, resolution: &str, out: &Path) -> anyhow::Result<PathBuf> {
    let mut command = Command::new(trireme()?);
    command.args([
        "block",
        "downsample",
        "--output",
        "json",
        "--resolution",
        resolution,
        "--out",
    ]);

    let output = command.arg(out).arg(block).output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let said: Json = serde_json::from_slice(&output.stdout)?;
    let ulid = said[0]["meta"]["ulid"].as_str().context("no name")?;
    let verified = Command::new(trireme()?)
        .args(["block", "verify"])
        .arg(out.join(ulid))
        .output()?;
    ensure!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );

    Ok(out.join(ulid))
}

fn fill(scratch: &Path, bucket: &Path) -> anyhow::Result<()> {
    let mut wanted = Vec::new();
    for number in 0..BLOCKS {
        let raw = raw_block(&scratch.join("raw"), number)?;
        let fine = downsampled(&raw, "5m", &scratch.join("5m"))?;
        let coarse = downsampled(&fine, "1h", &scratch.join("1h"))?;
        wanted.extend(match number {
            0 => vec![coarse],
            1 => vec![fine],
            2 => vec![raw, fine, coarse],
            _ => vec![raw],
        });
    }

    std::fs::create_dir_all(bucket)?;
    for path in wanted {
        std::fs::rename(&path, bucket.join(path.file_name().context("a name")?))?;
    }

    Ok(())
}

/// An answer: the values by time, and the warnings.
struct Answered {
    values: Vec<(i64, f64)>,
    warnings: String,
}

impl Answered {
    fn of(json: &Json) -> anyhow::Result<Self> {
        let found = &json["data"]["result"][0];
        let single = found["value"]
            .is_array()
            .then(|| vec![found["value"].clone()]);
        let pairs =
            single.unwrap_or_else(|| found["values"].as_array().cloned().unwrap_or_default());
        let values = pairs
            .iter()
            .map(|pair: &Json| -> anyhow::Result<(i64, f64)> {
                let t = pair[0].as_f64().context("a time")?;
                Ok((
                    (t * 1_000.0).round() as i64,
                    pair[1].as_str().context("a value")?.parse()?,
                ))
            })
            .collect::<anyhow::Result<_>>()?;

        Ok(Self {
            values,
            warnings: json["warnings"].to_string(),
        })
    }
}

async fn ask(client: &Client, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Answered> {
    let request = client
        .get(path)
        .header("THANOS-TENANT", TENANT)
        .query(parameters);
    let answer = client.send(request).await?.success()?;
    Answered::of(&serde_json::from_str(&answer.body)?)
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

/// At the end of all blocks.
async fn at_end(client: &Client, query: &str, resolution: &str) -> anyhow::Result<Answered> {
    let time = seconds(START + BLOCKS * BLOCK * HOUR - 1);
    ask(
        client,
        "/api/v1/query",
        &[
            ("query", query),
            ("time", &time),
            ("max_source_resolution", resolution),
        ],
    )
    .await
}

/// At the end of each window of so many minutes.
async fn at_windows(
    client: &Client,
    query: &str,
    minutes: i64,
    resolution: &str,
) -> anyhow::Result<Answered> {
    at_windows_until(client, query, (minutes, BLOCKS * BLOCK), resolution).await
}

/// At the end of each window of so many minutes in the first `hours`.
async fn at_windows_until(
    client: &Client,
    query: &str,
    (minutes, hours): (i64, i64),
    resolution: &str,
) -> anyhow::Result<Answered> {
    let start = START + minutes * MINUTE - 1;
    let end = START + hours * HOUR - 1;
    let start = seconds(start);
    let end = seconds(end);
    let step = format!("{}", minutes * 60);
    let parameters = [
        ("query", query),
        ("start", &start),
        ("end", &end),
        ("step", &step),
        ("max_source_resolution", resolution),
    ];

    ask(client, "/api/v1/query_range", &parameters).await
}

/// What is allowed, the hours that are answered then, and what the warning names.
const ALLOWED: [(&str, (i64, i64), Option<&str>); 3] = [
    (
        "0s",
        (2 * BLOCK, 4 * BLOCK),
        Some("max_source_resolution=5m"),
    ),
    ("5m", (BLOCK, 4 * BLOCK), Some("max_source_resolution=1h")),
    ("1h", (0, 4 * BLOCK), None),
];

async fn functions_over_everything(client: &Client) -> anyhow::Result<()> {
    let length = format!("[{}h]", BLOCKS * BLOCK);
    for (resolution, (from, to), warning) in ALLOWED {
        let samples = samples(from, to);
        let gauges = || samples.iter().map(|s| s.1);
        let n = samples.len() as f64;
        let sum = gauges().sum::<f64>();
        let want = [
            ("count", n),
            ("sum", sum),
            ("avg", sum / n),
            ("min", gauges().fold(f64::INFINITY, f64::min)),
            ("max", gauges().fold(f64::NEG_INFINITY, f64::max)),
        ];

        for (function, want) in want {
            let query = format!("{function}_over_time(gauge{length})");
            let found = at_end(client, &query, resolution).await?;
            let value = found.values.first().context("no value")?.1;
            ensure!(
                (value - want).abs() < 1e-9 * want.abs(),
                "{query} at {resolution}: {value}, not {want}"
            );

            match warning {
                Some(named) => ensure!(
                    found.warnings.contains(named),
                    "{resolution}: {}",
                    found.warnings
                ),
                None => ensure!(found.warnings == "null", "{resolution}: {}", found.warnings),
            }
        }

        // Over times that are covered, so that nothing is extrapolated far.
        let query = format!("increase(counter_total[{}h])", to - from);
        let found = at_end(client, &query, resolution)
            .await?
            .values
            .first()
            .context("no value")?
            .1;

        let rise = rise(&samples);

        ensure!(
            (found / rise - 1.0).abs() < 1e-3,
            "{query} at {resolution}: {found}, not {rise}"
        );
    }

    Ok(())
}

/// No gap and nothing twice, in any window: at the seams of resolutions above all.
async fn every_window(client: &Client) -> anyhow::Result<()> {
    for (resolution, (from, to), _) in ALLOWED {
        let counts = at_windows(client, "count_over_time(gauge[1h])", 60, resolution).await?;
        let want: Vec<_> = (from..to)
            .map(|hour| (START + (hour + 1) * HOUR - 1, 60.0))
            .collect();
        ensure!(counts.values == want, "{resolution}: {:?}", counts.values);

        let rises = at_windows(client, "increase(counter_total[2h])", 60, resolution).await?;
        ensure!(
            rises
                .values
                .iter()
                .all(|(_, rise)| (0.0..500.0).contains(rise)),
            "{:?}",
            rises.values
        );
    }

    // Alone, a selector gives the mean of the window.
    let means = at_windows(client, "gauge", 60, "1h").await?.values;
    ensure!(
        means.len() as i64 == BLOCKS * BLOCK,
        "{} values",
        means.len()
    );

    for hour in 0..BLOCK {
        let hourly = samples(hour, hour + 1);
        let mean = hourly.iter().map(|s| s.1).sum::<f64>() / hourly.len() as f64;
        ensure!((means[hour as usize].1 - mean).abs() < 1e-9, "hour {hour}");
    }

    Ok(())
}

/// A fifth of the step.
async fn auto(client: &Client) -> anyhow::Result<()> {
    for (minutes, same_as) in [(300, "1h"), (25, "5m"), (20, "0s")] {
        let query = "sum_over_time(gauge[5h])";
        let auto = at_windows(client, query, minutes, "auto").await?;
        let want = at_windows(client, query, minutes, same_as).await?;
        ensure!(
            !auto.values.is_empty() && auto.values == want.values,
            "a step of {minutes} min"
        );

        ensure!(
            auto.warnings == want.warnings,
            "{} and {}",
            auto.warnings,
            want.warnings
        );
    }

    // Without the parameter as with 0s; and a range that is too short for windows says so.
    let time = seconds(START + BLOCK * HOUR - 1);
    let found = ask(
        client,
        "/api/v1/query",
        &[("query", "gauge"), ("time", &time)],
    )
    .await?;

    ensure!(
        found.values.is_empty() && found.warnings.contains("max_source_resolution=1h"),
        "{}",
        found.warnings
    );

    let short = [
        ("query", "rate(counter_total[1h])"),
        ("time", &time),
        ("max_source_resolution", "1h"),
    ];

    let found = ask(client, "/api/v1/query", &short).await?;
    ensure!(
        found.values.is_empty() && found.warnings.contains("ranges of twice that"),
        "{}",
        found.warnings
    );

    Ok(())
}

#[tokio::test]
async fn queries_read_the_coarsest_blocks_that_they_allow() -> anyhow::Result<()> {
    let mut group = Group::of(1).set("bucket.sync_interval=1s").prepare()?;
    let scratch = group.dir().join("scratch");
    fill(&scratch, &group.bucket_dir())?;
    group.node(0).start()?;
    group.node(0).ready().await?;

    let client = group.client(0).clone();
    until("the bucket was seen", async || {
        let found = at_end(&client, "count_over_time(gauge[1h])", "0s").await?;
        ensure!(found.values.len() == 1, "nothing yet");
        Ok(())
    })
    .await?;

    functions_over_everything(&client).await?;
    every_window(&client).await?;
    auto(&client).await?;

    group.stop().await
}

/// Blocks of two days that are two weeks together, and one behind them.
const WEEKS: i64 = 7;
/// Hours of all of them.
const WEEKS_HOURS: i64 = (WEEKS + 1) * BLOCK;

/// Resolutions, in minutes, and hours of the blocks in a bucket.
fn held(bucket: &Path) -> anyhow::Result<BTreeSet<(i64, i64, i64)>> {
    blocks_in(bucket)?
        .iter()
        .map(|path: &PathBuf| -> anyhow::Result<(i64, i64, i64)> {
            let block = read_block(path)?;
            let resolution = block.meta["thanos"]["downsample"]["resolution"]
                .as_i64()
                .unwrap_or(0);
            let (start, end) = block.range();
            Ok((
                resolution / MINUTE,
                (start - START) / HOUR,
                (end - START) / HOUR,
            ))
        })
        .collect()
}

/// What `trireme bucket compact` would do: resolutions and hours of the results.
fn planned(bucket: &Path) -> anyhow::Result<Vec<(String, i64, i64)>> {
    let path = format!("bucket.path={}", bucket.display());
    let mut command = Command::new(trireme()?);
    command.args([
        "bucket",
        "compact",
        "--dry-run",
        "--output",
        "json",
        "--set",
        &path,
    ]);

    let output = command.output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let said: Json = serde_json::from_slice(&output.stdout)?;
    let hour = |ms: &Json| ms.as_i64().map(|ms| (ms - START) / HOUR).context("a time");
    said["jobs"]
        .as_array()
        .context("jobs")?
        .iter()
        .map(|job: &Json| {
            let resolution = job["resolution"]
                .as_str()
                .context("a resolution")?
                .to_owned();
            Ok((resolution, hour(&job["from_ms"])?, hour(&job["to_ms"])?))
        })
        .collect()
}

/// How much the counter among the samples has risen, over its resets.
fn rise(samples: &[(i64, f64, f64)]) -> f64 {
    samples
        .windows(2)
        .map(|w| {
            if w[1].2 < w[0].2 {
                w[1].2
            } else {
                w[1].2 - w[0].2
            }
        })
        .sum()
}

/// Every window that is answered is what the samples in it say.
async fn windows_are_right(client: &Client, minutes: i64, resolution: &str) -> anyhow::Result<()> {
    let samples = samples(0, WEEKS_HOURS);
    let gauges: Vec<f64> = samples.iter().map(|s| s.1).collect();
    type Of = fn(&[f64]) -> f64;

    let functions: [(&str, Of); 5] = [
        ("count", |all| all.len() as f64),
        ("sum", |all| all.iter().sum()),
        ("avg", |all| all.iter().sum::<f64>() / all.len() as f64),
        ("min", |all| {
            all.iter().copied().fold(f64::INFINITY, f64::min)
        }),
        ("max", |all| {
            all.iter().copied().fold(f64::NEG_INFINITY, f64::max)
        }),
    ];

    for (function, of) in functions {
        let query = format!("{function}_over_time(gauge[{minutes}m])");
        let found = at_windows_until(client, &query, (minutes, WEEKS_HOURS), resolution).await?;
        ensure!(
            found.warnings == "null",
            "{query} at {resolution}: {}",
            found.warnings
        );

        let wanted: Vec<f64> = gauges.chunks_exact(minutes as usize).map(of).collect();
        ensure!(
            found.values.len() == wanted.len(),
            "{query} at {resolution}: {} values",
            found.values.len()
        );

        for ((t, value), want) in found.values.iter().zip(wanted) {
            ensure!(
                (value - want).abs() < 1e-9 * want.abs().max(1.0),
                "{query} at {t}: {value}, not {want}"
            );
        }
    }

    let query = format!("increase(counter_total[{WEEKS_HOURS}h])");
    let time = seconds(START + WEEKS_HOURS * HOUR - 1);
    let parameters = [
        ("query", &*query),
        ("time", &time),
        ("max_source_resolution", resolution),
    ];

    let found = ask(client, "/api/v1/query", &parameters)
        .await?
        .values
        .first()
        .context("no value")?
        .1;

    let rise = rise(&samples);

    ensure!(
        (found / rise - 1.0).abs() < 1e-3,
        "{query} at {resolution}: {found}, not {rise}"
    );

    Ok(())
}

#[tokio::test]
async fn nodes_downsample_what_they_have_merged_and_no_raw_answer_changes() -> anyhow::Result<()> {
    let mut group = Group::of(1)
        .set("bucket.sync_interval=500ms")
        .set("bucket.marks_interval=1s")
        .set("compaction.enabled=true")
        .set("compaction.interval=500ms")
        .set("compaction.delete_delay=1s")
        .prepare()?;

    let scratch = group.dir().join("scratch");
    let bucket = group.bucket_dir();
    std::fs::create_dir_all(&bucket)?;

    for number in 0..=WEEKS {
        let raw = raw_block(&scratch, number)?;
        // One was downsampled before it is merged.
        let fine = (number == 1)
            .then(|| downsampled(&raw, "5m", &scratch))
            .transpose()?;
        for path in [Some(raw), fine].into_iter().flatten() {
            std::fs::rename(&path, bucket.join(path.file_name().context("a name")?))?;
        }
    }

    let weeks = WEEKS * BLOCK;
    let all = WEEKS_HOURS;
    ensure!(planned(&bucket)? == [("raw".to_owned(), 0, weeks), ("5m".to_owned(), weeks, all)]);

    group.node(0).start()?;
    group.node(0).ready().await?;
    let wanted = BTreeSet::from([
        (0, 0, weeks),
        (5, 0, weeks),
        (60, 0, weeks),
        (0, weeks, all),
        (5, weeks, all),
    ]);

    until(
        "the bucket has the merged block, what was made of it, and no more",
        async || {
            let found = held(&bucket)?;
            ensure!(found == wanted, "{found:?}");
            Ok(())
        },
    )
    .await?;

    ensure!(planned(&bucket)?.is_empty(), "more is to be done");

    let client = group.client(0).clone();
    until("the node reads these blocks", async || {
        windows_are_right(&client, 60, "0s").await
    })
    .await?;

    // A fifth of the step: windows of an hour, of five minutes, and none.
    for (minutes, resolution) in [
        (300, "auto"),
        (60, "auto"),
        (20, "auto"),
        (60, "1h"),
        (60, "5m"),
    ] {
        windows_are_right(&client, minutes, resolution).await?;
    }

    let metrics = client.send(client.get("/metrics")).await?.success()?.body;
    for (resolution, count) in [("5m", " 2"), ("1h", " 1")] {
        let line = metrics
            .lines()
            .find(|line: &&str| {
                line.starts_with("trireme_compaction_downsampled_blocks_total")
                    && line.contains(&format!("resolution=\"{resolution}\""))
            })
            .context("no such metric")?;
        ensure!(line.ends_with(count), "{line}");
    }

    group.stop().await
}
