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

        let (mut first, mut end) = self.floats;
        while end < t.len() && t[end] <= until {
            end += 1;
        }

        while first < end && t[first] <= after {
            first += 1;
        }

        self.floats = (first, end);
        if !columns.histograms.is_empty() {
            let (first, end) = &mut self.histograms;
            while columns.histograms.get(*end).is_some_and(|p| p.t <= until) {
                *end += 1;
            }
            while *first < *end && columns.histograms[*first].t <= after {
                *first += 1;
            }
        }

        if !columns.counts.is_empty() {
            let (first, end) = &mut self.counts;
            while columns.counts.get(*end).is_some_and(|c| c.t <= until) {
                *end += 1;
            }
            while *first < *end && columns.counts[*first].t <= after {
                *first += 1;
            }
        }

        let floats = first..end;
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
