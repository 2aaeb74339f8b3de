//! Random expressions over random data: no panic, limits hold, and a range query is the same as an instant query at
//! each of its steps, whatever the number of threads.

#[path = "engine_properties/generate.rs"]
mod generate;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use generate::{Memory, expression, memory};
use trireme_base::{Clock, ManualClock, SeededRng};
use trireme_model::Labels;
use trireme_promql::ast::{Expr, ValueType};
use trireme_promql::promqltest::MemoryStorage;
use trireme_promql::{
    Cancel, Engine, EngineOptions, ParserOptions, QueryError, QueryOptions, SampleValue, Value,
    parse,
};

const STEP_MS: i64 = 30_000;
const STEPS: i64 = 12;

/// Values by labels and time.
type Points = BTreeMap<(String, i64), Shown>;

/// What kind of value it is, and its numbers, which may differ by rounding: the order in which series are added up
/// may be another one.
#[derive(Debug)]
struct Shown(String, Vec<f64>);

impl PartialEq for Shown {
    fn eq(&self, other: &Self) -> bool {
        let close = |a: f64, b: f64| {
            a == b
                || (a.is_nan() && b.is_nan())
                || (a - b).abs() <= 1e-9 * (a.abs() + b.abs()) + 1e-12
        };
        self.0 == other.0
            && self.1.len() == other.1.len()
            && self.1.iter().zip(&other.1).all(|(a, b)| close(*a, *b))
    }
}

fn shown(value: &SampleValue) -> Shown {
    match value {
        SampleValue::Float(v) => Shown("float".to_owned(), vec![*v]),
        SampleValue::Histogram(h) => {
            let buckets = h.buckets().flat_map(|b| [b.lower, b.upper, b.count]);
            let numbers = [h.count, h.sum, h.zero_threshold, h.zero_count]
                .into_iter()
                .chain(buckets);
            Shown(
                format!("{} {:?}", h.schema, h.reset_hint),
                numbers.collect(),
            )
        }
    }
}

fn points(value: &Value) -> Points {
    let mut out = Points::new();
    match value {
        Value::Scalar { t, v } => {
            drop(out.insert((String::new(), *t), shown(&SampleValue::Float(*v))))
        }
        Value::String { .. } => {}
        Value::Vector(samples) => {
            for s in samples {
                let key = (s.labels.to_string(), s.t);
                assert!(
                    out.insert(key, shown(&s.value)).is_none(),
                    "twice in a vector: {}",
                    s.labels
                );
            }
        }
        Value::Matrix(series) => {
            for s in series {
                let labels = match s.labels.to_string().as_str() {
                    "{}" => String::from("{}"),
                    other => other.to_owned(),
                };
                let floats = s.floats.iter().map(|(t, v)| (*t, SampleValue::Float(*v)));
                let histograms = s
                    .histograms
                    .iter()
                    .map(|(t, h)| (*t, SampleValue::Histogram(h.clone())));

                for (t, value) in floats.chain(histograms) {
                    let twice = out.insert((labels.clone(), t), shown(&value)).is_some();
                    assert!(!twice, "twice in a matrix: {labels} at {t}");
                }
            }
        }
    }

    out
}

fn over_range(
    engine: &Engine,
    memory: &Memory,
    expr: &Expr,
    text: &str,
) -> Result<Points, QueryError> {
    let times = (0, (STEPS - 1) * STEP_MS);
    let result = engine.range(
        memory,
        expr,
        text,
        times,
        STEP_MS,
        &QueryOptions::default(),
        &Cancel::never(),
    );

    result.map(|r| points(&r.value))
}

fn step_by_step(
    engine: &Engine,
    memory: &Memory,
    expr: &Expr,
    text: &str,
) -> Result<Points, QueryError> {
    let mut all = Points::new();
    for step in 0..STEPS {
        let options = QueryOptions::default();
        let cancel = Cancel::never();
        let result = engine.instant(memory, expr, text, step * STEP_MS, &options, &cancel)?;
        all.extend(points(&result.value));
    }

    if expr.value_type() == ValueType::Scalar {
        all = all
            .into_iter()
            .map(|((_, t), v)| (("{}".to_owned(), t), v))
            .collect();
    }

    Ok(all)
}

fn engine(delayed_name_removal: bool) -> Engine {
    Engine::new(EngineOptions {
        delayed_name_removal,
        start_timestamps: true,
        ..EngineOptions::default()
    })
}

#[test]
fn a_range_query_is_an_instant_query_at_each_step() {
    // More seeds than a quick run has time for: PROPERTY_SEEDS=20000.
    let seeds = std::env::var("PROPERTY_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(300);
    let mut agreed = 0;

    let mut with_points = 0;
    for seed in 0..seeds {
        let mut rng = SeededRng::new(seed);
        let memory = memory(&mut rng, 3, 40);

        let engine = engine(rng.chance(0.5));
        for _ in 0..6 {
            let mut text = expression(&mut rng, 3);
            if rng.chance(0.05) {
                text = format!("sort_by_label_desc({text}, \"instance\")");
            }

            let Ok(expr) = parse(&text, &ParserOptions::default()) else {
                panic!("seed {seed}: the generator made what is no PromQL: {text}");
            };

            let whole = over_range(&engine, &memory, &expr, &text);

            let steps = step_by_step(&engine, &memory, &expr, &text);
            match (whole, steps) {
                (Ok(whole), Ok(steps)) => {
                    assert_eq!(whole, steps, "seed {seed}: {text}");
                    agreed += 1;
                    with_points += u64::from(!whole.is_empty());
                }
                (Err(_), Err(_)) => {}
                (whole, steps) => {
                    panic!("seed {seed}: {text}\n whole: {whole:?}\n steps: {steps:?}")
                }
            }
        }
    }

    assert!(
        agreed > 3 * seeds && with_points > 2 * seeds,
        "{agreed} agreed, {with_points} had points"
    );
}

#[test]
fn the_number_of_threads_does_not_show() {
    for seed in 0..12 {
        let mut rng = SeededRng::new(seed);
        let memory = memory(&mut rng, 120, 30);
        let one = engine(true);
        let three = Engine::new(EngineOptions {
            threads: 3,
            ..one.options().clone()
        });

        for _ in 0..6 {
            let text = expression(&mut rng, 2);
            let expr = parse(&text, &ParserOptions::default()).expect("generated");
            let results = [&one, &three].map(|engine| over_range(engine, &memory, &expr, &text));
            assert_eq!(
                results[0].as_ref().ok(),
                results[1].as_ref().ok(),
                "seed {seed}: {text}"
            );
        }
    }
}

#[test]
fn the_sample_limit_holds_and_is_the_only_thing_it_changes() {
    let mut refused = 0;
    for seed in 0..150 {
        let mut rng = SeededRng::new(seed);
        let memory = memory(&mut rng, 3, 40);
        let text = expression(&mut rng, 3);
        let expr = parse(&text, &ParserOptions::default()).expect("generated");
        let options = QueryOptions::default();
        let cancel = Cancel::never();
        let times = (0, (STEPS - 1) * STEP_MS);
        let free = engine(true).range(&memory, &expr, &text, times, STEP_MS, &options, &cancel);
        let samples_max = 1 + rng.below(60) as usize;
        let bound = Engine::new(EngineOptions {
            samples_max,
            ..engine(true).options().clone()
        });

        match bound.range(&memory, &expr, &text, times, STEP_MS, &options, &cancel) {
            Err(QueryError::TooManySamples) => refused += 1,
            // Labels that the query would make count as well.
            Err(QueryError::Execution(text)) if text.contains("(query.max_samples)") => {
                refused += 1
            }
            Ok(result) => {
                assert!(
                    result.stats.peak_samples <= samples_max as u64,
                    "seed {seed}: {text}"
                );
                let free = free.expect("the limit cannot mend an error");
                assert_eq!(
                    points(&result.value),
                    points(&free.value),
                    "seed {seed}: {text}"
                );
            }
            Err(e) => assert_eq!(Some(e), free.err(), "seed {seed}: {text}"),
        }
    }

    assert!(refused > 20, "{refused} were refused");
}

#[test]
fn canceled_and_late_queries_stop() {
    let memory = memory(&mut SeededRng::new(1), 3, 40);
    let text = "sum(rate(c_total[1m]))";
    let expr = parse(text, &ParserOptions::default()).expect("valid");
    let clock = Arc::new(ManualClock::at(0));
    let run = |cancel: &Cancel, options: &QueryOptions| {
        engine(true)
            .instant(&memory, &expr, text, 60_000, options, cancel)
            .map(|_| ())
    };

    let cancel = Cancel::new(clock.clone() as Arc<dyn Clock>);
    assert_eq!(run(&cancel, &QueryOptions::default()), Ok(()));
    let late = QueryOptions {
        timeout: Some(Duration::ZERO),
        ..QueryOptions::default()
    };

    assert_eq!(run(&cancel, &late), Err(QueryError::Timeout));
    cancel.cancel();
    assert_eq!(
        run(&cancel, &QueryOptions::default()),
        Err(QueryError::Canceled)
    );
}

/// Counts how often it is looked at.
#[derive(Default)]
struct Looks(AtomicU64);

impl Clock for Looks {
    fn now_ms(&self) -> i64 {
        0
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

#[test]
fn operators_between_vectors_look_whether_they_have_to_stop() {
    // One group of 200 series at 2,000 steps: 400,000 cells and more.
    let mut memory = MemoryStorage::default();

    for i in 0..200 {
        let labels = Labels::from_pairs([("__name__", "many"), ("i", &i.to_string())]);
        memory.append_float(&labels, 0, f64::from(i));
    }

    memory.append_float(&Labels::from_pairs([("__name__", "one")]), 0, 1.0);
    let looks = |text: &str| {
        let expr = parse(text, &ParserOptions::default()).expect("valid");
        let clock = Arc::new(Looks::default());
        let cancel =
            Cancel::new(clock.clone() as Arc<dyn Clock>).with_timeout(Duration::from_secs(1));
        let options = QueryOptions::default();
        let times = (0, 199_900);
        engine(true)
            .range(&memory, &expr, text, times, 100, &options, &cancel)
            .expect("works");
        clock.0.load(Ordering::Relaxed)
    };

    let sides = looks("many") + looks("one");
    for text in [
        "many * on() group_left() one",
        "many and on() one",
        "one or on() many",
        "many unless on() one",
    ] {
        let more = looks(text).saturating_sub(sides);
        assert!(more >= 10, "{text}: {more} looks");
    }
}

#[test]
fn odd_ranges_are_refused() {
    let memory = memory(&mut SeededRng::new(1), 3, 40);
    let run = |text: &str, times, step| {
        let expr = parse(text, &ParserOptions::default()).expect("valid");
        let options = QueryOptions::default();
        let cancel = Cancel::never();
        engine(true)
            .range(&memory, &expr, text, times, step, &options, &cancel)
            .map(|_| ())
            .map_err(|e| e.to_string())
    };

    assert!(run("g", (0, 10), 0).is_err());
    assert!(run("g", (10, 0), 1).is_err());
    assert!(run("g[5m]", (0, 10), 1).is_err());

    assert_eq!(run("g", (0, 11_000), 1), Ok(()));
    let text = run("g", (0, 11_001), 1).expect_err("too many steps");
    assert!(
        text.starts_with("exceeded maximum resolution of 11,000 points"),
        "{text}"
    );

    assert_eq!(run("g + 1", (i64::MIN, i64::MIN + 10), 1), Ok(()));
    assert_eq!(run("rate(g[1h])", (i64::MAX - 10, i64::MAX), 1), Ok(()));
}

#[test]
fn malformed_histograms_do_no_harm() {
    for seed in 0..150 {
        let mut rng = SeededRng::new(seed);
        let memory = generate::malformed(&mut rng);
        let text = expression(&mut rng, 2);
        let expr = parse(&text, &ParserOptions::default()).expect("generated");
        // An error is fine, a panic is not.
        let _ = over_range(&engine(true), &memory, &expr, &text);
    }
}
