//! Which cuts are still to be made.

use std::collections::BTreeMap;

use super::taken::Taken;
use crate::bucket::BucketId;

/// Cuts that samples in the head wait for, each with the oldest and the newest window of these samples.
#[derive(Debug, Default)]
pub(crate) struct OpenCuts(BTreeMap<i64, (i64, i64)>);

impl OpenCuts {
    /// Notes that there are samples of this window and cut.
    pub fn note(&mut self, id: BucketId) {
        let (oldest, newest) = self.0.entry(id.cut).or_insert((id.window, id.window));
        *oldest = id.window.min(*oldest);
        *newest = id.window.max(*newest);
    }

    /// Forgets what cut `k` took.
    pub fn close(&mut self, k: i64, taken: Taken) {
        self.0.retain(|cut, (oldest, newest)| {
            if !taken.is_astray(*cut) {
                return *cut > k;
            }
            *oldest = (*oldest).max(k.saturating_add(1));
            oldest <= newest
        });
    }

    /// The least cut.
    pub fn first(&self) -> Option<i64> {
        self.0.keys().next().copied()
    }

    /// The cut to be made next if windows up to `closed` are closed.
    pub fn due(&self, closed: i64, window_ms: i64) -> Option<i64> {
        let taken = Taken::by(closed, window_ms);
        let astray = self
            .0
            .iter()
            .rev()
            .take_while(|(cut, _)| taken.is_astray(**cut));

        let oldest_astray = astray.map(|(_, (oldest, _))| *oldest).min();
        self.first()
            .into_iter()
            .chain(oldest_astray)
            .min()
            .filter(|k| *k <= closed)
    }

    /// The greatest cut up to `k`.
    pub fn last_up_to(&self, k: i64) -> Option<i64> {
        self.0.range(..=k).next_back().map(|(cut, _)| *cut)
    }

    /// No sample lies in a window before this.
    pub fn oldest_window(&self) -> Option<i64> {
        self.0.values().map(|(oldest, _)| *oldest).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOURS_2: i64 = 7_200_000;

    #[test]
    fn the_oldest_window_is_that_of_the_cuts_that_are_left() {
        let mut cuts = OpenCuts::default();
        assert_eq!((cuts.first(), cuts.oldest_window()), (None, None));

        for (window, cut) in [(7, 7), (3, 7), (5, 8), (8, 8)] {
            cuts.note(BucketId { window, cut });
        }

        assert_eq!((cuts.first(), cuts.oldest_window()), (Some(7), Some(3)));
        assert_eq!(
            (cuts.due(6, HOURS_2), cuts.due(7, HOURS_2)),
            (None, Some(7))
        );
        assert_eq!((cuts.last_up_to(6), cuts.last_up_to(99)), (None, Some(8)));
        cuts.close(7, Taken::by(7, HOURS_2));
        assert_eq!((cuts.first(), cuts.oldest_window()), (Some(8), Some(5)));
    }

    #[test]
    fn what_waits_for_a_cut_that_cannot_come_is_due_with_its_window() {
        let mut cuts = OpenCuts::default();
        cuts.note(BucketId {
            window: 9,
            cut: 5_000,
        });
        cuts.note(BucketId {
            window: 11,
            cut: 5_000,
        });
        assert_eq!(
            (cuts.due(8, HOURS_2), cuts.due(10, HOURS_2)),
            (None, Some(9))
        );
        cuts.close(9, Taken::by(9, HOURS_2));
        assert_eq!(cuts.oldest_window(), Some(10));
        cuts.close(11, Taken::by(11, HOURS_2));
        assert_eq!(cuts.first(), None);
    }
}
