//! Figures of one run of questions against one server.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::table::width;

/// Everything measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueryReport {
    /// What was measured.
    pub name: String,
    pub passes: usize,
    pub range_s: f64,
    pub step_s: f64,
    pub queries: Vec<QueryFigures>,
    /// CPU of the server's processes over all passes; none if no process was given.
    pub cpu_s: Option<f64>,
    pub rss_bytes: Option<u64>,
    pub peak_rss_bytes: Option<u64>,
}

/// One question.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueryFigures {
    pub name: String,
    /// instant, range, values, labels or series.
    pub kind: String,
    pub rows: usize,
    pub points: usize,
    /// The first time it was asked.
    pub first_ms: f64,
    /// Of the times after the first.
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// What was wrong, if it was not answered.
    pub error: Option<String>,
    /// Against the reference: none if there was none.
    pub agreement: Option<Agreement>,
}

/// How an answer compares with the reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    Equal,
    /// The first difference.
    Differs(String),
}

/// A table with a column of p50 and p99 per server, Markdown or plain. Ratios compare with the first server.
pub fn table(reports: &[&QueryReport], markdown: bool) -> String {
    let Some(first) = reports.first() else {
        return String::new();
    };

    let mut rows = vec![head(reports)];
    rows.extend(first.queries.iter().map(|query| {
        let mut row = vec![
            query.name.clone(),
            query.kind.clone(),
            query.rows.to_string(),
        ];
        row.extend(reports.iter().map(|report| cell_of(report, &query.name)));
        row
    }));

    for (what, figure) in SUMS {
        let mut row = vec![what.to_string(), String::new(), String::new()];
        let figures = reports.iter().map(|report| figure(first, report));
        row.extend(figures.map(|figure| figure.unwrap_or_else(|| "-".to_string())));
        rows.push(row);
    }

    let title = format!(
        "p50 / p99 in ms of {} passes after the first; ranges of {:.0} s in steps of {:.0} s; `≠` marks answers that differ from the reference",
        first.passes, first.range_s, first.step_s
    );

    format!("{title}\n\n{}", lines(&rows, markdown))
}

/// A figure of a report over all queries; the first of all reports comes first.
type Sum = fn(&QueryReport, &QueryReport) -> Option<String>;

/// The rows below the queries.
const SUMS: [(&str, Sum); 9] = [
    (
        "times faster than the first (geometric mean of p50)",
        times_faster,
    ),
    ("queries slower than the first", slower),
    ("sum of p50", |_, report| {
        Some(sum_of(report, |query| query.p50_ms))
    }),
    ("sum of p99", |_, report| {
        Some(sum_of(report, |query| query.p99_ms))
    }),
    ("sum of first runs", |_, report| {
        Some(sum_of(report, |query| query.first_ms))
    }),
    ("answers equal to the reference", |_, report| equal(report)),
    ("not answered", |_, report| not_answered(report)),
    ("CPU s of all passes", |_, report| {
        report.cpu_s.map(|cpu| format!("{cpu:.1}"))
    }),
    ("peak RSS MiB", |_, report| {
        let bytes = report.peak_rss_bytes?;
        Some(format!("{:.0}", bytes as f64 / f64::from(1 << 20)))
    }),
];

fn times_faster(first: &QueryReport, report: &QueryReport) -> Option<String> {
    let ratios = ratios(first, report);
    let mean = ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len().max(1) as f64;
    (!ratios.is_empty() && !std::ptr::eq(report, first)).then(|| format!("{:.2}", mean.exp()))
}

fn slower(first: &QueryReport, report: &QueryReport) -> Option<String> {
    let ratios = ratios(first, report);
    let slower = ratios.iter().filter(|ratio| **ratio < 1.0).count();
    (!std::ptr::eq(report, first)).then(|| format!("{slower} of {}", ratios.len()))
}

/// Milliseconds of all queries that were answered.
fn sum_of(report: &QueryReport, figure: fn(&QueryFigures) -> f64) -> String {
    let answered = report.queries.iter().filter(|query| query.error.is_none());
    ms(answered.map(figure).sum())
}

fn equal(report: &QueryReport) -> Option<String> {
    let compared: Vec<_> = report
        .queries
        .iter()
        .filter_map(|query| query.agreement.as_ref())
        .collect();
    let equal = compared
        .iter()
        .filter(|agreement| ***agreement == Agreement::Equal)
        .count();
    (!compared.is_empty()).then(|| format!("{equal} of {}", compared.len()))
}

fn not_answered(report: &QueryReport) -> Option<String> {
    let failed = report.queries.iter().filter(|query| query.error.is_some());
    let failed = failed.count();
    (failed > 0).then(|| failed.to_string())
}

fn head(reports: &[&QueryReport]) -> Vec<String> {
    let mut row: Vec<String> = ["query", "kind", "rows"].map(String::from).to_vec();
    row.extend(reports.iter().map(|report| report.name.clone()));
    row
}

fn cell_of(report: &QueryReport, name: &str) -> String {
    report
        .queries
        .iter()
        .find(|query| query.name == name)
        .map_or_else(|| "-".to_string(), cell)
}

fn cell(query: &QueryFigures) -> String {
    let times = format!("{} / {}", ms(query.p50_ms), ms(query.p99_ms));
    match (&query.error, &query.agreement) {
        (Some(_), _) => "failed".to_string(),
        (None, Some(Agreement::Differs(_))) => format!("{times} ≠"),
        _ => times,
    }
}

/// How many times faster `report` answered than `first`, for each query that both answered.
fn ratios(first: &QueryReport, report: &QueryReport) -> Vec<f64> {
    let times: BTreeMap<&str, f64> = answered(report).collect();
    answered(first)
        .filter_map(|(name, time)| Some(time / times.get(name)?))
        .collect()
}

/// Names and times of the queries that were answered.
fn answered(report: &QueryReport) -> impl Iterator<Item = (&str, f64)> {
    report
        .queries
        .iter()
        .filter(|query| query.error.is_none() && query.p50_ms > 0.0)
        .map(|query| (query.name.as_str(), query.p50_ms))
}

fn ms(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn lines(rows: &[Vec<String>], markdown: bool) -> String {
    if markdown {
        return markdown_lines(rows);
    }

    let columns = 0..rows[0].len();
    let widths: Vec<usize> = columns.map(|column| width(rows, column)).collect();
    let lines: Vec<String> = rows.iter().map(|row| line(row, &widths)).collect();
    lines.join("\n")
}

fn line(row: &[String], widths: &[usize]) -> String {
    let cells = row
        .iter()
        .zip(widths)
        .enumerate()
        .map(|(index, (cell, width))| match index {
            0 | 1 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
    cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
}

fn markdown_lines(rows: &[Vec<String>]) -> String {
    let rule = format!("|---|---|{}", "---:|".repeat(rows[0].len() - 2));
    let mut lines: Vec<String> = rows
        .iter()
        .map(|row| format!("| {} |", row.join(" | ")))
        .collect();
    lines.insert(1, rule);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &str, times: &[(&str, f64)]) -> QueryReport {
        let query = |(name, p50_ms): &(&str, f64)| QueryFigures {
            name: name.to_string(),
            kind: "instant".to_string(),
            rows: 1,
            points: 1,
            first_ms: *p50_ms,
            p50_ms: *p50_ms,
            p99_ms: p50_ms * 2.0,
            error: None,
            agreement: None,
        };
        QueryReport {
            name: name.to_string(),
            passes: 5,
            range_s: 3_600.0,
            step_s: 60.0,
            queries: times.iter().map(query).collect(),
            cpu_s: None,
            rss_bytes: None,
            peak_rss_bytes: None,
        }
    }

    #[test]
    fn the_table_compares_with_its_first_column() {
        let a = report("a", &[("x", 8.0), ("y", 1.0)]);
        let b = report("b", &[("x", 1.0), ("y", 2.0)]);
        let table = table(&[&a, &b], true);
        let row = |start: &str| {
            table
                .lines()
                .find(|line| line.starts_with(start))
                .map(str::to_owned)
        };

        assert_eq!(
            row("| x ").as_deref(),
            Some("| x | instant | 1 | 8.00 / 16.0 | 1.00 / 2.00 |")
        );
        assert_eq!(
            row("| times faster").as_deref(),
            Some("| times faster than the first (geometric mean of p50) |  |  | - | 2.00 |")
        );
        assert_eq!(
            row("| queries slower").as_deref(),
            Some("| queries slower than the first |  |  | - | 1 of 2 |")
        );
    }
}
