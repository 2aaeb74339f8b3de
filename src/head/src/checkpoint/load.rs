//! Loading a checkpoint.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use trireme_base::StreamId;
use trireme_model::{Exemplar, Labels, MetricMetadata, MetricType, SeriesKey, Tenant};

use super::codec::{FoundChunks, Malformed, Reader, part};
use super::parts::Parts;
use super::seen::Seen;
use super::{CHECKPOINT_FILE, PREVIOUS_FILE};
use crate::bucket::BucketId;
use crate::chunkfile::FileLengths;
use crate::cut::CutManifest;
use crate::histograms::HistogramBuckets;
use crate::index::List;
use crate::series::Series;
use crate::state::{LastCut, State};
use crate::streams::{Refs, Stream};
use crate::tenant::TenantState;
use crate::{HeadError, Shard, ShardOptions, TenantTimes, files};

/// What a start found for a shard.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Per stream the seq up to which the shard has everything that concerns it; the log is replayed behind it.
    pub positions: Vec<(StreamId, u64)>,
    /// Series loaded.
    pub series: u64,
    /// Length of the checkpoint file; 0 when there was none.
    pub bytes: u64,
    /// Why the newest checkpoint could not be read; the one before it was loaded in its place.
    pub damage: Option<HeadError>,
}

impl Shard {
    /// A shard from its checkpoint, if there is one; apply the log behind [`Recovered::positions`] to it.
    ///
    /// Where the newest checkpoint is damaged the one before it is loaded: the log behind that is still there. The error
    /// is that of the newest if neither can be read.
    ///
    /// `cut` is the node's cut manifest: what it says is in blocks is not loaded.
    pub fn recover(
        options: ShardOptions,
        cut: Option<&CutManifest>,
    ) -> Result<(Arc<Self>, Recovered), HeadError> {
        Self::check(&options)?;
        let newest = match load(&options, cut, CHECKPOINT_FILE) {
            Ok(Some((state, bytes))) => return Ok(Self::recovered(options, state, bytes, None)),
            Ok(None) => None,
            Err(error) if error.is_damage() => Some(error),
            Err(error) => return Err(error),
        };

        match load(&options, cut, PREVIOUS_FILE) {
            Ok(Some((state, bytes))) => {
                files::put_back(&options.dir)?;
                Ok(Self::recovered(options, state, bytes, newest))
            }
            Ok(None) if newest.is_none() => {
                let state = fresh(&options, cut)?;
                Ok(Self::recovered(options, state, 0, None))
            }
            Ok(None) => {
                Err(newest.unwrap_or_else(|| HeadError::corrupt(&options.dir, "no checkpoint")))
            }
            Err(error) => Err(newest.unwrap_or(error)),
        }
    }

    /// A shard of what can be read of checkpoints that [`Shard::recover`] refuses, and what could not be read.
    ///
    /// Of the newest and the one before it, that is the one which gives more series. The whole log is to be applied to it: it
    /// stands at no position of any stream, because a lost part may have held what a record brought. A series whose labels
    /// cannot be proven by its key is left out. Nothing is written, and nobody may go on writing to the shard.
    pub fn salvage(
        options: ShardOptions,
        cut: Option<&CutManifest>,
    ) -> Result<(Arc<Self>, Vec<HeadError>), HeadError> {
        Self::check(&options)?;
        let mut best = fresh(&options, cut)?;

        let mut damage = Vec::new();
        for name in [CHECKPOINT_FILE, PREVIOUS_FILE] {
            match salvage(&options, cut, name) {
                Ok(Some((state, lost))) => {
                    damage.extend(lost);
                    if state.series.len() > best.series.len() {
                        best = state;
                    }
                }
                Ok(None) => {}
                Err(error) if error.is_damage() => damage.push(error),
                Err(error) => return Err(error),
            }
        }

        best.streams
            .values_mut()
            .for_each(|stream| stream.applied = 0);

        Ok((Self::with_state(options, best), damage))
    }

    fn recovered(
        options: ShardOptions,
        state: State,
        bytes: u64,
        damage: Option<HeadError>,
    ) -> (Arc<Self>, Recovered) {
        let positions: Vec<_> = state
            .streams
            .iter()
            .map(|(id, s)| (*id, s.applied))
            .collect();

        let series = state.series.len() as u64;
        let shard = Self::with_state(options, state);
        shard.covered.lock().clone_from(&positions);

        (
            shard,
            Recovered {
                positions,
                series,
                bytes,
                damage,
            },
        )
    }
}

/// An empty state that knows the last cut.
fn fresh(options: &ShardOptions, cut: Option<&CutManifest>) -> Result<State, HeadError> {
    let mut state = State::new(options)?;
    if let Some(cut) = cut {
        let positions = cut
            .positions
            .get(usize::from(options.number))
            .into_iter()
            .flatten()
            .copied()
            .collect();
        state.last_cut = LastCut {
            number: Some(cut.cut),
            positions,
            left: cut.left.clone(),
        };
    }

    Ok(state)
}

/// What a file holds, and its length; `None` if it is not there.
fn load(
    options: &ShardOptions,
    cut: Option<&CutManifest>,
    name: &str,
) -> Result<Option<(State, u64)>, HeadError> {
    let path = options.dir.join(name);
    let Some(parts) = open(&path)? else {
        return Ok(None);
    };

    let bytes = parts.bytes;
    let mut state = fresh(options, cut)?;
    Loader::new(options, &path, &parts, Into::State(&mut state)).load(parts)?;

    Ok(Some((state, bytes)))
}

/// What can be read of a file, and what cannot; `None` if it is not there.
fn salvage(
    options: &ShardOptions,
    cut: Option<&CutManifest>,
    name: &str,
) -> Result<Option<(State, Vec<HeadError>)>, HeadError> {
    let path = options.dir.join(name);
    let Some(parts) = open(&path)? else {
        return Ok(None);
    };
    let mut state = fresh(options, cut)?;
    let damage = Loader::new(options, &path, &parts, Into::State(&mut state)).salvage(parts)?;
    Ok(Some((state, damage)))
}

fn open(path: &Path) -> Result<Option<Parts<'_>>, HeadError> {
    match File::open(path) {
        Ok(file) => Parts::open(file, path).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HeadError::io("open", path, error)),
    }
}

/// Where what is read goes.
pub(super) enum Into<'a> {
    /// Into a shard.
    State(&'a mut State),
    /// Nowhere: it is only checked, against chunk files of these lengths.
    Nothing(&'a FileLengths),
}

/// Reads a checkpoint part by part.
pub(super) struct Loader<'a> {
    options: &'a ShardOptions,
    path: &'a Path,
    version: u32,
    bytes: u64,
    seen: Seen,
    into: Into<'a>,
    /// Series that each tenant is said to have.
    room: Vec<usize>,
    /// (reference, slot) of the stream that was the own one.
    refs: Vec<(u32, u32)>,
    /// What cannot be read is noted here and passed over. Without it, it is an error.
    damage: Option<Vec<HeadError>>,
}

impl<'a> Loader<'a> {
    pub fn new(
        options: &'a ShardOptions,
        path: &'a Path,
        parts: &Parts<'_>,
        into: Into<'a>,
    ) -> Self {
        Self {
            options,
            path,
            version: parts.version,
            bytes: parts.bytes,
            seen: Seen::default(),
            into,
            room: Vec::new(),
            refs: Vec::new(),
            damage: None,
        }
    }

    /// Reads what can be read; answers what could not.
    pub(super) fn salvage(mut self, parts: Parts<'_>) -> Result<Vec<HeadError>, HeadError> {
        self.damage = Some(Vec::new());
        self.read(parts)?;
        Ok(self.damage.unwrap_or_default())
    }

    /// What is wrong; passed over in a salvage.
    fn bear(&mut self, error: HeadError) -> Result<(), HeadError> {
        let Some(damage) = &mut self.damage else {
            return Err(error);
        };
        if damage.len() < DAMAGE_TOLD_MAX {
            damage.push(error);
        }
        Ok(())
    }

    fn bad(&self, what: impl std::convert::Into<String>) -> HeadError {
        HeadError::corrupt(self.path, what)
    }

    /// Reads everything.
    pub fn load(mut self, parts: Parts<'_>) -> Result<(), HeadError> {
        self.read(parts)
    }

    fn read(&mut self, mut parts: Parts<'_>) -> Result<(), HeadError> {
        let mut own = None;

        let mut other_settings = None;
        loop {
            let version = self.version;
            let (at, kind, body) = match parts.next() {
                Ok(part) => part,
                Err(error) => {
                    self.bear(error)?;
                    if parts.pass() {
                        continue;
                    }
                    break;
                }
            };

            let mut reader = Reader::new(body, version);
            let done = self.take(kind, &mut reader, &mut own, &mut other_settings);

            if let Some(why) = other_settings.take() {
                return Err(HeadError::Settings(why));
            }

            if let Err(Malformed) = done {
                self.bear(self.bad(format!("part of kind {kind} at {at} does not fit")))?;
            }

            if kind == part::END {
                break;
            }
        }

        match own {
            Some((id, stream)) => self.add_own_stream(id, stream),
            None => return self.bear(self.bad("no header")),
        }

        Ok(())
    }

    /// Takes what a part of this kind holds.
    fn take(
        &mut self,
        kind: u8,
        reader: &mut Reader<'_>,
        own: &mut Option<(StreamId, Stream)>,
        other_settings: &mut Option<String>,
    ) -> Result<(), Malformed> {
        match kind {
            part::HEADER => *own = Some(self.header(reader, other_settings)?),
            part::STREAM => self.stream(reader)?,
            part::TENANT => self.tenant(reader)?,
            part::NAMES => self.names(reader)?,
            part::PAIRS => self.pairs(reader)?,
            part::SERIES => self.all_series(reader)?,
            part::EXTRAS => self.extras(reader)?,
            part::STARTS => self.starts(reader)?,
            part::END => self.end(reader)?,
            _ => return Err(Malformed),
        }
        Ok(())
    }

    /// Adds the former own stream with the references of all series.
    fn add_own_stream(&mut self, id: StreamId, mut stream: Stream) {
        for (reference, slot) in std::mem::take(&mut self.refs) {
            stream.refs.define(reference, slot);
        }

        if let Into::State(state) = &mut self.into {
            state.streams.insert(id, stream);
            count_references(state);
        }
    }

    /// The former own stream, which is one like any other now.
    fn header(
        &self,
        r: &mut Reader<'_>,
        why: &mut Option<String>,
    ) -> Result<(StreamId, Stream), Malformed> {
        let number = r.u16()?;
        let shards = r.u16()?;
        let window_ms = r.i64()?;
        let want = (
            self.options.number,
            self.options.shards,
            self.options.window_ms,
        );

        if (number, shards, window_ms) != want {
            let path = self.path.display();
            *why = Some(format!(
                "{path} is of shard {number} of {shards} with windows of {window_ms} ms, not {want:?}; \
                 these are fixed for the life of a data directory"
            ));
        }

        let id = r.stream()?;
        let applied = r.u64()?;
        let marker = marker(r)?;
        let refs = Refs::with_extent(Refs::pages_for(r.u32()?));
        let stream = Stream {
            applied,
            marker,
            refs,
        };

        Ok((id, stream))
    }

    fn stream(&mut self, r: &mut Reader<'_>) -> Result<(), Malformed> {
        let id = r.stream()?;
        let applied = r.u64()?;
        let marker = marker(r)?;
        let extent = r.u32()? as usize;
        if extent > Refs::pages_for(u32::MAX) {
            return Err(Malformed);
        }

        let mut refs = Refs::with_extent(extent);
        while !r.is_empty() {
            let reference = r.u32()?;
            let slot = r.u32()?;
            refs.define(reference, slot).ok_or(Malformed)?;
        }

        if let Into::State(state) = &mut self.into {
            state.streams.insert(
                id,
                Stream {
                    applied,
                    marker,
                    refs,
                },
            );
        }

        Ok(())
    }

    fn tenant(&mut self, r: &mut Reader<'_>) -> Result<(), Malformed> {
        let tenant = Tenant::new(r.str()?).map_err(|_| Malformed)?;
        let expected = self.seen.next_tenant();
        let mut series = 0;

        let mut pairs = 0;
        if self.version >= 2 {
            // No more than the file can hold, whatever it says.
            let most = (self.bytes / SERIES_BYTES_MIN) as usize;
            (series, pairs) = ((r.u32()? as usize).min(most), (r.u32()? as usize).min(most));
        }

        if let Into::State(state) = &mut self.into {
            if state.intern_tenant(&tenant) != expected {
                return Err(Malformed);
            }
            let number = expected as usize;
            self.room.resize(state.tenants.len(), 0);
            self.room[number] = series;
            state.keys.reserve(series);
            state.tenants[number].index.reserve(series, pairs);
        }

        self.seen.add_tenant();
        Ok(())
    }

    fn names(&mut self, r: &mut Reader<'_>) -> Result<(), Malformed> {
        let tenant = r.u32()?;
        while !r.is_empty() {
            let name = r.str()?;
            self.seen.add_name(tenant, name)?;
            if let Into::State(state) = &mut self.into
                && !state.tenants[tenant as usize].index.load_name(name)
            {
                return Err(Malformed);
            }
        }

        Ok(())
    }

    fn pairs(&mut self, r: &mut Reader<'_>) -> Result<(), Malformed> {
        let tenant = r.u32()?;

        let most = self.room.get(tenant as usize).copied().unwrap_or(0);
        while !r.is_empty() {
            let id = r.u32()?;
            let name = r.u32()?;
            let series = if self.version >= 2 {
                r.u32()? as usize
            } else {
                0
            };

            let value = r.str()?;
            self.seen.add_pair(tenant, id, name)?;

            if let Into::State(state) = &mut self.into {
                state.tenants[tenant as usize]
                    .index
                    .load_pair(id, name, value, series.min(most));
            }
        }

        Ok(())
    }

    fn all_series(&mut self, r: &mut Reader<'_>) -> Result<(), Malformed> {
        let mut pairs = Vec::with_capacity(64);
        while !r.is_empty() {
            self.one_series(r, &mut pairs)?;
        }
        Ok(())
    }

    fn one_series(&mut self, r: &mut Reader<'_>, pairs: &mut Vec<u32>) -> Result<(), Malformed> {
        let (slot, key, tenant, own_ref) = r.series_head(pairs)?;
        if self.damage.is_some() && !self.is_itself(key, tenant, pairs) {
            let lost = self.bad(format!("the labels of series {slot} are lost"));
            self.bear(lost).map_err(|_| Malformed)?;
            return pass_buckets(r);
        }

        self.seen.add_series(slot, tenant, pairs)?;

        let mut series = Series::new(key, tenant, List::default());
        self.buckets(r, tenant, &mut series)?;

        let Into::State(state) = &mut self.into else {
            return Ok(());
        };

        series.labels = state.lists.insert(pairs).ok_or(Malformed)?;
        let of_tenant = &mut state.tenants[tenant as usize];
        of_tenant.index.load_series(slot, pairs);
        of_tenant.series += 1;
        state.keys.insert(key, slot);
        state.series.insert_at(slot, series);

        if own_ref != 0 {
            self.refs.push((own_ref, slot));
        }

        Ok(())
    }

    /// The buckets of a series.
    fn buckets(
        &mut self,
        r: &mut Reader<'_>,
        tenant: u32,
        series: &mut Series,
    ) -> Result<(), Malformed> {
        for _ in 0..r.wide()? {
            let bucket = r.bucket()?;
            if self.keep(tenant, bucket.id, bucket.closed)? {
                let id = bucket.id;
                *series.bucket(id) = bucket.build();
            }
        }

        let mut histograms = HistogramBuckets::default();
        for _ in 0..r.wide()? {
            let bucket = r.histogram_bucket()?;
            if self.keep(tenant, bucket.id, bucket.closed)? {
                let id = bucket.id;
                *histograms.bucket(id) = bucket.build();
            }
        }

        if histograms.ids().next().is_some() {
            series.histograms = Some(Box::new(histograms));
        }
        Ok(())
    }

    /// True if these pairs are the label set that the key was made of: numbers mean something else once a part is lost.
    fn is_itself(&self, key: SeriesKey, tenant: u32, pairs: &[u32]) -> bool {
        let Into::State(state) = &self.into else {
            return true;
        };
        let Some(tenant) = state.tenants.get(tenant as usize) else {
            return false;
        };

        let labels = tenant.index.labels(pairs, &mut Vec::with_capacity(512));
        SeriesKey::of(tenant.seed, labels.as_bytes()) == key
    }

    /// True if a bucket is not in a block yet and goes into the shard; its chunks are there.
    fn keep(
        &mut self,
        tenant: u32,
        id: BucketId,
        closed: FoundChunks<'_>,
    ) -> Result<bool, Malformed> {
        let window_ms = self.options.window_ms;

        let is_salvage = self.damage.is_some();
        match &mut self.into {
            Into::Nothing(files) => {
                let are_there = closed.iter().all(|chunk| chunk.place().is_within(files));
                if are_there { Ok(false) } else { Err(Malformed) }
            }
            Into::State(state) => {
                let name = &state.tenants[tenant as usize].tenant;
                if state.last_cut.has(window_ms, name, id) {
                    return Ok(false);
                }

                let is_left = state.last_cut.has_left(window_ms, name, id);
                for chunk in closed.iter() {
                    let claimed = state.files.claim(chunk.place());
                    if claimed.is_err() && !is_salvage {
                        return Err(Malformed);
                    }
                }

                if !is_left {
                    state.cuts.note(id);
                }

                state.tenants[tenant as usize].windows.insert(id.window);
                Ok(true)
            }
        }
    }

    /// Buckets that are in blocks by now were not loaded.
    fn starts(&mut self, r: &mut Reader<'_>) -> Result<(), Malformed> {
        while !r.is_empty() {
            let (slot, id, starts) = r.starts()?;
            if !self.seen.has_slot(slot) {
                if self.damage.is_some() {
                    continue;
                }
                return Err(Malformed);
            }

            if let Into::State(state) = &mut self.into
                && let Some(series) = state.series.get_mut(slot)
                && let Some(bucket) = series.find_bucket(id)
            {
                if self.version < 3 {
                    // It has those of out-of-order samples too.
                    bucket
                        .late
                        .iter_mut()
                        .flat_map(|late| late.iter_mut())
                        .for_each(|sample| {
                            sample.start = starts.at(sample.t);
                        });
                }
                bucket.starts = Some(Arc::new(starts));
            }
        }
        Ok(())
    }

    fn extras(&mut self, r: &mut Reader<'_>) -> Result<(), Malformed> {
        let tenant = r.u32()?;
        if !self.seen.has_tenant(tenant) {
            // Until version 3 those of tenants that came while the file was written were in it without their names. No
            // sample is among them, and the log behind the file has them again.
            return if self.version < 3 {
                Ok(())
            } else {
                Err(Malformed)
            };
        }

        let mut nowhere = None;
        let of_tenant = match &mut self.into {
            Into::State(state) => &mut state.tenants[tenant as usize],
            Into::Nothing(_) => {
                let newest = TenantTimes::default().of("");
                nowhere.insert(TenantState::new(Tenant::default(), newest))
            }
        };

        of_tenant.note_newest(r.i64()?);
        read_metadata(r, of_tenant)?;
        read_exemplars(r, of_tenant)?;

        if r.is_empty() { Ok(()) } else { Err(Malformed) }
    }

    fn end(&self, r: &mut Reader<'_>) -> Result<(), Malformed> {
        if r.u64()? == self.seen.series {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

fn read_metadata(r: &mut Reader<'_>, of_tenant: &mut TenantState) -> Result<(), Malformed> {
    for _ in 0..r.u32()? {
        let metric = r.str()?;
        let kind = MetricType::from_number(r.u8()?).ok_or(Malformed)?;
        let metadata = MetricMetadata {
            kind,
            unit: r.str()?.to_owned(),
            help: r.str()?.to_owned(),
        };
        of_tenant.add_metadata(metric, &metadata, usize::MAX);
    }
    Ok(())
}

fn read_exemplars(r: &mut Reader<'_>, of_tenant: &mut TenantState) -> Result<(), Malformed> {
    for _ in 0..r.u32()? {
        let key = SeriesKey(r.u128()?);
        let t = r.i64()?;
        let v = f64::from_bits(r.u64()?);
        let labels = Labels::from_wire(r.bytes()?).map_err(|_| Malformed)?;
        of_tenant.add_exemplar(key, &Exemplar { labels, v, t }, usize::MAX);
    }
    Ok(())
}

/// Reads over the samples of a series.
fn pass_buckets(r: &mut Reader<'_>) -> Result<(), Malformed> {
    for _ in 0..r.wide()? {
        r.bucket()?;
    }
    for _ in 0..r.wide()? {
        r.histogram_bucket()?;
    }
    Ok(())
}

/// References to slots that are not in the file belong to series made after the positions; the log defines them again.
fn count_references(state: &mut State) {
    let State {
        streams, series, ..
    } = state;
    for stream in streams.values_mut() {
        let mut missing = Vec::new();
        for (reference, slot) in stream.refs.iter() {
            match series.get_mut(slot) {
                Some(series) => series.foreign_refs += 1,
                None => missing.push(reference),
            }
        }
        for reference in missing {
            stream.refs.release(reference);
        }
    }
}

fn marker(r: &mut Reader<'_>) -> Result<Option<i64>, Malformed> {
    let some = r.u8()? != 0;
    let k = r.i64()?;
    Ok(some.then_some(k))
}

/// Errors of one file that are named; more are alike.
const DAMAGE_TOLD_MAX: usize = 8;

/// The least that a series takes in the file.
const SERIES_BYTES_MIN: u64 = 34;
