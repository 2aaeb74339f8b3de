//! Start timestamps of the floats of one bucket.

/// Start timestamps (ms) by sample time. A counter mostly has the same start from sample to sample, so only changes are
/// kept: a sample has the start of the last entry at or before its time, and 0 (unset) before the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Starts(Vec<(i64, i64)>);

impl Starts {
    /// The start of a sample.
    pub fn at(&self, t: i64) -> i64 {
        self.0[..self.0.partition_point(|(from, _)| *from <= t)]
            .last()
            .map_or(0, |(_, start)| *start)
    }

    /// Sets the start of a sample that is newer than all others.
    #[inline]
    pub fn push(&mut self, t: i64, start: i64) {
        if self.0.last().is_some_and(|(from, _)| *from >= t) {
            self.0
                .truncate(self.0.partition_point(|(from, _)| *from < t));
        }
        if self.0.last().map_or(0, |(_, last)| *last) != start {
            self.0.push((t, start));
        }
    }

    /// Appends the start of each of the sorted `times`.
    pub fn append_to(&self, times: &[i64], out: &mut Vec<i64>) {
        let mut entries = self.0.iter().peekable();
        let mut start = 0;
        out.extend(times.iter().map(|t| {
            while let Some(entry) = entries.next_if(|(from, _)| from <= t) {
                start = entry.1;
            }
            start
        }));
    }

    /// Where the start changes: (from this time, start), by time.
    pub fn entries(&self) -> &[(i64, i64)] {
        &self.0
    }

    /// From what [`Starts::entries`] gave; `None` if the times do not rise.
    pub fn from_entries(entries: Vec<(i64, i64)>) -> Option<Self> {
        entries
            .is_sorted_by(|a, b| a.0 < b.0)
            .then_some(Self(entries))
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.0.capacity() * size_of::<(i64, i64)>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn answers_what_a_map_does_and_keeps_changes_only(
            samples in proptest::collection::vec((0i64..40, 0i64..4), 1..80)
        ) {
            let model: BTreeMap<i64, i64> = samples.into_iter().collect();
            let mut starts = Starts::default();
            for (t, start) in &model {
                starts.push(*t, *start);
                prop_assert!(starts.0.is_sorted_by(|a, b| a.0 < b.0));
                prop_assert!(starts.0.windows(2).all(|pair| pair[0].1 != pair[1].1));
                prop_assert!(starts.0.len() <= model.len());
            }
            let times: Vec<i64> = model.keys().copied().collect();
            let want: Vec<i64> = model.values().copied().collect();
            let mut got = Vec::new();
            starts.append_to(&times, &mut got);
            prop_assert_eq!(&got, &want);
            prop_assert_eq!(times.iter().map(|t| starts.at(*t)).collect::<Vec<_>>(), want);
        }
    }

    #[test]
    fn takes_the_ends_of_time() {
        let mut starts = Starts::default();
        for (t, start) in [(i64::MIN, 7), (0, 8), (i64::MAX, 9)] {
            starts.push(t, start);
            assert_eq!(starts.at(t), start);
        }

        assert_eq!(
            (starts.at(-1), starts.at(1), starts.at(i64::MAX - 1)),
            (7, 8, 8)
        );
    }
}
