//! The query engine.
//!
//! A query is evaluated for all its steps at once. Every expression that is an instant vector becomes a
//! [`stream`]: its labels are known at once, its columns (a value per step) are computed series by series when the
//! expression above asks for them. Selectors read each series once; ranges slide over its columns. Aggregations take
//! series as they come and keep only their groups. Binary operators between vectors hold both sides in memory.
//!
//! What is deliberately absent: a cache of results, and any state between queries.

mod aggregate;
mod binary;
mod block;
mod call;
mod estimate;
mod eval;
mod histogram_calls;
mod histogram_stats;
mod info;
mod label_calls;
mod labels;
mod query;
pub(crate) mod range;
mod result;
pub(crate) mod row;
mod scalar;
mod selector;
mod smoothed;
mod steps;
mod stream;
mod tally;

pub use estimate::CostEstimate;
pub(crate) use eval::Evaluator;
use query::Query;
use steps::Steps;

use std::sync::Arc;

use crate::ast::{Aggregate, Expr, PosRange, ValueType};
use crate::cancel::Cancel;
use crate::durations::{DurationContext, resolve_durations};
use crate::error::QueryError;
use crate::options::{EngineOptions, QueryOptions};
use crate::partial::Partials;
use crate::room::Room;
use crate::select::Select;
use crate::value::{QueryResult, Value};

/// Evaluates queries. Has settings and no state: cheap to make, and to share.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    options: EngineOptions,
    given: Arc<Vec<Partials>>,
    room: Arc<Room>,
}

impl Engine {
    /// An engine with these settings.
    pub fn new(options: EngineOptions) -> Self {
        Self::within(options, Arc::default())
    }

    /// An engine whose queries share `room` with those of other engines.
    pub fn within(options: EngineOptions, room: Arc<Room>) -> Self {
        Self {
            options,
            given: Arc::default(),
            room,
        }
    }

    /// The same engine for one query, of which shards have evaluated aggregations (see [`Engine::partials`]): they are
    /// merged instead of evaluated again. Each shard must have all of them, with the parameters of that query.
    pub fn merging(&self, given: Vec<Partials>) -> Self {
        let options = self.options.clone();
        let room = Arc::clone(&self.room);
        Self {
            options,
            given: Arc::new(given),
            room,
        }
    }

    /// What its queries share with those of other engines.
    pub fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// The settings.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// A query that begins, with the node's room.
    fn query<'q>(
        &self,
        select: &'q dyn Select,
        options: EngineOptions,
        cancel: Cancel,
        times: (i64, i64, i64),
        steps: Steps,
        given: &'q [Partials],
    ) -> Query<'q> {
        Query::new(
            select,
            options,
            cancel,
            times,
            steps,
            given,
            Arc::clone(&self.room),
        )
    }

    /// Evaluates `expr` at `t_ms` (milliseconds since the epoch).
    ///
    /// `text` is what `expr` was parsed from; notes in the result name lines and columns of it.
    pub fn instant(
        &self,
        select: &dyn Select,
        expr: &Expr,
        text: &str,
        t_ms: i64,
        options: &QueryOptions,
        cancel: &Cancel,
    ) -> Result<QueryResult, QueryError> {
        let expr = resolved(expr, DurationContext::default())?;
        let options = self.options.with(options);
        let cancel = cancel.with_timeout(options.timeout);
        let steps = Steps::single(t_ms);
        let query = self.query(select, options, cancel, (t_ms, t_ms, 0), steps, &self.given);

        query.check_cost()?;
        let value = Evaluator::of_query(&query, steps).instant_result(&expr)?;
        Ok(finish(&query, value, text))
    }

    /// Evaluates `expr` at `start_ms, start_ms + step_ms, ...` up to `end_ms` (inclusive, milliseconds since the epoch).
    ///
    /// `expr` must be an instant vector or a scalar. See [`Engine::instant`] for `text`.
    #[allow(clippy::too_many_arguments)]
    pub fn range(
        &self,
        select: &dyn Select,
        expr: &Expr,
        text: &str,
        (start_ms, end_ms): (i64, i64),
        step_ms: i64,
        options: &QueryOptions,
        cancel: &Cancel,
    ) -> Result<QueryResult, QueryError> {
        if step_ms <= 0 {
            return Err(QueryError::execution(
                "zero or negative query resolution step widths are not accepted. Try a positive integer",
            ));
        }

        if end_ms < start_ms {
            return Err(QueryError::execution(
                "end timestamp must not be before start time",
            ));
        }

        check_range_type(expr)?;
        let range_ms = end_ms.saturating_sub(start_ms);
        let steps = evaluation_steps(start_ms, range_ms, step_ms);
        let options = self.options.with(options);
        if steps.count - 1 > options.steps_max {
            return Err(QueryError::TooManySteps(options.steps_max));
        }

        let expr = resolved(expr, DurationContext { step_ms, range_ms })?;
        let cancel = cancel.with_timeout(options.timeout);
        let query = self.query(
            select,
            options,
            cancel,
            (start_ms, end_ms, step_ms),
            steps,
            &self.given,
        );

        query.check_cost()?;
        let value = Evaluator::of_query(&query, steps).range_result(&expr)?;
        Ok(finish(&query, value, text))
    }

    /// Evaluates the aggregations of `expr` that stand at `nodes` over the series of `select`, a shard of all series, as
    /// far as that goes without the others. `step_ms` 0 stands for an instant query at `start_ms`.
    ///
    /// What is below these aggregations must work series by series; series that differ only in name must be in one shard.
    #[allow(clippy::too_many_arguments)]
    pub fn partials(
        &self,
        select: &dyn Select,
        expr: &Expr,
        (start_ms, end_ms): (i64, i64),
        step_ms: i64,
        nodes: &[PosRange],
        options: &QueryOptions,
        cancel: &Cancel,
    ) -> Result<Partials, QueryError> {
        let options = self.options.with(options);
        let range_ms = end_ms.saturating_sub(start_ms);
        if step_ms < 0 || range_ms < 0 || (step_ms == 0 && range_ms > 0) {
            return Err(QueryError::execution(
                "start, end and step do not go together",
            ));
        }

        let steps = evaluation_steps(start_ms, range_ms, step_ms);
        if steps.count - 1 > options.steps_max {
            return Err(QueryError::TooManySteps(options.steps_max));
        }

        let expr = resolved(expr, duration_context(step_ms, range_ms))?;
        let cancel = cancel.with_timeout(options.timeout);

        let query = self.query(
            select,
            options,
            cancel,
            (start_ms, end_ms, step_ms),
            steps,
            &[],
        );

        let evaluator = Evaluator::of_query(&query, steps);
        let nodes = aggregations(&expr, nodes)
            .into_iter()
            .map(|a| evaluator.partial(a))
            .collect::<Result<_, _>>()?;

        Ok(Partials {
            nodes,
            stats: query.stats(),
        })
    }
}

/// Only vectors and scalars have a value at each step.
fn check_range_type(expr: &Expr) -> Result<(), QueryError> {
    let kind = expr.value_type();
    if matches!(kind, ValueType::Vector | ValueType::Scalar) {
        return Ok(());
    }

    Err(QueryError::execution(format!(
        "invalid expression type \"{}\" for range query, must be Scalar or instant Vector",
        kind.document_name()
    )))
}

/// The steps of a query; `step_ms` 0 stands for a single one.
fn evaluation_steps(start_ms: i64, range_ms: i64, step_ms: i64) -> Steps {
    let further = range_ms
        .checked_div(step_ms)
        .map_or(0, |n| usize::try_from(n).unwrap_or(usize::MAX));
    Steps {
        start: start_ms,
        step: step_ms.max(1),
        count: further.saturating_add(1),
    }
}

/// What durations of a query may refer to; `step_ms` 0 stands for an instant query.
fn duration_context(step_ms: i64, range_ms: i64) -> DurationContext {
    if step_ms == 0 {
        DurationContext::default()
    } else {
        DurationContext { step_ms, range_ms }
    }
}

/// The aggregations of an expression that stand at these places.
fn aggregations<'e>(expr: &'e Expr, at: &[PosRange]) -> Vec<&'e Aggregate> {
    let mut found = Vec::with_capacity(at.len());
    expr.walk(&mut |node| match node {
        Expr::Aggregate(a) if at.contains(&a.pos) => found.push(a),
        _ => {}
    });
    found
}

/// The expression with all durations computed.
fn resolved(expr: &Expr, context: DurationContext) -> Result<Expr, QueryError> {
    let mut expr = expr.clone();
    resolve_durations(&mut expr, context)?;
    Ok(expr)
}

fn finish(query: &Query<'_>, value: Value, text: &str) -> QueryResult {
    let (warnings, infos) = query.take_notes().render(text);
    QueryResult {
        value,
        warnings,
        infos,
        stats: query.stats(),
    }
}
