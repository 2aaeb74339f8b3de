//! What is quick, over sources that only know how many series they have.

use std::sync::Arc;

use trireme_head::Effort;
use trireme_model::{MetricMetadata, Tenant};
use trireme_promql::{Cancel, SeriesRead};

use super::*;
use crate::{
    Catalog, ExemplarSeries, QuerierOptions, Queries, SourceError, SourceList, Texts, TsdbStatus,
};

/// Series that match whatever is asked; `None`: nothing is known at once.
struct Counted(Option<usize>);

impl Source for Counted {
    fn name(&self) -> String {
        "counted".to_owned()
    }

    fn time_range(&self) -> (i64, i64) {
        (i64::MIN, i64::MAX)
    }

    fn effort(&self, _: &[Matcher]) -> Option<Effort> {
        self.0.map(|series| Effort {
            series,
            entries: series,
        })
    }

    fn value_count(&self, _: &str) -> Option<usize> {
        self.0.map(|series| series / 10)
    }

    fn select(
        &self,
        _: &[Matcher],
        _: i64,
        _: i64,
        _: &Cancel,
    ) -> Result<Vec<Box<dyn SeriesRead>>, SourceError> {
        Ok(Vec::new())
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

struct Sources(Vec<Option<usize>>);

impl Catalog for Sources {
    fn head_sources(&self, _: &Scope) -> Option<Vec<Arc<dyn Source>>> {
        Some(
            self.0
                .iter()
                .map(|known: &Option<usize>| Arc::new(Counted(*known)) as Arc<dyn Source>)
                .collect(),
        )
    }

    /// Listing blocks opens those of the bucket, which waits for the bucket.
    fn sources(&self, _: &Scope) -> SourceList {
        panic!("blocks were opened to find out whether a question is quick")
    }

    fn exemplars(
        &self,
        _: &Tenant,
        _: &[Vec<Matcher>],
        _: i64,
        _: i64,
    ) -> Result<Vec<ExemplarSeries>, SourceError> {
        Ok(Vec::new())
    }

    fn metadata(
        &self,
        _: &Tenant,
        _: Option<&str>,
    ) -> Result<Vec<(String, MetricMetadata)>, SourceError> {
        Ok(Vec::new())
    }

    fn tsdb_status(&self, _: &Tenant, _: usize) -> Result<TsdbStatus, SourceError> {
        Ok(TsdbStatus::default())
    }
}

fn is_quick(sources: &[Option<usize>], asked: Asked<'_>) -> bool {
    let querier = Querier::new(
        Arc::new(Sources(sources.to_vec())),
        QuerierOptions::default(),
    );
    querier.is_quick(
        &QueryContext::new(Tenant::default(), Cancel::never()),
        &asked,
    )
}

fn expr(text: &str, hours: i64) -> Asked<'_> {
    let step_ms = if hours == 0 { 0 } else { 60_000 };
    Asked::Expr {
        text,
        start_ms: 0,
        end_ms: hours * 3_600_000,
        step_ms,
        lookback: None,
    }
}

#[test]
fn small_questions_are_quick_and_large_ones_are_not() {
    let cases = [
        ("up", 0, 100, true),
        ("up", 0, 1_000, false),
        ("up", 6, 5, true),
        ("up", 6, 50, false),
        ("sum(rate(x_total[5m]))", 6, 4, true),
        ("sum(rate(x_total[5m]))", 6, 40, false),
        ("max_over_time(x[6h])", 6, 1, false),
        ("max_over_time((avg(x))[1h:1m])", 0, 20, true),
        ("max_over_time((avg(x))[30d:1m])", 0, 1, false),
        ("a / b", 0, 100, true),
        ("a / b", 0, 200, false),
        ("vector(1)", 6, 1_000_000, true),
    ];
    for (text, hours, series, quick) in cases {
        assert_eq!(
            is_quick(&[Some(series)], expr(text, hours)),
            quick,
            "{text} over {hours} h of {series}"
        );
    }
}

#[test]
fn work_without_series_counts_as_well() {
    let cases = [
        ("quantile_over_time(0.5, sin(vector(time()))[2d:10s])", 6),
        ("sum_over_time(vector(time())[2d:10s])", 6),
        ("max_over_time(vector(1)[1y:1s])", 0),
        ("count_values(\"a\", up)", 0),
        ("label_replace(up, \"a\", \"$1$1\", \"a\", \"(.*)\")", 0),
        ("label_join(up, \"a\", \"\", \"a\", \"a\")", 0),
    ];

    for (text, hours) in cases {
        assert!(
            !is_quick(&[Some(1)], expr(text, hours)),
            "{text} over {hours} h"
        );
    }

    let many = vec!["1"; 1_000].join("+");
    assert!(
        !is_quick(&[Some(1)], expr(&many, 6)),
        "a thousand parts at 361 steps"
    );
}

#[test]
fn what_takes_long_to_parse_is_not_parsed_to_find_out() {
    let heavy = r"\pL|(a?){500}|[a-z]+|a{2}|.*.*.*.*.*|a?";
    for pattern in heavy.split('|').chain([&*"ab".repeat(200)]) {
        for op in ["=~", "!~ "] {
            let text = format!("up{{a{op}'{pattern}'}}");
            assert!(!is_quick(&[Some(1)], expr(&text, 0)), "{text}");
        }
    }

    let long = format!("up # {}", "a".repeat(5_000));
    assert!(!is_quick(&[Some(1)], expr(&long, 0)));
    assert!(is_light(["up", r#"{a="b"}"#]));
    assert!(
        !is_light(std::iter::repeat_n(r#"{a="b"}"#, 1_000)),
        "short texts, but many"
    );
}

#[test]
fn patterns_of_letters_and_few_wildcards_are_looked_at_at_once() {
    for pattern in [
        "b",
        "a|b|c",
        "(node-1:9100|node-2:9100)",
        ".+",
        "kube.*",
        ".*-web-.*",
    ] {
        assert!(
            is_quick(
                &[Some(1)],
                expr(&format!("up{{a=~\"{pattern}\", b!~`x`}}"), 0)
            ),
            "{pattern}"
        );
    }

    let one = r#"{a=~"a.*"}"#;
    assert!(is_light([one; 4]));
    assert!(!is_light([one; 5]), "wildcards of all texts count");
    assert!(!is_light([r#"{a=~"unfinished"#, "{a=~", "{a=~b}"]));
}

#[test]
fn the_lookback_of_the_request_counts() {
    let day = Some(std::time::Duration::from_secs(86_400));
    let asked = |lookback| Asked::Expr {
        text: "up",
        start_ms: 0,
        end_ms: 60_000,
        step_ms: 60_000,
        lookback,
    };

    assert!(is_quick(&[Some(10)], asked(None)));
    assert!(!is_quick(&[Some(10)], asked(day)));
}

#[test]
fn what_is_not_known_at_once_is_not_quick() {
    for text in ["up @ 5", "info(up)", "up @ start()", "(", "sum("] {
        assert!(!is_quick(&[Some(1)], expr(text, 0)), "{text}");
    }

    assert!(!is_quick(&[Some(1), None], expr("up", 0)));
    let all = Selection {
        start_ms: 0,
        end_ms: 1,
        ..Selection::default()
    };

    assert!(!is_quick(&[None], Asked::LabelNames(&all)));
    assert!(!is_quick(&[None], Asked::LabelValues("job", &all)));
}

#[test]
fn lists_of_names_and_values_are_quick_by_what_has_to_be_looked_at() {
    let up = Matcher::new("__name__", trireme_model::MatchOp::Equal, "up").expect("valid");
    let all = Selection {
        start_ms: 0,
        end_ms: 1,
        ..Selection::default()
    };

    let some = Selection {
        matchers: vec![vec![up]],
        ..all.clone()
    };
    assert!(is_quick(&[Some(10_000)], Asked::LabelNames(&all)));
    assert!(is_quick(&[Some(10_000)], Asked::LabelValues("job", &all)));
    assert!(!is_quick(&[Some(100_000)], Asked::LabelValues("job", &all)));

    assert!(is_quick(&[Some(1_000)], Asked::LabelNames(&some)));
    assert!(!is_quick(&[Some(10_000)], Asked::LabelNames(&some)));
    assert!(is_quick(&[Some(10_000)], Asked::LabelValues("job", &some)));
    assert!(is_quick(&[Some(100)], Asked::Series(&some)));
    assert!(!is_quick(&[Some(1_000)], Asked::Series(&some)));
}
