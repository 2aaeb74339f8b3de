//! Which downsampled blocks a question reads, and what of them.
//!
//! The coarsest blocks that are allowed come first; finer ones fill what they leave. What a block holds is told by the level 1
//! blocks that it goes back to: a finer block that shares some with a coarser one is left out where that one is read, and one
//! that shares none, such as a block of late samples, is read beside it. So no sample counts twice and none is left out.

use std::collections::HashSet;

use trireme_block::{Aggregate, BlockMeta, RESOLUTION_1H_MS, RESOLUTION_5M_MS, resolution_text};
use trireme_promql::SelectHints;
use ulid::Ulid;

/// Functions over a range that need two samples of it.
const OF_TWO_SAMPLES: [&str; 7] = [
    "delta",
    "deriv",
    "idelta",
    "increase",
    "irate",
    "predict_linear",
    "rate",
];

/// What a selector reads of a window, by the function around it. The same choice as Thanos's.
pub(crate) fn aggregate_for(hints: &SelectHints) -> Aggregate {
    match hints.func.as_str() {
        "min" | "min_over_time" => Aggregate::Min,
        "max" | "max_over_time" => Aggregate::Max,
        "sum_over_time" => Aggregate::Sum,
        "rate" | "increase" | "irate" | "resets" => Aggregate::Counter,
        _ => Aggregate::Average,
    }
}

/// How coarse the data of a selector may be: so that a range has the samples that its function needs.
pub(crate) fn resolution_for(hints: &SelectHints, max_ms: i64) -> i64 {
    if hints.range_ms > 0 && OF_TWO_SAMPLES.contains(&hints.func.as_str()) {
        return max_ms.min(hints.range_ms / 2);
    }
    max_ms
}

/// The least that an instant selector has to look back to see samples of windows of up to `max_ms`.
pub(crate) fn lookback_for(max_ms: i64) -> i64 {
    match max_ms {
        RESOLUTION_1H_MS.. => RESOLUTION_1H_MS,
        RESOLUTION_5M_MS.. => RESOLUTION_5M_MS,
        _ => 0,
    }
}

/// What is read of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number among those to choose from.
    pub number: usize,
    /// Times to read (ms, inclusive), rising; not empty.
    pub spans: Vec<(i64, i64)>,
}

/// A block that was chosen so far.
struct Chosen<'a> {
    meta: &'a BlockMeta,
    sources: HashSet<Ulid>,
    part: Part,
}

/// Chooses from blocks of any resolution that is allowed, so that together they have every sample once.
pub fn choose_resolutions(blocks: &[&BlockMeta]) -> Vec<Part> {
    let mut order: Vec<(usize, &BlockMeta)> = blocks.iter().copied().enumerate().collect();
    order.sort_by_key(|(_, meta)| {
        (
            std::cmp::Reverse((meta.resolution_ms(), meta.compaction.sources.len())),
            meta.min_time,
            meta.ulid,
        )
    });

    let mut chosen: Vec<Chosen<'_>> = Vec::with_capacity(order.len());
    for (number, meta) in order {
        let sources = sources_of(meta);

        let mut spans = vec![(meta.min_time, meta.max_time.saturating_sub(1))];
        for other in chosen.iter_mut().filter(|other: &&mut Chosen<'_>| {
            let own = meta.resolution_ms();
            let theirs = other.meta.resolution_ms();
            // Raw samples that are read twice are still one.
            (theirs > own || (theirs == own && own > 0)) && !other.sources.is_disjoint(&sources)
        }) {
            let is_inside = is_within(meta, other.meta) && !sources.is_subset(&other.sources);
            let is_around = is_within(other.meta, meta)
                && other.sources.is_subset(&sources)
                && sources
                    .difference(&other.sources)
                    .any(|source| ends_within(*source, other.meta));
            if is_inside || is_around {
                // It was made before this one got more samples.
                other.part.spans = without(&other.part.spans, &spans);
            } else {
                spans = without(&spans, &other.part.spans);
            }
        }

        chosen.push(Chosen {
            meta,
            sources,
            part: Part { number, spans },
        });
    }

    let mut parts: Vec<Part> = chosen
        .into_iter()
        .map(|chosen| chosen.part)
        .filter(|part| !part.spans.is_empty())
        .collect();

    parts.sort_by_key(|part| (part.spans[0], part.number));
    parts
}

/// True if all of a block's time is another's, too.
fn is_within(small: &BlockMeta, large: &BlockMeta) -> bool {
    large.min_time <= small.min_time && small.max_time <= large.max_time
}

/// True if a level 1 block lies in a block's time, by its name: of ours, the time in it is the end of the window. Other programs
/// have the time there when they wrote the block, a little later.
fn ends_within(source: Ulid, meta: &BlockMeta) -> bool {
    let end_ms = i64::try_from(source.timestamp_ms()).unwrap_or(i64::MAX);
    meta.min_time < end_ms && end_ms <= meta.max_time
}

/// Names of the level 1 blocks that a block goes back to.
fn sources_of(meta: &BlockMeta) -> HashSet<Ulid> {
    match meta.compaction.sources.is_empty() {
        true => HashSet::from([meta.ulid]),
        false => meta.compaction.sources.iter().copied().collect(),
    }
}

/// `spans` without `gone`; both rise.
fn without(spans: &[(i64, i64)], gone: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut left = Vec::with_capacity(spans.len());
    for (start, end) in spans {
        let mut at = *start;
        for (first, last) in gone
            .iter()
            .filter(|(first, last)| first <= end && last >= start)
        {
            if at < *first {
                left.push((at, first - 1));
            }
            at = at.max(last.saturating_add(1));
        }

        if at <= *end {
            left.push((at, *end));
        }
    }

    left
}

/// What is said where only blocks lie that are coarser than allowed, the finest of them with windows of `finest_ms`.
pub fn only_coarser(finest_ms: i64) -> String {
    let name = resolution_text(finest_ms);
    format!(
        "a part of the time asked for has only downsampled blocks in the bucket, which are not read: \
         max_source_resolution={name} allows it, for functions like rate over ranges of twice that"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    /// Name, hours, resolution and sources of a block.
    fn meta(n: u8, hours: (i64, i64), resolution: i64, sources: &[u8]) -> BlockMeta {
        let ulid = |n: &u8| format!("{n:026}");
        let json = serde_json::json!({
            "ulid": ulid(&n), "minTime": hours.0 * HOUR, "maxTime": hours.1 * HOUR, "version": 1,
            "compaction": { "level": 1, "sources": sources.iter().map(ulid).collect::<Vec<_>>() },
            "thanos": { "labels": {}, "downsample": { "resolution": resolution }, "source": "test" },
        });
        BlockMeta::parse(json.to_string().as_bytes()).expect("a valid meta")
    }

    /// Names and hours, their ends exclusive.
    fn chosen(blocks: &[BlockMeta]) -> Vec<(u8, Vec<(i64, i64)>)> {
        let metas: Vec<&BlockMeta> = blocks.iter().collect();
        choose_resolutions(&metas)
            .into_iter()
            .map(|part: Part| {
                let name = metas[part.number]
                    .ulid
                    .to_string()
                    .parse()
                    .expect("a number");
                (
                    name,
                    part.spans
                        .iter()
                        .map(|span: &(i64, i64)| (span.0 / HOUR, (span.1 + 1) / HOUR))
                        .collect(),
                )
            })
            .collect()
    }

    #[test]
    fn coarse_blocks_come_first_and_finer_ones_fill_what_they_leave() {
        let blocks = [
            meta(1, (0, 2), 0, &[1]),
            meta(2, (2, 4), 0, &[2]),
            meta(3, (4, 6), 0, &[3]),
            meta(10, (0, 4), RESOLUTION_5M_MS, &[1, 2]),
            meta(20, (0, 2), RESOLUTION_1H_MS, &[1]),
        ];

        let want = [(20, vec![(0, 2)]), (10, vec![(2, 4)]), (3, vec![(4, 6)])];
        assert_eq!(chosen(&blocks), want);
        assert_eq!(
            chosen(&blocks[..3]),
            [(1, vec![(0, 2)]), (2, vec![(2, 4)]), (3, vec![(4, 6)])]
        );
    }

    #[test]
    fn late_blocks_are_read_beside_and_in_place_of_what_was_made_before_they_came() {
        // 9 came late and is in no downsampled block.
        let late = [
            meta(9, (0, 2), 0, &[9]),
            meta(10, (0, 4), RESOLUTION_5M_MS, &[1, 2]),
        ];

        assert_eq!(chosen(&late), [(9, vec![(0, 2)]), (10, vec![(0, 4)])]);
        // It was compacted into 5 since, and the 5 minutes of that are not there yet.
        let since = [
            meta(5, (2, 4), 0, &[2, 9]),
            meta(10, (0, 6), RESOLUTION_5M_MS, &[1, 2, 3]),
        ];

        assert_eq!(
            chosen(&since),
            [(10, vec![(0, 2), (4, 6)]), (5, vec![(2, 4)])]
        );
    }

    #[test]
    fn late_samples_in_a_longer_block_are_read_before_that_one_is_downsampled() {
        // Names of windows of two hours that end then, and of late samples in them.
        let named = |hour: u64, late: u16| Ulid::from_parts(hour * HOUR as u64, late.into());
        let of = |n, hours, resolution, sources: &[Ulid]| {
            let mut meta = meta(n, hours, resolution, &[]);
            meta.compaction.sources = sources.to_vec();
            meta
        };

        let windows = [2, 4, 6, 8].map(|hour| named(hour, 0));
        let parts = [
            of(10, (0, 4), RESOLUTION_5M_MS, &windows[..2]),
            of(11, (4, 8), RESOLUTION_5M_MS, &windows[2..]),
        ];
        let with = |more: &[Ulid]| {
            let raw = of(1, (0, 8), 0, &[&windows[..], more].concat());
            chosen(&[&[raw][..], &parts[..]].concat())
        };

        assert_eq!(with(&[]), [(10, vec![(0, 4)]), (11, vec![(4, 8)])]);
        assert_eq!(
            with(&[named(4, 1)]),
            [(1, vec![(0, 4)]), (11, vec![(4, 8)])]
        );
        assert_eq!(
            with(&[named(6, 1)]),
            [(10, vec![(0, 4)]), (1, vec![(4, 8)])]
        );
    }

    #[test]
    fn blocks_of_one_resolution_that_share_samples_are_not_read_twice() {
        let overlapping = [
            meta(10, (0, 4), RESOLUTION_5M_MS, &[1, 2, 3]),
            meta(11, (2, 6), RESOLUTION_5M_MS, &[3, 4]),
        ];
        assert_eq!(
            chosen(&overlapping),
            [(10, vec![(0, 4)]), (11, vec![(4, 6)])]
        );
    }

    #[test]
    fn functions_decide_what_is_read_and_how_coarse() {
        let hints = |func: &str, range_ms| SelectHints {
            func: func.into(),
            range_ms,
            ..SelectHints::default()
        };

        let aggregate = |func| aggregate_for(&hints(func, HOUR));
        assert_eq!(
            [
                "min_over_time",
                "max",
                "sum_over_time",
                "sum",
                "count_over_time",
                "",
                "increase"
            ]
            .map(aggregate),
            [
                Aggregate::Min,
                Aggregate::Max,
                Aggregate::Sum,
                Aggregate::Average,
                Aggregate::Average,
                Aggregate::Average,
                Aggregate::Counter,
            ]
        );

        assert_eq!(resolution_for(&hints("rate", HOUR), HOUR), HOUR / 2);
        assert_eq!(resolution_for(&hints("max_over_time", HOUR), HOUR), HOUR);
        assert_eq!(
            [0, 1, RESOLUTION_5M_MS, HOUR - 1, HOUR, i64::MAX].map(lookback_for),
            [0, 0, RESOLUTION_5M_MS, RESOLUTION_5M_MS, HOUR, HOUR]
        );
    }
}
