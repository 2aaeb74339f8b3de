//! The printer for people: what does not fit on a line is split at its operators, arguments and parentheses.

use super::{Names, is_power_of_infinity, sign, subquery_suffix};
use crate::ast::Expr;

/// Longest expression that stays on one line, in bytes and without indentation.
const LINE_BYTES_MAX: usize = 100;
const INDENT: &str = "  ";

/// Formats an expression over as many lines as it needs.
pub fn prettify(expr: &Expr, names: Names) -> String {
    pretty(expr, 0, names)
}

fn pretty(expr: &Expr, level: usize, names: Names) -> String {
    let indent = INDENT.repeat(level);
    let pretty = |expr, level| pretty(expr, level, names);
    let line = expr.printed(names).to_string();

    let fits = line.len() <= LINE_BYTES_MAX;
    match expr {
        Expr::Subquery(_) if fits => line,
        Expr::Unary(u) => format!("{indent}{}{}", sign(u.op), pretty(&u.expr, level).trim()),
        Expr::Number(_) | Expr::String(_) | Expr::Vector(_) | Expr::Matrix(_) => indent + &line,
        _ if fits => indent + &line,
        Expr::Subquery(s) => format!("{}{}", pretty(&s.expr, level), subquery_suffix(s)),
        Expr::Paren(p) => format!("{indent}(\n{}\n{indent})", pretty(&p.expr, level + 1)),
        Expr::Binary(b) => {
            let lhs = match is_power_of_infinity(b) {
                true => format!("{indent}{INDENT}Inf"),
                false => pretty(&b.lhs, level + 1),
            };
            let rhs = pretty(&b.rhs, level + 1);
            format!("{lhs}\n{indent}{}\n{rhs}", names.operator(b))
        }
        Expr::Aggregate(a) => {
            let param = a
                .param
                .as_ref()
                .map(|p| format!("{},\n", pretty(p, level + 1)))
                .unwrap_or_default();
            format!(
                "{indent}{}(\n{param}{}\n{indent})",
                names.aggregate_head(a),
                pretty(&a.expr, level + 1)
            )
        }
        Expr::Call(c) => {
            let args: Vec<String> = c.args.iter().map(|arg| pretty(arg, level + 1)).collect();
            format!("{indent}{}(\n{}\n{indent})", c.func.name, args.join(",\n"))
        }
    }
}
