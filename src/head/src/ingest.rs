//! Batches of clients.
//!
//! Known series cost one batched look-up: first every table entry of the batch is asked for, then every series, and
//! only then is anything waited for, so that cache misses overlap. Samples are then applied in slot order, which is
//! memory order, and written to the entry in the same pass.

mod resolve;

use std::collections::BTreeSet;

use trireme_model::{EXEMPLAR_LABELS_TOO_LONG, Labels, MetricMetadata, Rejections, Tenant};
use trireme_wire::batch::{Batch, BatchSeries};

use crate::bucket::{BucketId, Placed};
use crate::chunkfile::ChunkFiles;
use crate::cut::sane_marker;
use crate::output::DraftWriter;
use crate::prefetch;
use crate::recent::Recent;
use crate::series::Series;
use crate::state::State;
use crate::streams::Buckets;
use crate::suspect::{Items, PanicPoint, Share};
use crate::tenant::{AddedMetadata, METADATA_ENTRIES_MAX, TenantState};
use crate::validate::{self, TimeBounds};
use crate::{IngestLimits, IngestOutput, Shard};
use resolve::Resolved;

/// Marks a series of the batch that no entry of the key table may be.
const UNKNOWN: u64 = u32::MAX as u64;
/// How far ahead of its use a chunk's end is fetched.
const AHEAD: usize = 8;

/// What is the same for all series of a request.
struct Request<'a> {
    tenant: u32,
    batch: &'a Batch,
    limits: &'a IngestLimits,
    times: TimeBounds,
    now_ms: i64,
}

impl Shard {
    /// Stores the series of a batch that `idx` names (indexes into `batch.series`) and says what must be logged.
    ///
    /// Everything refused is counted with its reason and one example (I4). `out` is added to, not cleared. Only
    /// memory is touched, save that a full chunk buffer may be written out.
    pub fn ingest(
        &self,
        tenant: &Tenant,
        batch: &Batch,
        idx: &[u32],
        limits: &IngestLimits,
        now_ms: i64,
        out: &mut IngestOutput,
    ) {
        let share = Share {
            tenant,
            items: Items::Series(batch, idx),
        };
        if self.refuses(share, &mut out.outcome.rejections) {
            return;
        }

        let mut guard = self.state.write();
        let _change = self.change_for(share);
        let state = &mut *guard;

        state.recent.begin(self.moments.oldest());

        if !self.has_place(state, tenant, idx.len(), &mut out.outcome.rejections) {
            return;
        }

        let number = state.intern_tenant(tenant);
        let newest = state.tenants[number as usize].newest_of_all.get();
        let times = TimeBounds::new(limits, newest, now_ms);
        let request = Request {
            tenant: number,
            batch,
            limits,
            times,
            now_ms,
        };

        self.take(state, tenant, &request, idx, out);

        if !batch.exemplars.is_empty() {
            state.relieve(&self.options);
        }
    }

    /// True if the tenant is known or may be added; else its items are refused.
    fn has_place(
        &self,
        state: &State,
        tenant: &Tenant,
        items: usize,
        rejections: &mut Rejections,
    ) -> bool {
        let max = self.options.tenants_max;
        if state.tenant_number(tenant.as_str()).is_some() || state.has_place_for_tenant(max) {
            return true;
        }

        rejections.add("tenant_limit", items as u64, || {
            format!("{tenant}: {max} tenants")
        });
        false
    }

    /// Finds or makes the series, stores what they have and writes it to the records.
    fn take(
        &self,
        state: &mut State,
        tenant: &Tenant,
        request: &Request<'_>,
        idx: &[u32],
        out: &mut IngestOutput,
    ) {
        let batch = request.batch;
        let mut drafts = std::mem::take(&mut out.drafts);
        let mut writer = DraftWriter::new(self.options.number, tenant.as_str(), &mut drafts);
        let mut items = std::mem::take(&mut state.scratch);

        look_up(state, batch, idx, &mut items);
        if !batch.exemplars.is_empty() {
            // Exemplars without samples come last, so that those of this request have made their series.
            items.sort_by_key(|item| is_without_samples(&batch.series[*item as u32 as usize]));
        }

        self.resolve_all(state, request, &mut items, &mut writer, out);
        // Senders repeat their order, so this is mostly sorted already.
        if !items.is_sorted() {
            items.sort_unstable();
        }

        self.store_all(state, request, &items, &mut writer, out);
        self.may_panic(PanicPoint::Ingest, tenant);
        writer.finish();
        out.drafts = drafts;
        state.scratch = items;
    }

    /// Stores metadata; by convention of shard 0 only, since metrics are not sharded.
    pub fn ingest_metadata(
        &self,
        tenant: &Tenant,
        metadata: &[(String, MetricMetadata)],
        out: &mut IngestOutput,
    ) {
        let share = Share {
            tenant,
            items: Items::Metadata(metadata),
        };
        if self.refuses(share, &mut out.outcome.rejections) {
            return;
        }

        let mut guard = self.state.write();
        let _change = self.change_for(share);

        let rejections = &mut out.outcome.rejections;
        if !self.has_place(&guard, tenant, metadata.len(), rejections) {
            return;
        }

        let number = guard.intern_tenant(tenant) as usize;
        let state = &mut guard.tenants[number];
        let mut writer = DraftWriter::new(self.options.number, tenant.as_str(), &mut out.drafts);

        let mut repeated = None;
        for (metric, metadata) in metadata {
            if state.has_metadata(metric, metadata) {
                repeated = Some((metric, metadata));
                continue;
            }

            if self.add_metadata(state, metric, metadata, &mut out.outcome.dropped) {
                writer.entry().metadata(metric, metadata);
            }
        }

        // The answer to a repetition must wait until a quorum has what it repeats: one record stands behind that.
        if let Some((metric, metadata)) = repeated
            && writer.is_empty()
        {
            writer.entry().metadata(metric, metadata);
        }

        writer.finish();
        guard.relieve(&self.options);
    }

    /// True if the metadata is kept; else it is counted as dropped.
    fn add_metadata(
        &self,
        tenant: &mut TenantState,
        metric: &str,
        metadata: &MetricMetadata,
        dropped: &mut Rejections,
    ) -> bool {
        if metric.len() + metadata.help.len() + metadata.unit.len() > METADATA_BYTES_MAX {
            dropped.add("metadata_too_long", 1, || metric.to_owned());
            return false;
        }

        let max = self.options.metadata_max;
        match tenant.add_metadata(metric, metadata, max) {
            AddedMetadata::Kept => return true,
            AddedMetadata::Lesser => dropped.add("metadata_entries_limit", 1, || {
                format!("{metric}: it has {METADATA_ENTRIES_MAX} entries")
            }),
            AddedMetadata::NoRoom => dropped.add(validate::METADATA_LIMIT, 1, || {
                format!("{metric}: the tenant has metadata of {max} metrics; known ones go on")
            }),
        }
        false
    }

    /// Turns looked-up candidates into slots; drops what is refused or redirected.
    fn resolve_all(
        &self,
        state: &mut State,
        request: &Request<'_>,
        items: &mut Vec<u64>,
        writer: &mut DraftWriter<'_>,
        out: &mut IngestOutput,
    ) {
        let mut kept = 0;
        for at in 0..items.len() {
            let candidate = (items[at] >> 32) as u32;
            let index = items[at] as u32;
            let series = &request.batch.series[index as usize];
            let known = state
                .series
                .get(candidate)
                .is_some_and(|s: &Series| s.key == series.key && s.tenant == request.tenant);
            let slot = if known {
                Some(candidate)
            } else {
                state.find(request.tenant, series.key)
            };

            let slot = match slot {
                Some(slot) => slot,
                None => match self.resolve(state, request, series, out) {
                    Resolved::Slot(slot) => slot,
                    Resolved::Shard(shard) => {
                        out.redirects.push((index, shard));
                        continue;
                    }
                    Resolved::Refused => continue,
                },
            };

            let series = state.series.get(slot).expect("BUG: found slots are used");
            if series.own_ref == 0 && !define(state, request.tenant, slot, writer) {
                out.outcome
                    .rejections
                    .add("references_used_up", 1, || "restart the node".to_owned());
                continue;
            }

            items[kept] = u64::from(slot) << 32 | u64::from(index);
            kept += 1;
        }

        items.truncate(kept);
    }

    /// Applies the samples of resolved series.
    fn store_all(
        &self,
        state: &mut State,
        request: &Request<'_>,
        items: &[u64],
        writer: &mut DraftWriter<'_>,
        out: &mut IngestOutput,
    ) {
        let tenant = request.tenant as usize;
        let mut pass = Pass::new(self, request, state);

        for (at, item) in items.iter().enumerate() {
            if let Some(ahead) = items.get(at + AHEAD)
                && let Some(series) = state.series.get((ahead >> 32) as u32)
                && let Some(last) = series.current.bytes.last()
            {
                prefetch::read(last);
            }

            let slot = (item >> 32) as u32;
            let index = *item as u32;
            let asked = &request.batch.series[index as usize];
            let Some(series) = state.series.get_mut(slot) else {
                continue;
            };

            pass.floats(slot, series, asked, &mut state.files, writer, out);
            if !asked.histograms.is_empty() {
                pass.histograms(slot, series, asked, &mut state.files, writer, out);
            }

            if !asked.exemplars.is_empty() {
                pass.exemplars(series, asked, &mut state.tenants[tenant], writer, out);
            }
        }

        pass.end(state, out);
    }
}

/// Storing what a batch has, series by series.
struct Pass<'a> {
    shard: &'a Shard,
    request: &'a Request<'a>,
    buckets: Buckets,
    /// Windows of the tenant with samples.
    windows: BTreeSet<i64>,
    /// The one that was last looked for in them, and found.
    last_window: Option<i64>,
    newest: i64,
    conflicts: u64,
    recent: Recent,
}

impl<'a> Pass<'a> {
    fn new(shard: &'a Shard, request: &'a Request<'a>, state: &mut State) -> Self {
        let window_ms = shard.options.window_ms;
        let floor = state.cut_floor();
        let marker = sane_marker(window_ms, state.own_marker, floor);
        let tenant = &mut state.tenants[request.tenant as usize];

        Self {
            shard,
            request,
            buckets: Buckets::new(window_ms, marker, floor),
            windows: std::mem::take(&mut tenant.windows),
            last_window: None,
            newest: tenant.newest,
            conflicts: 0,
            recent: std::mem::take(&mut state.recent),
        }
    }

    /// Gives back to the state what was taken from it, with what has come.
    fn end(self, state: &mut State, out: &mut IngestOutput) {
        let tenant = &mut state.tenants[self.request.tenant as usize];
        tenant.note_newest(self.newest);
        tenant.windows = self.windows;

        state.recent = self.recent;
        state.conflicts += self.conflicts;
        out.conflicts += self.conflicts;
        state.note_cuts(self.buckets.into_cuts());
    }

    /// True if the tenant has the window of the bucket, or may open it.
    #[inline]
    fn may_open(&mut self, id: BucketId) -> bool {
        self.last_window == Some(id.window) || self.open(id.window)
    }

    #[cold]
    fn open(&mut self, window: i64) -> bool {
        let has_room = self.windows.len() < self.shard.options.windows_max;
        let is_open = self.windows.contains(&window) || (has_room && self.windows.insert(window));
        if is_open {
            self.last_window = Some(window);
        }
        is_open
    }

    #[inline]
    fn floats(
        &mut self,
        slot: u32,
        series: &mut Series,
        asked: &BatchSeries,
        files: &mut ChunkFiles,
        writer: &mut DraftWriter<'_>,
        out: &mut IngestOutput,
    ) {
        let batch = self.request.batch;

        let from = asked.samples.start as usize;
        for (n, sample) in batch.samples_of(asked).iter().enumerate() {
            if !self.request.times.contain(sample.t) {
                refuse_time(self.request, asked, sample.t, out);
                continue;
            }

            let Some(id) = self.bucket(asked, sample.t, out) else {
                continue;
            };

            let start = batch.start_timestamps.get(from + n).copied().unwrap_or(0);
            let bucket = series.bucket(id);
            let placed = bucket.insert(files, &self.shard.options, sample.t, sample.v, start);

            self.recent
                .note(placed, id, slot, sample.t, &mut bucket.noted);
            writer
                .entry()
                .float_with_start(series.own_ref, sample.t, sample.v, start);
            out.outcome.samples += 1;
            self.stored(series, id, sample.t, placed, out);
        }
    }

    fn histograms(
        &mut self,
        slot: u32,
        series: &mut Series,
        asked: &BatchSeries,
        files: &mut ChunkFiles,
        writer: &mut DraftWriter<'_>,
        out: &mut IngestOutput,
    ) {
        let range = asked.histograms.start as usize..asked.histograms.end as usize;
        for sample in self.request.batch.histograms.get(range).unwrap_or_default() {
            if !self.request.times.contain(sample.t) {
                refuse_time(self.request, asked, sample.t, out);
                continue;
            }

            if validate::histogram_entries(sample) > validate::HISTOGRAM_ENTRIES_MAX {
                refuse(
                    self.request,
                    asked,
                    "histogram_too_large",
                    "histogram has too many buckets",
                    out,
                );
                continue;
            }

            let Some(id) = self.bucket(asked, sample.t, out) else {
                continue;
            };

            let histograms = series.histograms.get_or_insert_default();
            let placed = histograms.insert(files, &self.shard.options, id, sample.clone());
            self.recent
                .note(placed, id, slot, sample.t, &mut histograms.bucket(id).noted);
            writer.entry().histogram(series.own_ref, sample);
            out.outcome.histograms += 1;
            self.stored(series, id, sample.t, placed, out);
        }
    }

    /// The bucket of a sample; `None` if the tenant may not open another window, which is counted.
    #[inline]
    fn bucket(&mut self, asked: &BatchSeries, t: i64, out: &mut IngestOutput) -> Option<BucketId> {
        let id = self.buckets.of(t);
        if self.may_open(id) {
            return Some(id);
        }

        let windows_max = self.shard.options.windows_max;
        refuse_window(self.request, asked, t, windows_max, out);
        None
    }

    fn exemplars(
        &mut self,
        series: &Series,
        asked: &BatchSeries,
        tenant: &mut TenantState,
        writer: &mut DraftWriter<'_>,
        out: &mut IngestOutput,
    ) {
        let range = asked.exemplars.start as usize..asked.exemplars.end as usize;
        for exemplar in self.request.batch.exemplars.get(range).unwrap_or_default() {
            if !self.request.times.contain(exemplar.t) {
                let (reason, detail) = self.request.times.why(exemplar.t);
                drop_exemplar(
                    self.request,
                    asked,
                    validate::exemplar_reason(reason),
                    &detail,
                    out,
                );
                continue;
            }

            if !validate::exemplar_fits(&exemplar.labels) {
                let detail = "labels of an exemplar have over 128 characters";
                drop_exemplar(self.request, asked, EXEMPLAR_LABELS_TOO_LONG, detail, out);
                continue;
            }

            let new = tenant.add_exemplar(series.key, exemplar, self.shard.options.exemplars_max);
            writer.entry().exemplar(series.own_ref, exemplar);
            out.outcome.exemplars += 1;
            out.outcome.duplicates += u64::from(!new);
        }
    }

    #[inline]
    fn stored(
        &mut self,
        series: &mut Series,
        id: BucketId,
        t: i64,
        placed: Placed,
        out: &mut IngestOutput,
    ) {
        self.newest = self.newest.max(t);
        series.own_used = series.own_used.max(clamp(id.window));
        out.outcome.duplicates += u64::from(placed == Placed::Duplicate);
        self.conflicts += u64::from(placed == Placed::Conflict);
    }
}

/// Bytes of a metric's name, help and unit together.
const METADATA_BYTES_MAX: usize = 32_768;

/// A window number as the 32 bits a series keeps of it.
pub(crate) fn clamp(window: i64) -> i32 {
    i32::try_from(window).unwrap_or(if window < 0 { i32::MIN } else { i32::MAX })
}

/// Gives the series at a slot its reference in the own stream. False if there are four billion since the start: one is
/// never used twice, so no more can be made.
fn define(state: &mut State, tenant: u32, slot: u32, writer: &mut DraftWriter<'_>) -> bool {
    let Some(next) = state.next_ref.checked_add(1) else {
        return false;
    };
    let series = state
        .series
        .get_mut(slot)
        .expect("BUG: found slots are used");

    series.own_ref = std::mem::replace(&mut state.next_ref, next);
    let list = state.lists.get(series.labels);
    state.label_scratch.clear();
    state.tenants[tenant as usize]
        .index
        .label_bytes(list, &mut state.label_scratch);
    writer.entry().define(series.own_ref, &state.label_scratch);
    true
}

/// First half of the batched look-up: `items` gets (candidate slot, index) packed.
fn look_up(state: &State, batch: &Batch, idx: &[u32], items: &mut Vec<u64>) {
    items.clear();
    for index in idx {
        state.keys.prefetch(batch.series[*index as usize].key);
    }

    for index in idx {
        let candidate = state.keys.candidate(batch.series[*index as usize].key);
        if let Some(slot) = candidate {
            state.series.prefetch(slot);
        }
        items.push(candidate.map_or(UNKNOWN, u64::from) << 32 | u64::from(*index));
    }
}

fn is_without_samples(series: &BatchSeries) -> bool {
    series.samples.is_empty() && series.histograms.is_empty()
}

/// Counts an exemplar that the request succeeds without.
#[cold]
fn drop_exemplar(
    request: &Request<'_>,
    series: &BatchSeries,
    reason: &'static str,
    detail: &str,
    out: &mut IngestOutput,
) {
    out.outcome
        .dropped
        .add(reason, 1, || named(request, series, detail));
}

#[cold]
fn refuse_time(request: &Request<'_>, series: &BatchSeries, t: i64, out: &mut IngestOutput) {
    let (reason, detail) = request.times.why(t);
    refuse(request, series, reason, &detail, out);
}

#[cold]
fn refuse_window(
    request: &Request<'_>,
    series: &BatchSeries,
    t: i64,
    windows_max: usize,
    out: &mut IngestOutput,
) {
    let detail = format!(
        "timestamp {t} ms would open another window, and the tenant has samples in {windows_max} that are in no \
         block yet; send it after the next cut, or raise storage.tenant_windows_max"
    );
    refuse(request, series, validate::TOO_MANY_WINDOWS, &detail, out);
}

#[cold]
fn refuse(
    request: &Request<'_>,
    series: &BatchSeries,
    reason: &'static str,
    detail: &str,
    out: &mut IngestOutput,
) {
    out.outcome
        .rejections
        .add(reason, 1, || named(request, series, detail));
}

/// The detail behind the series' labels.
fn named(request: &Request<'_>, series: &BatchSeries, detail: &str) -> String {
    match Labels::from_wire(request.batch.labels_of(series)) {
        Ok(labels) => format!("{labels}: {detail}"),
        Err(_) => detail.to_owned(),
    }
}
