//! The samples of one replica in one order.

use trireme_model::is_stale;
use trireme_promql::Columns;

/// Floats and histograms by time, reduced to what choosing between replicas needs.
pub(super) struct Track {
    pub(super) points: Vec<Point>,
}

/// One sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) t: i64,
    /// What falls when a counter is reset: the value, or the count of a histogram.
    pub(super) level: f64,
    pub(super) stale: bool,
    /// Where it stands in the columns.
    float: bool,
    index: u32,
}

impl Track {
    pub(super) fn new(columns: &Columns) -> Self {
        let floats = columns
            .float_t
            .iter()
            .zip(&columns.float_v)
            .enumerate()
            .map(|(i, (t, v))| Point {
                t: *t,
                level: *v,
                stale: is_stale(*v),
                float: true,
                index: i as u32,
            });

        let histograms = columns.histograms.iter().enumerate().map(|(i, p)| Point {
            t: p.t,
            level: p.h.count,
            stale: is_stale(p.h.sum),
            float: false,
            index: i as u32,
        });

        let mut points: Vec<Point> = floats.chain(histograms).collect();
        if !columns.histograms.is_empty() {
            points.sort_by_key(|p| p.t);
        }

        Self { points }
    }

    /// Appends sample `at` to `out`.
    pub(super) fn push(&self, at: usize, columns: &Columns, out: &mut Columns) {
        let Point {
            t, float, index, ..
        } = self.points[at];

        let index = index as usize;
        if float {
            out.push_float_st(
                t,
                columns.float_st.get(index).copied().unwrap_or(0),
                columns.float_v[index],
            );
        } else {
            out.histograms.push(columns.histograms[index].clone());
        }
    }

    /// Positions of the samples with `lo < t < hi`.
    pub(super) fn between(&self, lo: i64, hi: i64) -> std::ops::Range<usize> {
        let first = self.points.partition_point(|p| p.t <= lo);
        let last = self.points.partition_point(|p| p.t < hi);
        first..last.max(first)
    }

    /// The usual distance of samples (ms), if there are at least two.
    pub(super) fn interval(&self) -> Option<i64> {
        let mut distances: Vec<i64> = self
            .points
            .windows(2)
            .map(|w| w[1].t.saturating_sub(w[0].t))
            .collect();
        let middle = distances.len() / 2;
        (!distances.is_empty()).then(|| *distances.select_nth_unstable(middle).1)
    }
}
