//! Which copies of blocks to read.

use std::collections::BTreeSet;

use trireme_block::BlockMeta;

/// A block and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Located {
    /// Index among the local blocks.
    Local(usize),
    /// Index among the bucket's blocks.
    Bucket(usize),
}

/// Chooses the raw blocks that overlap `[start_ms, end_ms]` and that together hold every sample: local copies before the
/// bucket's, and no bucket block whose sources are all here. Ordered by start time.
///
/// Reading a sample twice would not be wrong, only slow: merging is a set union.
pub fn choose_blocks(
    local: &[&BlockMeta],
    bucket: &[&BlockMeta],
    start_ms: i64,
    end_ms: i64,
) -> Vec<Located> {
    let wanted = |m: &BlockMeta| m.overlaps(start_ms, end_ms) && m.resolution_ms() == 0;

    let mut held = BTreeSet::new();
    for meta in local.iter().filter(|_| !bucket.is_empty()) {
        held.insert(meta.ulid);
        held.extend(meta.compaction.sources.iter().copied());
    }

    let here = |m: &BlockMeta| {
        let sources = &m.compaction.sources;
        held.contains(&m.ulid) || (!sources.is_empty() && sources.iter().all(|s| held.contains(s)))
    };

    let mut chosen: Vec<(i64, Located)> = Vec::new();
    for (i, meta) in local.iter().enumerate().filter(|(_, m)| wanted(m)) {
        chosen.push((meta.range().start, Located::Local(i)));
    }

    let mut seen = BTreeSet::new();
    for (i, meta) in bucket
        .iter()
        .enumerate()
        .filter(|(_, m)| wanted(m) && !here(m))
    {
        if seen.insert(meta.ulid) {
            chosen.push((meta.range().start, Located::Bucket(i)));
        }
    }

    chosen.sort_by_key(|(start, _)| *start);
    chosen.into_iter().map(|(_, located)| located).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(n: u8, sources: &[u8], min_time: i64, resolution: i64) -> BlockMeta {
        let ulid = |n: &u8| format!("{n:026}");
        let json = serde_json::json!({
            "ulid": ulid(&n), "minTime": min_time, "maxTime": min_time + 100, "version": 1,
            "compaction": { "level": 1, "sources": sources.iter().map(ulid).collect::<Vec<_>>() },
            "thanos": { "labels": {}, "downsample": { "resolution": resolution }, "source": "test" },
        });
        BlockMeta::parse(json.to_string().as_bytes()).expect("a valid meta")
    }

    #[test]
    fn local_copies_come_before_the_buckets_and_nothing_is_left_out() {
        let local = [meta(1, &[1], 0, 0), meta(2, &[2], 100, 0)];
        let bucket = [
            meta(1, &[1], 0, 0),         // the same block
            meta(3, &[1, 2], 0, 0),      // compacted from blocks that are all here
            meta(4, &[2, 9], 100, 0),    // holds something that is not here
            meta(4, &[2, 9], 100, 0),    // listed twice
            meta(5, &[5], 100, 300_000), // downsampled
            meta(6, &[6], 900, 0),       // another time
        ];

        let (local, bucket): (Vec<_>, Vec<_>) = (local.iter().collect(), bucket.iter().collect());
        let want = [Located::Local(0), Located::Local(1), Located::Bucket(2)];
        assert_eq!(choose_blocks(&local, &bucket, 0, 199), want);
        assert_eq!(
            choose_blocks(&[], &bucket, 0, 99),
            [Located::Bucket(0), Located::Bucket(1)]
        );
    }
}
