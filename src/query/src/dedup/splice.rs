//! Which sample comes from which replica.

use super::track::{Point, Track};

/// A replica and the position of one of its samples.
pub(super) type Pick = (usize, usize);

/// Distance of samples that is assumed when no replica has two (ms).
const INTERVAL_DEFAULT_MS: i64 = 15_000;

/// Chooses samples of `[start, end]` (ms, inclusive), sorted by time, each time once.
///
/// The replica with the most samples is taken. Where its samples are more than one and a half intervals apart, or it
/// begins late or ends early, the next complete one fills the gap, at half an interval's distance from the edges, and
/// so on with what it leaves open. A stale marker in front of a gap that is filled is left out: the target was there.
///
/// With `counters`, a fill must not look like a reset: if the first replica does not fall across the gap and the fill
/// itself does not fall, then samples of the fill below the value before the gap or above the one after it come from
/// clocks or delays that differ, and are left out.
pub(super) fn splice(tracks: &[Track], start: i64, end: i64, counters: bool) -> Vec<Pick> {
    let interval = interval(tracks);
    let mut out = Vec::new();
    let all: Vec<usize> = (0..tracks.len()).collect();
    let whole = Gap {
        lo: start.saturating_sub(1),
        hi: end.saturating_add(1),
        before: None,
        after: None,
    };

    let job = Job {
        tracks,
        interval,
        counters,
    };

    job.fill(&all, whole, &mut out);
    out
}

fn interval(tracks: &[Track]) -> i64 {
    let longest = tracks
        .iter()
        .filter(|t| t.points.len() > 1)
        .max_by_key(|t| t.points.len());
    longest
        .and_then(Track::interval)
        .unwrap_or(INTERVAL_DEFAULT_MS)
        .max(1)
}

struct Job<'a> {
    tracks: &'a [Track],
    interval: i64,
    counters: bool,
}

/// An open interval `lo < t < hi` and what stands at its edges, if anything.
#[derive(Clone, Copy)]
struct Gap {
    lo: i64,
    hi: i64,
    before: Option<Point>,
    after: Option<Point>,
}

impl Job<'_> {
    /// Appends the samples for `gap` out of the replicas `from`.
    fn fill(&self, from: &[usize], gap: Gap, out: &mut Vec<Pick>) {
        // Of equal scrapes the counts differ by one with where a range begins, and a panel would show now one replica, now
        // the other. So the first in label order is taken, unless another one has clearly more.
        let count = |r: &usize| self.live(*r, gap);
        let most = from.iter().map(count).max().unwrap_or(0);
        let is_about_most = |count: usize| count > 0 && count + count / 100 + 1 >= most;
        let Some(best) = from.iter().copied().find(|r| is_about_most(count(r))) else {
            return;
        };

        let rest: Vec<usize> = from.iter().copied().filter(|r| *r != best).collect();
        let mut last: Option<Point> = gap.before;

        let mut lo = gap.lo;
        for at in self.chosen(best, gap) {
            let point = self.tracks[best].points[at];
            if !rest.is_empty() && self.is_gap(lo, point.t) {
                self.bridge(&rest, self.inner(lo, point.t, last, Some(point)), last, out);
            }
            out.push((best, at));
            (last, lo) = (Some(point), point.t);
        }

        if !rest.is_empty() && self.is_gap(lo, gap.hi) {
            self.bridge(&rest, self.inner(lo, gap.hi, last, gap.after), last, out);
        }
    }

    /// Fills a gap. If another replica goes on at once, a stale marker in front of the gap was wrong and goes.
    fn bridge(&self, rest: &[usize], gap: Gap, last: Option<Point>, out: &mut Vec<Pick>) {
        let mark = out.len();
        self.fill(rest, gap, out);
        let (Some(stale), Some((replica, at))) = (last.filter(|p| p.stale), out.get(mark)) else {
            return;
        };

        let first = self.tracks[*replica].points[*at];
        if !first.stale && !self.is_gap(stale.t, first.t) && mark > 0 {
            out.remove(mark - 1);
        }
    }

    /// The part of a gap that may be filled: half an interval away from samples at its edges.
    fn inner(&self, lo: i64, hi: i64, before: Option<Point>, after: Option<Point>) -> Gap {
        let margin = self.interval / 2;
        Gap {
            lo: if before.is_some() {
                lo.saturating_add(margin)
            } else {
                lo
            },
            hi: if after.is_some() {
                hi.saturating_sub(margin)
            } else {
                hi
            },
            before: before.filter(|p| !p.stale),
            after: after.filter(|p| !p.stale),
        }
    }

    fn is_gap(&self, lo: i64, hi: i64) -> bool {
        hi.saturating_sub(lo) > self.interval + self.interval / 2
    }

    /// Samples that are no stale markers; a replica that only has markers completes nothing.
    fn live(&self, replica: usize, gap: Gap) -> usize {
        let track = &self.tracks[replica];
        track.points[track.between(gap.lo, gap.hi)]
            .iter()
            .filter(|p| !p.stale)
            .count()
    }

    /// Samples of a replica in a gap, without those that would look like a reset.
    fn chosen(&self, replica: usize, gap: Gap) -> Vec<usize> {
        let track = &self.tracks[replica];
        let range = track.between(gap.lo, gap.hi);
        let inside = track.points[range.clone()].iter().filter(|p| !p.stale);
        let edges = [gap.before, gap.after].into_iter().flatten();
        let check = self.counters
            && (gap.before.is_some() || gap.after.is_some())
            && !falls(edges.map(|p| p.level))
            && !falls(inside.map(|p| p.level));
        let low = gap.before.map_or(f64::NEG_INFINITY, |p| p.level);
        let high = gap.after.map_or(f64::INFINITY, |p| p.level);

        // Without a sample after the gap nobody knows whether the first replica fell; its own past decides then.
        let resets = gap.after.is_none() && self.falls_across(replica, gap);
        let keep = |p: &Point| !check || resets || p.stale || (p.level >= low && p.level <= high);

        range.filter(|i| keep(&track.points[*i])).collect()
    }

    /// True if the replica itself falls between the start of the gap and its first sample inside.
    fn falls_across(&self, replica: usize, gap: Gap) -> bool {
        let track = &self.tracks[replica];
        let first = track.between(gap.lo, gap.hi).start;
        let before = track.points[..first].iter().rev().find(|p| !p.stale);
        let after = track.points[first..].iter().find(|p| !p.stale);
        before.zip(after).is_some_and(|(b, a)| a.level < b.level)
    }
}

/// True if a value is lower than one before it.
fn falls(levels: impl Iterator<Item = f64>) -> bool {
    let mut last = f64::NEG_INFINITY;
    for level in levels {
        if level < last {
            return true;
        }
        last = level;
    }

    false
}
