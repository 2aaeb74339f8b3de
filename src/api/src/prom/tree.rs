//! An expression as the tree that Prometheus's page draws and explains: `parse_query`.
//!
//! Names and values are those of Prometheus: durations and times in milliseconds, numbers as text, absent parts as null.

use serde_json::{Value, json};
use trireme_model::Matcher;
use trireme_promql::ast::{
    Aggregate, At, Binary, Call, DurationArg, DurationExpr, Expr, MatchCardinality, Subquery,
    VectorMatching, VectorSelector,
};

/// A node with everything below it.
///
/// What is below is put into its place afterwards: `json!` copies what it is given, so that a high tree would be copied at
/// each of its levels.
pub(super) fn node(expr: &Expr) -> Value {
    match expr {
        Expr::Number(n) => json!({ "type": "numberLiteral", "val": number(n.value) }),
        Expr::String(s) => json!({ "type": "stringLiteral", "val": &*s.value }),
        Expr::Paren(p) => with(json!({ "type": "parenExpr" }), [("expr", node(&p.expr))]),
        Expr::Unary(u) => with(
            json!({ "type": "unaryExpr", "op": u.op.as_str() }),
            [("expr", node(&u.expr))],
        ),
        Expr::Binary(b) => binary(b),
        Expr::Aggregate(a) => aggregation(a),
        Expr::Call(c) => call(c),
        Expr::Vector(v) => selector("vectorSelector", v),
        Expr::Matrix(m) => {
            let mut found = selector("matrixSelector", &m.selector);
            found["range"] = json!(m.range.ms);
            found["rangeExpr"] = duration(&m.range);
            found
        }
        Expr::Subquery(s) => subquery(s),
    }
}

fn binary(b: &Binary) -> Value {
    let found = json!({
        "type": "binaryExpr", "op": b.op.as_str(), "matching": b.matching.as_ref().map(matching),
        "bool": b.return_bool,
    });
    with(found, [("lhs", node(&b.lhs)), ("rhs", node(&b.rhs))])
}

fn aggregation(a: &Aggregate) -> Value {
    let found = json!({
        "type": "aggregation", "op": a.op.as_str(), "grouping": texts(&a.grouping), "without": a.without,
    });
    let param = a.param.as_ref().map_or(Value::Null, |param| node(param));
    with(found, [("expr", node(&a.expr)), ("param", param)])
}

fn subquery(s: &Subquery) -> Value {
    let found = json!({
    "type": "subquery", "range": s.range.ms, "offset": s.offset.ms,
    "step": s.step.as_ref().map_or(0, |step| step.ms), "timestamp": timestamp(s.at), "startOrEnd": edge(s.at),
    "rangeExpr": duration(&s.range), "offsetExpr": duration(&s.offset),
    "stepExpr": s.step.as_ref().map_or(Value::Null, duration),
    });
    with(found, [("expr", node(&s.expr))])
}

/// The node with the nodes below it.
fn with<const N: usize>(mut node: Value, below: [(&str, Value); N]) -> Value {
    for (name, value) in below {
        node[name] = value;
    }
    node
}

fn selector(kind: &str, v: &VectorSelector) -> Value {
    json!({
        "type": kind, "name": v.name.as_deref().unwrap_or(""), "offset": v.offset.ms,
        "offsetExpr": duration(&v.offset),
        "matchers": v.matchers.iter().map(matcher).collect::<Vec<_>>(),
        "timestamp": timestamp(v.at), "startOrEnd": edge(v.at),
        "anchored": v.anchored, "smoothed": v.smoothed,
    })
}

/// A duration that was written as an expression, as a tree; null for a plain one.
fn duration(arg: &DurationArg) -> Value {
    arg.expr
        .as_ref()
        .map_or(Value::Null, |expr| duration_node(expr))
}

fn duration_node(expr: &DurationExpr) -> Value {
    match expr {
        DurationExpr::Literal {
            seconds, duration, ..
        } => {
            json!({ "type": "numberLiteral", "val": number(*seconds), "duration": duration })
        }
        DurationExpr::Step(_) => operation("step", Value::Null, Value::Null),
        DurationExpr::Range(_) => operation("range", Value::Null, Value::Null),
        DurationExpr::Neg { expr, .. } => operation("-", Value::Null, duration_node(expr)),
        DurationExpr::Binary { op, lhs, rhs, .. } => {
            operation(op.as_str(), duration_node(lhs), duration_node(rhs))
        }
        DurationExpr::Pick { max, lhs, rhs, .. } => {
            let op = if *max { "max_of" } else { "min_of" };
            operation(op, duration_node(lhs), duration_node(rhs))
        }
        DurationExpr::Paren { expr, .. } => {
            // A number alone in parentheses is a sum of one.
            let mut inner = match &**expr {
                DurationExpr::Literal { .. } => operation("+", Value::Null, duration_node(expr)),
                _ => duration_node(expr),
            };
            inner["wrapped"] = json!(true);
            inner
        }
    }
}

fn operation(op: &str, lhs: Value, rhs: Value) -> Value {
    json!({ "type": "durationExpr", "op": op, "lhs": lhs, "rhs": rhs, "wrapped": false })
}

fn matcher(m: &Matcher) -> Value {
    json!({ "name": &*m.name, "value": &*m.value, "type": m.op.as_str() })
}

fn timestamp(at: Option<At>) -> Option<i64> {
    match at {
        Some(At::Timestamp(t)) => Some(t),
        _ => None,
    }
}

fn edge(at: Option<At>) -> Option<&'static str> {
    match at {
        Some(At::Start) => Some("start"),
        Some(At::End) => Some("end"),
        _ => None,
    }
}

fn call(c: &Call) -> Value {
    let types: Vec<_> = c.func.arg_types.iter().map(|t| t.as_str()).collect();
    let found = json!({
        "type": "call",
        "func": {
            "name": c.func.name, "argTypes": types, "variadic": c.func.variadic,
            "returnType": c.func.return_type.as_str(),
        },
    });

    with(
        found,
        [("args", Value::Array(c.args.iter().map(node).collect()))],
    )
}

fn matching(m: &VectorMatching) -> Value {
    let card = match m.card {
        MatchCardinality::OneToOne => "one-to-one",
        MatchCardinality::ManyToOne => "many-to-one",
        MatchCardinality::OneToMany => "one-to-many",
        MatchCardinality::ManyToMany => "many-to-many",
    };
    json!({
        "card": card, "labels": texts(&m.labels), "on": m.on, "include": texts(&m.include),
        "fillValues": { "lhs": m.fill_left, "rhs": m.fill_right },
    })
}

fn texts(names: &[std::sync::Arc<str>]) -> Vec<&str> {
    names.iter().map(AsRef::as_ref).collect()
}

/// Decimal without an exponent, as short as it can be.
fn number(v: f64) -> String {
    match v {
        _ if v.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => v.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use trireme_promql::{ParserOptions, parse};

    use super::*;

    #[track_caller]
    fn check(text: &str, want: Value) {
        let expr = parse(text, &ParserOptions::default()).expect("an expression");
        assert_eq!(node(&expr), want, "{text}");
    }

    fn up() -> Value {
        json!({
            "type": "vectorSelector", "name": "up", "offset": 0, "timestamp": null, "startOrEnd": null,
            "offsetExpr": null,
            "matchers": [{ "name": "__name__", "value": "up", "type": "=" }], "anchored": false, "smoothed": false,
        })
    }

    #[test]
    fn selectors_show_matchers_and_modifiers() {
        check("up", up());
        check(
            r#"x{a!~"b|c"}[5m] offset -1m @ 1.5"#,
            json!({
                "type": "matrixSelector", "name": "x", "range": 300_000, "offset": -60_000, "timestamp": 1_500,
                "startOrEnd": null, "anchored": false, "smoothed": false, "rangeExpr": null, "offsetExpr": null,
                "matchers": [
                    { "name": "a", "value": "b|c", "type": "!~" }, { "name": "__name__", "value": "x", "type": "=" },
                ],
            }),
        );

        check(
            "up[1h:] @ end()",
            json!({
                "type": "subquery", "expr": up(), "range": 3_600_000, "offset": 0, "step": 0, "timestamp": null,
                "startOrEnd": "end", "rangeExpr": null, "offsetExpr": null, "stepExpr": null,
            }),
        );

        let literal = |val: &str, duration: bool| json!({ "type": "numberLiteral", "val": val, "duration": duration });
        for (text, op, lhs, rhs) in [
            (
                "x offset (1m/2)",
                "/",
                literal("60", true),
                literal("2", false),
            ),
            ("x offset (-1m)", "+", Value::Null, literal("-60", true)),
            ("x offset ((60))", "+", Value::Null, literal("60", false)),
        ] {
            let expr = parse(text, &ParserOptions::default()).expect("an expression");
            assert_eq!(
                node(&expr)["offsetExpr"],
                json!({ "type": "durationExpr", "op": op, "lhs": lhs, "rhs": rhs, "wrapped": true }),
                "{text}",
            );
        }
    }

    #[test]
    fn operators_show_how_vectors_match() {
        check(
            "up == bool on (a) group_left (b) up",
            json!({
                "type": "binaryExpr", "op": "==", "bool": true, "lhs": up(), "rhs": up(),
                "matching": {
                    "card": "many-to-one", "labels": ["a"], "on": true, "include": ["b"],
                    "fillValues": { "lhs": null, "rhs": null },
                },
            }),
        );

        let filled = parse("a + fill_left(1) b", &ParserOptions::default()).expect("an expression");
        assert_eq!(
            node(&filled)["matching"]["fillValues"],
            json!({ "lhs": 1.0, "rhs": null })
        );
        check(
            "-(1e6 + Inf)",
            json!({
                "type": "unaryExpr", "op": "-",
                "expr": { "type": "parenExpr", "expr": {
                    "type": "binaryExpr", "op": "+", "bool": false, "matching": null,
                    "lhs": { "type": "numberLiteral", "val": "1000000" },
                    "rhs": { "type": "numberLiteral", "val": "+Inf" },
                } },
            }),
        );
    }

    #[test]
    fn aggregations_and_calls_show_parameters_and_signatures() {
        check(
            "topk without (a) (3, up)",
            json!({
                "type": "aggregation", "op": "topk", "expr": up(), "grouping": ["a"], "without": true,
                "param": { "type": "numberLiteral", "val": "3" },
            }),
        );
        check(
            r#"label_join(up, "a", "-", "b")"#,
            json!({
                "type": "call",
                "func": {
                    "name": "label_join", "argTypes": ["vector", "string", "string", "string"], "variadic": -1,
                    "returnType": "vector",
                },
                "args": [
                    up(), { "type": "stringLiteral", "val": "a" }, { "type": "stringLiteral", "val": "-" },
                    { "type": "stringLiteral", "val": "b" },
                ],
            }),
        );
    }
}
