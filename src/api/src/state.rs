//! What all handlers share, and the table of paths.

use std::sync::Arc;

use actix_web::web;
use slog::Logger;
use trireme_base::Clock;
use trireme_query::{Queries, TurnLimits, Turns};

use crate::admission::Admission;
use crate::budget::Budget;
use crate::running::Running;
use crate::{
    Admin, ApiMetrics, ApiSettings, Health, Runner, Traffic, WriteSink, export, federate, pages,
    prom, remote_read, write,
};

/// Bodies of administrative requests that are read at the same time.
const ADMIN_IN_FLIGHT_BYTES: usize = 1 << 20;

/// What the node provides; see [`ApiState::new`].
pub struct ApiParts {
    /// Takes writes.
    pub sink: Arc<dyn WriteSink>,
    /// Answers queries.
    pub queries: Arc<dyn Queries>,
    /// Cluster and node administration.
    pub admin: Arc<dyn Admin>,
    /// Liveness and readiness.
    pub health: Arc<dyn Health>,
    /// Where queries run; it must have a thread for each place (`query_places` and `stream_places`).
    pub runner: Arc<dyn Runner>,
    /// Where large bodies of writes are decoded, apart from queries so that neither waits for the other.
    pub decoder: Arc<dyn Runner>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counts the requests of clients.
    pub traffic: Traffic,
    /// Settings.
    pub settings: ApiSettings,
    /// Own metrics.
    pub metrics: ApiMetrics,
    /// Text of `/metrics`.
    pub render_metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Logger.
    pub log: Logger,
}

/// State of the API. Make one per node; its clones share everything.
#[derive(Clone)]
pub struct ApiState {
    pub(crate) sink: Arc<dyn WriteSink>,
    pub(crate) queries: Arc<dyn Queries>,
    pub(crate) admin: Arc<dyn Admin>,
    pub(crate) health: Arc<dyn Health>,
    pub(crate) runner: Arc<dyn Runner>,
    pub(crate) decoder: Arc<dyn Runner>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) traffic: Traffic,
    pub(crate) settings: Arc<ApiSettings>,
    pub(crate) metrics: ApiMetrics,
    pub(crate) render_metrics: Arc<dyn Fn() -> String + Send + Sync>,
    pub(crate) log: Logger,
    pub(crate) budget: Budget,
    /// Of its own, so that an operator is heard by a node that senders have filled.
    pub(crate) admin_budget: Budget,
    /// Answers that clients have not taken yet.
    pub(crate) answers: Budget,
    /// Places of queries.
    pub(crate) admission: Admission,
    /// Places of exports, remote reads and the like.
    pub(crate) streams: Admission,
    pub(crate) running: Running,
    pub(crate) started_ms: i64,
}

impl ApiState {
    /// Takes the node's parts; "now" is the start time that `status/runtimeinfo` shows.
    pub fn new(parts: ApiParts) -> Self {
        let ApiParts {
            sink,
            queries,
            admin,
            health,
            runner,
            decoder,
            clock,
            ..
        } = parts;

        let ApiParts {
            traffic,
            settings,
            metrics,
            render_metrics,
            log,
            ..
        } = parts;

        let budget = Budget::new(
            settings.in_flight_bytes_max,
            metrics.write_in_flight.clone(),
        );
        let admin_budget = Budget::new(ADMIN_IN_FLIGHT_BYTES, metrics.write_in_flight.clone());
        let answers = Budget::new(settings.answer_bytes_max, metrics.answers_in_flight.clone());
        let admission = admission_of(
            &settings,
            &metrics,
            &clock,
            "queries",
            settings.query_places,
        );
        let streams = admission_of(
            &settings,
            &metrics,
            &clock,
            "streams",
            settings.stream_places,
        );
        let started_ms = clock.now_ms();

        Self {
            sink,
            queries,
            admin,
            health,
            runner,
            decoder,
            answers,
            admission,
            streams,
            clock,
            traffic,
            settings: Arc::new(settings),
            metrics,
            render_metrics,
            log,
            budget,
            admin_budget,
            running: Running::default(),
            started_ms,
        }
    }
}

/// The places of queries or streams, and the queue for them.
fn admission_of(
    settings: &ApiSettings,
    metrics: &ApiMetrics,
    clock: &Arc<dyn Clock>,
    what: &'static str,
    places: usize,
) -> Admission {
    let limits = TurnLimits {
        places,
        waiting_max: settings.queued_max,
    };
    let of_tenants = Arc::clone(&settings.tenant_limits);
    let turns = Turns::with_own_places(limits, move |tenant| of_tenants.of(tenant).places_max);

    Admission::new(
        turns,
        Arc::clone(clock),
        metrics.admission(what),
        (what, "query.max_queued"),
    )
}

/// Adds all paths to an application.
pub fn configure(cfg: &mut web::ServiceConfig, state: ApiState) {
    cfg.app_data(web::Data::new(state));
    for path in ["/api/v1/write", "/api/v1/receive", "/api/v1/push"] {
        cfg.service(web::resource(path).route(web::post().to(write::handle)));
    }

    for path in [
        "/api/v1/otlp/v1/metrics",
        "/otlp/v1/metrics",
        "/v1/metrics",
        "/api/v1/otlp",
    ] {
        cfg.service(web::resource(path).route(web::post().to(write::otlp::handle)));
    }

    prom::configure(cfg);
    export::configure(cfg);
    federate::configure(cfg);
    remote_read::configure(cfg);
    pages::configure(cfg);
}
