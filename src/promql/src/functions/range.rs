//! What functions over ranges get, and which there are.

use super::window::Window;
use super::{Notice, integral, over_time, quantile, rate, regression, transitions};
use crate::ast::PosRange;
use crate::engine::range::Extension;
use crate::engine::row::Out;
use crate::error::QueryError;

/// One call: the samples of one series in the range of one step. There is at least one sample.
pub(crate) struct RangeCall<'a> {
    /// The samples; with an extension also those around the range.
    pub(crate) window: Window<'a>,
    /// Left edge of the range (ms, exclusive).
    pub(crate) start: i64,
    /// Right edge of the range (ms, inclusive).
    pub(crate) end: i64,
    /// Time of the step (ms).
    pub(crate) eval_t: i64,
    /// Length of the range (ms).
    pub(crate) range_ms: i64,
    pub(crate) extension: Extension,
    /// How far from the range samples are looked for (ms); see [`Extension`].
    pub(crate) lookback_ms: i64,
    /// The other arguments.
    pub(crate) scalars: [f64; 2],
    /// Where the last of the other arguments stands, if there is one; else as in `notice`.
    pub(crate) scalar_pos: PosRange,
    /// False if no float of the series is below its predecessor and no start timestamp is set.
    pub(crate) may_reset: bool,
    pub(crate) start_timestamps: bool,
    pub(crate) notice: Notice<'a>,
    pub(crate) scratch: &'a mut Vec<f64>,
}

impl RangeCall<'_> {
    /// Start timestamp of a float, 0 if unset.
    pub(crate) fn float_st(&self, i: usize) -> i64 {
        self.window.st.get(i).copied().unwrap_or(0)
    }

    /// Start timestamp of a histogram, 0 if unset.
    pub(crate) fn histogram_st(&self, i: usize) -> i64 {
        if self.start_timestamps {
            self.window.h[i].st
        } else {
            0
        }
    }

    /// Length of the range in seconds.
    pub(crate) fn range_s(&self) -> f64 {
        self.range_ms as f64 / 1000.0
    }

    /// For functions that only look at floats: tells if histograms had to be ignored beside them.
    pub(crate) fn note_ignored_histograms(&mut self) {
        if !self.window.h.is_empty() {
            self.notice
                .add(crate::annotations::histogram_ignored_in_mixed_range);
        }
    }
}

/// A function over a range.
pub(crate) type RangeFunction = fn(&mut RangeCall<'_>) -> Result<Option<Out>, QueryError>;

/// Functions that may be used with `anchored`, for the error message in order.
pub(crate) const ANCHORED: [&str; 5] = ["changes", "delta", "increase", "rate", "resets"];
/// Functions that may be used with `smoothed`.
pub(crate) const SMOOTHED: [&str; 3] = ["delta", "increase", "rate"];

/// Finds a function that takes a range vector, `absent_over_time` counting as `present_over_time`.
pub(crate) fn range_function(name: &str) -> Option<RangeFunction> {
    Some(match name {
        "rate" => rate::rate,
        "increase" => rate::increase,
        "delta" => rate::delta,
        "irate" => rate::irate,
        "idelta" => rate::idelta,
        "changes" => transitions::changes,
        "resets" => transitions::resets,
        "deriv" => regression::deriv,
        "predict_linear" => regression::predict_linear,
        "double_exponential_smoothing" => regression::double_exponential_smoothing,
        "avg_over_time" => over_time::avg,
        "sum_over_time" => over_time::sum,
        "min_over_time" => over_time::min,
        "max_over_time" => over_time::max,
        "count_over_time" => over_time::count,
        "first_over_time" => over_time::first,
        "last_over_time" => over_time::last,
        "present_over_time" | "absent_over_time" => over_time::present,
        "stddev_over_time" => over_time::stddev,
        "stdvar_over_time" => over_time::stdvar,
        "integral" => integral::integral,
        "mad_over_time" => quantile::mad_over_time,
        "quantile_over_time" => quantile::quantile_over_time,
        "ts_of_first_over_time" => over_time::ts_of_first,
        "ts_of_last_over_time" => over_time::ts_of_last,
        "ts_of_min_over_time" => over_time::ts_of_min,
        "ts_of_max_over_time" => over_time::ts_of_max,
        _ => return None,
    })
}
