//! Answers for people.

use super::answer::{Answer, LabelSet, Point, series_text};
use super::plot::spark;

/// Characters of a plotted course.
const PLOT_WIDTH: usize = 60;

/// The result of a query; ranges are shown as their course with lowest, highest and last value.
pub fn samples(answer: &Answer) -> String {
    match answer {
        Answer::Single(text) => text.clone(),
        Answer::Vector(rows) if rows.is_empty() => "no series".to_string(),
        Answer::Matrix(rows) if rows.is_empty() => "no series".to_string(),
        Answer::Vector(rows) => {
            let rows: Vec<_> = rows
                .iter()
                .map(|(labels, point)| [series_text(labels), point.value.text()])
                .collect();
            aligned(["series", "value"], &rows)
        }
        Answer::Matrix(rows) => matrix(rows),
    }
}

/// Label sets, a line each.
pub fn series(sets: &[LabelSet]) -> String {
    match sets.is_empty() {
        true => "no series".to_string(),
        false => sets.iter().map(series_text).collect::<Vec<_>>().join("\n"),
    }
}

fn matrix(rows: &[(LabelSet, Vec<Point>)]) -> String {
    // All series share the steps, so a step that a series lacks is a gap in its course.
    let mut times: Vec<f64> = rows
        .iter()
        .flat_map(|(_, points)| points.iter().map(|point| point.time_s))
        .collect();

    times.sort_by(f64::total_cmp);
    times.dedup();

    let rows: Vec<[String; 5]> = rows
        .iter()
        .map(|(labels, points)| course(labels, points, &times))
        .collect();
    aligned(["series", "lowest", "highest", "last", "course"], &rows)
}

/// The row of a series with these points.
fn course(labels: &LabelSet, points: &[Point], times: &[f64]) -> [String; 5] {
    let mut values = vec![None; times.len()];
    for point in points {
        if let Ok(step) = times.binary_search_by(|time| time.total_cmp(&point.time_s)) {
            values[step] = Some(point.value.number());
        }
    }

    let there: Vec<f64> = values
        .iter()
        .flatten()
        .copied()
        .filter(|value| !value.is_nan())
        .collect();
    let low = there.iter().copied().fold(f64::INFINITY, f64::min);
    let high = there.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let last = points.last();

    [
        series_text(labels),
        short(low),
        short(high),
        last.map_or_else(String::new, |point| point.value.text()),
        spark(&values, PLOT_WIDTH),
    ]
}

/// A number with at most six digits behind the point.
fn short(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_string();
    }
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// Columns side by side: the first and a plot to the left, numbers to the right.
pub fn aligned<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }

    let mut lines = vec![line(head, &widths)];
    lines.extend(
        rows.iter()
            .map(|row| line(row.each_ref().map(String::as_str), &widths)),
    );

    lines.join("\n")
}

fn line<const N: usize>(cells: [&str; N], widths: &[usize; N]) -> String {
    let mut text = String::new();
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        match index {
            0 => text.push_str(&format!("{cell:<width$}")),
            4 => text.push_str(&format!("  {cell}")),
            _ => text.push_str(&format!("  {cell:>width$}")),
        }
    }
    text.trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::answer::PointValue;
    use super::*;

    #[test]
    fn a_range_shows_its_course_with_gaps() {
        let point = |time_s, value| Point {
            time_s,
            value: PointValue::Float(value),
        };
        let labels = |name: &str| LabelSet::from([("__name__".to_string(), name.to_string())]);
        let rows = vec![
            (
                labels("a"),
                vec![point(1.0, 0.5), point(2.0, 1.0), point(3.0, 4.0)],
            ),
            (labels("b"), vec![point(1.0, 2.0), point(3.0, 2.0)]),
        ];

        let want = "series  lowest  highest  last  course\n\
                    a          0.5        4     4  ▁▂█\n\
                    b            2        2     2  ▁ ▁";

        assert_eq!(samples(&Answer::Matrix(rows)), want);
        assert_eq!(samples(&Answer::Vector(vec![])), "no series");
    }
}
