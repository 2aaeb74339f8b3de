//! Answers of range queries, compared number by number.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use serde_json::Value as Json;

/// A series of an answer: its labels, and its values by their time in milliseconds.
type Row = (BTreeMap<String, String>, BTreeMap<i64, f64>);

/// The answer of a range query.
#[derive(Debug, Clone, Default)]
pub struct Matrix(Vec<Row>);

impl Matrix {
    /// Reads the `data` of an answer.
    pub fn of(data: &Json) -> anyhow::Result<Self> {
        ensure!(
            data["resultType"] == "matrix",
            "the result is a {}",
            data["resultType"]
        );
        let rows = data["result"].as_array().context("no result array")?;
        Ok(Self(rows.iter().map(row).collect::<anyhow::Result<_>>()?))
    }

    /// True without a series.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What differs first from another answer: series and their order, times, or values that are not within `tolerance`
    /// (relative to the larger one). NaN equals NaN.
    pub fn first_difference(&self, other: &Self, tolerance: f64) -> Option<String> {
        let labels = |matrix: &Self| {
            matrix
                .0
                .iter()
                .map(|(labels, _)| labels.clone())
                .collect::<Vec<_>>()
        };

        let mine = labels(self);
        let others = labels(other);
        if mine != others {
            return Some(format!("series {mine:?} against {others:?}"));
        }

        for ((labels, mine), (_, others)) in self.0.iter().zip(&other.0) {
            for time in mine.keys().chain(others.keys()) {
                let a = mine.get(time);
                let b = others.get(time);
                let is_equal = a.zip(b).is_some_and(|(a, b)| close(*a, *b, tolerance));
                if !is_equal {
                    return Some(format!("{labels:?} at {time}: {a:?} against {b:?}"));
                }
            }
        }

        None
    }
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    a == b
        || (a.is_nan() && b.is_nan())
        || (a - b).abs() <= tolerance * a.abs().max(b.abs()).min(f64::MAX)
}

fn row(series: &Json) -> anyhow::Result<Row> {
    let labels = serde_json::from_value(series["metric"].clone())?;

    let mut values = BTreeMap::new();
    for pair in series["values"]
        .as_array()
        .with_context(|| format!("no values: {series:.200}"))?
    {
        let time = pair[0].as_f64().context("time is no number")?;
        let value = pair[1]
            .as_str()
            .context("value is no text")?
            .replace("Inf", "inf");
        values.insert((time * 1e3).round() as i64, value.parse()?);
    }

    Ok((labels, values))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matrix(name: &str, values: &[&str]) -> Matrix {
        let values: Vec<Json> = values
            .iter()
            .enumerate()
            .map(|(i, v)| json!([i, v]))
            .collect();
        let result = json!([{"metric": {"__name__": name}, "values": values}]);
        Matrix::of(&json!({"resultType": "matrix", "result": result})).expect("well formed")
    }

    #[test]
    fn tells_close_values_from_different_ones() {
        let one = matrix("a", &["1", "NaN", "+Inf", "0"]);
        let same = |other: &Matrix| one.first_difference(other, 1e-9).is_none();
        assert!(same(&matrix("a", &["1.0000000001", "NaN", "+Inf", "-0"])));
        assert!(!same(&matrix("a", &["1.00000001", "NaN", "+Inf", "0"])));
        assert!(!same(&matrix("a", &["1", "NaN", "-Inf", "0"])));
        assert!(!same(&matrix("a", &["1", "0", "+Inf", "0"])));
        assert!(!same(&matrix("a", &["1", "NaN", "+Inf"])));

        assert!(!same(&matrix("b", &["1", "NaN", "+Inf", "0"])));
        assert!(!same(&matrix("a", &["1", "NaN", "1e308", "0"])));
    }
}
