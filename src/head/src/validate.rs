//! What a client may write.

use trireme_model::{AnyHistogram, HistogramSample, LabelError, Labels, METRIC_NAME};

use crate::IngestLimits;

/// Times a sample may have at all: what fits the 48 bits of a block's ULID, and some room for windows.
pub(crate) const TIME_MS_MAX: i64 = 1 << 47;

/// Why a sample's time is refused; also the text of the reason.
pub(crate) const OUT_OF_BOUNDS: &str = "out_of_bounds";
pub(crate) const TOO_OLD: &str = "too_old";
pub(crate) const TOO_FAR_IN_FUTURE: &str = "too_far_in_future";
pub(crate) const SERIES_LIMIT: &str = "series_limit";
/// A new series while the node has as many as it may.
pub(crate) const NODE_SERIES_LIMIT: &str = "node_series_limit";
pub(crate) const TOO_MANY_WINDOWS: &str = "too_many_windows";
pub(crate) const METADATA_LIMIT: &str = "metadata_limit";
pub(crate) const EXEMPLAR_OF_UNKNOWN_SERIES: &str = "exemplar_of_unknown_series";

/// Timestamps below this are from before March 1973 in milliseconds: what sends them now sends seconds.
const SECONDS_MS_MAX: i64 = 100_000_000_000;
/// The end of what is taken for microseconds; what is above are nanoseconds.
const MICROSECONDS_MS_MAX: i64 = 100_000_000_000_000_000;

/// Spans, buckets and bounds of one histogram. Real ones have at most some hundred; a run in a chunk file (65,535
/// bytes) must hold any.
pub(crate) const HISTOGRAM_ENTRIES_MAX: usize = 6_000;
/// Characters of an exemplar's label names and values together, as in OpenMetrics and Prometheus.
const EXEMPLAR_CHARS_MAX: usize = 128;

/// True if the labels of an exemplar are short enough.
pub(crate) fn exemplar_fits(labels: &Labels) -> bool {
    labels.as_bytes().len() <= EXEMPLAR_CHARS_MAX || chars(labels) <= EXEMPLAR_CHARS_MAX
}

fn chars(labels: &Labels) -> usize {
    labels
        .iter()
        .map(|(name, value)| name.chars().count() + value.chars().count())
        .sum::<usize>()
}

/// True for reasons that a clock has a say in: by a wrong one, good samples are refused.
pub fn is_refused_by_clock(reason: &str) -> bool {
    reason == TOO_OLD || reason == TOO_FAR_IN_FUTURE
}

/// Why an exemplar is left out whose sample's time would be refused for `reason`.
pub(crate) fn exemplar_reason(reason: &'static str) -> &'static str {
    match reason {
        TOO_OLD => trireme_model::EXEMPLAR_TOO_OLD,
        TOO_FAR_IN_FUTURE => "exemplar_too_far_in_future",
        _ => "exemplar_out_of_bounds",
    }
}

/// Spans, buckets and bounds of a histogram.
pub(crate) fn histogram_entries(sample: &HistogramSample) -> usize {
    match &sample.h {
        AnyHistogram::Int(h) => {
            let spans = h.positive_spans.len() + h.negative_spans.len();
            spans + h.positive_buckets.len() + h.negative_buckets.len() + h.custom_values.len()
        }
        AnyHistogram::Float(h) => {
            let spans = h.positive_spans.len() + h.negative_spans.len();
            spans + h.positive_buckets.len() + h.negative_buckets.len() + h.custom_values.len()
        }
    }
}

/// The times a batch may have, as one range, so that a good sample costs one comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeBounds {
    /// Inclusive.
    min: i64,
    /// Inclusive.
    max: i64,
    now_ms: i64,
}

impl TimeBounds {
    /// `newest` is the newest sample of the tenant on this node, or `i64::MIN`. A tenant whose senders were all away for
    /// hours catches up from where it stood, so age counts from the newest sample, at most from now; for a tenant without
    /// samples, from now.
    pub fn new(limits: &IngestLimits, newest: i64, now_ms: i64) -> Self {
        let window = limits.out_of_order_window_ms.max(limits.backfill_window_ms);
        let from = if newest == i64::MIN {
            now_ms
        } else {
            newest.min(now_ms)
        };

        let oldest = from.saturating_sub(window);
        Self {
            min: oldest.max(0),
            max: now_ms
                .saturating_add(limits.max_future_ms)
                .min(TIME_MS_MAX - 1),
            now_ms,
        }
    }

    #[inline]
    pub fn contain(&self, t: i64) -> bool {
        t >= self.min && t <= self.max
    }

    /// Why a time outside is refused, with the detail.
    pub fn why(&self, t: i64) -> (&'static str, String) {
        let unit = unit_mistake(t);
        if !(0..TIME_MS_MAX).contains(&t) {
            return (
                OUT_OF_BOUNDS,
                format!("timestamp {t} ms is not in 0 to 2^47{unit}"),
            );
        }

        if t < self.min {
            let min = self.min;
            return (
                TOO_OLD,
                format!("timestamp {t} ms is before {min} ms, the oldest accepted now{unit}"),
            );
        }

        (
            TOO_FAR_IN_FUTURE,
            format!(
                "timestamp {t} ms is ahead of now, {} ms, by more than allowed",
                self.now_ms
            ),
        )
    }
}

/// Says which unit is expected if the time is in another one, by its size.
fn unit_mistake(t: i64) -> &'static str {
    match t {
        0..SECONDS_MS_MAX => {
            "; expected milliseconds since 1970, this looks like seconds or no time at all"
        }
        TIME_MS_MAX..MICROSECONDS_MS_MAX => {
            "; expected milliseconds since 1970, this looks like microseconds"
        }
        MICROSECONDS_MS_MAX.. => "; expected milliseconds since 1970, this looks like nanoseconds",
        _ => "",
    }
}

/// Reads and checks a label set as it came; the error is reason and detail.
pub(crate) fn labels(
    bytes: &[u8],
    limits: &IngestLimits,
) -> Result<Labels, (&'static str, String)> {
    let labels = Labels::from_wire(bytes).map_err(|error| {
        let reason = match &error {
            LabelError::Duplicate(_) => "duplicate_label_names",
            _ => "invalid_labels",
        };
        (reason, error.to_string())
    })?;

    let mut count = 0;

    let mut named = false;
    for (name, value) in labels.iter() {
        count += 1;
        named |= name == METRIC_NAME;

        if name.len() > limits.label_name_bytes_max {
            let max = limits.label_name_bytes_max;
            return Err((
                "label_name_too_long",
                format!("{labels}: label name {name:?} is over {max} bytes"),
            ));
        }

        if value.len() > limits.label_value_bytes_max {
            let max = limits.label_value_bytes_max;
            return Err((
                "label_value_too_long",
                format!(
                    "value of label {name:?} has {} of at most {max} bytes: {labels}",
                    value.len()
                ),
            ));
        }
    }

    if !named {
        return Err(("missing_metric_name", labels.to_string()));
    }

    if count > limits.label_count_max {
        let max = limits.label_count_max;
        return Err((
            "too_many_labels",
            format!("{count} labels, at most {max}: {labels}"),
        ));
    }

    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_reason_for_every_kind_of_bad_time() {
        let limits = IngestLimits::default();
        let now = 1_700_000_000_000;
        let bounds = TimeBounds::new(&limits, now + 5, now);
        let cases = [
            (now, None),
            (now - 3_600_000, None),
            (now - 3_600_001, Some(TOO_OLD)),
            (now + 600_000, None),
            (now + 600_001, Some(TOO_FAR_IN_FUTURE)),
            (-1, Some(OUT_OF_BOUNDS)),
            (i64::MIN, Some(OUT_OF_BOUNDS)),
            (i64::MAX, Some(OUT_OF_BOUNDS)),
            (TIME_MS_MAX, Some(OUT_OF_BOUNDS)),
        ];

        for (t, want) in cases {
            assert_eq!(bounds.contain(t), want.is_none(), "{t}");
            if let Some(want) = want {
                assert_eq!(bounds.why(t).0, want, "{t}");
            }
        }

        // A tenant without samples is measured like any other; one that lags is measured by itself.
        let new = TimeBounds::new(&limits, i64::MIN, now);
        assert!(new.contain(now - 3_600_000) && !new.contain(now - 3_600_001) && !new.contain(0));

        let import = IngestLimits {
            backfill_window_ms: 2 * now,
            ..limits.clone()
        };
        assert!(TimeBounds::new(&import, i64::MIN, now).contain(0));
        assert!(TimeBounds::new(&limits, now - 50_000_000, now).contain(now - 53_000_000));
    }

    #[test]
    fn a_time_in_another_unit_is_told_which_one_is_expected() {
        let now = 1_700_000_000_000;

        let bounds = TimeBounds::new(&IngestLimits::default(), i64::MIN, now);
        for (t, looks_like) in [
            (0, "no time at all"),
            (now / 1_000, "seconds"),
            (10_000_000_000, "seconds"),
            (now * 1_000, "microseconds"),
            (1_000_000_000_000_000, "microseconds"),
            (now * 1_000_000, "nanoseconds"),
            (i64::MAX, "nanoseconds"),
        ] {
            let (_, detail) = bounds.why(t);
            assert!(
                detail.contains("expected milliseconds since 1970"),
                "{t}: {detail}"
            );
            assert!(
                detail.ends_with(looks_like) || detail.contains(&format!("{looks_like} or")),
                "{t}: {detail}"
            );
        }

        for t in [-1, now - 86_400_000, now + 86_400_000] {
            assert!(!bounds.why(t).1.contains("expected"), "{t}");
        }
    }

    #[test]
    fn names_the_reason_for_every_kind_of_bad_labels() {
        let limits = IngestLimits {
            label_count_max: 3,
            label_name_bytes_max: 10,
            label_value_bytes_max: 12,
            ..IngestLimits::default()
        };

        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[("__name__", "up"), ("a", "b")], ""),
            (&[("a", "b")], "missing_metric_name"),
            (&[("__name__", "")], "missing_metric_name"),
            (
                &[("__name__", "up"), ("a_very_long_name", "b")],
                "label_name_too_long",
            ),
            (
                &[("__name__", "up"), ("a", "a very long value")],
                "label_value_too_long",
            ),
            (
                &[("__name__", "up"), ("a", "b"), ("c", "d"), ("e", "f")],
                "too_many_labels",
            ),
            (
                &[("__name__", "up"), ("a", "b"), ("a", "d")],
                "duplicate_label_names",
            ),
            (&[("", "x"), ("__name__", "up")], "invalid_labels"),
        ];

        for (pairs, want) in cases {
            let mut bytes = Vec::new();
            pairs.iter().for_each(|(n, v)| {
                trireme_model::push_label(&mut bytes, n.as_bytes(), v.as_bytes())
            });
            assert_eq!(
                labels(&bytes, &limits).err().map_or("", |e| e.0),
                *want,
                "{pairs:?}"
            );
        }

        assert_eq!(
            labels(&[0x0a, 0xff], &limits).err().map(|e| e.0),
            Some("invalid_labels")
        );
    }
}
