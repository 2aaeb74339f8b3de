//! One request to the query API: parameters, tenant and state, taken apart once for all handlers.

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use trireme_model::{Matcher, Tenant, quote};
use trireme_promql::{Cancel, format_duration, parse_selector};
use trireme_query::{Asked, QueryContext, Selection};

use crate::body::{self, Extracting};
use crate::error::ApiError;
use crate::params::{self, Params};
use crate::running::Entry;
use crate::{ApiState, runner, tenant};

/// What a handler works on.
pub(crate) struct Ask {
    pub(crate) state: web::Data<ApiState>,
    pub(crate) params: Params,
    pub(crate) tenant: Tenant,
    /// The header that says whether start timestamps take part, as it came.
    start_timestamps: Option<String>,
}

/// Says for one query whether start timestamps take part.
const START_TIMESTAMPS: &str = "X-Prometheus-Use-Start-Timestamps";

impl FromRequest for Ask {
    type Error = ApiError;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        body::extract(request, payload, async |request, payload, state| {
            let tenant = tenant::of(request.headers(), &state.settings).map_err(ApiError::invalid)?;
            let reserved = state.budget.open(&tenant);
            let start_timestamps = request.headers().get(START_TIMESTAMPS);
            let start_timestamps =
                start_timestamps.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            let params = Params::read(&request, payload, state.settings.body_timeout, reserved).await?;
            Ok(Self { state, params, tenant, start_timestamps })
        })
    }
}

impl Ask {
    /// The context of a query that shows as `text`. Dropping the entry cancels the query.
    pub(crate) fn begin(&self, text: &str) -> Result<(QueryContext, Entry), ApiError> {
        let longest = self.state.settings.query_timeout;
        let timeout = match self.params.duration("timeout")? {
            None => longest,
            Some(ms) if ms <= 0 => {
                let got = format_duration(ms);
                return Err(ApiError::parameter("timeout", format!("timeout must be positive, got {got}")));
            }
            Some(ms) => Duration::from_millis(ms.unsigned_abs()).min(longest),
        };
        let cancel = Cancel::new(self.state.clock.clone()).with_timeout(timeout);
        let entry =
            self.state.running.enter(self.tenant.as_str(), text, self.state.clock.now_ms(), cancel.clone());
        let mut context = QueryContext::new(self.tenant.clone(), cancel);
        context.partial_response = self.params.flag("partial_response", true)?;
        context.local_only = self.params.flag("local", false)?;
        context.max_source_resolution_ms = match self.params.get("max_source_resolution") {
            None => 0,
            Some("auto") => self.params.duration("step")?.unwrap_or(0) / 5,
            Some(_) => self.params.duration("max_source_resolution")?.unwrap_or(0),
        };
        if self.params.flag("dedup", true)? {
            let named: Vec<_> = self.params.all("replicaLabels[]").map(str::to_owned).collect();
            context.replica_labels =
                if named.is_empty() { self.state.settings.replica_labels.clone() } else { named };
        }
        Ok((context, entry))
    }

    /// Whether start timestamps take part in this query; `None` if it does not say.
    pub(crate) fn use_start_timestamps(&self) -> Result<Option<bool>, ApiError> {
        let text = self.start_timestamps.as_deref().unwrap_or_default();
        match params::parse_bool(text) {
            _ if text.is_empty() => Ok(None),
            Some(on) => Ok(Some(on)),
            None => Err(ApiError::invalid(format!(
                "error parsing {START_TIMESTAMPS} header: strconv.ParseBool: parsing {}: invalid syntax",
                quote(text)
            ))),
        }
    }

    /// Runs `job` off the event loop.
    pub(crate) async fn run<T, F>(&self, job: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn trireme_query::Queries) -> Result<T, trireme_query::QueryError> + Send + 'static,
    {
        let queries = self.state.queries.clone();
        Ok(runner::run(self.state.runner.as_ref(), move || job(queries.as_ref())).await??)
    }

    /// True if the answer takes so little that [`Ask::run_quick`] may give it at once.
    pub(crate) fn is_quick(&self, context: &QueryContext, asked: &Asked<'_>) -> bool {
        self.state.queries.is_quick(context, asked)
    }

    /// Runs `job` at once if it is `quick`, else off the event loop.
    pub(crate) async fn run_quick<T, F>(&self, quick: bool, job: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn trireme_query::Queries) -> Result<T, trireme_query::QueryError> + Send + 'static,
    {
        if quick {
            return Ok(runner::run_here(|| job(self.state.queries.as_ref()))??);
        }
        self.run(job).await
    }

    /// The `match[]` parameters, each of which must have a matcher that does not match the empty string.
    pub(crate) fn matchers(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        let sets = self.any_matchers().map_err(|e| ApiError::parameter("match[]", e))?;
        if sets.iter().any(|set| set.iter().all(Matcher::matches_empty)) {
            let why = "match[] must contain at least one non-empty matcher";
            return Err(ApiError::parameter("match[]", why));
        }
        Ok(sets)
    }

    /// The `match[]` parameters, which may choose everything: `{}`.
    pub(crate) fn any_matchers(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        let options = &self.state.settings.parser;
        let parse = |text: &str| parse_selector(text, options).map_err(|e| ApiError::invalid(e.to_string()));
        self.params.all("match[]").map(parse).collect()
    }

    /// `match[]`, `start`, `end` and `limit`; without times everything.
    pub(crate) fn selection(&self) -> Result<Selection, ApiError> {
        let start_ms = self.params.time("start", i64::MIN)?;
        let end_ms = self.params.time("end", i64::MAX)?;
        if end_ms < start_ms {
            return Err(ApiError::parameter("end", "end timestamp must not be before start timestamp"));
        }
        Ok(Selection { matchers: self.matchers()?, start_ms, end_ms, limit: self.params.count("limit")? })
    }
}
