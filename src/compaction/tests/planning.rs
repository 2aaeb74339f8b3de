//! What is merged and downsampled, and when.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use trireme_block::{
    BlockMeta, DeletionMark, NoCompactMark, NoDownsampleMark, RESOLUTION_1H_MS, RESOLUTION_5M_MS,
};
use trireme_bucket::BucketBlock;
use trireme_compaction::{Job, Limits, Plan, Retention, Streams, expired, plan};
use ulid::Ulid;

const HOUR: i64 = 3_600_000;

fn limits() -> Limits {
    Limits {
        ranges: Limits::ranges_of(2 * HOUR).to_vec(),
        grace_ms: 12 * HOUR,
        block_bytes_max: u64::MAX,
        sources_max: 32,
        streams: Streams::Own {
            tenant_label: "tenant_id".into(),
            labels: BTreeMap::new(),
        },
        downsampling: true,
        retention: Retention::default(),
    }
}

struct Given<'a> {
    number: u64,
    hours: Range<i64>,
    sources: Vec<Ulid>,
    bytes: u64,
    tenant: &'a str,
    resolution: i64,
}

fn name(number: u64) -> Ulid {
    Ulid::from_parts(number, 0)
}

fn given(number: u64, hours: Range<i64>) -> Given<'static> {
    Given {
        number,
        hours,
        sources: vec![name(number)],
        bytes: 100,
        tenant: "a",
        resolution: 0,
    }
}

fn block(given: &Given<'_>) -> Arc<BucketBlock> {
    let sources: Vec<String> = given.sources.iter().map(Ulid::to_string).collect();
    let meta = json!({
        "ulid": name(given.number).to_string(), "version": 1,
        "minTime": given.hours.start * HOUR, "maxTime": given.hours.end * HOUR,
        "compaction": { "level": 1, "sources": sources },
        "thanos": {
            "labels": { "tenant_id": given.tenant }, "downsample": { "resolution": given.resolution },
            "source": "test", "files": [{ "rel_path": "index", "size_bytes": given.bytes }],
        },
    });

    let meta = BlockMeta::parse(meta.to_string().as_bytes()).unwrap();
    Arc::new(BucketBlock::new(meta))
}

fn blocks(hours: &[Range<i64>]) -> Vec<Arc<BucketBlock>> {
    hours
        .iter()
        .zip(1..)
        .map(|(hours, number)| block(&given(number, hours.clone())))
        .collect()
}

fn at(blocks: &[Arc<BucketBlock>], hour: i64) -> Plan {
    plan(blocks, hour * HOUR, &limits())
}

fn numbers(job: &Job) -> Vec<u64> {
    job.sources
        .iter()
        .map(|block| block.meta.ulid.timestamp_ms())
        .collect()
}

/// The block that doing a job makes.
fn result(job: &Job, number: u64) -> Arc<BucketBlock> {
    let mut meta = job.sources[0].meta.clone();
    meta.ulid = name(number);
    (meta.min_time, meta.max_time) = (job.range.start, job.range.end);
    meta.compaction.level = job.level();
    meta.compaction.sources = job.origins();
    meta.compaction.parents = job.parents();

    let thanos = meta.thanos.as_mut().unwrap();
    thanos.files[0].size_bytes = Some(job.bytes());
    thanos.downsample.resolution = job.resolution_ms;

    Arc::new(BucketBlock::new(meta))
}

#[test]
fn a_range_is_merged_when_it_is_over_and_settled() {
    let four = [0..2, 2..4, 4..6, 6..8];
    assert!(
        at(&blocks(&four), 9).jobs.is_empty(),
        "no later block, and the grace has not passed"
    );

    assert_eq!(at(&blocks(&four), 20).jobs.len(), 1, "the grace has passed");
    let later = [0..2, 2..4, 4..6, 6..8, 8..10];
    assert!(
        at(&blocks(&later), 7).jobs.is_empty(),
        "a block from the future ends no range"
    );

    let plan = at(&blocks(&later), 10);
    assert_eq!(
        plan.jobs.iter().map(numbers).collect::<Vec<_>>(),
        [[1, 2, 3, 4]]
    );
    assert_eq!(plan.jobs[0].range, 0..8 * HOUR);
}

#[test]
fn longer_ranges_wait_for_shorter_ones() {
    let plan = at(&blocks(&[0..2, 2..4, 8..16, 16..18, 48..50]), 60);
    assert_eq!(plan.jobs.iter().map(numbers).collect::<Vec<_>>(), [[1, 2]]);
    let plan = at(&blocks(&[0..8, 8..16, 16..18, 48..50]), 60);

    assert_eq!(
        plan.jobs.iter().map(numbers).collect::<Vec<_>>(),
        [[1, 2, 3]]
    );
    assert_eq!(plan.jobs[0].range, 0..48 * HOUR);

    assert!(
        at(&blocks(&[0..2, 8..10]), 20).jobs.is_empty(),
        "alone in their ranges"
    );
}

#[test]
fn a_trickle_of_late_blocks_does_not_rewrite_a_large_one() {
    let large = Given {
        bytes: 10_000,
        ..given(1, 0..8)
    };
    let late = |number, bytes| {
        block(&Given {
            bytes,
            ..given(number, 0..2)
        })
    };

    let with = |lates: Vec<Arc<BucketBlock>>| at(&[vec![block(&large)], lates].concat(), 30).jobs;
    assert!(with(vec![late(2, 10), late(3, 10)]).is_empty());
    assert_eq!(with(vec![late(2, 1_250)]).len(), 1, "an eighth of it");
    assert_eq!(
        with((2..10).map(|n| late(n, 10)).collect()).len(),
        1,
        "eight of them"
    );
}

#[test]
fn what_is_marked_covered_downsampled_or_of_others_is_left_alone() {
    let mut all = blocks(&[0..2, 2..4, 4..6, 6..8, 8..10]);
    let marked = DeletionMark {
        id: name(1),
        version: 1,
        details: String::new(),
        deletion_time: 1,
    };

    Arc::make_mut(&mut all[0]).deletion = Some(marked);
    Arc::make_mut(&mut all[1]).no_compact = Some(NoCompactMark {
        id: name(2),
        version: 1,
        details: String::new(),
        no_compact_time: 1,
        reason: "manual".into(),
    });

    all.push(block(&Given {
        resolution: 300_000,
        ..given(11, 0..2)
    }));
    all.push(block(&Given {
        tenant: "b",
        ..given(12, 0..2)
    }));
    assert_eq!(
        at(&all, 10).jobs.iter().map(numbers).collect::<Vec<_>>(),
        [[3, 4]]
    );

    // They are all in this one.
    all.push(block(&Given {
        sources: (1..5).map(name).collect(),
        ..given(13, 0..8)
    }));

    assert!(at(&all, 10).jobs.is_empty());

    let others = Limits {
        streams: Streams::Own {
            tenant_label: "tenant_id".into(),
            labels: [("group".into(), "g".into())].into(),
        },
        ..limits()
    };

    assert!(
        plan(&blocks(&[0..2, 2..4, 8..10]), 10 * HOUR, &others)
            .jobs
            .is_empty()
    );

    let everybody = Limits {
        streams: Streams::All,
        ..others
    };

    assert_eq!(
        plan(&blocks(&[0..2, 2..4, 8..10]), 10 * HOUR, &everybody)
            .jobs
            .len(),
        1
    );
}

#[test]
fn jobs_keep_to_their_bounds() {
    let all = blocks(&[0..2, 2..4, 4..6, 8..10]);
    let small = Limits {
        block_bytes_max: 299,
        ..limits()
    };
    let planned = plan(&all, 10 * HOUR, &small);

    assert_eq!((planned.jobs.len(), planned.too_large), (0, 1));
    let few = Limits {
        sources_max: 2,
        ..limits()
    };

    assert_eq!(numbers(&plan(&all, 10 * HOUR, &few).jobs[0]), [1, 2]);
}

fn no_downsample(number: u64) -> NoDownsampleMark {
    let details = String::new();
    let reason = "manual".into();
    NoDownsampleMark {
        id: name(number),
        version: 1,
        details,
        no_downsample_time: 1,
        reason,
    }
}

/// Numbers of the sources and resolutions of the jobs that downsample.
fn coarser(plan: &Plan) -> Vec<(u64, i64)> {
    let jobs = plan.jobs.iter().filter(|job| job.is_downsampling());
    jobs.map(|job| (numbers(job)[0], job.resolution_ms))
        .collect()
}

/// A block that is coarse, or large and compacted of others.
fn of(number: u64, hours: Range<i64>, resolution: i64, sources: Range<u64>) -> Arc<BucketBlock> {
    block(&Given {
        resolution,
        sources: sources.map(name).collect(),
        ..given(number, hours)
    })
}

#[test]
fn long_blocks_are_downsampled_where_no_coarser_one_has_all_of_them() {
    let raw = |number, hours| of(number, hours, 0, 100..130);
    assert_eq!(coarser(&at(&[raw(1, 0..48)], 50)), [(1, RESOLUTION_5M_MS)]);
    assert_eq!(
        coarser(&at(&[raw(1, 0..40)], 50)),
        [(1, RESOLUTION_5M_MS)],
        "with a part that is missing"
    );

    assert!(at(&[raw(1, 0..39)], 50).jobs.is_empty(), "too short");

    let with = |coarse: Arc<BucketBlock>| {
        let jobs = coarser(&at(&[raw(1, 0..48), coarse], 50));
        jobs.iter()
            .filter(|job| **job == (1, RESOLUTION_5M_MS))
            .count()
    };

    assert_eq!(with(of(2, 0..48, RESOLUTION_5M_MS, 100..130)), 0);
    assert_eq!(
        with(of(2, 0..336, RESOLUTION_5M_MS, 90..140)),
        0,
        "a larger one"
    );

    assert_eq!(
        with(of(2, 0..48, RESOLUTION_5M_MS, 100..129)),
        1,
        "it lacks one"
    );

    assert_eq!(
        with(of(2, 0..47, RESOLUTION_5M_MS, 100..130)),
        1,
        "it lacks an hour"
    );

    assert_eq!(
        with(of(2, 0..48, RESOLUTION_1H_MS, 100..130)),
        1,
        "it is another resolution"
    );

    let other = Given {
        tenant: "b",
        resolution: RESOLUTION_5M_MS,
        ..given(2, 0..48)
    };

    assert_eq!(
        with(block(&Given {
            sources: (100..130).map(name).collect(),
            ..other
        })),
        1,
        "another tenant's"
    );

    let mut marked = of(2, 0..48, RESOLUTION_5M_MS, 100..130);
    let mark = DeletionMark {
        id: name(2),
        version: 1,
        details: String::new(),
        deletion_time: 1,
    };

    Arc::make_mut(&mut marked).deletion = Some(mark);
    assert_eq!(
        with(marked),
        0,
        "one that is to be deleted has the name until it is gone"
    );

    let fine = |hours| of(2, hours, RESOLUTION_5M_MS, 100..130);
    assert_eq!(coarser(&at(&[fine(0..336)], 400)), [(2, RESOLUTION_1H_MS)]);
    assert_eq!(coarser(&at(&[fine(0..240)], 400)), [(2, RESOLUTION_1H_MS)]);

    assert!(at(&[fine(0..239)], 400).jobs.is_empty());
    let done = [fine(0..336), of(3, 0..336, RESOLUTION_1H_MS, 100..130)];
    assert!(at(&done, 400).jobs.is_empty());
}

#[test]
fn nothing_is_downsampled_that_is_marked_or_changes_soon_or_if_it_is_switched_off() {
    let mut raw = of(1, 0..336, 0, 100..130);
    let off = Limits {
        downsampling: false,
        ..limits()
    };
    assert!(plan(&[Arc::clone(&raw)], 400 * HOUR, &off).jobs.is_empty());

    // A late block is merged into it now; what was made of it before waits, too, for what is made after.
    let late = block(&given(2, 0..100));
    let planned = at(&[Arc::clone(&raw), Arc::clone(&late)], 400);

    assert_eq!(
        (
            planned.jobs.iter().map(numbers).collect::<Vec<_>>(),
            coarser(&planned)
        ),
        (vec![vec![1, 2]], vec![])
    );

    let fine = of(11, 0..336, RESOLUTION_5M_MS, 100..130);
    let planned = at(&[Arc::clone(&raw), late, fine], 400);
    assert_eq!((planned.jobs.len(), coarser(&planned)), (1, vec![]));

    // What it was made of before the late ones came is no source of the next step either.
    let since = [
        of(1, 0..336, 0, 100..131),
        of(11, 0..336, RESOLUTION_5M_MS, 100..130),
    ];

    assert_eq!(coarser(&at(&since, 400)), [(1, RESOLUTION_5M_MS)]);

    Arc::make_mut(&mut raw).no_downsample = Some(no_downsample(1));
    assert!(at(&[Arc::clone(&raw)], 400).jobs.is_empty());
    Arc::make_mut(&mut raw).no_downsample = None;

    let mark = DeletionMark {
        id: name(1),
        version: 1,
        details: String::new(),
        deletion_time: 1,
    };

    Arc::make_mut(&mut raw).deletion = Some(mark);
    assert!(at(&[raw], 400).jobs.is_empty());
}

#[test]
fn ranges_that_follow_from_short_windows_shorten_what_is_downsampled() {
    let limits = Limits {
        ranges: Limits::ranges_of(HOUR / 2),
        ..limits()
    };
    let planned = |hours| coarser(&plan(&[of(1, hours, 0, 100..130)], 400 * HOUR, &limits)).len();

    assert_eq!([planned(0..9), planned(0..10)], [0, 1]);
    let none = Limits {
        ranges: vec![HOUR, 2 * HOUR],
        ..limits
    };
    assert!(
        plan(&[of(1, 0..336, 0, 100..130)], 400 * HOUR, &none)
            .jobs
            .is_empty()
    );
}

prop_compose! {
    fn any_block()(start in 0i64..800, length in prop_oneof![Just(2i64), Just(8), Just(6), Just(1), Just(48)],
        bytes in 1u64..10_000, tenant in prop_oneof![Just("a"), Just("b")], marked in 0u8..20)
        -> (i64, i64, u64, &'static str, u8)
    {
        (start / length * length, length, bytes, tenant, marked)
    }
}

proptest! {
    #[test]
    fn every_block_is_taken_once_and_what_is_done_is_done(
        all in prop::collection::vec(any_block(), 0..80),
        sources_max in 2usize..12,
    ) {
        let limits = Limits { sources_max, ..limits() };
        let make = |((start, length, bytes, tenant, marked), number): (_, u64)| {
            let mut made = block(&Given { bytes, tenant, ..given(number, start..start + length) });
            let mark = DeletionMark { id: name(number), version: 1, details: String::new(), deletion_time: 1 };
            Arc::make_mut(&mut made).deletion = Some(mark).filter(|_| marked == 0);
            Arc::make_mut(&mut made).no_downsample = Some(no_downsample(number)).filter(|_| marked == 1);
            made
        };
        let mut listed: Vec<Arc<BucketBlock>> = all.into_iter().zip(1..).map(make).collect();
        let origins: BTreeSet<Ulid> = listed.iter().map(|block| block.meta.ulid).collect();
        let mut number = 1_000;
        let mut downsampled = BTreeSet::new();
        // Looks in the middle of the blocks' time, and after it.
        let mut times = [100, 300, 500, 1_000].into_iter();
        let mut now = times.next().unwrap() * HOUR;
        for round in 0.. {
            // Each job makes less of what is read, or has a coarser block beside it, so there is an end.
            prop_assert!(round < 500);
            let planned = plan(&listed, now, &limits);
            let reversed: Vec<_> = listed.iter().rev().cloned().collect();
            let again = plan(&reversed, now, &limits);
            prop_assert!(planned.jobs.iter().map(numbers).eq(again.jobs.iter().map(numbers)));
            if planned.jobs.is_empty() {
                match times.next() {
                    Some(hour) => now = hour * HOUR,
                    None => break,
                }
            }
            let (coarse, merges): (Vec<&Job>, Vec<&Job>) =
                planned.jobs.iter().partition(|job| job.is_downsampling());
            let merged: BTreeSet<Ulid> = merges.iter().flat_map(|job| job.origins()).collect();
            for job in coarse {
                prop_assert_eq!(job.sources.len(), 1);
                let source = &job.sources[0].meta;
                prop_assert!(job.origins().iter().all(|origin| !merged.contains(origin)), "before its merge");
                prop_assert!(downsampled.insert((source.ulid, job.resolution_ms)), "{} twice", source.ulid);
                prop_assert!(job.sources[0].no_downsample.is_none() && source.range() == job.range);
                let (step, shortest) = match source.resolution_ms() {
                    0 => (RESOLUTION_5M_MS, 40),
                    _ => (RESOLUTION_1H_MS, 240),
                };
                prop_assert!(job.resolution_ms == step && job.range.end - job.range.start >= shortest * HOUR);
            }
            let mut taken = BTreeSet::new();
            for job in &planned.jobs {
                prop_assert!(job.is_downsampling() || (2..=sources_max).contains(&job.sources.len()));
                for source in &job.sources {
                    let meta = &source.meta;
                    prop_assert!(taken.insert(meta.ulid), "{} is in two jobs", meta.ulid);
                    prop_assert!(source.deletion.is_none());
                    prop_assert!(meta.min_time >= job.range.start && meta.max_time <= job.range.end);
                    prop_assert_eq!(meta.external_labels(), Some(&job.labels));
                }
                number += 1;
                let made = result(job, number);
                let held: BTreeSet<Ulid> =
                    job.sources.iter().flat_map(|block| block.meta.compaction.sources.clone()).collect();
                prop_assert!(made.meta.compaction.sources.iter().copied().eq(held.iter().copied()));
                prop_assert!(held.is_subset(&origins));
                listed.push(made);
            }
        }

        // What is read of long blocks in the end has a coarser one that stands for all of it.
        let by_name: BTreeMap<Ulid, Arc<BucketBlock>> =
            listed.iter().map(|block| (block.meta.ulid, Arc::clone(block))).collect();
        let covered = trireme_bucket::covered(&by_name);
        for block in listed.iter().filter(|block| block.deletion.is_none() && block.no_downsample.is_none()) {
            let (meta, range) = (&block.meta, block.meta.range());
            let next = match (meta.resolution_ms(), (range.end - range.start) / HOUR) {
                (0, 40..) => RESOLUTION_5M_MS,
                (RESOLUTION_5M_MS, 240..) => RESOLUTION_1H_MS,
                _ => continue,
            };
            let held: BTreeSet<Ulid> = meta.compaction.sources.iter().copied().collect();
            let stands = |other: &Arc<BucketBlock>| {
                let of: BTreeSet<Ulid> = other.meta.compaction.sources.iter().copied().collect();
                other.meta.resolution_ms() == next
                    && other.meta.external_labels() == meta.external_labels()
                    && held.is_subset(&of)
            };
            prop_assert!(covered.contains_key(&meta.ulid) || listed.iter().any(stands), "{}", meta.ulid);
        }
    }
}

/// Numbers of the blocks whose retention is over at an hour.
fn gone(blocks: &[Arc<BucketBlock>], hour: i64, retention: Retention) -> Vec<u64> {
    let limits = Limits {
        retention,
        ..limits()
    };
    expired(blocks, hour * HOUR, &limits)
        .into_iter()
        .map(|ulid| ulid.timestamp_ms())
        .collect()
}

fn raw_for(hours: i64) -> Retention {
    Retention {
        raw_ms: Some(hours * HOUR),
        ..Retention::default()
    }
}

#[test]
fn blocks_have_had_their_time_when_clock_and_newest_block_say_so() {
    let few = blocks(&[0..2, 2..4, 100..102]);
    assert_eq!(gone(&few, 102, Retention::default()), [0_u64; 0]);
    assert_eq!(gone(&few, 102, raw_for(98)), [1, 2]);
    assert_eq!(gone(&few, 102, raw_for(99)), [1]);

    // A clock that is ahead, and one that is behind.
    assert_eq!(gone(&few, 1_000_000, raw_for(99)), [1]);
    assert_eq!(gone(&few, 50, raw_for(99)), [0_u64; 0]);

    // A sample from the future.
    let with_future = blocks(&[0..2, 2..4, 900_000..900_002]);
    assert_eq!(gone(&with_future, 102, raw_for(99)), [1]);

    // Blocks of somebody else neither go nor tell the time.
    let other = block(&Given {
        tenant: "",
        ..given(7, 900..902)
    });
    let mut foreign = other.meta.clone();
    foreign
        .thanos
        .as_mut()
        .unwrap()
        .labels
        .insert("cluster".into(), "eu".into());
    let foreign = Arc::new(BucketBlock::new(foreign));
    assert_eq!(
        gone(&[&few[..], &[foreign]].concat(), 10_000, raw_for(99)),
        [1]
    );
}

#[test]
fn a_block_stays_until_what_is_to_be_made_of_it_is_there() {
    let newest = block(&given(9, 9_000..9_002));
    let large = block(&given(1, 0..48));
    let all = |more: &[Arc<BucketBlock>]| {
        let few = [Arc::clone(&large), Arc::clone(&newest)];
        [&few[..], more].concat()
    };
    assert_eq!(gone(&all(&[]), 9_002, raw_for(100)), [0_u64; 0]);

    let job = at(&all(&[]), 9_002)
        .jobs
        .into_iter()
        .find(Job::is_downsampling)
        .expect("it is long enough");
    let coarse = result(&job, 5);
    assert_eq!(gone(&all(&[Arc::clone(&coarse)]), 9_002, raw_for(100)), [1]);

    // The coarser block is to go itself, for another reason than its age.
    let mut marked = BucketBlock::new(coarse.meta.clone());
    marked.deletion = Some(DeletionMark {
        id: coarse.meta.ulid,
        version: 1,
        details: "by hand".into(),
        deletion_time: 1,
    });
    assert_eq!(
        gone(&all(&[Arc::new(marked)]), 9_002, raw_for(100)),
        [0_u64; 0]
    );

    // It would be too old at once, so nobody makes it.
    let both = Retention {
        five_minutes_ms: Some(200 * HOUR),
        ..raw_for(100)
    };
    assert_eq!(gone(&all(&[]), 9_002, both), [1]);
    let limits = Limits {
        retention: both,
        ..limits()
    };
    assert!(plan(&all(&[]), 9_002 * HOUR, &limits).jobs.is_empty());
}
