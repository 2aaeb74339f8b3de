//! `trireme bench query`: dashboard-like questions about the generated fleet.
//!
//! The data comes from `trireme bench write` with the same `--start`; every question is asked once cold and then
//! `--passes` times, all questions in turn in every pass. Answers of the last pass can be saved and compared with
//! those of another server that holds the same data.

mod catalogue;
mod compare;
mod report;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use trireme_base::{Clock, SystemClock};

pub use report::{QueryReport, table};

use super::http::{Client, Target};
use super::output::ReportArgs;
use super::process::Processes;
use crate::commands::query::client::percent_encode;
use crate::commands::{note, when};
use catalogue::{Ask, Question, questions};
use report::{Agreement, QueryFigures};

/// Asks dashboard-like queries over a fleet that `bench write` wrote, and measures the server.
#[derive(clap::Args)]
pub struct Args {
    /// Server to ask, without the API's path.
    #[arg(long, default_value = "http://127.0.0.1:19291")]
    url: String,
    /// End of the range, and time of instant queries: RFC 3339, Unix seconds, or before now such as -1m.
    #[arg(long, default_value = "now", allow_hyphen_values = true)]
    end: String,
    /// Length of the range.
    #[arg(long, default_value = "6h", value_parser = humantime::parse_duration)]
    range: Duration,
    /// Time between two points of a range.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    step: Duration,
    /// Times every query is asked after the first time.
    #[arg(long, default_value_t = 5)]
    passes: usize,
    /// Header added to every request, as "Name: value"; may be repeated.
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// Only queries whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Process of the server; repeat it to measure the sum of several.
    #[arg(long = "pid", value_name = "PID")]
    pids: Vec<u32>,
    /// File with the id of a process of the server; may be repeated.
    #[arg(long = "pid-file", value_name = "FILE")]
    pid_files: Vec<PathBuf>,
    /// Longest wait for an answer.
    #[arg(long, default_value = "2m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Saves the answers to this file, as reference for others.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Compares the answers with a saved reference.
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// Name of what is measured, for the report.
    #[arg(long, default_value = "server")]
    name: String,
    #[command(flatten)]
    report: ReportArgs,
}

/// Asks everything and prints the report. Queries that fail are reported, and make the command fail at its end.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let report = measure(args)?;
    args.report.give(&report, || table(&[&report], false))?;

    for query in &report.queries {
        match (&query.error, &query.agreement) {
            (Some(error), _) => note(&format!("{}: failed: {error}", query.name)),
            (None, Some(Agreement::Differs(what))) => {
                note(&format!(
                    "{}: differs: {}",
                    query.name,
                    what.chars().take(400).collect::<String>()
                ));
            }
            _ => {}
        }
    }

    let failed = report
        .queries
        .iter()
        .filter(|query| query.error.is_some())
        .count();

    anyhow::ensure!(
        failed == 0,
        "{failed} of {} queries failed",
        report.queries.len()
    );

    Ok(())
}

fn measure(args: &Args) -> anyhow::Result<QueryReport> {
    let clock = SystemClock::new();
    let span = Span::of(args, &clock)?;

    let target = Target::parse(&args.url)?;
    let base = target.path.trim_end_matches('/').to_string();
    let headers = super::write::header_lines(&args.headers)?;
    let mut client = Client::new(target, args.timeout);
    let server = Processes::new(&args.pids, &args.pid_files)?;
    let asked = asked(args.only.as_deref());
    let paths: Vec<String> = asked
        .iter()
        .map(|question| format!("{base}{}", path(&question.ask, &span)))
        .collect();

    let before = server.usage()?;
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); asked.len()];
    let mut answers: Vec<Result<Value, String>> = vec![Err("not asked".to_string()); asked.len()];
    for _ in 0..=args.passes {
        for (index, path) in paths.iter().enumerate() {
            let begin = clock.monotonic();
            let response = client.send("GET", path, &headers, b"");
            times[index].push((clock.monotonic() - begin).as_secs_f64() * 1_000.0);
            answers[index] = match response {
                Ok(response) => data(response.status, &response.body),
                Err(error) => Err(error.to_string()),
            };
        }
    }

    let after = server.usage()?;
    if let Some(file) = &args.save {
        save(file, &asked, &answers)?;
    }

    let reference = args.reference.as_ref().map(load).transpose()?;
    let queries = asked.iter().zip(&times).zip(&answers);
    let queries = queries
        .map(|((question, times), answer)| figures(question, times, answer, reference.as_ref()));

    let is_measured = !server.is_empty();
    Ok(QueryReport {
        name: args.name.clone(),
        passes: args.passes,
        range_s: args.range.as_secs_f64(),
        step_s: args.step.as_secs_f64(),
        queries: queries.collect(),
        cpu_s: is_measured.then_some(after.cpu_s - before.cpu_s),
        rss_bytes: is_measured.then_some(after.rss_bytes),
        peak_rss_bytes: is_measured.then_some(after.peak_rss_bytes),
    })
}

/// The questions whose names hold that text, or all.
fn asked(only: Option<&str>) -> Vec<Question> {
    questions()
        .into_iter()
        .filter(|question| only.is_none_or(|only| question.name.contains(only)))
        .collect()
}

/// Whole seconds, so that every server sees the same steps.
struct Span {
    end_s: i64,
    range_s: u64,
    step_s: u64,
}

impl Span {
    fn of(args: &Args, clock: &dyn Clock) -> anyhow::Result<Self> {
        let end_ms = when::parse_time_ms(&args.end, clock.now_ms()).context("--end")?;
        Ok(Self {
            end_s: end_ms / 1_000,
            range_s: args.range.as_secs(),
            step_s: args.step.as_secs().max(1),
        })
    }
}

/// Path and parameters; `nocache` keeps VictoriaMetrics from answering out of its cache and means nothing to others.
fn path(ask: &Ask, span: &Span) -> String {
    let start_s = span.end_s - i64::try_from(span.range_s).unwrap_or(0);

    let over = format!("start={start_s}&end={}", span.end_s);
    match ask {
        Ask::Instant(text) => {
            format!(
                "/api/v1/query?query={}&time={}&nocache=1",
                percent_encode(text),
                span.end_s
            )
        }
        Ask::Range(text) => {
            format!(
                "/api/v1/query_range?query={}&{over}&step={}&nocache=1",
                percent_encode(text),
                span.step_s
            )
        }
        Ask::LabelValues(name, None) => format!("/api/v1/label/{name}/values?{over}"),
        Ask::LabelValues(name, Some(selector)) => {
            format!(
                "/api/v1/label/{name}/values?match[]={}&{over}",
                percent_encode(selector)
            )
        }
        Ask::LabelNames => format!("/api/v1/labels?{over}"),
        Ask::Series(selector) => {
            format!("/api/v1/series?match[]={}&{over}", percent_encode(selector))
        }
    }
}

fn data(status: u16, body: &[u8]) -> Result<Value, String> {
    if status / 100 != 2 {
        return Err(format!("HTTP {status}: {}", beginning(body).trim()));
    }

    let mut value: Value = serde_json::from_slice(body)
        .map_err(|error| format!("no JSON ({error}): {}", beginning(body)))?;
    match value.get_mut("data") {
        Some(data) => Ok(data.take()),
        None => Err(format!("no data: {}", beginning(body))),
    }
}

/// As much of an answer as a person wants to see.
fn beginning(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(300).collect()
}

fn figures(
    question: &Question,
    times: &[f64],
    answer: &Result<Value, String>,
    reference: Option<&BTreeMap<String, Value>>,
) -> QueryFigures {
    let mut later: Vec<f64> = times.get(1..).unwrap_or_default().to_vec();
    if later.is_empty() {
        later = times.to_vec();
    }

    later.sort_by(f64::total_cmp);
    let (rows, points) = answer.as_ref().map_or((0, 0), compare::size);
    let wanted = reference.and_then(|all| all.get(question.name));
    let agreement = answer.as_ref().ok().zip(wanted).map(|(answer, wanted)| {
        compare::difference(answer, wanted).map_or(Agreement::Equal, Agreement::Differs)
    });
    QueryFigures {
        name: question.name.to_string(),
        kind: kind_of(&question.ask).to_string(),
        rows,
        points,
        first_ms: times.first().copied().unwrap_or(0.0),
        p50_ms: quantile(&later, 0.5),
        p99_ms: quantile(&later, 0.99),
        error: answer.as_ref().err().cloned(),
        agreement,
    }
}

/// Of numbers in order; 0 of none.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (sorted.len() as f64 * q).ceil() as usize;
    sorted
        .get(rank.clamp(1, sorted.len().max(1)) - 1)
        .copied()
        .unwrap_or(0.0)
}

fn kind_of(ask: &Ask) -> &'static str {
    match ask {
        Ask::Instant(_) => "instant",
        Ask::Range(_) => "range",
        Ask::LabelValues(..) => "values",
        Ask::LabelNames => "labels",
        Ask::Series(_) => "series",
    }
}

fn save(
    file: &PathBuf,
    asked: &[Question],
    answers: &[Result<Value, String>],
) -> anyhow::Result<()> {
    let all: BTreeMap<&str, &Value> = asked
        .iter()
        .zip(answers)
        .filter_map(|(question, answer)| Some((question.name, answer.as_ref().ok()?)))
        .collect();
    std::fs::write(file, serde_json::to_vec(&all)?)
        .with_context(|| format!("cannot write {}", file.display()))
}

fn load(file: &PathBuf) -> anyhow::Result<BTreeMap<String, Value>> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} holds no answers", file.display()))
}
