//! Our parser against the `promql-parser` crate, another implementation of the same language (as of Prometheus 3.8).
//!
//! Both have to accept the same queries and to understand them alike: what the other one prints has to print the
//! same from our tree. Differences that are known and explained are listed in [`explained`].

use promql_parser::parser as other;
use proptest::prelude::*;
use trireme_promql::ast::{Expr, Unary, UnaryOp};
use trireme_promql::{ParserOptions, parse};

use crate::generate::{Features, vector};
use crate::scripts::expressions;

/// Why the two may differ on a query, if they may.
fn explained(query: &str) -> Option<&'static str> {
    let reasons: [(&[&str], &str); 8] = [
        (&["anchored", "smoothed"], "extended selectors are newer than the crate"),
        (&["</", ">/"], "histogram trims are newer than the crate"),
        (&["step()", "range()", "min_of", "max_of"], "duration expressions are newer than the crate"),
        (&["info("], "the crate does not let the second argument of info match the empty string"),
        (
            &["start_timestamp", "ts_of_first", "ts_of_last", "first_over_time", "histogram_quantiles"],
            "newer functions",
        ),
        (&["ignoring() group"], "the crate prints group_left without the empty ignoring() before it"),
        (&["\\xc5", "\\xff"], "the crate replaces bytes that are not UTF-8"),
        (
            &["start() ", "end() ", "start()+", "end()+"],
            "start() and end() as functions are newer than the crate",
        ),
    ];
    let lower = query.to_lowercase();
    let listed =
        reasons.iter().find(|(words, _)| words.iter().any(|w| lower.contains(w))).map(|(_, why)| *why);
    listed.or_else(|| {
        has_duration_arithmetic(&lower).then_some("duration expressions are newer than the crate")
    })
}

/// True if brackets or an offset hold more than a literal.
fn has_duration_arithmetic(query: &str) -> bool {
    let in_brackets = query.split('[').skip(1).filter_map(|rest| rest.split(']').next());
    let mut after_offset =
        query.split("offset ").skip(1).map(|rest| rest.trim_start_matches(['-', '+', ' ']));
    in_brackets.into_iter().any(|inside| inside.contains(['+', '-', '*', '/', '%', '^', '(']))
        || after_offset.any(|rest| rest.starts_with('('))
}

/// `None` if both agree, else what is different.
fn difference(query: &str) -> Option<String> {
    let ours = parse(query, &ParserOptions::default());
    let theirs = other::parse(query);
    match (ours, theirs) {
        (Err(_), Err(_)) => None,
        (Ok(_), Err(e)) => Some(format!("only we accept {query:?}: {e}")),
        (Err(e), Ok(_)) => Some(format!("only the crate accepts {query:?}: {e}")),
        (Ok(ours), Ok(theirs)) => {
            let (ours, theirs) = (normal(ours).to_string(), theirs.to_string());
            let reparsed = parse(&theirs, &ParserOptions::default()).map(|e| normal(e).to_string());
            (reparsed.as_ref() != Ok(&ours))
                .then(|| format!("{query:?} is {ours:?} and {theirs:?} -> {reparsed:?}"))
        }
    }
}

/// The tree without what the crate does not keep: a plus sign, and that a number was written as a duration.
fn normal(mut expr: Expr) -> Expr {
    expr.walk_mut(&mut |e| {
        while let Expr::Unary(Unary { op: UnaryOp::Plus, expr, .. }) = e {
            *e = (**expr).clone();
        }
        if let Expr::Number(n) = e {
            n.duration = false;
        }
    });
    expr
}

#[test]
fn agrees_on_the_expressions_of_the_scripts() {
    let expressions = expressions();
    if expressions.is_empty() {
        eprintln!("SKIPPED: the scripts are not there");
    }
    let unexplained: Vec<String> = expressions
        .iter()
        .filter(|(_, _, expr)| explained(expr).is_none())
        .filter_map(|(file, line, expr)| difference(expr).map(|d| format!("{file}:{line}: {d}")))
        .collect();
    assert!(unexplained.is_empty(), "{}:\n{}", unexplained.len(), unexplained.join("\n"));
}

#[test]
fn agrees_on_what_is_wrong() {
    let wrong = [
        "",
        "1+",
        "foo bar",
        "(1",
        "1)",
        "sum(",
        "sum by foo",
        "sum()",
        "sum(a, b)",
        "topk(a)",
        "nope(a)",
        "rate(foo)",
        "rate()",
        "round(a, 1, 2)",
        "floor(foo,)",
        "{}",
        "{a=\"\"}",
        "foo{__name__=\"bar\"}",
        "foo{a}",
        "foo{a=b}",
        "foo[]",
        "foo[0m]",
        "foo[5mm]",
        "foo offset 1m[5m]",
        "(foo)[5m]",
        "foo offset",
        "1 offset 1d",
        "foo @ bar",
        "foo @ Inf",
        "1 == 1",
        "1 + bool 1",
        "foo or 1",
        "foo + on(a) 1",
        "foo and on(a) group_left(b) bar",
        "a + on(b) group_left(b) c",
        "foo[5m] + 1",
        "-\"a\"",
        "sum(1)",
        "topk(\"a\", b)",
        "\"a",
        "foo ! bar",
        "foo =~ bar",
        "1e",
        "0x",
        "1..2",
        "foo{a=~\"(\"}",
    ];
    for query in wrong {
        assert!(parse(query, &ParserOptions::default()).is_err(), "we accept {query:?}");
        assert!(other::parse(query).is_err(), "the crate accepts {query:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_on_random_queries(query in vector(Features { recent: false })) {
        if explained(&query).is_none() && let Some(difference) = difference(&query) {
            return Err(TestCaseError::fail(difference));
        }
    }
}
