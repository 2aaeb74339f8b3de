//! Which blocks of the bucket queries read, as whose, and under which labels.
//!
//! A bucket may hold blocks of other programs and other clusters beside ours. What tells them apart are the external
//! labels in their metas, so these become labels of their series: without them the series of two clusters would be one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use trireme_block::BlockMeta;
use ulid::Ulid;

use crate::BucketBlock;

/// External label of the parts of one cluster, where its own blocks have it; see [`ReadRules::labels`].
const GROUP_LABEL: &str = "group";

/// How external labels are understood.
#[derive(Clone, Debug, Default)]
pub struct ReadRules {
    /// External label that names the tenant.
    pub tenant_label: String,
    /// Whose the blocks without that label are; `None`: nobody's, and not read.
    pub default_tenant: Option<String>,
    /// External labels that tell copies of the same samples apart.
    pub replica_labels: Vec<String>,
    /// External labels of this cluster's own blocks, the tenant's left out.
    pub own_labels: BTreeMap<String, String>,
}

impl ReadRules {
    /// Whose a block is.
    pub fn tenant<'a>(&'a self, meta: &'a BlockMeta) -> Option<&'a str> {
        let labels = meta.external_labels();
        let named = labels
            .and_then(|labels| labels.get(&self.tenant_label))
            .map(String::as_str);
        named
            .filter(|tenant| !tenant.is_empty())
            .or(self.default_tenant.as_deref())
    }

    /// External labels that become labels of the block's series, by name.
    ///
    /// Left out are the tenant's; those that tell replicas apart; and those of this cluster, because series in memory and in
    /// local blocks do not have them either: a series must not become another one by moving to the bucket. `group` counts
    /// as the cluster's with any value if its own blocks have one, as its groups share one bucket.
    pub fn labels(&self, meta: &BlockMeta) -> BTreeMap<String, String> {
        let labels = meta
            .external_labels()
            .into_iter()
            .flatten()
            .filter(|(name, value)| self.becomes_label(name, value));

        labels
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    fn becomes_label(&self, name: &str, value: &str) -> bool {
        let is_own = match self.own_labels.get(name) {
            Some(own) => own == value || name == GROUP_LABEL,
            None => false,
        };
        name != self.tenant_label
            && !value.is_empty()
            && !is_own
            && !self.replica_labels.iter().any(|label| label == name)
    }
}

/// Why a block is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LeftOut {
    /// It has no tenant label, and no setting says whose it is.
    NoTenant,
    /// Another block was compacted from it.
    Covered(Ulid),
}

impl LeftOut {
    /// The reason in metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoTenant => "no tenant",
            Self::Covered(_) => "compacted",
        }
    }

    /// All reasons in metrics.
    pub const REASONS: [&'static str; 2] = ["no tenant", "compacted"];
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTenant => f.write_str("no tenant label"),
            Self::Covered(by) => write!(f, "compacted into {by}"),
        }
    }
}

/// A block as queries read it.
#[derive(Clone, Debug)]
pub struct ReadBlock {
    /// The block.
    pub block: Arc<BucketBlock>,
    /// What is added to the labels of its series, by name.
    pub labels: Arc<[(String, String)]>,
}

/// What queries read of a list of blocks.
#[derive(Default)]
pub(crate) struct Reading {
    pub(crate) by_tenant: HashMap<String, OfTenant>,
    pub(crate) left_out: BTreeMap<Ulid, LeftOut>,
}

/// Blocks of one tenant by ULID.
#[derive(Default)]
pub(crate) struct OfTenant {
    pub(crate) raw: Vec<Arc<ReadBlock>>,
    /// Read by queries that allow it.
    pub(crate) downsampled: Vec<Arc<ReadBlock>>,
}

impl Reading {
    pub(crate) fn of(blocks: &BTreeMap<Ulid, Arc<BucketBlock>>, rules: &ReadRules) -> Self {
        let covered = covered(blocks);

        let mut reading = Self::default();
        for (ulid, block) in blocks {
            let Some(tenant) = rules.tenant(&block.meta) else {
                reading.left_out.insert(*ulid, LeftOut::NoTenant);
                continue;
            };
            if let Some(by) = covered.get(ulid) {
                reading.left_out.insert(*ulid, LeftOut::Covered(*by));
                continue;
            }

            let labels = rules.labels(&block.meta).into_iter().collect();
            let block = Arc::new(ReadBlock {
                block: Arc::clone(block),
                labels,
            });

            let of_tenant = reading.by_tenant.entry(tenant.to_owned()).or_default();
            if block.block.meta.resolution_ms() == 0 {
                of_tenant.raw.push(block);
            } else {
                of_tenant.downsampled.push(block);
            }
        }

        reading
    }
}

/// Blocks all of which another block holds, and which.
///
/// A compacted block names the blocks that it goes back to. It stands for another one only with the same external labels
/// and resolution, over the whole time of it, and while it is not to be deleted itself.
pub fn covered(blocks: &BTreeMap<Ulid, Arc<BucketBlock>>) -> HashMap<Ulid, Ulid> {
    let holders = holders(blocks);

    let mut covered = HashMap::new();
    for (ulid, block) in blocks {
        let Some(first) = block.meta.compaction.sources.first() else {
            continue;
        };
        let holders = holders.get(first).into_iter().flatten();
        if let Some(by) = holders
            .filter(|larger| covers(larger, &block.meta))
            .map(|larger| larger.ulid)
            .max()
        {
            covered.insert(*ulid, by);
        }
    }

    let in_circle: Vec<Ulid> = covered
        .keys()
        .copied()
        .filter(|ulid| is_in_circle(*ulid, &covered))
        .collect();

    covered.retain(|ulid, _| !in_circle.contains(ulid));
    covered
}

/// Compacted blocks by the blocks that they go back to.
fn holders(blocks: &BTreeMap<Ulid, Arc<BucketBlock>>) -> HashMap<Ulid, Vec<&BlockMeta>> {
    let mut holders: HashMap<Ulid, Vec<&BlockMeta>> = HashMap::new();
    for block in blocks.values().filter(|block| block.deletion.is_none()) {
        for source in &block.meta.compaction.sources {
            holders.entry(*source).or_default().push(&block.meta);
        }
    }
    holders
}

/// True if a block stands for another that, over some others, stands for it: metas that no writer makes.
fn is_in_circle(ulid: Ulid, covered: &HashMap<Ulid, Ulid>) -> bool {
    let mut at = ulid;
    // A way through all of them ends with one step more.
    for _ in 0..=covered.len() {
        match covered.get(&at) {
            Some(by) if *by == ulid => return true,
            Some(by) => at = *by,
            None => return false,
        }
    }

    // The circle is further on; this block hangs on it.
    true
}

/// True if `larger` stands for `smaller`.
pub(crate) fn covers(larger: &BlockMeta, smaller: &BlockMeta) -> bool {
    let same_stream = larger.resolution_ms() == smaller.resolution_ms()
        && larger.external_labels() == smaller.external_labels()
        && larger.min_time <= smaller.min_time
        && larger.max_time >= smaller.max_time;
    if larger.ulid == smaller.ulid || !same_stream {
        return false;
    }

    let held: HashSet<&Ulid> = larger.compaction.sources.iter().collect();
    let sources = &smaller.compaction.sources;
    if !sources.iter().all(|source| held.contains(source)) {
        return false;
    }

    // With the same sources it is the newer form of the same samples only if it says so.
    let own: HashSet<&Ulid> = sources.iter().collect();
    held.len() > own.len()
        || larger
            .compaction
            .parents
            .iter()
            .any(|parent| parent.ulid == smaller.ulid)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use trireme_block::DeletionMark;

    use super::*;

    fn name(n: u64) -> Ulid {
        Ulid::from_parts(n, 0)
    }

    /// Number, sources, parents, hours, labels and resolution of a block.
    struct Given<'a>(
        u64,
        &'a [u64],
        &'a [u64],
        [i64; 2],
        &'a [(&'a str, &'a str)],
        i64,
    );

    fn block(given: &Given<'_>) -> BucketBlock {
        let Given(n, sources, parents, hours, labels, resolution) = given;
        let [from, to] = hours.map(|hour| hour * 3_600_000);
        let names = |numbers: &[u64]| {
            numbers
                .iter()
                .map(|n| name(*n).to_string())
                .collect::<Vec<_>>()
        };

        let parent = |ulid: String| json!({ "ulid": ulid, "minTime": from, "maxTime": to });
        let meta = json!({
            "ulid": name(*n).to_string(), "minTime": from, "maxTime": to, "version": 1,
            "compaction": {
                "level": 1, "sources": names(sources),
                "parents": names(parents).into_iter().map(parent).collect::<Vec<_>>(),
            },
            "thanos": {
                "labels": labels.iter().copied().collect::<BTreeMap<_, _>>(),
                "downsample": { "resolution": resolution }, "source": "test",
            },
        });

        let meta = BlockMeta::parse(meta.to_string().as_bytes()).expect("valid");
        BucketBlock::new(meta)
    }

    fn reading(blocks: Vec<BucketBlock>, rules: &ReadRules) -> Reading {
        Reading::of(
            &blocks
                .into_iter()
                .map(|b| (b.meta.ulid, Arc::new(b)))
                .collect(),
            rules,
        )
    }

    fn rules() -> ReadRules {
        ReadRules {
            tenant_label: "tenant_id".into(),
            replica_labels: vec!["replica".into()],
            own_labels: BTreeMap::from([
                ("cluster".into(), "eu".into()),
                ("group".into(), "g0".into()),
            ]),
            ..ReadRules::default()
        }
    }

    #[test]
    fn a_block_is_covered_also_where_it_is_the_only_one() {
        let labels = [("tenant_id", "a")];
        let blocks = [
            block(&Given(1, &[1], &[], [0, 2], &labels, 0)),
            block(&Given(2, &[1, 3], &[], [0, 8], &labels, 0)),
        ];
        let blocks = blocks
            .into_iter()
            .map(|block| (block.meta.ulid, Arc::new(block)))
            .collect();
        assert_eq!(covered(&blocks), HashMap::from([(name(1), name(2))]));
    }

    #[test]
    fn external_labels_that_tell_data_apart_become_labels() {
        let labels = |given: &[(&str, &str)]| {
            let meta = block(&Given(1, &[1], &[], [0, 2], given, 0)).meta;
            rules()
                .labels(&meta)
                .into_iter()
                .map(|(n, v)| format!("{n}={v}"))
                .collect::<Vec<_>>()
        };

        let foreign = [
            ("cluster", "us"),
            ("empty", ""),
            ("replica", "1"),
            ("tenant_id", "a"),
            ("zone", "z"),
        ];

        assert_eq!(labels(&foreign), ["cluster=us", "zone=z"]);
        assert_eq!(
            labels(&[("cluster", "eu"), ("group", "g1"), ("tenant_id", "a")]),
            [""; 0]
        );

        let plain = ReadRules::default();
        let meta = block(&Given(1, &[1], &[], [0, 2], &[("group", "g1")], 0)).meta;
        assert_eq!(
            plain.labels(&meta).len(),
            1,
            "a label like any other where our blocks have none"
        );
    }

    #[test]
    fn blocks_without_a_tenant_belong_to_whom_the_settings_say() {
        let without = || vec![block(&Given(1, &[1], &[], [0, 2], &[("cluster", "us")], 0))];
        let found = reading(without(), &rules());
        assert_eq!(found.left_out.get(&name(1)), Some(&LeftOut::NoTenant));

        assert!(found.by_tenant.is_empty());
        let found = reading(
            without(),
            &ReadRules {
                default_tenant: Some("a".into()),
                ..rules()
            },
        );

        assert_eq!(
            (found.by_tenant["a"].raw.len(), found.left_out.len()),
            (1, 0)
        );
    }

    #[test]
    fn sources_of_a_compacted_block_are_not_read_beside_it() {
        let a: &[(&str, &str)] = &[("tenant_id", "a")];
        let other: &[(&str, &str)] = &[("tenant_id", "a"), ("__compactor_shard_id__", "1_of_2")];
        let blocks = [
            Given(1, &[1], &[], [0, 2], a, 0),
            Given(2, &[2], &[], [2, 4], a, 0),
            Given(3, &[3], &[], [4, 6], a, 0),
            Given(4, &[1, 2], &[1, 2], [0, 4], a, 0),
            Given(5, &[1, 2], &[4], [0, 4], a, 0), // rewritten from 4
            Given(6, &[1, 2], &[], [0, 4], a, 0),  // the same sources, but who knows
            Given(7, &[3], &[], [4, 6], a, 300_000), // downsampled
            Given(8, &[3, 9], &[], [5, 8], a, 0),  // ends up later than what it is made from
            Given(9, &[3, 9], &[], [4, 8], other, 0), // a part of it
        ];

        let found = reading(blocks.iter().map(block).collect(), &rules());
        let read: Vec<u64> = found.by_tenant["a"]
            .raw
            .iter()
            .map(|b| b.block.meta.ulid.timestamp_ms())
            .collect();

        assert_eq!(read, [3, 5, 6, 8, 9]);
        assert_eq!(found.left_out[&name(1)], LeftOut::Covered(name(6)));
        assert_eq!(found.left_out[&name(4)], LeftOut::Covered(name(5)));

        assert!(!found.left_out.contains_key(&name(7)));
        assert_eq!(found.by_tenant["a"].downsampled.len(), 1);
    }

    #[test]
    fn blocks_that_claim_to_stand_for_each_other_are_all_read() {
        let a: &[(&str, &str)] = &[("tenant_id", "a")];
        let blocks = [
            Given(1, &[1, 2], &[3], [0, 2], a, 0),
            Given(2, &[1, 2], &[1], [0, 2], a, 0),
            Given(3, &[1, 2], &[2], [0, 2], a, 0),
            Given(4, &[1], &[], [0, 2], a, 0),
        ];

        let found = reading(blocks.iter().map(block).collect(), &rules());
        assert_eq!(found.by_tenant["a"].raw.len(), 4);
    }

    #[test]
    fn a_block_that_is_to_be_deleted_stands_for_no_other() {
        let a: &[(&str, &str)] = &[("tenant_id", "a")];
        let small = block(&Given(1, &[1], &[], [0, 2], a, 0));
        let mut large = block(&Given(2, &[1, 3], &[], [0, 4], a, 0));
        let id = large.meta.ulid;

        large.deletion = Some(DeletionMark {
            id,
            version: 1,
            details: String::new(),
            deletion_time: 1,
        });

        let found = reading(vec![small, large], &rules());
        assert_eq!(
            (found.by_tenant["a"].raw.len(), found.left_out.len()),
            (2, 0)
        );
    }
}
