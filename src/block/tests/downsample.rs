//! Downsampled blocks hold what their samples say, in Thanos's layout.
//!
//! Chunks are taken apart here by a decoder of its own, after the description of the format, not by that of the crate.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use support::{END, HOUR, START, series};
use trireme_block::{
    Aggregate, AggregateSamples, Block, BlockError, BlockMeta, BlockParent, DownsampleError,
    Interval, IterSource, RESOLUTION_1H_MS, RESOLUTION_5M_MS, SeriesInput, Tombstones,
    WriteOptions, downsample_block, verify_block, write_block,
};
use trireme_model::{
    AnyHistogram, FloatHistogram, HistogramSample, Labels, ResetHint, STALE_NAN, Span,
};

const MINUTE: i64 = 60_000;

/// Times and values of a column, as they lie in the chunk.
type Column = Vec<(i64, f64)>;

/// Time, first to last step, and columns: count, sum, min, max, counter.
#[derive(Debug)]
struct Chunk {
    times: (i64, i64),
    columns: [Option<(u8, Vec<u8>)>; 5],
}

impl Chunk {
    fn floats(&self, column: usize) -> Column {
        let (encoding, data) = self.columns[column].as_ref().unwrap();
        assert_eq!(*encoding, 1, "XOR");
        let mut t = Vec::new();
        let mut v = Vec::new();
        trireme_chunk::decode_into(data, &mut t, &mut v).unwrap();
        t.into_iter().zip(v).collect()
    }

    fn histograms(&self, column: usize) -> Vec<(i64, Arc<FloatHistogram>)> {
        let (encoding, data) = self.columns[column].as_ref().unwrap();
        assert_eq!(*encoding, 3, "float histograms");
        let encoding = trireme_chunk::Encoding::try_from(*encoding).unwrap();
        let decoded = trireme_chunk::decode_histograms(encoding, data).unwrap();
        decoded.into_iter().map(|s| (s.t, s.h.to_float())).collect()
    }
}

fn uvarint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }

    value
}

/// All chunks of a block by series: length, 0xff, five columns of length, encoding and data; checksum.
fn chunks_of(dir: &Path) -> BTreeMap<String, Vec<Chunk>> {
    let block = Block::open(dir).unwrap();
    let file = std::fs::read(dir.join("chunks/000001")).unwrap();

    let mut found = BTreeMap::new();
    for series in block.select(&[], i64::MIN, i64::MAX).unwrap() {
        let chunk = |meta: &trireme_block::ChunkMeta| {
            let mut at = &file[meta.reference as usize..];
            let length = uvarint(&mut at) as usize;
            assert_eq!(at[0], 0xff);

            let mut data = &at[1..=length];

            let mut columns = [const { None }; 5];
            for column in &mut columns {
                let length = uvarint(&mut data) as usize;
                if length > 0 {
                    *column = Some((data[0], data[1..=length].to_vec()));
                    data = &data[length + 1..];
                }
            }

            assert!(data.is_empty());
            Chunk {
                times: (meta.min_time, meta.max_time),
                columns,
            }
        };
        found.insert(
            series.labels.to_string(),
            series.chunks.iter().map(chunk).collect(),
        );
    }

    found
}

fn block_of(dir: &Path, end: i64, series: Vec<SeriesInput>) -> Block {
    let options = WriteOptions {
        external_labels: BTreeMap::from([("tenant_id".into(), "a".into())]),
        ..WriteOptions::default()
    };
    let meta = write_block(
        dir,
        START..end,
        &options,
        &mut IterSource(series.into_iter()),
    )
    .unwrap()
    .unwrap();

    Block::open(&dir.join(meta.ulid.to_string())).unwrap()
}

fn floats(name: &str, samples: &[(i64, f64)]) -> SeriesInput {
    let (times, values) = samples.iter().map(|(t, v)| (START + t, *v)).unzip();
    SeriesInput {
        labels: Labels::from_pairs([("__name__", name)]),
        times,
        values,
        ..SeriesInput::default()
    }
}

fn histogram(count: f64, hint: ResetHint) -> AnyHistogram {
    AnyHistogram::Float(Arc::new(FloatHistogram {
        reset_hint: hint,
        schema: 1,
        zero_threshold: 0.001,
        count,
        sum: count * 2.0,
        positive_spans: vec![Span {
            offset: 0,
            length: 1 + (count / 10.0) as u32,
        }],
        positive_buckets: (0..1 + (count / 10.0) as usize)
            .map(|b| count / (b + 1) as f64)
            .collect(),
        ..FloatHistogram::default()
    }))
}

fn down(block: &Block, dir: &Path, resolution: i64) -> (BlockMeta, std::path::PathBuf) {
    let meta = downsample_block(block, dir, resolution, &mut |_| ControlFlow::Continue(()))
        .unwrap()
        .unwrap();
    let path = dir.join(meta.ulid.to_string());
    assert_eq!(verify_block(&path), []);
    (meta, path)
}

/// The only series of a block of these samples at 5 minutes.
fn chunks(samples: &[(i64, f64)]) -> Vec<Chunk> {
    let dir = tempfile::tempdir().unwrap();
    let block = block_of(dir.path(), START + 48 * HOUR, vec![floats("m", samples)]);
    let (_, path) = down(&block, &dir.path().join("out"), RESOLUTION_5M_MS);
    chunks_of(&path).into_values().next().unwrap()
}

fn relative(column: &[(i64, f64)]) -> Column {
    column.iter().map(|(t, v)| (t - START, *v)).collect()
}

#[test]
fn a_chunk_has_five_columns_and_the_counter_its_first_and_last_sample() {
    let [chunk] = &chunks(&[
        (10, 5.0),
        (MINUTE, 8.0),
        (5 * MINUTE, 10.0),     // the first millisecond of a window
        (6 * MINUTE, 1.0),      // a reset
        (10 * MINUTE - 1, 3.0), // the last millisecond of a window
        (21 * MINUTE, 7.0),     // behind a gap
    ])[..] else {
        panic!("one chunk");
    };

    let ends = [5 * MINUTE - 1, 10 * MINUTE - 1, 25 * MINUTE - 1];
    let column = |values: [f64; 3]| ends.into_iter().zip(values).collect::<Column>();
    assert_eq!(relative(&chunk.floats(0)), column([2.0, 3.0, 1.0]));
    assert_eq!(relative(&chunk.floats(1)), column([13.0, 14.0, 7.0]));
    assert_eq!(relative(&chunk.floats(2)), column([5.0, 1.0, 7.0]));
    assert_eq!(relative(&chunk.floats(3)), column([8.0, 10.0, 7.0]));

    let counter = [
        (10, 5.0),
        (ends[0], 8.0),
        (ends[1], 13.0),
        (ends[2], 17.0),
        (ends[2], 7.0),
    ];

    assert_eq!(relative(&chunk.floats(4)), counter);
    assert_eq!(chunk.times, (START + ends[0], START + ends[2]));
}

#[test]
fn one_sample_is_a_step_and_what_is_no_number_is_none() {
    let [chunk] = &chunks(&[
        (MINUTE, 4.0),
        (2 * MINUTE, f64::NAN),
        (3 * MINUTE, f64::from_bits(STALE_NAN)),
    ])[..] else {
        panic!("one chunk");
    };

    let end = 5 * MINUTE - 1;
    assert_eq!(relative(&chunk.floats(0)), [(end, 1.0)]);
    assert_eq!(
        relative(&chunk.floats(4)),
        [(MINUTE, 4.0), (end, 4.0), (end, 4.0)]
    );

    let dir = tempfile::tempdir().unwrap();
    let block = block_of(
        dir.path(),
        END,
        vec![floats("m", &[(0, f64::from_bits(STALE_NAN))])],
    );

    let out = dir.path().join("out");
    let made = downsample_block(&block, &out, RESOLUTION_5M_MS, &mut |_| {
        ControlFlow::Continue(())
    });
    assert!(made.unwrap().is_none());

    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
}

#[test]
fn a_step_is_never_outside_the_block() {
    let dir = tempfile::tempdir().unwrap();
    let block = block_of(
        dir.path(),
        START + 7 * MINUTE,
        vec![floats("m", &[(6 * MINUTE, 1.0)])],
    );

    let (meta, path) = down(&block, &dir.path().join("out"), RESOLUTION_1H_MS);
    assert_eq!((meta.min_time, meta.max_time), (START, START + 7 * MINUTE));
    let found = chunks_of(&path);

    assert_eq!(
        found.values().next().unwrap()[0].times.1,
        START + 7 * MINUTE - 1
    );
}

#[test]
fn long_chunks_end_where_an_hour_does() {
    let samples: Vec<(i64, f64)> = (0..48 * 60)
        .map(|m| (m * MINUTE + 30_000, m as f64))
        .collect();
    let found = chunks(&samples);
    let steps: Vec<usize> = found.iter().map(|chunk| chunk.floats(0).len()).collect();

    assert_eq!(steps, [120, 120, 120, 120, 96]);
    assert!(
        found
            .iter()
            .all(|chunk| (chunk.times.1 + 1 - START) % HOUR == 0)
    );

    let firsts: Vec<_> = found
        .iter()
        .map(|chunk| relative(&chunk.floats(4))[0])
        .collect();

    assert_eq!(firsts[1], (10 * HOUR + 30_000, 600.0), "the true value");

    // One sample an hour, never where one ends: chunks have a bound all the same.
    let sparse: Vec<(i64, f64)> = (0..47).map(|h| (h * HOUR, 1.0)).collect();
    assert_eq!(chunks(&sparse).len(), 1);
}

#[test]
fn metas_are_as_thanos_has_them_and_the_same_block_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let parents = vec![BlockParent {
        ulid: ulid::Ulid::from_parts(7, 7),
        min_time: START,
        max_time: END,
    }];

    let options = WriteOptions {
        external_labels: BTreeMap::from([
            ("tenant_id".into(), "a".into()),
            ("zone".into(), "z".into()),
        ]),
        level: 3,
        sources: vec![ulid::Ulid::from_parts(1, 1), ulid::Ulid::from_parts(2, 2)],
        parents: parents.clone(),
        ..WriteOptions::default()
    };

    let all = series(20, 3);
    let raw = write_block(
        dir.path(),
        START..END,
        &options,
        &mut IterSource(all.into_iter()),
    )
    .unwrap()
    .unwrap();

    let block = Block::open(&dir.path().join(raw.ulid.to_string())).unwrap();
    let (meta, path) = down(&block, &dir.path().join("a"), RESOLUTION_5M_MS);
    let thanos = meta.thanos.clone().unwrap();

    assert_eq!(
        (thanos.downsample.resolution, thanos.source.as_str()),
        (300_000, "compactor")
    );
    assert_eq!(thanos.labels, options.external_labels);
    assert_eq!((meta.min_time, meta.max_time), (START, END));
    assert_eq!(meta.compaction.level, 3);
    assert_eq!(
        (&meta.compaction.sources, &meta.compaction.parents),
        (&options.sources, &parents)
    );
    assert_ne!(meta.ulid, raw.ulid);

    let (again, other) = down(&block, &dir.path().join("b"), RESOLUTION_5M_MS);
    assert_eq!(meta, again);

    for file in ["index", "chunks/000001", "meta.json"] {
        assert_eq!(
            std::fs::read(path.join(file)).unwrap(),
            std::fs::read(other.join(file)).unwrap(),
            "{file}"
        );
    }
}

#[test]
fn levels_go_up_only_and_work_can_be_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let block = block_of(dir.path(), END, series(8, 1));
    let out = dir.path().join("out");

    let go = &mut |_| ControlFlow::Continue(());
    for bad in [0, 1, 60_000, RESOLUTION_1H_MS + 1] {
        let refused = downsample_block(&block, &out, bad, go);
        assert!(
            matches!(refused, Err(DownsampleError::Write(BlockError::Input(_)))),
            "{bad}"
        );
    }

    let (_, path) = down(&block, &out, RESOLUTION_1H_MS);

    let hourly = Block::open(&path).unwrap();
    for bad in [RESOLUTION_5M_MS, RESOLUTION_1H_MS] {
        assert!(downsample_block(&hourly, &out, bad, go).is_err(), "{bad}");
    }

    let before = std::fs::read_dir(&out).unwrap().count();
    let stopped = downsample_block(&block, &out, RESOLUTION_5M_MS, &mut |at| match at.series {
        3 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert!(matches!(stopped, Err(DownsampleError::Stopped)));

    assert_eq!(
        std::fs::read_dir(&out).unwrap().count(),
        before,
        "nothing is left"
    );
}

#[test]
fn blocks_of_the_same_bytes_that_stand_for_others_have_other_names() {
    let dir = tempfile::tempdir().unwrap();
    let block = |out: &str, more: Vec<SeriesInput>| {
        // A sample in the last window of each hour, so that windows of both lengths are the same.
        let samples: Vec<_> = (0..24)
            .map(|h| (h * HOUR + 57 * MINUTE, h as f64))
            .collect();
        let all = [vec![floats("m", &samples)], more].concat();
        let path = dir.path().join(out);
        (block_of(&path, START + 24 * HOUR, all), path)
    };

    let digest = |meta: &BlockMeta| meta.trireme.as_ref().unwrap().digest.clone();
    let (raw, path) = block("raw", Vec::new());
    let (fine, fine_path) = down(&raw, &path, RESOLUTION_5M_MS);
    let (coarse, _) = down(&Block::open(&fine_path).unwrap(), &path, RESOLUTION_1H_MS);

    assert_eq!(digest(&fine), digest(&coarse));
    assert_ne!(fine.ulid, coarse.ulid, "the resolution");

    // Stale markers are in no window.
    let (other, path) = block(
        "other",
        vec![floats("n", &[(0, f64::from_bits(STALE_NAN))])],
    );
    let (others, _) = down(&other, &path, RESOLUTION_5M_MS);

    assert_eq!(digest(&fine), digest(&others));
    assert_ne!(fine.ulid, others.ulid, "the sources");
}

#[test]
fn what_is_deleted_is_not_counted() {
    let dir = tempfile::tempdir().unwrap();
    let samples: Vec<(i64, f64)> = (0..20).map(|m| (m * MINUTE, m as f64)).collect();
    let block = block_of(dir.path(), END, vec![floats("m", &samples)]);
    let id = block.index().all_postings().unwrap().iter().next().unwrap();
    let mut gone = Tombstones::default();

    gone.add(
        id,
        Interval {
            first: START + 3 * MINUTE,
            last: START + 11 * MINUTE,
        },
    );

    let path = dir.path().join(block.meta().ulid.to_string());
    gone.write(&path).unwrap();
    let (_, path) = down(
        &Block::open(&path).unwrap(),
        &dir.path().join("out"),
        RESOLUTION_5M_MS,
    );

    let found = chunks_of(&path);
    let counts = relative(&found.values().next().unwrap()[0].floats(0));
    assert_eq!(
        counts,
        [
            (5 * MINUTE - 1, 3.0),
            (15 * MINUTE - 1, 3.0),
            (20 * MINUTE - 1, 5.0)
        ]
    );
}

fn histograms(samples: &[(i64, f64, ResetHint)]) -> SeriesInput {
    let labels = Labels::from_pairs([("__name__", "m")]);
    SeriesInput {
        labels,
        histograms: samples
            .iter()
            .map(|(t, count, hint): &(i64, f64, ResetHint)| HistogramSample {
                t: START + t,
                st: 0,
                h: histogram(*count, *hint),
            })
            .collect(),
        ..SeriesInput::default()
    }
}

#[test]
fn histograms_have_counts_sums_and_counters_and_a_reset_begins_a_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let auto = ResetHint::Unknown;
    let mut input = histograms(&[
        (MINUTE, 10.0, auto),
        (2 * MINUTE, 12.0, auto),
        (6 * MINUTE, 35.0, auto), // more buckets
        (7 * MINUTE, 4.0, auto),  // a reset
        (8 * MINUTE, 5.0, auto),
    ]);

    let stale = FloatHistogram {
        sum: f64::from_bits(STALE_NAN),
        ..FloatHistogram::default()
    };

    input.histograms.push(HistogramSample {
        t: START + 9 * MINUTE,
        st: 0,
        h: AnyHistogram::Float(Arc::new(stale)),
    });

    let block = block_of(dir.path(), END, vec![input]);
    let (meta, path) = down(&block, &dir.path().join("out"), RESOLUTION_5M_MS);
    assert_eq!(
        (
            meta.stats.num_float_samples,
            meta.stats.num_histogram_samples
        ),
        (0, 3)
    );

    let found = chunks_of(&path);
    let [before, after] = &found.values().next().unwrap()[..] else {
        panic!("two chunks: {found:?}")
    };

    // The step before the reset stands at its last sample, as another one of the same window follows.
    let ends = [5 * MINUTE - 1, 6 * MINUTE];
    assert_eq!(
        relative(&before.floats(0)),
        [(ends[0], 2.0), (ends[1], 1.0)]
    );
    assert_eq!(relative(&after.floats(0)), [(10 * MINUTE - 1, 2.0)]);

    assert!(before.columns[2].is_none() && before.columns[3].is_none());
    let sums: Vec<_> = before
        .histograms(1)
        .iter()
        .map(|(t, h)| (t - START, h.count, h.sum))
        .collect();

    assert_eq!(sums, [(ends[0], 22.0, 44.0), (ends[1], 35.0, 70.0)]);
    let lasts: Vec<_> = before.histograms(4).iter().map(|(_, h)| h.count).collect();
    assert_eq!(
        (lasts, after.histograms(4)[0].1.count),
        (vec![12.0, 35.0], 5.0)
    );
    assert_eq!(
        before.histograms(1)[0].1.reset_hint,
        ResetHint::Gauge,
        "a sum may fall"
    );
}

#[test]
fn gauges_that_fall_and_custom_buckets_stay_in_one_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let gauge = ResetHint::Gauge;
    let gauges = histograms(&[
        (MINUTE, 10.0, gauge),
        (2 * MINUTE, 2.0, gauge),
        (6 * MINUTE, 1.0, gauge),
    ]);

    let mut custom = histograms(&[
        (MINUTE, 2.0, ResetHint::Unknown),
        (6 * MINUTE, 4.0, ResetHint::Unknown),
    ]);

    custom.labels = Labels::from_pairs([("__name__", "n")]);
    for sample in &mut custom.histograms {
        let mut h = FloatHistogram::clone(&sample.h.to_float());
        (h.schema, h.zero_threshold, h.custom_values) =
            (trireme_model::CUSTOM_BUCKETS_SCHEMA, 0.0, vec![1.0, 5.0]);
        sample.h = AnyHistogram::Float(Arc::new(h));
    }

    let block = block_of(dir.path(), END, vec![gauges, custom]);
    let (_, path) = down(&block, &dir.path().join("out"), RESOLUTION_5M_MS);
    let found: Vec<_> = chunks_of(&path).into_values().collect();

    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    let counts = |chunk: &Chunk| {
        chunk
            .histograms(4)
            .iter()
            .map(|(_, h)| h.count)
            .collect::<Vec<_>>()
    };

    assert_eq!(
        (counts(&found[0][0]), counts(&found[1][0])),
        (vec![2.0, 1.0], vec![2.0, 4.0])
    );
    assert_eq!(found[1][0].histograms(1)[0].1.custom_values, [1.0, 5.0]);
}

#[test]
fn floats_and_histograms_of_one_window_are_steps_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut input = histograms(&[(2 * MINUTE, 10.0, ResetHint::Unknown)]);
    let more = floats("m", &[(MINUTE, 1.0), (3 * MINUTE, 2.0), (4 * MINUTE, 3.0)]);

    (input.times, input.values) = (more.times, more.values);
    let block = block_of(dir.path(), END, vec![input]);
    let (_, path) = down(&block, &dir.path().join("out"), RESOLUTION_5M_MS);
    let found = chunks_of(&path).into_values().next().unwrap();
    let times: Vec<_> = found.iter().map(|chunk| chunk.times.1 - START).collect();

    assert_eq!(times, [MINUTE, 2 * MINUTE, 5 * MINUTE - 1]);
}

/// What is read of the only series.
fn read(path: &Path, aggregate: Aggregate, start: i64, end: i64) -> AggregateSamples {
    let block = Block::open(path).unwrap();
    let series = block.select(&[], i64::MIN, i64::MAX).unwrap().remove(0);
    let mut out = AggregateSamples::default();
    block
        .read_aggregate(&series, (start, end), aggregate, usize::MAX, &mut out)
        .unwrap();
    out
}

fn increase(samples: &[f64]) -> f64 {
    samples
        .windows(2)
        .map(|w| if w[1] < w[0] { w[1] } else { w[1] - w[0] })
        .sum()
}

/// Count, sum, min and max of a window.
type Window = (f64, f64, f64, f64);

/// Windows of the samples by their ends, computed directly.
fn windows(samples: &[(i64, f64)], resolution: i64) -> BTreeMap<i64, Window> {
    let mut all = BTreeMap::new();
    for (t, v) in samples.iter().filter(|(_, v)| !v.is_nan()) {
        let end = (START + t) / resolution * resolution + resolution - 1;
        let (n, sum, min, max) =
            all.entry(end)
                .or_insert((0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY));
        (*n, *sum, *min, *max) = (*n + 1.0, *sum + v, min.min(*v), max.max(*v));
    }

    all
}

fn samples() -> impl Strategy<Value = Vec<(i64, f64)>> {
    // Steps from a moment to a day, values with resets and some that are no number.
    let step = prop_oneof![8 => 1i64..120_000, 2 => 100_000i64..4_000_000, 1 => 1i64..86_400_000];
    let value = prop_oneof![12 => 0u32..1_000, 1 => Just(u32::MAX)];

    proptest::collection::vec((step, value, 0u32..9), 1..900).prop_map(|steps| {
        let mut t = 0;
        let mut total = 0.0;

        let mut out = Vec::new();
        for (step, value, dice) in steps {
            t += step;
            total = if dice == 0 {
                f64::from(value % 50)
            } else {
                total + f64::from(value % 1_000)
            };

            out.push((
                t,
                if value == u32::MAX {
                    f64::from_bits(STALE_NAN)
                } else {
                    total
                },
            ));
        }

        out
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn windows_hold_what_their_samples_say_at_both_levels(samples in samples()) {
        let dir = tempfile::tempdir().unwrap();
        let last = START + samples.last().unwrap().0;
        let end = (last / (2 * HOUR) + 1) * 2 * HOUR;
        let block = block_of(dir.path(), end, vec![floats("m", &samples)]);
        let numbers: Vec<f64> = samples.iter().map(|(_, v)| *v).filter(|v| !v.is_nan()).collect();
        prop_assume!(!numbers.is_empty());

        let (_, fine) = down(&block, &dir.path().join("5m"), RESOLUTION_5M_MS);
        let (_, direct) = down(&block, &dir.path().join("1h"), RESOLUTION_1H_MS);
        let (_, coarse) = down(&Block::open(&fine).unwrap(), &dir.path().join("2"), RESOLUTION_1H_MS);
        for (path, resolution) in [(&fine, RESOLUTION_5M_MS), (&direct, RESOLUTION_1H_MS), (&coarse, RESOLUTION_1H_MS)] {
            let want = windows(&samples, resolution);
            let all = |aggregate| read(path, aggregate, i64::MIN, i64::MAX);
            let column = |aggregate| {
                let found = all(aggregate).samples;
                found.times.into_iter().zip(found.values).collect::<Column>()
            };
            let expected = |f: fn(&Window) -> f64| want.iter().map(|(t, w)| (*t, f(w))).collect::<Column>();
            prop_assert_eq!(column(Aggregate::Sum), expected(|w| w.1));
            prop_assert_eq!(column(Aggregate::Min), expected(|w| w.2));
            prop_assert_eq!(column(Aggregate::Max), expected(|w| w.3));
            prop_assert_eq!(column(Aggregate::Average), expected(|w| w.1 / w.0));
            let counts: Column = all(Aggregate::Average).counts.iter().map(|c| (c.t, c.n)).collect();
            prop_assert_eq!(counts, expected(|w| w.0));

            let counter = all(Aggregate::Counter).samples;
            prop_assert!(counter.times.is_sorted_by(|a, b| a < b), "{:?}", counter.times);
            prop_assert_eq!(increase(&counter.values), increase(&numbers));
            prop_assert_eq!(counter.values.first(), numbers.first());
            prop_assert_eq!(counter.values.last(), numbers.last());
        }
    }
}
