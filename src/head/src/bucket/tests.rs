//! A bucket against a map.

use std::collections::BTreeMap;

use proptest::prelude::*;
use trireme_base::{Boot, Incarnation, StreamId};

use super::*;

fn options(dir: &std::path::Path) -> ShardOptions {
    let own = StreamId { incarnation: Incarnation(1), boot: Boot(1) };
    let mut options = ShardOptions::new(0, 1, 100_000, dir.to_owned(), own);
    options.chunk_samples_max = 8;
    options
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn holds_what_a_map_with_the_rule_holds_whatever_the_order(
        samples in proptest::collection::vec((0i64..60, prop_oneof![Just(1.0), Just(f64::NAN), -3.0..3.0f64]), 1..200),
        start in -5i64..60, len in 0i64..70,
    ) {
        let dir = tempfile::tempdir().expect("temp dir");
        let options = options(dir.path());
        let mut files = ChunkFiles::open(dir.path()).expect("opens");
        let mut bucket = Bucket::new(BucketId { window: 0, cut: 0 }, 0);
        bucket.samples_max = 5;
        let mut model: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
        for (t, v) in samples {
            let seen = model.entry(t).or_default();
            let placed = bucket.insert(&mut files, &options, t, v);
            match placed {
                Placed::New => prop_assert!(seen.is_empty()),
                Placed::Duplicate => prop_assert!(seen.contains(&v.to_bits())),
                // A value that lost before is not remembered, so it may count as a conflict again.
                Placed::Conflict => prop_assert!(!seen.is_empty()),
            }
            seen.push(v.to_bits());
        }
        let newest = model.iter().next_back();
        let newest = newest.map(|(t, all)| (*t, all.iter().map(|b| f64::from_bits(*b)).reduce(prefer).expect("some")));
        if let Some((t, v)) = bucket.newest_at_hand(&options) {
            prop_assert_eq!(Some((t, v.to_bits())), newest.map(|(t, v)| (t, v.to_bits())));
        }
        let mut parts = Vec::new();
        bucket.parts(&files, &options, start, start + len, &mut parts).expect("there");
        let (mut times, mut values) = (vec![-100], vec![0.5]);
        merge(parts, start, start + len, &mut times, &mut values).expect("decodes");
        let want: Vec<(i64, u64)> = model.range(start..=start + len)
            .map(|(t, all)| (*t, all.iter().map(|b| f64::from_bits(*b)).reduce(prefer).expect("some").to_bits())).collect();
        let got: Vec<(i64, u64)> = times.iter().copied().zip(values.iter().map(|v| v.to_bits())).skip(1).collect();
        prop_assert_eq!(got, want);
    }
}
