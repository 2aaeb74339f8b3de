//! A query result as JSON, in pieces of bounded size.

use std::sync::Arc;

use trireme_model::FloatHistogram;
use trireme_promql::{QueryResult, Sample, SampleValue, Series, Value};

use super::{push_histogram, push_labels, push_quoted_float, push_str, push_time, put};
use crate::answer;

/// A piece is sent when it has this many bytes.
const PIECE_BYTES: usize = 64 << 10;

/// Iterates over the pieces of an answer.
pub(crate) struct ResultPieces {
    out: Vec<u8>,
    rest: Rest,
    first: bool,
    tail: Option<Vec<u8>>,
}

enum Rest {
    Nothing,
    Vector(std::vec::IntoIter<Sample>),
    Matrix(std::vec::IntoIter<Series>, Option<Open>),
}

/// A series that is being written.
struct Open {
    floats: std::iter::Peekable<std::vec::IntoIter<(i64, f64)>>,
    histograms: std::vec::IntoIter<(i64, Arc<FloatHistogram>)>,
    /// The array that is open: none yet, values, histograms.
    array: Array,
}

#[derive(Clone, Copy, PartialEq)]
enum Array {
    None,
    Values,
    Histograms,
}

impl ResultPieces {
    /// The answer of a query; `more` are members of its object that follow the result, each after its comma.
    pub(crate) fn new(result: QueryResult, more: &[u8]) -> Self {
        let mut out = Vec::with_capacity(PIECE_BYTES + 1_024);
        out.extend_from_slice(answer::HEAD);
        put(
            &mut out,
            format_args!(
                "{{\"resultType\":\"{}\",\"result\":[",
                result.value.type_name()
            ),
        );

        let rest = match result.value {
            Value::Vector(samples) => Rest::Vector(samples.into_iter()),
            Value::Matrix(series) => Rest::Matrix(series.into_iter(), None),
            Value::Scalar { t, v } => {
                push_time(&mut out, t);
                out.push(b',');
                push_quoted_float(&mut out, v);
                Rest::Nothing
            }
            Value::String { t, v } => {
                push_time(&mut out, t);
                out.push(b',');
                push_str(&mut out, &v);
                Rest::Nothing
            }
        };

        let mut tail = b"]".to_vec();
        tail.extend_from_slice(more);
        tail.push(b'}');
        answer::tail(&mut tail, &result.warnings, &result.infos);

        Self {
            out,
            rest,
            first: true,
            tail: Some(tail),
        }
    }

    /// Writes one element or point; false at the end.
    fn step(&mut self) -> bool {
        match &mut self.rest {
            Rest::Nothing => false,
            Rest::Vector(samples) => {
                let Some(sample) = samples.next() else {
                    return false;
                };
                separate(&mut self.out, &mut self.first);
                push_sample(&mut self.out, &sample);
                true
            }
            Rest::Matrix(series, open) => {
                if let Some(current) = open {
                    if !current.step(&mut self.out) {
                        *open = None;
                    }
                    return true;
                }

                let Some(next) = series.next() else {
                    return false;
                };

                separate(&mut self.out, &mut self.first);
                self.out.extend_from_slice(b"{\"metric\":");
                push_labels(&mut self.out, &next.labels);
                *open = Some(Open {
                    floats: next.floats.into_iter().peekable(),
                    histograms: next.histograms.into_iter(),
                    array: Array::None,
                });

                true
            }
        }
    }
}

impl Open {
    /// Writes one point; false when the series is complete.
    fn step(&mut self, out: &mut Vec<u8>) -> bool {
        if let Some((t, v)) = self.floats.next() {
            self.enter(out, Array::Values);
            push_point(out, t, v);
            true
        } else if let Some((t, h)) = self.histograms.next() {
            self.enter(out, Array::Histograms);
            push_histogram_point(out, t, &h);
            true
        } else {
            self.close(out);
            out.push(b'}');
            false
        }
    }

    /// Opens the array if it is not, or separates from the point before.
    fn enter(&mut self, out: &mut Vec<u8>, array: Array) {
        if self.array == array {
            out.push(b',');
            return;
        }

        self.close(out);
        self.array = array;
        out.extend_from_slice(if array == Array::Values {
            b",\"values\":["
        } else {
            b",\"histograms\":["
        });
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.array != Array::None {
            out.push(b']');
        }
    }
}

impl Iterator for ResultPieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        self.tail.as_ref()?;
        while self.out.len() < PIECE_BYTES {
            if !self.step() {
                self.out.extend(self.tail.take().unwrap_or_default());
                return Some(std::mem::take(&mut self.out));
            }
        }

        Some(std::mem::replace(
            &mut self.out,
            Vec::with_capacity(PIECE_BYTES + 1_024),
        ))
    }
}

fn separate(out: &mut Vec<u8>, first: &mut bool) {
    if !std::mem::take(first) {
        out.push(b',');
    }
}

fn push_sample(out: &mut Vec<u8>, sample: &Sample) {
    out.extend_from_slice(b"{\"metric\":");
    push_labels(out, &sample.labels);

    match &sample.value {
        SampleValue::Float(v) => {
            out.extend_from_slice(b",\"value\":");
            push_point(out, sample.t, *v);
        }
        SampleValue::Histogram(h) => {
            out.extend_from_slice(b",\"histogram\":");
            push_histogram_point(out, sample.t, h);
        }
    }

    out.push(b'}');
}

fn push_point(out: &mut Vec<u8>, t: i64, v: f64) {
    out.push(b'[');
    push_time(out, t);
    out.push(b',');
    push_quoted_float(out, v);
    out.push(b']');
}

fn push_histogram_point(out: &mut Vec<u8>, t: i64, h: &FloatHistogram) {
    out.push(b'[');
    push_time(out, t);
    out.push(b',');
    push_histogram(out, h);
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use trireme_model::Labels;
    use trireme_promql::QueryStats;

    use super::*;

    fn text(value: Value) -> String {
        let result = QueryResult {
            value,
            warnings: vec![],
            infos: vec![],
            stats: QueryStats::default(),
        };
        String::from_utf8(ResultPieces::new(result, b"").flatten().collect()).expect("text")
    }

    #[test]
    fn shapes_are_those_of_prometheus() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "n")]);
        let empty = Arc::new(FloatHistogram::default());
        let cases = [
            (
                Value::Scalar { t: 1_500, v: 2.0 },
                r#""scalar","result":[1.500,"2"]"#,
            ),
            (
                Value::String {
                    t: 0,
                    v: "a\"".into(),
                },
                r#""string","result":[0,"a\""]"#,
            ),
            (Value::Vector(vec![]), r#""vector","result":[]"#),
            (
                Value::Vector(vec![Sample {
                    labels: labels.clone(),
                    t: 1_000,
                    value: SampleValue::Float(f64::NAN),
                }]),
                r#""vector","result":[{"metric":{"__name__":"up","job":"n"},"value":[1,"NaN"]}]"#,
            ),
            (
                Value::Matrix(vec![
                    Series {
                        labels: labels.clone(),
                        floats: vec![(0, 1.0), (1_000, 2.0)],
                        histograms: vec![],
                    },
                    Series {
                        labels: Labels::empty(),
                        floats: vec![(0, 1.0)],
                        histograms: vec![(1_000, empty.clone())],
                    },
                    Series {
                        labels: Labels::empty(),
                        floats: vec![],
                        histograms: vec![(1_000, empty)],
                    },
                ]),
                concat!(
                    r#""matrix","result":[{"metric":{"__name__":"up","job":"n"},"values":[[0,"1"],[1,"2"]]},"#,
                    r#"{"metric":{},"values":[[0,"1"]],"histograms":[[1,{"count":"0","sum":"0"}]]},"#,
                    r#"{"metric":{},"histograms":[[1,{"count":"0","sum":"0"}]]}]"#
                ),
            ),
        ];

        for (value, want) in cases {
            assert_eq!(
                text(value),
                format!(r#"{{"status":"success","data":{{"resultType":{want}}}}}"#)
            );
        }
    }

    #[test]
    fn large_answers_come_in_bounded_pieces_that_make_one_document() {
        let value = Value::Matrix(
            (0..3)
                .map(|i: usize| Series {
                    labels: Labels::from_pairs([("i", i.to_string())]),
                    floats: (0..11_000).map(|t| (t, t as f64 / 3.0)).collect(),
                    histograms: vec![],
                })
                .collect(),
        );

        let result = QueryResult {
            value,
            warnings: vec!["w".into()],
            infos: vec![],
            stats: QueryStats::default(),
        };

        let pieces: Vec<_> = ResultPieces::new(result, b"").collect();
        assert!(pieces.len() > 5 && pieces.iter().all(|p| p.len() < PIECE_BYTES + 1_024));
        let json: serde_json::Value =
            serde_json::from_slice(&pieces.concat()).expect("one document");

        assert_eq!(
            json["data"]["result"][2]["values"].as_array().map(Vec::len),
            Some(11_000)
        );
        assert_eq!(json["warnings"][0], "w");
    }
}
