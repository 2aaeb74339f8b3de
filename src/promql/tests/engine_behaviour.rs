//! Behaviour that Prometheus's scripts do not show, in the same language.

use trireme_model::Labels;
use trireme_promql::promqltest::{Evaluate, run_script};
use trireme_promql::{
    Cancel, Columns, Engine, EngineOptions, ParserOptions, QueryError, QueryOptions, QueryResult,
    Select, SelectError, SelectRequest, SeriesRead, SeriesSet, parse,
};

struct Tested(Engine);

impl Evaluate for Tested {
    fn instant(&self, storage: &dyn Select, query: &str, t_ms: i64) -> Result<QueryResult, String> {
        let expr = parse(query, &ParserOptions::default()).map_err(|e| e.to_string())?;
        let options = QueryOptions::default();
        let cancel = Cancel::never();
        self.0
            .instant(storage, &expr, query, t_ms, &options, &cancel)
            .map_err(|e| e.to_string())
    }

    fn range(
        &self,
        storage: &dyn Select,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<QueryResult, String> {
        let expr = parse(query, &ParserOptions::default()).map_err(|e| e.to_string())?;
        let options = QueryOptions::default();
        let cancel = Cancel::never();
        let result = self.0.range(
            storage,
            &expr,
            query,
            (start_ms, end_ms),
            step_ms,
            &options,
            &cancel,
        );

        result.map_err(|e| e.to_string())
    }
}

#[track_caller]
fn check(delayed_name_removal: bool, script: &str) {
    let options = EngineOptions {
        delayed_name_removal,
        start_timestamps: true,
        ..EngineOptions::default()
    };

    let report = run_script(
        "inline",
        script,
        &Tested(Engine::new(options)),
        &mut |_, _| {},
    );

    assert!(report.failures.is_empty(), "{:#?}", report.failures);
    assert!(report.passed > 0);
}

#[test]
fn ranges_are_open_on_the_left_and_steps_stand_alone() {
    check(
        true,
        "
load 30s
  bar 0 1 10 100 1000 10000 100000

eval range from 0 to 3m step 1m sum_over_time(bar[30s])
  {} 0 10 1000 100000

eval range from 0 to 3m step 1m sum_over_time(bar[1m])
  {} 0 11 1100 110000

eval range from 0 to 3m step 1m bar > 5 and bar < 2000
  bar _ 10 1000 _

eval range from 0 to 1m step 30s count_over_time(bar[1m]) or vector(-1)
  {} 1 2 2

eval range from 0 to 1m step 30s vector(7) unless bar == 1
  {} 7 _ 7
",
    );
}

#[test]
fn subqueries_run_at_multiples_of_their_resolution() {
    check(
        true,
        "
load 10s
  metric 1 2

eval instant at 10s sum_over_time(metric[50s:10s])
  {} 3

eval instant at 10s sum_over_time(metric[50s:5s])
  {} 4

# The lookback reaches to (but not) 5m10s, and the left edge is open.
eval instant at 5m20s sum_over_time(metric[60s:10s])
  {} 8

eval instant at 17s count_over_time(metric[20s:7s])
  {} 3

eval instant at 40s count_over_time((metric > 1)[30s:10s] offset 10s)
  {} 3

eval instant at 1m max_over_time(sum_over_time(metric[20s:10s])[1m:20s])
  {} 4

eval range from 0 to 20s step 10s last_over_time(metric[15s:5s] @ 10)
  metric 2 2 2
",
    );
}

#[test]
fn names_are_removed_by_each_function_if_not_at_the_end() {
    let load = "
load 1m
  a{x=\"1\"} 1 2 3
  b{x=\"1\"} 1 2 3
  c{x=\"2\"} 1 2 3
";

    let both = "
eval instant at 2m absent_over_time({x=\"1\"}[2m])

eval instant at 2m {__name__=~\"a|b\"}
  a{x=\"1\"} 3
  b{x=\"1\"} 3

eval instant at 2m -{__name__=~\"a|b\"}
  expect fail msg: vector cannot contain metrics with the same labelset

eval instant at 2m last_over_time({__name__=~\"a|b\"}[1m])
  a{x=\"1\"} 3
  b{x=\"1\"} 3
";

    check(true, &format!("{load}{both}"));
    check(false, &format!("{load}{both}"));
    check(
        false,
        &format!(
            "{load}
eval instant at 2m count(-{{__name__=~\"a|b\"}})
  expect fail msg: vector cannot contain metrics with the same labelset

eval instant at 2m sum by (__name__) (-{{__name__=~\"a|c\"}})
  {{}} -6
"
        ),
    );

    check(
        true,
        &format!(
            "{load}
eval instant at 2m count(-{{__name__=~\"a|b\"}})
  {{}} 2

eval instant at 2m sum by (__name__) (-a)
  {{}} -3
"
        ),
    );
}

#[test]
fn what_a_step_cannot_order_or_pair_is_said() {
    check(
        true,
        "
load 1m
  m{x=\"1\"} 1 2
  m{x=\"2\"} 3 1
  n{y=\"1\"} 1 1

eval range from 0 to 1m step 1m sort_desc(m)
  expect warn msg: PromQL warning: sort is ineffective for range queries since results are always ordered by labels (1:1)
  m{x=\"1\"} 1 2
  m{x=\"2\"} 3 1

eval instant at 0 sort_desc(m)
  expect ordered
  expect no_warn
  m{x=\"2\"} 3
  m{x=\"1\"} 1

eval instant at 0 m + on() n
  expect fail msg: multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)

eval instant at 0 n + on() group_left m
  expect fail msg: found duplicate series for the match group {} on the right hand-side of the operation: [{__name__=\"m\", x=\"1\"}, {__name__=\"m\", x=\"2\"}];many-to-many matching not allowed: matching labels must be unique on one side

eval instant at 0 topk(NaN, m)
  expect fail msg: Parameter value is NaN

eval instant at 0 topk(1e30, m)
  expect fail msg: Scalar value 1e+30 overflows int64

eval instant at 0 quantile(1.5, m)
  expect warn msg: PromQL warning: quantile value should be between 0 and 1, got 1.5 (1:10)
  {} Inf
",
    );
}

#[test]
fn info_finds_targets_whatever_their_names() {
    check(
        true,
        r##"
load 1m
  up{instance="a.b:1-c&d~e#f (g)|[h]{i}^$+*?", job="x"} 1 1
  up{instance="aXb:1", job="x"} 1 1
  target_info{instance="a.b:1-c&d~e#f (g)|[h]{i}^$+*?", job="x", version="7"} 1 1

eval instant at 1m info(up)
  up{instance="a.b:1-c&d~e#f (g)|[h]{i}^$+*?", job="x", version="7"} 1
  up{instance="aXb:1", job="x"} 1

eval instant at 1m info(up, {version=~".+"})
  up{instance="a.b:1-c&d~e#f (g)|[h]{i}^$+*?", job="x", version="7"} 1
"##,
    );
}

#[test]
fn histograms_and_floats_of_one_series_are_told_apart() {
    check(
        true,
        "
load 1m
  mix 1 {{schema:0 count:2 sum:3 buckets:[1 1]}} 5 {{schema:0 count:4 sum:6 buckets:[2 2]}}

eval range from 0 to 3m step 1m mix * 2
  {} 2 {{schema:0 count:4 sum:6 buckets:[2 2]}} 10 {{schema:0 count:8 sum:12 buckets:[4 4]}}

eval range from 0 to 3m step 1m histogram_count(mix)
  {} _ 2 _ 4

eval range from 0 to 3m step 1m abs(mix)
  {} 1 _ 5 _

eval instant at 3m rate(mix[4m])
  expect warn msg: PromQL warning: encountered a mix of histograms and floats for metric name \"mix\" (1:6)

eval instant at 3m max_over_time(mix[4m])
  expect info msg: PromQL info: ignored histograms in a range containing both floats and histograms for metric name \"mix\" (1:15)
  {} 5

eval instant at 3m changes(mix[4m])
  {} 3

eval range from 0 to 3m step 1m count_values(\"v\", mix)
  {v=\"1\"} 1 _ _ _
  {v=\"{count:2, sum:3, (0.5,1]:1, (1,2]:1}\"} _ 1 _ _
  {v=\"5\"} _ _ 1 _
  {v=\"{count:4, sum:6, (0.5,1]:2, (1,2]:2}\"} _ _ _ 1

eval instant at 3m mix + 1
  expect info msg: PromQL info: incompatible sample types encountered for binary operator \"+\": histogram + float (1:1)
",
    );
}

/// Evaluates at 0 over the series of `storage`; the error's text if it fails.
fn instant(query: &str, series: &str) -> Result<(), String> {
    let script = format!("load 1m\n{series}\n\neval instant at 0 {query}\n");
    let options = EngineOptions {
        samples_max: 1_000_000,
        ..EngineOptions::default()
    };
    let report = run_script(
        "inline",
        &script,
        &Tested(Engine::new(options)),
        &mut |_, _| {},
    );

    match report.failures.first() {
        Some(failure) => Err(format!("{failure:?}")),
        None => Ok(()),
    }
}

#[test]
fn labels_that_functions_make_count_against_the_query() {
    let doubled = |function: &dyn Fn(&str) -> String, times: usize| {
        (0..times).fold("up".to_owned(), |inner, _| function(&inner))
    };
    let join = |inner: &str| format!(r#"label_join({inner}, "x", "", "x", "x")"#);
    let replace = |inner: &str| {
        format!(r#"label_replace({inner}, "x", "$1$1$1$1$1$1$1$1$1$1", "x", "(.*)")"#)
    };
    let separator = "s".repeat(400_000);
    let parts = [r#""x""#; 10].join(", ");

    // Each is a text of a few kilobytes that would take gigabytes.
    for query in [
        doubled(&join, 60),
        doubled(&replace, 20),
        format!(r#"label_join(up, "y", "{separator}", {parts})"#),
        format!(
            r#"label_replace(up, "y", "{}$1", "x", "(.*)")"#,
            "$1".repeat(500_000)
        ),
    ] {
        let refused = instant(&query, "up{x=\"0123456789\"} 1").expect_err("too much");
        assert!(refused.contains("a label value would have"), "{refused}");
    }

    // Many series with long labels, each of which is allowed.
    let many: String = (0..100).map(|i| format!("up{{i=\"{i}\"}} 1\n")).collect();
    let long = format!(
        r#"label_replace(up, "y", "{}", "i", ".*")"#,
        "z".repeat(900_000)
    );
    let refused = instant(&long, &many).expect_err("90 MB of labels against 16 MB");
    assert!(refused.contains("query.max_samples"), "{refused}");
}

#[test]
fn patterns_of_label_replace_are_bounded_together() {
    let query = (0..20)
        .map(|i: usize| format!(r#"label_replace(up, "y", "", "x", "[\\pL]{{200}}{i}")"#))
        .collect::<Vec<_>>()
        .join(" or ");
    assert!(instant(&query, "up 1").is_err());
}

#[test]
fn info_joins_very_many_targets() {
    let mut series = String::new();
    for i in 0..12_000 {
        series.push_str(&format!(
            "up{{instance=\"10.0.{}.{}:9100-{i}\", job=\"x\"}} 1\n",
            i / 250,
            i % 250
        ));
    }

    series.push_str("target_info{instance=\"10.0.0.0:9100-0\", job=\"x\", version=\"7\"} 1\n");
    let script = format!(
        "load 1m\n{series}\n\neval instant at 0 count by (version) (info(up))\n  {{version=\"7\"}} 1\n  {{}} 11999\n"
    );

    check(true, &script);
}

/// Runs `script` with `threads` and the stack of a node's query threads; the failures.
fn failures_on_query_stack(script: String, threads: usize) -> String {
    #[allow(clippy::disallowed_methods)] // a stack of the size that queries have
    let thread = std::thread::Builder::new().stack_size(trireme_promql::STACK_BYTES);
    thread
        .spawn(move || {
            let options = EngineOptions {
                threads,
                ..EngineOptions::default()
            };
            let report = run_script(
                "inline",
                &script,
                &Tested(Engine::new(options)),
                &mut |_, _| {},
            );

            report
                .failures
                .iter()
                .map(|failure| format!("{failure:.400?}"))
                .collect::<String>()
        })
        .expect("a thread starts")
        .join()
        .expect("no overflow and no panic")
}

#[test]
fn chains_of_thousands_of_terms_are_evaluated() {
    let chain = |first: &str, op: &str, term: &str, terms: usize| {
        format!("{first}{}", format!(" {op} {term}").repeat(terms - 1))
    };

    let load = "load 1m\n  a 1 2 3 4\n  b 1 2 3 4\n\n";
    for terms in [300, 1_900] {
        let ones = chain("1", "+", "1", terms);
        let scripts = [
            format!("eval instant at 1m {ones}\n  {terms}\n"),
            format!(
                "{load}eval instant at 1m {}\n  a 2\n",
                chain("a", "or", "a", terms)
            ),
            format!(
                "{load}eval instant at 1m {}\n  {{}} {}\n",
                chain("a", "+", "1", terms),
                terms + 1
            ),
            format!(
                "{load}eval instant at 1m {}\n  {{}} {}\n",
                chain("a", "+ ignoring (__name__)", "b", terms),
                2 * terms
            ),
            format!(
                "{load}eval instant at 1m sum({})\n  {{}} {}\n",
                chain("a", "+", "1", terms),
                terms + 1
            ),
        ];

        for script in scripts {
            assert_eq!(
                failures_on_query_stack(script.clone(), 1),
                "",
                "{terms}: {:.60}",
                script
            );
        }
    }

    // Rows that other threads compute.
    let mut many = "load 1m\n".to_owned();
    (0..3_000).for_each(|i| many.push_str(&format!("  c{{i=\"{i}\"}} 1\n")));

    let query = format!(
        "\neval instant at 0 sum({})\n  {{}} {}\n",
        chain("c", "+", "1", 500),
        3_000 * 500
    );

    assert_eq!(failures_on_query_stack(many + &query, 3), "");
}

/// A series of so many samples that none is ever read whole.
struct Endless(Labels);

impl SeriesRead for Endless {
    fn labels(&self) -> &Labels {
        &self.0
    }

    fn read(&self, _: i64, _: i64, _: &mut Columns) -> Result<(), SelectError> {
        panic!("it is read without a bound")
    }

    fn read_within(
        &self,
        _: i64,
        _: i64,
        max: usize,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        (0..)
            .take_while(|t| *t <= max as i64)
            .for_each(|t| out.push_float(t, 1.0));
        out.check_within(max)
    }
}

struct OneEndless;

impl Select for OneEndless {
    fn select(&self, _: &SelectRequest, _: &Cancel) -> Result<SeriesSet, SelectError> {
        let series =
            Box::new(Endless(Labels::from_pairs([("__name__", "m")]))) as Box<dyn SeriesRead>;
        Ok(SeriesSet {
            series: vec![series],
            warnings: Vec::new(),
        })
    }
}

#[test]
fn no_series_is_read_beyond_what_the_query_may_hold() {
    let engine = Engine::new(EngineOptions {
        samples_max: 100_000,
        ..EngineOptions::default()
    });
    let options = QueryOptions::default();

    let cancel = Cancel::never();
    for query in ["rate(m[10y])", "m[10y]", "sum(count_over_time(m[10y]))"] {
        let expr = parse(query, &ParserOptions::default()).expect("parses");
        let error = engine
            .instant(&OneEndless, &expr, query, 0, &options, &cancel)
            .expect_err(query);
        assert_eq!(error, QueryError::TooManySamples, "{query}");
    }

    for query in ["rate(m[5m])", "m", "m smoothed"] {
        let expr = parse(query, &ParserOptions::default()).expect("parses");
        let span = (0, 3_600_000);
        let error = engine
            .range(&OneEndless, &expr, query, span, 60_000, &options, &cancel)
            .expect_err(query);
        assert_eq!(error, QueryError::TooManySamples, "{query}");
    }
}
