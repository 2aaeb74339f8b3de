//! Choosing between replicas on made-up pairs.

use proptest::prelude::*;
use trireme_model::STALE_NAN;
use trireme_promql::promqltest::MemoryStorage;
use trireme_promql::{Engine, ParserOptions, QueryOptions, Sample, SampleValue, Value, parse};

use super::splice::splice;
use super::track::Track;
use super::*;

const STEP: i64 = 15_000;

fn columns(points: &[(i64, f64)]) -> Columns {
    let mut c = Columns::default();
    points.iter().for_each(|(t, v)| c.push_float(*t, *v));
    c
}

fn spliced(replicas: &[Vec<(i64, f64)>], counters: bool) -> Vec<(i64, f64)> {
    let all: Vec<Columns> = replicas.iter().map(|r| columns(r)).collect();
    let tracks: Vec<Track> = all.iter().map(Track::new).collect();
    let mut out = Columns::default();
    for (replica, at) in splice(&tracks, 0, 100 * STEP, counters) {
        tracks[replica].push(at, &all[replica], &mut out);
    }
    out.float_t.into_iter().zip(out.float_v).collect()
}

/// Samples k * 15 s + offset for the k in `present`.
fn scrapes(
    present: impl IntoIterator<Item = i64>,
    offset: i64,
    value: impl Fn(i64) -> f64,
) -> Vec<(i64, f64)> {
    present
        .into_iter()
        .map(|k| (k * STEP + offset, value(k * STEP + offset)))
        .collect()
}

#[test]
fn a_complete_replica_is_taken_alone() {
    let a = scrapes(0..=90, 0, |t| t as f64);
    let b = scrapes(0..=99, 5_000, |t| -(t as f64));
    assert_eq!(spliced(&[a, b.clone()], false), b);
}

#[test]
fn equals_are_decided_by_label_order() {
    let a = scrapes(0..=99, 0, |_| 1.0);
    let b = scrapes(0..=99, 5_000, |_| 2.0);
    assert_eq!(spliced(&[a.clone(), b], false), a);
}

#[test]
fn a_range_that_begins_elsewhere_chooses_no_other_replica() {
    let a = scrapes(0..=99, 5_000, |_| 1.0);
    let b = scrapes(0..=99, 0, |_| 2.0);
    // One sample less of either, as a range moves on.
    assert_eq!(spliced(&[a[1..].to_vec(), b.clone()], false), a[1..]);
    assert_eq!(spliced(&[a.clone(), b[1..].to_vec()], false), a);
    let clearly_fewer: Vec<_> = a.iter().copied().step_by(2).collect();
    assert_eq!(spliced(&[clearly_fewer, b.clone()], false), b);
}

#[test]
fn gaps_are_filled_inside_and_at_both_ends() {
    let a = scrapes((10..40).chain(60..90), 0, |_| 1.0);
    let b = scrapes((0..30).chain(50..100), 7_000, |_| 2.0);
    let out = spliced(&[a.clone(), b.clone()], false);

    // Neither has 40..50: the gap stays. Everything else is there, at about the scrape interval.
    let gaps: Vec<_> = out
        .windows(2)
        .filter(|w| w[1].0 - w[0].0 > 2 * STEP)
        .map(|w| (w[0].0, w[1].0))
        .collect();

    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!(out.windows(2).all(|w| w[1].0 - w[0].0 >= STEP / 2));
    assert!(out[0].0 < STEP && out.last().is_some_and(|p| p.0 > 98 * STEP));
}

#[test]
fn three_replicas_complete_each_other() {
    let a = scrapes(0..60, 0, |_| 1.0);
    let b = scrapes((0..20).chain(70..90), 3_000, |_| 2.0);
    let c = scrapes(60..70, 6_000, |_| 3.0);
    let out = spliced(&[a, b, c], false);
    assert!(out.windows(2).all(|w| w[1].0 - w[0].0 < 2 * STEP));
    assert!(
        [1.0, 2.0, 3.0]
            .iter()
            .all(|v| out.iter().any(|p| p.1 == *v))
    );
}

#[test]
fn a_stale_marker_goes_if_another_replica_saw_the_target_go_on() {
    let stale = f64::from_bits(STALE_NAN);
    let mut a = scrapes(0..60, 0, |_| 1.0);
    a.push((60 * STEP, stale));

    let goes_on = scrapes(30..80, 7_000, |_| 2.0);
    let out = spliced(&[a.clone(), goes_on], false);
    assert!(out.iter().all(|p| p.1.to_bits() != STALE_NAN));

    // The other replica saw it vanish too, and come back much later: the marker stays.
    let mut later = scrapes(30..60, 7_000, |_| 2.0);
    later.extend(scrapes(80..90, 7_000, |_| 2.0));

    let out = spliced(&[a, later], false);
    assert_eq!(out.iter().filter(|p| p.1.to_bits() == STALE_NAN).count(), 1);
}

#[test]
fn a_real_reset_in_a_gap_is_kept() {
    // The counter restarts at step 45; the first replica misses 40..50.
    let value = |t: i64| {
        if t < 45 * STEP {
            1_000.0 + t as f64
        } else {
            (t - 45 * STEP) as f64
        }
    };

    let a = scrapes((0..40).chain(50..100), 0, value);
    let b = scrapes(30..60, 7_000, value);
    let out = spliced(&[a, b], true);

    assert_eq!(out.windows(2).filter(|w| w[1].1 < w[0].1).count(), 1);
    assert!(
        out.windows(2).all(|w| w[1].0 - w[0].0 < 2 * STEP),
        "nothing of the fill was dropped"
    );
}

#[test]
fn the_labels_of_replicas_are_removed() {
    struct Two;
    struct One(Labels);
    impl SeriesRead for One {
        fn labels(&self) -> &Labels {
            &self.0
        }

        fn read_within(
            &self,
            _: i64,
            _: i64,
            samples_max: usize,
            out: &mut Columns,
        ) -> Result<(), SelectError> {
            out.push_float(1, 1.0);
            out.check_within(samples_max)
        }
    }

    impl Select for Two {
        fn select(&self, _: &SelectRequest, _: &Cancel) -> Result<SeriesSet, SelectError> {
            let one = |r| {
                Box::new(One(Labels::from_pairs([
                    ("__name__", "up"),
                    ("replica", r),
                ]))) as Box<dyn SeriesRead>
            };
            Ok(SeriesSet {
                series: vec![one("a"), one("b")],
                warnings: vec![],
            })
        }
    }

    let request = SelectRequest {
        matchers: vec![],
        start_ms: 0,
        end_ms: 9,
        hints: Default::default(),
    };

    let select = |labels: &[&str]| {
        let labels = labels.iter().map(|l| (*l).to_owned()).collect();
        let set = Dedup::new(Two, labels)
            .select(&request, &Cancel::never())
            .expect("works");
        set.series
            .iter()
            .map(|s| s.labels().to_string())
            .collect::<Vec<_>>()
    };

    assert_eq!(select(&["replica"]), ["up"]);
    assert_eq!(
        select(&["other"]),
        [r#"up{replica="a"}"#, r#"up{replica="b"}"#]
    );
    assert_eq!(select(&[]).len(), 2);
}

proptest! {
    /// Two servers scrape a counter that is never reset, each with its own offset, clock error and outages.
    #[test]
    fn no_reset_is_invented(
        seen_a in proptest::collection::vec(proptest::bool::weighted(0.8), 100),
        seen_b in proptest::collection::vec(proptest::bool::weighted(0.8), 100),
        offset in 0..STEP, error in -STEP..STEP,
    ) {
        let seen = |s: &[bool]| s.iter().enumerate().filter(|(_, s)| **s).map(|(k, _)| k as i64).collect::<Vec<_>>();
        let a = scrapes(seen(&seen_a), 0, |t| t as f64);
        let b = scrapes(seen(&seen_b), offset, |t| (t + error) as f64);
        let out = spliced(&[a, b], true);
        prop_assert!(out.windows(2).all(|w| w[0].0 < w[1].0), "times rise");
        prop_assert!(out.windows(2).all(|w| w[0].1 <= w[1].1), "values do not fall: {:?}", out);
    }

    /// Where a replica has samples, the answer has none missing for long.
    #[test]
    fn no_gap_is_invented(
        seen_a in proptest::collection::vec(proptest::bool::weighted(0.7), 100),
        seen_b in proptest::collection::vec(proptest::bool::weighted(0.7), 100),
        offset in 0..STEP,
    ) {
        let seen = |s: &[bool]| s.iter().enumerate().filter(|(_, s)| **s).map(|(k, _)| k as i64).collect::<Vec<_>>();
        let (a, b) = (scrapes(seen(&seen_a), 0, |_| 1.0), scrapes(seen(&seen_b), offset, |_| 2.0));
        prop_assume!(a.len() > 10 && b.len() > 10);
        let out = spliced(&[a.clone(), b.clone()], false);
        for (t, _) in a.iter().chain(&b) {
            // Up to one and a half intervals without a sample is a missed scrape, not a gap.
            let near = out.iter().any(|(o, _)| (o - t).abs() <= STEP + STEP / 2);
            prop_assert!(near, "nothing near {}", t);
        }
    }

    /// Two servers scrape a counter that grows unevenly and is reset now and then. Both see the first scrapes and the last.
    #[test]
    fn the_rate_lies_between_those_of_the_sources(
        growth in proptest::collection::vec(1..1_000u32, 101),
        resets in proptest::collection::btree_set(5..95usize, 0..3),
        seen_a in proptest::collection::vec(proptest::bool::weighted(0.85), 100),
        seen_b in proptest::collection::vec(proptest::bool::weighted(0.85), 100),
        offset in 0..STEP,
    ) {
        let mut at = vec![1e6];
        for (k, more) in growth.iter().enumerate() {
            let last = if resets.contains(&k) { 0.0 } else { at[k] };
            at.push(last + f64::from(*more));
        }
        // The counter between two steps, for a server that looks in between; resets happen at steps.
        let value = |t: i64| {
            let (k, part) = ((t / STEP) as usize, (t % STEP) as f64 / STEP as f64);
            let from = if resets.contains(&k) && part > 0.0 { 0.0 } else { at[k] };
            from + (at[k + 1] - if resets.contains(&k) { 0.0 } else { at[k] }) * part
        };
        let kept = |k: usize, seen: &[bool]| seen[k] || !(3..97).contains(&k);
        let seen = |s: &[bool]| (0..100).filter(|k| kept(*k, s)).map(|k| k as i64).collect::<Vec<_>>();
        let (a, b) = (scrapes(seen(&seen_a), 0, value), scrapes(seen(&seen_b), offset, value));
        let out = spliced(&[a.clone(), b.clone()], true);
        let [rate_a, rate_b, rate] = [&a, &b, &out].map(|points| rate_of(points));
        // What was counted between the last look at the counter and its reset is lost, to each source at another place.
        let lost = resets.len() as f64 * 4.0 * 1_000.0 / 1_500.0;
        let (low, high) = (rate_a.min(rate_b) * 0.95 - lost, rate_a.max(rate_b) * 1.05 + lost);
        prop_assert!((low..=high).contains(&rate), "{} of {} and {}", rate, rate_a, rate_b);
    }
}

/// `rate` over all hundred scrapes.
fn rate_of(points: &[(i64, f64)]) -> f64 {
    let mut storage = MemoryStorage::default();
    let labels = Labels::from_pairs([("__name__", "m")]);
    points
        .iter()
        .for_each(|(t, v)| storage.append_float(&labels, *t, *v));

    let text = "rate(m[1500s])";
    let options = QueryOptions::default();
    let expr = parse(text, &ParserOptions::default()).expect("an expression");
    let result = Engine::default().instant(
        &storage,
        &expr,
        text,
        1_500_000 - 1,
        &options,
        &Cancel::never(),
    );

    match result.expect("works").value {
        Value::Vector(found) => match found.as_slice() {
            [
                Sample {
                    value: SampleValue::Float(rate),
                    ..
                },
            ] => *rate,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}
