//! Whether two servers gave the same answer.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::commands::query::answer::{Answer, LabelSet, Point, series_text};

/// Relative difference of two values that counts as none: sums may be added in another order.
const TOLERANCE: f64 = 1e-9;

/// Rows of an answer and the points in them.
pub fn size(data: &Value) -> (usize, usize) {
    match Answer::parse(data) {
        Ok(Answer::Single(_)) => (1, 1),
        Ok(Answer::Vector(rows)) => (rows.len(), rows.len()),
        Ok(Answer::Matrix(rows)) => (
            rows.len(),
            rows.iter().map(|(_, points)| points.len()).sum(),
        ),
        Err(_) => (data.as_array().map_or(0, Vec::len), 0),
    }
}

/// None if the answers are equal, else the first difference in a few words. Order is no difference.
pub fn difference(got: &Value, want: &Value) -> Option<String> {
    if let (Some(got), Some(want)) = (got.as_array(), want.as_array()) {
        return list_difference(got, want);
    }
    match (Answer::parse(got), Answer::parse(want)) {
        (Ok(got), Ok(want)) => rows_difference(&rows(got), &rows(want)),
        (Err(error), _) | (_, Err(error)) => Some(format!("{error:#}")),
    }
}

fn list_difference(got: &[Value], want: &[Value]) -> Option<String> {
    let got: BTreeSet<_> = got.iter().map(Value::to_string).collect();
    let want: BTreeSet<_> = want.iter().map(Value::to_string).collect();
    let item = got.symmetric_difference(&want).next()?;

    Some(match got.contains(item) {
        true => format!("{item} is too much"),
        false => format!("{item} is missing"),
    })
}

fn rows_difference(got: &Rows, want: &Rows) -> Option<String> {
    if let Some(labels) = want.keys().find(|labels| !got.contains_key(*labels)) {
        return Some(format!("{} is missing", series_text(labels)));
    }
    got.iter()
        .find_map(|(labels, points)| match want.get(labels) {
            None => Some(format!("{} is too much", series_text(labels))),
            Some(wanted) => series_difference(points, wanted)
                .map(|what| format!("{}: {what}", series_text(labels))),
        })
}

type Rows = BTreeMap<LabelSet, Vec<Point>>;

fn rows(answer: Answer) -> Rows {
    match answer {
        Answer::Single(text) => {
            BTreeMap::from([(LabelSet::from([("value".to_string(), text)]), Vec::new())])
        }
        Answer::Vector(rows) => rows
            .into_iter()
            .map(|(labels, point)| (labels, vec![point]))
            .collect(),
        Answer::Matrix(rows) => rows.into_iter().collect(),
    }
}

fn series_difference(got: &[Point], want: &[Point]) -> Option<String> {
    if got.len() != want.len() {
        return Some(format!("{} points instead of {}", got.len(), want.len()));
    }
    got.iter().zip(want).find_map(|(got, want)| {
        if got.time_s != want.time_s {
            return Some(format!(
                "a point at {} instead of {}",
                got.time_s, want.time_s
            ));
        }
        let a = got.value.number();
        let b = want.value.number();
        let same = a == b
            || (a.is_nan() && b.is_nan())
            || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs());
        (!same).then(|| format!("{a} instead of {b} at {}", got.time_s))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vector(rows: &[(&str, &str)]) -> Value {
        let rows: Vec<Value> = rows
            .iter()
            .map(|(name, value)| json!({"metric": {"a": name}, "value": [10, value]}))
            .collect();
        json!({"resultType": "vector", "result": rows})
    }

    #[test]
    fn order_and_last_digits_are_no_difference() {
        let a = vector(&[("x", "1"), ("y", "NaN")]);
        let b = vector(&[("y", "NaN"), ("x", "1.0000000000001")]);
        assert_eq!(difference(&a, &b), None);
        assert_eq!(difference(&json!(["b", "a"]), &json!(["a", "b"])), None);
        assert_eq!(size(&a), (2, 2));
    }

    #[test]
    fn names_the_first_difference() {
        let want = vector(&[("x", "1"), ("y", "2")]);
        let diff = |rows: &[(&str, &str)]| difference(&vector(rows), &want).expect("differs");
        assert_eq!(diff(&[("x", "1")]), "{a=\"y\"} is missing");
        assert_eq!(
            diff(&[("x", "1"), ("y", "2"), ("z", "3")]),
            "{a=\"z\"} is too much"
        );
        assert_eq!(
            diff(&[("x", "1"), ("y", "2.001")]),
            "{a=\"y\"}: 2.001 instead of 2 at 10"
        );
        assert_eq!(
            difference(&json!(["a"]), &json!(["a", "b"])),
            Some("\"b\" is missing".to_string())
        );
    }
}
