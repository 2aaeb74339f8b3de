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

/// A table with a column of p50 and p99 per server, Markdown or plain. Ratios compare with the first server.
pub fn table(reports: &[&QueryReport], markdown: bool) -> String {
    let mut rows = vec![head(reports)];
    let Some(first) = reports.first() else {
        return String::new();
    };

    for query in &first.queries {
        let mut row = vec![
            query.name.clone(),
            query.kind.clone(),
            query.rows.to_string(),
        ];

        row.extend(reports.iter().map(|report| {
            report
                .queries
                .iter()
                .find(|other| other.name == query.name)
                .map_or_else(|| "-".to_string(), cell)
        }));

        rows.push(row);
    }

    let mut add = |what: &str, figure: &dyn Fn(&QueryReport) -> Option<String>| {
        let mut row = vec![what.to_string(), String::new(), String::new()];
        row.extend(
            reports
                .iter()
                .map(|report| figure(report).unwrap_or_else(|| "-".to_string())),
        );
        rows.push(row);
    };

    let answered = |report: &QueryReport, figure: fn(&QueryFigures) -> f64| -> f64 {
        report
            .queries
            .iter()
            .filter(|query| query.error.is_none())
            .map(figure)
            .sum()
    };

    let against_first = |report: &QueryReport| ratios(first, report);
    add(
        "times faster than the first (geometric mean of p50)",
        &|report| {
            let ratios = against_first(report);
            let mean =
                ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len().max(1) as f64;
            (!ratios.is_empty() && !std::ptr::eq(report, *first))
                .then(|| format!("{:.2}", mean.exp()))
        },
    );

    add("queries slower than the first", &|report| {
        let ratios = against_first(report);
        let slower = ratios.iter().filter(|ratio| **ratio < 1.0).count();
        (!std::ptr::eq(report, *first)).then(|| format!("{slower} of {}", ratios.len()))
    });

    add("sum of p50", &|report| {
        Some(ms(answered(report, |q| q.p50_ms)))
    });
    add("sum of p99", &|report| {
        Some(ms(answered(report, |q| q.p99_ms)))
    });
    add("sum of first runs", &|report| {
        Some(ms(answered(report, |q| q.first_ms)))
    });
    add("answers equal to the reference", &|report| {
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
    });

    add("not answered", &|report| {
        let failed = report
            .queries
            .iter()
            .filter(|query| query.error.is_some())
            .count();
        (failed > 0).then(|| failed.to_string())
    });

    add("CPU s of all passes", &|report| {
        report.cpu_s.map(|cpu| format!("{cpu:.1}"))
    });
    add("peak RSS MiB", &|report| {
        report
            .peak_rss_bytes
            .map(|bytes| format!("{:.0}", bytes as f64 / f64::from(1 << 20)))
    });

    let title = format!(
        "p50 / p99 in ms of {} passes after the first; ranges of {:.0} s in steps of {:.0} s; `≠` marks answers that differ from the reference",
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
    let times = format!("{} / {}", ms(query.p50_ms), ms(query.p99_ms));
    match (&query.error, &query.agreement) {
        (Some(_), _) => "failed".to_string(),
        (None, Some(Agreement::Differs(_))) => format!("{times} ≠"),
        _ => times,
    }
}

/// How many times faster `report` answered than `first`, for each query that both answered.
fn ratios(first: &QueryReport, report: &QueryReport) -> Vec<f64> {
    let answered = |query: &&QueryFigures| query.error.is_none() && query.p50_ms > 0.0;
    first
        .queries
        .iter()
        .filter(answered)
        .filter_map(|query: &QueryFigures| {
            let other = report
                .queries
                .iter()
                .filter(answered)
                .find(|other| other.name == query.name)?;
            Some(query.p50_ms / other.p50_ms)
        })
        .collect()
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
        let rule = format!("|---|---|{}", "---:|".repeat(rows[0].len() - 2));
        let mut lines: Vec<String> = rows
            .iter()
            .map(|row| format!("| {} |", row.join(" | ")))
            .collect();
        lines.insert(1, rule);
        return lines.join("\n");
    }

    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };

    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(index, (cell, width))| match index {
                0 | 1 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };

    rows.iter().map(line).collect::<Vec<_>>().join("\n")
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
