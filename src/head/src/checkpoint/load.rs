//! Loading a checkpoint.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use trireme_base::StreamId;
use trireme_model::{Exemplar, Labels, MetricMetadata, MetricType, SeriesKey, Tenant};

use super::CHECKPOINT_FILE;
use super::codec::{Malformed, Reader, part};
use super::parts::Parts;
use crate::cut::CutManifest;
use crate::histograms::HistogramBuckets;
use crate::series::Series;
use crate::state::{LastCut, State};
use crate::streams::{NO_SLOT, Refs, Stream};
use crate::{HeadError, Shard, ShardOptions};

/// What a start found for a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Per stream the seq up to which the shard has everything that concerns it; the log is replayed behind it.
    pub positions: Vec<(StreamId, u64)>,
    /// Series loaded.
    pub series: u64,
    /// Length of the checkpoint file; 0 when there was none.
    pub bytes: u64,
}

impl Shard {
    /// A shard from its checkpoint, if there is one; apply the log behind [`Recovered::positions`] to it.
    ///
    /// `cut` is the node's cut manifest: what it says is in blocks is not loaded.
    pub fn recover(
        options: ShardOptions,
        cut: Option<&CutManifest>,
    ) -> Result<(Arc<Self>, Recovered), HeadError> {
        Self::check(&options)?;
        let mut state = State::new(&options)?;
        if let Some(cut) = cut {
            let positions =
                cut.positions.get(usize::from(options.number)).into_iter().flatten().copied().collect();
            state.last_cut = LastCut { number: Some(cut.cut), positions };
        }
        let path = options.dir.join(CHECKPOINT_FILE);
        let file = match File::open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(HeadError::io("open", &path, error)),
        };
        let mut bytes = 0;
        if let Some(file) = file {
            let parts = Parts::open(file, &path)?;
            bytes = parts.bytes;
            let loader = Loader {
                options: &options,
                state: &mut state,
                path: &path,
                version: parts.version,
                bytes,
                room: Vec::new(),
                refs: Vec::new(),
            };
            loader.load(parts)?;
        }
        state.files.sweep();
        let found = Recovered {
            positions: state.streams.iter().map(|(id, s)| (*id, s.applied)).collect(),
            series: state.series.len() as u64,
            bytes,
        };
        Ok((Self::with_state(options, state), found))
    }
}

struct Loader<'a> {
    options: &'a ShardOptions,
    state: &'a mut State,
    path: &'a Path,
    version: u32,
    bytes: u64,
    /// Series that each tenant is said to have.
    room: Vec<usize>,
    /// (reference, slot) of the stream that was the own one.
    refs: Vec<(u32, u32)>,
}

impl Loader<'_> {
    fn bad(&self, what: impl Into<String>) -> HeadError {
        HeadError::corrupt(self.path, what)
    }

    fn load(mut self, mut parts: Parts<'_>) -> Result<(), HeadError> {
        let mut own = None;
        let mut other_settings = None;
        loop {
            let (at, kind, body) = parts.next()?;
            let mut reader = Reader(body);
            let done = match kind {
                part::HEADER => {
                    self.header(&mut reader, &mut other_settings).map(|stream| own = Some(stream))
                }
                part::STREAM => self.stream(&mut reader),
                part::TENANT => self.tenant(&mut reader),
                part::NAMES => self.names(&mut reader),
                part::PAIRS => self.pairs(&mut reader),
                part::SERIES => self.all_series(&mut reader),
                part::EXTRAS => self.extras(&mut reader),
                part::STARTS => self.starts(&mut reader),
                part::END => break,
                _ => Err(Malformed),
            };
            if let Some(why) = other_settings.take() {
                return Err(HeadError::Settings(why));
            }
            done.map_err(|Malformed| self.bad(format!("part of kind {kind} at {at} does not fit")))?;
        }
        let (id, mut stream) = own.ok_or_else(|| self.bad("no header"))?;
        for (reference, slot) in std::mem::take(&mut self.refs) {
            stream.refs.define(reference, slot);
        }
        self.state.streams.insert(id, stream);
        self.count_references();
        Ok(())
    }

    /// The former own stream, which is one like any other now.
    fn header(&self, r: &mut Reader<'_>, why: &mut Option<String>) -> Result<(StreamId, Stream), Malformed> {
        let (number, shards, window_ms) = (r.u16()?, r.u16()?, r.i64()?);
        let want = (self.options.number, self.options.shards, self.options.window_ms);
        if (number, shards, window_ms) != want {
            let path = self.path.display();
            *why = Some(format!(
                "{path} is of shard {number} of {shards} with windows of {window_ms} ms, not {want:?}; \
                 these are fixed for the life of a data directory"
            ));
        }
        let id = r.stream()?;
        let (applied, marker) = (r.u64()?, marker(r)?);
        let refs = Refs::with_extent(Refs::pages_for(r.u32()?));
        let stream = Stream { applied, marker, refs };
        Ok((id, stream))
    }

    fn stream(&mut self, r: &mut Reader<'_>) -> Result<(), Malformed> {
        let id = r.stream()?;
        let (applied, marker) = (r.u64()?, marker(r)?);
        let extent = r.u32()? as usize;
        if extent > Refs::pages_for(u32::MAX) {
            return Err(Malformed);
        }
        let mut refs = Refs::with_extent(extent);
        while !r.is_empty() {
            let (reference, slot) = (r.u32()?, r.u32()?);
            refs.define(reference, slot).ok_or(Malformed)?;
        }
        self.state.streams.insert(id, Stream { applied, marker, refs });
        Ok(())
    }

    fn tenant(&mut self, r: &mut Reader<'_>) -> Result<(), Malformed> {
        let tenant = Tenant::new(r.str()?).map_err(|_| Malformed)?;
        let number = self.state.intern_tenant(&tenant) as usize;
        self.room.resize(self.state.tenants.len(), 0);
        if self.version >= 2 {
            // No more than the file can hold, whatever it says.
            let most = (self.bytes / SERIES_BYTES_MIN) as usize;
            let (series, pairs) = ((r.u32()? as usize).min(most), (r.u32()? as usize).min(most));
            self.room[number] = series;
            self.state.keys.reserve(series);
            self.state.tenants[number].index.reserve(series, pairs);
        }
        Ok(())
    }

    fn names(&mut self, r: &mut Reader<'_>) -> Result<(), Malformed> {
        let tenant = r.u32()? as usize;
        let index = &mut self.state.tenants.get_mut(tenant).ok_or(Malformed)?.index;
        while !r.is_empty() {
            index.intern_name(r.str()?);
        }
        Ok(())
    }

    fn pairs(&mut self, r: &mut Reader<'_>) -> Result<(), Malformed> {
        let tenant = r.u32()? as usize;
        let index = &mut self.state.tenants.get_mut(tenant).ok_or(Malformed)?.index;
        let most = self.room.get(tenant).copied().unwrap_or(0);
        while !r.is_empty() {
            let (id, name) = (r.u32()?, r.u32()?);
            let series = if self.version >= 2 { r.u32()? as usize } else { 0 };
            let value = r.str()?;
            if name as usize >= index.names.len() || index.pair(id).is_some() {
                return Err(Malformed);
            }
            index.load_pair(id, name, value, series.min(most));
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
        let state = &mut *self.state;
        let of_tenant = state.tenants.get_mut(tenant as usize).ok_or(Malformed)?;
        if slot == NO_SLOT || !of_tenant.index.load_series(slot, pairs) {
            return Err(Malformed);
        }
        let list = state.lists.insert(pairs).ok_or(Malformed)?;
        let mut series = Series::new(key, tenant, list);
        let cut = state.last_cut.number.unwrap_or(i64::MIN);
        for _ in 0..r.u16()? {
            let bucket = r.bucket()?;
            if bucket.id.cut > cut {
                for chunk in &bucket.closed {
                    state.files.claim(chunk.place()).map_err(|_| Malformed)?;
                }
                let id = bucket.id;
                state.cuts.note(id);
                *series.bucket(id) = bucket;
            }
        }
        let mut histograms = HistogramBuckets::default();
        for _ in 0..r.u16()? {
            let (id, bucket) = r.histogram_bucket()?;
            if id.cut > cut {
                for chunk in &bucket.closed {
                    state.files.claim(chunk.place()).map_err(|_| Malformed)?;
                }
                state.cuts.note(id);
                *histograms.bucket(id) = bucket;
            }
        }
        if histograms.ids().next().is_some() {
            series.histograms = Some(Box::new(histograms));
        }
        if own_ref != 0 {
            self.refs.push((own_ref, slot));
        }
        of_tenant.series += 1;
        state.keys.insert(key, slot);
        state.series.insert_at(slot, series);
        Ok(())
    }

    /// Buckets that are in blocks by now were not loaded.
    fn starts(&mut self, r: &mut Reader<'_>) -> Result<(), Malformed> {
        while !r.is_empty() {
            let (slot, id, starts) = r.starts()?;
            let series = self.state.series.get_mut(slot).ok_or(Malformed)?;
            if let Some(bucket) = series.find_bucket(id) {
                bucket.starts = Some(Arc::new(starts));
            }
        }
        Ok(())
    }

    fn extras(&mut self, r: &mut Reader<'_>) -> Result<(), Malformed> {
        let tenant = r.u32()? as usize;
        let of_tenant = self.state.tenants.get_mut(tenant).ok_or(Malformed)?;
        of_tenant.newest = r.i64()?;
        for _ in 0..r.u32()? {
            let metric = r.str()?;
            let kind = MetricType::from_number(r.u8()?).ok_or(Malformed)?;
            let metadata = MetricMetadata { kind, unit: r.str()?.to_owned(), help: r.str()?.to_owned() };
            of_tenant.set_metadata(metric, &metadata, usize::MAX);
        }
        for _ in 0..r.u32()? {
            let key = SeriesKey(r.u128()?);
            let (t, v) = (r.i64()?, f64::from_bits(r.u64()?));
            let labels = Labels::from_wire(r.bytes()?).map_err(|_| Malformed)?;
            of_tenant.exemplars.push_back((key, Exemplar { labels, v, t }));
        }
        Ok(())
    }

    /// References to slots that are not in the file belong to series made after the positions; the log defines them
    /// again.
    fn count_references(&mut self) {
        let State { streams, series, .. } = &mut *self.state;
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
}

fn marker(r: &mut Reader<'_>) -> Result<Option<i64>, Malformed> {
    let (some, k) = (r.u8()? != 0, r.i64()?);
    Ok(some.then_some(k))
}

/// The least that a series takes in the file.
const SERIES_BYTES_MIN: u64 = 34;
