//! `format_query` and `parse_query`: the expression as text and as a tree.

use trireme_promql::ast::Expr;
use trireme_promql::{Names, ParserOptions, parse as parse_expr, prettify};
use trireme_query::{QueryError, is_light};

use super::{Answer, tree};
use crate::answer;
use crate::ask::Ask;
use crate::error::ApiError;
use crate::json::push_str;

/// Highest tree that is formatted: lines of a chain are indented by its length, so the text grows with the square of it.
const FORMAT_HEIGHT_MAX: usize = 1_000;

pub(crate) async fn format(ask: Ask) -> Answer {
    let unquoted = ask.state.settings.parser.unquoted_utf8_names;
    let names = if unquoted {
        Names::Unquoted
    } else {
        Names::Quoted
    };

    let mut options = ask.state.settings.parser.clone();
    options.height_max = options.height_max.min(FORMAT_HEIGHT_MAX);
    let text = read(&ask, options, move |expr| prettify(expr, names)).await?;

    Ok(answer::success(&[], &[], |out| push_str(out, &text)))
}

pub(crate) async fn parse(ask: Ask) -> Answer {
    let options = ask.state.settings.parser.clone();
    let tree = read(&ask, options, |expr| tree::node(expr).to_string()).await?;
    Ok(answer::success(&[], &[], |out| {
        out.extend_from_slice(tree.as_bytes())
    }))
}

/// Parses the query and writes it with `write` where there is a stack for it: trees are walked by recursion.
async fn read(
    ask: &Ask,
    options: ParserOptions,
    write: impl FnOnce(&Expr) -> String + Send + 'static,
) -> Result<String, ApiError> {
    let text = ask.params.text("query").to_owned();
    let is_light = is_light([text.as_str()]);
    ask.parse(is_light, move || {
        let expr = parse_expr(&text, &options)
            .map_err(|e| QueryError::parameter("query", e.to_string()))?;
        Ok(write(&expr))
    })
    .await
}
