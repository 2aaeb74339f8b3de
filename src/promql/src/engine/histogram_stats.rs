//! Reading histograms without their buckets.
//!
//! `histogram_count`, `histogram_sum` and `histogram_avg` need no buckets. As resets can no longer be seen once the
//! buckets are gone, they are looked for while reading, and noted as hints.

use std::sync::Arc;

use trireme_model::{FloatHistogram, ResetHint, is_stale};

use crate::select::Columns;

/// Whether buckets may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stats {
    /// No function around asks for less than the whole histogram.
    Off,
    /// Only count and sum are needed.
    On,
    /// Something further out needs the buckets, whatever is between.
    Never,
}

impl Stats {
    /// What holds inside a function.
    pub(crate) fn inside(self, function: &str) -> Self {
        match function {
            "histogram_count" | "histogram_sum" | "histogram_avg" if self != Self::Never => {
                Self::On
            }
            "histogram_quantile"
            | "histogram_quantiles"
            | "histogram_fraction"
            | "histogram_stddev"
            | "histogram_stdvar" => Self::Never,
            _ => self,
        }
    }

    /// Leaves out the buckets if they are not needed.
    pub(crate) fn apply(self, columns: &mut Columns) {
        if self != Self::On {
            return;
        }

        let mut prev: Option<Arc<FloatHistogram>> = None;
        for point in &mut columns.histograms {
            if is_stale(point.h.sum) {
                continue;
            }

            let reset_hint = match (point.h.reset_hint, &prev) {
                (ResetHint::Unknown, Some(prev)) if point.h.detect_reset(prev) => ResetHint::Reset,
                (ResetHint::Unknown, Some(_)) => ResetHint::NotReset,
                (hint, _) => hint,
            };

            // The schema stays, because a mix of exponential and custom buckets is still one.
            let schema = point.h.schema;
            let count = point.h.count;
            let sum = point.h.sum;
            let stats = FloatHistogram {
                reset_hint,
                schema,
                count,
                sum,
                ..FloatHistogram::default()
            };

            prev = Some(std::mem::replace(&mut point.h, Arc::new(stats)));
        }
    }
}
