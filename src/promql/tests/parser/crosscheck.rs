//! Our parser against the `promql-parser` crate, as `oracle` compares them.

use promql_parser::parser as other;
use proptest::prelude::*;
use trireme_promql::{ParserOptions, parse};

use crate::generate::{Features, vector};
use crate::oracle::{difference, explained, understood_otherwise};
use crate::scripts::expressions;

#[test]
fn agrees_on_the_expressions_of_the_scripts() {
    let expressions = expressions();
    let unexplained: Vec<String> = expressions
        .iter()
        .filter(|(_, _, expr)| explained(expr).is_none())
        .filter_map(|(file, line, expr)| difference(expr).map(|d| format!("{file}:{line}: {d}")))
        .collect();

    assert!(
        unexplained.is_empty(),
        "{}:\n{}",
        unexplained.len(),
        unexplained.join("\n")
    );
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
        assert!(
            parse(query, &ParserOptions::default()).is_err(),
            "we accept {query:?}"
        );
        assert!(other::parse(query).is_err(), "the crate accepts {query:?}");
    }
}

/// What is put into queries to damage them.
const FRAGMENTS: [&str; 16] = [
    "",
    " ",
    "(",
    ")",
    "[5m]",
    "{",
    "}",
    ",",
    "-",
    "1",
    "a",
    " by (a) ",
    " offset 1m",
    "\"",
    "==",
    " or ",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_on_random_queries(query in vector(Features { recent: false })) {
        if explained(&query).is_none() && let Some(difference) = difference(&query) {
            return Err(TestCaseError::fail(difference));
        }
    }

    #[test]
    fn understands_damaged_queries_alike(
        query in vector(Features { recent: false }),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..3usize, 0..FRAGMENTS.len()), 1..4),
    ) {
        let mut text: Vec<char> = query.chars().collect();
        for (at, cut, fragment) in edits {
            let at = at.index(text.len() + 1);
            text.splice(at..(at + cut).min(text.len()), FRAGMENTS[fragment].chars());
        }
        let query: String = text.into_iter().collect();
        if explained(&query).is_none() && let Some(difference) = understood_otherwise(&query) {
            return Err(TestCaseError::fail(difference));
        }
    }
}
