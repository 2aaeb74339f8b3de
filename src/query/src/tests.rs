//! The querier over made-up sources.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use trireme_base::ErrorKind;
use trireme_model::{Labels, Matcher, MetricMetadata, MetricType, Tenant};
use trireme_promql::{Cancel, Columns, ParserOptions, SelectError, SeriesRead, Value};

use crate::{
    Catalog, ExemplarSeries, InstantQuery, Querier, QuerierOptions, Queries, QueryContext,
    QueryError, RangeQuery, Scope, Selection, Source, SourceError, SourceList, Texts, TsdbStatus,
};

/// What goes wrong in a source.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Select,
    Read,
}

struct Fake {
    name: &'static str,
    range: (i64, i64),
    series: Vec<(Labels, Vec<(i64, f64)>)>,
    fault: Fault,
}

struct FakeRead(Labels, Vec<(i64, f64)>, Fault);

impl SeriesRead for FakeRead {
    fn labels(&self) -> &Labels {
        &self.0
    }

    fn read_within(
        &self,
        start_ms: i64,
        end_ms: i64,
        samples_max: usize,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        for (t, v) in self
            .1
            .iter()
            .filter(|(t, _)| (start_ms..=end_ms).contains(t))
        {
            out.push_float(*t, *v);
        }
        if self.2 == Fault::Read {
            Err(SelectError::Corrupt("bad chunk".into()))
        } else {
            out.check_within(samples_max)
        }
    }
}

impl Fake {
    fn matching<'a>(
        &'a self,
        matchers: &'a [Matcher],
    ) -> impl Iterator<Item = &'a (Labels, Vec<(i64, f64)>)> {
        let fits = |l: &Labels| {
            matchers
                .iter()
                .all(|m| m.matches(l.get(&m.name).unwrap_or("")))
        };
        self.series.iter().filter(move |(l, _)| fits(l))
    }

    fn check(&self) -> Result<(), SourceError> {
        if self.fault == Fault::Select {
            Err(SourceError::failed(ErrorKind::Corrupt, "bad index"))
        } else {
            Ok(())
        }
    }
}

impl Source for Fake {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn time_range(&self) -> (i64, i64) {
        self.range
    }

    fn select(
        &self,
        matchers: &[Matcher],
        _: i64,
        _: i64,
        _: &Cancel,
    ) -> Result<Vec<Box<dyn SeriesRead>>, SourceError> {
        self.check()?;
        Ok(self
            .matching(matchers)
            .map(|(l, s): &(Labels, Vec<(i64, f64)>)| {
                Box::new(FakeRead(l.clone(), s.clone(), self.fault)) as _
            })
            .collect())
    }

    fn label_names(
        &self,
        matchers: &[Matcher],
        _: i64,
        _: i64,
        out: &mut Texts,
    ) -> Result<(), SourceError> {
        self.check()?;
        self.matching(matchers)
            .for_each(|(l, _)| l.iter().for_each(|(name, _)| out.add(name)));
        Ok(())
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        _: i64,
        _: i64,
        out: &mut Texts,
    ) -> Result<(), SourceError> {
        self.check()?;
        self.matching(matchers)
            .filter_map(|(l, _)| l.get(name))
            .for_each(|value| out.add(value));
        Ok(())
    }
}

/// A window that moves while it is read: the first look at the head lets it go, after the block appeared.
struct Moving {
    jobs: &'static [&'static str],
    samples: Vec<(i64, f64)>,
    moved: Arc<AtomicBool>,
}

struct MovingRead(Labels, Vec<(i64, f64)>, Arc<AtomicBool>);

impl SeriesRead for MovingRead {
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
        if self.2.swap(true, Ordering::SeqCst) {
            self.1.iter().for_each(|(t, v)| out.push_float(*t, *v));
        }
        out.check_within(samples_max)
    }
}

impl Source for Moving {
    fn name(&self) -> String {
        "moving".into()
    }

    fn time_range(&self) -> (i64, i64) {
        (i64::MIN, i64::MAX)
    }

    fn select(
        &self,
        _: &[Matcher],
        _: i64,
        _: i64,
        _: &Cancel,
    ) -> Result<Vec<Box<dyn SeriesRead>>, SourceError> {
        Ok(self
            .jobs
            .iter()
            .map(|job: &&str| {
                Box::new(MovingRead(
                    up(&[("job", job)]),
                    self.samples.clone(),
                    self.moved.clone(),
                )) as _
            })
            .collect())
    }

    fn label_names(&self, _: &[Matcher], _: i64, _: i64, _: &mut Texts) -> Result<(), SourceError> {
        Ok(())
    }

    fn label_values(
        &self,
        _: &str,
        _: &[Matcher],
        _: i64,
        _: i64,
        _: &mut Texts,
    ) -> Result<(), SourceError> {
        Ok(())
    }
}

#[test]
fn the_cost_of_a_series_in_head_and_bucket_is_that_of_one() {
    let part = |name, first: i64, last: i64| -> Arc<dyn Source> {
        let samples = (first..=last).map(|n| (n * 10_000, n as f64)).collect();
        let series = vec![(up(&[("job", "a")]), samples)];
        Arc::new(Fake {
            name,
            range: (first * 10_000, last * 10_000),
            series,
            fault: Fault::None,
        })
    };

    // Both have the sample in the middle.
    let sources = vec![part("bucket", 0, 10), part("head", 10, 20)];
    let catalog = FakeCatalog {
        sources,
        ..Default::default()
    };
    let querier = Querier::new(Arc::new(catalog), QuerierOptions::default());
    let at = |t_ms: i64| {
        let expr = "sum_over_time(up[2m])".to_owned();
        let costed = crate::Costed {
            expr,
            start_ms: t_ms,
            end_ms: t_ms,
            step_ms: 0,
            lookback: None,
        };
        let found = crate::estimate_cost(&querier, &context(), &ParserOptions::default(), &costed);
        found
            .map(|cost| (cost.series, cost.samples_read))
            .expect("works")
    };

    assert_eq!(at(200_000), (1, 12), "over both");
    assert_eq!(at(90_000), (1, 10), "in the bucket alone");
}

#[test]
fn a_window_that_moves_while_it_is_read_is_not_missed() {
    let moved = Arc::new(AtomicBool::new(false));
    let head: Arc<dyn Source> = Arc::new(Moving {
        jobs: &["a"],
        samples: vec![(10_000, 7.0)],
        moved: moved.clone(),
    });

    let catalog = FakeCatalog {
        sources: vec![head],
        generation: moved,
        ..Default::default()
    };

    let querier = Querier::new(Arc::new(catalog), QuerierOptions::default());
    let result = querier.range(&context(), &range("up")).expect("works");
    assert_eq!(matrix(result.value)[0].1[0], (10_000, 7.0));
}

#[test]
fn what_moves_is_looked_up_once_and_what_moves_elsewhere_not_at_all() {
    for (is_elsewhere, looks) in [(false, 2), (true, 1)] {
        let moved = Arc::new(AtomicBool::new(false));
        let jobs = &["a", "b", "c", "d"];
        let head: Arc<dyn Source> = Arc::new(Moving {
            jobs,
            samples: vec![(10_000, 7.0)],
            moved: moved.clone(),
        });

        let sources = vec![head];
        let generation = moved;
        let catalog = Arc::new(FakeCatalog {
            sources,
            generation,
            is_elsewhere,
            ..Default::default()
        });

        let querier = Querier::new(catalog.clone(), QuerierOptions::default());
        let result = querier.range(&context(), &range("up")).expect("works");

        // The first one that was read had let go of its samples; the block is not this tenant's where it is elsewhere.
        assert_eq!(
            matrix(result.value).len(),
            jobs.len() - usize::from(is_elsewhere)
        );
        assert_eq!(catalog.asked.lock().len(), looks);
    }
}

/// A series whose only window goes from the head to a block between the look at the blocks and the look at the head.
struct Slipping {
    moved: Arc<AtomicBool>,
}

impl Slipping {
    /// False for the look that comes too late at the head and too early at the blocks.
    fn is_found(&self) -> bool {
        self.moved.swap(true, Ordering::SeqCst)
    }
}

impl Source for Slipping {
    fn name(&self) -> String {
        "slipping".into()
    }

    fn time_range(&self) -> (i64, i64) {
        (i64::MIN, i64::MAX)
    }

    fn select(
        &self,
        _: &[Matcher],
        _: i64,
        _: i64,
        _: &Cancel,
    ) -> Result<Vec<Box<dyn SeriesRead>>, SourceError> {
        let series = FakeRead(up(&[("job", "a")]), vec![(10_000, 7.0)], Fault::None);
        Ok(if self.is_found() {
            vec![Box::new(series)]
        } else {
            Vec::new()
        })
    }

    fn label_names(
        &self,
        _: &[Matcher],
        _: i64,
        _: i64,
        out: &mut Texts,
    ) -> Result<(), SourceError> {
        if self.is_found() {
            out.add("job");
        }
        Ok(())
    }

    fn label_values(
        &self,
        _: &str,
        _: &[Matcher],
        _: i64,
        _: i64,
        out: &mut Texts,
    ) -> Result<(), SourceError> {
        if self.is_found() {
            out.add("a");
        }
        Ok(())
    }
}

fn slipping() -> Querier {
    let moved = Arc::new(AtomicBool::new(false));
    let source: Arc<dyn Source> = Arc::new(Slipping {
        moved: moved.clone(),
    });
    let catalog = FakeCatalog {
        sources: vec![source],
        generation: moved,
        ..Default::default()
    };

    Querier::new(Arc::new(catalog), QuerierOptions::default())
}

#[test]
fn a_series_whose_only_window_moves_while_it_is_looked_for_is_not_missed() {
    let result = slipping().range(&context(), &range("up")).expect("works");
    assert_eq!(matrix(result.value).len(), 1);
    let all = Selection {
        start_ms: 0,
        end_ms: 20_000,
        ..Selection::default()
    };

    assert_eq!(
        slipping()
            .label_names(&context(), &all)
            .expect("works")
            .items,
        ["job"]
    );

    assert_eq!(
        slipping()
            .label_values(&context(), "job", &all)
            .expect("works")
            .items,
        ["a"]
    );
}

#[derive(Default)]
struct FakeCatalog {
    generation: Arc<AtomicBool>,
    sources: Vec<Arc<dyn Source>>,
    warnings: Vec<String>,
    asked: Mutex<Vec<Scope>>,
    /// What moves is none of anybody's who asks.
    is_elsewhere: bool,
}

impl Catalog for FakeCatalog {
    fn generation(&self) -> u64 {
        u64::from(self.generation.load(Ordering::SeqCst))
    }

    fn generation_of(&self, _: &Scope) -> u64 {
        if self.is_elsewhere {
            0
        } else {
            self.generation()
        }
    }

    fn sources(&self, scope: &Scope) -> SourceList {
        self.asked.lock().push(scope.clone());
        SourceList {
            sources: self.sources.clone(),
            warnings: self.warnings.clone(),
            far: None,
        }
    }

    fn exemplars(
        &self,
        _: &Tenant,
        matchers: &[Vec<Matcher>],
        _: i64,
        _: i64,
    ) -> Result<Vec<ExemplarSeries>, SourceError> {
        let labels = Labels::from_pairs([("asked", format!("{matchers:?}"))]);
        Ok(vec![ExemplarSeries {
            labels,
            exemplars: vec![],
        }])
    }

    fn metadata(
        &self,
        _: &Tenant,
        _: Option<&str>,
    ) -> Result<Vec<(String, MetricMetadata)>, SourceError> {
        let entry = |kind| MetricMetadata {
            kind,
            ..Default::default()
        };
        let all = [
            ("b", MetricType::Gauge),
            ("a", MetricType::Counter),
            ("b", MetricType::Gauge),
        ];

        Ok(all.map(|(n, k)| (n.to_owned(), entry(k))).to_vec())
    }

    fn tsdb_status(&self, _: &Tenant, _: usize) -> Result<TsdbStatus, SourceError> {
        Ok(TsdbStatus::default())
    }
}

fn up(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied().chain([("__name__", "up")]))
}

fn source(
    name: &'static str,
    range: (i64, i64),
    series: &[(Labels, Vec<(i64, f64)>)],
    fault: Fault,
) -> Arc<dyn Source> {
    Arc::new(Fake {
        name,
        range,
        series: series.to_vec(),
        fault,
    })
}

/// A block with the first half of `up{job="a"}`, a head with an overlapping second half and `up{job="b"}`.
fn halves(fault: Fault) -> Vec<Arc<dyn Source>> {
    let a = up(&[("job", "a")]);
    let b = up(&[("job", "b")]);
    vec![
        source(
            "block 1",
            (0, 49_999),
            &[(a.clone(), vec![(10_000, 1.0), (40_000, 2.0)])],
            fault,
        ),
        source(
            "head",
            (40_000, i64::MAX),
            &[
                (b, vec![(60_000, 9.0)]),
                (a, vec![(40_000, 3.0), (60_000, 4.0)]),
            ],
            Fault::None,
        ),
    ]
}

fn querier(sources: Vec<Arc<dyn Source>>) -> (Querier, Arc<FakeCatalog>) {
    let catalog = Arc::new(FakeCatalog {
        sources,
        ..Default::default()
    });
    (
        Querier::new(catalog.clone(), QuerierOptions::default()),
        catalog,
    )
}

fn context() -> QueryContext {
    QueryContext::new(Tenant::default(), Cancel::never())
}

fn range(expr: &str) -> RangeQuery {
    RangeQuery {
        expr: expr.into(),
        start_ms: 10_000,
        end_ms: 60_000,
        step_ms: 10_000,
        lookback: None,
    }
}

fn matrix(value: Value) -> Vec<(String, Vec<(i64, f64)>)> {
    let Value::Matrix(m) = value else {
        panic!("a matrix")
    };
    m.into_iter()
        .map(|s| (s.labels.to_string(), s.floats))
        .collect()
}

#[test]
fn halves_of_a_series_become_one_and_conflicts_have_one_winner() {
    let (querier, _) = querier(halves(Fault::None));
    let result = querier.range(&context(), &range("up[1m]")).map(|_| ());
    assert!(result.is_err(), "a range vector is no range query");

    let result = querier.range(&context(), &range("up")).expect("works");
    let got = matrix(result.value);
    assert_eq!(got[0].0, r#"up{job="a"}"#);

    let values: Vec<f64> = got[0].1.iter().map(|p| p.1).collect();
    assert_eq!(values, [1.0, 1.0, 1.0, 3.0, 3.0, 4.0]);
    assert_eq!(got[1].1, [(60_000, 9.0)]);

    assert!(result.warnings.is_empty());
}

#[test]
fn a_source_that_fails_is_named_in_a_warning_or_is_an_error() {
    for fault in [Fault::Select, Fault::Read] {
        let (querier, _) = querier(halves(fault));
        let result = querier
            .range(&context(), &range("up"))
            .expect("the rest answers");

        assert_eq!(result.warnings.len(), 1, "{:?}", result.warnings);
        assert!(
            result.warnings[0].starts_with("block 1 was not read: bad "),
            "{:?}",
            result.warnings
        );

        assert_eq!(
            matrix(result.value)[0].1,
            [(40_000, 3.0), (50_000, 3.0), (60_000, 4.0)]
        );

        let whole = QueryContext {
            partial_response: false,
            ..context()
        };
        let error = querier
            .range(&whole, &range("up"))
            .expect_err("no partial answers");

        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn what_the_catalog_misses_is_a_warning_too() {
    let catalog = FakeCatalog {
        warnings: vec!["bucket block X cannot be opened".into()],
        ..Default::default()
    };
    let querier = Querier::new(Arc::new(catalog), QuerierOptions::default());
    let query = InstantQuery {
        expr: "up".into(),
        time_ms: 0,
        lookback: None,
    };

    assert_eq!(
        querier.instant(&context(), &query).expect("works").warnings,
        ["bucket block X cannot be opened"]
    );

    let selection = Selection {
        end_ms: 1,
        ..Default::default()
    };

    assert_eq!(
        querier
            .label_names(&context(), &selection)
            .expect("works")
            .warnings
            .len(),
        1
    );

    let whole = QueryContext {
        partial_response: false,
        ..context()
    };
    assert!(querier.instant(&whole, &query).is_err());
}

#[test]
fn every_selector_asks_for_its_own_time() {
    let (querier, catalog) = querier(halves(Fault::None));
    let query = InstantQuery {
        expr: "up offset 1h + up @ 50".into(),
        time_ms: 7_200_000,
        lookback: None,
    };

    querier.instant(&context(), &query).expect("works");
    let mut ends: Vec<i64> = catalog.asked.lock().iter().map(|s| s.end_ms).collect();
    ends.sort_unstable();
    assert_eq!(ends, [50_000, 3_600_000]);
}

#[test]
fn kinds_of_failures_are_kept() {
    let (querier, _) = querier(halves(Fault::None));
    let ask = |expr: &str| {
        querier.instant(
            &context(),
            &InstantQuery {
                expr: expr.into(),
                time_ms: 60_000,
                lookback: None,
            },
        )
    };

    let parse: QueryError = ask("up{").expect_err("not PromQL");
    assert!(
        parse.kind() == ErrorKind::Invalid
            && !parse.is_execution()
            && parse.to_string().contains("parse error")
    );

    let execution = ask("up * on() up").expect_err("many to many");
    assert!(execution.is_execution(), "{execution}");
}

#[test]
fn no_more_is_found_than_shows_that_the_answer_was_cut() {
    let jobs = ["a", "b", "c", "d"].map(|job| (up(&[("job", job)]), vec![(10_000, 1.0)]));
    let (querier, _) = querier(vec![source("head", (0, i64::MAX), &jobs, Fault::None)]);
    let every = trireme_promql::parse_selector("up", &Default::default()).expect("good");
    let asked = |limit| Selection {
        matchers: vec![every.clone()],
        start_ms: 0,
        end_ms: 20_000,
        limit,
    };

    for (limit, found) in [(0, 4), (1, 2), (2, 3), (3, 4), (9, 4)] {
        assert_eq!(
            querier
                .series(&context(), &asked(limit))
                .expect("works")
                .items
                .len(),
            found
        );

        let values = querier
            .label_values(&context(), "job", &asked(limit))
            .expect("works")
            .items;

        assert_eq!(values, ["a", "b", "c", "d"][..found]);
    }
}

#[test]
fn labels_of_all_sources_are_united_and_sorted() {
    let (querier, _) = querier(halves(Fault::None));
    let all = Selection {
        start_ms: 0,
        end_ms: 100_000,
        ..Default::default()
    };

    let names = querier.label_names(&context(), &all).expect("works");
    assert_eq!(names.items, ["__name__", "job"]);
    assert_eq!(
        querier
            .label_values(&context(), "job", &all)
            .expect("works")
            .items,
        ["a", "b"]
    );

    let early = Selection {
        end_ms: 30_000,
        ..all.clone()
    };

    assert_eq!(
        querier
            .label_values(&context(), "job", &early)
            .expect("works")
            .items,
        ["a"]
    );

    let matchers =
        trireme_promql::parse_selector("up{job='b'}", &Default::default()).expect("good");
    let one = Selection {
        matchers: vec![matchers],
        ..all
    };

    assert_eq!(
        querier
            .label_values(&context(), "job", &one)
            .expect("works")
            .items,
        ["b"]
    );

    let series = querier.series(&context(), &one).expect("works");
    assert_eq!(series.items, [up(&[("job", "b")])]);
}

#[test]
fn a_series_of_many_blocks_is_whole() {
    let a = up(&[("job", "a")]);
    let b = up(&[("job", "b")]);
    let block = |n: i64| {
        let at = n * 10_000;
        let old = (a.clone(), vec![(at, n as f64)]);
        // The second series comes with the last blocks.
        let series = if n < 25 {
            vec![old]
        } else {
            vec![(b.clone(), vec![(at, 0.5)]), old]
        };
        source("block", (at, at + 9_999), &series, Fault::None)
    };

    let (querier, _) = querier((0..30).map(block).collect());
    let query = RangeQuery {
        start_ms: 0,
        end_ms: 290_000,
        ..range("up")
    };

    let got = matrix(querier.range(&context(), &query).expect("works").value);
    assert_eq!(
        got[0].1,
        (0..30).map(|n| (n * 10_000, n as f64)).collect::<Vec<_>>()
    );
    assert_eq!(
        got[1].1,
        (25..30).map(|n| (n * 10_000, 0.5)).collect::<Vec<_>>()
    );
}

#[test]
fn replicas_become_one_series_on_request() {
    let of = |r: &str| up(&[("job", "a"), ("replica", r)]);
    let samples = |from: i64| {
        (from..from + 6)
            .map(|i| (i * 10_000, i as f64))
            .collect::<Vec<_>>()
    };

    let head = source(
        "head",
        (0, i64::MAX),
        &[(of("x"), samples(1)), (of("y"), samples(1))],
        Fault::None,
    );

    let (querier, _) = querier(vec![head]);
    let dedup = QueryContext {
        replica_labels: vec!["replica".into()],
        ..context()
    };
    let count = |context: &QueryContext| {
        matrix(querier.range(context, &range("up")).expect("works").value)
            .into_iter()
            .map(|s| s.0)
            .collect::<Vec<_>>()
    };

    assert_eq!(count(&context()).len(), 2);
    assert_eq!(count(&dedup), [r#"up{job="a"}"#]);
    let all = Selection {
        end_ms: 100_000,
        ..Default::default()
    };

    assert_eq!(
        querier.label_names(&dedup, &all).expect("works").items,
        ["__name__", "job"]
    );
}

#[test]
fn metadata_is_grouped_and_exemplars_follow_the_selectors() {
    let (querier, _) = querier(vec![]);
    let metadata = querier.metadata(&context(), None).expect("works");
    assert_eq!(
        metadata
            .iter()
            .map(|(n, e)| (n.as_str(), e.len()))
            .collect::<Vec<_>>(),
        [("a", 1), ("b", 1)]
    );

    let found = querier
        .exemplars(&context(), "rate(a[5m]) + b", 0, 1)
        .expect("works");
    let asked = found.items[0]
        .labels
        .get("asked")
        .expect("remembered")
        .to_owned();

    assert!(
        asked.contains("\"a\"") && asked.contains("\"b\""),
        "{asked}"
    );
    assert!(
        querier
            .exemplars(&context(), "1", 0, 1)
            .expect("works")
            .items
            .is_empty()
    );
}
