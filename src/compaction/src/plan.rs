//! Which blocks are merged or downsampled next: a pure function of what the bucket holds.
//!
//! Ranges are aligned to the epoch. Of each stream, that is, the raw blocks with equal external labels:
//!
//! ```text
//! 2 h  │a │b │c │d │e │f │g │h │ ...
//! 8 h  │   a b c d │  e f g h  │ ...     the range is over, and a later block is there or the grace has passed
//! 2 d  │   six of 8 h, and whatever else lies in it            │
//! 14 d │   seven of 2 d                                              │
//! ```
//!
//! The shortest ranges go first, and a longer one waits while blocks of its time are in a job. A late block is normal: it
//! goes into the next range that is merged. Where its range is merged already, late blocks wait until they are many or large,
//! so that a trickle does not rewrite two weeks of samples again and again.
//!
//! What no merge takes is downsampled by the module `coarsen`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use trireme_block::{BlockMeta, BlockParent};
use trireme_bucket::{BucketBlock, covered};
use ulid::Ulid;

use crate::coarsen::Coarsen;
use crate::retention::{Horizon, Retention};

/// So many late blocks are merged into the large block of their range ...
const LATE_BLOCKS: usize = 8;
/// ... and fewer if the large one is at most so many times as large as they are.
const LATE_SHARE: u64 = 8;

/// Lengths of ranges in multiples of the shortest: 2 h, 8 h, 2 d, 14 d.
const MULTIPLES: [i64; 4] = [1, 4, 24, 168];

/// Whose blocks are merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Streams {
    /// Those of any tenant with exactly these external labels beside the tenant's.
    Own {
        /// The label that holds the tenant.
        tenant_label: String,
        /// The other labels.
        labels: BTreeMap<String, String>,
    },
    /// All that have external labels.
    All,
}

impl Streams {
    /// True if a block is of one of them.
    pub fn have(&self, meta: &BlockMeta) -> bool {
        let Some(found) = meta.external_labels().filter(|labels| !labels.is_empty()) else {
            return false;
        };
        match self {
            Self::All => true,
            Self::Own {
                tenant_label,
                labels,
            } => {
                found.contains_key(tenant_label)
                    && found.len() == labels.len() + 1
                    && labels
                        .iter()
                        .all(|(name, value)| found.get(name) == Some(value))
            }
        }
    }
}

/// What the planner goes by.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Lengths of ranges (ms), ascending, each a multiple of the one before.
    pub ranges: Vec<i64>,
    /// A range without a later block is merged so long after its end (ms).
    pub grace_ms: i64,
    /// The most bytes of the sources of a job.
    pub block_bytes_max: u64,
    /// The most sources of a job.
    pub sources_max: usize,
    /// Whose blocks are merged.
    pub streams: Streams,
    /// Whether blocks are downsampled, too.
    pub downsampling: bool,
    /// How long blocks stay.
    pub retention: Retention,
}

impl Limits {
    /// The ranges that follow from the window of level 1 blocks (ms): 4, 24 and 168 of them.
    pub fn ranges_of(window_ms: i64) -> Vec<i64> {
        MULTIPLES
            .iter()
            .map(|multiple| window_ms.saturating_mul(*multiple))
            .collect()
    }

    /// No chunk crosses a multiple of this (ms).
    pub fn part_ms(&self) -> i64 {
        self.ranges
            .get(1)
            .or(self.ranges.first())
            .copied()
            .unwrap_or(i64::MAX)
    }
}

/// Blocks that become one, or a block that becomes a coarser one beside it.
#[derive(Clone, Debug)]
pub struct Job {
    /// Resolution of the result (ms). 0: raw blocks are merged. Else there is one source, of a finer resolution, which stays.
    pub resolution_ms: i64,
    /// External labels of all of them.
    pub labels: BTreeMap<String, String>,
    /// Time of the result (ms, end exclusive).
    pub range: Range<i64>,
    /// The blocks, by start and name.
    pub sources: Vec<Arc<BucketBlock>>,
}

impl Job {
    /// True if a block is downsampled.
    pub fn is_downsampling(&self) -> bool {
        self.resolution_ms > 0
    }

    /// Compaction level of the result: of a downsampled block that of its source, as Thanos has it.
    pub fn level(&self) -> u32 {
        let highest = self
            .sources
            .iter()
            .map(|block| block.meta.compaction.level)
            .max()
            .unwrap_or(0);
        highest.saturating_add(u32::from(!self.is_downsampling()))
    }

    /// All level 1 blocks that go into it, sorted.
    pub fn origins(&self) -> Vec<Ulid> {
        let all = self
            .sources
            .iter()
            .flat_map(|block| origins_of(&block.meta));
        all.collect::<BTreeSet<Ulid>>().into_iter().collect()
    }

    /// The blocks that a merge is made from directly.
    pub fn parents(&self) -> Vec<BlockParent> {
        self.sources
            .iter()
            .map(|block| BlockParent {
                ulid: block.meta.ulid,
                min_time: block.meta.min_time,
                max_time: block.meta.max_time,
            })
            .collect()
    }

    /// Bytes of all sources, as far as their metas say them.
    pub fn bytes(&self) -> u64 {
        self.sources.iter().map(|block| bytes_of(&block.meta)).sum()
    }
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Plan {
    /// Jobs; no block is in two of them.
    pub jobs: Vec<Job>,
    /// Ranges that stay as they are because their blocks are larger than the limit.
    pub too_large: usize,
}

/// Bytes of a block's files, as far as its meta says them.
pub fn bytes_of(meta: &BlockMeta) -> u64 {
    meta.thanos
        .iter()
        .flat_map(|thanos| &thanos.files)
        .filter_map(|file| file.size_bytes)
        .sum()
}

/// The level 1 blocks that a block goes back to; one that names none is one itself.
pub(crate) fn origins_of(meta: &BlockMeta) -> Vec<Ulid> {
    let named = &meta.compaction.sources;
    if named.is_empty() {
        vec![meta.ulid]
    } else {
        named.clone()
    }
}

/// What can be done now. The same blocks give the same plan, in whatever order they are given.
pub fn plan(blocks: &[Arc<BucketBlock>], now_ms: i64, limits: &Limits) -> Plan {
    let by_name: BTreeMap<Ulid, Arc<BucketBlock>> = blocks
        .iter()
        .map(|block| (block.meta.ulid, Arc::clone(block)))
        .collect();
    let covered = covered(&by_name);

    let mut streams: BTreeMap<&BTreeMap<String, String>, Stream> = BTreeMap::new();
    for (ulid, block) in &by_name {
        let meta = &block.meta;
        let Some(labels) = meta.external_labels() else {
            continue;
        };
        if !limits.streams.have(meta) {
            continue;
        }

        let stream = streams.entry(labels).or_default();
        stream.add(block, covered.contains_key(ulid));
    }

    let mut plan = Plan::default();
    let horizon = Horizon::new(blocks, now_ms, limits);
    for stream in streams.values() {
        stream.plan(now_ms, limits, &horizon, &mut plan);
    }

    plan
}

/// Blocks with equal external labels.
struct Stream {
    /// Start of the newest raw block, whatever becomes of it (ms).
    newest_start_ms: i64,
    /// Raw blocks that may be merged.
    blocks: Vec<Arc<BucketBlock>>,
    coarsen: Coarsen,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            newest_start_ms: i64::MIN,
            blocks: Vec::new(),
            coarsen: Coarsen::default(),
        }
    }
}

impl Stream {
    /// Adds a block, of which another one may hold everything.
    fn add(&mut self, block: &Arc<BucketBlock>, is_covered: bool) {
        let meta = &block.meta;
        self.coarsen.add(block, is_covered);
        if meta.resolution_ms() != 0 {
            return;
        }

        self.newest_start_ms = self.newest_start_ms.max(meta.range().start);
        let is_left_out = block.deletion.is_some() || block.no_compact.is_some();
        if !is_left_out && !is_covered {
            self.blocks.push(Arc::clone(block));
        }
    }

    fn plan(&self, now_ms: i64, limits: &Limits, horizon: &Horizon, plan: &mut Plan) {
        let first = plan.jobs.len();
        self.plan_merges(now_ms, limits, horizon, plan);
        if limits.downsampling {
            let more = self.coarsen.plan(limits, horizon, &plan.jobs[first..]);
            plan.jobs.extend(more);
        }
    }

    fn plan_merges(&self, now_ms: i64, limits: &Limits, horizon: &Horizon, plan: &mut Plan) {
        let mut taken: BTreeSet<Ulid> = BTreeSet::new();
        for length in limits.ranges.iter().skip(1) {
            for (start, inside) in self.by_slot(*length) {
                let range = start..start.saturating_add(*length);
                let is_over = range.end <= now_ms;
                let is_settled = self.newest_start_ms >= range.end
                    || now_ms >= range.end.saturating_add(limits.grace_ms);
                let is_busy = inside.iter().any(|block| taken.contains(&block.meta.ulid));
                // It would be made to be deleted.
                let is_past = horizon.is_past(0, range.end);
                if !is_over || !is_settled || is_busy || is_past || !is_worth(&inside, &range) {
                    continue;
                }

                let Some(job) = job_of(&inside, range, limits) else {
                    continue;
                };

                if job.bytes() > limits.block_bytes_max {
                    plan.too_large += 1;
                    continue;
                }

                taken.extend(job.sources.iter().map(|block| block.meta.ulid));
                plan.jobs.push(job);
            }
        }
    }

    /// Blocks that lie in one range of this length, by its start; each list by start and name.
    fn by_slot(&self, length: i64) -> BTreeMap<i64, Vec<&Arc<BucketBlock>>> {
        let mut slots: BTreeMap<i64, Vec<&Arc<BucketBlock>>> = BTreeMap::new();
        for block in &self.blocks {
            let range = block.meta.range();
            let start = range.start.div_euclid(length).saturating_mul(length);
            if range.end <= start.saturating_add(length) {
                slots.entry(start).or_default().push(block);
            }
        }

        for inside in slots.values_mut() {
            inside.sort_by_key(|block| (block.meta.range().start, block.meta.ulid));
        }

        slots
    }
}

/// The merge of the blocks of a range, as far as they are not too many.
fn job_of(inside: &[&Arc<BucketBlock>], range: Range<i64>, limits: &Limits) -> Option<Job> {
    let sources: Vec<_> = inside
        .iter()
        .take(limits.sources_max.max(2))
        .map(|block| Arc::clone(block))
        .collect();
    let labels = sources.first()?.meta.external_labels()?.clone();

    Some(Job {
        resolution_ms: 0,
        labels,
        range,
        sources,
    })
}

/// True if merging these blocks of a range makes enough of a difference.
fn is_worth(inside: &[&Arc<BucketBlock>], range: &Range<i64>) -> bool {
    let (whole, parts): (Vec<_>, Vec<_>) = inside
        .iter()
        .partition(|block| block.meta.range() == *range);

    match (whole.len(), parts.len()) {
        (0, parts) => parts >= 2,
        (1, 0) => false,
        (1, late) => {
            late >= LATE_BLOCKS
                || bytes_of_all(&parts).saturating_mul(LATE_SHARE) >= bytes_of_all(&whole)
        }
        _ => true,
    }
}

fn bytes_of_all(blocks: &[&&Arc<BucketBlock>]) -> u64 {
    blocks.iter().map(|b| bytes_of(&b.meta)).sum()
}
