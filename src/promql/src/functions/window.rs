//! The samples of a range at one step, and how the range slides over the columns of a series.

use crate::select::{Columns, Counted, HistogramPoint};

/// Samples of one series in a range, oldest first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window<'a> {
    /// Timestamps of the floats (ms).
    pub(crate) t: &'a [i64],
    /// Values of the floats.
    pub(crate) v: &'a [f64],
    /// Start timestamps of the floats (ms): one for each float, or none at all.
    pub(crate) st: &'a [i64],
    /// Histograms.
    pub(crate) h: &'a [HistogramPoint],
    /// How many raw samples some of them stand for; mostly empty.
    pub(crate) counts: &'a [Counted],
}

impl Window<'_> {
    /// Number of samples, histograms by their weight.
    pub(crate) fn len(&self) -> usize {
        self.t.len() + self.h.iter().map(|p| p.h.size_in_samples()).sum::<usize>()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.t.is_empty() && self.h.is_empty()
    }

    /// How many raw samples the one at `t` stands for.
    pub(crate) fn count_at(&self, t: i64) -> f64 {
        let found = self.counts.binary_search_by_key(&t, |counted| counted.t);
        found.map_or(1.0, |at| self.counts[at].n)
    }
}

/// Where a window that only moves forward begins and ends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sliding {
    floats: (usize, usize),
    histograms: (usize, usize),
    counts: (usize, usize),
}

impl Sliding {
    /// Moves on to the samples of `(after, until]`; neither may be before that of the last call.
    #[inline]
    pub(crate) fn advance<'a>(
        &mut self,
        columns: &'a Columns,
        after: i64,
        until: i64,
    ) -> Window<'a> {
        let t = columns.float_t.as_slice();

        self.floats = slide(self.floats, t, |t| *t, after, until);
        if !columns.histograms.is_empty() {
            let histograms = columns.histograms.as_slice();
            self.histograms = slide(self.histograms, histograms, |p| p.t, after, until);
        }

        if !columns.counts.is_empty() {
            let counts = columns.counts.as_slice();
            self.counts = slide(self.counts, counts, |c| c.t, after, until);
        }

        let floats = self.floats.0..self.floats.1;
        let (first, end) = self.histograms;
        Window {
            t: &t[floats.clone()],
            v: &columns.float_v[floats.clone()],
            st: columns.float_st.get(floats).unwrap_or(&[]),
            h: &columns.histograms[first..end],
            counts: &columns.counts[self.counts.0..self.counts.1],
        }
    }
}

/// Moves the bounds of a window on to the items of `(after, until]`.
#[inline]
fn slide<T>(
    (mut first, mut end): (usize, usize),
    items: &[T],
    t: impl Fn(&T) -> i64,
    after: i64,
    until: i64,
) -> (usize, usize) {
    while end < items.len() && t(&items[end]) <= until {
        end += 1;
    }

    while first < end && t(&items[first]) <= after {
        first += 1;
    }

    (first, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_open_on_the_left() {
        let mut columns = Columns::default();
        for t in [0, 10, 20, 30] {
            columns.push_float(t, t as f64);
        }

        let mut sliding = Sliding::default();
        assert_eq!(sliding.advance(&columns, 0, 20).t, [10, 20]);
        assert_eq!(sliding.advance(&columns, 10, 30).t, [20, 30]);

        assert!(sliding.advance(&columns, 40, 60).is_empty());
    }
}
