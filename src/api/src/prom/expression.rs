//! `format_query` and `parse_query`: the expression as text and as a tree.

use serde_json::{Value, json};
use trireme_promql::ast::Expr;
use trireme_promql::{ParserOptions, parse as parse_expr, prettify};

use super::Answer;
use crate::answer;
use crate::ask::Ask;
use crate::error::ApiError;
use crate::json::{push_str, put};

pub(crate) async fn format(ask: Ask) -> Answer {
    let expr = read(&ask)?;
    Ok(answer::success(&[], &[], |out| push_str(out, &prettify(&expr))))
}

pub(crate) async fn parse(ask: Ask) -> Answer {
    let tree = node(&read(&ask)?);
    Ok(answer::success(&[], &[], |out| put(out, format_args!("{tree}"))))
}

fn read(ask: &Ask) -> Result<Expr, ApiError> {
    let text = ask.params.text("query");
    parse_expr(text, &ParserOptions::default()).map_err(|e| ApiError::parameter("query", e))
}

/// A node with its kind, text, result type and children. Prometheus calls its own form internal to its page; this one
/// carries what a tree view needs.
fn node(expr: &Expr) -> Value {
    let kind = match expr {
        Expr::Number(_) => "numberLiteral",
        Expr::String(_) => "stringLiteral",
        Expr::Paren(_) => "parenExpr",
        Expr::Unary(_) => "unaryExpr",
        Expr::Binary(_) => "binaryExpr",
        Expr::Aggregate(_) => "aggregation",
        Expr::Call(_) => "call",
        Expr::Vector(_) => "vectorSelector",
        Expr::Matrix(_) => "matrixSelector",
        Expr::Subquery(_) => "subquery",
    };
    let children: Vec<Value> = expr.children().into_iter().map(node).collect();
    json!({ "type": kind, "expr": expr.to_string(), "valueType": expr.value_type().as_str(), "children": children })
}
