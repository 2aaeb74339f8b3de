//! One request to the query API: parameters, tenant and state, taken apart once for all handlers.

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use trireme_model::{Matcher, Tenant};
use trireme_promql::{Cancel, ParserOptions, parse_selector};
use trireme_query::{Asked, QueryContext, Selection};

use crate::body::{self, Extracting};
use crate::error::ApiError;
use crate::params::Params;
use crate::running::Entry;
use crate::{ApiState, runner, tenant};

/// What a handler works on.
pub(crate) struct Ask {
    pub(crate) state: web::Data<ApiState>,
    pub(crate) params: Params,
    pub(crate) tenant: Tenant,
}

impl FromRequest for Ask {
    type Error = ApiError;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        body::extract(request, payload, async |request, payload, state| {
            let tenant = tenant::of(request.headers(), &state.settings).map_err(ApiError::invalid)?;
            let reserved = state.budget.open(&tenant);
            let params = Params::read(&request, payload, state.settings.body_timeout, reserved).await?;
            Ok(Self { state, params, tenant })
        })
    }
}

impl Ask {
    /// The context of a query that shows as `text`. Dropping the entry cancels the query.
    pub(crate) fn begin(&self, text: &str) -> Result<(QueryContext, Entry), ApiError> {
        let longest = self.state.settings.query_timeout;
        let timeout = self
            .params
            .duration("timeout")?
            .map_or(longest, |ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(longest));
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
        let options = ParserOptions::default();
        let parse = |text: &str| parse_selector(text, &options).map_err(|e| ApiError::invalid(e.to_string()));
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
