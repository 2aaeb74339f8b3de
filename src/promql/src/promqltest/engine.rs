//! Scripts run by this crate's engine.

use super::Evaluate;
use crate::ast::Expr;
use crate::cancel::Cancel;
use crate::engine::Engine;
use crate::options::{EngineOptions, QueryOptions};
use crate::parser::{ParserOptions, parse};
use crate::select::Select;
use crate::value::QueryResult;

impl Evaluate for Engine {
    fn instant(&self, storage: &dyn Select, query: &str, t_ms: i64) -> Result<QueryResult, String> {
        let expr = parsed(query)?;
        let options = QueryOptions::default();
        Engine::instant(
            self,
            storage,
            &expr,
            query,
            t_ms,
            &options,
            &Cancel::never(),
        )
        .map_err(|e| e.to_string())
    }

    fn range(
        &self,
        storage: &dyn Select,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<QueryResult, String> {
        let expr = parsed(query)?;
        let options = QueryOptions::default();
        let span = (start_ms, end_ms);
        let result = Engine::range(
            self,
            storage,
            &expr,
            query,
            span,
            step_ms,
            &options,
            &Cancel::never(),
        );

        result.map_err(|e| e.to_string())
    }
}

fn parsed(query: &str) -> Result<Expr, String> {
    parse(query, &script_parser_options()).map_err(|e| e.to_string())
}

/// How Prometheus's scripts are parsed: with all experimental parts.
pub fn script_parser_options() -> ParserOptions {
    ParserOptions {
        unquoted_utf8_names: true,
        ..ParserOptions::default()
    }
}

/// The settings that Prometheus's scripts are written for.
pub fn script_options() -> EngineOptions {
    EngineOptions {
        lookback_ms: 5 * 60 * 1000,
        subquery_step_ms: 60 * 1000,
        samples_max: 10_000,
        delayed_name_removal: true,
        start_timestamps: true,
        ..EngineOptions::default()
    }
}
