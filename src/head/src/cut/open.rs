//! Which cuts are still to be made.

use std::collections::BTreeMap;

use crate::bucket::BucketId;

/// Cuts that samples in the head wait for, each with the oldest window of these samples.
#[derive(Debug, Default)]
pub(crate) struct OpenCuts(BTreeMap<i64, i64>);

impl OpenCuts {
    /// Notes that there are samples of this window and cut.
    pub fn note(&mut self, id: BucketId) {
        let oldest = self.0.entry(id.cut).or_insert(id.window);
        *oldest = id.window.min(*oldest);
    }

    /// Forgets cuts up to `k`: they were made.
    pub fn close(&mut self, k: i64) {
        self.0.retain(|cut, _| *cut > k);
    }

    /// The least cut.
    pub fn first(&self) -> Option<i64> {
        self.0.keys().next().copied()
    }

    /// No sample lies in a window before this.
    pub fn oldest_window(&self) -> Option<i64> {
        self.0.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_window_is_that_of_the_cuts_that_are_left() {
        let mut cuts = OpenCuts::default();
        assert_eq!((cuts.first(), cuts.oldest_window()), (None, None));
        for (window, cut) in [(7, 7), (3, 7), (5, 8), (8, 8)] {
            cuts.note(BucketId { window, cut });
        }
        assert_eq!((cuts.first(), cuts.oldest_window()), (Some(7), Some(3)));
        cuts.close(7);
        assert_eq!((cuts.first(), cuts.oldest_window()), (Some(8), Some(5)));
    }
}
