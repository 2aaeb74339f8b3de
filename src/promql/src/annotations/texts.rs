//! The notes the engine can give.

use trireme_model::{format_float, quote};

use super::{Mended, Note, Severity};
use crate::ast::PosRange;

/// What was done to histograms when something had to be said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HistogramOperation {
    Add,
    Sub,
    Aggregate,
}

impl HistogramOperation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Add => "addition",
            Self::Sub => "subtraction",
            Self::Aggregate => "aggregation",
        }
    }
}

fn warning(text: String, pos: PosRange) -> Note {
    let text = format!("PromQL warning: {text}");
    Note {
        severity: Severity::Warning,
        text,
        pos: Some(pos),
        mended: None,
    }
}

fn info(text: String, pos: PosRange) -> Note {
    let text = format!("PromQL info: {text}");
    Note {
        severity: Severity::Info,
        text,
        pos: Some(pos),
        mended: None,
    }
}

fn for_metric(text: &str, metric: &str) -> String {
    if metric.is_empty() {
        text.to_owned()
    } else {
        format!("{text} for metric name {}", quote(metric))
    }
}

/// A warning of the storage.
pub(crate) fn storage_warning(text: String) -> Note {
    Note {
        severity: Severity::Warning,
        text,
        pos: None,
        mended: None,
    }
}

pub(crate) fn invalid_quantile(q: f64, pos: PosRange) -> Note {
    warning(
        format!(
            "quantile value should be between 0 and 1, got {}",
            format_float(q)
        ),
        pos,
    )
}

pub(crate) fn invalid_strategy(strategy: f64, pos: PosRange) -> Note {
    let strategy = format_float(strategy);
    warning(
        format!("strategy should be 0, 1, or 2 (default), using 2, got {strategy}"),
        pos,
    )
}

pub(crate) fn invalid_ratio(r: f64, capped: f64, pos: PosRange) -> Note {
    let r = format_float(r);
    let capped = format_float(capped);
    warning(
        format!("ratio value should be between -1 and 1, got {r}, capping to {capped}"),
        pos,
    )
}

pub(crate) fn bad_bucket_label(metric: &str, label: &str, pos: PosRange) -> Note {
    let text = format!(
        "bucket label \"le\" is missing or has a malformed value of {}",
        quote(label)
    );
    warning(for_metric(&text, metric), pos)
}

pub(crate) fn mixed_floats_histograms(metric: &str, pos: PosRange) -> Note {
    warning(
        format!(
            "encountered a mix of histograms and floats for metric name {}",
            quote(metric)
        ),
        pos,
    )
}

pub(crate) fn mixed_floats_histograms_agg(pos: PosRange) -> Note {
    warning(
        "encountered a mix of histograms and floats for aggregation".to_owned(),
        pos,
    )
}

pub(crate) fn mixed_classic_native(metric: &str, pos: PosRange) -> Note {
    warning(
        for_metric(
            "vector contains a mix of classic and native histograms",
            metric,
        ),
        pos,
    )
}

pub(crate) fn not_counter(metric: &str, pos: PosRange) -> Note {
    warning(
        format!(
            "this native histogram metric is not a counter: {}",
            quote(metric)
        ),
        pos,
    )
}

pub(crate) fn not_gauge(metric: &str, pos: PosRange) -> Note {
    warning(
        format!(
            "this native histogram metric is not a gauge: {}",
            quote(metric)
        ),
        pos,
    )
}

pub(crate) fn mixed_exponential_custom(metric: &str, pos: PosRange) -> Note {
    let text = "vector contains a mix of histograms with exponential and custom buckets schemas for metric name";
    warning(format!("{text} {}", quote(metric)), pos)
}

pub(crate) fn incompatible_bucket_layout(operator: &str, pos: PosRange) -> Note {
    warning(
        format!("incompatible bucket layout encountered for binary operator {operator}"),
        pos,
    )
}

pub(crate) fn sort_in_range_query(pos: PosRange) -> Note {
    let text = "sort is ineffective for range queries since results are always ordered by labels";
    warning(text.to_owned(), pos)
}

pub(crate) fn counter_reset_collision(operation: HistogramOperation, pos: PosRange) -> Note {
    warning(
        format!(
            "conflicting counter resets during histogram {}",
            operation.as_str()
        ),
        pos,
    )
}

pub(crate) fn start_time_overlap(metric: &str, pos: PosRange) -> Note {
    let text = "sample has start time that overlaps with previous sample timestamp for metric";
    warning(format!("{text} {}", quote(metric)), pos)
}

pub(crate) fn possible_non_counter(metric: &str, pos: PosRange) -> Note {
    let text = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket:";
    info(format!("{text} {}", quote(metric)), pos)
}

pub(crate) fn possible_non_counter_label(metric: &str, type_label: &str, pos: PosRange) -> Note {
    let text = "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got";
    info(
        format!("{text} {}: {}", quote(type_label), quote(metric)),
        pos,
    )
}

/// At `t` (ms), buckets with bounds from `bucket_min` to `bucket_max` were raised by up to `diff`.
pub(crate) fn forced_monotonicity(
    metric: &str,
    pos: PosRange,
    t: i64,
    bucket_min: f64,
    bucket_max: f64,
    diff: f64,
) -> Note {
    let text = "input to histogram_quantile needed to be fixed for monotonicity (see \
                https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
    let mended = Mended {
        t_min: t,
        t_max: t,
        bucket_min,
        bucket_max,
        diff_max: diff,
        count: 1,
    };

    Note {
        mended: Some(mended),
        ..info(for_metric(text, metric), pos)
    }
}

pub(crate) fn incompatible_types(lhs: &str, operator: &str, rhs: &str, pos: PosRange) -> Note {
    let text = "incompatible sample types encountered for binary operator";
    info(
        format!("{text} {}: {lhs} {operator} {rhs}", quote(operator)),
        pos,
    )
}

pub(crate) fn histogram_ignored_in_aggregation(operator: &str, pos: PosRange) -> Note {
    info(format!("ignored histogram in {operator} aggregation"), pos)
}

pub(crate) fn histogram_ignored_in_mixed_range(metric: &str, pos: PosRange) -> Note {
    let text =
        "ignored histograms in a range containing both floats and histograms for metric name";
    info(format!("{text} {}", quote(metric)), pos)
}

pub(crate) fn quantile_nan_result(metric: &str, pos: PosRange) -> Note {
    info(
        for_metric(
            "input to histogram_quantile has NaN observations, result is NaN",
            metric,
        ),
        pos,
    )
}

pub(crate) fn quantile_nan_skew(metric: &str, pos: PosRange) -> Note {
    let text = "input to histogram_quantile has NaN observations, result is skewed higher";
    info(for_metric(text, metric), pos)
}

pub(crate) fn fraction_nan(metric: &str, pos: PosRange) -> Note {
    let text =
        "input to histogram_fraction has NaN observations, which are excluded from all fractions";
    info(for_metric(text, metric), pos)
}

pub(crate) fn mismatched_custom_buckets(operation: HistogramOperation, pos: PosRange) -> Note {
    info(
        format!(
            "mismatched custom buckets were reconciled during {}",
            operation.as_str()
        ),
        pos,
    )
}
