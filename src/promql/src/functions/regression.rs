//! `deriv`, `predict_linear`, `double_exponential_smoothing`.

use trireme_model::kahan_add;

use super::range::RangeCall;
use crate::engine::row::Out;
use crate::error::QueryError;

/// Slope (per second) and value at `at` (ms) of the line that fits best.
fn linear_regression(t: &[i64], v: &[f64], at: i64) -> (f64, f64) {
    let first = v.first().copied().unwrap_or(f64::NAN);
    // Rounding would give a constant series a slope.
    if v.iter().all(|v| *v == first) {
        return if first.is_infinite() {
            (f64::NAN, f64::NAN)
        } else {
            (0.0, first)
        };
    }

    let n = v.len() as f64;
    let mut x_sum = (0.0, 0.0);
    let mut y_sum = (0.0, 0.0);
    let mut xy_sum = (0.0, 0.0);

    let mut xx_sum = (0.0, 0.0);
    for (t, y) in t.iter().zip(v) {
        let x = (t - at) as f64 / 1000.0;
        add(&mut x_sum, x);
        add(&mut y_sum, *y);
        add(&mut xy_sum, x * y);
        add(&mut xx_sum, x * x);
    }

    let [x, y, xy, xx] =
        [x_sum, y_sum, xy_sum, xx_sum].map(|(sum, compensation)| sum + compensation);
    let slope = (xy - x * y / n) / (xx - x * x / n);

    (slope, y / n - slope * x / n)
}

/// Adds to a sum with its rounding error.
#[inline]
fn add(sum: &mut (f64, f64), value: f64) {
    *sum = kahan_add(value, sum.0, sum.1);
}

/// True (after saying what was ignored) if there are two floats at least.
fn has_two_floats(call: &mut RangeCall<'_>) -> bool {
    if !call.window.t.is_empty() {
        call.note_ignored_histograms();
    }
    call.window.t.len() >= 2
}

pub(crate) fn deriv(call: &mut RangeCall<'_>) -> Result<Option<Out>, QueryError> {
    if !has_two_floats(call) {
        return Ok(None);
    }
    // Near the values in use, because differences of large timestamps lose precision.
    let (slope, _) = linear_regression(call.window.t, call.window.v, call.window.t[0]);
    Ok(Some(Out::Float(slope)))
}

pub(crate) fn predict_linear(call: &mut RangeCall<'_>) -> Result<Option<Out>, QueryError> {
    if !has_two_floats(call) {
        return Ok(None);
    }
    let (slope, value) = linear_regression(call.window.t, call.window.v, call.eval_t);
    Ok(Some(Out::Float(slope * call.scalars[0] + value)))
}

pub(crate) fn double_exponential_smoothing(
    call: &mut RangeCall<'_>,
) -> Result<Option<Out>, QueryError> {
    let [smoothing, trend] = call.scalars;
    for (name, factor) in [("smoothing", smoothing), ("trend", trend)] {
        if factor <= 0.0 || factor >= 1.0 {
            return Err(QueryError::execution(format!(
                "invalid {name} factor. Expected: 0 < {}f < 1, got: {factor:.6}",
                &name[..1]
            )));
        }
    }

    if !has_two_floats(call) {
        return Ok(None);
    }

    let v = call.window.v;
    let mut before = 0.0;
    let mut level = v[0];

    let mut slope = v[1] - v[0];
    for (i, value) in v.iter().enumerate().skip(1) {
        if i > 1 {
            slope = trend * (level - before) + (1.0 - trend) * slope;
        }
        before = level;
        level = smoothing * value + (1.0 - smoothing) * (level + slope);
    }

    Ok(Some(Out::Float(level)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_and_constants_are_flat() {
        assert_eq!(
            linear_regression(&[0, 1000, 2000], &[1.0, 3.0, 5.0], 1000),
            (2.0, 3.0)
        );
        assert_eq!(
            linear_regression(&[0, 1000], &[1e300, 1e300], 0),
            (0.0, 1e300)
        );

        assert!(
            linear_regression(&[0, 1000], &[f64::INFINITY; 2], 0)
                .0
                .is_nan()
        );
    }
}
