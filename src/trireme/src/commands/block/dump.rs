//! `trireme block dump`.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;
use trireme_base::{Clock, SystemClock};
use trireme_block::{Block, DumpValue, dump};
use trireme_model::{AnyHistogram, Labels};
use trireme_promql::{ParserOptions, parse_selector};

use super::block_dirs;
use crate::commands::when;

/// Prints the samples of blocks, series by series in order of time.
#[derive(clap::Args)]
pub struct Args {
    /// Block, or a directory of blocks.
    dir: PathBuf,
    /// Only series that match this selector.
    #[arg(long = "match", value_name = "SELECTOR")]
    selector: Option<String>,
    /// Only samples from this time on: RFC 3339, Unix seconds, or before now such as -1h.
    #[arg(long, allow_hyphen_values = true)]
    start: Option<String>,
    /// Only samples up to and including this time.
    #[arg(long, allow_hyphen_values = true)]
    end: Option<String>,
    /// `text`: labels, value and milliseconds on a line, as promtool's dump; `json`: an object a line.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let now_ms = SystemClock::new().now_ms();
    let start = time_ms(args.start.as_deref(), i64::MIN, now_ms).context("--start")?;
    let end = time_ms(args.end.as_deref(), i64::MAX, now_ms).context("--end")?;
    let matchers = match &args.selector {
        Some(selector) => parse_selector(selector, &ParserOptions::default()).context("--match")?,
        None => Vec::new(),
    };

    let mut out = BufWriter::new(std::io::stdout().lock());
    for dir in block_dirs(&args.dir)? {
        let block = Block::open(&dir)?;
        let mut written = Ok(());
        dump(&block, &matchers, start, end, &mut |labels, t, value| {
            if written.is_ok() {
                written = line(&mut out, args.output, labels, t, &value);
            }
        })?;

        // A reader that has seen enough closes the pipe.
        if written.is_err() {
            return Ok(());
        }
    }

    let _ = out.flush();
    Ok(())
}

fn time_ms(text: Option<&str>, default: i64, now_ms: i64) -> anyhow::Result<i64> {
    match text {
        Some(text) => when::parse_time_ms(text, now_ms),
        None => Ok(default),
    }
}

fn line(
    out: &mut impl Write,
    form: Output,
    labels: &Labels,
    t: i64,
    value: &DumpValue,
) -> std::io::Result<()> {
    match form {
        Output::Text => text_line(out, labels, t, value),
        Output::Json => json_line(out, labels, t, value),
    }
}

fn text_line(
    out: &mut impl Write,
    labels: &Labels,
    t: i64,
    value: &DumpValue,
) -> std::io::Result<()> {
    out.write_all(b"{")?;
    for (index, (name, value)) in labels.iter().enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        write!(out, "{comma}{name}={value:?}")?;
    }

    match value {
        DumpValue::Float(value) => writeln!(out, "}} {} {t}", short_float(*value)),
        DumpValue::Histogram(AnyHistogram::Int(histogram)) => {
            writeln!(out, "}} {} {t}", histogram.to_float())
        }
        DumpValue::Histogram(AnyHistogram::Float(histogram)) => writeln!(out, "}} {histogram} {t}"),
    }
}

fn json_line(
    out: &mut impl Write,
    labels: &Labels,
    t: i64,
    value: &DumpValue,
) -> std::io::Result<()> {
    let metric: serde_json::Map<_, _> = labels
        .iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    let value = match value {
        DumpValue::Float(value) => json!(short_float(*value)),
        DumpValue::Histogram(AnyHistogram::Int(histogram)) => {
            json!(histogram.to_float().to_string())
        }
        DumpValue::Histogram(AnyHistogram::Float(histogram)) => json!(histogram.to_string()),
    };

    writeln!(
        out,
        "{}",
        json!({"metric": metric, "timestamp": t, "value": value})
    )
}

/// The shortest text that reads back as the same number, with an exponent below 1e-4 and from 1e6 upwards: Go's `%g`,
/// so that dumps can be compared with promtool's line by line.
fn short_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_string();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_string();
    }

    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }

    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_promtool_does() {
        let numbers = [
            0.0,
            -0.0,
            1.5,
            100_000.0,
            1e6,
            123_456_789.0,
            1e21,
            1e-5,
            0.0001,
            1_700_000_000.25,
        ];

        let shown: Vec<_> = numbers.map(short_float).into();
        let promtool = [
            "0",
            "-0",
            "1.5",
            "100000",
            "1e+06",
            "1.23456789e+08",
            "1e+21",
            "1e-05",
            "0.0001",
            "1.70000000025e+09",
        ];

        assert_eq!(shown, promtool);
    }
}
