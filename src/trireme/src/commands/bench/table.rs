//! `trireme bench table`: reports side by side.

use std::path::PathBuf;

use anyhow::Context;

use super::write::{Phase, Report};
use crate::commands::print_line;

/// Prints the JSON reports of several runs as one table.
#[derive(clap::Args)]
pub struct Args {
    /// Reports written by `trireme bench write --json-file`.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Prints a Markdown table.
    #[arg(long)]
    markdown: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut reports = Vec::new();
    for file in &args.files {
        let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let report: Report =
            serde_json::from_slice(&text).with_context(|| format!("{} is no report", file.display()))?;
        reports.push(report);
    }
    let reports: Vec<&Report> = reports.iter().collect();
    print_line(&if args.markdown { markdown(&reports) } else { plain(&reports) });
    Ok(())
}

/// A table for a terminal.
pub fn plain(reports: &[&Report]) -> String {
    let rows = rows(reports);
    let widths: Vec<usize> = (0..=reports.len())
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = format!("{}\n\n", summary(reports));
    for row in &rows {
        text.push_str(&format!("{:<width$}", row[0], width = widths[0]));
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            text.push_str(&format!("  {cell:>width$}"));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

/// A Markdown table.
pub fn markdown(reports: &[&Report]) -> String {
    let mut text = format!("{}\n\n", summary(reports));
    for (index, row) in rows(reports).iter().enumerate() {
        text.push_str(&format!("| {} |\n", row.join(" | ")));
        if index == 0 {
            text.push_str(&format!("|---|{}\n", "---:|".repeat(reports.len())));
        }
    }
    text.truncate(text.trim_end().len());
    text
}

fn summary(reports: &[&Report]) -> String {
    let Some(load) = reports.first().map(|report| &report.load) else { return String::new() };
    let per_sample = |bytes: u64| bytes as f64 / load.samples.max(1) as f64;
    let mut text = format!(
        "{} series, {} scrapes every {} s, {} samples a request, {} connections, remote write {}; {:.1} labels a series, \
         {:.0} B a sample raw, {:.1} B sent",
        grouped(load.series as f64),
        load.scrapes,
        load.interval_s,
        grouped(load.samples_per_request as f64),
        load.connections,
        load.protocol,
        load.labels_per_series,
        per_sample(load.raw_bytes),
        per_sample(load.sent_bytes),
    );
    if let Some(every) = load.churn_every {
        text.push_str(&format!("; hosts replaced every {every} scrapes"));
    }
    if let Some(rate) = load.rate {
        text.push_str(&format!("; {} samples/s asked for", grouped(rate)));
    }
    text
}

fn rows(reports: &[&Report]) -> Vec<Vec<String>> {
    let mut rows = vec![row("", reports, |report| Some(report.name.clone()))];
    rows.push(row("new series/s", reports, |r| Some(grouped(r.new_series.samples_per_s))));
    rows.push(row("new series/s until at rest", reports, |r| {
        Some(grouped(r.new_series.samples_per_s_at_rest))
    }));
    rows.push(row("CPU µs / new series", reports, |r| {
        r.new_series.receiver?.cpu_us_per_new_series.map(short)
    }));
    let steady = |what: &str, figure: &dyn Fn(&Phase) -> Option<String>| {
        row(what, reports, |report| report.steady.as_ref().and_then(figure))
    };
    rows.push(steady("samples/s", &|p| Some(grouped(p.samples_per_s))));
    rows.push(steady("samples/s until at rest", &|p| Some(grouped(p.samples_per_s_at_rest))));
    rows.push(steady("CPU s / 1M samples", &|p| p.receiver.map(|r| short(r.cpu_s_per_million_samples))));
    rows.push(steady("request p50 ms", &|p| Some(short(p.latency_ms.p50))));
    rows.push(steady("request p90 ms", &|p| Some(short(p.latency_ms.p90))));
    rows.push(steady("request p99 ms", &|p| Some(short(p.latency_ms.p99))));
    rows.push(row("RSS B/series", reports, |r| last(r).receiver.map(|u| grouped(u.rss_bytes_per_series))));
    rows.push(row("peak RSS B/series", reports, |r| {
        last(r).receiver.map(|u| grouped(u.peak_rss_bytes_per_series))
    }));
    rows.push(steady("written B/sample", &|p| p.receiver.map(|r| short(r.written_bytes_per_sample))));
    rows.push(row("disk B/sample", reports, |r| {
        let bytes: i64 = r.disk.values().map(|part| part.grown_bytes).sum();
        (!r.disk.is_empty()).then(|| short(bytes as f64 / r.accepted().max(1) as f64))
    }));
    let mut parts: Vec<&String> = reports.iter().flat_map(|report| report.disk.keys()).collect();
    parts.sort_unstable();
    parts.dedup();
    for part in parts {
        let figure =
            |r: &Report| r.disk.get(part)?.steady_bytes_per_sample.filter(|b| b.abs() >= 0.01).map(short);
        rows.push(row(&format!("{part}, B/sample in steady state"), reports, figure));
    }
    rows.push(row("errors", reports, |r| {
        let phases = [Some(&r.new_series), r.steady.as_ref()];
        let errors: Vec<String> = phases
            .into_iter()
            .flatten()
            .flat_map(|phase| &phase.errors)
            .map(|(status, count)| format!("{count}x{status}"))
            .collect();
        (!errors.is_empty()).then(|| errors.join(" "))
    }));
    rows.push(row("samples failed", reports, |r| {
        let failed = r.new_series.samples_failed + r.steady.as_ref().map_or(0, |p| p.samples_failed);
        (failed > 0).then(|| grouped(failed as f64))
    }));
    rows.push(row("generator CPU s while sending", reports, |r| Some(short(r.generator.send_cpu_s))));
    rows.retain(|row| row[0].is_empty() || row[1..].iter().any(|cell| cell != "-"));
    rows
}

fn last(report: &Report) -> &Phase {
    report.steady.as_ref().unwrap_or(&report.new_series)
}

fn row(what: &str, reports: &[&Report], figure: impl Fn(&Report) -> Option<String>) -> Vec<String> {
    let cells = reports.iter().map(|report| figure(report).unwrap_or_else(|| "-".to_string()));
    std::iter::once(what.to_string()).chain(cells).collect()
}

/// A whole number in groups of three digits.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value <= -0.5 { format!("-{text}") } else { text }
}

/// Three significant digits.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1_000.0 => grouped(value),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        assert_eq!(grouped(1_234_567.4), "1,234,567");
        assert_eq!(grouped(999.0), "999");
        assert_eq!(grouped(-1_000.0), "-1,000");
        let shown: Vec<_> = [0.2134, 2.345, 23.45, 234.5, 2_345.6].map(short).into();
        assert_eq!(shown, ["0.213", "2.35", "23.4", "234", "2,346"]);
    }
}
