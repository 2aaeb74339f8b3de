//! Cutting a window: what every replica puts into blocks alike.
//!
//! Steps, each safe to repeat after a crash: [`Shard::begin_cut`] on every shard, one block for each of
//! [`cut_windows`] from a [`CutSource`], [`CutManifest::store`], opening the new blocks for queries, and only then
//! [`Shard::finish_cut`] on every shard.
//!
//! A block that cannot be written holds up its own samples only: they are a [`LeftWindow`], which stays in the head
//! ([`Shard::finish_cut_leaving`]) and is written later ([`Shard::finish_left`]).

mod left;
mod manifest;
mod open;
mod order;
mod source;
mod taken;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use trireme_base::StreamId;
use trireme_model::Tenant;

use crate::bucket::BucketId;
use crate::state::{LastCut, State};
use crate::streams::Positions;
use crate::{HeadError, Shard};

pub use left::LeftWindow;
pub(crate) use left::{Portion, is_left};
pub use manifest::CutManifest;
pub(crate) use open::OpenCuts;
pub use source::CutSource;
pub(crate) use taken::{Taken, sane_marker};

/// A block to be written by a cut.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CutWindow {
    /// Whose samples.
    pub tenant: Tenant,
    /// Number of the window.
    pub window: i64,
    /// The cut that took it.
    pub cut: i64,
    /// Its times (ms), end exclusive.
    pub start_ms: i64,
    /// End of its times (ms), exclusive.
    pub end_ms: i64,
}

impl CutWindow {
    /// The window as a range of times (ms).
    pub fn range(&self) -> Range<i64> {
        self.start_ms..self.end_ms
    }

    /// The same as something that is left in the head.
    pub fn left(&self) -> LeftWindow {
        LeftWindow {
            cut: self.cut,
            tenant: self.tenant.clone(),
            window: self.window,
        }
    }

    fn of(part: LeftWindow, window_ms: i64) -> Self {
        let LeftWindow {
            cut,
            tenant,
            window,
        } = part;

        let start_ms = window.saturating_mul(window_ms);
        Self {
            tenant,
            window,
            cut,
            start_ms,
            end_ms: start_ms.saturating_add(window_ms),
        }
    }
}

impl Shard {
    /// The last cut that was finished.
    pub fn last_cut(&self) -> Option<i64> {
        self.state.read().last_cut.number
    }

    /// The cut to be made next if windows up to `closed` are closed. Samples that wait for a cut which cannot come count as
    /// those of their windows.
    pub fn due_cut(&self, closed: i64) -> Option<i64> {
        self.state.read().cuts.due(closed, self.options.window_ms)
    }

    /// The greatest cut up to `k` for which there are samples.
    pub fn waiting_cut(&self, k: i64) -> Option<i64> {
        self.state.read().cuts.last_up_to(k)
    }

    /// The last window up to `k` that any other stream has closed.
    pub fn closed_up_to(&self, k: i64) -> Option<i64> {
        let state = self.state.read();
        state
            .streams
            .values()
            .filter_map(|stream| stream.marker)
            .filter(|marker| *marker <= k)
            .max()
    }

    /// The newest sample of any tenant (ms).
    pub fn newest_ms(&self) -> Option<i64> {
        let state = self.state.read();
        state
            .tenants
            .iter()
            .map(|tenant| tenant.newest)
            .filter(|t| *t != i64::MIN)
            .max()
    }

    /// The least cut for which there are samples.
    pub fn oldest_cut(&self) -> Option<i64> {
        let state = self.state.read();
        state
            .cuts
            .first()
            .into_iter()
            .chain(state.last_cut.left.iter().map(|left| left.cut))
            .min()
    }

    /// What cuts left here, the earliest first.
    pub fn left(&self) -> Vec<LeftWindow> {
        self.state.read().last_cut.left.clone()
    }

    /// Closes cut `k`: samples that come from now on go to a later one. Answers the positions for the manifest.
    /// Repeating it for the same cut changes nothing.
    pub fn begin_cut(&self, k: i64) -> Result<Vec<(StreamId, u64)>, HeadError> {
        self.trusted()?;
        // Own records up to here were applied before they were logged, and any later one is behind marker k.
        let own = *self.own_logged.lock();
        let mut state = self.state.write();
        if state.last_cut.number.is_some_and(|last| k <= last) {
            return Err(HeadError::Settings(format!("cut {k} was made before")));
        }

        if state.cutting.as_ref().is_none_or(|(begun, _)| *begun != k) {
            let mut positions: Positions = state
                .streams
                .iter()
                .map(|(s, known)| (*s, known.applied))
                .collect();
            positions.insert(self.options.own, own.seq);
            state.cutting = Some((k, positions));
        }

        let positions = state
            .cutting
            .as_ref()
            .map(|(_, p)| p.iter().map(|(s, q)| (*s, *q)).collect());

        Ok(positions.unwrap_or_default())
    }

    /// Drops what cut `k` took; the manifest must be on disk. What earlier cuts left stays. Locks the shard for a page of
    /// series at a time.
    pub fn finish_cut(&self, k: i64) {
        self.finish_cut_leaving(k, self.left());
    }

    /// As [`Shard::finish_cut`], but what is `left`, by this cut and by earlier ones, stays in the head; the manifest says so.
    pub fn finish_cut_leaving(&self, k: i64, mut left: Vec<LeftWindow>) {
        let _walk = self.maintenance.lock();
        left.sort();
        let taken = Taken::by(k, self.options.window_ms);
        let left = {
            let mut state = self.state.write();
            let positions = match state.cutting.take() {
                Some((begun, positions)) if begun == k => positions,
                _ => Positions::new(),
            };
            state.last_cut = LastCut {
                number: state.last_cut.number.max(Some(k)),
                positions,
                left,
            };
            state.cuts.close(k, taken);
            state.last_cut.left.clone()
        };

        self.retire_streams(k);
        let window_ms = self.options.window_ms;
        self.drop_buckets(k, |tenant, id| {
            taken.takes(id) && !is_left(&left, window_ms, tenant, id)
        });

        // What is damaged in a later window is met again.
        self.damaged.store(false, Ordering::Release);
    }

    /// Drops what a cut left, once it is in a block and the manifest on disk does not name it any more.
    pub fn finish_left(&self, part: &LeftWindow) {
        let _walk = self.maintenance.lock();
        let portion = {
            let mut state = self.state.write();
            let portion = Portion::of(&state.last_cut.left, self.options.window_ms, part);
            state.last_cut.left.retain(|left| left != part);
            portion
        };

        self.drop_buckets(part.cut.max(part.window), |tenant, id| {
            *tenant == part.tenant && portion.takes(id)
        });
    }

    /// Drops the buckets that are taken, which are of windows up to `k`.
    fn drop_buckets(&self, k: i64, takes: impl Fn(&Tenant, BucketId) -> bool) {
        let pages = self.state.read().series.pages();

        let mut left = BTreeSet::new();
        for page in 0..pages {
            let mut guard = self.state.write();
            let _change = self.change();
            let State {
                series,
                files,
                tenants,
                ..
            } = &mut *guard;

            for (_, series) in series.page_mut(page) {
                let tenant = &tenants[series.tenant as usize].tenant;
                let takes = |id| takes(tenant, id);
                series.drop_buckets(takes, |bucket| bucket.release(files));

                if series
                    .histograms
                    .as_mut()
                    .is_some_and(|h| h.drop_buckets(files, takes))
                {
                    series.histograms = None;
                }

                let windows = series
                    .ids()
                    .map(|id| id.window)
                    .filter(|window| *window <= k);

                left.extend(windows.map(|window| (series.tenant, window)));
            }
        }

        self.forget_windows(k, &left);
    }

    /// Forgets the tenants' windows up to `k`, save for those (tenant, window) that are left.
    fn forget_windows(&self, k: i64, left: &BTreeSet<(u32, i64)>) {
        let mut state = self.state.write();
        for (number, tenant) in (0..).zip(&mut state.tenants) {
            tenant
                .windows
                .retain(|window| *window > k || left.contains(&(number, *window)));
        }
    }

    /// Forgets the references of streams that ended long ago, so that their series can go.
    ///
    /// A stream with a later boot that had not closed window `k - 1` was counted as ended by two cuts: all replicas
    /// have what a quorum had of it. Its position is kept.
    fn retire_streams(&self, k: i64) {
        let mut guard = self.state.write();
        let State {
            streams, series, ..
        } = &mut *guard;
        let ended: Vec<StreamId> = streams
            .iter()
            .filter(|(_, known)| !known.refs.is_empty() && known.marker < Some(k.saturating_sub(1)))
            .filter(|(id, _)| {
                let mut starts = streams.keys().chain([&self.options.own]);
                starts.any(|other| other.incarnation == id.incarnation && other.boot > id.boot)
            })
            .map(|(id, _)| *id)
            .collect();

        for id in ended {
            let refs = streams
                .get_mut(&id)
                .map(|known| std::mem::take(&mut known.refs))
                .unwrap_or_default();
            for (_, slot) in refs.iter() {
                if let Some(series) = series.get_mut(slot) {
                    series.foreign_refs = series.foreign_refs.saturating_sub(1);
                }
            }
        }
    }

    /// (tenant number, window, cut) of all buckets with samples.
    fn buckets_seen(&self) -> BTreeSet<(u32, i64, i64)> {
        let mut seen = BTreeSet::new();

        let pages = self.state.read().series.pages();
        for page in 0..pages {
            let state = self.state.read();
            for (_, series) in state.series.page(page) {
                // Neighbours are alike, so this set stays small and the look-ups cheap.
                seen.extend(series.ids().map(|id| (series.tenant, id.window, id.cut)));
            }
        }

        seen
    }
}

/// The blocks that cut `k` writes: one per tenant and window with samples of cuts up to `k` that no earlier cut left, in
/// order.
pub fn cut_windows(shards: &[Arc<Shard>], k: i64) -> Vec<CutWindow> {
    let mut windows = BTreeSet::new();
    for shard in shards {
        let window_ms = shard.options.window_ms;
        let taken = Taken::by(k, window_ms);
        let left = shard.left();
        let seen = shard.buckets_seen();

        // After the walk, so that those who came meanwhile have names; who has samples keeps its number.
        let tenants = shard.tenants();

        for (tenant, window, cut) in seen {
            let tenant = &tenants[tenant as usize];
            let id = BucketId { window, cut };
            if taken.takes(id) && !is_left(&left, window_ms, tenant, id) {
                let part = LeftWindow {
                    cut: k,
                    tenant: tenant.clone(),
                    window,
                };
                windows.insert(CutWindow::of(part, window_ms));
            }
        }
    }

    windows.into_iter().collect()
}

/// What earlier cuts left, the earliest first.
pub fn left_windows(shards: &[Arc<Shard>]) -> Vec<CutWindow> {
    let Some(shard) = shards.first() else {
        return Vec::new();
    };
    shard
        .left()
        .into_iter()
        .map(|part| CutWindow::of(part, shard.options.window_ms))
        .collect()
}
