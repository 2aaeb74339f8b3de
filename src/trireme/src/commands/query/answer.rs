//! What the query API answers, read into plain rows.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use serde_json::Value;

/// Labels of a series, sorted by name.
pub type LabelSet = BTreeMap<String, String>;

/// The result of a query.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// A scalar or a string, as text.
    Single(String),
    /// One point per series.
    Vector(Vec<(LabelSet, Point)>),
    /// Points in order of time per series.
    Matrix(Vec<(LabelSet, Vec<Point>)>),
}

/// A value at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Seconds since the epoch.
    pub time_s: f64,
    pub value: PointValue,
}

/// A float or a native histogram.
#[derive(Clone, Debug, PartialEq)]
pub enum PointValue {
    Float(f64),
    Histogram { count: f64, sum: f64 },
}

impl PointValue {
    /// The value for a table: as short as it reads back the same.
    pub fn text(&self) -> String {
        match self {
            PointValue::Float(value) => float_text(*value),
            PointValue::Histogram { count, sum } => {
                format!("count {} sum {}", float_text(*count), float_text(*sum))
            }
        }
    }

    /// The number a plot shows: the count of a histogram.
    pub fn number(&self) -> f64 {
        match self {
            PointValue::Float(value) => *value,
            PointValue::Histogram { count, .. } => *count,
        }
    }
}

fn float_text(value: f64) -> String {
    let size = value.abs();
    if value.is_finite() && size != 0.0 && !(1e-6..1e21).contains(&size) {
        format!("{value:e}")
    } else {
        format!("{value}")
    }
}

impl Answer {
    /// Reads the `data` of an answer.
    pub fn parse(data: &Value) -> anyhow::Result<Self> {
        let kind = data
            .get("resultType")
            .and_then(Value::as_str)
            .context("the answer has no resultType")?;
        let result = data.get("result").context("the answer has no result")?;

        match kind {
            "scalar" | "string" => {
                let text = result
                    .get(1)
                    .and_then(Value::as_str)
                    .context("the result holds no value")?;
                Ok(Answer::Single(text.to_string()))
            }
            "vector" => Ok(Answer::Vector(
                list(result)?
                    .iter()
                    .map(vector_row)
                    .collect::<anyhow::Result<_>>()?,
            )),
            "matrix" => Ok(Answer::Matrix(
                list(result)?
                    .iter()
                    .map(matrix_row)
                    .collect::<anyhow::Result<_>>()?,
            )),
            other => bail!("the answer has the unknown type {other:?}"),
        }
    }
}

fn list(result: &Value) -> anyhow::Result<&Vec<Value>> {
    result.as_array().context("the result is no list")
}

fn vector_row(row: &Value) -> anyhow::Result<(LabelSet, Point)> {
    let point = match (row.get("value"), row.get("histogram")) {
        (Some(pair), _) => float_point(pair)?,
        (None, Some(pair)) => histogram_point(pair)?,
        (None, None) => bail!("a row without a value"),
    };
    Ok((
        label_set(row.get("metric").context("a row without labels")?)?,
        point,
    ))
}

fn matrix_row(row: &Value) -> anyhow::Result<(LabelSet, Vec<Point>)> {
    let mut points: Vec<Point> = items(row, "values")
        .map(float_point)
        .collect::<anyhow::Result<_>>()?;

    for pair in items(row, "histograms") {
        points.push(histogram_point(pair)?);
    }

    points.sort_by(|a, b| a.time_s.total_cmp(&b.time_s));
    Ok((
        label_set(row.get("metric").context("a row without labels")?)?,
        points,
    ))
}

/// The list of that name; an empty one if there is none.
fn items<'a>(row: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    row.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn time_s(pair: &Value) -> anyhow::Result<f64> {
    pair.get(0)
        .and_then(Value::as_f64)
        .context("a point without a time")
}

fn number(value: Option<&Value>) -> anyhow::Result<f64> {
    let text = value
        .and_then(Value::as_str)
        .context("a value that is no string")?;
    // Rust reads Prometheus's "+Inf", "-Inf" and "NaN" as they are.
    text.parse()
        .with_context(|| format!("{text:?} is no number"))
}

fn float_point(pair: &Value) -> anyhow::Result<Point> {
    Ok(Point {
        time_s: time_s(pair)?,
        value: PointValue::Float(number(pair.get(1))?),
    })
}

fn histogram_point(pair: &Value) -> anyhow::Result<Point> {
    let histogram = pair.get(1).context("a point without a histogram")?;
    let value = PointValue::Histogram {
        count: number(histogram.get("count"))?,
        sum: number(histogram.get("sum"))?,
    };

    Ok(Point {
        time_s: time_s(pair)?,
        value,
    })
}

fn label_set(value: &Value) -> anyhow::Result<LabelSet> {
    let object = value.as_object().context("labels that are no object")?;
    object
        .iter()
        .map(|(name, value)| {
            Ok((
                name.clone(),
                value
                    .as_str()
                    .context("a label that is no string")?
                    .to_string(),
            ))
        })
        .collect()
}

/// The label sets of a `series` answer.
pub fn label_sets(data: &Value) -> anyhow::Result<Vec<LabelSet>> {
    data.as_array()
        .context("the answer is no list")?
        .iter()
        .map(label_set)
        .collect()
}

/// The strings of a `labels` answer.
pub fn strings(data: &Value) -> anyhow::Result<Vec<&str>> {
    let list = data.as_array().context("the answer is no list")?;
    list.iter()
        .map(|text| text.as_str().context("a label that is no string"))
        .collect()
}

/// Labels as PromQL writes them: `name{a="b", c="d"}`.
pub fn series_text(labels: &LabelSet) -> String {
    let name = labels.get("__name__").map_or("", String::as_str);
    let pairs: Vec<String> = labels
        .iter()
        .filter(|(key, _)| *key != "__name__")
        .map(|(key, value)| format!("{key}={}", quoted(value)))
        .collect();

    match (name, pairs.is_empty()) {
        ("", true) => "{}".to_string(),
        (_, true) => name.to_string(),
        (_, false) => format!("{name}{{{}}}", pairs.join(", ")),
    }
}

fn quoted(text: &str) -> String {
    format!(
        "\"{}\"",
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_vectors_with_floats_and_histograms() {
        let data = json!({"resultType": "vector", "result": [
            {"metric": {"__name__": "up", "job": "a\"b"}, "value": [10.5, "+Inf"]},
            {"metric": {}, "histogram": [10.5, {"count": "3", "sum": "1.5", "buckets": []}]},
        ]});
        let Answer::Vector(rows) = Answer::parse(&data).expect("valid") else {
            panic!("no vector")
        };

        assert_eq!(series_text(&rows[0].0), "up{job=\"a\\\"b\"}");
        assert_eq!(rows[0].1.value, PointValue::Float(f64::INFINITY));
        assert_eq!(series_text(&rows[1].0), "{}");
        assert_eq!(rows[1].1.value.text(), "count 3 sum 1.5");
    }

    #[test]
    fn puts_floats_and_histograms_of_a_matrix_in_order() {
        let data = json!({"resultType": "matrix", "result": [{"metric": {"a": "b"},
            "values": [[1, "1"], [3, "NaN"]], "histograms": [[2, {"count": "9", "sum": "0"}]]}]});
        let Answer::Matrix(rows) = Answer::parse(&data).expect("valid") else {
            panic!("no matrix")
        };
        let times: Vec<f64> = rows[0].1.iter().map(|point| point.time_s).collect();
        assert_eq!(times, [1.0, 2.0, 3.0]);
    }

    #[test]
    fn says_what_is_wrong_with_an_answer() {
        for data in [
            json!({}),
            json!({"resultType": "vector"}),
            json!({"resultType": "x", "result": []}),
        ] {
            assert!(Answer::parse(&data).is_err(), "{data}");
        }

        let bad = json!({"resultType": "vector", "result": [{"metric": {}, "value": [1, "one"]}]});
        assert!(format!("{:#}", Answer::parse(&bad).expect_err("bad number")).contains("one"));
    }

    #[test]
    fn numbers_stay_readable() {
        let shown: Vec<_> = [0.25, 1e22, 1e-9, 0.0, 1e15].map(float_text).into();
        assert_eq!(shown, ["0.25", "1e22", "1e-9", "0", "1000000000000000"]);
    }
}
