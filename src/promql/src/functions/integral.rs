//! `integral`: the area below the samples of a range.

use trireme_model::kahan_add;

use super::range::RangeCall;
use crate::annotations as notes;
use crate::engine::row::Out;
use crate::error::QueryError;

/// Which value stands for the interval between two samples.
#[derive(Clone, Copy)]
enum Strategy {
    /// That of the sample before.
    Left,
    /// That of the sample after.
    Right,
    /// The mean of both.
    Middle,
}

/// What the function's second argument is if it is not there.
pub(crate) const STRATEGY_DEFAULT: f64 = 2.0;

impl Strategy {
    #[allow(clippy::float_cmp)]
    fn of(number: f64) -> Option<Self> {
        match number {
            0.0 => Some(Self::Left),
            1.0 => Some(Self::Right),
            2.0 => Some(Self::Middle),
            _ => None,
        }
    }
}

/// Value times seconds, summed over the intervals between neighbours; nothing is extrapolated to the edges.
pub(crate) fn integral(call: &mut RangeCall<'_>) -> Result<Option<Out>, QueryError> {
    if call.window.t.is_empty() {
        return Ok(None);
    }

    let given = call.scalars[0];
    let strategy = Strategy::of(given).unwrap_or_else(|| {
        let note = notes::invalid_strategy(given, call.scalar_pos);
        call.notice.add_note(note);
        Strategy::Middle
    });

    call.note_ignored_histograms();

    let t = call.window.t;
    let v = call.window.v;
    let mut sum = 0.0;

    let mut compensation = 0.0;
    for (t, v) in t.windows(2).zip(v.windows(2)) {
        let seconds = (t[1] - t[0]) as f64 / 1000.0;
        let (weight, remainder) = weight(strategy, known(v[0]), known(v[1]));
        // An interval without weight adds nothing, however long it is.
        if weight != 0.0 {
            (sum, compensation) = kahan_add(weight * seconds, sum, compensation);
        }
        if remainder != 0.0 {
            (sum, compensation) = kahan_add(remainder * seconds, sum, compensation);
        }
    }

    Ok(Some(Out::Float(if f64::is_infinite(sum) {
        sum
    } else {
        sum + compensation
    })))
}

/// NaN, where nothing is known, counts as 0.
fn known(v: f64) -> f64 {
    if v.is_nan() { 0.0 } else { v }
}

/// The value that stands for an interval, and what rounding took from it.
fn weight(strategy: Strategy, left: f64, right: f64) -> (f64, f64) {
    match strategy {
        Strategy::Left => (left, 0.0),
        Strategy::Right => (right, 0.0),
        Strategy::Middle => {
            let (sum, remainder) = kahan_add(right, left, 0.0);
            if sum.is_infinite() && left.is_finite() && right.is_finite() {
                return (left / 2.0 + right / 2.0, 0.0);
            }
            (
                sum / 2.0,
                if sum.is_infinite() {
                    0.0
                } else {
                    remainder / 2.0
                },
            )
        }
    }
}
