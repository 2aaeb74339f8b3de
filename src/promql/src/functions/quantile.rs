//! Quantiles of plain values.

use super::range::RangeCall;
use crate::annotations as notes;
use crate::engine::row::Out;
use crate::error::QueryError;

/// The `q` quantile, between two values by their weighted mean. Sorts `values`; NaN counts as the smallest.
///
/// NaN without values or for a NaN `q`, -Inf for `q < 0`, +Inf for `q > 1`.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }

    values.sort_unstable_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (false, false) => a.total_cmp(b),
        (a, b) => b.cmp(&a),
    });

    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor();
    let upper = (lower as usize + 1).min(values.len() - 1);
    let weight = rank - lower;
    if weight == 0.0 {
        // The neighbour may be infinite, and 0 times that is not a number.
        return values[lower as usize];
    }

    values[lower as usize] * (1.0 - weight) + values[upper] * weight
}

/// True for a `q` that deserves a warning.
pub(crate) fn is_invalid(q: f64) -> bool {
    q.is_nan() || !(0.0..=1.0).contains(&q)
}

pub(crate) fn quantile_over_time(call: &mut RangeCall<'_>) -> Result<Option<Out>, QueryError> {
    let q = call.scalars[0];
    if call.window.v.is_empty() {
        return Ok(None);
    }

    if is_invalid(q) {
        let note = notes::invalid_quantile(q, call.notice.pos);
        call.notice.add_note(note);
    }

    call.note_ignored_histograms();
    call.scratch.clear();
    call.scratch.extend_from_slice(call.window.v);

    Ok(Some(Out::Float(quantile(q, call.scratch))))
}

/// Median of the distances from the median.
pub(crate) fn mad_over_time(call: &mut RangeCall<'_>) -> Result<Option<Out>, QueryError> {
    if call.window.v.is_empty() {
        return Ok(None);
    }

    call.note_ignored_histograms();
    if call.window.v.iter().any(|v| v.is_nan()) {
        return Ok(Some(Out::Float(f64::NAN)));
    }

    call.scratch.clear();
    call.scratch.extend_from_slice(call.window.v);

    let median = quantile(0.5, call.scratch);
    for v in call.scratch.iter_mut() {
        *v = (*v - median).abs();
    }

    Ok(Some(Out::Float(quantile(0.5, call.scratch))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate_and_sort_nan_first() {
        assert_eq!(quantile(0.5, &mut [3.0, 1.0]), 2.0);
        assert_eq!(quantile(1.0, &mut [3.0, f64::NAN, 1.0]), 3.0);
        assert!(quantile(0.0, &mut [3.0, f64::NAN]).is_nan());

        assert_eq!(quantile(-1.0, &mut [1.0]), f64::NEG_INFINITY);
        assert!(quantile(0.5, &mut []).is_nan());
        assert_eq!(quantile(0.5, &mut [1.0, 2.0, f64::INFINITY]), 2.0);
        assert_eq!(quantile(1.0, &mut [1.0, f64::INFINITY]), f64::INFINITY);

        assert!(quantile(0.5, &mut [f64::NEG_INFINITY, f64::INFINITY]).is_nan());
    }
}
