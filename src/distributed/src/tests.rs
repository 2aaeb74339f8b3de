//! Three replicas in one process.

mod cluster;
mod group;
mod scripts;

use futures::executor::block_on;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use trireme_base::ErrorKind;
use trireme_model::Labels;
use trireme_promql::promqltest::MemoryStorage;
use trireme_promql::{Cancel, QueryResult, SampleValue, Value};

use super::*;
use group::{Fault, Group, context};

const QUERIES: [&str; 14] = [
    "sum(m)",
    "sum by (a) (rate(m[5m]))",
    "avg by (a) (m)",
    "count by (b) (m > 3)",
    "min without (b) (m)",
    "max(m * 2 + 1)",
    "group by (a) (m)",
    "topk by (a) (2, m)",
    "bottomk(3, -m)",
    "limitk by (b) (2, m)",
    "sum(m) / count(m)",
    "sum by (a) (m) + on (a) group_right max by (a, b) (m)",
    "max_over_time(sum(m)[5m:1m])",
    "topk(1, sum by (a) (max_over_time(m[10m])))",
];

fn storage(values: &[Vec<Option<i32>>]) -> MemoryStorage {
    let mut storage = MemoryStorage::default();
    for (i, series) in values.iter().enumerate() {
        let a = format!("a{}", i % 3);
        let b = format!("b{i}");
        let labels = Labels::from_pairs([("__name__", "m"), ("a", a.as_str()), ("b", b.as_str())]);
        for (t, v) in series.iter().enumerate() {
            if let Some(v) = v {
                storage.append_float(&labels, t as i64 * 60_000, f64::from(*v) / 7.0);
            }
        }
    }

    storage
}

/// True if the values are equal but for the last bits of floats.
fn same(a: &QueryResult, b: &QueryResult) -> bool {
    let close = |x: f64, y: f64| {
        x.to_bits() == y.to_bits() || (x - y).abs() <= 1e-12 * x.abs().max(y.abs()).max(1e-3)
    };
    (match (&a.value, &b.value) {
        (Value::Vector(a), Value::Vector(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| {
                    let values = match (&a.value, &b.value) {
                        (SampleValue::Float(x), SampleValue::Float(y)) => close(*x, *y),
                        (x, y) => x == y,
                    };
                    a.labels == b.labels && values
                })
        }
        (Value::Matrix(a), Value::Matrix(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| {
                    let points = a
                        .floats
                        .iter()
                        .zip(&b.floats)
                        .all(|(x, y)| x.0 == y.0 && close(x.1, y.1));
                    a.labels == b.labels
                        && a.floats.len() == b.floats.len()
                        && points
                        && a.histograms == b.histograms
                })
        }
        (a, b) => a == b,
    }) && (&a.warnings, &a.infos) == (&b.warnings, &b.infos)
}

fn range(expr: &str) -> RangeQuery {
    RangeQuery {
        expr: expr.to_owned(),
        start_ms: 0,
        end_ms: 600_000,
        step_ms: 60_000,
        lookback: None,
    }
}

fn instant(expr: &str) -> InstantQuery {
    InstantQuery {
        expr: expr.to_owned(),
        time_ms: 600_000,
        lookback: None,
    }
}

fn some_values() -> Vec<Vec<Option<i32>>> {
    (0..12)
        .map(|i| {
            (0..11)
                .map(|t| ((i + t) % 5 != 0).then_some(i * 10 + t))
                .collect()
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_divided_query_has_the_result_of_an_undivided_one(
        values in proptest::collection::vec(proptest::collection::vec(proptest::option::of(-50..50i32), 11), 0..10)
    ) {
        let group = Group::of(3, storage(&values));
        for query in QUERIES {
            let (local, of_group) = (group.undivided(), group.of_group(0));
            let (a, b) = (local.range(&context(), &range(query)), of_group.range(&context(), &range(query)));
            prop_assert!(same(a.as_ref().expect("works"), b.as_ref().expect("works")), "{query}: {a:?}\n{b:?}");
            let (a, b) = (local.instant(&context(), &instant(query)), of_group.instant(&context(), &instant(query)));
            prop_assert!(same(a.as_ref().expect("works"), b.as_ref().expect("works")), "{query}: {a:?}\n{b:?}");
        }
    }
}

#[test]
fn every_replica_evaluates_a_shard() {
    let group = Group::of(3, storage(&some_values()));
    group
        .of_group(0)
        .range(&context(), &range("sum(m)"))
        .expect("works");
    assert_eq!(group.served(), [0, 1, 1]);
    group
        .of_group(1)
        .range(&context(), &range("quantile(0.5, m)"))
        .expect("works");
    assert_eq!(group.served(), [0, 1, 1], "not a query that can be divided");
}

#[test]
fn limits_of_cost_hold_for_all_shards_together() {
    let group = Group::of(3, storage(&some_values()));
    let limited = |series_max, samples_read_max| {
        let cost_limits = trireme_query::CostLimits {
            series_max,
            samples_read_max,
        };
        let limited = QueryContext {
            cost_limits,
            ..context()
        };
        group.of_group(0).range(&limited, &range("sum(m)"))
    };

    let stats = limited(0, 0).expect("no limit").stats;
    assert_eq!(stats.series, 12);
    let undivided = group
        .undivided()
        .range(&context(), &range("sum(m)"))
        .expect("works")
        .stats;

    assert!(
        stats.peak_samples > undivided.peak_samples,
        "{stats:?} in shards, {undivided:?} in one"
    );

    assert_eq!(
        limited(12, stats.samples_read)
            .expect("just enough")
            .stats
            .samples_read,
        stats.samples_read
    );

    let too_many_series = || limited(11, 0).expect_err("too much").reached_limit();
    assert_eq!(too_many_series(), Some("max_series"));
    let too_much = limited(0, stats.samples_read - 1).expect_err("too much");

    assert_eq!(too_much.reached_limit(), Some("max_samples_read"));
    // Another replica evaluates it all.
    group.fail(0, Fault::Lagging);
    assert_eq!(too_many_series(), Some("max_series"));
    limited(12, 0).expect("just enough");
}

#[test]
fn steps_are_told_apart_over_all_shards() {
    let group = Group::of(3, storage(&some_values()));
    let by_step = QueryContext {
        per_step_stats: true,
        ..context()
    };
    let stats = |member: usize| {
        group
            .of_group(member)
            .range(&by_step, &range("sum(rate(m[2m]))"))
            .expect("works")
            .stats
            .by_step
    };

    let want = group
        .undivided()
        .range(&by_step, &range("sum(rate(m[2m]))"))
        .expect("works")
        .stats
        .by_step;

    assert_eq!((want.len(), stats(0)), (11, want.clone()));
    assert_eq!(group.served(), [0, 1, 1]);
    group.fail(1, Fault::Lagging);
    assert_eq!(stats(1), want, "another replica's");
}

#[test]
fn costs_are_estimated_over_the_series_of_all_replicas() {
    let group = Group::of(3, storage(&some_values()));
    let RangeQuery {
        expr,
        start_ms,
        end_ms,
        step_ms,
        lookback,
    } = range("sum(m) + on () max(m)");

    let costed = trireme_query::Costed {
        expr,
        start_ms,
        end_ms,
        step_ms,
        lookback,
    };

    let of = |member: usize| {
        let of_group = group.of_group(member).as_ref();
        trireme_query::estimate_cost(of_group, &context(), &ParserOptions::default(), &costed)
            .expect("works")
    };
    let complete = of(0);

    assert_eq!((complete.series, complete.samples_read), (24, 24 * 11));
    group.fail(1, Fault::Lagging);
    assert_eq!((of(1).series, of(1).samples_read), (24, 24 * 11));
}

#[test]
fn a_cheap_query_is_divided_once_and_remembered() {
    let group = Group::with_mode(3, storage(&some_values()), DistributeMode::Auto);
    for _ in 0..3 {
        group
            .of_group(0)
            .range(&context(), &range("sum(m)"))
            .expect("works");
    }

    assert_eq!(group.served(), [0, 1, 1]);
}

#[test]
fn shards_of_replicas_that_fail_lag_or_talk_nonsense_are_evaluated_here() {
    let group = Group::of(3, storage(&some_values()));
    let want = group
        .undivided()
        .range(&context(), &range("sum by (a) (m)"))
        .expect("works");

    for fault in [Fault::Broken, Fault::Lagging, Fault::Nonsense] {
        group.fail(1, fault);
        let got = group
            .of_group(0)
            .range(&context(), &range("sum by (a) (m)"))
            .expect("works");
        assert!(same(&want, &got), "{fault:?}: {got:?}");
    }

    group.fail(2, Fault::Broken);
    group.fail(1, Fault::Lagging);
    let got = group
        .of_group(0)
        .range(&context(), &range("sum by (a) (m)"))
        .expect("works");
    assert!(same(&want, &got));
}

#[test]
fn a_replica_that_lags_lets_another_one_answer() {
    let group = Group::of(3, storage(&some_values()));
    group.fail(0, Fault::Lagging);

    for query in ["sum(m)", "m", "1 + 1", "quantile(0.5, m)"] {
        let want = group
            .undivided()
            .instant(&context(), &instant(query))
            .expect("works");
        let got = group
            .of_group(0)
            .instant(&context(), &instant(query))
            .expect("works");
        assert!(same(&want, &got), "{query}: {got:?}");
    }
}

#[test]
fn what_cannot_be_evaluated_is_tried_once_and_replicas_take_turns() {
    let group = Group::of(3, storage(&some_values()));
    group.fail(0, Fault::Lagging);
    let many = "m + on() group_left m";
    let want = group
        .undivided()
        .instant(&context(), &instant(many))
        .expect_err("many on both sides");
    assert!(want.is_execution(), "{want:?}");

    let got = group
        .of_group(0)
        .instant(&context(), &instant(many))
        .expect_err("many on both sides");

    assert_eq!(
        (got.to_string(), got.is_execution()),
        (want.to_string(), true)
    );
    assert_eq!(
        group.served().iter().sum::<usize>(),
        1,
        "by one replica, and not over the union of all"
    );

    for _ in 0..3 {
        group
            .of_group(0)
            .instant(&context(), &instant("m"))
            .expect("works");
    }

    assert_eq!(group.served()[1..], [2, 2]);
}

/// A query that may read so many series.
fn with_series_max(series_max: u64) -> QueryContext {
    QueryContext {
        cost_limits: trireme_query::CostLimits {
            series_max,
            samples_read_max: 0,
        },
        ..context()
    }
}

#[test]
fn a_divided_query_that_fails_for_good_is_not_evaluated_again() {
    let group = Group::of(3, storage(&some_values()));
    for series_max in 1..12 {
        let limited = with_series_max(series_max);
        let error = group
            .of_group(0)
            .range(&limited, &range("sum(m)"))
            .expect_err("too many series");

        assert_eq!(error.reached_limit(), Some("max_series"), "of {series_max}");
        let error = group
            .of_group(0)
            .range(&limited, &range("topk(1, m)"))
            .expect_err("too many series");

        assert_eq!(error.reached_limit(), Some("max_series"), "of {series_max}");
    }

    let error = group
        .of_group(0)
        .instant(&context(), &instant("topk(NaN, m)"))
        .expect_err("not a number");
    assert!(error.is_execution(), "{error}");

    let error = group.of_group(0).range(
        &context(),
        &range("sum(m) + on () group_left m / on () group_left m"),
    );
    assert!(error.expect_err("many on both sides").is_execution());

    assert_eq!(group.evaluated(), [0, 0, 0]);

    // A replica that lags asks one other, and not each.
    group.fail(0, Fault::Lagging);
    let limited = with_series_max(11);
    let error = group
        .of_group(0)
        .range(&limited, &range("quantile(0.5, m)"))
        .expect_err("too many series");

    assert_eq!(error.reached_limit(), Some("max_series"));
    assert_eq!(group.evaluated().iter().sum::<usize>(), 1);
}

#[test]
fn a_bound_of_samples_of_the_tenant_goes_with_its_queries() {
    let group = Group::of(3, storage(&some_values()));
    let bounded = QueryContext {
        samples_max: 5,
        ..context()
    };

    for lagging in [false, true] {
        if lagging {
            group.fail(0, Fault::Lagging);
        }
        for query in ["sum by (b) (m)", "m"] {
            let error = group
                .of_group(0)
                .range(&bounded, &range(query))
                .expect_err("too many samples");
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{query}: {error}");
            group
                .of_group(0)
                .range(&context(), &range(query))
                .expect("no bound of its own");
        }
    }
}

#[test]
fn a_query_whose_time_is_over_is_not_evaluated_again() {
    let group = Group::of(3, storage(&some_values()));
    let clock: std::sync::Arc<dyn Clock> = std::sync::Arc::new(trireme_base::SystemClock::new());
    let late = || QueryContext {
        cancel: Cancel::new(clock.clone()).with_timeout(Duration::ZERO),
        ..context()
    };
    let error = group
        .of_group(0)
        .range(&late(), &range("sum(m)"))
        .expect_err("late");

    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(group.evaluated(), [0, 0, 0]);
}

#[test]
fn shards_and_results_that_are_too_large_to_be_sent_are_evaluated_here() {
    let group = Group::of_short_answers(3, storage(&some_values()), 200);
    for query in ["sum by (b) (m)", "avg by (b) (m)", "topk by (b) (1, m)"] {
        let want = group
            .undivided()
            .range(&context(), &range(query))
            .expect("works");
        let got = group
            .of_group(0)
            .range(&context(), &range(query))
            .expect("works");
        assert!(same(&want, &got), "{query}: {got:?}");
    }

    assert_eq!(group.served(), [0, 3, 3]);

    // The second would have as much to say as the first.
    group.fail(0, Fault::Lagging);
    let before = group.evaluated().iter().sum::<usize>();
    let want = group
        .undivided()
        .range(&context(), &range("m"))
        .expect("works");
    let got = group
        .of_group(0)
        .range(&context(), &range("m"))
        .expect("works");

    assert_eq!(
        (got.value, got.warnings),
        (want.value, vec![INCOMPLETE.to_owned()])
    );
    assert_eq!(
        group.evaluated().iter().sum::<usize>(),
        before + 2,
        "one peer's and the one to compare with"
    );
}

/// Counts what is read of a storage.
struct Counted<'a>(&'a dyn Select, std::sync::Arc<AtomicUsize>);

struct CountedSeries(
    Box<dyn trireme_promql::SeriesRead>,
    std::sync::Arc<AtomicUsize>,
);

impl Select for Counted<'_> {
    fn select(&self, request: &SelectRequest, cancel: &Cancel) -> Result<SeriesSet, SelectError> {
        let mut set = self.0.select(request, cancel)?;
        set.series = set
            .series
            .into_iter()
            .map(|series| Box::new(CountedSeries(series, self.1.clone())) as Box<_>)
            .collect();
        Ok(set)
    }
}

impl trireme_promql::SeriesRead for CountedSeries {
    fn labels(&self) -> &Labels {
        self.0.labels()
    }

    fn read_within(
        &self,
        start_ms: i64,
        end_ms: i64,
        samples_max: usize,
        out: &mut trireme_promql::Columns,
    ) -> Result<(), SelectError> {
        self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.read_within(start_ms, end_ms, samples_max, out)
    }
}

#[test]
fn a_shard_that_becomes_too_large_is_evaluated_no_further() {
    let storage = storage(&some_values());
    for (query, whole) in [
        ("sum by (b) (m)", 12 * 11 * 17),
        ("avg by (b) (m)", 12 * 11 * 25),
    ] {
        let expr = parse(query, &ParserOptions::default()).expect("parses");
        let partials = |bytes_max| {
            let counted = Counted(&storage, std::sync::Arc::default());
            let options = QueryOptions {
                partial_bytes_max: Some(bytes_max),
                ..QueryOptions::default()
            };
            let span = (0, 600_000);
            let nodes = plan::distributable(&expr);
            let engine = Engine::new(trireme_promql::EngineOptions::default());
            let found = engine.partials(
                &counted,
                &expr,
                span,
                60_000,
                &nodes,
                &options,
                &Cancel::never(),
            );

            (
                found.map(|part| codec::partials_out(&part)),
                counted.1.load(std::sync::atomic::Ordering::Relaxed),
            )
        };

        let (found, read) = partials(usize::MAX);
        let bytes = found.expect("no bound").encoded_len();
        assert!(
            bytes > whole && read == 12,
            "{query}: {bytes} bytes, {read} read"
        );
        assert!(partials(bytes).0.is_ok(), "{query}");

        let (found, read) = partials(bytes / 4);
        assert_eq!(
            found.err(),
            Some(EngineError::PartialTooLarge(bytes / 4)),
            "{query}"
        );

        assert!((2..6).contains(&read), "{query}: {read} series were read");
    }
}

#[test]
fn a_replica_that_has_not_applied_what_its_own_log_has_lets_another_one_answer() {
    let group = Group::of(3, storage(&some_values()));
    group.fail(0, Fault::Unapplied);

    // Its log may have been the second copy for which a write was acknowledged, and the peer that is asked the third.
    let got = group
        .of_group(0)
        .instant(&context(), &instant("m"))
        .expect("works");
    assert!(got.warnings.is_empty(), "{got:?}");

    assert_eq!(group.served()[1..].iter().sum::<usize>(), 1);
}

#[test]
fn a_replica_that_is_rebuilt_lets_another_one_answer_and_is_no_witness() {
    for mode in [DistributeMode::Always, DistributeMode::Off] {
        let group = Group::with_mode(3, storage(&some_values()), mode);
        group.fail(0, Fault::Rebuilt);
        let got = group
            .of_group(0)
            .instant(&context(), &instant("sum(m)"))
            .expect("works");
        assert!(got.warnings.is_empty(), "{got:?}");
        assert_eq!(
            group.served()[1..].iter().sum::<usize>(),
            1,
            "with {mode:?}"
        );
    }

    let group = Group::of(3, storage(&some_values()));
    group.fail(0, Fault::Rebuilt);
    group.fail(1, Fault::Broken);

    let got = group
        .of_group(2)
        .instant(&context(), &instant("sum(m)"))
        .expect("works");

    assert_eq!(
        got.warnings,
        [INCOMPLETE],
        "one whole replica of three knows no quorum"
    );
}

#[test]
fn without_a_complete_replica_there_is_a_warning_or_an_error() {
    let group = Group::of(3, storage(&some_values()));
    group.fail(1, Fault::Broken);
    group.fail(2, Fault::Broken);

    let got = group
        .of_group(0)
        .instant(&context(), &instant("sum(m)"))
        .expect("works");

    assert_eq!(got.warnings, [INCOMPLETE]);
    let strict = QueryContext {
        partial_response: false,
        ..context()
    };
    let error = group
        .of_group(0)
        .instant(&strict, &instant("sum(m)"))
        .expect_err("must be whole");

    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let error = group
        .of_group(0)
        .instant(&context(), &instant("sum("))
        .expect_err("no expression");

    assert_eq!(error.kind(), ErrorKind::Invalid);
}

/// Three replicas that lack different samples of `values`: replica i those at every third step and series.
#[test]
fn a_quorum_of_an_older_ring_is_asked_again_by_the_later_one_or_not_called_a_quorum() {
    let group = Group::of(3, storage(&some_values()));
    let read_index = |member: usize| {
        group
            .of_group(member)
            .read_index(&context())
            .expect("not cancelled")
    };

    assert!(read_index(0).known);

    group.hears(1, 3);
    group.hears(2, 3);
    assert!(read_index(0).known && read_index(0).complete);

    assert_eq!(group.epochs(), [3, 3, 3], "it took the later ring first");

    group.learns_nothing();
    group.hears(1, 4);
    group.hears(2, 4);

    let by_an_old_ring = read_index(0);
    assert!(!by_an_old_ring.known && !by_an_old_ring.complete);
    assert!(
        !by_an_old_ring.positions.is_empty(),
        "what was told is still of use"
    );
    assert!(
        read_index(1).known,
        "who is ahead need not wait for the others"
    );
}

fn torn(values: &[Vec<Option<i32>>]) -> Group {
    Group::of_storages(
        (0..3)
            .map(|replica: usize| {
                storage(
                    &values
                        .iter()
                        .enumerate()
                        .map(|(i, row): (usize, &Vec<Option<i32>>)| {
                            row.iter()
                                .enumerate()
                                .map(|(t, v)| v.filter(|_| (i + t) % 3 != replica))
                                .collect()
                        })
                        .collect::<Vec<_>>(),
                )
            })
            .collect(),
        DistributeMode::Always,
    )
}

#[test]
fn a_query_asks_once_how_far_others_are_and_no_more_of_them_than_it_must() {
    let group = Group::of(3, storage(&some_values()));
    let of_group = group.of_group(0);
    let asking = context();

    block_on(of_group.prepare(&asking)).expect("not cancelled");
    for query in ["m", "sum(m)", "m + m offset 1m"] {
        of_group.range(&asking, &range(query)).expect("works");
    }

    assert_eq!(group.told().iter().sum::<usize>(), 1);

    // Whoever does not answer is not asked first again.
    let told_first = group.told().iter().position(|n| *n == 1).expect("one");
    group.fail(told_first, Fault::Silent);

    for queries in 1..=3 {
        let asking = context();
        block_on(of_group.prepare(&asking)).expect("not cancelled");
        let read_index = asking.read_index.get().expect("taken");
        assert!(read_index.known && read_index.complete);
        assert_eq!(group.told()[3 - told_first], queries);
    }
}

#[test]
fn what_is_small_is_looked_at_at_once_when_others_have_told() {
    let group = Group::of(3, storage(&some_values()));
    let of_group = group.of_group(0);
    let asking = QueryContext {
        head_only: true,
        ..context()
    };
    let error = of_group
        .range(&asking, &range("sum(m)"))
        .expect_err("nobody was asked");

    assert_eq!(error.kind(), ErrorKind::Unavailable);

    block_on(of_group.prepare(&asking)).expect("not cancelled");
    of_group.range(&asking, &range("sum(m)")).expect("works");
    assert_eq!(group.served(), [0, 0, 0], "an event loop divides nothing");
}

#[test]
fn samples_of_replicas_that_are_united_take_room_of_the_node_until_the_query_ends() {
    let group = Group::of(3, storage(&some_values()));
    (0..3).for_each(|i| group.fail(i, Fault::Lagging));
    let context = context();
    let of_group = group.of_group(0);

    of_group.range(&context, &range("sum(m)")).expect("works");
    assert!(of_group.engine.room().taken() > 0);
    drop(context);
    assert_eq!(of_group.engine.room().taken(), 0);
}

#[test]
fn without_a_complete_replica_the_answer_is_the_union_of_all() {
    let whole = Group::of(1, storage(&some_values()));
    let group = torn(&some_values());
    (0..3).for_each(|i| group.fail(i, Fault::Lagging));

    for query in [
        "sum(m)",
        "m",
        "sum by (a) (rate(m[5m]))",
        "quantile(0.5, m)",
    ] {
        let mut want = whole
            .undivided()
            .range(&context(), &range(query))
            .expect("works");

        want.warnings.push(INCOMPLETE.to_owned());
        let got = group
            .of_group(0)
            .range(&context(), &range(query))
            .expect("works");
        assert!(same(&want, &got), "{query}: {got:?}");

        let strict = QueryContext {
            partial_response: false,
            ..context()
        };
        let error = group
            .of_group(0)
            .range(&strict, &range(query))
            .expect_err("must be whole");

        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}

#[test]
fn series_and_lists_of_a_replica_that_lags_are_those_of_the_union() {
    let group = torn(&[vec![Some(1)], vec![Some(2)], vec![Some(3)], vec![Some(4)]]);
    let matchers =
        trireme_promql::parse_selector("m", &ParserOptions::default()).expect("a selector");
    let selection = Selection {
        matchers: vec![matchers],
        start_ms: 0,
        end_ms: 0,
        limit: 0,
    };

    let of_group = group.of_group(0);
    let own = of_group
        .series(&context(), &selection)
        .expect("works")
        .items
        .len();

    assert_eq!((own, group.served()), (2, vec![0, 0, 0]));
    group.fail(0, Fault::Lagging);
    let found = of_group.series(&context(), &selection).expect("works");

    // Those asked have applied everything, so that nothing can be missing.
    assert_eq!((found.items.len(), found.warnings), (4, vec![]));
    assert_eq!(
        of_group
            .label_names(&context(), &selection)
            .expect("works")
            .items,
        ["__name__", "a", "b"]
    );

    let values = of_group
        .label_values(&context(), "b", &selection)
        .expect("works");

    assert_eq!(values.items, ["b0", "b1", "b2", "b3"]);
    let few = Selection {
        limit: 2,
        ..selection.clone()
    };
    let values = of_group
        .label_values(&context(), "b", &few)
        .expect("works")
        .items;
    assert!(
        values.len() > 2 && values[..2] == ["b0", "b1"],
        "the first of all, and a sign of more: {values:?}"
    );

    group.fail(1, Fault::Broken);
    group.fail(2, Fault::Lagging);
    let found = of_group
        .label_values(&context(), "b", &selection)
        .expect("works");

    assert_eq!(
        (found.items.len(), found.warnings),
        (4, vec![INCOMPLETE.to_owned()])
    );
}

#[test]
fn replicas_of_ha_pairs_become_one_after_the_union() {
    let series = |replica: &str, values: &[(i64, f64)]| {
        let mut storage = MemoryStorage::default();
        let labels = Labels::from_pairs([("__name__", "m"), ("replica", replica)]);
        values
            .iter()
            .for_each(|(t, v)| storage.append_float(&labels, t * 60_000, *v));
        storage
    };

    let storages = vec![
        series("a", &[(1, 1.0), (2, 2.0)]),
        series("a", &[(3, 3.0)]),
        series("b", &[(1, 10.0), (3, 30.0)]),
    ];

    let group = Group::of_storages(storages, DistributeMode::Always);
    (0..3).for_each(|i| group.fail(i, Fault::Lagging));
    let context = QueryContext {
        replica_labels: vec!["replica".to_owned()],
        ..context()
    };
    let got = group
        .of_group(0)
        .instant(&context, &instant("m[10m]"))
        .expect("works");
    let Value::Matrix(series) = got.value else {
        panic!("{got:?}")
    };

    assert_eq!(series.len(), 1);
    assert_eq!(
        series[0].floats,
        [(60_000, 1.0), (120_000, 2.0), (180_000, 3.0)]
    );
}

#[test]
fn errors_are_those_of_an_undivided_query() {
    let group = Group::of(3, storage(&some_values()));
    for query in ["sum(", "topk(NaN, m)", "sum(rate({__name__=~\"m|n\"}[5m]))"] {
        let want = group.undivided().instant(&context(), &instant(query));
        assert_eq!(
            group
                .of_group(0)
                .instant(&context(), &instant(query))
                .map_err(|e| e.to_string())
                .err(),
            want.map_err(|e| e.to_string()).err(),
            "{query}"
        );
    }
}

#[test]
fn a_canceled_query_stops_waiting() {
    let group = Group::of(3, storage(&some_values()));
    group.fail(1, Fault::Silent);
    group.fail(2, Fault::Silent);

    let cancel = Cancel::never();
    cancel.cancel();
    let context = QueryContext {
        cancel,
        ..context()
    };
    let error = group
        .of_group(0)
        .range(&context, &range("sum(m)"))
        .expect_err("canceled");

    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

#[test]
fn garbage_from_a_peer_is_refused() {
    let group = Group::of(3, storage(&some_values()));
    for body in [&b""[..], b"\xff\xff", b"\x12\x02\x38\x05"] {
        assert!(
            group
                .of_group(0)
                .accept(Bytes::copy_from_slice(body))
                .is_err(),
            "{body:?}"
        );
    }
}

/// Not a test of speed: a wait that is longer than this would hang every query of a group with a dead member.
const _: () = assert!(POSITIONS_WAIT.as_millis() <= Duration::from_secs(2).as_millis());
