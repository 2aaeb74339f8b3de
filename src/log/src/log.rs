//! The handle to a log.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, SendError, Sender, TrySendError, bounded};
use parking_lot::{Mutex, RwLock};
use trireme_base::{Clock, Ended, StreamId};
use trireme_wire::record::{Record, RecordDraft};

use crate::base::{self, Positions};
use crate::bell::Bell;
use crate::observer::LogObserver;
use crate::recent::Recent;
use crate::recovery::{self, Recovered};
use crate::rolling::{Unsynced, first_seqs};
use crate::shared::{Health, Shared, State};
use crate::stats::{Counters, LogStats};
use crate::writer::{Command, Turn, Writer};
use crate::{AppendError, CompletionTag, LogError, LogOptions};

/// How often a flush looks whether the thread that has to answer it is still there.
const FLUSH_LOOK_EVERY: Duration = Duration::from_millis(100);

/// What became of offered foreign records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    /// Records queued for the file.
    pub taken: usize,
    /// Records the log had already.
    pub duplicates: usize,
}

/// The node's log. All methods may be called from any thread.
pub struct Log {
    pub(crate) shared: Arc<Shared>,
    pub(crate) commands: Sender<Command>,
    pub(crate) worker: Worker,
    /// Whoever hears of the log may hold it.
    pub(crate) observer: Weak<dyn LogObserver>,
}

/// Who writes what is queued.
pub(crate) enum Worker {
    /// A thread, until the log is closed.
    Thread(Mutex<Option<JoinHandle<()>>>),
    /// The caller, by [`Log::write_queued`] and [`Log::sync_written`], until the log is closed.
    Caller(Box<Mutex<Option<ByHand>>>),
}

/// A writer, and the batch that waits for its sync.
pub(crate) type ByHand = (Writer, Option<Turn>);

impl Log {
    /// Opens or creates a log: mends the tail, finds the positions and starts the thread.
    ///
    /// `own` must be a stream that was never used. `covered` are positions that a checkpoint holds: the log is not
    /// asked for anything up to them.
    pub fn open(
        dir: &Path,
        options: LogOptions,
        own: StreamId,
        covered: &[(StreamId, u64)],
        observer: Arc<dyn LogObserver>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Recovered), LogError> {
        let (shared, commands, writer, recovered) =
            Self::prepare(dir, options, own, covered, observer, clock)?;

        // One thread for the life of the log: group commit is a loop around a blocking fsync.
        let guard = EndGuard {
            shared: Arc::clone(&shared),
            observer: Arc::clone(&writer.observer),
        };
        let observer = Arc::downgrade(&writer.observer);
        #[allow(clippy::disallowed_methods)] // the one thread of a log
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                let _guard = guard;
                writer.run();
            });

        let thread = thread.map_err(|e| LogError::io("start the thread of", dir, e))?;
        let worker = Worker::Thread(Mutex::new(Some(thread)));
        Ok((
            Self {
                shared,
                commands,
                worker,
                observer,
            },
            recovered,
        ))
    }

    pub(crate) fn prepare(
        dir: &Path,
        options: LogOptions,
        own: StreamId,
        covered: &[(StreamId, u64)],
        observer: Arc<dyn LogObserver>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Arc<Shared>, Sender<Command>, Writer, Recovered), LogError> {
        let found = recovery::rebuild(dir, &options, covered)?;
        if found.positions.contains_key(&own)
            || found
                .segments
                .values()
                .any(|s: &crate::summary::Summary| s.streams.contains_key(&own))
        {
            return Err(LogError::StreamReused(own));
        }

        let recovered = Recovered {
            positions: found.positions.iter().map(|(s, q)| (*s, *q)).collect(),
            damage: found.damage,
            tail_cut: found.tail_cut,
        };

        // Every command holds at least one record's room in the bounds, save flushes, which are few.
        let (tx, rx) = bounded(options.queue_records_max.max(1) * 2 + 16);
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            own,
            recent: RwLock::new(Recent::new(
                options.recent_bytes_max,
                options.recent_age_max,
            )),
            options,
            accepted: Mutex::new(found.positions.clone()),
            state: Mutex::new(State {
                durable: before(&found.positions, &found.doubted),
                written: found.positions,
                base: found.base,
                segments: found.segments,
                doomed: found.doomed,
                has_unsaved_ends: false,
            }),
            storing_base: Mutex::default(),
            health: Mutex::new(Health::Good),
            counters: Counters::default(),
            own_epoch: std::sync::atomic::AtomicU64::new(0),
            bell: Bell::default(),
        });

        let mut unsynced = Unsynced::default();
        found
            .doubted
            .into_iter()
            .for_each(|record| unsynced.push(record));

        let mut writer = Writer {
            shared: shared.clone(),
            observer,
            synced_at: clock.monotonic(),
            clock,
            commands: rx,
            segment: None,
            next_number: found.next_number,
            own_seq: 0,
            unsynced,
            previous: found.previous,
        };

        writer.first_segment()?;
        Ok((shared, tx, writer, recovered))
    }

    /// The stream this log gives seqs for.
    pub fn own_stream(&self) -> StreamId {
        self.shared.own
    }

    /// Queues records of the own stream; they get their seqs in the order of the calls.
    ///
    /// The observer hears `written` for each with `tag`, or `refused` once. Never blocks.
    pub fn append_own(
        &self,
        drafts: Vec<RecordDraft>,
        tag: CompletionTag,
    ) -> Result<(), AppendError> {
        self.append(drafts, tag, None)?;
        self.bell().ring();
        Ok(())
    }

    /// What wakes the log's thread after [`Log::append_own_at`].
    pub fn bell(&self) -> &Bell {
        &self.shared.bell
    }

    /// How often records, own or of peers, were refused after they had been queued (the disk was full).
    ///
    /// Drafts build on each other: a reference is defined in one and used in the next. So after a refusal everything
    /// that was made before the caller knew of it must be refused too. A caller that keeps such state reads the
    /// epoch, forgets the state when it has changed, and appends with [`Log::append_own_at`].
    pub fn own_epoch(&self) -> u64 {
        self.shared
            .own_epoch
            .load(std::sync::atomic::Ordering::Acquire)
    }

    /// As [`Log::append_own`], but the records are refused ([`LogError::Superseded`]) if `epoch` is not current when
    /// their turn comes. They are written when somebody rings [`Log::bell`]: who has more to append rings once, behind
    /// the last.
    pub fn append_own_at(
        &self,
        drafts: Vec<RecordDraft>,
        tag: CompletionTag,
        epoch: u64,
    ) -> Result<(), AppendError> {
        self.append(drafts, tag, Some(epoch))
    }

    /// Whether the queue has room to spare. Ask before applying what must then be logged: an append that is refused
    /// as busy after its samples are in the head costs a new definition of every series.
    pub fn admit(&self) -> Result<(), AppendError> {
        self.shared.check_health()?;
        let counters = self.shared.counters.snapshot(0, 0, 0);
        let records = counters.queued_records as usize;
        let bytes = counters.queued_bytes as usize;
        let options = &self.shared.options;
        if records * 2 > options.queue_records_max || bytes * 2 > options.queue_bytes_max {
            return Err(AppendError::Busy { records, bytes });
        }

        Ok(())
    }

    fn append(
        &self,
        drafts: Vec<RecordDraft>,
        tag: CompletionTag,
        epoch: Option<u64>,
    ) -> Result<(), AppendError> {
        self.shared.check_health()?;
        let records = drafts.len();
        let bytes = drafts.iter().map(RecordDraft::len).sum();
        if records == 0 {
            return Ok(());
        }

        self.shared.reserve(records, bytes, true)?;
        self.send(Command::Own(drafts, tag, epoch))
            .inspect_err(|_| self.shared.release(records, bytes))
    }

    /// Queues records of other streams. Each must follow the last of its stream: one the log has already is counted
    /// and dropped, a gap ends the call with an error after what stood before it was queued. Never blocks.
    pub fn append_foreign(&self, records: Vec<Record>) -> Result<Foreign, AppendError> {
        self.shared.check_health()?;
        let mut accepted = self.shared.accepted.lock();
        let mut before: Vec<(StreamId, Option<u64>)> = Vec::new();
        let mut outcome = Foreign::default();
        let mut gap = None;

        let mut taken = Vec::with_capacity(records.len());
        for record in records {
            let stream = record.stream();
            let seq = record.seq();
            let known = accepted.get(&stream).copied();
            let have = known.unwrap_or(0);

            // Of a stream that has ended nothing is known, and everything is here.
            if seq <= have || known.is_none() && self.has_stream_ended(stream) {
                outcome.duplicates += 1;
            } else if seq == have + 1 {
                // Mostly all records are of one stream.
                if before.last().is_none_or(|(last, _)| *last != stream) {
                    before.push((stream, known));
                }
                accepted.insert(stream, seq);
                taken.push(record);
            } else {
                gap = Some(AppendError::Gap {
                    stream,
                    have,
                    got: seq,
                });
                break;
            }
        }

        outcome.taken = taken.len();
        if !taken.is_empty() {
            if let Err(error) = self.send_foreign(taken) {
                set_back(&mut accepted, before);
                return Err(error);
            }

            self.bell().ring();
        }

        gap.map_or(Ok(outcome), Err)
    }

    fn has_stream_ended(&self, stream: StreamId) -> bool {
        self.shared.state.lock().base.ended.has(stream)
    }

    fn send_foreign(&self, taken: Vec<Record>) -> Result<(), AppendError> {
        let count = taken.len();
        let bytes = taken.iter().map(|r| r.bytes().len()).sum();

        self.shared.reserve(count, bytes, false)?;
        self.send(Command::Foreign(taken))
            .inspect_err(|_| self.shared.release(count, bytes))
    }

    fn send(&self, command: Command) -> Result<(), AppendError> {
        self.commands
            .try_send(command)
            .map_err(|error| match error {
                TrySendError::Full(_) => {
                    let stats = self.stats();
                    AppendError::Busy {
                        records: stats.queued_records as usize,
                        bytes: stats.queued_bytes as usize,
                    }
                }
                TrySendError::Disconnected(_) => AppendError::Stopped,
            })
    }

    /// Sends what must not be refused; waits for room in the queue if there is none.
    fn command(&self, command: Command) -> Result<(), SendError<Command>> {
        // Before: a full queue that nobody has rung for would stay full.
        self.bell().ring();
        self.commands.send(command)?;
        self.bell().ring();
        Ok(())
    }

    /// Waits until everything queued before is durable. Blocks; for shutdown and tests.
    pub fn flush(&self) -> Result<(), LogError> {
        let (reply, wait) = bounded(1);
        self.command(Command::Flush(reply))
            .map_err(|_| LogError::Stopped)?;

        if let Worker::Caller(_) = self.worker {
            self.work_off();
            return wait.try_recv().unwrap_or(Err(LogError::Stopped));
        }

        loop {
            match wait.recv_timeout(FLUSH_LOOK_EVERY) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => return Err(LogError::Stopped),
                // A command that is sent just as the thread ends stays in the channel, and nobody answers it.
                Err(RecvTimeoutError::Timeout) if self.has_ended() => {
                    return wait.try_recv().unwrap_or(Err(LogError::Stopped));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// True once the log was closed or its thread is gone, which can only be by a panic in it.
    pub fn has_ended(&self) -> bool {
        match &self.worker {
            Worker::Thread(thread) => thread.lock().as_ref().is_none_or(JoinHandle::is_finished),
            Worker::Caller(_) => false,
        }
    }

    /// Last durable seq of each stream.
    pub fn durable_positions(&self) -> Vec<(StreamId, u64)> {
        self.shared
            .state
            .lock()
            .durable
            .iter()
            .map(|(s, q)| (*s, *q))
            .collect()
    }

    /// Last written seq of each stream; what is written but not durable may be lost by a power cut.
    pub fn written_positions(&self) -> Vec<(StreamId, u64)> {
        self.shared
            .state
            .lock()
            .written
            .iter()
            .map(|(s, q)| (*s, *q))
            .collect()
    }

    /// First seq of a stream that can still be read; `None` if the log holds nothing of it.
    pub fn first_seq(&self, stream: StreamId) -> Option<u64> {
        let state = self.shared.state.lock();
        state
            .segments
            .values()
            .find_map(|s| s.streams.get(&stream))
            .map(|range| range.first)
    }

    /// Declares everything up to these positions to be held elsewhere (a snapshot was installed): appends of those
    /// streams go on behind them. Positions never go back. Durable when it returns.
    pub fn advance_base(&self, positions: &[(StreamId, u64)]) -> Result<(), LogError> {
        {
            let mut accepted = self.shared.accepted.lock();
            let mut guard = self.shared.state.lock();

            let state = &mut *guard;
            for (stream, seq) in positions {
                let maps = [
                    &mut *accepted,
                    &mut state.base.positions,
                    &mut state.written,
                    &mut state.durable,
                ];
                for map in maps {
                    let have = map.entry(*stream).or_default();
                    *have = (*have).max(*seq);
                }
            }
        }
        self.shared.store_base()
    }

    /// Writes which streams have ended into a file, for whoever copies a snapshot; none is written if none has. What has
    /// ended is in no position of the snapshot.
    pub fn store_ended(&self, path: &Path) -> Result<bool, LogError> {
        let ended = self.ended();
        if ended.is_empty() {
            return Ok(false);
        }
        base::store_ended(path, &ended).map(|()| true)
    }

    /// Reads such a file, for [`LogOptions::ended`]; a damaged one is answered with what is wrong.
    pub fn load_ended(path: &Path) -> Result<Result<Ended, String>, LogError> {
        base::load_ended(path)
    }

    /// Last seq of each stream that was taken, written or not, as [`Log::taken`].
    pub fn taken_positions(&self) -> Vec<(StreamId, u64)> {
        self.shared
            .accepted
            .lock()
            .iter()
            .map(|(s, q)| (*s, *q))
            .collect()
    }

    /// Last seq of a stream that was taken, written or not. Goes back when the log refuses what it had taken; see
    /// [`Log::own_epoch`].
    pub fn taken(&self, stream: StreamId) -> u64 {
        self.shared
            .accepted
            .lock()
            .get(&stream)
            .copied()
            .unwrap_or(0)
    }

    /// Why appends are refused now, if they are.
    pub fn check(&self) -> Result<(), AppendError> {
        self.shared.check_health()
    }

    /// Takes nothing more and calls nothing more durable until the next start, because of what was found elsewhere.
    pub fn give_up(&self, why: &LogError) {
        if self.shared.fail(why)
            && let Some(observer) = self.observer.upgrade()
        {
            observer.failed(why);
        }
    }

    /// Figures for metrics.
    pub fn stats(&self) -> LogStats {
        self.shared.stats()
    }

    /// Writes and syncs what is queued and stops the thread. Later appends are refused.
    pub fn close(&self) {
        let thread = match &self.worker {
            Worker::Thread(thread) => thread.lock().take(),
            Worker::Caller(worker) => {
                // Its observer may hold this log.
                let writer = worker.lock().take();
                drop(writer);
                None
            }
        };

        let Some(thread) = thread else { return };
        let _ = self.command(Command::Stop);
        let _ = thread.join();
    }
}

/// Forgets what was not queued; `before` is what was known of each stream before, oldest first.
fn set_back(accepted: &mut Positions, before: Vec<(StreamId, Option<u64>)>) {
    for (stream, known) in before.into_iter().rev() {
        match known {
            Some(seq) => accepted.insert(stream, seq),
            None => accepted.remove(&stream),
        };
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

/// Lives on the log's thread: however that ends, everybody learns that nothing is written any more.
struct EndGuard {
    shared: Arc<Shared>,
    observer: Arc<dyn LogObserver>,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.shared.health.lock() = Health::Failed("its thread has panicked".to_owned());
            self.observer.failed(&LogError::Stopped);
        }
    }
}

/// Positions without these records, which are the last of their streams.
fn before(positions: &Positions, records: &[Record]) -> Positions {
    let mut before = positions.clone();
    for (stream, first) in first_seqs(records) {
        if let Some(seq) = before.get_mut(&stream) {
            *seq = (*seq).min(first.saturating_sub(1));
        }
    }

    before.retain(|_, seq| *seq > 0);
    before
}
