//! What is written is what is read.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;

use support::{END, START, series, write};
use trireme_block::{
    Block, BlockError, ChunkEncodings, Interval, IterSource, Samples, SeriesInput, SeriesSource,
    Tombstones, WriteOptions, scan_blocks, verify_block, write_block,
};
use trireme_model::{AnyHistogram, MatchOp, Matcher};

fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
    Matcher::new(name, op, value).unwrap()
}

fn read_all(block: &Block) -> Vec<SeriesInput> {
    block
        .select(&[], i64::MIN, i64::MAX)
        .unwrap()
        .into_iter()
        .map(|s: trireme_block::BlockSeries| {
            let mut samples = Samples::default();
            block
                .read_series(&s, i64::MIN, i64::MAX, &mut samples)
                .unwrap();

            let Samples {
                times,
                values,
                starts,
                histograms,
            } = samples;

            SeriesInput {
                labels: s.labels,
                times,
                values,
                starts,
                histograms,
            }
        })
        .collect()
}

/// A series as (labels, floats, histograms).
type Essence = (String, Vec<(i64, u64)>, Vec<(i64, u64, u64)>);

/// Floats by bits; histograms by count and sum, since spans may be cut in other ways.
fn essence(series: &[SeriesInput]) -> Vec<Essence> {
    let one = |s: &SeriesInput| {
        let floats = s
            .times
            .iter()
            .zip(&s.values)
            .map(|(t, v)| (*t, v.to_bits()))
            .collect();
        (
            s.labels.to_string(),
            floats,
            s.histograms
                .iter()
                .map(|s: &trireme_model::HistogramSample| match &s.h {
                    AnyHistogram::Int(h) => (s.t, h.count, h.sum.to_bits()),
                    AnyHistogram::Float(h) => (s.t, h.count as u64, h.sum.to_bits()),
                })
                .collect(),
        )
    };
    series.iter().map(one).collect()
}

#[test]
fn series_come_back_from_several_chunk_files_and_verify_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let series = series(60, 1);
    let options = WriteOptions {
        segment_bytes_max: 20_000,
        ..WriteOptions::default()
    };
    let (meta, path) = write(dir.path(), &series, &options);
    let block = Block::open(&path).unwrap();
    assert!(block.chunks().segment_count() > 2);

    assert_eq!(essence(&read_all(&block)), essence(&series));
    assert_eq!(block.verify(), []);
    assert_eq!(meta.stats.num_series, 60);
    assert_eq!(
        meta.stats.num_samples,
        series.iter().map(|s| s.sample_count() as u64).sum::<u64>()
    );
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "no temporaries stay"
    );
}

#[test]
fn the_same_samples_give_the_same_bytes_and_name_wherever_they_are_written() {
    let a = tempfile::tempdir().unwrap();
    let b = tempfile::tempdir().unwrap();
    let series = series(20, 2);
    let (meta_a, path_a) = write(a.path(), &series, &WriteOptions::default());
    let (meta_b, path_b) = write(b.path(), &series, &WriteOptions::default());

    assert_eq!(meta_a, meta_b);
    assert_eq!(meta_a.ulid.timestamp_ms(), END as u64);

    for file in ["index", "chunks/000001", "meta.json"] {
        assert_eq!(
            fs::read(path_a.join(file)).unwrap(),
            fs::read(path_b.join(file)).unwrap(),
            "{file}"
        );
    }

    // Writing it once more changes nothing and is no error.
    assert_eq!(write(a.path(), &series, &WriteOptions::default()).0, meta_a);
    let mut other = series;

    other[0].values[0] += 1.0;
    assert_ne!(
        write(a.path(), &other, &WriteOptions::default()).0.ulid,
        meta_a.ulid
    );
}

/// The same series with start timestamps that change now and then; those of every third have none.
fn started(mut all: Vec<SeriesInput>) -> Vec<SeriesInput> {
    for (i, series) in all.iter_mut().enumerate().filter(|(i, _)| i % 3 > 0) {
        let start = |t: i64| (t - START) / 900_000 * 900_000 + i as i64;
        series.starts = series.times.iter().map(|t| start(*t)).collect();
        series.histograms.iter_mut().for_each(|h| h.st = start(h.t));
    }
    all
}

#[test]
fn start_timestamps_come_back_where_they_are_kept_and_other_chunks_stay_classic() {
    let series = started(series(60, 3));
    let encodings_of = |encodings: ChunkEncodings| {
        let dir = tempfile::tempdir().unwrap();
        let (_, path) = write(
            dir.path(),
            &series,
            &WriteOptions {
                encodings,
                ..WriteOptions::default()
            },
        );

        let block = Block::open(&path).unwrap();
        assert_eq!(block.verify(), []);
        let read = read_all(&block);

        assert_eq!(essence(&read), essence(&series));
        for (a, b) in series.iter().zip(&read) {
            let kept = encodings != ChunkEncodings::Classic;
            let want: Vec<i64> = if kept {
                a.starts.clone()
            } else {
                vec![0; a.times.len()]
            };

            let got = |at: usize| b.starts.get(at).copied().unwrap_or(0);
            assert!(
                want.iter().enumerate().all(|(at, start)| got(at) == *start),
                "{}",
                a.labels
            );

            let pairs = a.histograms.iter().zip(&b.histograms);
            assert!(
                pairs
                    .into_iter()
                    .all(|(a, b)| b.st == if kept { a.st } else { 0 }),
                "{}",
                a.labels
            );
        }

        let found = trireme_block::analyze(&block, 0).unwrap();
        found
            .encodings
            .keys()
            .map(|encoding| encoding.as_u8())
            .collect::<BTreeSet<u8>>()
    };

    assert_eq!(
        encodings_of(ChunkEncodings::Classic),
        BTreeSet::from([1, 2, 3])
    );
    assert_eq!(
        encodings_of(ChunkEncodings::Starts),
        BTreeSet::from([1, 2, 3, 4, 5, 6])
    );

    assert!(!encodings_of(ChunkEncodings::Xor2).contains(&1));
}

/// Gives each series in parts.
struct InParts(std::vec::IntoIter<(SeriesInput, bool)>, bool);

impl SeriesSource for InParts {
    fn next(&mut self, series: &mut SeriesInput) -> Result<bool, BlockError> {
        let Some((part, continues)) = self.0.next() else {
            return Ok(false);
        };
        (*series, self.1) = (part, continues);
        Ok(true)
    }

    fn continues(&self) -> bool {
        self.1
    }
}

#[test]
fn a_series_that_comes_in_parts_is_one_series() {
    let dir = tempfile::tempdir().unwrap();
    let series = series(30, 4);
    let middle = (START + END) / 2;

    let mut parts = Vec::new();
    for one in &series {
        assert!(one.starts.is_empty());
        let mut first = one.clone();
        let mut second = one.clone();
        let at = one.times.partition_point(|t| *t < middle);
        (second.times, second.values) = (first.times.split_off(at), first.values.split_off(at));
        let at = one.histograms.partition_point(|h| h.t < middle);
        second.histograms = first.histograms.split_off(at);
        parts.extend([(first, false), (second, true)]);
    }

    let put = |parts: Vec<(SeriesInput, bool)>| {
        let options = WriteOptions::default();
        write_block(
            dir.path(),
            START..END,
            &options,
            &mut InParts(parts.into_iter(), false),
        )
    };

    let meta = put(parts.clone()).unwrap().unwrap();
    let block = Block::open(&dir.path().join(meta.ulid.to_string())).unwrap();
    assert_eq!(block.verify(), []);
    assert_eq!(essence(&read_all(&block)), essence(&series));

    let chunks: usize = block
        .select(&[], i64::MIN, i64::MAX)
        .unwrap()
        .iter()
        .map(|one| one.chunks.len())
        .sum();

    assert_eq!(meta.stats.num_chunks, chunks as u64);

    let again = parts
        .iter()
        .position(|(part, continues)| *continues && part.sample_count() > 0)
        .unwrap();

    parts.insert(again, parts[again].clone());
    assert!(
        put(parts).is_err(),
        "a part that does not follow the one before it"
    );
}

#[test]
fn refuses_series_out_of_order_and_samples_outside_the_window() {
    let dir = tempfile::tempdir().unwrap();
    let put = |series: Vec<SeriesInput>| {
        write_block(
            dir.path(),
            START..END,
            &WriteOptions::default(),
            &mut IterSource(series.into_iter()),
        )
    };

    let good = series(4, 3);
    let mut swapped = good.clone();
    swapped.swap(0, 1);

    assert!(put(swapped).is_err());
    let mut twice = good.clone();
    twice[1] = twice[0].clone();

    assert!(put(twice).is_err());
    let mut late = good;
    let float = late.iter_mut().find(|s| !s.times.is_empty()).unwrap();

    float.times.push(END);
    float.values.push(1.0);
    assert!(put(late).is_err());
    assert!(put(Vec::new()).unwrap().is_none());

    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing stays behind an error"
    );
}

#[test]
fn a_histogram_wins_over_a_float_of_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = series(4, 4);
    let mixed = all.iter_mut().find(|s| !s.histograms.is_empty()).unwrap();
    let first = mixed.histograms[0].t;
    let second = mixed.histograms[1].t;

    mixed.times = vec![first, first + 1, second];
    mixed.values = vec![1.0, 2.0, 3.0];
    let (_, path) = write(dir.path(), &all, &WriteOptions::default());
    let block = Block::open(&path).unwrap();

    assert_eq!(block.verify(), []);
    let read = read_all(&block);
    let mixed = read
        .iter()
        .find(|s| !s.histograms.is_empty() && !s.times.is_empty())
        .unwrap();

    assert_eq!(
        (mixed.times.clone(), mixed.values.clone()),
        (vec![first + 1], vec![2.0])
    );
    assert_eq!(
        (mixed.histograms[0].t, mixed.histograms[1].t),
        (first, second)
    );
}

#[test]
fn select_agrees_with_trying_every_series() {
    let dir = tempfile::tempdir().unwrap();
    let series = series(200, 5);
    let (_, path) = write(dir.path(), &series, &WriteOptions::default());
    let block = Block::open(&path).unwrap();
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};

    let sets = [
        vec![matcher("__name__", Equal, "temperature")],
        vec![
            matcher("__name__", Equal, "größe"),
            matcher("zone", Equal, "zürich ☃"),
        ],
        vec![
            matcher("__name__", Equal, "temperature"),
            matcher("instance", Regex, "host-1.*"),
        ],
        vec![matcher("instance", Regex, "host-(1|2|3):9100")],
        vec![
            matcher("instance", Regex, ".+7:9100"),
            matcher("job", NotEqual, "node"),
        ],
        vec![matcher("zone", Equal, "")],
        vec![matcher("zone", NotEqual, "")],
        vec![matcher("zone", Regex, "|none")],
        vec![
            matcher("zone", NotRegex, ".+"),
            matcher("job", NotRegex, "a.*"),
        ],
        vec![matcher("job", Regex, ".*"), matcher("nope", Equal, "")],
        vec![matcher("nope", Regex, ".+")],
        vec![matcher("job", Equal, "api"), matcher("job", Equal, "node")],
        vec![
            matcher("instance", NotRegex, "host-1.*"),
            matcher("__name__", Regex, "t.*|l.*"),
        ],
    ];

    for matchers in sets {
        let want: Vec<String> = series
            .iter()
            .filter(|s| {
                matchers
                    .iter()
                    .all(|m| m.matches(s.labels.get(&m.name).unwrap_or("")))
            })
            .map(|s| s.labels.to_string())
            .collect();

        let got: Vec<String> = block
            .select(&matchers, START, END)
            .unwrap()
            .iter()
            .map(|s| s.labels.to_string())
            .collect();

        assert_eq!(got, want, "{matchers:?}");
        let values: BTreeSet<&str> = series
            .iter()
            .filter(|s| {
                matchers
                    .iter()
                    .all(|m| m.matches(s.labels.get(&m.name).unwrap_or("")))
            })
            .filter_map(|s| s.labels.get("instance"))
            .collect();

        assert_eq!(
            block
                .label_values("instance", &matchers, &|_| false)
                .unwrap(),
            values.into_iter().collect::<Vec<_>>()
        );
    }

    assert_eq!(
        block.label_names(&[]).unwrap(),
        ["__name__", "instance", "job", "zone"]
    );

    let api = [matcher("zone", Equal, "")];
    assert_eq!(
        block.label_names(&api).unwrap(),
        ["__name__", "instance", "job"]
    );

    assert!(block.select(&[], END, END + 1).unwrap().is_empty());
}

#[test]
fn a_read_keeps_to_its_time_range_and_to_tombstones() {
    let dir = tempfile::tempdir().unwrap();
    let series = series(8, 6);
    let (mut meta, path) = write(dir.path(), &series, &WriteOptions::default());
    let ids: Vec<u32> = Block::open(&path)
        .unwrap()
        .index()
        .all_postings()
        .unwrap()
        .iter()
        .collect();

    let middle = START + 3_600_000;
    let mut tombstones = Tombstones::default();
    tombstones.add(
        ids[0],
        Interval {
            first: middle,
            last: middle + 600_000,
        },
    );

    tombstones.write(&path).unwrap();
    meta.stats.num_tombstones = 1;
    meta.write(&path).unwrap();

    let block = Block::open(&path).unwrap();
    assert_eq!(block.verify(), []);
    let from = middle - 300_000;

    let to = middle + 900_000;
    for (i, found) in block.select(&[], from, to).unwrap().iter().enumerate() {
        let mut samples = Samples::default();
        block.read_series(found, from, to, &mut samples).unwrap();
        let kept = |t: &i64| {
            (from..=to).contains(t) && !(i == 0 && (middle..=middle + 600_000).contains(t))
        };
        let want: Vec<i64> = series[i].times.iter().copied().filter(kept).collect();

        assert_eq!(samples.times, want);
        let want: Vec<i64> = series[i]
            .histograms
            .iter()
            .map(|h| h.t)
            .filter(kept)
            .collect();

        assert_eq!(
            samples.histograms.iter().map(|h| h.t).collect::<Vec<_>>(),
            want
        );
    }
}

#[test]
fn a_read_goes_no_further_than_the_chunk_with_which_it_has_enough() {
    let dir = tempfile::tempdir().unwrap();
    let series = series(8, 6);
    let (_, path) = write(dir.path(), &series, &WriteOptions::default());

    let block = Block::open(&path).unwrap();
    for (found, whole) in block
        .select(&[], i64::MIN, i64::MAX)
        .unwrap()
        .iter()
        .zip(&series)
    {
        let read = |samples_max| {
            let mut samples = Samples::default();
            block
                .read_some(found, i64::MIN, i64::MAX, samples_max, &mut samples)
                .unwrap();
            samples.times.len() + samples.histograms.len()
        };

        let first = read(0);
        assert!(
            first > 0 && first < whole.sample_count(),
            "{}",
            found.labels
        );

        assert_eq!(read(first - 1), first);
        assert!(read(first) > first);
        assert_eq!(read(usize::MAX), whole.sample_count());
    }
}

#[test]
fn a_start_removes_temporaries_and_sets_bad_blocks_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (good, _) = write(dir.path(), &series(4, 7), &WriteOptions::default());
    let (bad, path) = write(dir.path(), &series(4, 8), &WriteOptions::default());

    fs::write(path.join("index"), b"no index").unwrap();
    fs::create_dir(dir.path().join("tmp-block-1-0")).unwrap();
    let scan = scan_blocks(dir.path()).unwrap();

    assert_eq!(
        scan.blocks
            .iter()
            .map(|b| b.meta().ulid)
            .collect::<Vec<_>>(),
        [good.ulid]
    );

    assert_eq!(scan.removed, ["tmp-block-1-0"]);
    assert_eq!(scan.quarantined[0].ulid, bad.ulid);
    assert!(dir.path().join(format!("quarantine-{}", bad.ulid)).is_dir());

    let again = scan_blocks(dir.path()).unwrap();
    assert_eq!((again.blocks.len(), again.quarantined.len()), (1, 0));
}

#[test]
fn a_damaged_block_of_the_same_name_is_set_aside_and_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let series = series(4, 12);
    let (meta, path) = write(dir.path(), &series, &WriteOptions::default());

    fs::remove_file(path.join("index")).unwrap();
    assert_eq!(write(dir.path(), &series, &WriteOptions::default()).0, meta);
    assert_eq!(verify_block(&path), []);

    assert!(
        dir.path()
            .join(format!("quarantine-{}", meta.ulid))
            .is_dir()
    );
}
