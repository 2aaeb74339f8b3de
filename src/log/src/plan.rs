//! Looking the log through after a start, before anybody relies on it.
//!
//! A replay applies what is behind the checkpoints while writes and peers' records come in already. So what it will
//! read is fixed first, and damage is found first: a position that was told to a peer cannot be taken back.

use trireme_base::{Ended, StreamId};
use trireme_wire::record::{Record, RecordKind};

use crate::base::Positions;
use crate::recovery::{Damage, damage};
use crate::scan::Scan;
use crate::{Log, LogError};

/// What a replay reads; made by [`Log::plan_replay`].
#[derive(Debug)]
pub struct ReplayPlan {
    /// Where each stream is read from: behind this seq.
    pub(crate) from: Positions,
    /// How far each stream can be read.
    pub(crate) to: Positions,
    /// Number and length of the segments that hold something of it, oldest first.
    pub(crate) segments: Vec<(u64, u64)>,
    /// Damage met; the positions of the streams concerned were set back to before it.
    pub damage: Vec<Damage>,
    /// Payloads of the window markers met, so that a new stream can go on behind them.
    pub markers: Vec<Vec<u8>>,
}

impl ReplayPlan {
    /// Per stream the seq behind which it is read.
    pub fn from(&self) -> Vec<(StreamId, u64)> {
        self.from
            .iter()
            .map(|(stream, seq)| (*stream, *seq))
            .collect()
    }

    /// Per stream the last seq that the replay gives.
    pub fn to(&self) -> Vec<(StreamId, u64)> {
        self.to
            .iter()
            .map(|(stream, seq)| (*stream, *seq))
            .collect()
    }

    /// First and last number of the segments read; `None` when there is nothing to read.
    pub fn segments(&self) -> Option<(u64, u64)> {
        Some((self.segments.first()?.0, self.segments.last()?.0))
    }

    /// Bytes of the segments read, their headers among them.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// Which records a replay takes: those that continue their stream, up to where they were when it was planned.
pub(crate) struct Chain {
    pub own: StreamId,
    pub last: Positions,
    pub skip_holes: bool,
    pub ended: Ended,
}

impl Chain {
    pub fn takes(&mut self, record: &Record) -> bool {
        let stream = record.stream();
        let seq = record.seq();
        if stream == self.own || self.ended.has(stream) {
            return false;
        }

        let have = self.last.entry(stream).or_default();

        let fits = seq == *have + 1 || (self.skip_holes && seq > *have);
        if fits {
            *have = seq;
        }

        fits
    }

    /// True if nothing up to `seq` is taken of a stream.
    fn has(&self, stream: &StreamId, seq: u64) -> bool {
        *stream == self.own
            || self.ended.has(*stream)
            || self.last.get(stream).is_some_and(|last| *last >= seq)
    }
}

impl Log {
    /// Reads everything behind `covered` once and answers what a replay will give. `covered` is where the checkpoints
    /// stand; streams it does not name are read from their start.
    ///
    /// A stream that could not be read as far as it was thought to go stands before the hole afterwards, so that the
    /// rest is fetched from a peer. Must be called before anything of another stream is appended.
    pub fn plan_replay(&self, covered: &[(StreamId, u64)]) -> Result<ReplayPlan, LogError> {
        let (from, segments, target, ended) = {
            let state = self.shared.state.lock();

            let from = state.base.raised_by(covered);

            (
                from,
                state.segments.clone(),
                state.written.clone(),
                state.base.ended.clone(),
            )
        };

        let mut chain = self.chain(from.clone(), ended);

        let mut plan = ReplayPlan {
            from,
            to: Positions::new(),
            segments: Vec::new(),
            damage: Vec::new(),
            markers: Vec::new(),
        };

        for (number, summary) in &segments {
            let mut ranges = summary.streams.iter();
            if ranges.all(|(stream, range)| chain.has(stream, range.last)) {
                continue;
            }
            plan.segments.push((*number, summary.bytes));
            self.examine(*number, summary.bytes, &mut chain, &mut plan)?;
        }

        self.set_back_to(&chain.last, &target);
        plan.to = chain.last;
        Ok(plan)
    }

    /// What a replay takes behind `from`.
    pub(crate) fn chain(&self, from: Positions, ended: Ended) -> Chain {
        Chain {
            own: self.shared.own,
            last: from,
            skip_holes: self.shared.options.skip_holes,
            ended,
        }
    }

    fn examine(
        &self,
        number: u64,
        end: u64,
        chain: &mut Chain,
        plan: &mut ReplayPlan,
    ) -> Result<(), LogError> {
        let path = self.shared.segment_path(number);
        let mut scan = match Scan::open_at(&*self.shared.options.disk, &path, None, end) {
            Ok(scan) => scan,
            // Somebody has deleted it, or its begin cannot be read any more.
            Err(error) if error.is_loss() => {
                plan.damage.push(Damage {
                    segment: path,
                    offset: 0,
                    what: error.to_string(),
                });
                return Ok(());
            }
            Err(error) => return Err(error),
        };

        while let Some(batch) = scan
            .next_batch()
            .map_err(|e| LogError::io("replay", &path, e))?
        {
            for record in batch.records {
                if chain.takes(&record) && record.kind() == RecordKind::WindowClosed {
                    plan.markers.push(record.payload().to_vec());
                }
            }
        }

        let bad = scan.bad.into_iter();
        plan.damage.extend(bad.map(|bad| damage(&path, bad)));
        Ok(())
    }

    fn set_back_to(&self, reached: &Positions, target: &Positions) {
        let mut accepted = self.shared.accepted.lock();
        let mut guard = self.shared.state.lock();

        let state = &mut *guard;
        for (stream, seq) in target {
            let reached = reached.get(stream).copied().unwrap_or(0);
            // Only while nothing was appended behind the hole since.
            if *stream != self.shared.own
                && reached < *seq
                && state.written.get(stream) == Some(seq)
            {
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
