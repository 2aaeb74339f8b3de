//! The newest records in memory, so that a follower close behind costs no disk reads.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use trireme_base::StreamId;
use trireme_wire::record::Record;

/// A FIFO over all streams, bounded in bytes and in age; within a stream seqs have no gaps.
///
/// Whoever is further behind than the age reads from the disk. A log that grows slowly would else take hours to fill its
/// bound, with records that nobody comes for.
pub(crate) struct Recent {
    by_stream: BTreeMap<StreamId, VecDeque<Record>>,
    /// The streams of the records and when each came (monotonic), oldest first.
    order: VecDeque<(StreamId, Duration)>,
    bytes: usize,
    bytes_max: usize,
    age_max: Duration,
}

impl Recent {
    pub fn new(bytes_max: usize, age_max: Duration) -> Self {
        Self {
            by_stream: BTreeMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            bytes_max,
            age_max,
        }
    }

    /// Bytes of the records.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a record that was written `now` (monotonic).
    pub fn push(&mut self, record: Record, now: Duration) {
        let stream = record.stream();
        let queue = self.by_stream.entry(stream).or_default();

        // A stream that was set back (a hole was found) starts over.
        if queue
            .back()
            .is_some_and(|last| last.seq() + 1 != record.seq())
        {
            self.bytes -= queue.iter().map(|r| r.bytes().len()).sum::<usize>();
            queue.clear();
            self.order.retain(|(s, _)| *s != stream);
        }

        self.bytes += record.bytes().len();
        queue.push_back(record);
        self.order.push_back((stream, now));

        while self.bytes > self.bytes_max {
            self.pop();
        }

        self.forget_old(now);
    }

    /// Forgets what is too old `now` (monotonic).
    pub fn forget_old(&mut self, now: Duration) {
        while self
            .order
            .front()
            .is_some_and(|(_, came)| now.saturating_sub(*came) > self.age_max)
        {
            self.pop();
        }
        if self.order.is_empty() {
            self.order = VecDeque::new();
        }
    }

    /// How long from `now` (monotonic) until something is too old; `None` if nothing is here.
    pub fn oldest_leaves_in(&self, now: Duration) -> Option<Duration> {
        let (_, came) = self.order.front()?;
        Some((*came + self.age_max).saturating_sub(now))
    }

    fn pop(&mut self) {
        let Some((stream, _)) = self.order.pop_front() else {
            return;
        };
        let Some(queue) = self.by_stream.get_mut(&stream) else {
            return;
        };

        if let Some(record) = queue.pop_front() {
            self.bytes -= record.bytes().len();
        }

        if queue.is_empty() {
            self.by_stream.remove(&stream);
        }
    }

    /// Records from `from_seq` on, at least one if it is here, until `bytes_max`. `None` if it is not here.
    pub fn read(&self, stream: StreamId, from_seq: u64, bytes_max: usize) -> Option<Vec<Record>> {
        let queue = self.by_stream.get(&stream)?;
        let first = queue.front()?.seq();
        let skip = usize::try_from(from_seq.checked_sub(first)?)
            .ok()
            .filter(|n| *n < queue.len())?;
        let mut bytes = 0;

        Some(
            queue
                .iter()
                .skip(skip)
                .take_while(|record: &&Record| {
                    let before = bytes;
                    bytes += record.bytes().len();
                    before == 0 || bytes <= bytes_max
                })
                .cloned()
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use trireme_base::{Boot, Incarnation};
    use trireme_wire::record::{RecordDraft, RecordKind};

    use super::*;

    const AGE_MAX: Duration = Duration::from_secs(60);

    #[test]
    fn keeps_the_newest_records_within_its_bound() {
        let streams = [1, 2].map(|n| StreamId {
            incarnation: Incarnation(n),
            boot: Boot(1),
        });

        let mut recent = Recent::new(32 * 10, AGE_MAX);
        for seq in 1..=100 {
            for stream in streams {
                recent.push(
                    RecordDraft::new(0, RecordKind::Samples).seal(stream, seq),
                    Duration::ZERO,
                );
            }
        }

        assert!(recent.bytes <= 320);

        for stream in streams {
            assert!(recent.read(stream, 95, 1_000).is_none());
            assert!(recent.read(stream, 101, 1_000).is_none());
            let seqs = |from, bytes| {
                recent
                    .read(stream, from, bytes)
                    .expect("recent")
                    .iter()
                    .map(Record::seq)
                    .collect::<Vec<_>>()
            };

            assert_eq!(seqs(97, 1_000), [97, 98, 99, 100]);
            assert_eq!(seqs(97, 64), [97, 98]);
            assert_eq!(seqs(97, 1), [97]);
        }

        // What nobody came for in time goes with the next record, or when somebody looks.
        recent.push(
            RecordDraft::new(0, RecordKind::Samples).seal(streams[0], 101),
            AGE_MAX,
        );

        assert!(recent.read(streams[1], 97, 1_000).is_some());
        let later = AGE_MAX + Duration::from_nanos(1);
        recent.push(
            RecordDraft::new(0, RecordKind::Samples).seal(streams[0], 102),
            later,
        );

        assert!(
            recent.read(streams[0], 100, 1_000).is_none()
                && recent.read(streams[1], 100, 1_000).is_none()
        );

        assert_eq!(
            recent.read(streams[0], 101, 1_000).map(|found| found.len()),
            Some(2)
        );
        assert_eq!(
            recent.oldest_leaves_in(later),
            Some(AGE_MAX - Duration::from_nanos(1))
        );

        let last_stays = later + AGE_MAX;
        recent.forget_old(last_stays);
        assert_eq!(
            (recent.bytes(), recent.oldest_leaves_in(last_stays)),
            (32, Some(Duration::ZERO))
        );
        recent.forget_old(2 * last_stays);
        assert_eq!(
            (recent.bytes(), recent.oldest_leaves_in(2 * last_stays)),
            (0, None)
        );
    }
}
