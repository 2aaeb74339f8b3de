//! Forgetting what nobody needs any more.

use std::collections::BTreeSet;
use std::io;

use trireme_base::{Boot, End, Ended, Incarnation, StreamId};

use crate::base::{Base, Positions};
use crate::salvage::Salvage;
use crate::scan::read_header;
use crate::shared::State;
use crate::{Log, LogError};

impl Log {
    /// Deletes the oldest segments whose records are all covered by `covered`; answers how many bytes that freed.
    ///
    /// What may go is the caller's decision: covered by the checkpoint *and* not needed by any peer.
    pub fn trim(&self, covered: &[(StreamId, u64)]) -> Result<u64, LogError> {
        self.trim_where(covered, |_| true)
    }

    /// As [`Log::trim`], but only segments that were closed before `closed_before_ms`.
    pub fn trim_older(
        &self,
        covered: &[(StreamId, u64)],
        closed_before_ms: i64,
    ) -> Result<u64, LogError> {
        // A segment is closed when the next one is made.
        self.trim_where(covered, |next: u64| {
            self.created_ms(next)
                .is_some_and(|created| created < closed_before_ms)
        })
    }

    /// True if the log can still give every record of every stream it knows.
    pub fn is_whole(&self) -> bool {
        let state = self.shared.state.lock();
        state.base.ended.is_empty()
            && state
                .written
                .iter()
                .all(|(stream, seq)| *seq == 0 || first_of(&state, stream) == Some(1))
    }

    /// Streams of which a segment still holds something.
    pub fn held(&self) -> BTreeSet<StreamId> {
        self.shared.state.lock().held()
    }

    /// The streams that have ended: there is nothing of them here, and nothing of them is taken.
    pub fn ended(&self) -> Ended {
        self.shared.state.lock().base.ended.clone()
    }

    /// Lets go of streams that have ended, durably. Those of which something is still held, and those behind them, stay;
    /// answers all that have ended by now.
    pub fn end(&self, streams: &Ended) -> Result<Ended, LogError> {
        let ended = {
            let mut accepted = self.shared.accepted.lock();
            let mut state = self.shared.state.lock();
            let held = state.held();

            let mut is_news = false;
            for (incarnation, asked) in streams.iter() {
                let end = self.end_of(incarnation, asked.before, &accepted, &state, &held);
                is_news |= state.base.ended.raise(incarnation, end);
            }

            let State {
                base: Base {
                    positions, ended, ..
                },
                written,
                durable,
                ..
            } = &mut *state;

            if is_news {
                for map in [&mut *accepted, written, durable, positions] {
                    map.retain(|stream, _| !ended.has(*stream));
                }
            }

            state.has_unsaved_ends |= is_news;
            state.base.ended.clone()
        };

        // What could not be stored is not told either, and tried again.
        if self.shared.state.lock().has_unsaved_ends {
            self.shared.store_base()?;
            self.shared.state.lock().has_unsaved_ends = false;
        }

        Ok(ended)
    }

    /// How far the streams of an incarnation may end, as far as this log is concerned.
    fn end_of(
        &self,
        incarnation: Incarnation,
        asked: Boot,
        accepted: &Positions,
        state: &State,
        held: &BTreeSet<StreamId>,
    ) -> End {
        let own = self.shared.own;
        let asked = if incarnation == own.incarnation {
            asked.min(own.boot)
        } else {
            asked
        };

        let mut end = state.base.ended.of(incarnation);

        let behind = StreamId {
            incarnation,
            boot: asked,
        };
        let first = StreamId {
            incarnation,
            boot: Boot(0),
        };
        for (stream, seq) in accepted.range(first..behind) {
            // What is queued is in no segment yet.
            let is_durable =
                state.written.get(stream) == Some(seq) && state.durable.get(stream) == Some(seq);
            if held.contains(stream) || !is_durable {
                return End {
                    before: stream.boot,
                    ..end
                };
            }
            if *seq > 0 {
                end.digest = End::with(end.digest, stream.boot, *seq);
            }
        }

        End {
            before: asked,
            ..end
        }
    }

    fn created_ms(&self, segment: u64) -> Option<i64> {
        let file = self
            .shared
            .options
            .disk
            .open(&self.shared.segment_path(segment))
            .ok()?;

        let header = read_header(&mut Salvage::new(file).ok()?).ok()?;
        header.ok().map(|(header, _)| header.created_ms)
    }

    /// `may_go` is asked with the number of the segment that follows the one in question.
    fn trim_where(
        &self,
        covered: &[(StreamId, u64)],
        may_go: impl Fn(u64) -> bool,
    ) -> Result<u64, LogError> {
        let covered: Positions = covered.iter().copied().collect();
        let freed = {
            let mut state = self.shared.state.lock();
            let freed = drop_covered(&mut state, &covered, may_go);

            if state.doomed.is_empty() {
                return Ok(0);
            }

            freed
        };

        // First the note that nothing below is missing, then the deletion.
        self.shared.store_base()?;
        self.remove_doomed()?;

        Ok(freed)
    }

    /// Removes the files of trimmed segments; one that cannot be removed is tried again with the next trim.
    fn remove_doomed(&self) -> Result<(), LogError> {
        let doomed: Vec<u64> = self.shared.state.lock().doomed.iter().copied().collect();

        let mut failed = Ok(());
        for number in doomed {
            let path = self.shared.segment_path(number);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    failed = Err(LogError::io("remove", &path, error));
                }
                _ => {
                    let _ = std::fs::remove_file(path.with_extension("idx"));
                    self.shared.state.lock().doomed.remove(&number);
                }
            }
        }

        failed
    }
}

/// First record of a stream that there is.
fn first_of(state: &State, stream: &StreamId) -> Option<u64> {
    state
        .segments
        .values()
        .find_map(|s| s.streams.get(stream))
        .map(|range| range.first)
}

/// Takes segments out, oldest first, as long as all they have is covered; answers how many bytes that are.
fn drop_covered(state: &mut State, covered: &Positions, may_go: impl Fn(u64) -> bool) -> u64 {
    let mut freed = 0;
    let numbers: Vec<u64> = state.segments.keys().copied().collect();

    // The newest has no next one, so it stays.
    for pair in numbers.windows(2) {
        let ended = &state.base.ended;
        let mut ranges = state.segments[&pair[0]].streams.iter();
        let is_done = ranges.all(|(stream, range)| {
            ended.has(*stream) || covered.get(stream).is_some_and(|seq| *seq >= range.last)
        });
        if !is_done || !may_go(pair[1]) {
            break;
        }

        let Some(summary) = state.segments.remove(&pair[0]) else {
            break;
        };

        for (stream, range) in &summary.streams {
            if state.base.ended.has(*stream) {
                continue;
            }
            let seq = state.base.positions.entry(*stream).or_default();
            *seq = (*seq).max(range.last);
        }

        state.base.first = pair[1];
        state.doomed.insert(pair[0]);
        freed += summary.bytes;
    }
    freed
}
