//! Records of other streams, and of all streams at a replay.

use trireme_base::StreamId;
use trireme_model::{Labels, SeriesKey, Tenant};
use trireme_wire::entry::{EntryError, EntryReader, FloatEntry, read_marker, read_release};
use trireme_wire::record::{ALL_SHARDS, Record, RecordKind};

use crate::bucket::{BucketId, Placed};
use crate::prefetch;
use crate::state::State;
use crate::streams::{Buckets, NO_SLOT, Stream};
use crate::{HeadError, Shard};

/// What applying a record did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Samples (floats and histograms) that are in the head now.
    pub samples: u64,
    /// Of these, samples that were there before.
    pub duplicates: u64,
    /// Of these, samples whose timestamp had another value.
    pub conflicts: u64,
    /// Samples that are in blocks already (a replay behind a cut).
    pub skipped: u64,
    /// True if the record had been applied before; nothing was done.
    pub known: bool,
    /// The window that the record closes.
    pub closed_window: Option<i64>,
}

/// Samples of a record for which room is kept between records.
const FLOATS_KEPT_MAX: usize = 1 << 16;
/// Samples fetched ahead of their use.
const AHEAD: usize = 8;

impl Shard {
    /// Applies a record of another stream, or of any earlier stream at a replay. Records of a stream must come in
    /// order; a repeated one does nothing. Any age of sample is taken: the origin has checked it.
    pub fn apply(&self, record: &Record) -> Result<Applied, HeadError> {
        let (stream, seq) = (record.stream(), record.seq());
        if record.shard() != self.options.number && record.shard() != ALL_SHARDS {
            return Err(HeadError::WrongShard {
                stream,
                seq,
                got: record.shard(),
                shard: self.options.number,
            });
        }
        let entry_error = |source| HeadError::Entry { stream, seq, source };
        let mut guard = self.state.write();
        let state = &mut *guard;
        let mut known = state.streams.remove(&stream).unwrap_or_default();
        if seq <= known.applied {
            state.streams.insert(stream, known);
            return Ok(Applied { known: true, ..Applied::default() });
        }
        let result = match record.kind() {
            RecordKind::Samples => {
                let run = Run { shard: self, stream, seq };
                EntryReader::new(record.payload())
                    .map_err(entry_error)
                    .and_then(|e| run.samples(state, &mut known, &e))
            }
            RecordKind::WindowClosed => read_marker(record.payload()).map_err(entry_error).map(|k| {
                known.marker = known.marker.max(Some(k));
                Applied { closed_window: known.marker, ..Applied::default() }
            }),
            RecordKind::Release => release(state, &mut known, record.payload()).map_err(entry_error),
        };
        // Also after an error: the record is in the log of every replica as it is, and trying again cannot help.
        known.applied = seq;
        state.streams.insert(stream, known);
        result
    }
}

fn release(state: &mut State, known: &mut Stream, payload: &[u8]) -> Result<Applied, EntryError> {
    for reference in read_release(payload) {
        let slot = known.refs.release(reference?);
        if let Some(series) = slot.and_then(|slot| state.series.get_mut(slot)) {
            series.foreign_refs = series.foreign_refs.saturating_sub(1);
        }
    }
    Ok(Applied::default())
}

/// One Samples record being applied.
struct Run<'a> {
    shard: &'a Shard,
    stream: StreamId,
    seq: u64,
}

impl Run<'_> {
    fn samples(
        &self,
        state: &mut State,
        known: &mut Stream,
        entry: &EntryReader<'_>,
    ) -> Result<Applied, HeadError> {
        let bad = |source| HeadError::Entry { stream: self.stream, seq: self.seq, source };
        let tenant = Tenant::new(entry.tenant()).map_err(|_| bad(EntryError::Utf8))?;
        let number = state.intern_tenant(&tenant);
        let mut definitions = entry.definitions();
        while let Some(definition) = definitions.next() {
            let (reference, bytes) = definition.map_err(bad)?;
            self.define(state, known, number, reference, bytes).map_err(bad)?;
        }
        let mut applied = Applied::default();
        let mut unknown = 0;
        let mut place = Place::new(self, state, known);
        let mut newest = state.tenants[number as usize].newest;
        let mut floats = std::mem::take(&mut state.floats);
        floats.clear();
        for float in entry.floats() {
            floats.push(float.map_err(bad)?);
        }
        for (at, float) in floats.iter().enumerate() {
            self.fetch_ahead(state, known, floats.get(at + AHEAD), floats.get(at + 2 * AHEAD));
            let Some(series) = known.refs.slot(float.reference).and_then(|slot| state.series.get_mut(slot))
            else {
                unknown += 1;
                continue;
            };
            newest = newest.max(float.t);
            let Some(id) = place.of(float.t) else {
                applied.skipped += 1;
                continue;
            };
            let FloatEntry { t, v, start, .. } = *float;
            let placed = series.bucket(id).insert(&mut state.files, &self.shard.options, t, v, start);
            applied.count(placed);
        }
        if floats.capacity() <= FLOATS_KEPT_MAX {
            state.floats = floats;
        }
        for histogram in entry.histograms() {
            let histogram = histogram.map_err(bad)?;
            let Some(series) =
                known.refs.slot(histogram.reference).and_then(|slot| state.series.get_mut(slot))
            else {
                unknown += 1;
                continue;
            };
            newest = newest.max(histogram.sample.t);
            let Some(id) = place.of(histogram.sample.t) else {
                applied.skipped += 1;
                continue;
            };
            let histograms = series.histograms.get_or_insert_default();
            applied.count(histograms.insert(&mut state.files, &self.shard.options, id, histogram.sample));
        }
        state.tenants[number as usize].newest = newest;
        state.note_cuts(place.buckets.into_cuts());
        for exemplar in entry.exemplars() {
            let exemplar = exemplar.map_err(bad)?;
            let key =
                known.refs.slot(exemplar.reference).and_then(|slot| state.series.get(slot)).map(|s| s.key);
            match key {
                Some(key) => {
                    let max = self.shard.options.exemplars_max;
                    state.tenants[number as usize].add_exemplar(key, &exemplar.exemplar, max);
                }
                None => unknown += 1,
            }
        }
        for metadata in entry.metadata() {
            let metadata = metadata.map_err(bad)?;
            let max = self.shard.options.metadata_max;
            state.tenants[number as usize].set_metadata(metadata.metric, &metadata.metadata, max);
        }
        state.conflicts += applied.conflicts;
        if unknown > 0 {
            return Err(HeadError::UnknownReference { stream: self.stream, seq: self.seq, count: unknown });
        }
        Ok(applied)
    }

    fn define(
        &self,
        state: &mut State,
        known: &mut Stream,
        tenant: u32,
        reference: u32,
        bytes: &[u8],
    ) -> Result<(), EntryError> {
        let key = SeriesKey::of(state.tenants[tenant as usize].seed, bytes);
        let slot = match state.find(key) {
            Some(slot) => slot,
            None => {
                // Whatever a peer sends must not be able to corrupt the index.
                let labels = Labels::from_wire(bytes).map_err(|_| EntryError::Utf8)?;
                state.find_or_create(tenant, &labels).ok_or(EntryError::Range(0))?
            }
        };
        let before = known.refs.define(reference, slot).ok_or(EntryError::Range(reference as usize))?;
        if before != slot {
            if let Some(series) = state.series.get_mut(slot) {
                series.foreign_refs += 1;
            }
            if before != NO_SLOT
                && let Some(series) = state.series.get_mut(before)
            {
                series.foreign_refs = series.foreign_refs.saturating_sub(1);
            }
        }
        Ok(())
    }

    /// Starts loading the series that come soon, and the chunk ends of those that come next.
    #[inline]
    fn fetch_ahead(
        &self,
        state: &State,
        known: &Stream,
        near: Option<&FloatEntry>,
        far: Option<&FloatEntry>,
    ) {
        if let Some(slot) = far.and_then(|f| known.refs.slot(f.reference)) {
            state.series.prefetch(slot);
        }
        if let Some(last) = near
            .and_then(|f| known.refs.slot(f.reference))
            .and_then(|slot| state.series.get(slot))
            .and_then(|series| series.current.bytes.last())
        {
            prefetch::read(last);
        }
    }
}

/// Decides the bucket of each sample of a record.
struct Place {
    buckets: Buckets,
    /// Set while replaying what stood before the last cut: samples of cuts up to this are in blocks.
    in_blocks: Option<i64>,
}

impl Place {
    fn new(run: &Run<'_>, state: &State, known: &Stream) -> Self {
        let cut = &state.last_cut;
        let before_cut = cut.positions.get(&run.stream).is_some_and(|position| run.seq <= *position);
        let in_blocks = cut.number.filter(|_| before_cut);
        // Before the cut's position nothing was moved to a later cut because of it.
        let floor = if in_blocks.is_some() { None } else { state.cut_floor() };
        Self { buckets: Buckets::new(run.shard.options.window_ms, known.marker, floor), in_blocks }
    }

    #[inline]
    fn of(&mut self, t: i64) -> Option<BucketId> {
        let id = self.buckets.of(t);
        if self.in_blocks.is_some_and(|cut| id.cut <= cut) { None } else { Some(id) }
    }
}

impl Applied {
    #[inline]
    fn count(&mut self, placed: Placed) {
        self.samples += 1;
        self.duplicates += u64::from(placed == Placed::Duplicate);
        self.conflicts += u64::from(placed == Placed::Conflict);
    }
}
