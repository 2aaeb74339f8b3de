//! `query` and `query_range`.

use std::time::Duration;

use trireme_model::quote;
use trireme_promql::{QueryResult, QueryStats, Value};
use trireme_query::{Asked, InstantQuery, QueryError, RangeQuery};

use super::Answer;
use crate::answer;
use crate::ask::Ask;
use crate::error::ApiError;
use crate::json::put;
use crate::params::parse_step;

/// Most steps of a range query, as in Prometheus.
const STEPS_MAX: i64 = 11_000;

pub(crate) async fn instant(ask: Ask) -> Answer {
    let query = InstantQuery {
        expr: ask.params.text("query").to_owned(),
        time_ms: ask.params.time("time", ask.state.clock.now_ms())?,
        lookback: lookback(&ask)?,
    };
    let limit = ask.params.count("limit")?;
    let start_timestamps = ask.use_start_timestamps()?;
    let (mut context, entry) = ask.begin(&query.expr)?;
    context.start_timestamps = start_timestamps;
    let begun = ask.state.clock.monotonic();
    let (text, start_ms) = (query.expr.as_str(), query.time_ms);
    let asked = Asked::Expr { text, start_ms, end_ms: start_ms, step_ms: 0, lookback: query.lookback };
    let (job, clock) = (query.clone(), ask.state.clock.clone());
    let answered = ask.run_quick(context, &asked, move |q, context| {
        let queued = clock.monotonic().saturating_sub(begun);
        q.instant(context, &job).map(|result| (result, queued))
    });
    let (result, queued) = answered.await.map_err(name_query)?;
    drop(entry);
    respond(&ask, result, limit, Timing { begun, queued })
}

pub(crate) async fn range(ask: Ask) -> Answer {
    let (start_ms, end_ms) = (required_time(&ask, "start")?, required_time(&ask, "end")?);
    if end_ms < start_ms {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step = ask.params.duration("step")?;
    let step_ms = step.ok_or_else(|| ApiError::parameter("step", "cannot parse \"\" to a valid duration"))?;
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
    let query = RangeQuery { expr, start_ms, end_ms, step_ms, lookback: lookback(&ask)? };
    let limit = ask.params.count("limit")?;
    let start_timestamps = ask.use_start_timestamps()?;
    let (mut context, entry) = ask.begin(&query.expr)?;
    context.start_timestamps = start_timestamps;
    let begun = ask.state.clock.monotonic();
    let asked = Asked::Expr { text: &query.expr, start_ms, end_ms, step_ms, lookback: query.lookback };
    let (job, clock) = (query.clone(), ask.state.clock.clone());
    let answered = ask.run_quick(context, &asked, move |q, context| {
        let queued = clock.monotonic().saturating_sub(begun);
        q.range(context, &job).map(|result| (result, queued))
    });
    let (result, queued) = answered.await.map_err(name_query)?;
    drop(entry);
    respond(&ask, result, limit, Timing { begun, queued })
}

fn required_time(ask: &Ask, name: &str) -> Result<i64, ApiError> {
    if ask.params.get(name).is_none() {
        return Err(ApiError::parameter(name, "cannot parse \"\" to a valid timestamp"));
    }
    ask.params.time(name, 0)
}

fn lookback(ask: &Ask) -> Result<Option<Duration>, ApiError> {
    let parsed = ask.params.get("lookback_delta").map(parse_step).transpose();
    let parsed =
        parsed.map_err(|why| ApiError::invalid(format!("error parsing lookback delta duration: {why}")))?;
    let Some(ms) = parsed else {
        return Ok(Some(ask.state.settings.lookback_delta));
    };
    // Like Prometheus's engine, which takes its default for anything that is not positive.
    let given = u64::try_from(ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis);
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

/// When a query began (monotonic), and how long it then waited for its turn.
struct Timing {
    begun: Duration,
    queued: Duration,
}

fn respond(ask: &Ask, mut result: QueryResult, limit: usize, timing: Timing) -> Answer {
    let cut = match &mut result.value {
        Value::Vector(v) if limit > 0 && v.len() > limit => {
            v.truncate(limit);
            true
        }
        Value::Matrix(m) if limit > 0 && m.len() > limit => {
            m.truncate(limit);
            true
        }
        _ => false,
    };
    if cut {
        result.warnings.push("results truncated due to limit".to_owned());
    }
    if let Some(other) = ask.params.get("stats").filter(|text| !matches!(*text, "true" | "all")) {
        result.warnings.push(format!(
            "value {} for parameter \"stats\" is deprecated and will be rejected in the next major release, \
             use \"true\" or \"all\"",
            quote(other)
        ));
    }
    let mut stats = Vec::new();
    if ask.params.get("stats").is_some() {
        let total = ask.state.clock.monotonic().saturating_sub(timing.begun);
        push_stats(&mut stats, &result.stats, total, timing.queued);
    }
    Ok(answer::result(ask, result, &stats)?)
}

/// Sorting is a part of the evaluation here.
fn push_stats(out: &mut Vec<u8>, stats: &QueryStats, total: Duration, queued: Duration) {
    let eval = total.saturating_sub(queued);
    let inner = eval.saturating_sub(stats.prepare).as_secs_f64();
    let (total, eval, queued) = (total.as_secs_f64(), eval.as_secs_f64(), queued.as_secs_f64());
    let prepare = stats.prepare.as_secs_f64();
    put(
        out,
        format_args!(
            "{{\"timings\":{{\"evalTotalTime\":{eval},\"resultSortTime\":0,\"queryPreparationTime\":{prepare},\
             \"innerEvalTime\":{inner},\"execQueueTime\":{queued},\"execTotalTime\":{total}}},\
             \"samples\":{{\"totalQueryableSamples\":{},\"samplesRead\":{},\"peakSamples\":{},\
             \"seriesTouched\":{}}}}}",
            stats.total_samples, stats.samples_read, stats.peak_samples, stats.series
        ),
    );
}
