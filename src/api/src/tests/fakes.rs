//! Backends that remember what they were asked and answer what they were told.

use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceResponse};
use actix_web::{App, test};
use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use trireme_base::pool::CpuPool;
use trireme_base::{ErrorKind, ManualClock};
use trireme_model::{Exemplar, Labels, MetricMetadata, MetricType, Tenant, WriteOutcome};
use trireme_promql::{
    Columns, QueryResult, QueryStats, Sample, SampleValue, SelectError, SelectRequest, SeriesRead,
    SeriesSet,
};
use trireme_query::{
    ExemplarSeries, Found, InstantQuery, Queries, QueryContext, QueryError, RangeQuery, Selection,
    TsdbStatus,
};
use trireme_telemetry::Metrics;
use trireme_wire::batch::Batch;

use crate::{
    Admin, AdminError, ApiMetrics, ApiParts, ApiSettings, ApiState, Health, Readiness,
    ReplayStatus, Traffic, WriteSink, configure,
};

pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

#[derive(Default)]
pub(crate) struct FakeSink {
    pub(crate) batches: Mutex<Vec<(Tenant, Batch)>>,
    pub(crate) outcome: Mutex<Option<WriteOutcome>>,
    /// If set, a write says that it began, waits for the word to go on, and says that it is done.
    pub(crate) steps: Option<Steps>,
}

#[derive(Default)]
pub(crate) struct Steps {
    pub(crate) begun: Notify,
    pub(crate) go_on: Notify,
    pub(crate) done: Notify,
}

#[async_trait]
impl WriteSink for FakeSink {
    async fn write(&self, tenant: Tenant, batch: Batch) -> WriteOutcome {
        if let Some(steps) = &self.steps {
            steps.begun.notify_one();
            steps.go_on.notified().await;
            steps.done.notify_one();
        }

        let all = WriteOutcome {
            samples: batch.samples.len() as u64,
            ..Default::default()
        };

        self.batches.lock().push((tenant, batch));
        self.outcome.lock().clone().unwrap_or(all)
    }
}

pub(crate) struct FakeSeries(pub(crate) Labels, pub(crate) Vec<(i64, f64)>);

impl SeriesRead for FakeSeries {
    fn labels(&self) -> &Labels {
        &self.0
    }

    fn read_within(
        &self,
        start_ms: i64,
        end_ms: i64,
        samples_max: usize,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        for (t, v) in self
            .1
            .iter()
            .filter(|(t, _)| (start_ms..=end_ms).contains(t))
        {
            out.push_float(*t, *v);
        }
        out.check_within(samples_max)
    }
}

/// Answers every question with two fixed series `up{job="a"}` and `up{job="b"}`.
#[derive(Default)]
pub(crate) struct FakeQueries {
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) error: Mutex<Option<QueryError>>,
    pub(crate) warnings: Mutex<Vec<String>>,
    /// Something cannot be read.
    pub(crate) lacks: Mutex<bool>,
    pub(crate) samples: Mutex<Vec<(i64, f64)>>,
    /// What the last query said of start timestamps.
    pub(crate) start_timestamps: Mutex<Option<bool>>,
    /// What the last query might cost.
    pub(crate) cost_limits: Mutex<trireme_query::CostLimits>,
    /// Samples that the last query might hold by a limit of its tenant.
    pub(crate) samples_max: Mutex<usize>,
    /// Statistics by step, for who asks for them.
    pub(crate) steps: Mutex<Vec<(i64, u64, u64)>>,
}

pub(crate) fn up(job: &str) -> Labels {
    Labels::from_pairs([("__name__", "up"), ("job", job)])
}

impl FakeQueries {
    fn ask(&self, context: &QueryContext, text: String) -> Result<(), QueryError> {
        self.asked.lock().push(format!("{} {text}", context.tenant));
        *self.start_timestamps.lock() = context.start_timestamps;
        *self.cost_limits.lock() = context.cost_limits;
        *self.samples_max.lock() = context.samples_max;
        context.cancel.check().map_err(SelectError::from)?;
        self.error.lock().clone().map_or(Ok(()), Err)
    }

    fn result(&self) -> QueryResult {
        let sample = |job| Sample {
            labels: up(job),
            t: NOW_MS,
            value: SampleValue::Float(1.0),
        };
        QueryResult {
            value: trireme_promql::Value::Vector(vec![sample("a"), sample("b")]),
            warnings: self.warnings.lock().clone(),
            infos: vec![],
            stats: QueryStats::default(),
        }
    }

    fn strings(&self, items: &[&str]) -> Found<String> {
        Found {
            items: items.iter().map(|s| (*s).to_owned()).collect(),
            warnings: self.warnings.lock().clone(),
        }
    }
}

impl Queries for FakeQueries {
    fn instant(
        &self,
        context: &QueryContext,
        query: &InstantQuery,
    ) -> Result<QueryResult, QueryError> {
        self.ask(context, format!("instant {} {}", query.expr, query.time_ms))?;
        let mut result = self.result();
        if context.per_step_stats {
            result.stats.by_step = self.steps.lock().clone();
        }
        Ok(result)
    }

    fn range(&self, context: &QueryContext, q: &RangeQuery) -> Result<QueryResult, QueryError> {
        self.ask(
            context,
            format!("range {} {} {} {}", q.expr, q.start_ms, q.end_ms, q.step_ms),
        )?;
        Ok(self.result())
    }

    fn select(
        &self,
        context: &QueryContext,
        request: &SelectRequest,
    ) -> Result<SeriesSet, QueryError> {
        self.ask(context, format!("select {:?}", request.matchers))?;
        if *self.lacks.lock() && !context.partial_response {
            return Err(QueryError::new(
                trireme_base::ErrorKind::Unavailable,
                "a block cannot be read",
            ));
        }

        let samples = self.samples.lock().clone();
        let series = |job| Box::new(FakeSeries(up(job), samples.clone())) as Box<dyn SeriesRead>;
        Ok(SeriesSet {
            series: vec![series("a"), series("b")],
            warnings: self.warnings.lock().clone(),
        })
    }

    fn series(
        &self,
        context: &QueryContext,
        selection: &Selection,
    ) -> Result<Found<Labels>, QueryError> {
        self.ask(context, format!("series {:?}", selection.matchers))?;
        Ok(Found {
            items: vec![up("a"), up("b")],
            warnings: vec![],
        })
    }

    fn label_names(
        &self,
        context: &QueryContext,
        selection: &Selection,
    ) -> Result<Found<String>, QueryError> {
        self.ask(
            context,
            format!("names {} {}", selection.start_ms, selection.end_ms),
        )?;
        Ok(self.strings(&["__name__", "job"]))
    }

    fn label_values(
        &self,
        context: &QueryContext,
        name: &str,
        _: &Selection,
    ) -> Result<Found<String>, QueryError> {
        self.ask(context, format!("values {name}"))?;
        Ok(self.strings(&["a", "b"]))
    }

    fn exemplars(
        &self,
        context: &QueryContext,
        expr: &str,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Found<ExemplarSeries>, QueryError> {
        self.ask(context, format!("exemplars {expr} {start_ms} {end_ms}"))?;
        let exemplar = Exemplar {
            labels: Labels::from_pairs([("trace_id", "x")]),
            v: 6.0,
            t: 1_600_096_945_479,
        };

        Ok(Found {
            items: vec![ExemplarSeries {
                labels: up("a"),
                exemplars: vec![exemplar],
            }],
            warnings: vec![],
        })
    }

    fn metadata(
        &self,
        context: &QueryContext,
        metric: Option<&str>,
    ) -> Result<Vec<(String, Vec<MetricMetadata>)>, QueryError> {
        self.ask(context, format!("metadata {metric:?}"))?;
        let entry = MetricMetadata {
            kind: MetricType::Gauge,
            unit: String::new(),
            help: "Is it \"up\"?".into(),
        };
        Ok(vec![("up".into(), vec![entry])])
    }

    fn tsdb_status(&self, context: &QueryContext, limit: usize) -> Result<TsdbStatus, QueryError> {
        self.ask(context, format!("tsdb {limit}"))?;
        Ok(TsdbStatus {
            series: 2,
            ..Default::default()
        })
    }
}

pub(crate) struct FakeAdmin;

#[async_trait]
impl Admin for FakeAdmin {
    async fn ring(&self) -> Result<Value, AdminError> {
        Ok(json!({ "epoch": 1 }))
    }

    async fn replication(&self) -> Result<Value, AdminError> {
        Ok(json!({ "streams": [] }))
    }

    async fn rebuild(&self) -> Result<Value, AdminError> {
        Ok(json!({ "state": "complete" }))
    }

    async fn cancel_rebuild(&self) -> Result<Value, AdminError> {
        Err(AdminError {
            kind: ErrorKind::Invalid,
            message: "there is none".into(),
        })
    }

    async fn windows(&self, tenant: Option<Tenant>) -> Result<Value, AdminError> {
        Ok(json!({ "tenant": tenant.map(|t| t.to_string()) }))
    }

    async fn drain(&self) -> Result<Value, AdminError> {
        Ok(json!({ "draining": true }))
    }

    async fn checkpoint(&self) -> Result<Value, AdminError> {
        Err(AdminError {
            kind: ErrorKind::Unavailable,
            message: "busy".into(),
        })
    }

    async fn crash(&self, actor: &str) -> Result<Value, AdminError> {
        Err(AdminError {
            kind: ErrorKind::NotFound,
            message: actor.to_owned(),
        })
    }

    async fn add_member(&self, body: Value) -> Result<Value, AdminError> {
        Ok(body)
    }

    async fn remove_member(&self, node: &str, body: Value) -> Result<Value, AdminError> {
        Ok(json!({ "removed": node, "body": body }))
    }

    async fn change_member(
        &self,
        node: &str,
        action: &str,
        body: Value,
    ) -> Result<Value, AdminError> {
        Ok(json!({ "node": node, "action": action, "body": body }))
    }

    async fn change_group(
        &self,
        group: &str,
        action: &str,
        body: Value,
    ) -> Result<Value, AdminError> {
        Ok(json!({ "group": group, "action": action, "body": body }))
    }
}

const REPLAYED: ReplayStatus = ReplayStatus {
    first: 1,
    last: 1,
    current: 1,
    done: true,
};

pub(crate) struct FakeHealth(pub(crate) Mutex<Readiness>, pub(crate) Mutex<ReplayStatus>);

impl Health for FakeHealth {
    fn healthy(&self) -> bool {
        true
    }

    fn ready(&self) -> Readiness {
        self.0.lock().clone()
    }

    fn stopping(&self) -> bool {
        false
    }

    fn replay(&self) -> ReplayStatus {
        *self.1.lock()
    }
}

/// All fakes of one test, and the state made of them.
pub(crate) struct Node {
    pub(crate) sink: Arc<FakeSink>,
    pub(crate) queries: Arc<FakeQueries>,
    pub(crate) health: Arc<FakeHealth>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) metrics: Metrics,
    pub(crate) state: ApiState,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self::with(ApiSettings::default())
    }

    pub(crate) fn with(settings: ApiSettings) -> Self {
        Self::over(FakeSink::default(), settings)
    }

    pub(crate) fn over(sink: FakeSink, settings: ApiSettings) -> Self {
        let sink = Arc::new(sink);
        let queries = Arc::new(FakeQueries::default());
        let health = Arc::new(FakeHealth(
            Mutex::new(Readiness::Ready),
            Mutex::new(REPLAYED),
        ));
        let clock = Arc::new(ManualClock::at(NOW_MS));
        let metrics = Metrics::default();
        let rendered = metrics.clone();
        let own = ApiMetrics::new(&metrics).expect("fresh registry");
        let own = match settings.features.query_cost {
            Some(_) => own.with_query_cost(&metrics).expect("fresh registry"),
            None => own,
        };
        let state = ApiState::new(ApiParts {
            sink: sink.clone(),
            queries: queries.clone(),
            admin: Arc::new(FakeAdmin),
            health: health.clone(),
            runner: Arc::new(CpuPool::new("test", 1, 8).expect("a thread starts")),
            decoder: Arc::new(CpuPool::new("decode", 1, 8).expect("a thread starts")),
            clock: clock.clone(),
            traffic: Traffic::default(),
            settings,
            metrics: own,
            render_metrics: Arc::new(move || rendered.render()),
            log: slog::Logger::root(slog::Discard, slog::o!()),
        });

        Self {
            sink,
            queries,
            health,
            clock,
            metrics,
            state,
        }
    }

    /// Sends one request through the application.
    pub(crate) async fn send(&self, request: test::TestRequest) -> Reply {
        let state = self.state.clone();
        let app = App::new()
            .wrap(actix_web::middleware::from_fn(crate::layers::measure))
            .wrap(actix_web::middleware::from_fn(crate::layers::cors))
            .wrap(actix_web::middleware::from_fn(crate::prefix::strip_prefix))
            .configure(|cfg| configure(cfg, state));

        let app = test::init_service(app).await;
        Reply::of(
            app.call(request.to_request())
                .await
                .expect("no handler fails without a response"),
        )
        .await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(test::TestRequest::get().uri(path)).await
    }

    /// Posts a form.
    pub(crate) async fn form(&self, path: &str, form: &str) -> Reply {
        let request = test::TestRequest::post()
            .uri(path)
            .insert_header(("content-type", "application/x-www-form-urlencoded"))
            .set_payload(form.to_owned());
        self.send(request).await
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.queries.asked.lock())
    }
}

/// A response, read to its end.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: actix_web::http::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    async fn of<B: MessageBody>(response: ServiceResponse<B>) -> Self {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        Self {
            status,
            headers,
            body: test::read_body(response).await.to_vec(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}
