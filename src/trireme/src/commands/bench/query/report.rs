//! Figures of one run of questions against one server.

use serde::{Deserialize, Serialize};

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

/// A table with a column of medians per server, Markdown or plain.
pub fn table(reports: &[&QueryReport], markdown: bool) -> String {
    let mut rows = vec![head(reports)];
    let Some(first) = reports.first() else { return String::new() };
    for query in &first.queries {
        let mut row = vec![query.name.clone(), query.kind.clone(), query.rows.to_string()];
        row.extend(reports.iter().map(|report| {
            report.queries.iter().find(|other| other.name == query.name).map_or_else(|| "-".to_string(), cell)
        }));
        rows.push(row);
    }
    let mut add = |what: &str, figure: &dyn Fn(&QueryReport) -> Option<String>| {
        let mut row = vec![what.to_string(), String::new(), String::new()];
        row.extend(reports.iter().map(|report| figure(report).unwrap_or_else(|| "-".to_string())));
        rows.push(row);
    };
    let answered = |report: &QueryReport, figure: fn(&QueryFigures) -> f64| -> f64 {
        report.queries.iter().filter(|query| query.error.is_none()).map(figure).sum()
    };
    add("sum of p50", &|report| Some(ms(answered(report, |q| q.p50_ms))));
    add("sum of p99", &|report| Some(ms(answered(report, |q| q.p99_ms))));
    add("sum of first runs", &|report| Some(ms(answered(report, |q| q.first_ms))));
    add("answers equal to the reference", &|report| {
        let compared: Vec<_> = report.queries.iter().filter_map(|query| query.agreement.as_ref()).collect();
        let equal = compared.iter().filter(|agreement| ***agreement == Agreement::Equal).count();
        (!compared.is_empty()).then(|| format!("{equal} of {}", compared.len()))
    });
    add("not answered", &|report| {
        let failed = report.queries.iter().filter(|query| query.error.is_some()).count();
        (failed > 0).then(|| failed.to_string())
    });
    add("CPU s of all passes", &|report| report.cpu_s.map(|cpu| format!("{cpu:.1}")));
    add("peak RSS MiB", &|report| {
        report.peak_rss_bytes.map(|bytes| format!("{:.0}", bytes as f64 / f64::from(1 << 20)))
    });
    let title = format!(
        "p50 in ms of {} passes after the first; ranges of {:.0} s in steps of {:.0} s; `≠` marks answers that differ from the reference",
        first.passes, first.range_s, first.step_s
    );
    format!("{title}\n\n{}", lines(&rows, markdown))
}

fn head(reports: &[&QueryReport]) -> Vec<String> {
    let mut row: Vec<String> = ["query", "kind", "rows"].map(String::from).to_vec();
    row.extend(reports.iter().map(|report| report.name.clone()));
    row
}

fn cell(query: &QueryFigures) -> String {
    match (&query.error, &query.agreement) {
        (Some(_), _) => "failed".to_string(),
        (None, Some(Agreement::Differs(_))) => format!("{} ≠", ms(query.p50_ms)),
        _ => ms(query.p50_ms),
    }
}

fn ms(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

fn lines(rows: &[Vec<String>], markdown: bool) -> String {
    if markdown {
        let rule = format!("|---|---|{}", "---:|".repeat(rows[0].len() - 2));
        let mut lines: Vec<String> = rows.iter().map(|row| format!("| {} |", row.join(" | "))).collect();
        lines.insert(1, rule);
        return lines.join("\n");
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(index, (cell, width))| match index {
            0 | 1 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
