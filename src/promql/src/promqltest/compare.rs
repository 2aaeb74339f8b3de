//! Compares results with what a script expects.

use trireme_model::{FloatHistogram, Span, is_stale};

use super::eval::Case;
use super::series::{Description, SequenceValue};
use crate::value::{Sample, SampleValue, Series, Value};

/// Relative error that float results may have.
const EPSILON: f64 = 1e-6;

/// True if the floats are equal but for rounding; NaN equals NaN, and the stale marker only itself.
pub(super) fn almost_equal(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }

    let magnitude = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || magnitude < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }

    difference / magnitude.min(f64::MAX) < EPSILON
}

impl Case {
    /// Compares the value of the case's query. Times are those of the case.
    pub(super) fn compare(&self, value: &Value) -> Result<(), String> {
        match value {
            Value::Scalar { v, .. } => self.compare_scalar(*v),
            Value::String { v, .. } => {
                let want = self.expected_string.as_ref();
                if want == Some(v) {
                    Ok(())
                } else {
                    Err(format!("expected {want:?} but got string {v:?}"))
                }
            }
            Value::Vector(samples) => self.compare_vector(samples),
            Value::Matrix(series) => self.compare_matrix(series),
        }
    }

    fn compare_scalar(&self, v: f64) -> Result<(), String> {
        match self.expected_scalar {
            Some(want) if almost_equal(want, v) => Ok(()),
            Some(want) => Err(format!("expected scalar {want} but got {v}")),
            None => Err(format!(
                "expected vector or matrix result, but got scalar {v}"
            )),
        }
    }

    /// Compares the elements of an instant vector.
    pub(super) fn compare_vector(&self, samples: &[Sample]) -> Result<(), String> {
        if let Some(want) = self.expected_scalar {
            return Err(format!(
                "expected scalar {want}, but got a vector of {} elements",
                samples.len()
            ));
        }

        let mut seen = vec![false; self.expected.len()];
        for (place, sample) in samples.iter().enumerate() {
            // The last of several lines with the same labels counts.
            let found = self
                .expected
                .iter()
                .rposition(|e| e.labels == sample.labels);
            let Some(i) = found else {
                return Err(format!(
                    "unexpected {} in result, has value {}",
                    sample.labels,
                    show(&sample.value)
                ));
            };

            if self.expectation.ordered && i != place {
                return Err(format!(
                    "expected {} at position {}, but was at {}",
                    sample.labels,
                    i + 1,
                    place + 1
                ));
            }

            if std::mem::replace(&mut seen[i], true) {
                return Err(format!("{} is twice in the result", sample.labels));
            }

            self.check_element(i, sample)?;
        }

        self.all_seen(&seen)
    }

    /// Compares an element with the line for it.
    fn check_element(&self, line: usize, sample: &Sample) -> Result<(), String> {
        let want = self.expected[line].values.first();
        let equal = want.is_some_and(|w| {
            w.value
                .as_ref()
                .is_some_and(|v| same(v, &sample.value, w.hint_written))
        });
        if equal {
            return Ok(());
        }

        let want = want
            .and_then(|w| w.value.as_ref())
            .map_or("nothing".to_owned(), show);
        Err(format!(
            "expected {want} for {} but got {}",
            sample.labels,
            show(&sample.value)
        ))
    }

    fn all_seen(&self, seen: &[bool]) -> Result<(), String> {
        let missing = self.expected.iter().enumerate().find(|(i, e)| {
            !seen[*i]
                && !self.expected[i + 1..]
                    .iter()
                    .any(|later| later.labels == e.labels)
        });
        match missing {
            Some((_, e)) => Err(format!("expected {} not found", e.labels)),
            None => Ok(()),
        }
    }

    fn compare_matrix(&self, matrix: &[Series]) -> Result<(), String> {
        if self.expectation.ordered {
            return Err("expected ordered result, but query returned a matrix".to_owned());
        }

        if let Some(want) = self.expected_scalar {
            return Err(format!(
                "expected scalar {want}, but got a matrix of {} series",
                matrix.len()
            ));
        }

        check_sorted(matrix)?;

        let mut seen = vec![false; self.expected.len()];
        for series in matrix {
            let Some(i) = self
                .expected
                .iter()
                .rposition(|e| e.labels == series.labels)
            else {
                return Err(format!(
                    "unexpected {} in result, has {}",
                    series.labels,
                    show_series(series)
                ));
            };

            if std::mem::replace(&mut seen[i], true) {
                return Err(format!("{} is twice in the result", series.labels));
            }

            self.compare_series(&self.expected[i], series)?;
        }

        self.all_seen(&seen)
    }

    fn compare_series(&self, expected: &Description, series: &Series) -> Result<(), String> {
        let (start_ms, end_ms, step_ms) = self.matrix_times();

        let mut points = points_of(series).into_iter();
        for (i, want) in expected.values.iter().enumerate() {
            let t = start_ms + i as i64 * step_ms;
            if t > end_ms {
                return Err(format!(
                    "expected more points for {} than the query can return",
                    series.labels
                ));
            }

            let SequenceValue {
                value: Some(value),
                hint_written,
            } = want
            else {
                continue;
            };

            let equal = points
                .next()
                .is_some_and(|(pt, point)| pt == t && same(value, &point, *hint_written));

            if !equal {
                let got = show_series(series);
                return Err(format!(
                    "expected {} for {} at {t}, but got {got}",
                    show(value),
                    series.labels
                ));
            }
        }

        match points.next() {
            None => Ok(()),
            Some((t, _)) => Err(format!(
                "unexpected point at {t} of {}, which has {}",
                series.labels,
                show_series(series)
            )),
        }
    }
}

/// Range results have to be sorted by labels.
pub(super) fn check_sorted(matrix: &[Series]) -> Result<(), String> {
    match matrix.windows(2).find(|w| w[0].labels > w[1].labels) {
        Some(w) => Err(format!(
            "matrix is not sorted: {} comes before {}",
            w[0].labels, w[1].labels
        )),
        None => Ok(()),
    }
}

/// Floats and histograms of a series by time.
pub(super) fn points_of(series: &Series) -> Vec<(i64, SampleValue)> {
    let floats = series
        .floats
        .iter()
        .map(|(t, v)| (*t, SampleValue::Float(*v)));
    let histograms = series
        .histograms
        .iter()
        .map(|(t, h)| (*t, SampleValue::Histogram(h.clone())));
    let mut points: Vec<_> = floats.chain(histograms).collect();

    points.sort_by_key(|(t, _)| *t);
    points
}

fn same(want: &SampleValue, got: &SampleValue, hint_written: bool) -> bool {
    match (want, got) {
        (SampleValue::Float(a), SampleValue::Float(b)) => almost_equal(*a, *b),
        (SampleValue::Histogram(a), SampleValue::Histogram(b)) => {
            same_histogram(a, b, hint_written)
        }
        _ => false,
    }
}

fn same_histogram(want: &FloatHistogram, got: &FloatHistogram, hint_written: bool) -> bool {
    let mut a = want.clone();
    let mut b = got.clone();
    a.compact();
    b.compact();

    a.schema == b.schema
        && almost_equal(a.count, b.count)
        && almost_equal(a.sum, b.sum)
        && a.custom_values == b.custom_values
        && a.zero_threshold == b.zero_threshold
        && almost_equal(a.zero_count, b.zero_count)
        && indexes(&a.positive_spans) == indexes(&b.positive_spans)
        && indexes(&a.negative_spans) == indexes(&b.negative_spans)
        && are_almost_equal(&a.positive_buckets, &b.positive_buckets)
        && are_almost_equal(&a.negative_buckets, &b.negative_buckets)
        && (!hint_written || a.reset_hint == b.reset_hint)
}

fn are_almost_equal(x: &[f64], y: &[f64]) -> bool {
    x.len() == y.len() && x.iter().zip(y).all(|(x, y)| almost_equal(*x, *y))
}

/// The bucket indexes that spans cover; the same buckets can be spanned in several ways.
fn indexes(spans: &[Span]) -> Vec<i64> {
    let mut next = 0;

    let mut out = Vec::new();
    for span in spans {
        let start = next + i64::from(span.offset);
        next = start + i64::from(span.length);
        out.extend(start..next);
    }

    out
}

fn show(value: &SampleValue) -> String {
    match value {
        SampleValue::Float(v) => v.to_string(),
        SampleValue::Histogram(h) => {
            format!(
                "{{{{schema:{} sum:{} count:{} z_bucket:{} z_bucket_w:{} +{:?}{:?} -{:?}{:?} custom_values:{:?} {:?}}}}}",
                h.schema,
                h.sum,
                h.count,
                h.zero_count,
                h.zero_threshold,
                h.positive_spans
                    .iter()
                    .map(|s| (s.offset, s.length))
                    .collect::<Vec<_>>(),
                h.positive_buckets,
                h.negative_spans
                    .iter()
                    .map(|s| (s.offset, s.length))
                    .collect::<Vec<_>>(),
                h.negative_buckets,
                h.custom_values,
                h.reset_hint
            )
        }
    }
}

fn show_series(series: &Series) -> String {
    let points: Vec<String> = points_of(series)
        .iter()
        .map(|(t, v)| format!("{}@{t}", show(v)))
        .collect();
    format!("[{}]", points.join(" "))
}
