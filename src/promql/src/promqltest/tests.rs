use super::series::{parse_description, parse_start_timestamps};
use super::*;
use crate::value::{QueryStats, Sample, SampleValue, Value};

/// Knows one series selector: it returns what the storage has at exactly the evaluation time.
struct Exact;

fn result(value: Value) -> QueryResult {
    QueryResult {
        value,
        warnings: Vec::new(),
        infos: Vec::new(),
        stats: QueryStats::default(),
    }
}

impl Exact {
    fn at(
        storage: &dyn Select,
        query: &str,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<crate::value::Series>, String> {
        let expr =
            crate::parse(query, &crate::ParserOptions::default()).map_err(|e| e.to_string())?;
        let crate::ast::Expr::Vector(v) = expr else {
            return Err("only selectors".to_owned());
        };

        let (start_ms, end_ms, fixed) = match v.at {
            Some(crate::ast::At::Timestamp(t)) => (t, t, true),
            _ => (start_ms, end_ms, false),
        };
        let request = crate::SelectRequest {
            matchers: v.matchers,
            start_ms,
            end_ms,
            hints: crate::SelectHints::default(),
        };

        let set = storage
            .select(&request, &crate::Cancel::never())
            .map_err(|e| e.to_string())?;

        let mut out = Vec::new();
        for series in set.series {
            let mut columns = crate::Columns::default();
            series
                .read(start_ms, end_ms, &mut columns)
                .map_err(|e| e.to_string())?;

            let floats: Vec<(i64, f64)> = columns
                .float_t
                .iter()
                .copied()
                .zip(columns.float_v)
                .collect();

            if !floats.is_empty() {
                assert!(!fixed || floats.len() == 1);
                out.push(crate::value::Series {
                    labels: series.labels().clone(),
                    floats,
                    histograms: Vec::new(),
                });
            }
        }

        Ok(out)
    }
}

impl Evaluate for Exact {
    fn instant(&self, storage: &dyn Select, query: &str, t_ms: i64) -> Result<QueryResult, String> {
        let samples = Self::at(storage, query, t_ms, t_ms)?.into_iter();
        let samples = samples.map(|s| Sample {
            labels: s.labels,
            t: t_ms,
            value: SampleValue::Float(s.floats[0].1),
        });
        Ok(result(Value::Vector(samples.collect())))
    }

    fn range(
        &self,
        storage: &dyn Select,
        query: &str,
        start: i64,
        end: i64,
        step: i64,
    ) -> Result<QueryResult, String> {
        let mut series = Self::at(storage, query, start, end)?;
        if query.contains('@') {
            for s in &mut series {
                let v = s.floats[0].1;
                s.floats = (0..=(end - start) / step)
                    .map(|i| (start + i * step, v))
                    .collect();
            }
        }

        Ok(result(Value::Matrix(series)))
    }
}

fn run(text: &str) -> Report {
    run_script("test", text, &Exact, &mut |_, _| {})
}

#[test]
fn a_right_expectation_passes_in_all_variants() {
    let report = run(
        "# comment\nload 1m\n  up{a=\"b\"} 1+1x5\n\neval instant at 2m up\n  up{a=\"b\"} 3\n\nclear\neval instant at 2m up\n",
    );

    assert_eq!(
        (report.passed, report.failed),
        (2, 0),
        "{:?}",
        report.failures
    );

    assert_eq!(report.executions, 24);
    let report =
        run("load 1m\n  up 1 _ 3 stale\n\neval range from 0 to 2m step 1m up\n  up 1 _ 3\n");

    assert_eq!(
        (report.passed, report.failed),
        (1, 0),
        "{:?}",
        report.failures
    );
}

#[test]
fn wrong_expectations_fail() {
    let load = "load 1m\n  up 1+1x5\n  down 2x5\n\n";
    let cases = [
        "eval instant at 2m up\n  up 4",
        "eval instant at 2m up\n",
        "eval instant at 2m up\n  up 3\n  other 1",
        "eval instant at 2m up\n  expect fail\n",
        "eval instant at 2m up\n  3",
        "eval instant at 2m sum(up)\n  {} 3",
        "eval_fail instant at 2m up\n",
        "eval instant at 2m up\n  expect warn\n  up 3",
        "eval_warn instant at 2m up\n  up 3",
        "eval instant at 2m {__name__=~\"up|down\"}\n  expect ordered\n  up 3\n  down 2",
        "eval range from 0 to 2m step 1m up\n  up 1 2",
        "eval range from 0 to 2m step 1m up\n  up 1 2 3 4",
        "eval range from 0 to 2m step 1m up\n  up 1 2 _",
        "eval instant at 2m up\n  up {{count:3}}",
        "eval instant at 2m up{\n",
        "nonsense",
        "load 1x",
    ];

    for case in cases {
        let report = run(&format!("{load}{case}"));
        assert_eq!((report.passed, report.failed), (0, 1), "{case}");
    }
}

#[test]
fn errors_are_compared() {
    let report = run(concat!(
        "eval instant at 2m sum(up)\n  expect fail msg: only selectors\n\n",
        "eval instant at 2m sum(up)\n  expect fail regex: sel.*rs\n\n",
        "eval_fail instant at 2m sum(up)\n  expected_fail_message only selectors\n\n",
        "eval instant at 2m sum(up)\n  expect fail msg: something else\n",
    ));
    assert_eq!(
        (report.passed, report.failed),
        (3, 1),
        "{:?}",
        report.failures
    );
}

#[test]
fn sequences_are_expanded() {
    let floats = |line: &str| -> Vec<Option<f64>> {
        let description = parse_description(line).unwrap_or_else(|e| panic!("{e}"));
        description
            .values
            .iter()
            .map(|v: &series::SequenceValue| match v.value {
                Some(SampleValue::Float(f)) => Some(f),
                _ => None,
            })
            .collect()
    };

    let some = |v: &[f64]| v.iter().map(|v| Some(*v)).collect::<Vec<_>>();
    assert_eq!(floats("a 1x3"), some(&[1.0, 1.0, 1.0, 1.0]));
    assert_eq!(
        floats("a{b=\"c d\"} 1+2x2 -1-.5x1 1e+3 5m"),
        some(&[1.0, 3.0, 5.0, -1.0, -1.5, 1000.0, 300.0])
    );
    assert_eq!(
        floats("{\"x y\", le=\"} \"} _x2 Inf"),
        [None, None, Some(f64::INFINITY)]
    );
    assert_eq!(
        floats("a -Inf 1e-3x1"),
        some(&[f64::NEG_INFINITY, 1e-3, 1e-3])
    );
    assert_eq!(
        parse_start_timestamps("_ -30s-1mx2 0 _x2 *"),
        Ok(vec![
            None,
            Some(-30_000),
            Some(-90_000),
            Some(-150_000),
            Some(0),
            None,
            None,
            Some(0)
        ])
    );

    for bad in [
        "a 1x",
        "a foo",
        "a 1+x3",
        "a {{schema}}",
        "a {{sum:x}}",
        "a{b=~\"c\"} 1",
        "a {{x:1}}",
        "a 1+1",
        "a -3 -3-3",
        "a _a4",
        "a _-2",
        "a 3+3x4-4",
        "a 1x99999999999",
    ] {
        assert!(parse_description(bad).is_err(), "{bad}");
    }
}

#[test]
fn histogram_literals_and_their_sums_are_read() {
    let line = "h {{schema:1 sum:-0.5 count:4 z_bucket:1 z_bucket_w:0.01 offset:-2 buckets:[1 2] n_buckets:[1] counter_reset_hint:gauge}} {{count:1 buckets:[1]}}+{{count:1 buckets:[1]}}x2";
    let description = parse_description(line).unwrap_or_else(|e| panic!("{e}"));
    let histograms: Vec<_> = description
        .values
        .iter()
        .map(|v| match &v.value {
            Some(SampleValue::Histogram(h)) => h.clone(),
            other => panic!("{other:?}"),
        })
        .collect();

    assert_eq!(
        histograms[0].positive_spans,
        [trireme_model::Span {
            offset: -2,
            length: 2
        }]
    );

    assert!(description.values[0].hint_written);
    let counts: Vec<f64> = histograms.iter().map(|h| h.count).collect();
    assert_eq!(counts, [4.0, 1.0, 2.0, 3.0]);
}

#[test]
fn floats_are_compared_with_tolerance() {
    use compare::almost_equal;

    assert!(almost_equal(1.0, 1.000_000_1) && !almost_equal(1.0, 1.000_01));
    assert!(
        almost_equal(f64::NAN, f64::NAN)
            && !almost_equal(f64::NAN, f64::from_bits(trireme_model::STALE_NAN))
    );
    assert!(!almost_equal(0.0, 1e-9) && almost_equal(f64::INFINITY, f64::INFINITY));
    assert!(!almost_equal(f64::INFINITY, f64::NEG_INFINITY));
}
