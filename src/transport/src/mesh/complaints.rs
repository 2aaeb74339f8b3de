//! Lines about strangers: whoever can make connections could fill the log otherwise.

use std::time::Duration;

use parking_lot::Mutex;

/// Lines in one [`EVERY`].
const LINES_MAX: u32 = 10;
/// After this time there may be lines again.
const EVERY: Duration = Duration::from_secs(60);

/// Counts what is told and what is not.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    since: Duration,
    told: u32,
    untold: u64,
}

impl Complaints {
    /// Whether something may be told now, and how much was not since the last time.
    pub(super) fn may_tell(&self, now: Duration) -> Option<u64> {
        let mut counts = self.0.lock();
        if now.saturating_sub(counts.since) >= EVERY {
            (counts.since, counts.told) = (now, 0);
        }

        if counts.told >= LINES_MAX {
            counts.untold += 1;
            return None;
        }

        counts.told += 1;
        Some(std::mem::take(&mut counts.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_few_lines_and_a_number() {
        let complaints = Complaints::default();
        let now = Duration::from_secs(100);
        let told = (0..1_000)
            .filter(|_| complaints.may_tell(now).is_some())
            .count();

        assert_eq!(told, 10);
        assert_eq!(complaints.may_tell(now + EVERY), Some(990));
        assert_eq!(complaints.may_tell(now + EVERY), Some(0));
    }
}
