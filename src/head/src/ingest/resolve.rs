//! Series that the key table does not know.

use trireme_model::{Labels, Rejections, SeriesKey};
use trireme_wire::batch::BatchSeries;

use super::{Request, refuse_time};
use crate::state::{Alias, State};
use crate::tenant::TenantState;
use crate::validate::{self, EXEMPLAR_OF_UNKNOWN_SERIES, NODE_SERIES_LIMIT, SERIES_LIMIT};
use crate::{IngestOutput, Shard};

/// Where an unknown key leads.
pub(super) enum Resolved {
    Slot(u32),
    /// The canonical key belongs to another shard.
    Shard(u16),
    /// Counted and reported.
    Refused,
}

impl Shard {
    /// Finds or makes the series of a label set that is new, or not in canonical form.
    #[cold]
    pub(super) fn resolve(
        &self,
        state: &mut State,
        request: &Request<'_>,
        series: &BatchSeries,
        out: &mut IngestOutput,
    ) -> Resolved {
        if let Some(resolved) = known_alias(state, request, series) {
            return resolved;
        }

        let items =
            (series.samples.len() + series.histograms.len() + series.exemplars.len()) as u64;
        let sent = request.batch.labels_of(series);
        let labels = match validate::labels(sent, request.limits) {
            Ok(labels) => labels,
            Err((reason, detail)) => {
                out.outcome.rejections.add(reason, items.max(1), || detail);
                return Resolved::Refused;
            }
        };

        let tenant = &state.tenants[request.tenant as usize];
        let key = match labels.as_bytes() == sent {
            true => series.key,
            false => SeriesKey::of(tenant.seed, labels.as_bytes()),
        };

        let shard = key.shard(self.options.shards);
        if key != series.key {
            self.note_alias(state, series.key, key, shard);
        }

        if shard != self.options.number {
            return Resolved::Shard(shard);
        }
        if let Some(slot) = state.find(request.tenant, key) {
            return Resolved::Slot(slot);
        }

        let new = NewSeries {
            series,
            labels: &labels,
            items: items.max(1),
        };
        if !self.may_make(state, request, new, out) {
            return Resolved::Refused;
        }

        match state.create(request.tenant, key, &labels) {
            Some(slot) => {
                out.new_series += 1;
                Resolved::Slot(slot)
            }
            None => {
                let rejections = &mut out.outcome.rejections;
                rejections.add("shard_full", items.max(1), || labels.to_string());
                Resolved::Refused
            }
        }
    }

    /// Remembers where the key of labels that are not in canonical form leads.
    fn note_alias(&self, state: &mut State, from: SeriesKey, key: SeriesKey, shard: u16) {
        let alias = if shard == self.options.number {
            Alias::Here(key)
        } else {
            Alias::Shard(shard)
        };

        if state.aliases.len() >= self.options.aliases_max {
            state.aliases.clear();
        }
        state.aliases.insert(from.0, alias);
    }

    /// True if a series may be made; else what was sent for it is counted.
    fn may_make(
        &self,
        state: &mut State,
        request: &Request<'_>,
        new: NewSeries<'_>,
        out: &mut IngestOutput,
    ) -> bool {
        // Exemplars are hints about samples: they make no series.
        if new.series.samples.is_empty() && new.series.histograms.is_empty() {
            new.drop_exemplars(out);
            return false;
        }

        if new.is_one_too_many(state, request, &mut out.outcome.rejections) {
            return false;
        }

        // A series none of whose items can be stored is not made; its items are counted one by one here.
        if !has_storable_item(request, new.series) {
            times(request, new.series).for_each(|t| refuse_time(request, new.series, t, out));
            new.drop_exemplars(out);
            return false;
        }

        true
    }
}

/// Where the key of labels that are not in canonical form leads, if that is known and still true.
fn known_alias(state: &mut State, request: &Request<'_>, series: &BatchSeries) -> Option<Resolved> {
    match state.aliases.get(&series.key.0).copied()? {
        Alias::Shard(shard) => return Some(Resolved::Shard(shard)),
        Alias::Here(key) => {
            if let Some(slot) = state.find(request.tenant, key) {
                return Some(Resolved::Slot(slot));
            }
        }
    }

    state.aliases.remove(&series.key.0);
    None
}

/// What was sent for a series that there is not yet.
#[derive(Clone, Copy)]
struct NewSeries<'a> {
    series: &'a BatchSeries,
    labels: &'a Labels,
    /// Samples, histograms and exemplars, at least 1.
    items: u64,
}

impl NewSeries<'_> {
    /// Counts the exemplars as dropped.
    fn drop_exemplars(self, out: &mut IngestOutput) {
        let count = self.series.exemplars.len() as u64;
        if count > 0 {
            let dropped = &mut out.outcome.dropped;
            dropped.add(EXEMPLAR_OF_UNKNOWN_SERIES, count, || {
                self.labels.to_string()
            });
        }
    }

    /// True if there are as many series as there may be, which is counted.
    fn is_one_too_many(
        self,
        state: &mut State,
        request: &Request<'_>,
        rejections: &mut Rejections,
    ) -> bool {
        let labels = self.labels;
        let max = request.limits.shard_series_max;
        let tenant = &mut state.tenants[request.tenant as usize];
        if max > 0 && tenant.series >= max {
            let TenantState { index, worst, .. } = tenant;
            rejections.add(SERIES_LIMIT, self.items, || {
                let worst = worst.text(index, request.now_ms);
                format!(
                    "{max} active series per shard, known ones go on; {worst}; refused: {labels}"
                )
            });
            return true;
        }

        let of_all_max = request.limits.shard_series_of_all_max;
        if of_all_max > 0 && state.series.len() >= of_all_max {
            rejections.add(NODE_SERIES_LIMIT, self.items, || {
                format!("{of_all_max} active series of all tenants per shard (storage.series_max), known ones go on; refused: {labels}")
            });
            return true;
        }

        false
    }
}

fn range(range: &std::ops::Range<u32>) -> std::ops::Range<usize> {
    range.start as usize..range.end as usize
}

fn has_storable_item(request: &Request<'_>, series: &BatchSeries) -> bool {
    times(request, series).any(|t| request.times.contain(t))
}

/// Timestamps of the samples and histograms of a series.
fn times<'a>(request: &Request<'a>, series: &'a BatchSeries) -> impl Iterator<Item = i64> {
    let batch = request.batch;
    let histograms = batch
        .histograms
        .get(range(&series.histograms))
        .unwrap_or_default();

    let times = batch.samples_of(series).iter().map(|s| s.t);
    times.chain(histograms.iter().map(|h| h.t))
}
