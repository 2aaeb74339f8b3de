//! Series that the key table does not know.

use trireme_model::SeriesKey;
use trireme_wire::batch::BatchSeries;

use super::Request;
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
        match state.aliases.get(&series.key.0).copied() {
            Some(Alias::Shard(shard)) => return Resolved::Shard(shard),
            Some(Alias::Here(key)) => {
                if let Some(slot) = state.find(request.tenant, key) {
                    return Resolved::Slot(slot);
                }
                state.aliases.remove(&series.key.0);
            }
            None => {}
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
            let alias = if shard == self.options.number {
                Alias::Here(key)
            } else {
                Alias::Shard(shard)
            };
            if state.aliases.len() >= self.options.aliases_max {
                state.aliases.clear();
            }
            state.aliases.insert(series.key.0, alias);
        }

        if shard != self.options.number {
            return Resolved::Shard(shard);
        }
        if let Some(slot) = state.find(request.tenant, key) {
            return Resolved::Slot(slot);
        }

        // Exemplars are hints about samples: they make no series.
        if series.samples.is_empty() && series.histograms.is_empty() {
            let count = series.exemplars.len() as u64;
            if count > 0 {
                out.outcome
                    .dropped
                    .add(EXEMPLAR_OF_UNKNOWN_SERIES, count, || labels.to_string());
            }
            return Resolved::Refused;
        }

        let max = request.limits.shard_series_max;

        let tenant = &mut state.tenants[request.tenant as usize];
        if max > 0 && tenant.series >= max {
            let TenantState { index, worst, .. } = tenant;
            out.outcome.rejections.add(SERIES_LIMIT, items.max(1), || {
                let worst = worst.text(index, request.now_ms);
                format!(
                    "{max} active series per shard, known ones go on; {worst}; refused: {labels}"
                )
            });
            return Resolved::Refused;
        }

        let of_all_max = request.limits.shard_series_of_all_max;
        if of_all_max > 0 && state.series.len() >= of_all_max {
            out.outcome.rejections.add(NODE_SERIES_LIMIT, items.max(1), || {
                format!("{of_all_max} active series of all tenants per shard (storage.series_max), known ones go on; refused: {labels}")
            });
            return Resolved::Refused;
        }

        // A series none of whose items can be stored is not made; its items are counted one by one below.
        if !has_storable_item(request, series) {
            let whole = request.batch;
            let times = whole.samples_of(series).iter().map(|s| s.t);
            let histograms = whole
                .histograms
                .get(range(&series.histograms))
                .unwrap_or_default();
            let times = times.chain(histograms.iter().map(|h| h.t));

            times.for_each(|t| super::refuse_time(request, series, t, out));
            if !series.exemplars.is_empty() {
                let count = series.exemplars.len() as u64;
                out.outcome
                    .dropped
                    .add(EXEMPLAR_OF_UNKNOWN_SERIES, count, || labels.to_string());
            }

            return Resolved::Refused;
        }

        match state.create(request.tenant, key, &labels) {
            Some(slot) => {
                out.new_series += 1;
                Resolved::Slot(slot)
            }
            None => {
                out.outcome
                    .rejections
                    .add("shard_full", items.max(1), || labels.to_string());
                Resolved::Refused
            }
        }
    }
}

fn range(range: &std::ops::Range<u32>) -> std::ops::Range<usize> {
    range.start as usize..range.end as usize
}

fn has_storable_item(request: &Request<'_>, series: &BatchSeries) -> bool {
    let batch = request.batch;
    let fits = |t: i64| request.times.contain(t);
    batch.samples_of(series).iter().any(|s| fits(s.t))
        || batch
            .histograms
            .get(range(&series.histograms))
            .unwrap_or_default()
            .iter()
            .any(|h| fits(h.t))
}
