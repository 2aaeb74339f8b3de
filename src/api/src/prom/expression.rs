//! `format_query` and `parse_query`: the expression as text and as a tree.

use trireme_promql::ast::Expr;
use trireme_promql::{Names, parse as parse_expr, prettify};

use super::{Answer, tree};
use crate::answer;
use crate::ask::Ask;
use crate::error::ApiError;
use crate::json::{push_str, put};

pub(crate) async fn format(ask: Ask) -> Answer {
    let expr = read(&ask)?;
    let unquoted = ask.state.settings.parser.unquoted_utf8_names;
    let names = if unquoted { Names::Unquoted } else { Names::Quoted };
    Ok(answer::success(&[], &[], |out| push_str(out, &prettify(&expr, names))))
}

pub(crate) async fn parse(ask: Ask) -> Answer {
    let tree = tree::node(&read(&ask)?);
    Ok(answer::success(&[], &[], |out| put(out, format_args!("{tree}"))))
}

fn read(ask: &Ask) -> Result<Expr, ApiError> {
    let text = ask.params.text("query");
    parse_expr(text, &ask.state.settings.parser).map_err(|e| ApiError::parameter("query", e))
}
