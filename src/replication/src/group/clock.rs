//! Whether this node's wall clock can be believed: what those of its peers say.
//!
//! A clock is a witness, not a judge: one that is wrong must not close windows, drop blocks or refuse samples. With a
//! majority of the group of one mind, a wrong clock is known, and by how much. Without, only monotonic time and the samples
//! themselves speak.

use std::time::Duration;

use trireme_base::NodeName;

use super::{GroupView, PeerView};

/// What the clocks of the group say about this node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockWord {
    /// A majority of the group, this node included, has the same time.
    Agreed,
    /// A majority has the same time, and it is not this node's.
    Wrong {
        /// To be added to this node's clock (ms).
        offset_ms: i64,
    },
    /// There is no majority of one mind, or nobody to ask.
    Unknown,
}

impl GroupView {
    /// Compares this node's wall clock, which shows `wall_ms`, with those of the peers as of their last heartbeats.
    pub fn clock_word(&self, wall_ms: i64, now: Duration) -> ClockWord {
        let bound = self.clock_bound_ms();
        if self.peers.is_empty() {
            return ClockWord::Unknown;
        }

        let members = self.peers.len() + 1;
        let majority = members / 2 + 1;
        let mut offsets: Vec<i64> = self
            .offsets(wall_ms, now)
            .map(|(_, offset)| offset)
            .collect();

        offsets.sort_unstable();

        if count_near(&offsets, 0, bound) + 1 >= majority {
            return ClockWord::Agreed;
        }

        match offsets.get(offsets.len() / 2) {
            Some(&median) if count_near(&offsets, median, bound) >= majority => {
                ClockWord::Wrong { offset_ms: median }
            }
            _ => ClockWord::Unknown,
        }
    }

    /// Members whose clocks a majority contradicts, with how far they are ahead of it (ms; negative if behind). If no
    /// majority is of one mind, all that are not where this node is.
    pub fn wrong_clocks(&self, wall_ms: i64, now: Duration) -> Vec<(NodeName, i64)> {
        let word = self.clock_word(wall_ms, now);
        let right = match word {
            ClockWord::Wrong { offset_ms } => offset_ms,
            ClockWord::Agreed | ClockWord::Unknown => 0,
        };
        let peers = self
            .offsets(wall_ms, now)
            .map(|(node, offset)| (node.clone(), offset));
        let all = peers.chain([(self.me.node.clone(), 0)]);
        let ahead = all.map(|(node, offset)| (node, offset.saturating_sub(right)));

        ahead
            .filter(|(_, ahead)| ahead.saturating_abs() > self.clock_bound_ms())
            .collect()
    }

    fn clock_bound_ms(&self) -> i64 {
        i64::try_from(self.limits.clock_offset_max.as_millis()).unwrap_or(i64::MAX)
    }

    /// The clock of each peer that was heard, minus this node's.
    fn offsets(&self, wall_ms: i64, now: Duration) -> impl Iterator<Item = (&NodeName, i64)> {
        let heard = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.connected && peer.is_heard);
        heard.map(move |(node, peer)| (node, peer.wall_ms_at(now).saturating_sub(wall_ms)))
    }
}

/// How many offsets are no further from `to` than `bound`.
fn count_near(offsets: &[i64], to: i64, bound: i64) -> usize {
    offsets
        .iter()
        .filter(|o| o.saturating_sub(to).saturating_abs() <= bound)
        .count()
}

impl PeerView {
    /// What its wall clock shows now, if it goes on as when it was heard.
    fn wall_ms_at(&self, now: Duration) -> i64 {
        let since = now.saturating_sub(self.wall_heard_at);
        self.wall_ms
            .saturating_add(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The time by which a node closes windows and counts retention.
///
/// It is the group's where a majority is of one mind. Otherwise it is what monotonic time allows since it last was, or what
/// samples show, and never more than the own wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timekeeper {
    /// A time that could be believed, and when that was.
    base: Option<(i64, Duration)>,
}

impl Timekeeper {
    /// The time (ms since the epoch) while this node's clock shows `wall_ms`. `newest_ms` is the newest sample of anybody.
    pub fn now_ms(
        &mut self,
        word: ClockWord,
        wall_ms: i64,
        now: Duration,
        newest_ms: Option<i64>,
    ) -> i64 {
        let allowed = match (word, self.base) {
            (ClockWord::Agreed, _) => wall_ms,
            (ClockWord::Wrong { offset_ms }, _) => wall_ms.saturating_add(offset_ms),
            (ClockWord::Unknown, None) => wall_ms,
            (ClockWord::Unknown, Some((base_ms, at))) => {
                let since = i64::try_from(now.saturating_sub(at).as_millis()).unwrap_or(i64::MAX);
                base_ms
                    .saturating_add(since)
                    .max(newest_ms.unwrap_or(i64::MIN))
            }
        };

        self.base = Some((allowed, now));
        if word == ClockWord::Unknown {
            wall_ms.min(allowed)
        } else {
            allowed
        }
    }
}

#[cfg(test)]
mod tests {
    use trireme_base::{Boot, Incarnation};
    use trireme_ring::Quorum;
    use trireme_wire::frame::Health;

    use super::*;
    use crate::{GroupLimits, PeerIdentity};

    const NOON: i64 = 1_700_000_000_000;
    const YEAR: i64 = 365 * 86_400_000;

    fn name(index: u64) -> NodeName {
        NodeName::new(&format!("n{index}"))
    }

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    /// n0 among `members`, with the clocks of those of its peers that were heard a second ago.
    fn view(members: u64, clocks: &[(u64, i64)]) -> GroupView {
        let names: Vec<NodeName> = (0..members).map(name).collect();
        let identity = |index| PeerIdentity {
            node: name(index),
            incarnation: Incarnation(index),
            boot: Boot(1),
        };

        let quorum = Quorum::new(names.clone(), 3);
        let mut view = GroupView::new(
            identity(0),
            quorum,
            names,
            GroupLimits::default(),
            seconds(0),
        );

        for (peer, ahead_ms) in clocks {
            view.admit(&identity(*peer), seconds(99)).expect("a member");
            view.heard(
                &name(*peer),
                Health::default(),
                NOON - 1_000 + ahead_ms,
                NOON - 1_000,
                seconds(99),
            );
        }

        view
    }

    #[test]
    fn a_majority_says_whose_clock_is_wrong() {
        let wrong = |offset_ms| ClockWord::Wrong { offset_ms };
        type Row = (u64, &'static [(u64, i64)], ClockWord);

        let table: [Row; 10] = [
            (1, &[], ClockWord::Unknown),
            (2, &[(1, 0)], ClockWord::Agreed),
            (2, &[(1, YEAR)], ClockWord::Unknown),
            (3, &[], ClockWord::Unknown),
            (3, &[(1, 5)], ClockWord::Agreed),
            (3, &[(1, YEAR)], ClockWord::Unknown),
            (3, &[(1, 5), (2, -YEAR)], ClockWord::Agreed),
            (3, &[(1, YEAR), (2, YEAR + 7)], wrong(YEAR + 7)),
            (3, &[(1, YEAR), (2, -YEAR)], ClockWord::Unknown),
            (5, &[(1, YEAR), (2, YEAR), (3, 0)], ClockWord::Unknown),
        ];

        for (members, clocks, want) in table {
            assert_eq!(
                view(members, clocks).clock_word(NOON, seconds(100)),
                want,
                "{members} {clocks:?}"
            );
        }
    }

    #[test]
    fn a_step_of_the_own_clock_is_seen_before_the_next_heartbeat() {
        let view = view(3, &[(1, 0), (2, 0)]);
        assert_eq!(view.clock_word(NOON, seconds(100)), ClockWord::Agreed);
        let stepped = view.clock_word(NOON + YEAR, seconds(100));

        assert_eq!(stepped, ClockWord::Wrong { offset_ms: -YEAR });
        assert_eq!(
            view.wrong_clocks(NOON + YEAR, seconds(100)),
            [(name(0), YEAR)]
        );
    }

    #[test]
    fn names_the_wrong_clock_of_a_peer() {
        let view = view(3, &[(1, 0), (2, -YEAR)]);
        assert_eq!(view.wrong_clocks(NOON, seconds(100)), [(name(2), -YEAR)]);
    }

    #[test]
    fn goes_by_the_majority_and_without_one_by_monotonic_time() {
        let mut time = Timekeeper::default();
        assert_eq!(time.now_ms(ClockWord::Agreed, NOON, seconds(0), None), NOON);
        let wrong = ClockWord::Wrong { offset_ms: -YEAR };

        assert_eq!(
            time.now_ms(wrong, NOON + YEAR + 1_000, seconds(1), None),
            NOON + 1_000
        );

        let alone = time.now_ms(ClockWord::Unknown, NOON + YEAR, seconds(3), None);
        assert_eq!(alone, NOON + 3_000, "a step forward is not believed");
        let back = time.now_ms(ClockWord::Unknown, NOON - 500, seconds(4), None);

        assert_eq!(
            back,
            NOON - 500,
            "what the own clock has not reached is not claimed"
        );

        let again = time.now_ms(ClockWord::Unknown, NOON + 4_500, seconds(5), None);
        assert_eq!(
            again,
            NOON + 4_500,
            "and when it is right again, nothing is left of it"
        );
    }

    #[test]
    fn samples_show_that_a_clock_was_behind() {
        let mut time = Timekeeper::default();
        assert_eq!(
            time.now_ms(ClockWord::Unknown, 5_000, seconds(0), None),
            5_000,
            "a dead battery"
        );

        let stepped = time.now_ms(ClockWord::Unknown, NOON, seconds(1), Some(NOON - 20));
        assert_eq!(stepped, NOON - 20);
        assert_eq!(
            time.now_ms(ClockWord::Unknown, NOON + 1_000, seconds(2), None),
            NOON + 980
        );
    }
}
