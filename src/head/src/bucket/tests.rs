//! A bucket against a map.

use std::collections::BTreeMap;

use proptest::prelude::*;
use trireme_base::{Boot, Incarnation, StreamId};

use super::*;

fn options(dir: &std::path::Path) -> ShardOptions {
    let own = StreamId {
        incarnation: Incarnation(1),
        boot: Boot(1),
    };
    let mut options = ShardOptions::new(0, 1, 100_000, dir.to_owned(), own);
    options.chunk_samples_max = 8;
    options
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn holds_what_a_map_with_the_rule_holds_whatever_the_order(
        samples in proptest::collection::vec(
            (0i64..60, prop_oneof![Just(1.0), Just(f64::NAN), -3.0..3.0f64], 0i64..3), 1..200,
        ),
        with_starts: bool,
        start in -5i64..60, len in 0i64..70,
    ) {
        let dir = tempfile::tempdir().expect("temp dir");
        let options = options(dir.path());
        let mut files = ChunkFiles::open(dir.path()).expect("opens");
        let mut bucket = Bucket::new(BucketId { window: 0, cut: 0 }, 0);
        bucket.samples_max = 5;
        let mut model: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
        let mut started: BTreeMap<i64, (f64, i64)> = BTreeMap::new();
        for (t, v, sample_start) in samples {
            let sample_start = if with_starts { sample_start } else { 0 };
            started.entry(t).and_modify(|old| *old = prefer_sample(*old, (v, sample_start))).or_insert((v, sample_start));
            let seen = model.entry(t).or_default();
            let placed = bucket.insert(&mut files, &options, t, v, sample_start);
            match placed {
                Placed::New => prop_assert!(seen.is_empty()),
                // What is in closed chunks is not looked at.
                Placed::Unchecked => prop_assert!(!bucket.closed.is_empty()),
                Placed::Duplicate => prop_assert!(seen.contains(&v.to_bits())),
                // A value that lost before is not remembered, so it may count as a conflict again.
                Placed::Conflict => prop_assert!(!seen.is_empty()),
            }
            seen.push(v.to_bits());
        }
        let newest = model.iter().next_back();
        let newest = newest.map(|(t, all)| (*t, all.iter().map(|b| f64::from_bits(*b)).reduce(prefer).expect("some")));
        if let Some((t, v, sample_start)) = bucket.newest_at_hand(&options) {
            prop_assert_eq!(sample_start, started[&t].1);
            prop_assert_eq!(Some((t, v.to_bits())), newest.map(|(t, v)| (t, v.to_bits())));
        }
        let mut parts = Vec::new();
        bucket.parts(&files, &options, start, start + len, &mut parts);
        let (mut times, mut values) = (vec![-100], vec![0.5]);
        let mut starts = Vec::new();
        let mut floats = Floats { times: &mut times, values: &mut values, starts: &mut starts };
        merge(parts, start, start + len, &mut floats).expect("decodes");
        let want: Vec<(i64, u64)> = model.range(start..=start + len)
            .map(|(t, all)| (*t, all.iter().map(|b| f64::from_bits(*b)).reduce(prefer).expect("some").to_bits())).collect();
        let got: Vec<(i64, u64)> = times.iter().copied().zip(values.iter().map(|v| v.to_bits())).skip(1).collect();
        prop_assert_eq!(got, want);
        let want: Vec<i64> = started.range(start..=start + len).map(|(_, (_, sample_start))| *sample_start).collect();
        prop_assert!(with_starts || starts.is_empty());
        starts.resize(times.len(), 0);
        prop_assert_eq!(&starts[1..], want);
    }
}

#[test]
fn a_repeated_sample_is_seen_while_it_is_at_hand() {
    let dir = tempfile::tempdir().expect("temp dir");
    let options = options(dir.path());
    let mut files = ChunkFiles::open(dir.path()).expect("opens");
    let mut bucket = Bucket::new(BucketId { window: 0, cut: 0 }, 0);

    bucket.samples_max = 5;

    let mut put = |t: i64, v: f64| bucket.insert(&mut files, &options, t, v, 0);
    for t in 1..6 {
        assert_eq!(
            (put(t, 1.0), put(t, 1.0)),
            (Placed::New, Placed::Duplicate),
            "{t}"
        );
    }

    // The chunk is closed now, and only its last sample is at hand.
    assert_eq!(
        (put(5, 1.0), put(5, 0.5)),
        (Placed::Duplicate, Placed::Conflict)
    );
    assert_eq!((put(6, 1.0), put(6, 1.0)), (Placed::New, Placed::Duplicate));
    assert_eq!(put(2, 1.0), Placed::Unchecked);
    assert_eq!(
        (put(2, 1.0), put(2, 2.0)),
        (Placed::Duplicate, Placed::Conflict)
    );
    assert_eq!(bucket.late.as_ref().map(|late| late.len()), Some(1));
}
