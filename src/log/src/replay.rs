//! Reading the whole log again after a start.

use std::panic::resume_unwind;

use crossbeam_channel::{Sender, bounded};
use trireme_base::StreamId;
use trireme_wire::record::{ALL_SHARDS, Record};

use crate::base::Positions;
use crate::recovery::Damage;
use crate::scan::Scan;
use crate::{Log, LogError};

/// Batches that may wait for one thread; with batches of at most some MiB this bounds the memory of a replay.
const QUEUE_BATCHES: usize = 8;

/// What a replay did.
#[derive(Clone, Debug, Default)]
pub struct ReplayReport {
    /// Records given to a shard; one for all shards counts once.
    pub records: u64,
    /// Bytes of segments read.
    pub bytes: u64,
    /// Damage met; the positions of the streams concerned were set back to before it.
    pub damage: Vec<Damage>,
}

impl Log {
    /// Gives every record behind `from` to `apply(shard, record)`, in stream order for each shard, on `threads`
    /// threads. Records of the own running stream are left out: the head has them already.
    ///
    /// `from` is where the checkpoint stands (streams it does not name are read from their start). Covers what was
    /// written when the call was made; appends go on meanwhile.
    pub fn replay<F>(
        &self,
        from: &[(StreamId, u64)],
        shards: u16,
        threads: usize,
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
                let run = move || rx.into_iter().flatten().for_each(|(shard, record)| apply(shard, &record));
                // Replay threads live as long as this call.
                let handle = std::thread::Builder::new().name(format!("replay-{n}")).spawn_scoped(scope, run);
                handles.push(
                    handle.map_err(|e| LogError::io("start a replay thread for", &self.shared.dir, e))?,
                );
                queues.push(tx);
            }
            let report = self.read_all(from, &Queues { shards, queues });
            for handle in handles {
                if let Err(panic) = handle.join() {
                    resume_unwind(panic);
                }
            }
            report
        })
    }

    fn read_all(&self, from: &[(StreamId, u64)], queues: &Queues) -> Result<ReplayReport, LogError> {
        let (mut last, segments, target) = {
            let state = self.shared.state.lock();
            let mut last = state.base.clone();
            for (stream, seq) in from {
                let have = last.entry(*stream).or_default();
                *have = (*have).max(*seq);
            }
            (last, state.segments.clone(), state.written.clone())
        };
        let mut report = ReplayReport::default();
        for (number, summary) in &segments {
            let known =
                |s: &StreamId, seq: u64| *s == self.shared.own || last.get(s).is_some_and(|l| *l >= seq);
            if summary.streams.iter().all(|(s, r)| known(s, r.last)) {
                continue;
            }
            let path = self.shared.segment_path(*number);
            let io = |e| LogError::io("replay", &path, e);
            let start = crate::format::SEGMENT_HEADER_BYTES as u64;
            let mut scan = Scan::open_at(&path, start, summary.bytes).map_err(io)?;
            while let Some(batch) = scan.next_batch().map_err(io)? {
                let wanted = batch.records.into_iter().filter(|r| self.wants(&mut last, r));
                report.records += queues.send(wanted);
            }
            report.bytes += summary.bytes;
            let damage =
                |bad: crate::scan::Bad| Damage { segment: path.clone(), offset: bad.offset, what: bad.what };
            report.damage.extend(scan.bad.into_iter().map(damage));
        }
        self.set_back_to(&last, &target);
        Ok(report)
    }

    fn wants(&self, last: &mut Positions, record: &Record) -> bool {
        let (stream, seq) = (record.stream(), record.seq());
        if stream == self.shared.own {
            return false;
        }
        let have = last.entry(stream).or_default();
        let fits = seq == *have + 1 || (self.shared.options.skip_holes && seq > *have);
        if fits {
            *have = seq;
        }
        fits
    }

    /// A stream that could not be read as far as it was thought to go stands before the hole, so that the rest is
    /// fetched from a peer.
    fn set_back_to(&self, reached: &Positions, target: &Positions) {
        let mut accepted = self.shared.accepted.lock();
        let mut guard = self.shared.state.lock();
        let state = &mut *guard;
        for (stream, seq) in target {
            let reached = reached.get(stream).copied().unwrap_or(0);
            // Only while nothing was appended behind the hole since.
            if *stream != self.shared.own && reached < *seq && state.written.get(stream) == Some(seq) {
                for map in [&mut *accepted, &mut state.written, &mut state.durable] {
                    map.insert(*stream, reached);
                }
                for summary in state.segments.values_mut() {
                    summary.cut(*stream, reached);
                }
            }
        }
    }
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
                shard => shard..shard.saturating_add(1),
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
