//! `trireme query`: asks a node, or any server with Prometheus's HTTP API.

pub mod answer;
pub mod client;
mod complete;
mod csv;
mod plot;
mod table;

use anyhow::Context;
use clap_complete::ArgValueCompleter;
use serde_json::Value;
use trireme_base::{Clock, SystemClock};

use crate::commands::{note, print_line, when};
use answer::Answer;
use client::{Client, ClientArgs};

/// Asks a node for samples, series or labels.
#[derive(clap::Subcommand)]
pub enum Command {
    Instant(Instant),
    Range(Range),
    Series(Series),
    Labels(Labels),
}

/// Evaluates a PromQL expression at one point in time.
#[derive(clap::Args)]
pub struct Instant {
    /// PromQL expression.
    #[arg(add = ArgValueCompleter::new(complete::expression))]
    expr: String,
    /// Point in time: RFC 3339, Unix seconds, or before now such as -1h.
    #[arg(long, default_value = "now", allow_hyphen_values = true)]
    time: String,
    #[command(flatten)]
    common: Common,
}

/// Evaluates a PromQL expression at every step of a range; the table shows the course of each series.
#[derive(clap::Args)]
pub struct Range {
    /// PromQL expression.
    #[arg(add = ArgValueCompleter::new(complete::expression))]
    expr: String,
    #[command(flatten)]
    span: Span,
    /// Time between two points [default: 60 points over the range].
    #[arg(long, value_parser = humantime::parse_duration)]
    step: Option<std::time::Duration>,
    #[command(flatten)]
    common: Common,
}

/// Lists the series that match a selector.
#[derive(clap::Args)]
pub struct Series {
    /// Series selector, such as 'up{job="node"}'; several are united.
    #[arg(required = true, add = ArgValueCompleter::new(complete::expression))]
    selectors: Vec<String>,
    #[command(flatten)]
    span: Span,
    #[command(flatten)]
    common: Common,
}

/// Lists label names, or with --name the values of one label.
#[derive(clap::Args)]
pub struct Labels {
    /// Only of series that match these selectors.
    #[arg(add = ArgValueCompleter::new(complete::expression))]
    selectors: Vec<String>,
    /// Lists the values of this label.
    #[arg(long, add = ArgValueCompleter::new(complete::label))]
    name: Option<String>,
    #[command(flatten)]
    span: Span,
    #[command(flatten)]
    common: Common,
}

/// Both ends belong to the range.
#[derive(clap::Args)]
struct Span {
    /// Begin: RFC 3339, Unix seconds, or before now such as -1h.
    #[arg(long, default_value = "-1h", allow_hyphen_values = true)]
    start: String,
    /// End, in the same forms.
    #[arg(long, default_value = "now", allow_hyphen_values = true)]
    end: String,
}

#[derive(clap::Args)]
struct Common {
    #[command(flatten)]
    client: ClientArgs,
    /// Form of the output; json is the server's "data" as it is.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Table,
    Json,
    Csv,
}

/// Runs the command.
pub fn run(command: &Command) -> anyhow::Result<()> {
    let now_ms = SystemClock::new().now_ms();
    match command {
        Command::Instant(args) => instant(args, now_ms),
        Command::Range(args) => range(args, now_ms),
        Command::Series(args) => series(args, now_ms),
        Command::Labels(args) => labels(args, now_ms),
    }
}

fn instant(args: &Instant, now_ms: i64) -> anyhow::Result<()> {
    let time = seconds(when::parse_time_ms(&args.time, now_ms).context("--time")?);
    let form = [("query", args.expr.as_str()), ("time", &time)];
    samples(&args.common, "/api/v1/query", &form)
}

fn range(args: &Range, now_ms: i64) -> anyhow::Result<()> {
    let (start_ms, end_ms) = args.span.parse(now_ms)?;
    let step_ms = match args.step {
        Some(step) => i64::try_from(step.as_millis()).context("--step is too long")?,
        None => ((end_ms - start_ms) / 60_000 * 1_000).max(1_000),
    };
    let start = seconds(start_ms);
    let end = seconds(end_ms);
    let step = seconds(step_ms);
    let form = [
        ("query", args.expr.as_str()),
        ("start", &start),
        ("end", &end),
        ("step", &step),
    ];

    samples(&args.common, "/api/v1/query_range", &form)
}

fn series(args: &Series, now_ms: i64) -> anyhow::Result<()> {
    let span = args.span.form(now_ms)?;
    let mut form = matches(&args.selectors);
    form.extend(span.iter().map(|(key, value)| (*key, value.as_str())));
    let data = args.common.ask(&Method::Post("/api/v1/series"), &form)?;
    print_line(&match args.common.output {
        Output::Json => serde_json::to_string_pretty(&data)?,
        Output::Csv => csv::series(&answer::label_sets(&data)?),
        Output::Table => table::series(&answer::label_sets(&data)?),
    });
    Ok(())
}

fn labels(args: &Labels, now_ms: i64) -> anyhow::Result<()> {
    let span = args.span.form(now_ms)?;
    let mut form = matches(&args.selectors);
    form.extend(span.iter().map(|(key, value)| (*key, value.as_str())));

    let method = match &args.name {
        // Only label names have a POST form in the API.
        Some(name) => Method::Get(format!(
            "/api/v1/label/{}/values",
            client::percent_encode(name)
        )),
        None => Method::Post("/api/v1/labels"),
    };

    let data = args.common.ask(&method, &form)?;
    print_line(&match args.common.output {
        Output::Json => serde_json::to_string_pretty(&data)?,
        Output::Csv | Output::Table => answer::strings(&data)?.join("\n"),
    });

    Ok(())
}

enum Method {
    Get(String),
    Post(&'static str),
}

impl Common {
    /// The server's data; its warnings go to the terminal.
    fn ask(&self, method: &Method, form: &[(&str, &str)]) -> anyhow::Result<Value> {
        let client = Client::new(&self.client)?;
        let reply = match method {
            Method::Get(path) => client.get(path, form)?,
            Method::Post(path) => client.post(path, form)?,
        };
        reply.notes.iter().for_each(|text| note(text));
        Ok(reply.data)
    }
}

impl Span {
    fn parse(&self, now_ms: i64) -> anyhow::Result<(i64, i64)> {
        let start_ms = when::parse_time_ms(&self.start, now_ms).context("--start")?;
        let end_ms = when::parse_time_ms(&self.end, now_ms).context("--end")?;
        anyhow::ensure!(start_ms <= end_ms, "--start lies after --end");
        Ok((start_ms, end_ms))
    }

    fn form(&self, now_ms: i64) -> anyhow::Result<[(&'static str, String); 2]> {
        let (start_ms, end_ms) = self.parse(now_ms)?;
        Ok([("start", seconds(start_ms)), ("end", seconds(end_ms))])
    }
}

fn matches(selectors: &[String]) -> Vec<(&'static str, &str)> {
    selectors
        .iter()
        .map(|selector| ("match[]", selector.as_str()))
        .collect()
}

fn samples(common: &Common, path: &'static str, form: &[(&str, &str)]) -> anyhow::Result<()> {
    let data = common.ask(&Method::Post(path), form)?;
    print_line(&match common.output {
        Output::Json => serde_json::to_string_pretty(&data)?,
        Output::Csv => csv::samples(&Answer::parse(&data)?),
        Output::Table => table::samples(&Answer::parse(&data)?),
    });
    Ok(())
}

/// Milliseconds as the API's seconds.
fn seconds(ms: i64) -> String {
    format!(
        "{}{}.{:03}",
        if ms < 0 { "-" } else { "" },
        (ms / 1_000).abs(),
        (ms % 1_000).abs()
    )
}
