//! Which buckets a cut takes.

use crate::bucket::BucketId;

/// A stream that has closed windows so much further ahead than this replica has cut was not honest, or its clock was not
/// (ms). A replica that is behind by more has long been rebuilt.
const FAR_MS: i64 = 7 * 86_400_000;
/// The same for very long windows.
const FAR_WINDOWS_MIN: i64 = 12;

/// The rule of one cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    cut: i64,
    window_ms: i64,
}

impl Taken {
    /// The rule of cut `cut`.
    pub fn by(cut: i64, window_ms: i64) -> Self {
        Self { cut, window_ms }
    }

    /// True if the cut takes this bucket: its own cut has come, or it waits for one that no clock can have meant.
    #[inline]
    pub fn takes(&self, id: BucketId) -> bool {
        id.cut <= self.cut || (id.window <= self.cut && self.is_astray(id.cut))
    }

    /// True if no honest stream can have sent a sample to this cut.
    pub fn is_astray(&self, cut: i64) -> bool {
        is_far(self.window_ms, cut.saturating_sub(1), Some(self.cut))
    }
}

/// The marker of a stream, unless it is so far ahead of the last cut, made or begun, that it cannot be meant. Its samples
/// then go to the cuts of their windows, as if the stream had closed none.
pub(crate) fn sane_marker(window_ms: i64, marker: Option<i64>, floor: Option<i64>) -> Option<i64> {
    marker.filter(|marker| !is_far(window_ms, *marker, floor))
}

fn is_far(window_ms: i64, marker: i64, floor: Option<i64>) -> bool {
    let far = (FAR_MS / window_ms.max(1)).max(FAR_WINDOWS_MIN);
    floor.is_some_and(|floor| marker > floor.saturating_add(far))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOURS_2: i64 = 7_200_000;

    #[test]
    fn a_cut_takes_what_waits_for_one_that_cannot_come() {
        let taken = Taken::by(100, HOURS_2);
        let table = [
            ((100, 100), true),
            ((40, 100), true),
            ((101, 101), false),
            ((100, 101), false),
            ((100, 185), false),
            ((100, 186), true),
            ((100, i64::MAX), true),
            ((101, i64::MAX), false),
        ];

        for ((window, cut), want) in table {
            assert_eq!(
                taken.takes(BucketId { window, cut }),
                want,
                "{window} {cut}"
            );
        }
    }

    #[test]
    fn a_marker_far_ahead_of_the_last_cut_is_none() {
        assert_eq!(sane_marker(HOURS_2, Some(184), Some(100)), Some(184));
        assert_eq!(sane_marker(HOURS_2, Some(185), Some(100)), None);
        assert_eq!(sane_marker(HOURS_2, Some(i64::MAX), Some(100)), None);
        assert_eq!(
            sane_marker(HOURS_2, Some(185), None),
            Some(185),
            "nothing to measure it by"
        );
    }
}
