//! Questions about the head.

pub(crate) mod effort;
mod names;
mod newest;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use trireme_model::{
    Exemplar, HistogramSample, Labels, Matcher, MetricMetadata, SeriesKey, Tenant,
};

use crate::bucket::{Floats, Part, merge};
use crate::histograms::merge_histograms;
use crate::index::Index;
use crate::index::order::PairLists;
use crate::recent::Recent;
use crate::series::Series;
use crate::slab::PAGE_SLOTS;
use crate::state::State;
use crate::tenant::TenantState;
use crate::{HeadError, Moment, Shard};

/// A series found by [`Shard::select`]. It stays valid when the series goes: it then reads nothing.
#[derive(Clone)]
pub struct HeadSeries {
    at: Arc<Place>,
    /// Canonical labels.
    pub labels: Labels,
    /// Identity.
    pub key: SeriesKey,
    slot: u32,
}

/// Where the series of a selection are read.
struct Place {
    shard: Arc<Shard>,
    /// What came after it is left out.
    moment: Option<Arc<Moment>>,
}

impl HeadSeries {
    /// Appends the float samples of `start..=end` (ms) in time order, each time once, stale markers included. Answers
    /// whether the series may hold histogram samples as well.
    ///
    /// The shard is locked only while encoded chunks are copied; decoding and reading of files come after.
    pub fn read(
        &self,
        start: i64,
        end: i64,
        times: &mut Vec<i64>,
        values: &mut Vec<f64>,
    ) -> Result<bool, HeadError> {
        self.read_with_starts(start, end, times, values, &mut Vec::new())
    }

    /// As [`HeadSeries::read`], with the start timestamps (ms, 0 = unset): `starts` stays empty while no sample has one and
    /// else becomes as long as `times`.
    pub fn read_with_starts(
        &self,
        start: i64,
        end: i64,
        times: &mut Vec<i64>,
        values: &mut Vec<f64>,
        starts: &mut Vec<i64>,
    ) -> Result<bool, HeadError> {
        let Some(copied) = self.copy(start, end) else {
            return Ok(false);
        };
        let Copied {
            parts,
            samples,
            newer,
            has_histograms,
        } = copied;

        let from = times.len();
        times.reserve(samples);
        values.reserve(samples);

        let merged = merge(
            parts,
            start,
            end,
            &mut Floats {
                times,
                values,
                starts,
            },
        );

        self.at.shard.note_damage(merged)?;
        if !newer.is_empty() {
            leave_out(newer, from, times, values, starts);
        }

        Ok(has_histograms)
    }

    /// The encoded samples of the range; `None` if the series is gone.
    fn copy(&self, start: i64, end: i64) -> Option<Copied> {
        let shard = &self.at.shard;
        let state = shard.state.read();
        let series = state.series.get(self.slot).filter(|s| s.key == self.key)?;

        let mut copied = Copied {
            parts: Vec::new(),
            samples: 0,
            newer: Vec::new(),
            has_histograms: series.histograms.is_some(),
        };
        for bucket in series.buckets_of(shard.options.windows(start, end)) {
            bucket.parts(&state.files, &shard.options, start, end, &mut copied.parts);
            self.note_newer(&state.recent, bucket.noted, &mut copied.newer);
            copied.samples += bucket.count() as usize;
        }

        Some(copied)
    }

    /// Appends the histogram samples of `start..=end` (ms) in time order, each time once. Where a float and a
    /// histogram share a timestamp, the histogram is the sample.
    pub fn read_histograms(
        &self,
        start: i64,
        end: i64,
        out: &mut Vec<HistogramSample>,
    ) -> Result<(), HeadError> {
        let mut newer = Vec::new();
        let parts = {
            let state = self.at.shard.state.read();
            let series = state.series.get(self.slot).filter(|s| s.key == self.key);
            let Some(histograms) = series.and_then(|s| s.histograms.as_ref()) else {
                return Ok(());
            };
            for (_, bucket) in histograms.iter() {
                self.note_newer(&state.recent, bucket.noted, &mut newer);
            }
            histograms.parts(&state.files, &self.at.shard.options, |_| true, start, end)
        };

        let from = out.len();
        self.at
            .shard
            .note_damage(merge_histograms(parts, start, end, out))?;

        if !newer.is_empty() {
            leave_out_histograms(newer, from, out);
        }

        Ok(())
    }

    /// Adds the times of a bucket that came after the series' moment.
    fn note_newer(&self, recent: &Recent, noted: u32, newer: &mut Vec<i64>) {
        if let Some(moment) = &self.at.moment {
            recent.since(moment.number(), self.slot, noted, newer);
        }
    }
}

/// What is copied of a series under the shard's lock.
struct Copied {
    parts: Vec<Part>,
    /// At most so many samples are in the parts.
    samples: usize,
    /// Times of samples that came after the moment.
    newer: Vec<i64>,
    has_histograms: bool,
}

/// Takes the samples of `newer` out of those from the one at `from` on.
fn leave_out(
    mut newer: Vec<i64>,
    from: usize,
    times: &mut Vec<i64>,
    values: &mut Vec<f64>,
    starts: &mut Vec<i64>,
) {
    newer.sort_unstable();
    let mut newer = newer.into_iter().peekable();

    let mut kept = from;
    for at in from..times.len() {
        while newer.next_if(|t| *t < times[at]).is_some() {}
        if newer.peek() == Some(&times[at]) {
            continue;
        }
        times[kept] = times[at];
        values[kept] = values[at];
        if let Some(start) = starts.get(at).copied() {
            starts[kept] = start;
        }
        kept += 1;
    }

    times.truncate(kept);
    values.truncate(kept);
    starts.truncate(kept);
}

/// The same of histograms.
fn leave_out_histograms(mut newer: Vec<i64>, from: usize, out: &mut Vec<HistogramSample>) {
    newer.sort_unstable();
    let read = out.split_off(from);
    out.extend(
        read.into_iter()
            .filter(|sample| newer.binary_search(&sample.t).is_err()),
    );
}

impl fmt::Debug for HeadSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.labels)
    }
}

/// How much a tenant has in a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Series.
    pub series: u64,
    /// Chunks of floats, and buckets of histograms, that are in no block yet.
    pub chunks: u64,
    /// Start (ms) of the oldest window with samples.
    pub oldest_window_ms: Option<i64>,
    /// Names of labels.
    pub label_names: Vec<Arc<str>>,
}

impl Shard {
    /// Series of a tenant that satisfy all matchers and may have samples in `start..=end`, in label order.
    ///
    /// The lock is held while postings are intersected, then for a page of series at a time.
    pub fn select(
        self: &Arc<Self>,
        tenant: &Tenant,
        matchers: &[Matcher],
        start: i64,
        end: i64,
    ) -> Vec<HeadSeries> {
        self.select_at(None, tenant, matchers, start, end)
    }

    /// As [`Shard::select`]; the series read what was there at `moment`. Those that came since have no samples.
    pub fn select_at(
        self: &Arc<Self>,
        moment: Option<&Arc<Moment>>,
        tenant: &Tenant,
        matchers: &[Matcher],
        start: i64,
        end: i64,
    ) -> Vec<HeadSeries> {
        debug_assert!(moment.is_none_or(|moment| moment.is_of(self)));
        let at = Arc::new(Place {
            shard: self.clone(),
            moment: moment.cloned(),
        });
        let mut scratch = Vec::with_capacity(512);
        let mut found = Vec::new();
        let mut lists = PairLists::default();
        let dropped = self.each_matching(
            tenant,
            matchers,
            start,
            end,
            |index, series, pairs, slot| {
                let labels = index.labels(pairs, &mut scratch);
                found.push(HeadSeries {
                    at: Arc::clone(&at),
                    labels,
                    key: series.key,
                    slot,
                });
                lists.push(pairs);
            },
        );

        self.in_label_order(tenant, found, lists, dropped)
    }

    /// Sorts series that were found; `lists` are their label pairs, and `dropped` series had been dropped by then.
    fn in_label_order(
        &self,
        tenant: &Tenant,
        mut found: Vec<HeadSeries>,
        lists: PairLists,
        dropped: Option<u64>,
    ) -> Vec<HeadSeries> {
        let order = if found.len() > 1 {
            lists.order(|look: &mut dyn FnMut(&Index) -> Option<()>| {
                let state = self.state.read();
                // Once series were dropped, a pair's id may stand for another pair than it did.
                let index = state
                    .index(tenant)
                    .filter(|_| dropped == Some(state.dropped_series))?;
                look(index)
            })
        } else {
            None
        };

        match order {
            Some(order) => {
                let mut found: Vec<_> = found.into_iter().map(Some).collect();
                order
                    .into_iter()
                    .filter_map(|i| found[i as usize].take())
                    .collect()
            }
            None => {
                found.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
                found
            }
        }
    }

    fn overlaps(&self, series: &Series, start: i64, end: i64) -> bool {
        series.overlaps(self.options.windows(start, end), start)
    }

    /// True if all windows with samples of a tenant are among those of `start..=end`: then its series need not be looked at
    /// one by one. Some of them may have no samples any more and wait to be dropped.
    fn are_all_in(&self, state: &State, tenant: &TenantState, start: i64, end: i64) -> bool {
        let windows = self.options.windows(start, end);
        let newest = tenant.newest.div_euclid(self.options.window_ms);
        windows.contains(&newest)
            && state
                .oldest_window()
                .is_some_and(|oldest| *windows.start() <= oldest)
    }

    /// Calls `each` with every series that matches and may have samples in `start..=end`. Answers how many series had been
    /// dropped when it began.
    fn each_matching(
        &self,
        tenant: &Tenant,
        matchers: &[Matcher],
        start: i64,
        end: i64,
        mut each: impl FnMut(&Index, &Series, &[u32], u32),
    ) -> Option<u64> {
        let (slots, dropped) = {
            let state = self.state.read();
            (
                state.select(state.index(tenant)?, matchers),
                state.dropped_series,
            )
        };

        for some in slots.chunks(PAGE_SLOTS) {
            let state = self.state.read();
            let index = state.index(tenant)?;

            // Only when series were dropped meanwhile can a slot hold another series than it did.
            let same = state.dropped_series == dropped;

            for slot in some {
                let Some(series) = state
                    .series
                    .get(*slot)
                    .filter(|s| self.overlaps(s, start, end))
                else {
                    continue;
                };

                let pairs = state.lists.get(series.labels);
                if same
                    || (std::ptr::eq(state.index_of(series), index) && index.fits(pairs, matchers))
                {
                    each(index, series, pairs, *slot);
                }
            }
        }

        Some(dropped)
    }

    /// Series of a tenant in this shard.
    pub fn series_count(&self, tenant: &Tenant) -> usize {
        self.state
            .read()
            .tenant(tenant)
            .map_or(0, |tenant| tenant.series)
    }

    /// Tenants that have or had series here.
    pub fn tenants(&self) -> Vec<Tenant> {
        self.state
            .read()
            .tenants
            .iter()
            .map(|t| t.tenant.clone())
            .collect()
    }

    /// Newest sample time of a tenant in this shard.
    pub fn newest(&self, tenant: &Tenant) -> Option<i64> {
        self.state
            .read()
            .tenant(tenant)
            .map(|tenant| tenant.newest)
            .filter(|t| *t != i64::MIN)
    }

    /// Exemplars of the series that match, in `start..=end`, by series.
    pub fn exemplars(
        &self,
        tenant: &Tenant,
        matchers: &[Matcher],
        start: i64,
        end: i64,
    ) -> Vec<(Labels, Vec<Exemplar>)> {
        let state = self.state.read();
        let Some(state_of) = state.tenant(tenant) else {
            return Vec::new();
        };

        let mut by_key = exemplars_in(state_of, start..=end);

        if by_key.is_empty() {
            return Vec::new();
        }

        let mut scratch = Vec::new();
        let slots = state.select(&state_of.index, matchers);
        let series = slots.into_iter().filter_map(|slot| state.series.get(slot));

        let mut found = Vec::new();
        for series in series {
            if let Some(mut exemplars) = by_key.remove(&series.key) {
                exemplars.sort_unstable();
                found.push((
                    state_of
                        .index
                        .labels(state.lists.get(series.labels), &mut scratch),
                    exemplars,
                ));
            }
        }

        found
    }

    /// Metadata of a tenant's metrics: one, or all.
    pub fn metadata(&self, tenant: &Tenant, metric: Option<&str>) -> Vec<(String, MetricMetadata)> {
        let state = self.state.read();
        let Some(tenant) = state.tenant(tenant) else {
            return Vec::new();
        };

        let all = tenant.metadata.iter();
        let wanted = all.filter(|(name, _)| metric.is_none_or(|m| m == name.as_str()));
        let entries =
            wanted.flat_map(|(name, entries)| entries.iter().map(move |entry| (name, entry)));

        entries
            .map(|(name, entry)| (name.clone(), entry.clone()))
            .collect()
    }

    /// How much a tenant has here. Looks at every series.
    pub fn counts(&self, tenant: &Tenant) -> Counts {
        let mut out = Counts::default();
        let mut oldest: Option<i64> = None;
        self.each_matching(tenant, &[], i64::MIN, i64::MAX, |_, series, _, _| {
            out.chunks += series.chunks();
            oldest = series.ids().map(|id| id.window).chain(oldest).min();
        });
        out.oldest_window_ms = oldest.map(|window| window.saturating_mul(self.options.window_ms));

        let state = self.state.read();
        if let Some(tenant) = state.tenant(tenant) {
            out.series = tenant.series as u64;
            let names = tenant.index.names.iter().enumerate();
            let used =
                names.filter(|(number, _)| tenant.index.pairs_of(*number as u32).next().is_some());
            out.label_names = used.map(|(_, name)| name.text.clone()).collect();
        }

        out
    }

    /// Calls `each` with the values of a label and how many series have them.
    pub fn each_value(&self, tenant: &Tenant, name: &str, mut each: impl FnMut(&Arc<str>, u64)) {
        let state = self.state.read();
        let Some(tenant) = state.tenant(tenant) else {
            return;
        };
        let Some(number) = tenant.index.name_id(name) else {
            return;
        };

        for pair in tenant.index.pairs_of(number) {
            each(&pair.value, pair.postings.len() as u64);
        }
    }
}

/// Exemplars of a tenant by series.
fn exemplars_in(
    tenant: &TenantState,
    times: RangeInclusive<i64>,
) -> BTreeMap<SeriesKey, Vec<Exemplar>> {
    let mut by_key: BTreeMap<SeriesKey, Vec<Exemplar>> = BTreeMap::new();
    for (key, exemplar) in &tenant.exemplars {
        if times.contains(&exemplar.t) {
            by_key.entry(*key).or_default().push(exemplar.clone());
        }
    }
    by_key
}

impl State {
    fn tenant(&self, tenant: &Tenant) -> Option<&TenantState> {
        self.tenant_number(tenant.as_str())
            .map(|number| &self.tenants[number as usize])
    }

    pub fn index(&self, tenant: &Tenant) -> Option<&Index> {
        self.tenant(tenant).map(|tenant| &tenant.index)
    }
}
