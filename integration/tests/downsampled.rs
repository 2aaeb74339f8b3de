//! A bucket with raw, 5 minute and 1 hour blocks of one tenant answers at the resolution that is allowed: every sample
//! counts once, and what is left out is said.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value as Json;
use trireme_block::{IterSource, SeriesInput, WriteOptions, write_block};
use trireme_integration::{Client, Group, trireme, until};
use trireme_model::Labels;

const TENANT: &str = "a";
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// On the grid of hours.
const START: i64 = 1_700_006_400_000;
/// Hours of a block.
const BLOCK: i64 = 48;
/// Blocks: one hour windows alone; five minute windows alone; all three; raw alone.
const BLOCKS: i64 = 4;

/// Samples of the gauge and of the counter, which is reset now and then, in hours `from..to`.
fn samples(from: i64, to: i64) -> Vec<(i64, f64, f64)> {
    let mut counter = 0.0;
    let one = |minute: i64| {
        counter = if minute % 1_999 == 1_998 { 1.0 } else { counter + (minute % 7) as f64 };
        (START + minute * MINUTE + 30_000, ((minute * 37) % 101) as f64 - 20.0, counter)
    };
    let all: Vec<_> = (0..BLOCKS * BLOCK * 60).map(one).collect();
    all[(from * 60) as usize..(to * 60) as usize].to_vec()
}

fn raw_block(dir: &Path, number: i64) -> anyhow::Result<PathBuf> {
    let external_labels = BTreeMap::from([("tenant_id".to_owned(), TENANT.to_owned())]);
    let options = WriteOptions { external_labels, level: 3, ..WriteOptions::default() };
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
    command.args(["block", "downsample", "--output", "json", "--resolution", resolution, "--out"]);
    let output = command.arg(out).arg(block).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Json = serde_json::from_slice(&output.stdout)?;
    let ulid = said[0]["meta"]["ulid"].as_str().context("no name")?;
    let verified = Command::new(trireme()?).args(["block", "verify"]).arg(out.join(ulid)).output()?;
    ensure!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
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
        let point = |pair: &Json| -> anyhow::Result<(i64, f64)> {
            let t = pair[0].as_f64().context("a time")?;
            Ok(((t * 1_000.0).round() as i64, pair[1].as_str().context("a value")?.parse()?))
        };
        let single = found["value"].is_array().then(|| vec![found["value"].clone()]);
        let pairs = single.unwrap_or_else(|| found["values"].as_array().cloned().unwrap_or_default());
        let values = pairs.iter().map(point).collect::<anyhow::Result<_>>()?;
        Ok(Self { values, warnings: json["warnings"].to_string() })
    }
}

async fn ask(client: &Client, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Answered> {
    let request = client.get(path).header("THANOS-TENANT", TENANT).query(parameters);
    let answer = client.send(request).await?.success()?;
    Answered::of(&serde_json::from_str(&answer.body)?)
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

/// At the end of all blocks.
async fn at_end(client: &Client, query: &str, resolution: &str) -> anyhow::Result<Answered> {
    let time = seconds(START + BLOCKS * BLOCK * HOUR - 1);
    ask(client, "/api/v1/query", &[("query", query), ("time", &time), ("max_source_resolution", resolution)])
        .await
}

/// At the end of each window of so many minutes.
async fn at_windows(
    client: &Client,
    query: &str,
    minutes: i64,
    resolution: &str,
) -> anyhow::Result<Answered> {
    let (start, end) = (START + minutes * MINUTE - 1, START + BLOCKS * BLOCK * HOUR - 1);
    let (start, end, step) = (seconds(start), seconds(end), format!("{}", minutes * 60));
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
    ("0s", (2 * BLOCK, 4 * BLOCK), Some("max_source_resolution=5m")),
    ("5m", (BLOCK, 4 * BLOCK), Some("max_source_resolution=1h")),
    ("1h", (0, 4 * BLOCK), None),
];

async fn functions_over_everything(client: &Client) -> anyhow::Result<()> {
    let length = format!("[{}h]", BLOCKS * BLOCK);
    for (resolution, (from, to), warning) in ALLOWED {
        let samples = samples(from, to);
        let gauges = || samples.iter().map(|s| s.1);
        let (n, sum) = (samples.len() as f64, gauges().sum::<f64>());
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
            ensure!((value - want).abs() < 1e-9 * want.abs(), "{query} at {resolution}: {value}, not {want}");
            match warning {
                Some(named) => ensure!(found.warnings.contains(named), "{resolution}: {}", found.warnings),
                None => ensure!(found.warnings == "null", "{resolution}: {}", found.warnings),
            }
        }

        // Over times that are covered, so that nothing is extrapolated far.
        let query = format!("increase(counter_total[{}h])", to - from);
        let found = at_end(client, &query, resolution).await?.values.first().context("no value")?.1;
        let rise: f64 =
            samples.windows(2).map(|w| if w[1].2 < w[0].2 { w[1].2 } else { w[1].2 - w[0].2 }).sum();
        ensure!((found / rise - 1.0).abs() < 1e-3, "{query} at {resolution}: {found}, not {rise}");
    }
    Ok(())
}

/// No gap and nothing twice, in any window: at the seams of resolutions above all.
async fn every_window(client: &Client) -> anyhow::Result<()> {
    for (resolution, (from, to), _) in ALLOWED {
        let counts = at_windows(client, "count_over_time(gauge[1h])", 60, resolution).await?;
        let want: Vec<_> = (from..to).map(|hour| (START + (hour + 1) * HOUR - 1, 60.0)).collect();
        ensure!(counts.values == want, "{resolution}: {:?}", counts.values);

        let rises = at_windows(client, "increase(counter_total[2h])", 60, resolution).await?;
        ensure!(rises.values.iter().all(|(_, rise)| (0.0..500.0).contains(rise)), "{:?}", rises.values);
    }

    // Alone, a selector gives the mean of the window.
    let means = at_windows(client, "gauge", 60, "1h").await?.values;
    ensure!(means.len() as i64 == BLOCKS * BLOCK, "{} values", means.len());
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
        ensure!(!auto.values.is_empty() && auto.values == want.values, "a step of {minutes} min");
        ensure!(auto.warnings == want.warnings, "{} and {}", auto.warnings, want.warnings);
    }

    // Without the parameter as with 0s; and a range that is too short for windows says so.
    let time = seconds(START + BLOCK * HOUR - 1);
    let found = ask(client, "/api/v1/query", &[("query", "gauge"), ("time", &time)]).await?;
    ensure!(
        found.values.is_empty() && found.warnings.contains("max_source_resolution=1h"),
        "{}",
        found.warnings
    );
    let short = [("query", "rate(counter_total[1h])"), ("time", &time), ("max_source_resolution", "1h")];
    let found = ask(client, "/api/v1/query", &short).await?;
    ensure!(found.values.is_empty() && found.warnings.contains("ranges of twice that"), "{}", found.warnings);
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
