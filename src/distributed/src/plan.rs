//! Which parts of an expression can be evaluated by series, so that shards of the series can share the work.

use trireme_promql::ast::{Aggregate, AggregateOp, Expr, PosRange, ValueType};

/// Functions whose result for a series depends on that series alone. Left out on purpose: those that look at several
/// series (`absent`, `histogram_quantile`, `info`, sorting) and those that can make series equal (`label_replace`).
const BY_SERIES: [&str; 77] = [
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "avg_over_time",
    "ceil",
    "changes",
    "clamp",
    "clamp_max",
    "clamp_min",
    "cos",
    "cosh",
    "count_over_time",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "deg",
    "delta",
    "deriv",
    "double_exponential_smoothing",
    "exp",
    "first_over_time",
    "floor",
    "histogram_avg",
    "histogram_count",
    "histogram_stddev",
    "histogram_stdvar",
    "histogram_sum",
    "hour",
    "idelta",
    "increase",
    "integral",
    "irate",
    "last_over_time",
    "ln",
    "log10",
    "log2",
    "mad_over_time",
    "max_over_time",
    "min_over_time",
    "minute",
    "month",
    "predict_linear",
    "present_over_time",
    "quantile_over_time",
    "rad",
    "rate",
    "resets",
    "round",
    "sgn",
    "sin",
    "sinh",
    "sqrt",
    "start_timestamp",
    "stddev_over_time",
    "stdvar_over_time",
    "sum_over_time",
    "tan",
    "tanh",
    "timestamp",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
    "year",
    // Scalars.
    "end",
    "max_of",
    "min_of",
    "pi",
    "range",
    "start",
    "step",
    "time",
];

/// The outermost aggregations that shards can evaluate, in order of evaluation.
pub fn distributable(expr: &Expr) -> Vec<PosRange> {
    let mut found = Vec::new();
    collect(expr, &mut found);
    found
}

fn collect(expr: &Expr, found: &mut Vec<PosRange>) {
    match expr {
        Expr::Aggregate(a) if is_distributable(a) => found.push(a.pos),
        // Inside, the steps are others than the query's.
        Expr::Subquery(_) => {}
        // It looks at the expression of its second argument, not at its value.
        Expr::Call(c) if c.func.name == "info" => {}
        // They read histograms without their buckets, which shards do not know of.
        Expr::Call(c)
            if c.func.name.starts_with("histogram_") && !c.func.name.starts_with("histogram_q") => {
        }
        _ => expr
            .children()
            .into_iter()
            .for_each(|child| collect(child, found)),
    }
}

fn is_distributable(a: &Aggregate) -> bool {
    use AggregateOp::{Avg, Bottomk, Count, Group, Limitk, Max, Min, Sum, Topk};

    let op = matches!(
        a.op,
        Sum | Count | Min | Max | Avg | Group | Topk | Bottomk | Limitk
    );

    op && has_selector(&a.expr)
        && is_by_series(&a.expr)
        && a.param.as_ref().is_none_or(|p| is_by_series(p))
}

fn has_selector(expr: &Expr) -> bool {
    let mut found = false;
    expr.walk(&mut |node| found |= matches!(node, Expr::Vector(_) | Expr::Matrix(_)));
    found
}

/// True if each series of the result comes from one series of storage. Scalars must not depend on series at all.
fn is_by_series(expr: &Expr) -> bool {
    match expr {
        Expr::Number(_) | Expr::Vector(_) | Expr::Matrix(_) => true,
        Expr::String(_) | Expr::Aggregate(_) => false,
        Expr::Subquery(s) => s.expr.value_type() == ValueType::Vector && is_by_series(&s.expr),
        Expr::Paren(p) => is_by_series(&p.expr),
        Expr::Unary(u) => is_by_series(&u.expr),
        Expr::Binary(b) => {
            let scalar = [&b.lhs, &b.rhs]
                .iter()
                .any(|side| side.value_type() == ValueType::Scalar);
            scalar && is_by_series(&b.lhs) && is_by_series(&b.rhs)
        }
        Expr::Call(c) => BY_SERIES.contains(&c.func.name) && c.args.iter().all(is_by_series),
    }
}

#[cfg(test)]
mod tests {
    use trireme_promql::ast::function;
    use trireme_promql::{ParserOptions, parse};

    use super::*;

    fn parts(text: &str) -> Vec<&str> {
        let expr = parse(text, &ParserOptions::default()).expect("an expression");
        distributable(&expr)
            .into_iter()
            .map(|pos| pos.text(text).trim())
            .collect()
    }

    #[test]
    fn every_listed_function_exists() {
        let missing: Vec<_> = BY_SERIES
            .iter()
            .filter(|name| function(name).is_none())
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn finds_the_outermost_aggregations_that_work_by_series() {
        assert_eq!(parts("sum(rate(x[5m]))"), ["sum(rate(x[5m]))"]);
        assert_eq!(
            parts("sum by (a) (x * 2) / on (a) max by (a) (-y)"),
            ["sum by (a) (x * 2)", "max by (a) (-y)"]
        );
        assert_eq!(parts("topk(3, sum by (a) (x))"), ["sum by (a) (x)"]);
        assert_eq!(
            parts("avg(max_over_time(rate(x[1m])[1h:5m]))"),
            ["avg(max_over_time(rate(x[1m])[1h:5m]))"]
        );

        let quantile = "histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))";
        assert_eq!(parts(quantile), ["sum by (le) (rate(x_bucket[5m]))"]);
    }

    #[test]
    fn leaves_what_looks_at_several_series_alone() {
        for text in [
            "x",
            "sum(x + y)",
            "sum(x * scalar(y))",
            "topk(scalar(y), x)",
            "sum(absent(x))",
            "sum(label_replace(x, \"a\", \"b\", \"\", \"\"))",
            "quantile(0.5, x)",
            "stddev(x)",
            "count_values(\"v\", x)",
            "limit_ratio(0.5, x)",
            "max_over_time(sum(x)[1h:5m])",
            "sum(vector(1))",
            "histogram_count(sum(x))",
        ] {
            assert_eq!(parts(text), Vec::<&str>::new(), "{text}");
        }
    }
}
