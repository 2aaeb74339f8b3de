//! Which blocks are downsampled next.
//!
//! ```text
//! raw of 40 h and more ──▶ 5m         5m of 10 d and more ──▶ 1h         (with windows of two hours)
//! ```
//!
//! A block is downsampled once no merge takes it, unless there is a coarser block that goes back to all that it goes back to.
//! A block that got more samples by a merge goes back to more, so it is downsampled anew; what was made of its parts is then
//! held by the new coarse block, and goes as merged blocks do. The source stays.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use trireme_block::{BlockMeta, RESOLUTION_1H_MS, RESOLUTION_5M_MS};
use trireme_bucket::BucketBlock;
use ulid::Ulid;

use crate::plan::{Job, Limits, origins_of};
use crate::retention::Horizon;

/// A step from one resolution to the next.
struct Step {
    from_ms: i64,
    to_ms: i64,
    /// The shortest block that is worth it (ms).
    length_min_ms: i64,
}

/// The steps in their order. The lengths are Thanos's, 40 hours and 10 days, where windows have two hours: 5/6 of the third range
/// and 5/7 of the fourth, so that blocks of other programs count that lack a part of theirs.
fn steps(limits: &Limits) -> Vec<Step> {
    let first = length_min(limits, 2, (5, 6)).map(|length| (0, RESOLUTION_5M_MS, length));
    let second =
        length_min(limits, 3, (5, 7)).map(|length| (RESOLUTION_5M_MS, RESOLUTION_1H_MS, length));
    let all = [first, second].into_iter().flatten();

    all.map(|(from_ms, to_ms, length_min_ms)| Step {
        from_ms,
        to_ms,
        length_min_ms,
    })
    .collect()
}

/// A part of one of the ranges.
fn length_min(limits: &Limits, range: usize, (part, of): (i64, i64)) -> Option<i64> {
    let length = limits.ranges.get(range).copied()?;
    Some(length / of * part + length % of * part / of)
}

/// The blocks of a stream, of all resolutions.
#[derive(Default)]
pub(crate) struct Coarsen {
    /// By name.
    candidates: Vec<Arc<BucketBlock>>,
    /// Coarse blocks by resolution and each of the blocks that they go back to. One that is marked for deletion counts until it is
    /// gone: it cannot be made anew before.
    coarse: HashMap<(i64, Ulid), Vec<Arc<BucketBlock>>>,
}

impl Coarsen {
    /// Takes note of a block.
    pub(crate) fn add(&mut self, block: &Arc<BucketBlock>, is_covered: bool) {
        let resolution = block.meta.resolution_ms();
        if resolution > 0 {
            for origin in origins_of(&block.meta) {
                self.coarse
                    .entry((resolution, origin))
                    .or_default()
                    .push(Arc::clone(block));
            }
        }

        if !is_covered && block.deletion.is_none() && block.no_downsample.is_none() {
            self.candidates.push(Arc::clone(block));
        }
    }

    /// Jobs beside the `merges` of this stream. What these take is not touched: it would be for nothing.
    pub(crate) fn plan(&self, limits: &Limits, horizon: &Horizon, merges: &[Job]) -> Vec<Job> {
        let mut busy: HashSet<Ulid> = merges.iter().flat_map(Job::origins).collect();

        let mut jobs = Vec::new();
        for step in steps(limits) {
            let due: Vec<Job> = self
                .candidates
                .iter()
                .filter_map(|block| self.job(block, &step, horizon, &busy))
                .collect();
            // What is made of these now is what the next step is to be made of.
            busy.extend(due.iter().flat_map(Job::origins));
            jobs.extend(due);
        }

        jobs
    }

    /// True if a block is still to be downsampled, now or later.
    pub(crate) fn is_wanted(
        &self,
        block: &BucketBlock,
        limits: &Limits,
        horizon: &Horizon,
    ) -> bool {
        limits.downsampling
            && block.no_downsample.is_none()
            && steps(limits)
                .iter()
                .any(|step| self.lacks(&block.meta, step, horizon))
    }

    /// True if a step is to be made of the block and was not. What would be too old at once is not made.
    fn lacks(&self, meta: &BlockMeta, step: &Step, horizon: &Horizon) -> bool {
        let range = meta.range();
        meta.resolution_ms() == step.from_ms
            && range.end.saturating_sub(range.start) >= step.length_min_ms
            && !horizon.is_past(step.to_ms, meta.max_time)
            && !self.has_coarse(meta, &origins_of(meta), step.to_ms)
    }

    fn job(
        &self,
        block: &Arc<BucketBlock>,
        step: &Step,
        horizon: &Horizon,
        busy: &HashSet<Ulid>,
    ) -> Option<Job> {
        let meta = &block.meta;
        let is_busy = origins_of(meta).iter().any(|origin| busy.contains(origin));
        let is_due = !is_busy && self.lacks(meta, step, horizon);
        let labels = meta.external_labels().filter(|_| is_due)?.clone();

        Some(Job {
            resolution_ms: step.to_ms,
            labels,
            range: meta.range(),
            sources: vec![Arc::clone(block)],
        })
    }

    /// True if a block with windows of `resolution_ms` stands for all of this one.
    fn has_coarse(&self, meta: &BlockMeta, origins: &[Ulid], resolution_ms: i64) -> bool {
        let Some(first) = origins.first() else {
            return false;
        };

        let those = self
            .coarse
            .get(&(resolution_ms, *first))
            .into_iter()
            .flatten();

        those
            .filter(|coarse| {
                coarse.meta.min_time <= meta.min_time && coarse.meta.max_time >= meta.max_time
            })
            .any(|coarse| {
                let held: HashSet<Ulid> = origins_of(&coarse.meta).into_iter().collect();
                origins.iter().all(|origin| held.contains(origin))
            })
    }
}
