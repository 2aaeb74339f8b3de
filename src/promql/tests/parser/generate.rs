//! Random queries of the whole language, as text that has to parse.

use proptest::prelude::*;
use proptest::sample::select;

/// Which parts of the language the queries use.
#[derive(Clone, Copy)]
pub struct Features {
    /// What the `promql-parser` crate does not know or gets wrong: extended selectors, histogram trims, duration
    /// expressions, underscores and octal digits in numbers, times before 1970.
    pub recent: bool,
}

fn name() -> BoxedStrategy<String> {
    select(vec![
        "foo",
        "bar_total",
        "a:b:c",
        "sum",
        "by",
        "offset",
        "start",
        "fill",
        "on_x",
        "Inf_",
        "_",
    ])
    .prop_map(str::to_owned)
    .boxed()
}

fn label() -> BoxedStrategy<String> {
    select(vec![
        "a", "job", "by", "bool", "on", "ignoring", "sum", "offset", "\"x.y\"", "'ü'", "atan2",
        "and", "end",
    ])
    .prop_map(str::to_owned)
    .boxed()
}

fn string() -> BoxedStrategy<String> {
    prop_oneof![
        "[a-z0-9 .|]{0,8}".prop_map(|s| format!("\"{s}\"")),
        "[a-z0-9 \"\n]{0,8}".prop_map(|s| format!("`{s}`")),
        select(vec![
            "'\\''",
            "\"\\n\\t\\\\\\\"\"",
            "\"\\u00e9\\x41\\101\"",
            "\"世界\""
        ])
        .prop_map(str::to_owned),
    ]
    .boxed()
}

fn duration() -> BoxedStrategy<String> {
    prop_oneof![
        (1..500_u32, select(vec!["ms", "s", "m", "h", "d", "w"]))
            .prop_map(|(n, unit)| format!("{n}{unit}")),
        (1..100_u32, 1..60_u32).prop_map(|(h, m)| format!("{h}h{m}m")),
        (1..10_000_u32).prop_map(|n| n.to_string()),
        Just("1y2w3d".to_owned()),
    ]
    .boxed()
}

fn duration_expression() -> BoxedStrategy<String> {
    let leaf = prop_oneof![4 => duration(), 1 => Just("step()".to_owned()), 1 => Just("range()".to_owned())];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (
                inner.clone(),
                select(vec!["+", "-", "*", "/", "%", "^"]),
                inner.clone()
            )
                .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("-({a})")),
            (select(vec!["min_of", "max_of"]), inner.clone(), inner)
                .prop_map(|(f, a, b)| format!("{f}({a}, {b})")),
        ]
    })
    .boxed()
}

fn range(features: Features) -> BoxedStrategy<String> {
    if features.recent {
        prop_oneof![3 => duration(), 1 => duration_expression()].boxed()
    } else {
        duration()
    }
}

/// `offset` and `@`, in either order.
fn modifiers(features: Features) -> BoxedStrategy<String> {
    let offset = if features.recent {
        prop_oneof![
            duration(),
            duration().prop_map(|d| format!("-{d}")),
            duration_expression().prop_map(|d| format!("({d})"))
        ]
        .boxed()
    } else {
        prop_oneof![duration(), duration().prop_map(|d| format!("-{d}"))].boxed()
    };

    let first_ms = if features.recent { -10_000_000 } else { 0 };
    let at = prop_oneof![
        (first_ms..10_000_000_i64).prop_map(|ms| format!(" @ {}", ms as f64 / 1000.0)),
        Just(" @ start()".to_owned()),
        Just(" @ end()".to_owned()),
    ];

    let extended = if features.recent {
        vec!["", "", " anchored", " smoothed"]
    } else {
        vec![""]
    };

    (
        proptest::option::of(offset.prop_map(|o| format!(" offset {o}"))),
        proptest::option::of(at),
        select(extended),
        any::<bool>(),
    )
        .prop_map(|(offset, at, extended, swap)| {
            let offset = offset.unwrap_or_default();
            let at = at.unwrap_or_default();
            if swap {
                format!("{extended}{at}{offset}")
            } else {
                format!("{offset}{at}{extended}")
            }
        })
        .boxed()
}

fn selector() -> BoxedStrategy<String> {
    let matcher =
        (label(), select(vec!["=", "!=", "=~", "!~"]), string()).prop_map(|(l, op, v)| {
            // Inside braces every word is an identifier, but regular expressions have to compile.
            let v = if op.ends_with('~') && v.contains('\\') {
                "\"a|b.*\"".to_owned()
            } else {
                v
            };
            format!("{l}{op}{v}")
        });

    let matchers = proptest::collection::vec(matcher, 0..4).prop_map(|m| m.join(", "));
    prop_oneof![
        name(),
        (name(), matchers.clone()).prop_map(|(n, m)| format!("{n}{{{m}}}")),
        matchers.prop_map(|m| if m.is_empty() {
            "{\"q.n\"}".into()
        } else {
            format!("{{\"q.n\", {m},}}")
        }),
    ]
    .boxed()
}

fn scalar(features: Features) -> BoxedStrategy<String> {
    let mut numbers = vec![
        "0x1F", "1e3", ".5", "2.", "Inf", "nan", "1h30m", "time()", "pi()",
    ];

    if features.recent {
        numbers.extend(["1_000", "0x_1f", "017"]);
    }

    let leaf = prop_oneof![
        any::<f64>()
            .prop_filter("finite", |v| v.is_finite())
            .prop_map(|v| format!("{v}")),
        (0..1000_u32).prop_map(|v| v.to_string()),
        select(numbers).prop_map(str::to_owned),
    ];

    leaf.prop_recursive(2, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), arithmetic(), inner.clone())
                .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|a| format!("-{a}")),
            inner.prop_map(|a| format!("({a})")),
        ]
    })
    .boxed()
}

fn arithmetic() -> BoxedStrategy<String> {
    select(vec!["+", "-", "*", "/", "%", "^", "atan2"])
        .prop_map(str::to_owned)
        .boxed()
}

fn grouping() -> BoxedStrategy<String> {
    proptest::collection::vec(label(), 0..3)
        .prop_map(|l| l.join(","))
        .boxed()
}

fn matching() -> BoxedStrategy<String> {
    let on = (select(vec!["on", "ignoring"]), grouping()).prop_map(|(w, g)| format!(" {w}({g})"));
    let grouped = (grouping(), select(vec!["group_left", "group_right"]))
        .prop_map(|(g, w)| format!(" ignoring({g}) {w}(copied)"));
    let fill = select(vec![
        "",
        "",
        " fill(0)",
        " fill_left(-1.5)",
        " fill_right(NaN) fill_left(2)",
    ]);

    (
        prop_oneof![2 => Just(String::new()), 1 => on, 1 => grouped],
        fill,
    )
        .prop_map(|(m, f)| m + f)
        .boxed()
}

/// An instant vector.
pub fn vector(features: Features) -> BoxedStrategy<String> {
    let leaf = (selector(), modifiers(features)).prop_map(|(s, m)| s + &m);
    leaf.prop_recursive(4, 24, 3, move |inner| {
        let matrix = prop_oneof![
            2 => (selector(), range(features), modifiers(features)).prop_map(|(s, r, m)| format!("{s}[{r}]{m}")),
            1 => (inner.clone(), range(features), proptest::option::of(range(features)), duration())
                .prop_map(|(e, r, step, offset)| format!("({e})[{r}:{}] offset {offset}", step.unwrap_or_default())),
        ];

        let trims = if features.recent { vec!["</", ">/"] } else { vec!["<", ">"] };
        let comparison = vec!["==", "!=", "<", "<=", ">", ">=", "== bool", "> bool"];
        prop_oneof![
            (inner.clone(), arithmetic(), inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            // Without parentheses a scalar of an operand could end up beside the modifier.
            (inner.clone(), arithmetic(), matching(), inner.clone())
                .prop_map(|(a, op, m, b)| format!("({a}) {op}{m} ({b})")),
            (inner.clone(), select(comparison), matching(), inner.clone())
                .prop_map(|(a, op, m, b)| format!("({a}) {op}{m} ({b})")),
            (inner.clone(), select(vec!["and", "or", "unless", "AND", "Or"]), inner.clone())
                .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            (inner.clone(), arithmetic(), scalar(features)).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            (inner.clone(), select(trims), scalar(features)).prop_map(|(a, op, b)| format!("{a} {op} ({b})")),
            inner.clone().prop_map(|a| format!("-{a}")),
            inner.clone().prop_map(|a| format!("( {a} ) # comment\n")),
            (select(vec!["sum", "avg", "MIN", "group"]), select(vec![" by", " without"]), grouping(), inner.clone())
                .prop_map(|(op, w, g, e)| format!("{op}{w} ({g}) ({e})")),
            (select(vec!["count", "stddev"]), select(vec!["by", "without"]), grouping(), inner.clone())
                .prop_map(|(op, w, g, e)| format!("{op}({e}) {w} ({g})")),
            (select(vec!["topk", "quantile", "limitk"]), scalar(features), inner.clone())
                .prop_map(|(op, s, e)| format!("{op}({s}, {e})")),
            (string(), inner.clone()).prop_map(|(s, e)| format!("count_values({s}, {e})")),
            (select(vec!["rate", "last_over_time", "mad_over_time", "absent_over_time"]), matrix.clone())
                .prop_map(|(f, m)| format!("{f}({m})")),
            (scalar(features), matrix).prop_map(|(s, m)| format!("quantile_over_time({s}, {m})")),
            (select(vec!["abs", "sort", "hour", "round", "histogram_sum"]), inner.clone())
                .prop_map(|(f, e)| format!("{f}({e})")),
            (inner, string(), string()).prop_map(|(e, a, b)| format!("label_join({e}, {a}, {b})")),
            scalar(features).prop_map(|s| format!("vector({s})")),
        ]
    })
    .boxed()
}
