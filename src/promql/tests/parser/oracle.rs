//! The `promql-parser` crate as an oracle: another implementation of the same language (as of Prometheus 3.8).
//!
//! Both have to accept the same queries and to understand them alike: what the other one prints has to print the
//! same from our tree. Differences that are known and explained are listed in [`explained`].

use promql_parser::parser as other;
use trireme_promql::ast::{Expr, Unary, UnaryOp};
use trireme_promql::{ParserOptions, parse};

/// Why the two may differ on a query, if they may.
pub fn explained(query: &str) -> Option<&'static str> {
    let reasons: [(&[&str], &str); 8] = [
        (
            &["anchored", "smoothed"],
            "extended selectors are newer than the crate",
        ),
        (&["</", ">/"], "histogram trims are newer than the crate"),
        (
            &["step()", "range()", "min_of", "max_of"],
            "duration expressions are newer than the crate",
        ),
        (
            &["info("],
            "the crate does not let the second argument of info match the empty string",
        ),
        (
            &[
                "start_timestamp",
                "ts_of_first",
                "ts_of_last",
                "first_over_time",
                "histogram_quantiles",
            ],
            "newer functions",
        ),
        (
            &["ignoring() group"],
            "the crate prints group_left without the empty ignoring() before it",
        ),
        (
            &["\\xc5", "\\xff"],
            "the crate replaces bytes that are not UTF-8",
        ),
        (
            &["start() ", "end() ", "start()+", "end()+"],
            "start() and end() as functions are newer than the crate",
        ),
    ];

    let lower = query.to_lowercase();
    let listed = reasons
        .iter()
        .find(|(words, _)| words.iter().any(|w| lower.contains(w)))
        .map(|(_, why)| *why);
    let before_epoch = lower
        .split('@')
        .skip(1)
        .any(|rest| rest.trim_start().starts_with('-'));

    listed
        .or_else(|| before_epoch.then_some("the crate takes times before 1970 for 1970"))
        .or_else(|| {
            has_duration_arithmetic(&lower)
                .then_some("duration expressions are newer than the crate")
        })
}

/// True if brackets or an offset hold more than a literal.
fn has_duration_arithmetic(query: &str) -> bool {
    let in_brackets = query
        .split('[')
        .skip(1)
        .filter_map(|rest| rest.split(']').next());
    let mut after_offset = query
        .split("offset ")
        .skip(1)
        .map(|rest| rest.trim_start_matches(['-', '+', ' ']));

    in_brackets
        .into_iter()
        .any(|inside| inside.contains(['+', '-', '*', '/', '%', '^', '(']))
        || after_offset.any(|rest| rest.starts_with('('))
}

/// `None` if both agree, else what is different.
pub fn difference(query: &str) -> Option<String> {
    let ours = parse(query, &ParserOptions::default());

    let theirs = other::parse(query);
    match (ours, theirs) {
        (Err(_), Err(_)) => None,
        (Ok(_), Err(e)) => Some(format!("only we accept {query:?}: {e}")),
        (Err(e), Ok(_)) => Some(format!("only the crate accepts {query:?}: {e}")),
        (Ok(ours), Ok(theirs)) => unlike(query, ours, &theirs.to_string()),
    }
}

/// What is different if both accept a query and understand it in two ways.
pub fn understood_otherwise(query: &str) -> Option<String> {
    match (parse(query, &ParserOptions::default()), other::parse(query)) {
        (Ok(ours), Ok(theirs)) => unlike(query, ours, &theirs.to_string()),
        _ => None,
    }
}

fn unlike(query: &str, ours: Expr, theirs: &str) -> Option<String> {
    let ours = normal(ours).to_string();
    let reparsed = parse(theirs, &ParserOptions::default()).map(|e| normal(e).to_string());
    (reparsed.as_ref() != Ok(&ours))
        .then(|| format!("{query:?} is {ours:?} and {theirs:?} -> {reparsed:?}"))
}

/// The tree without what the crate does not keep: a plus sign, and that a number was written as a duration.
fn normal(mut expr: Expr) -> Expr {
    expr.walk_mut(&mut |e| {
        while let Expr::Unary(Unary {
            op: UnaryOp::Plus,
            expr,
            ..
        }) = e
        {
            *e = (**expr).clone();
        }
        if let Expr::Number(n) = e {
            n.duration = false;
        }
    });
    expr
}
