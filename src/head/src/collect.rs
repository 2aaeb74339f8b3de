//! Letting series go.

use trireme_wire::entry::write_release;
use trireme_wire::record::RecordDraft;

use crate::Shard;
use crate::ingest::clamp;
use crate::series::Series;
use crate::state::State;

/// References in one Release record.
pub(crate) const RELEASE_REFS: usize = 100_000;

impl Shard {
    /// Releases references of series that the own stream has not written to since before the last closed window,
    /// and drops series that hold nothing and that no stream can name. Answers how many series were dropped and
    /// the records for the log. Does nothing while a checkpoint or cut is being made; call it after each cut.
    ///
    /// The own reference goes by the origin's use alone: were it kept while a peer's stream still names the series,
    /// two origins could keep each other's references alive for ever.
    pub fn collect_series(&self) -> (usize, Vec<RecordDraft>) {
        self.collect_series_before(i64::MIN)
    }

    /// As [`Shard::collect_series`], where the windows up to `over` are over, closed or not: when nothing is written any more
    /// no window is closed behind the last one with samples, and its series would stay for good. A wrong `over` costs new
    /// definitions of series that are in use, and nothing else.
    pub fn collect_series_before(&self, over: i64) -> (usize, Vec<RecordDraft>) {
        let Some(_walk) = self.maintenance.try_lock() else {
            return (0, Vec::new());
        };

        let released = self.release_idle(over);
        let mut dead = Vec::new();

        let pages = self.state.read().series.pages();
        for page in 0..pages {
            let state = self.state.read();
            let unused = state.series.page(page).filter(|(_, s)| is_unused(s));
            dead.extend(unused.map(|(slot, _)| slot));
        }

        let dropped = {
            let mut state = self.state.write();
            let dropped = if dead.is_empty() {
                0
            } else {
                drop_series(&mut state, &dead)
            };
            state.note_idle_tenants();
            if dropped > 0 {
                state.shrink();
            }
            dropped
        };

        let drafts = released
            .chunks(RELEASE_REFS)
            .map(|refs| write_release(self.options.number, refs))
            .collect();

        (dropped, drafts)
    }

    /// Takes idle own references away; answers them in ascending order.
    fn release_idle(&self, over: i64) -> Vec<u32> {
        let mut released = Vec::new();
        let (pages, marker) = {
            let state = self.state.read();
            (state.series.pages(), state.own_marker)
        };
        let Some(marker) = marker else {
            return released;
        };

        let last = clamp(marker.max(over));
        for page in 0..pages {
            let mut state = self.state.write();
            for (_, series) in state.series.page_mut(page) {
                if series.own_ref != 0 && series.own_used < last {
                    released.push(std::mem::take(&mut series.own_ref));
                }
            }
        }

        released.sort_unstable();
        released
    }
}

/// True if the series holds nothing and no stream can name it.
fn is_unused(series: &Series) -> bool {
    series.own_ref == 0 && series.foreign_refs == 0 && series.is_empty()
}

/// Drops the series among `slots` (ascending) that are still unused.
fn drop_series(state: &mut State, slots: &[u32]) -> usize {
    let mut by_tenant: Vec<(Vec<u32>, Vec<u32>)> = vec![Default::default(); state.tenants.len()];

    let mut dropped = 0;
    for slot in slots {
        // Written to since it was looked at.
        if !state.series.get(*slot).is_some_and(is_unused) {
            continue;
        }

        let Some(series) = state.series.remove(*slot) else {
            continue;
        };

        let (dead, pairs) = &mut by_tenant[series.tenant as usize];
        dead.push(*slot);
        pairs.extend_from_slice(state.lists.get(series.labels));
        state.lists.remove(series.labels);
        state.keys.remove(series.key, *slot);
        state.tenants[series.tenant as usize].series -= 1;
        dropped += 1;
    }

    state.dropped_series += dropped as u64;
    for (tenant, (dead, pairs)) in state.tenants.iter_mut().zip(by_tenant) {
        if !dead.is_empty() {
            tenant.index.remove_series(&dead, pairs);
        }
    }

    dropped
}
