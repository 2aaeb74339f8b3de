//! Answers as CSV (RFC 4180): a column per label, then time and value.

use std::collections::BTreeSet;

use super::answer::{Answer, LabelSet, Point, PointValue};

/// Samples, a line each. Times are Unix seconds.
pub fn samples(answer: &Answer) -> String {
    match answer {
        Answer::Single(text) => format!("value\n{}", cell(text)),
        Answer::Vector(rows) => table(
            rows.iter()
                .map(|(labels, point)| (labels, std::slice::from_ref(point))),
        ),
        Answer::Matrix(rows) => table(
            rows.iter()
                .map(|(labels, points)| (labels, points.as_slice())),
        ),
    }
}

/// Label sets, a line each.
pub fn series(sets: &[LabelSet]) -> String {
    let columns = columns(sets.iter());
    let mut lines = vec![
        columns
            .iter()
            .map(|name| cell(name))
            .collect::<Vec<_>>()
            .join(","),
    ];

    lines.extend(
        sets.iter()
            .map(|labels| label_cells(labels, &columns).join(",")),
    );

    lines.join("\n")
}

fn table<'a>(rows: impl Iterator<Item = (&'a LabelSet, &'a [Point])> + Clone) -> String {
    let columns = columns(rows.clone().map(|(labels, _)| labels));
    let mut head: Vec<String> = columns.iter().map(|name| cell(name)).collect();
    head.extend(["time", "value"].map(String::from));

    let mut lines = vec![head.join(",")];
    for (labels, points) in rows {
        let front = label_cells(labels, &columns);
        for point in points {
            let value = match &point.value {
                PointValue::Float(value) => format!("{value:?}"),
                histogram => histogram.text(),
            };
            let tail = [format!("{:.3}", point.time_s), cell(&value)];

            lines.push(
                front
                    .iter()
                    .cloned()
                    .chain(tail)
                    .collect::<Vec<_>>()
                    .join(","),
            );
        }
    }

    lines.join("\n")
}

fn columns<'a>(sets: impl Iterator<Item = &'a LabelSet>) -> BTreeSet<&'a str> {
    sets.flat_map(|labels| labels.keys())
        .map(String::as_str)
        .collect()
}

fn label_cells(labels: &LabelSet, columns: &BTreeSet<&str>) -> Vec<String> {
    columns
        .iter()
        .map(|name| cell(labels.get(*name).map_or("", String::as_str)))
        .collect()
}

fn cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_has_a_column_and_odd_text_is_quoted() {
        let labels = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect()
        };

        let point = |value| Point {
            time_s: 1.5,
            value: PointValue::Float(value),
        };
        let rows = vec![
            (labels(&[("a", "x,\"y\"")]), point(0.1)),
            (labels(&[("b", "z")]), point(f64::NAN)),
        ];

        assert_eq!(
            samples(&Answer::Vector(rows)),
            "a,b,time,value\n\"x,\"\"y\"\"\",,1.500,0.1\n,z,1.500,NaN"
        );
    }
}
