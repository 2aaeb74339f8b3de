//! Groups of replicas that hold different series, in one process.

use super::*;

const LOST: &str = "no replica of group g1 can be asked: what it has that is not in the bucket is missing from this answer";
const UNSURE: &str = "no replica of group g1 is known to have all acknowledged samples: some may be missing from this answer";

/// What of `values` stays in the part that `keeps` says: series by number, and steps.
fn part(values: &[Vec<Option<i32>>], keeps: impl Fn(usize, usize) -> bool) -> MemoryStorage {
    storage(
        &values
            .iter()
            .enumerate()
            .map(|(i, row): (usize, &Vec<Option<i32>>)| {
                row.iter()
                    .enumerate()
                    .map(|(t, v)| v.filter(|_| keeps(i, t)))
                    .collect()
            })
            .collect::<Vec<_>>(),
    )
}

/// Two groups. Every other series is in the second one; every third moved there at the fifth step, which both have.
fn moved(values: &[Vec<Option<i32>>]) -> (Group, Group, ClusterQueries) {
    let g0 = Group::named(
        "a",
        3,
        part(values, |i, t| {
            i % 3 == 0 && t <= 5 || i % 3 != 0 && i % 2 == 0
        }),
    );

    let g1 = Group::named(
        "b",
        3,
        part(values, |i, t| {
            i % 3 == 0 && t >= 5 || i % 3 != 0 && i % 2 == 1
        }),
    );

    g0.meet("g1", &g1, true);
    let across = ClusterQueries::new(Arc::clone(g0.of_group(0)));
    (g0, g1, across)
}

fn selection() -> Selection {
    let matchers =
        trireme_promql::parse_selector("m", &ParserOptions::default()).expect("a selector");
    Selection {
        matchers: vec![matchers],
        start_ms: 0,
        end_ms: 600_000,
        limit: 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn groups_together_answer_what_one_would(
        values in proptest::collection::vec(proptest::collection::vec(proptest::option::of(-50..50i32), 11), 0..10)
    ) {
        let whole = Group::of(1, storage(&values));
        let (_g0, _g1, across) = moved(&values);
        for query in QUERIES.iter().chain(&["m", "count_over_time(m[10m])"]) {
            let (a, b) = (whole.undivided().range(&context(), &range(query)), across.range(&context(), &range(query)));
            prop_assert!(same(a.as_ref().expect("works"), b.as_ref().expect("works")), "{query}: {a:?}\n{b:?}");
            let (a, b) = (whole.undivided().instant(&context(), &instant(query)), across.instant(&context(), &instant(query)));
            prop_assert!(same(a.as_ref().expect("works"), b.as_ref().expect("works")), "{query}: {a:?}\n{b:?}");
        }
    }
}

#[test]
fn costs_are_estimated_over_all_groups() {
    let values = some_values();
    let whole = Group::of(1, storage(&values));
    let (_g0, _g1, across) = moved(&values);
    let RangeQuery {
        expr,
        start_ms,
        end_ms,
        step_ms,
        lookback,
    } = range("sum(m)");

    let costed = trireme_query::Costed {
        expr,
        start_ms,
        end_ms,
        step_ms,
        lookback,
    };

    let of = |queries: &dyn Queries| {
        trireme_query::estimate_cost(queries, &context(), &ParserOptions::default(), &costed)
            .expect("works")
    };
    let together = of(&across);
    let alone = of(whole.undivided());

    assert_eq!(
        (together.series, together.samples_read),
        (alone.series, alone.samples_read)
    );
    assert_eq!((together.series, together.samples_read), (12, 12 * 11));
}

#[test]
fn lists_are_those_of_all_groups() {
    let values = some_values();
    let whole = Group::of(1, storage(&values));
    let (_g0, _g1, across) = moved(&values);
    let context = context();
    let selection = selection();
    let want = whole.undivided();

    assert_eq!(
        across.series(&context, &selection).expect("works"),
        want.series(&context, &selection).expect("works")
    );
    assert_eq!(
        across
            .label_values(&context, "b", &selection)
            .expect("works"),
        want.label_values(&context, "b", &selection).expect("works")
    );

    assert_eq!(
        across
            .label_names(&context, &selection)
            .expect("works")
            .items,
        ["__name__", "a", "b"]
    );

    let local = QueryContext {
        local_only: true,
        ..context
    };
    assert!(
        across
            .series(&local, &selection)
            .expect("works")
            .items
            .len()
            < values.len()
    );
}

#[test]
fn samples_of_other_groups_take_room_of_the_node_until_the_query_ends() {
    let (g0, _g1, across) = moved(&some_values());
    let context = context();
    let room = g0.of_group(0).engine.room();

    across.range(&context, &range("sum(m)")).expect("works");
    let of_one = room.taken();
    across.range(&context, &range("max(m)")).expect("works");

    assert!(
        of_one > 0 && room.taken() == 2 * of_one,
        "{of_one} samples, then {}",
        room.taken()
    );

    drop(context);
    assert_eq!(room.taken(), 0);
}

#[test]
fn a_complete_member_answers_for_its_group_alone() {
    let (_g0, g1, across) = moved(&some_values());
    let want = across.range(&context(), &range("sum(m)")).expect("works");
    assert_eq!(g1.served(), [1, 0, 0]);

    for fault in [
        Fault::Broken,
        Fault::Lagging,
        Fault::Nonsense,
        Fault::Rebuilt,
    ] {
        g1.fail(0, fault);
        let got = across.range(&context(), &range("sum(m)")).expect("works");
        assert!(same(&want, &got), "{fault:?}: {got:?}");
    }
}

#[test]
fn a_group_without_a_complete_member_leaves_a_warning_or_an_error() {
    let (_g0, g1, across) = moved(&some_values());
    let strict = QueryContext {
        partial_response: false,
        ..context()
    };

    let want = across.range(&context(), &range("sum(m)")).expect("works");
    for (fault, warning) in [(Fault::Lagging, UNSURE), (Fault::Broken, LOST)] {
        (0..3).for_each(|i| g1.fail(i, fault));
        let got = across.range(&context(), &range("sum(m)")).expect("works");
        assert_eq!(
            (got.warnings, got.value == want.value),
            (vec![warning.to_owned()], fault == Fault::Lagging)
        );

        let found = across.series(&context(), &selection()).expect("works");
        assert_eq!(found.warnings, [warning]);
        let error = across
            .range(&strict, &range("sum(m)"))
            .expect_err("must be whole");

        assert_eq!(
            (error.kind(), error.to_string().contains("g1")),
            (ErrorKind::Unavailable, true)
        );
    }
}

#[test]
fn a_group_that_is_forming_may_be_silent_and_is_heard_if_it_has_something() {
    let g0 = Group::named("a", 3, storage(&some_values()));
    let g1 = Group::named("b", 2, storage(&some_values()));
    g0.meet("g1", &g1, false);

    let across = ClusterQueries::new(Arc::clone(g0.of_group(0)));
    let want = g0
        .undivided()
        .range(&context(), &range("sum(m)"))
        .expect("works");
    assert!(same(
        &want,
        &across.range(&context(), &range("sum(m)")).expect("works")
    ));

    assert_eq!(g1.served(), [1, 1], "none of them is complete by itself");
    (0..2).for_each(|i| g1.fail(i, Fault::Broken));
    assert!(same(
        &want,
        &across.range(&context(), &range("sum(m)")).expect("works")
    ));
}

#[test]
fn replicas_of_ha_pairs_in_different_groups_become_one() {
    let series = |replica: &str, values: &[(i64, f64)]| {
        let mut storage = MemoryStorage::default();
        let labels = Labels::from_pairs([("__name__", "m"), ("replica", replica)]);
        values
            .iter()
            .for_each(|(t, v)| storage.append_float(&labels, t * 60_000, *v));
        storage
    };

    let g0 = Group::named("a", 1, series("a", &[(1, 1.0), (2, 2.0), (3, 3.0)]));
    let g1 = Group::named("b", 1, series("b", &[(1, 10.0), (3, 30.0)]));
    g0.meet("g1", &g1, true);

    let across = ClusterQueries::new(Arc::clone(g0.of_group(0)));
    let context = QueryContext {
        replica_labels: vec!["replica".to_owned()],
        ..context()
    };
    let got = across.instant(&context, &instant("m[10m]")).expect("works");
    let Value::Matrix(series) = got.value else {
        panic!("{got:?}")
    };

    assert_eq!(series.len(), 1);
    assert_eq!(
        series[0].floats,
        [(60_000, 1.0), (120_000, 2.0), (180_000, 3.0)]
    );
}
