//! `trireme bench table`: reports side by side.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context;

use super::query::QueryReport;
use super::write::{Phase, Report};
use crate::commands::print_line;

/// Prints the JSON reports of several runs as one table; `bench write` runs with the same name become a median with
/// its extremes.
#[derive(clap::Args)]
pub struct Args {
    /// Reports written with --json-file, all of `bench write` or all of `bench query`.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Prints a Markdown table.
    #[arg(long)]
    markdown: bool,
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum AnyReport {
    Write(Box<Report>),
    Query(QueryReport),
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut writes = Vec::new();

    let mut queries = Vec::new();
    for file in &args.files {
        let text =
            std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        match serde_json::from_slice(&text)
            .with_context(|| format!("{} is no report", file.display()))?
        {
            AnyReport::Write(report) => writes.push(*report),
            AnyReport::Query(report) => queries.push(report),
        }
    }

    anyhow::ensure!(
        writes.is_empty() || queries.is_empty(),
        "reports of writes and of queries do not fit in one table"
    );

    let writes: Vec<&Report> = writes.iter().collect();
    let queries: Vec<&QueryReport> = queries.iter().collect();
    print_line(&match (queries.is_empty(), args.markdown) {
        (false, markdown) => super::query::table(&queries, markdown),
        (true, true) => markdown(&writes),
        (true, false) => plain(&writes),
    });

    Ok(())
}

/// A table for a terminal.
pub fn plain(reports: &[&Report]) -> String {
    let rows = rows(&by_name(reports));
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns).map(|column| width(&rows, column)).collect();

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

/// The most characters in a cell of a column.
pub(super) fn width(rows: &[Vec<String>], column: usize) -> usize {
    let cells = rows.iter().map(|row| row[column].chars().count());
    cells.max().unwrap_or(0)
}

/// A Markdown table.
pub fn markdown(reports: &[&Report]) -> String {
    let mut text = format!("{}\n\n", summary(reports));
    for (index, row) in rows(&by_name(reports)).iter().enumerate() {
        text.push_str(&format!("| {} |\n", row.join(" | ")));
        if index == 0 {
            text.push_str(&format!("|---|{}\n", "---:|".repeat(row.len() - 1)));
        }
    }

    text.truncate(text.trim_end().len());
    text
}

/// Reports of the same receiver together, in order of its first one.
fn by_name<'a>(reports: &[&'a Report]) -> Vec<Vec<&'a Report>> {
    let mut groups: Vec<Vec<&Report>> = Vec::new();
    for report in reports {
        match groups.iter_mut().find(|group| group[0].name == report.name) {
            Some(group) => group.push(report),
            None => groups.push(vec![report]),
        }
    }

    groups
}

fn summary(reports: &[&Report]) -> String {
    let Some(load) = reports.first().map(|report| &report.load) else {
        return String::new();
    };

    let samples = load.samples.max(1) as f64;
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
        load.raw_bytes as f64 / samples,
        load.sent_bytes as f64 / samples,
    );

    if let Some(every) = load.churn_every {
        text.push_str(&format!("; hosts replaced every {every} scrapes"));
    }

    if let Some(rate) = load.rate {
        text.push_str(&format!("; {} samples/s asked for", grouped(rate)));
    }

    text
}

fn rows(groups: &[Vec<&Report>]) -> Vec<Vec<String>> {
    let names = groups.iter().map(|group| match group.len() {
        1 => group[0].name.clone(),
        runs => format!("{} ({runs} runs)", group[0].name),
    });
    let mut rows = Rows {
        groups,
        rows: vec![std::iter::once(String::new()).chain(names).collect()],
    };

    rows.add_speeds();
    rows.add_latencies();
    rows.add_sizes();
    rows.add_disk_parts();
    rows.add_counters();
    rows.add_failures();
    rows.add("generator CPU s while sending", short, |r| {
        Some(r.generator.send_cpu_s)
    });

    rows.rows
}

/// The table under construction.
struct Rows<'a> {
    groups: &'a [Vec<&'a Report>],
    rows: Vec<Vec<String>>,
}

impl<'a> Rows<'a> {
    /// Adds the figures of all groups, unless no report has it.
    fn add(
        &mut self,
        what: &str,
        show: fn(f64) -> String,
        figure: impl Fn(&Report) -> Option<f64>,
    ) {
        let cells: Vec<String> = self
            .groups
            .iter()
            .map(|group| cell(group, show, &figure))
            .collect();
        if cells.iter().any(|cell| cell != "-") {
            let row = std::iter::once(what.to_string()).chain(cells);
            self.rows.push(row.collect());
        }
    }

    fn add_speeds(&mut self) {
        self.add("new series/s", grouped, |r| {
            Some(r.new_series.samples_per_s)
        });
        self.add("new series/s until at rest", grouped, |r| {
            Some(r.new_series.samples_per_s_at_rest)
        });
        self.add("CPU µs / new series", short, |r| {
            r.new_series.receiver?.cpu_us_per_new_series
        });
        self.add("samples/s", grouped, |r| {
            Some(r.steady.as_ref()?.samples_per_s)
        });
        self.add("samples/s until at rest", grouped, |r| {
            Some(r.steady.as_ref()?.samples_per_s_at_rest)
        });
        self.add("CPU s / 1M samples", short, |r| {
            Some(r.steady.as_ref()?.receiver?.cpu_s_per_million_samples)
        });
    }

    fn add_latencies(&mut self) {
        self.add("request p50 ms", short, |r| {
            Some(r.steady.as_ref()?.latency_ms.p50)
        });
        self.add("request p90 ms", short, |r| {
            Some(r.steady.as_ref()?.latency_ms.p90)
        });
        self.add("request p99 ms", short, |r| {
            Some(r.steady.as_ref()?.latency_ms.p99)
        });
    }

    /// Memory and disk.
    fn add_sizes(&mut self) {
        self.add("RSS B/series", grouped, |r| {
            Some(last(r).receiver?.rss_bytes_per_series)
        });
        self.add("peak RSS B/series", grouped, |r| {
            Some(last(r).receiver?.peak_rss_bytes_per_series)
        });
        self.add("written B/sample", short, |r| {
            Some(r.steady.as_ref()?.receiver?.written_bytes_per_sample)
        });
        self.add("disk B/sample, new series included", short, |r| {
            let bytes: i64 = r.disk.values().map(|part| part.grown_bytes).sum();
            (!r.disk.is_empty()).then(|| bytes as f64 / r.accepted().max(1) as f64)
        });
    }

    fn add_disk_parts(&mut self) {
        let reports = self.groups.iter().flatten();
        let parts: BTreeSet<&'a String> = reports.flat_map(|r| r.disk.keys()).collect();
        for part in parts {
            let what = format!("{part}, B/sample in the steady state");
            self.add(&what, short, |r| {
                let bytes = r.disk.get(part)?.steady_bytes_per_sample?;
                (bytes.abs() >= 0.01).then_some(bytes)
            });
        }
    }

    fn add_counters(&mut self) {
        let reports = self.groups.iter().flatten();
        let counters: BTreeSet<&'a String> = reports
            .flat_map(|r| phases(r).flat_map(|p| p.counters.keys()))
            .collect();
        for name in counters {
            let what = format!("{name} / sample in the steady state");
            self.add(&what, short, |r| {
                let steady = r.steady.as_ref()?;
                Some(steady.counters.get(name)? / steady.samples.max(1) as f64)
            });
        }
    }

    fn add_failures(&mut self) {
        self.add("failed tries", grouped, |r| {
            let tries: u64 = phases(r).flat_map(|phase| phase.errors.values()).sum();
            (tries > 0).then_some(tries as f64)
        });
        self.add("samples failed", grouped, |r| {
            let failed: u64 = phases(r).map(|phase| phase.samples_failed).sum();
            (failed > 0).then_some(failed as f64)
        });
    }
}

/// The figure of one run, or median and extremes of several.
fn cell(
    group: &[&Report],
    show: fn(f64) -> String,
    figure: &dyn Fn(&Report) -> Option<f64>,
) -> String {
    let mut values: Vec<f64> = group.iter().filter_map(|report| figure(report)).collect();
    values.sort_by(f64::total_cmp);

    match values.as_slice() {
        [] => "-".to_string(),
        [one] => show(*one),
        [low, .., high] => {
            let middle = values.len() / 2;
            let median = if values.len() % 2 == 1 {
                values[middle]
            } else {
                (values[middle - 1] + values[middle]) / 2.0
            };
            format!("{} ({}–{})", show(median), show(*low), show(*high))
        }
    }
}

fn phases(report: &Report) -> impl Iterator<Item = &Phase> {
    std::iter::once(&report.new_series).chain(&report.steady)
}

fn last(report: &Report) -> &Phase {
    report.steady.as_ref().unwrap_or(&report.new_series)
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

    if value <= -0.5 {
        format!("-{text}")
    } else {
        text
    }
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
