//! `format_query` and `parse_query`: the expression as text and as a tree.

use trireme_promql::ast::Expr;
use trireme_promql::{Names, parse as parse_expr, prettify};
use trireme_query::{QueryError, is_light};

use super::{Answer, tree};
use crate::answer;
use crate::ask::Ask;
use crate::error::ApiError;
use crate::json::{push_str, put};

pub(crate) async fn format(ask: Ask) -> Answer {
    let expr = read(&ask).await?;
    let unquoted = ask.state.settings.parser.unquoted_utf8_names;
    let names = if unquoted { Names::Unquoted } else { Names::Quoted };
    Ok(answer::success(&[], &[], |out| push_str(out, &prettify(&expr, names))))
}

pub(crate) async fn parse(ask: Ask) -> Answer {
    let tree = tree::node(&read(&ask).await?);
    Ok(answer::success(&[], &[], |out| put(out, format_args!("{tree}"))))
}

async fn read(ask: &Ask) -> Result<Expr, ApiError> {
    let text = ask.params.text("query").to_owned();
    let is_light = is_light([text.as_str()]);
    let options = ask.state.settings.parser.clone();
    let parse = move || {
        let expr = parse_expr(&text, &options);
        expr.map_err(|e| QueryError::parameter("query", e.to_string()))
    };
    ask.parse(is_light, parse).await
}
