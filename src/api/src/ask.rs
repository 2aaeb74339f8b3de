//! One request to the query API: parameters, tenant and state, taken apart once for all handlers.

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use trireme_model::{Matcher, Tenant, quote};
use trireme_promql::{Cancel, format_duration, parse_selectors};
use trireme_query::{Asked, Queries, QueryContext, QueryError, Selection, TenantLimits, is_light};

use crate::body::{self, Extracting};
use crate::error::ApiError;
use crate::params::{self, Params};
use crate::running::Entry;
use crate::selected::Stream;
use crate::{ApiState, runner, tenant};

/// Most labels that tell HA replicas apart: each series is looked at for each of them.
const REPLICA_LABELS_MAX: usize = 16;
/// Parameters of Thanos by which an answer has fewer series. Whoever sends them would count series twice.
const NARROWING: [&str; 2] = ["shard_info", "storeMatch[]"];

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
            let tenant =
                tenant::of(request.headers(), &state.settings).map_err(ApiError::invalid)?;
            let reserved = state.budget.open(&tenant);
            let start_timestamps = request.headers().get(START_TIMESTAMPS);
            let start_timestamps = start_timestamps
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            let params =
                Params::read(&request, payload, state.settings.body_timeout, reserved).await?;

            Ok(Self {
                state,
                params,
                tenant,
                start_timestamps,
            })
        })
    }
}

impl Ask {
    /// The context of a query that shows as `text`, once others have said how far they are. Dropping the entry cancels the
    /// query.
    pub(crate) async fn begin(&self, text: &str) -> Result<(QueryContext, Entry), ApiError> {
        let (context, entry) = self.enter(text)?;
        self.state.queries.prepare(&context).await?;
        Ok((context, entry))
    }

    /// The same for what others need not be asked for.
    pub(crate) fn enter(&self, text: &str) -> Result<(QueryContext, Entry), ApiError> {
        let cancel = Cancel::new(self.state.clock.clone()).with_timeout(self.timeout()?);
        let entry = self.state.running.enter(
            self.tenant.as_str(),
            text,
            self.state.clock.now_ms(),
            cancel.clone(),
        );

        Ok((self.context(cancel)?, entry))
    }

    /// The same for a stream, once it has a place. It may take longer than a query.
    pub(crate) async fn stream(&self, text: &str) -> Result<(QueryContext, Stream), ApiError> {
        let stream = Stream::open(&self.state, &self.tenant, text).await?;
        let context = self.context(stream.cancel.clone())?;
        self.state.queries.prepare(&context).await?;
        Ok((context, stream))
    }

    /// How long the query may take, waiting included.
    fn timeout(&self) -> Result<Duration, ApiError> {
        let longest = self.state.settings.query_timeout;
        match self.params.duration("timeout")? {
            None => Ok(longest),
            Some(ms) if ms <= 0 => {
                let got = format_duration(ms);
                Err(ApiError::parameter(
                    "timeout",
                    format!("timeout must be positive, got {got}"),
                ))
            }
            Some(ms) => Ok(Duration::from_millis(ms.unsigned_abs()).min(longest)),
        }
    }

    /// What the tenant's queries may take.
    pub(crate) fn limits(&self) -> TenantLimits {
        self.state.settings.tenant_limits.of(&self.tenant)
    }

    fn context(&self, cancel: Cancel) -> Result<QueryContext, ApiError> {
        for name in NARROWING {
            if self.params.all(name).any(|value| !value.is_empty()) {
                return Err(ApiError::parameter(name, "is not supported"));
            }
        }

        let mut context = QueryContext::new(self.tenant.clone(), cancel);
        context.samples_max = self.limits().samples_max;
        context.partial_response = self.params.flag("partial_response", true)?;
        context.local_only = self.params.flag("local", false)?;
        context.max_source_resolution_ms = match self.params.get("max_source_resolution") {
            None => 0,
            Some("auto") => self.params.duration("step")?.unwrap_or(0) / 5,
            Some(_) => self.params.duration("max_source_resolution")?.unwrap_or(0),
        };

        if self.params.flag("dedup", true)? {
            context.replica_labels = self.replica_labels()?;
        }

        Ok(context)
    }

    /// The labels that tell replicas apart: those of the request, or else those of the settings.
    fn replica_labels(&self) -> Result<Vec<String>, ApiError> {
        let named = self.params.all("replicaLabels[]").map(str::to_owned);
        let named: Vec<_> = named.collect();
        if named.len() > REPLICA_LABELS_MAX {
            let why = format!(
                "{} labels; at most {REPLICA_LABELS_MAX} are possible",
                named.len()
            );
            return Err(ApiError::parameter("replicaLabels[]", why));
        }

        Ok(if named.is_empty() {
            self.state.settings.replica_labels.clone()
        } else {
            named
        })
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

    /// Runs `job` off the event loop, once the tenant has a place.
    pub(crate) async fn run<T, F>(&self, job: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Queries) -> Result<T, QueryError> + Send + 'static,
    {
        let place = self
            .state
            .admission
            .enter(&self.tenant, self.timeout()?)
            .await?;

        let queries = self.state.queries.clone();
        Ok(runner::run(self.state.runner.as_ref(), move || {
            let _place = place;
            job(queries.as_ref())
        })
        .await??)
    }

    /// Runs `job` at once, from memory alone, if that takes an instant; else off the event loop.
    pub(crate) async fn run_quick<T, F>(
        &self,
        context: QueryContext,
        asked: &Asked<'_>,
        job: F,
    ) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Queries, &QueryContext) -> Result<T, QueryError> + Clone + Send + 'static,
    {
        let queries = self.state.queries.as_ref();
        if queries.is_quick(&context, asked) {
            let quick = QueryContext {
                head_only: true,
                ..context.clone()
            };
            let job = job.clone();
            let done = runner::run_here(|| job(queries, &quick));
            // A block may have come in between, and whatever else went wrong has its words on the pool.
            if let Ok(Ok(found)) = done {
                return Ok(found);
            }
        }

        self.run(move |queries| job(queries, &context)).await
    }

    /// The `match[]` parameters, each of which must have a matcher that does not match the empty string.
    pub(crate) async fn matchers(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        let sets = self
            .any_matchers()
            .await
            .map_err(|e| ApiError::parameter("match[]", e))?;

        if sets
            .iter()
            .any(|set| set.iter().all(Matcher::matches_empty))
        {
            let why = "match[] must contain at least one non-empty matcher";
            return Err(ApiError::parameter("match[]", why));
        }

        Ok(sets)
    }

    /// The `match[]` parameters, which may choose everything: `{}`.
    pub(crate) async fn any_matchers(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        let texts: Vec<String> = self.params.all("match[]").map(str::to_owned).collect();
        let is_light = is_light(texts.iter().map(String::as_str));
        let options = self.state.settings.parser.clone();
        self.parse(is_light, move || {
            let sets = parse_selectors(texts.iter().map(String::as_str), &options);
            sets.map_err(|e| QueryError::invalid(e.to_string()))
        })
        .await
    }

    /// Parses at once what is light, and the rest off the event loop: a regular expression may take a second to compile.
    pub(crate) async fn parse<T: Send + 'static>(
        &self,
        is_light: bool,
        parse: impl FnOnce() -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, ApiError> {
        match is_light {
            true => Ok(parse()?),
            false => self.run(move |_| parse()).await,
        }
    }

    /// `match[]`, `start`, `end` and `limit`; without times everything. `None` if the end is before the start, so that
    /// there is nothing to find.
    pub(crate) async fn selection(&self) -> Result<Option<Selection>, ApiError> {
        let start_ms = self.params.time("start", i64::MIN)?;
        let end_ms = self.params.time("end", i64::MAX)?;
        let limit = self.params.count("limit")?;
        let matchers = self.matchers().await?;

        Ok((start_ms <= end_ms).then_some(Selection {
            matchers,
            start_ms,
            end_ms,
            limit,
        }))
    }
}
