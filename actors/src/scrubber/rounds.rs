//! When all local blocks are read again, and how far that is.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use trireme_storage::LocalBlock;

/// After a start a node has other things to do first.
const START_DELAY: Duration = Duration::from_secs(600);

/// What a round did.
pub(super) struct Done {
    /// Blocks that were due.
    pub(super) blocks: usize,
    /// Bytes that were read and good.
    pub(super) bytes: u64,
    /// Blocks that are damaged.
    pub(super) damaged: usize,
    /// How long it took.
    pub(super) elapsed: Duration,
    /// Whether its end could be noted on disk.
    pub(super) noted: io::Result<()>,
}

/// The rounds of a node. The end of the last one is noted on disk, so that neither a node that is started often never
/// gets to one, nor every start begins one.
pub(super) struct Rounds {
    note: PathBuf,
    interval: Duration,
    due_at: Duration,
    begun_at: Option<Duration>,
    queue: VecDeque<Arc<LocalBlock>>,
    blocks: usize,
    bytes: u64,
    damaged: usize,
}

impl Rounds {
    /// As of a start at wall clock time `now_ms`.
    pub(super) fn new(note: &Path, interval: Duration, now_ms: i64, now: Duration) -> Self {
        let last_ms = fs::read_to_string(note)
            .ok()
            .and_then(|text| text.trim().parse::<i64>().ok());
        Self {
            note: note.to_owned(),
            interval,
            due_at: now + first_wait(interval, last_ms.map(|last| now_ms.saturating_sub(last))),
            begun_at: None,
            queue: VecDeque::new(),
            blocks: 0,
            bytes: 0,
            damaged: 0,
        }
    }

    /// Begins a round if one is due and none is under way.
    pub(super) fn begin_if_due(
        &mut self,
        now: Duration,
        blocks: impl FnOnce() -> Vec<Arc<LocalBlock>>,
    ) {
        if self.begun_at.is_some() || now < self.due_at {
            return;
        }
        let mut blocks = blocks();
        blocks.sort_by_key(|block| block.meta().ulid);
        (self.begun_at, self.blocks, self.bytes, self.damaged) = (Some(now), blocks.len(), 0, 0);
        self.queue = blocks.into();
    }

    /// The next block of the round.
    pub(super) fn next_block(&mut self) -> Option<Arc<LocalBlock>> {
        self.queue.pop_front()
    }

    /// A block was read and is good.
    pub(super) fn read(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// A block was read and is damaged.
    pub(super) fn damaged(&mut self) {
        self.damaged += 1;
    }

    /// Ends the round, if one is under way and its last block was given out.
    pub(super) fn finish(&mut self, now: Duration, now_ms: i64) -> Option<Done> {
        if !self.queue.is_empty() {
            return None;
        }

        let begun_at = self.begun_at.take()?;
        self.due_at = now + self.interval;
        Some(Done {
            blocks: self.blocks,
            bytes: self.bytes,
            damaged: self.damaged,
            elapsed: now.saturating_sub(begun_at),
            noted: fs::write(&self.note, format!("{now_ms}\n")),
        })
    }
}

/// How long after a start the first round begins; `since_ms` is the time since the last one ended, if there was one. A
/// time in the future, as of a clock that was wrong, counts as now.
fn first_wait(interval: Duration, since_ms: Option<i64>) -> Duration {
    let since = since_ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
    let left = since.map_or(Duration::ZERO, |since| interval.saturating_sub(since));
    left.max(START_DELAY.min(interval))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_start_goes_on_where_the_last_process_was() {
        let hours = |h: i64| Some(h * 3_600_000);
        assert_eq!(first_wait(DAY, None), START_DELAY);
        assert_eq!(first_wait(DAY, hours(20)), Duration::from_secs(4 * 3_600));
        assert_eq!(
            first_wait(DAY, hours(50)),
            START_DELAY,
            "it is late, but not before the node is settled"
        );

        assert_eq!(first_wait(DAY, hours(-50)), DAY);
        assert_eq!(
            first_wait(Duration::from_secs(2), None),
            Duration::from_secs(2)
        );
    }

    #[test]
    fn the_end_of_a_round_outlives_the_process() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let note = dir.path().join("scrubbed");
        let s = Duration::from_secs;
        let mut rounds = Rounds::new(&note, DAY, 0, s(5));

        rounds.begin_if_due(s(604), || panic!("not due yet"));
        assert!(rounds.finish(s(604), 0).is_none());
        rounds.begin_if_due(s(605), Vec::new);
        rounds.begin_if_due(s(606), || panic!("under way"));

        assert!(rounds.next_block().is_none());
        let done = rounds.finish(s(607), 10_000_000).expect("under way");
        assert_eq!((done.blocks, done.elapsed), (0, s(2)));

        assert!(done.noted.is_ok() && rounds.finish(s(608), 0).is_none());
        assert_eq!(rounds.due_at, s(607) + DAY);
        let again = Rounds::new(&note, DAY, 13_600_000, s(1));

        assert_eq!(again.due_at, s(1) + DAY - s(3_600));
    }
}
