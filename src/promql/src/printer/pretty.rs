//! The printer for people: what does not fit on a line is split at its operators, arguments and parentheses.

use super::{Names, is_power_of_infinity, sign, subquery_suffix};
use crate::ast::{Aggregate, Binary, Expr};

/// Longest expression that stays on one line, in bytes and without indentation.
const LINE_BYTES_MAX: usize = 100;
const INDENT: &str = "  ";

/// Formats an expression over as many lines as it needs.
pub fn prettify(expr: &Expr, names: Names) -> String {
    pretty(expr, 0, names)
}

fn pretty(expr: &Expr, level: usize, names: Names) -> String {
    let indent = INDENT.repeat(level);
    let line = expr.printed(names).to_string();

    let fits = line.len() <= LINE_BYTES_MAX;
    match expr {
        Expr::Subquery(_) if fits => line,
        Expr::Unary(u) => {
            let operand = pretty(&u.expr, level, names);
            format!("{indent}{}{}", sign(u.op), operand.trim())
        }
        Expr::Number(_) | Expr::String(_) | Expr::Vector(_) | Expr::Matrix(_) => indent + &line,
        _ if fits => indent + &line,
        Expr::Subquery(s) => {
            let inner = pretty(&s.expr, level, names);
            format!("{inner}{}", subquery_suffix(s))
        }
        Expr::Paren(p) => {
            let inner = pretty(&p.expr, level + 1, names);
            format!("{indent}(\n{inner}\n{indent})")
        }
        Expr::Binary(b) => binary(b, level, names),
        Expr::Aggregate(a) => aggregate(a, level, names),
        Expr::Call(c) => {
            let args = c.args.iter().map(|arg| pretty(arg, level + 1, names));
            let args: Vec<String> = args.collect();
            format!("{indent}{}(\n{}\n{indent})", c.func.name, args.join(",\n"))
        }
    }
}

fn binary(b: &Binary, level: usize, names: Names) -> String {
    let indent = INDENT.repeat(level);
    let lhs = match is_power_of_infinity(b) {
        true => format!("{indent}{INDENT}Inf"),
        false => pretty(&b.lhs, level + 1, names),
    };
    let rhs = pretty(&b.rhs, level + 1, names);
    format!("{lhs}\n{indent}{}\n{rhs}", names.operator(b))
}

fn aggregate(a: &Aggregate, level: usize, names: Names) -> String {
    let indent = INDENT.repeat(level);
    let head = names.aggregate_head(a);
    let param = a
        .param
        .as_ref()
        .map(|p| format!("{},\n", pretty(p, level + 1, names)))
        .unwrap_or_default();
    let inner = pretty(&a.expr, level + 1, names);
    format!("{indent}{head}(\n{param}{inner}\n{indent})")
}
