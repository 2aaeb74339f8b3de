//! The log's thread, and the two halves of its turn for whoever does without a thread.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use trireme_base::{Clock, StreamId};
use trireme_wire::record::{Record, RecordDraft};

use crate::base::Positions;
use crate::observer::{LogObserver, OwnPlace, SyncReport};
use crate::rolling::Unsynced;
use crate::segment::Segment;
use crate::shared::{Health, Shared};
use crate::{CompletionTag, Durability, LogError};

/// How often a full disk is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(500);
/// Batches that may wait for a sync where a record counts before its sync: it bounds what is kept in memory for the case
/// that the sync fails.
const UNSYNCED_BATCHES_MAX: usize = 4;

/// What callers send.
pub(crate) enum Command {
    /// With the epoch it was made in, if the caller follows that.
    Own(Vec<RecordDraft>, CompletionTag, Option<u64>),
    Foreign(Vec<Record>),
    /// Answers when everything before it is durable.
    Flush(Sender<Result<(), LogError>>),
    Stop,
}

/// Records of one write with their owners.
#[derive(Default)]
struct Batch {
    records: Vec<(Record, Option<OwnPlace>)>,
    bytes: usize,
    flushes: Vec<Sender<Result<(), LogError>>>,
    /// What the batch holds of the queue's bounds.
    queued: (usize, usize),
    stop: bool,
}

/// A batch between its write and its sync.
pub(crate) struct Turn {
    /// Records and bytes written, and how long that took; an error ends the turn without a sync.
    written: Result<(usize, usize, Duration), LogError>,
    flushes: Vec<Sender<Result<(), LogError>>>,
    queued: (usize, usize),
    stop: bool,
}

pub(crate) struct Writer {
    pub shared: Arc<Shared>,
    pub observer: Arc<dyn LogObserver>,
    pub clock: Arc<dyn Clock>,
    pub commands: Receiver<Command>,
    pub segment: Option<Segment>,
    pub next_number: u64,
    pub own_seq: u64,
    pub unsynced: Unsynced,
    pub synced_at: Duration,
    /// The last segment before the one being written, and how far that is durable.
    pub previous: Option<(u64, u64)>,
}

impl Writer {
    /// Runs until told to stop or until nobody can send any more.
    pub fn run(mut self) {
        loop {
            self.wait();
            let turn = self.write_turn();
            if self.sync_turn(turn) {
                return self.stop();
            }
        }
    }

    /// As a turn of [`Writer::run`], up to the sync, without waiting; `None` when there is nothing to do.
    pub fn write_queued(&mut self) -> Option<Turn> {
        if self.commands.is_empty() && !self.is_waiting() && self.unsynced.is_empty() {
            return None;
        }
        Some(self.write_turn())
    }

    /// Writes what has arrived.
    fn write_turn(&mut self) -> Turn {
        let mut batch = Batch::default();
        while !batch.stop {
            if batch.bytes >= self.shared.options.batch_bytes_max {
                // The rest is for the next turn, whoever rang for it.
                self.shared.bell.ring();
                break;
            }
            match self.commands.try_recv() {
                Ok(command) => self.take(&mut batch, command),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => batch.stop = true,
            }
        }

        self.retry();
        let written = self.write_batch(&batch);
        Turn {
            written,
            flushes: batch.flushes,
            queued: batch.queued,
            stop: batch.stop,
        }
    }

    /// Syncs what a turn wrote and tells everybody; true if that was the last turn.
    pub fn sync_turn(&mut self, turn: Turn) -> bool {
        let asked = !turn.flushes.is_empty() || turn.stop;
        let result = turn
            .written
            .and_then(|written| self.sync_written(written, asked));

        self.shared.release(turn.queued.0, turn.queued.1);
        for flush in turn.flushes {
            // The asker may have gone; that is its affair.
            let _ = flush.send(result.clone());
        }

        turn.stop
    }

    fn wait(&self) {
        let at_most = if self.is_waiting() {
            Some(RETRY_EVERY)
        } else if !self.unsynced.is_empty() {
            let since = self.clock.monotonic().saturating_sub(self.synced_at);
            Some(self.shared.options.sync_interval.saturating_sub(since))
        } else {
            // Also where nothing is written any more, old records leave the memory; a little later, so that many go at once.
            let mut recent = self.shared.recent.write();
            let now = self.clock.monotonic();
            recent.forget_old(now);
            recent
                .oldest_leaves_in(now)
                .map(|wait| wait + self.shared.options.recent_age_max / 8)
        };
        self.shared.bell.wait(at_most);
    }

    fn take(&mut self, batch: &mut Batch, command: Command) {
        match command {
            Command::Own(drafts, tag, epoch) => self.take_own(batch, drafts, tag, epoch),
            Command::Foreign(records) => records
                .into_iter()
                .for_each(|record| batch.push(record, None)),
            Command::Flush(reply) => batch.flushes.push(reply),
            Command::Stop => batch.stop = true,
        }
    }

    fn take_own(
        &mut self,
        batch: &mut Batch,
        drafts: Vec<RecordDraft>,
        tag: CompletionTag,
        epoch: Option<u64>,
    ) {
        if epoch.is_some_and(|epoch| epoch != self.shared.own_epoch.load(Ordering::Acquire)) {
            batch.queued.0 += drafts.len();
            batch.queued.1 += drafts.iter().map(RecordDraft::len).sum::<usize>();
            self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
            self.observer.refused(tag, &LogError::Superseded);
            return;
        }

        let count = drafts.len();
        for (at, draft) in drafts.into_iter().enumerate() {
            self.own_seq += 1;
            let record = draft.seal(self.shared.own, self.own_seq);
            batch.push(
                record,
                Some(OwnPlace {
                    tag,
                    last: at + 1 == count,
                }),
            );
        }
    }

    /// Writes a batch and tells everybody; answers records, bytes and time of the write.
    fn write_batch(&mut self, batch: &Batch) -> Result<(usize, usize, Duration), LogError> {
        if let Health::Failed(_) = *self.shared.health.lock() {
            self.refuse(batch, &LogError::Stopped);
            return Err(LogError::Stopped);
        }

        let accepted = self.in_order(batch);
        let started = self.clock.monotonic();

        let mut bytes = 0;
        if !accepted.is_empty() {
            bytes = self.write(&accepted).inspect_err(|error| {
                self.set_back();
                self.refuse(batch, error);
                self.fail(error);
            })?;
            for (record, own) in &accepted {
                self.observer.written(record, *own);
            }
            self.observer.batch_written();
        }

        Ok((
            accepted.len(),
            bytes,
            self.clock.monotonic().saturating_sub(started),
        ))
    }

    /// Syncs if that is due, because of the settings or because it was `asked` for.
    fn sync_written(
        &mut self,
        (records, bytes, write): (usize, usize, Duration),
        asked: bool,
    ) -> Result<(), LogError> {
        let interval = self.clock.monotonic().saturating_sub(self.synced_at)
            >= self.shared.options.sync_interval;

        let memory = self.shared.options.durability == Durability::Memory;
        if memory && records > 0 {
            self.publish_durable();
        }

        let many =
            self.unsynced.bytes >= self.shared.options.batch_bytes_max * UNSYNCED_BATCHES_MAX;
        let due = self.segment.is_some()
            && !self.unsynced.is_empty()
            && (!memory || interval || asked || many);

        let synced = if due { Some(self.sync(memory)?) } else { None };
        if records > 0 || synced.is_some() {
            self.observer.synced(&SyncReport {
                records,
                bytes,
                write,
                sync: synced,
            });
        }

        match &*self.shared.health.lock() {
            Health::Waiting(why) => Err(why.clone()),
            _ => Ok(()),
        }
    }

    /// The records of a batch that follow what is written; a dropped one is offered again by its sender.
    fn in_order<'a>(&self, batch: &'a Batch) -> Vec<&'a (Record, Option<OwnPlace>)> {
        let mut last = Positions::new();
        let state = self.shared.state.lock();
        let following = batch.records.iter().filter(|(record, own)| {
            if own.is_some() {
                return true;
            }
            let stream = record.stream();
            let known = last
                .entry(stream)
                .or_insert_with(|| state.written.get(&stream).copied().unwrap_or(0));
            let fits = record.seq() == *known + 1;
            *known += u64::from(fits);
            fits
        });

        following.collect()
    }

    /// Writes records as a batch; answers its bytes in the file.
    fn write(&mut self, records: &[&(Record, Option<OwnPlace>)]) -> Result<usize, LogError> {
        let items = records.iter().map(|(r, _)| r);
        if !self.segment.as_ref().is_some_and(|s: &Segment| {
            s.bytes + s.batch_bytes_max(items.clone()) <= self.shared.options.segment_bytes
        }) {
            self.roll()?;
        }

        let segment = self
            .segment
            .as_mut()
            .expect("BUG: roll makes a segment or fails");
        let offset = segment.write(items)?;
        let number = segment.number;
        let end = segment.bytes;

        self.note_written(records, number, offset..end);

        {
            let mut recent = self.shared.recent.write();
            let now = self.clock.monotonic();
            records
                .iter()
                .for_each(|(record, _)| recent.push(record.clone(), now));
        }

        self.count_written(records.len(), end - offset);

        Ok((end - offset) as usize)
    }

    /// Notes what a batch has, which is at `place` of a segment.
    fn note_written(
        &mut self,
        records: &[&(Record, Option<OwnPlace>)],
        number: u64,
        place: Range<u64>,
    ) {
        let mut state = self.shared.state.lock();
        for (record, _) in records {
            let stream = record.stream();
            let seq = record.seq();
            state.written.insert(stream, seq);
            self.unsynced.push(record.clone());
            state
                .segments
                .entry(number)
                .or_default()
                .note(stream, seq, place.start);
        }

        state.segments.entry(number).or_default().bytes = place.end;
    }

    fn count_written(&self, records: usize, bytes: u64) {
        let counters = &self.shared.counters;
        counters.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        counters
            .written_records
            .fetch_add(records as u64, Ordering::Relaxed);
        counters.batches.fetch_add(1, Ordering::Relaxed);
    }

    fn sync(&mut self, memory: bool) -> Result<Duration, LogError> {
        let before = self.clock.monotonic();
        self.sync_segment().inspect_err(|error| self.fail(error))?;
        self.synced_at = self.clock.monotonic();

        let took = self.synced_at.saturating_sub(before);
        let counters = &self.shared.counters;
        counters.syncs.fetch_add(1, Ordering::Relaxed);
        counters.sync_ns.fetch_add(
            u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );

        if !memory {
            self.publish_durable();
        }

        self.unsynced.clear();
        Ok(took)
    }

    /// What is synced counts as durable, and everybody hears of it.
    pub fn publish_durable(&mut self) {
        if matches!(*self.shared.health.lock(), Health::Failed(_)) {
            return;
        }
        let positions = self.note_durable();
        self.observer.durable(&positions);
    }

    pub fn note_durable(&mut self) -> Vec<(StreamId, u64)> {
        let mut state = self.shared.state.lock();
        let reached = self.unsynced.positions.iter().map(|(stream, seq)| {
            // A hole that was found meanwhile has set the stream back.
            let written = state.written.get(stream).copied().unwrap_or(0);
            (*stream, written.min(*seq))
        });

        let positions: Vec<(StreamId, u64)> = reached.collect();
        state.durable.extend(positions.iter().copied());
        positions
    }

    /// After a refused batch the streams stand where the files do.
    fn set_back(&mut self) {
        let mut accepted = self.shared.accepted.lock();
        let state = self.shared.state.lock();
        self.own_seq = state.written.get(&self.shared.own).copied().unwrap_or(0);
        accepted.clone_from(&state.written);
    }

    fn refuse(&self, batch: &Batch, error: &LogError) {
        // Before anybody hears of it: what was made before must not pass any more.
        self.shared.own_epoch.fetch_add(1, Ordering::AcqRel);
        let tags = batch
            .records
            .iter()
            .filter_map(|(_, own)| own.filter(|o| o.last));

        for own in tags {
            self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
            self.observer.refused(own.tag, error);
        }
    }

    /// Turns an error into the state that callers see.
    fn fail(&mut self, error: &LogError) {
        if error.passes() {
            let was_waiting = self.is_waiting();
            self.set_health(Health::Waiting(error.clone()));
            if !was_waiting {
                self.observer.waits(error);
            }
        } else if self.shared.fail(error) {
            self.observer.failed(error);
        }
    }

    /// Changes whether appends are taken; a log that failed stays so until it is closed.
    pub fn set_health(&self, next: Health) {
        let mut health = self.shared.health.lock();
        if !matches!(*health, Health::Failed(_)) || matches!(next, Health::Stopped) {
            *health = next;
        }
    }

    fn is_waiting(&self) -> bool {
        matches!(*self.shared.health.lock(), Health::Waiting(_))
    }

    /// While the log waits: looks whether a new segment can be made.
    fn retry(&mut self) {
        if !self.is_waiting() {
            return;
        }
        match self.roll() {
            Ok(()) => self.set_health(Health::Good),
            Err(error) => self.fail(&error),
        }
    }

    fn stop(&mut self) {
        let has_failed = matches!(*self.shared.health.lock(), Health::Failed(_));
        if !has_failed && !self.unsynced.is_empty() && self.segment.is_some() {
            // Without the sync durability is not claimed, and the next start finds the segment as a crash leaves it.
            let _ = self.sync(self.shared.options.durability == Durability::Memory);
        }

        if let Some(segment) = self.segment.take()
            && !has_failed
        {
            let number = segment.number;
            let mut summary = self
                .shared
                .state
                .lock()
                .segments
                .get(&number)
                .cloned()
                .unwrap_or_default();
            segment.close(&mut summary);
        }

        self.set_health(Health::Stopped);
    }
}

impl Batch {
    fn push(&mut self, record: Record, own: Option<OwnPlace>) {
        self.queued.0 += 1;
        self.queued.1 += record.bytes().len();
        self.bytes += record.bytes().len();
        self.records.push((record, own));
    }
}
