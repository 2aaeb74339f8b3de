//! Records of other streams, and of all streams at a replay.

use trireme_base::StreamId;
use trireme_model::{Labels, SeriesKey, Tenant};
use trireme_wire::entry::{EntryError, EntryReader, FloatEntry, read_marker, read_release};
use trireme_wire::record::{ALL_SHARDS, Record, RecordKind};

use crate::bucket::{BucketId, Placed};
use crate::cut::{Taken, sane_marker};
use crate::prefetch;
use crate::state::State;
use crate::streams::{Buckets, NO_SLOT, Stream};
use crate::suspect::PanicPoint;
use crate::tenant::TenantState;
use crate::validate::TIME_MS_MAX;
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
        let stream = record.stream();

        let seq = record.seq();
        if record.shard() != self.options.number && record.shard() != ALL_SHARDS {
            return Err(HeadError::WrongShard {
                stream,
                seq,
                got: record.shard(),
                shard: self.options.number,
            });
        }

        let mut guard = self.state.write();
        let _change = self.change_by(stream, seq);
        let state = &mut *guard;

        state.recent.begin(self.moments.oldest());

        let mut known = state.streams.remove(&stream).unwrap_or_default();
        if seq <= known.applied {
            state.streams.insert(stream, known);
            return Ok(Applied {
                known: true,
                ..Applied::default()
            });
        }

        let result = self.take_record(state, &mut known, record);

        // Also after an error: the record is in the log of every replica as it is, and trying again cannot help.
        known.applied = seq;
        state.streams.insert(stream, known);

        result
    }

    /// Takes what a record holds into the state.
    fn take_record(
        &self,
        state: &mut State,
        known: &mut Stream,
        record: &Record,
    ) -> Result<Applied, HeadError> {
        let run = Run {
            shard: self,
            stream: record.stream(),
            seq: record.seq(),
        };

        if self.is_set_aside(run.stream, run.seq) {
            return Err(HeadError::SetAside {
                stream: run.stream,
                seq: run.seq,
            });
        }

        match record.kind() {
            RecordKind::Samples => {
                let entry = EntryReader::new(record.payload()).map_err(|e| run.unreadable(e))?;
                run.samples(state, known, &entry)
            }
            RecordKind::WindowClosed => {
                let k = self
                    .marker_of(record.payload())
                    .map_err(|e| run.unreadable(e))?;
                known.marker = known.marker.max(Some(k));
                Ok(Applied {
                    closed_window: known.marker,
                    ..Applied::default()
                })
            }
            RecordKind::Release => {
                release(state, known, record.payload()).map_err(|e| run.unreadable(e))
            }
        }
    }

    /// The window that a record closes; refused if it lies beyond the times that a sample may have.
    fn marker_of(&self, payload: &[u8]) -> Result<i64, EntryError> {
        let k = read_marker(payload)?;
        let starts_at = k.checked_mul(self.options.window_ms);
        starts_at
            .filter(|t| *t < TIME_MS_MAX)
            .map(|_| k)
            .ok_or(EntryError::Range(0))
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
        let tenant = Tenant::new(entry.tenant()).map_err(|_| self.unreadable(EntryError::Utf8))?;
        let number = state.intern_tenant(&tenant);
        self.define_all(state, known, number, entry)
            .map_err(|e| self.unreadable(e))?;

        let mut pass = Pass {
            run: self,
            place: Place::new(self, state, known, &tenant),
            tenant: number,
            last_window: None,
            newest: i64::MIN,
            unknown: 0,
            applied: Applied::default(),
        };

        let stored = pass.store(state, known, entry);
        self.shard.may_panic(PanicPoint::Apply, &tenant);
        let (mut unknown, applied) = pass.end(state);
        stored.map_err(|e| self.unreadable(e))?;
        unknown += self
            .extras(state, known, number, entry)
            .map_err(|e| self.unreadable(e))?;

        if unknown > 0 {
            return Err(HeadError::UnknownReference {
                stream: self.stream,
                seq: self.seq,
                count: unknown,
            });
        }

        Ok(applied)
    }

    /// An error in this record.
    fn unreadable(&self, source: EntryError) -> HeadError {
        HeadError::Entry {
            stream: self.stream,
            seq: self.seq,
            source,
        }
    }

    /// Takes the series that the record defines.
    fn define_all(
        &self,
        state: &mut State,
        known: &mut Stream,
        tenant: u32,
        entry: &EntryReader<'_>,
    ) -> Result<(), EntryError> {
        let mut definitions = entry.definitions();
        while let Some(definition) = definitions.next() {
            let (reference, bytes) = definition?;
            self.define(state, known, tenant, reference, bytes)?;
        }
        Ok(())
    }

    /// Exemplars and metadata; answers how many exemplars are of series that are not known.
    fn extras(
        &self,
        state: &mut State,
        known: &Stream,
        tenant: u32,
        entry: &EntryReader<'_>,
    ) -> Result<u64, EntryError> {
        let options = &self.shard.options;
        let mut unknown = 0;

        let mut has_extras = false;
        for exemplar in entry.exemplars() {
            let exemplar = exemplar?;

            let slot = known.refs.slot(exemplar.reference);
            match slot
                .and_then(|slot| state.series.get(slot))
                .map(|series| series.key)
            {
                Some(key) => {
                    let tenant = &mut state.tenants[tenant as usize];
                    tenant.add_exemplar(key, &exemplar.exemplar, options.exemplars_max);
                    has_extras = true;
                }
                None => unknown += 1,
            }
        }

        // Each origin keeps to the bound; what several let in together fits.
        let max = options.metadata_max.saturating_mul(2);

        for metadata in entry.metadata() {
            let metadata = metadata?;
            state.tenants[tenant as usize].add_metadata(metadata.metric, &metadata.metadata, max);
            has_extras = true;
        }

        if has_extras {
            state.relieve(options);
        }

        Ok(unknown)
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
        let slot = match state.find(tenant, key) {
            Some(slot) => slot,
            None => {
                // Whatever a peer sends must not be able to corrupt the index.
                let labels = Labels::from_wire(bytes).map_err(|_| EntryError::Utf8)?;
                state
                    .find_or_create(tenant, &labels)
                    .ok_or(EntryError::Range(0))?
            }
        };

        let before = known
            .refs
            .define(reference, slot)
            .ok_or(EntryError::Range(reference as usize))?;

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

/// Storing the samples of a record.
struct Pass<'a> {
    run: &'a Run<'a>,
    place: Place,
    tenant: u32,
    /// The window of the sample before, which the tenant is known to have.
    last_window: Option<i64>,
    newest: i64,
    /// Samples of series that are not known.
    unknown: u64,
    applied: Applied,
}

impl Pass<'_> {
    fn store(
        &mut self,
        state: &mut State,
        known: &Stream,
        entry: &EntryReader<'_>,
    ) -> Result<(), EntryError> {
        let mut floats = std::mem::take(&mut state.floats);
        floats.clear();

        for float in entry.floats() {
            floats.push(float?);
        }

        self.store_floats(state, known, &floats);
        if floats.capacity() <= FLOATS_KEPT_MAX {
            state.floats = floats;
        }

        self.store_histograms(state, known, entry)
    }

    fn store_floats(&mut self, state: &mut State, known: &Stream, floats: &[FloatEntry]) {
        let options = &self.run.shard.options;
        for (at, float) in floats.iter().enumerate() {
            self.run.fetch_ahead(
                state,
                known,
                floats.get(at + AHEAD),
                floats.get(at + 2 * AHEAD),
            );

            let slot = known.refs.slot(float.reference);
            let found = slot.and_then(|slot| Some((slot, state.series.get_mut(slot)?)));
            let Some((slot, series)) = found else {
                self.unknown += 1;
                continue;
            };

            let FloatEntry { t, v, start, .. } = *float;
            let Some(id) = self.bucket(&mut state.tenants, t) else {
                continue;
            };

            let bucket = series.bucket(id);
            let placed = bucket.insert(&mut state.files, options, t, v, start);
            state.recent.note(placed, id, slot, t, &mut bucket.noted);
            self.applied.count(placed);
        }
    }

    fn store_histograms(
        &mut self,
        state: &mut State,
        known: &Stream,
        entry: &EntryReader<'_>,
    ) -> Result<(), EntryError> {
        let options = &self.run.shard.options;
        for histogram in entry.histograms() {
            let histogram = histogram?;
            let slot = known.refs.slot(histogram.reference);
            let found = slot.and_then(|slot| Some((slot, state.series.get_mut(slot)?)));
            let Some((slot, series)) = found else {
                self.unknown += 1;
                continue;
            };

            let t = histogram.sample.t;
            let Some(id) = self.bucket(&mut state.tenants, t) else {
                continue;
            };

            let histograms = series.histograms.get_or_insert_default();
            let placed = histograms.insert(&mut state.files, options, id, histogram.sample);
            state
                .recent
                .note(placed, id, slot, t, &mut histograms.bucket(id).noted);
            self.applied.count(placed);
        }

        Ok(())
    }

    /// The bucket of a sample; `None` if it is in a block.
    #[inline]
    fn bucket(&mut self, tenants: &mut [TenantState], t: i64) -> Option<BucketId> {
        self.newest = self.newest.max(t);
        let Some(id) = self.place.of(t) else {
            self.applied.skipped += 1;
            return None;
        };

        if self.last_window != Some(id.window) {
            self.last_window = Some(id.window);
            tenants[self.tenant as usize].windows.insert(id.window);
        }

        Some(id)
    }

    /// Notes what was stored, also before an error: it must be cut. Answers how many samples were of series that are not
    /// known, and what was applied.
    fn end(self, state: &mut State) -> (u64, Applied) {
        state.tenants[self.tenant as usize].note_newest(self.newest);
        state.note_cuts(self.place.buckets.into_cuts());
        state.conflicts += self.applied.conflicts;

        (self.unknown, self.applied)
    }
}

/// Decides the bucket of each sample of a record.
struct Place {
    buckets: Buckets,
    /// Set while replaying what stood before the last cut: samples of cuts up to this are in blocks.
    in_blocks: Option<Taken>,
    /// Save for these, which are of windows that cuts left, all of the record's tenant.
    left: Vec<(i64, Taken)>,
}

impl Place {
    fn new(run: &Run<'_>, state: &State, known: &Stream, tenant: &Tenant) -> Self {
        let cut = &state.last_cut;
        let before_cut = cut
            .positions
            .get(&run.stream)
            .is_some_and(|position| run.seq <= *position);
        let in_blocks = cut.number.filter(|_| before_cut);

        // Before the cut's position nothing was moved to a later cut because of it.
        let window_ms = run.shard.options.window_ms;
        let marker = sane_marker(window_ms, known.marker, state.cut_floor());
        let floor = if in_blocks.is_some() {
            None
        } else {
            state.cut_floor()
        };

        let in_blocks = in_blocks.map(|cut| Taken::by(cut, window_ms));
        let of_tenant = cut
            .left
            .iter()
            .filter(|left| in_blocks.is_some() && left.tenant == *tenant);
        let left = of_tenant
            .map(|left| (left.window, Taken::by(left.cut, window_ms)))
            .collect();

        Self {
            buckets: Buckets::new(window_ms, marker, floor),
            in_blocks,
            left,
        }
    }

    #[inline]
    fn of(&mut self, t: i64) -> Option<BucketId> {
        let id = self.buckets.of(t);
        let is_taken = self.in_blocks.is_some_and(|taken| taken.takes(id));
        if is_taken && !self.is_left(id) {
            None
        } else {
            Some(id)
        }
    }

    fn is_left(&self, id: BucketId) -> bool {
        self.left
            .iter()
            .any(|(window, taken)| *window == id.window && taken.takes(id))
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
