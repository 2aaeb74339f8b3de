//! What a query is expected to cost, over everything that would answer it.

use std::time::Duration;

use trireme_promql::{
    Cancel, CostEstimate, Engine, EngineOptions, ParserOptions, Select, SelectError, SelectRequest,
    SeriesSet, parse,
};

use crate::querier::query_options;
use crate::{InstantQuery, Queries, QueryContext, QueryError, RangeQuery};

/// A query whose cost is to be estimated.
#[derive(Clone, Debug, PartialEq)]
pub struct Costed {
    /// PromQL.
    pub expr: String,
    /// First evaluation time (ms).
    pub start_ms: i64,
    /// Last evaluation time (ms, inclusive).
    pub end_ms: i64,
    /// Distance of evaluation times (ms); 0 for a single one.
    pub step_ms: i64,
    /// How far back instant selectors look; `None` is the engine's default.
    pub lookback: Option<Duration>,
}

impl From<&InstantQuery> for Costed {
    fn from(q: &InstantQuery) -> Self {
        let expr = q.expr.clone();
        let lookback = q.lookback;
        Self {
            expr,
            start_ms: q.time_ms,
            end_ms: q.time_ms,
            step_ms: 0,
            lookback,
        }
    }
}

impl From<&RangeQuery> for Costed {
    fn from(q: &RangeQuery) -> Self {
        let expr = q.expr.clone();
        let lookback = q.lookback;
        Self {
            expr,
            start_ms: q.start_ms,
            end_ms: q.end_ms,
            step_ms: q.step_ms,
            lookback,
        }
    }
}

/// Estimates the cost of a query over the series that `queries` finds. Blocks and reads: it belongs on the CPU pool.
pub fn estimate_cost(
    queries: &dyn Queries,
    context: &QueryContext,
    parser: &ParserOptions,
    query: &Costed,
) -> Result<CostEstimate, QueryError> {
    let expr = parse(&query.expr, parser).map_err(|e| QueryError::invalid(e.to_string()))?;
    let storage = Storage { queries, context };
    let engine = Engine::new(EngineOptions::default());
    let span = (query.start_ms, query.end_ms);
    let options = query_options(context, query.lookback);

    Ok(engine.estimate(
        &storage,
        &expr,
        span,
        query.step_ms,
        &options,
        &context.cancel,
    )?)
}

/// Everything there is, for the engine.
struct Storage<'a> {
    queries: &'a dyn Queries,
    context: &'a QueryContext,
}

impl Select for Storage<'_> {
    fn select(&self, request: &SelectRequest, _: &Cancel) -> Result<SeriesSet, SelectError> {
        self.queries
            .select(self.context, request)
            .map_err(SelectError::from)
    }
}
