//! Reading the log behind the checkpoints again after a start.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;

use crossbeam_channel::{Sender, bounded};
use trireme_wire::record::{ALL_SHARDS, Record};

use crate::plan::{Chain, ReplayPlan};
use crate::scan::Scan;
use crate::{Log, LogError};

/// Batches that may wait for one thread; with batches of at most some MiB this bounds the memory of a replay.
const QUEUE_BATCHES: usize = 8;

/// What a replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Records given to a shard; one for all shards counts once.
    pub records: u64,
    /// Bytes of segments read.
    pub bytes: u64,
}

/// How far a replay is, and whether it should end early; shared with whoever watches.
#[derive(Debug, Default)]
pub struct ReplayWatch {
    segment: AtomicU64,
    stop: AtomicBool,
}

impl ReplayWatch {
    /// Number of the segment being read; 0 before the first.
    pub fn segment(&self) -> u64 {
        self.segment.load(Ordering::Relaxed)
    }

    /// Ends the replay; it answers [`LogError::Stopped`].
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }
}

impl Log {
    /// Gives every record of the plan to `apply(shard, record)`, in stream order for each shard, on `threads` threads.
    /// Records of the own running stream are left out: the head has them already. Appends go on meanwhile.
    ///
    /// [`LogError::Changed`] if the files no longer hold what they held when the plan was made.
    pub fn replay<F>(
        &self,
        plan: &ReplayPlan,
        shards: u16,
        threads: usize,
        watch: &ReplayWatch,
        apply: F,
    ) -> Result<ReplayReport, LogError>
    where
        F: Fn(u16, &Record) + Sync,
    {
        let threads = threads.clamp(1, usize::from(shards.max(1)));
        let apply = &apply;
        std::thread::scope(|scope| {
            let mut queues = Vec::with_capacity(threads);

            let mut handles = Vec::with_capacity(threads);
            for n in 0..threads {
                let (tx, rx) = bounded::<Vec<(u16, Record)>>(QUEUE_BATCHES);
                // Replay threads live as long as this call.
                #[allow(clippy::disallowed_methods)] // they end with this call
                let handle = std::thread::Builder::new()
                    .name(format!("replay-{n}"))
                    .spawn_scoped(scope, move || {
                        let records = rx.into_iter().flatten();
                        records.for_each(|(shard, record)| apply(shard, &record))
                    });

                handles.push(
                    handle.map_err(|e| {
                        LogError::io("start a replay thread for", &self.shared.dir, e)
                    })?,
                );

                queues.push(tx);
            }

            let queues = Queues { shards, queues };
            let run = Run {
                watch,
                queues: &queues,
            };
            let report = self.read_plan(plan, run);
            // A thread ends when its queue is closed.
            drop(queues);
            join_all(handles);

            report
        })
    }

    fn read_plan(&self, plan: &ReplayPlan, run: Run<'_>) -> Result<ReplayReport, LogError> {
        let mut chain = self.chain(plan.from.clone(), self.ended());

        let mut report = ReplayReport::default();
        for (number, end) in &plan.segments {
            run.watch.segment.store(*number, Ordering::Relaxed);
            if let Some(records) = self.replay_segment(*number, *end, run, &mut chain)? {
                report.records += records;
                report.bytes += end;
            }
        }

        if chain.last != plan.to {
            return Err(LogError::Changed {
                path: self.shared.dir.clone(),
            });
        }

        Ok(report)
    }

    /// Hands out a segment up to `end`; answers how many records it gave, and nothing if it is lost.
    fn replay_segment(
        &self,
        number: u64,
        end: u64,
        run: Run<'_>,
        chain: &mut Chain,
    ) -> Result<Option<u64>, LogError> {
        let path = self.shared.segment_path(number);
        let mut scan = match Scan::open_at(&*self.shared.options.disk, &path, None, end) {
            Ok(scan) => scan,
            // The plan did without it, or it went since: the end tells.
            Err(error) if error.is_loss() => return Ok(None),
            Err(error) => return Err(error),
        };

        let mut records = 0;
        while let Some(batch) = scan
            .next_batch()
            .map_err(|e| LogError::io("replay", &path, e))?
        {
            if run.watch.stop.load(Ordering::Acquire) {
                return Err(LogError::Stopped);
            }
            let taken = batch.records.into_iter().filter(|r| chain.takes(r));
            records += run.queues.send(taken);
        }
        Ok(Some(records))
    }
}

/// Waits for all threads; a panic of one goes on here.
fn join_all(handles: Vec<ScopedJoinHandle<'_, ()>>) {
    for handle in handles {
        if let Err(panic) = handle.join() {
            resume_unwind(panic);
        }
    }
}

/// Who follows a replay, and who gets its records.
#[derive(Clone, Copy)]
struct Run<'a> {
    watch: &'a ReplayWatch,
    queues: &'a Queues,
}

struct Queues {
    shards: u16,
    queues: Vec<Sender<Vec<(u16, Record)>>>,
}

impl Queues {
    /// Hands records to the threads of their shards; answers how many records that were.
    fn send(&self, records: impl Iterator<Item = Record>) -> u64 {
        let mut parts: Vec<Vec<(u16, Record)>> = vec![Vec::new(); self.queues.len()];

        let mut count = 0;
        for record in records {
            count += 1;
            let to = match record.shard() {
                ALL_SHARDS => 0..self.shards,
                // None for a shard that does not exist.
                shard => shard..shard.saturating_add(1).min(self.shards),
            };
            for shard in to {
                parts[usize::from(shard) % self.queues.len()].push((shard, record.clone()));
            }
        }

        for (part, queue) in parts.into_iter().zip(&self.queues) {
            if !part.is_empty() {
                // A thread that panicked has closed its queue; its panic is passed on when it is joined.
                let _ = queue.send(part);
            }
        }

        count
    }
}
