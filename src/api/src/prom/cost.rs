//! What a query may cost, what it is expected to cost, and what it did cost: `query_cost`, `query_range_cost`, and the
//! parameters of `query` and `query_range`. Prometheus's feature `query-cost`; nothing of this is there without the switch.

use std::fmt::Display;
use std::time::Duration;

use trireme_base::ErrorKind;
use trireme_promql::{CostEstimate, ParserOptions, QueryStats};
use trireme_query::{CostLimits, Costed, Queries, QueryContext, QueryError, estimate_cost};

use super::Answer;
use super::query::{instant_query, name_query, range_query, stats_warning};
use crate::answer;
use crate::ask::Ask;
use crate::error::ApiError;
use crate::json::put;
use crate::params::{parse_bool, parse_step};

/// What a request says about its cost.
#[derive(Clone, Default)]
pub(super) struct Cost {
    limits: CostLimits,
    longest: Option<Duration>,
    /// What is to be estimated beside the query.
    compared: Option<(Costed, ParserOptions)>,
}

impl Cost {
    /// Reads the parameters. A request may only lower what is set; without the switch it says nothing.
    pub(super) fn of(ask: &Ask, costed: impl FnOnce() -> Costed) -> Result<Self, ApiError> {
        let Some(ceilings) = ask.state.settings.features.query_cost else {
            return Ok(Self::default());
        };

        let series_max = limit(ask, "max_series", ceilings.series)?;
        let samples_read_max = limit(ask, "max_samples_read", ceilings.samples_read)?;
        let ceiling = match ceilings.duration {
            Duration::ZERO => ask.state.settings.query_timeout,
            set => set,
        };
        let is_compared = match ask.params.get("cost") {
            None => false,
            Some(text) => {
                parse_bool(text).ok_or_else(|| ApiError::parameter("cost", "must be a boolean"))?
            }
        };

        Ok(Self {
            limits: CostLimits {
                series_max,
                samples_read_max,
            },
            longest: Some(longest(ask, ceiling)?),
            compared: is_compared.then(|| (costed(), ask.state.settings.parser.clone())),
        })
    }

    /// Lays the limits on a query.
    pub(super) fn bound(&self, context: &mut QueryContext) {
        context.cost_limits = self.limits;
        if let Some(longest) = self.longest {
            context.cancel = context.cancel.with_timeout(longest);
        }
    }

    /// True if the answer is to say what the query was expected to cost.
    pub(super) fn is_compared(&self) -> bool {
        self.compared.is_some()
    }

    /// The estimate, if one is wanted. Blocks.
    pub(super) fn estimate(
        &self,
        queries: &dyn Queries,
        context: &QueryContext,
    ) -> Option<Result<CostEstimate, QueryError>> {
        self.compared
            .as_ref()
            .map(|(costed, parser)| estimate_cost(queries, context, parser, costed))
    }
}

/// A limit of the request's, or the one that is set if it has none; 0 means no bound.
fn limit(ask: &Ask, name: &str, ceiling: u64) -> Result<u64, ApiError> {
    let Some(text) = ask.params.get(name) else {
        return Ok(ceiling);
    };

    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let asked = text
        .parse::<u64>()
        .ok()
        .filter(|_| is_number)
        .ok_or_else(|| {
            let why = if is_number {
                "value out of range"
            } else {
                "invalid syntax"
            };
            ApiError::invalid(format!(
                "error parsing {name}: strconv.ParseUint: parsing {text:?}: {why}"
            ))
        })?;

    match asked {
        0 => Ok(ceiling),
        asked if ceiling > 0 && asked > ceiling => Err(above(name, asked, ceiling)),
        asked => Ok(asked),
    }
}

/// The parameter with the longest time a query may take.
const LONGEST: &str = "max_query_duration";

fn longest(ask: &Ask, ceiling: Duration) -> Result<Duration, ApiError> {
    let Some(text) = ask.params.get(LONGEST) else {
        return Ok(ceiling);
    };

    let ms = parse_step(text).map_err(wrong_longest)?;
    let asked = u64::try_from(ms).map(Duration::from_millis);
    let asked = asked
        .map_err(|_| wrong_longest(format!("must not be negative, got {}", go_duration(ms))))?;
    match asked {
        Duration::ZERO => Ok(ceiling),
        asked if asked > ceiling => {
            let ceiling_ms = i64::try_from(ceiling.as_millis()).unwrap_or(i64::MAX);
            Err(above(LONGEST, go_duration(ms), go_duration(ceiling_ms)))
        }
        asked => Ok(asked),
    }
}

fn wrong_longest(why: String) -> ApiError {
    ApiError::invalid(format!("error parsing {LONGEST}: {why}"))
}

fn above(name: &str, asked: impl Display, ceiling: impl Display) -> ApiError {
    ApiError::invalid(format!(
        "requested {name} of {asked} exceeds the server limit of {ceiling}"
    ))
}

/// Milliseconds as Go writes a duration: `1h0m0s`, `1.5s`, `250ms`.
fn go_duration(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let ms = ms.unsigned_abs();
    if ms > 0 && ms < 1_000 {
        return format!("{sign}{ms}ms");
    }

    let hours = ms / 3_600_000;
    let minutes = ms / 60_000 % 60;

    let seconds = (ms % 60_000) as f64 / 1e3;
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

pub(crate) async fn instant(ask: Ask) -> Answer {
    check_switch(&ask)?;
    let costed = Costed::from(&instant_query(&ask)?);
    respond(ask, costed).await
}

pub(crate) async fn range(ask: Ask) -> Answer {
    check_switch(&ask)?;
    let costed = Costed::from(&range_query(&ask)?);
    respond(ask, costed).await
}

fn check_switch(ask: &Ask) -> Result<(), ApiError> {
    match ask.state.settings.features.query_cost {
        Some(_) => Ok(()),
        None => {
            let text =
                "the cost of queries is not estimated here; features.query-cost switches it on";
            Err(ApiError(QueryError::new(ErrorKind::NotFound, text)))
        }
    }
}

/// An estimate takes a place like a query, and no longer than a query may.
async fn respond(ask: Ask, costed: Costed) -> Answer {
    ask.params.count("limit")?;
    let start_timestamps = ask.use_start_timestamps()?;
    let cost = Cost::of(&ask, || costed.clone())?;
    let (mut context, entry) = ask.begin(&costed.expr).await?;

    context.start_timestamps = start_timestamps;
    cost.bound(&mut context);
    let parser = ask.state.settings.parser.clone();
    let estimate = ask
        .run(move |q| estimate_cost(q, &context, &parser, &costed))
        .await;
    let mut estimate = estimate.map_err(|ApiError(e)| match e.kind() {
        ErrorKind::Timeout => {
            let text =
                "cost estimation exceeded the query duration limit: context deadline exceeded";
            ApiError(QueryError::new(ErrorKind::Timeout, text))
        }
        _ => name_query(ApiError(e)),
    })?;

    drop(entry);
    estimate.warnings.extend(stats_warning(&ask));
    Ok(answer::success(&estimate.warnings, &[], |out| {
        out.extend_from_slice(b"{\"estimate\":");
        push_estimate(out, &estimate);
        out.push(b'}');
    }))
}

fn push_estimate(out: &mut Vec<u8>, estimate: &CostEstimate) {
    // Prometheus's numbers have 63 bits.
    let series = estimate.series.min(i64::MAX as u64);
    let read = estimate.samples_read.min(i64::MAX as u64);
    put(
        out,
        format_args!("{{\"seriesTouched\":{series},\"samplesRead\":{read}}}"),
    );
}

/// The member `cost` of an answer: what was expected, and what it came to.
pub(super) fn push_comparison(out: &mut Vec<u8>, estimate: &CostEstimate, stats: &QueryStats) {
    out.extend_from_slice(b",\"cost\":{\"estimated\":");
    push_estimate(out, estimate);
    put(
        out,
        format_args!(
            ",\"actual\":{{\"seriesTouched\":{},\"samplesRead\":{},\"peakSamples\":{}}}}}",
            stats.series, stats.samples_read, stats.peak_samples
        ),
    );
}

/// Counts what a query cost, or which limit it reached.
pub(super) fn observe(ask: &Ask, outcome: Result<&QueryStats, &ApiError>) {
    let Some(metrics) = &ask.state.metrics.query_cost else {
        return;
    };
    match outcome {
        Ok(stats) => {
            metrics.series.observe(stats.series as f64);
            metrics.read.observe(stats.samples_read as f64);
        }
        Err(ApiError(e)) => {
            let is_late = e.kind() == ErrorKind::Timeout;
            if let Some(reason) = e.reached_limit().or(is_late.then_some("max_duration")) {
                metrics.rejected.with_label_values(&[reason]).inc();
            }
        }
    }
}
