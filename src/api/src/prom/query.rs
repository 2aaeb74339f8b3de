//! `query` and `query_range`.

use std::sync::Arc;
use std::time::Duration;

use trireme_base::Clock;
use trireme_model::quote;
use trireme_promql::{CostEstimate, QueryResult, QueryStats, Value};
use trireme_query::{Asked, Costed, InstantQuery, Queries, QueryContext, QueryError, RangeQuery};

use super::Answer;
use super::cost::{self, Cost};
use crate::answer;
use crate::ask::Ask;
use crate::error::ApiError;
use crate::json::{self, put};
use crate::params::parse_step;

/// Most steps of a range query, as in Prometheus.
const STEPS_MAX: i64 = 11_000;

pub(crate) async fn instant(ask: Ask) -> Answer {
    let query = instant_query(&ask)?;
    evaluate(&ask, Costed::from(&query), move |q, context| {
        q.instant(context, &query)
    })
    .await
}

pub(crate) async fn range(ask: Ask) -> Answer {
    let query = range_query(&ask)?;
    evaluate(&ask, Costed::from(&query), move |q, context| {
        q.range(context, &query)
    })
    .await
}

/// Evaluates what is asked, as a query in progress that may be canceled, and answers it.
async fn evaluate<F>(ask: &Ask, asked: Costed, evaluate: F) -> Answer
where
    F: FnOnce(&dyn Queries, &QueryContext) -> Result<QueryResult, QueryError>
        + Clone
        + Send
        + 'static,
{
    let limit = ask.params.count("limit")?;
    let start_timestamps = ask.use_start_timestamps()?;
    let cost = Cost::of(ask, || asked.clone())?;
    let (mut context, entry) = ask.begin(&asked.expr).await?;

    context.start_timestamps = start_timestamps;
    cost.bound(&mut context);
    context.per_step_stats = wants_steps(ask);

    let is_compared = cost.is_compared();
    let begun = ask.state.clock.monotonic();
    let job = Job {
        evaluate,
        cost,
        clock: ask.state.clock.clone(),
        begun,
    };

    let done = match is_compared {
        true => ask.run(move |q| job.run(q, &context)).await,
        false => {
            let asked = asked_of(&asked);
            ask.run_quick(context, &asked, move |q, context| job.run(q, context))
                .await
        }
    };

    cost::observe(ask, done.as_ref().map(|done| &done.result.stats));
    let done = done.map_err(name_query)?;
    drop(entry);

    respond(ask, done, limit, begun)
}

/// A query that waits for its turn.
#[derive(Clone)]
struct Job<F> {
    evaluate: F,
    cost: Cost,
    clock: Arc<dyn Clock>,
    /// When it came in (monotonic).
    begun: Duration,
}

impl<F> Job<F>
where
    F: FnOnce(&dyn Queries, &QueryContext) -> Result<QueryResult, QueryError>,
{
    fn run(self, q: &dyn Queries, context: &QueryContext) -> Result<Done, QueryError> {
        let queued = self.clock.monotonic().saturating_sub(self.begun);
        let estimate = self.cost.estimate(q, context);
        let result = (self.evaluate)(q, context)?;
        Ok(Done {
            result,
            queued,
            estimate,
        })
    }
}

fn asked_of(costed: &Costed) -> Asked<'_> {
    Asked::Expr {
        text: &costed.expr,
        start_ms: costed.start_ms,
        end_ms: costed.end_ms,
        step_ms: costed.step_ms,
        lookback: costed.lookback,
    }
}

/// True if statistics are to tell steps apart.
fn wants_steps(ask: &Ask) -> bool {
    ask.state.settings.features.per_step_stats && ask.params.get("stats") == Some("all")
}

/// The parameters of an instant query.
pub(super) fn instant_query(ask: &Ask) -> Result<InstantQuery, ApiError> {
    Ok(InstantQuery {
        expr: ask.params.text("query").to_owned(),
        time_ms: ask.params.time("time", ask.state.clock.now_ms())?,
        lookback: lookback(ask)?,
    })
}

/// The parameters of a range query.
pub(super) fn range_query(ask: &Ask) -> Result<RangeQuery, ApiError> {
    let start_ms = required_time(ask, "start")?;

    let end_ms = required_time(ask, "end")?;
    if end_ms < start_ms {
        return Err(ApiError::parameter(
            "end",
            "end timestamp must not be before start time",
        ));
    }

    ask.limits().check_range(start_ms, end_ms)?;
    let step = ask.params.duration("step")?;
    let step_ms =
        step.ok_or_else(|| ApiError::parameter("step", "cannot parse \"\" to a valid duration"))?;
    if step_ms <= 0 {
        let why = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::parameter("step", why));
    }

    if end_ms.saturating_sub(start_ms) / step_ms > STEPS_MAX {
        return Err(ApiError::invalid(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }

    let expr = ask.params.text("query").to_owned();
    Ok(RangeQuery {
        expr,
        start_ms,
        end_ms,
        step_ms,
        lookback: lookback(ask)?,
    })
}

fn required_time(ask: &Ask, name: &str) -> Result<i64, ApiError> {
    if ask.params.get(name).is_none() {
        return Err(ApiError::parameter(
            name,
            "cannot parse \"\" to a valid timestamp",
        ));
    }
    ask.params.required_time(name)
}

fn lookback(ask: &Ask) -> Result<Option<Duration>, ApiError> {
    let parsed = ask.params.get("lookback_delta").map(parse_step).transpose();
    let parsed = parsed.map_err(|why| {
        ApiError::invalid(format!("error parsing lookback delta duration: {why}"))
    })?;
    let Some(ms) = parsed else {
        return Ok(Some(ask.state.settings.lookback_delta));
    };

    // Like Prometheus's engine, which takes its default for anything that is not positive.
    let given = u64::try_from(ms)
        .ok()
        .filter(|ms| *ms > 0)
        .map(Duration::from_millis);

    Ok(Some(given.unwrap_or(ask.state.settings.lookback_delta)))
}

/// Errors in the expression, and its type in a range query, name their parameter, as in Prometheus.
pub(super) fn name_query(e: ApiError) -> ApiError {
    let ApiError(error) = e;
    let text = error.to_string();
    let is_type = text.starts_with("invalid expression type ");
    if is_type || (text.contains("parse error: ") && !error.is_execution()) {
        return ApiError(QueryError::parameter("query", text));
    }
    ApiError(error)
}

/// What became of a query.
struct Done {
    result: QueryResult,
    /// How long it waited for its turn.
    queued: Duration,
    /// What it was expected to cost, if that was asked for.
    estimate: Option<Result<CostEstimate, QueryError>>,
}

/// What is said about the parameter `stats`.
pub(super) fn stats_warning(ask: &Ask) -> Option<String> {
    let other = ask
        .params
        .get("stats")
        .filter(|text| !matches!(*text, "true" | "all"))?;
    Some(format!(
        "value {} for parameter \"stats\" is deprecated and will be rejected in the next major release, \
         use \"true\" or \"all\"",
        quote(other)
    ))
}

/// `begun` is when the query came in (monotonic).
fn respond(ask: &Ask, done: Done, limit: usize, begun: Duration) -> Answer {
    let Done {
        mut result,
        queued,
        estimate,
    } = done;

    if cut(&mut result.value, limit) {
        let text = "results truncated due to limit";
        result.warnings.push(text.to_owned());
    }

    result.warnings.extend(stats_warning(ask));

    let mut more = Vec::new();
    if ask.params.get("stats").is_some() {
        let total = ask.state.clock.monotonic().saturating_sub(begun);
        push_stats(&mut more, &result.stats, total, queued);
    }

    match estimate {
        None => {}
        Some(Ok(estimate)) => {
            cost::push_comparison(&mut more, &estimate, &result.stats);
            result.warnings.extend(estimate.warnings);
        }
        Some(Err(e)) => result.warnings.push(format!("cost estimation failed: {e}")),
    }

    Ok(answer::result(ask, result, &more)?)
}

/// Cuts a list off behind so many series, 0 for never; true if there were more.
fn cut(value: &mut Value, limit: usize) -> bool {
    match value {
        Value::Vector(v) if limit > 0 && v.len() > limit => {
            v.truncate(limit);
            true
        }
        Value::Matrix(m) if limit > 0 && m.len() > limit => {
            m.truncate(limit);
            true
        }
        _ => false,
    }
}

/// Sorting is a part of the evaluation here.
fn push_stats(out: &mut Vec<u8>, stats: &QueryStats, total: Duration, queued: Duration) {
    let eval = total.saturating_sub(queued);
    let inner = eval.saturating_sub(stats.prepare).as_secs_f64();
    let total = total.as_secs_f64();
    let eval = eval.as_secs_f64();
    let queued = queued.as_secs_f64();
    let prepare = stats.prepare.as_secs_f64();

    put(
        out,
        format_args!(
            ",\"stats\":{{\"timings\":{{\"evalTotalTime\":{eval},\"resultSortTime\":0,\"queryPreparationTime\":{prepare},\
             \"innerEvalTime\":{inner},\"execQueueTime\":{queued},\"execTotalTime\":{total}}},\
             \"samples\":{{"
        ),
    );

    push_steps(
        out,
        "totalQueryableSamplesPerStep",
        stats.by_step.iter().map(|(t, total, _)| (*t, *total)),
    );

    push_steps(
        out,
        "samplesReadPerStep",
        stats.by_step.iter().map(|(t, _, read)| (*t, *read)),
    );

    put(
        out,
        format_args!(
            "\"totalQueryableSamples\":{},\"samplesRead\":{},\"peakSamples\":{},\"seriesTouched\":{}}}}}",
            stats.total_samples, stats.samples_read, stats.peak_samples, stats.series
        ),
    );
}

/// A list of time (s) and number by step, if there is one.
fn push_steps(out: &mut Vec<u8>, name: &str, steps: impl ExactSizeIterator<Item = (i64, u64)>) {
    if steps.len() == 0 {
        return;
    }

    put(out, format_args!("\"{name}\":"));
    json::push_array(out, steps, |out, (t, n)| {
        put(out, format_args!("[{},{n}]", t as f64 / 1e3))
    });
    out.push(b',');
}
