//! Which windows this node may close, and with which one a new stream begins.
//!
//! No wall clock closes a window alone. The time comes from [`crate::Store::now_ms`], which is the group's where a majority
//! agrees, and a window is closed only if something asks for it: a sample that is as new, a late one that waits for that
//! cut, or a peer that has closed it. So a clock that is wrong for a moment closes at most the window that is being written.

/// How time is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Length of a window (ms).
    pub window_ms: i64,
    /// How long after its end a window stays open (ms).
    pub grace_ms: i64,
}

/// A marker that is further ahead of the newest sample is not believed, even if the clock is (ms).
const AHEAD_MAX_MS: i64 = 7 * 86_400_000;

impl Windows {
    /// The window of a time.
    pub fn of(&self, t_ms: i64) -> i64 {
        t_ms.div_euclid(self.window_ms)
    }

    /// The last window that is over, grace included, at `now_ms`.
    pub fn over(&self, now_ms: i64) -> i64 {
        self.of(now_ms.saturating_sub(self.grace_ms)) - 1
    }

    /// The last window to be closed at `now_ms`. `newest_ms` is the newest sample, `asked` are cuts that samples wait for, and
    /// windows that peers have closed. `None` while nothing asks for one.
    pub fn due(
        &self,
        now_ms: i64,
        newest_ms: Option<i64>,
        asked: impl IntoIterator<Item = i64>,
    ) -> Option<i64> {
        let over = self.over(now_ms);
        let asked = asked.into_iter().filter(|k| *k <= over).max();
        let asked_for = newest_ms.map(|t| self.of(t)).max(asked)?;
        Some(asked_for.min(over))
    }

    /// The marker with which a new stream begins: the last window that is closed already. `newest_ms` is the newest sample
    /// on disk, `markers` are those of all streams that are known.
    ///
    /// A node without samples has its clock only. A marker that no clock can have meant is left out, or one wrong clock
    /// would go round the group with its restarts.
    pub fn opening(
        &self,
        now_ms: i64,
        newest_ms: Option<i64>,
        markers: impl IntoIterator<Item = i64>,
    ) -> i64 {
        let over = self.over(now_ms);
        let newest = newest_ms.map(|t| self.of(t));
        let far = self.of(AHEAD_MAX_MS);
        let last = newest.map_or(over, |newest| {
            over.clamp(newest, newest.saturating_add(far))
        });
        let known = markers
            .into_iter()
            .filter(|k| *k <= last.saturating_add(1))
            .max();

        match newest.max(known) {
            Some(asked_for) => over.min(asked_for).max(known.unwrap_or(i64::MIN)),
            None => over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOWS: Windows = Windows {
        window_ms: 7_200_000,
        grace_ms: 900_000,
    };
    /// Window that is written to at [`NOON`].
    const W: i64 = 236_111;
    const NOON: i64 = W * 7_200_000 + 3_600_000;
    const DAYS_400: i64 = 400 * 86_400_000;

    #[test]
    fn a_window_is_over_when_its_grace_is() {
        let short = Windows {
            window_ms: 100,
            grace_ms: 15,
        };
        let table = [(114, -1), (115, 0), (214, 0), (215, 1)];

        for (now_ms, want) in table {
            assert_eq!(short.over(now_ms), want, "{now_ms}");
        }
    }

    #[test]
    fn closes_what_is_over_and_asked_for() {
        type Row = (i64, Option<i64>, &'static [i64], Option<i64>);

        let table: [Row; 8] = [
            (NOON, None, &[], None),
            (NOON, Some(NOON), &[], Some(W - 1)),
            // Senders stopped long ago: their last window is closed, and no later one.
            (NOON + DAYS_400, Some(NOON), &[], Some(W)),
            // A late sample waits for a cut behind the newest window.
            (NOON + DAYS_400, Some(NOON), &[W, W + 1], Some(W + 1)),
            (NOON, Some(NOON), &[W - 1, W, W + 1], Some(W - 1)),
            // A clock that went back holds everything open.
            (NOON - DAYS_400, Some(NOON), &[], Some(W - 4_801)),
            // Samples that wait for a cut in a year ask for nothing.
            (NOON, Some(NOON), &[W + 4_801], Some(W - 1)),
            (NOON, Some(NOON), &[i64::MAX], Some(W - 1)),
        ];

        for (now_ms, newest, asked, want) in table {
            let due = WINDOWS.due(now_ms, newest, asked.iter().copied());
            assert_eq!(due, want, "{now_ms} {newest:?} {asked:?}");
        }
    }

    #[test]
    fn a_new_stream_begins_behind_every_marker_that_can_be_meant() {
        type Row = (i64, Option<i64>, &'static [i64], i64);

        let table: [Row; 8] = [
            (NOON, None, &[], W - 1),
            (NOON, Some(NOON), &[W - 2, W - 1], W - 1),
            (NOON, Some(NOON - 30 * 86_400_000), &[], W - 360),
            // Peers closed while this node was away.
            (NOON, Some(NOON - 30 * 86_400_000), &[W - 300], W - 300),
            // A clock was wrong once.
            (NOON, Some(NOON), &[W - 1, W + 4_800], W - 1),
            (NOON, Some(NOON), &[i64::MAX], W - 1),
            // It is wrong now, and somebody's was: both are not believed.
            (NOON + DAYS_400, Some(NOON), &[W - 1, W + 4_799], W),
            (NOON - DAYS_400, Some(NOON), &[W - 1], W - 1),
        ];

        for (now_ms, newest, markers, want) in table {
            let opening = WINDOWS.opening(now_ms, newest, markers.iter().copied());
            assert_eq!(opening, want, "{now_ms} {newest:?} {markers:?}");
        }
    }
}
