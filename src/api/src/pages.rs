//! Health, own metrics, administration and the landing page.

use std::collections::BTreeMap;

use actix_web::dev::Payload;
use actix_web::http::header::ALLOW;
use actix_web::web::{self, Path, ServiceConfig};
use actix_web::{FromRequest, HttpRequest, HttpResponse, Resource};
use serde_json::{Value, json};
use trireme_model::Tenant;

use crate::body::{self, Bounds, Extracting};
use crate::error::ApiError;
use crate::{AdminError, ApiState, Readiness};

type State = web::Data<ApiState>;
type Answer = Result<HttpResponse, ApiError>;

/// Largest body of an administrative request.
const ADMIN_BYTES_MAX: usize = 64 << 10;

/// The page at `/`: self-contained, so that it works on a machine without a way out.
const PAGE: &str = include_str!("page.html");

/// Adds the paths.
pub(crate) fn configure(cfg: &mut ServiceConfig) {
    cfg.service(
        web::resource("/-/healthy")
            .route(web::get().to(healthy))
            .route(web::head().to(healthy)),
    )
    .service(
        web::resource("/-/ready")
            .route(web::get().to(ready))
            .route(web::head().to(ready)),
    )
    .service(lifecycle("/-/reload"))
    .service(lifecycle("/-/quit"))
    .service(web::resource("/metrics").route(web::get().to(metrics)))
    .service(web::resource("/version").route(web::get().to(version)))
    .service(web::resource("/").route(web::get().to(page)));

    configure_admin(cfg);
}

fn configure_admin(cfg: &mut ServiceConfig) {
    configure_ring(cfg);
    cfg.service(web::resource("/api/v1/admin/config").route(web::get().to(config)))
        .service(web::resource("/api/v1/admin/replication").route(web::get().to(replication)))
        .service(web::resource("/api/v1/admin/rebuild").route(web::get().to(rebuild)))
        .service(
            web::resource("/api/v1/admin/rebuild/cancel").route(web::post().to(cancel_rebuild)),
        )
        .service(web::resource("/api/v1/admin/windows").route(web::get().to(windows)))
        .service(web::resource("/api/v1/admin/drain").route(web::post().to(drain)))
        .service(web::resource("/api/v1/admin/crash").route(web::post().to(crash)))
        .service(web::resource("/api/v1/admin/checkpoint").route(web::post().to(checkpoint)));
}

fn configure_ring(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/v1/admin/ring").route(web::get().to(ring)))
        .service(web::resource("/api/v1/admin/ring/members").route(web::post().to(add_member)))
        .service(
            web::resource("/api/v1/admin/ring/members/{node}")
                .route(web::delete().to(remove_member)),
        )
        .service(
            web::resource("/api/v1/admin/ring/members/{node}/{action}")
                .route(web::post().to(change_member)),
        )
        .service(
            web::resource("/api/v1/admin/ring/groups/{group}")
                .route(web::delete().to(remove_group)),
        )
        .service(
            web::resource("/api/v1/admin/ring/groups/{group}/{action}")
                .route(web::post().to(change_group)),
        );
}

/// A path that reloads or stops a Prometheus whose settings allow it. Here signals stop a node, and settings are read at its
/// start.
fn lifecycle(path: &str) -> Resource {
    web::resource(path)
        .route(web::post().to(refused))
        .route(web::put().to(refused))
        .default_service(web::route().to(|| async {
            let mut status = HttpResponse::MethodNotAllowed();
            text(
                status.insert_header((ALLOW, "POST, PUT")),
                "Only POST or PUT requests allowed".into(),
            )
        }))
}

async fn refused() -> HttpResponse {
    text(
        &mut HttpResponse::Forbidden(),
        "Lifecycle API is not enabled.".into(),
    )
}

fn text(status: &mut actix_web::HttpResponseBuilder, text: String) -> HttpResponse {
    status.content_type("text/plain; charset=utf-8").body(text)
}

async fn healthy(state: State) -> HttpResponse {
    if state.health.healthy() {
        text(&mut HttpResponse::Ok(), "Trireme is Healthy.\n".into())
    } else {
        text(
            &mut HttpResponse::ServiceUnavailable(),
            "Trireme is not healthy.\n".into(),
        )
    }
}

async fn ready(state: State) -> HttpResponse {
    match state.health.ready() {
        Readiness::Ready => text(&mut HttpResponse::Ok(), "Trireme is Ready.\n".into()),
        Readiness::NotReady(why) => {
            let mut response = HttpResponse::ServiceUnavailable();
            response.insert_header(("X-Prometheus-Stopping", state.health.stopping().to_string()));
            text(&mut response, format!("Trireme is not ready: {why}\n"))
        }
    }
}

async fn metrics(state: State) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body((state.render_metrics)())
}

/// The node's settings as they are in effect.
async fn config(state: State) -> HttpResponse {
    text(
        &mut HttpResponse::Ok(),
        state.settings.settings_text.clone(),
    )
}

async fn version() -> HttpResponse {
    let build = trireme_telemetry::build_info();
    HttpResponse::Ok().json(json!({ "version": build.version, "revision": build.revision }))
}

async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .body(PAGE)
}

fn answer(result: Result<Value, AdminError>) -> Answer {
    Ok(HttpResponse::Ok().json(result?))
}

async fn ring(state: State) -> Answer {
    answer(state.admin.ring().await)
}

async fn replication(state: State) -> Answer {
    answer(state.admin.replication().await)
}

async fn rebuild(state: State) -> Answer {
    answer(state.admin.rebuild().await)
}

async fn cancel_rebuild(state: State) -> Answer {
    answer(state.admin.cancel_rebuild().await)
}

async fn windows(state: State, request: HttpRequest) -> Answer {
    let params = crate::params::Params::of_query(&request)?;
    let tenant = params.get("tenant").map(Tenant::new).transpose();
    let tenant = tenant.map_err(|e| ApiError::parameter("tenant", e))?;
    answer(state.admin.windows(tenant).await)
}

async fn drain(state: State) -> Answer {
    answer(state.admin.drain().await)
}

async fn checkpoint(state: State) -> Answer {
    answer(state.admin.checkpoint().await)
}

#[derive(serde::Deserialize)]
struct CrashParams {
    actor: String,
}

async fn crash(state: State, params: web::Query<CrashParams>) -> Answer {
    answer(state.admin.crash(&params.actor).await)
}

/// What an administrative request says in its body: JSON whatever type it claims to have, or null without one.
struct Said(Value);

impl FromRequest for Said {
    type Error = ApiError;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        body::extract(request, payload, async |request, payload, state: State| {
            let timeout = state.settings.body_timeout;
            let bounds = Bounds {
                bytes_max: ADMIN_BYTES_MAX,
                bytes_key: "administration",
                timeout,
            };

            let mut reserved = state.admin_budget.open(&Tenant::default());
            let bytes = body::read(&request, payload, &bounds, &mut reserved).await?;
            if bytes.is_empty() {
                return Ok(Self(Value::Null));
            }

            let json = serde_json::from_slice(&bytes);
            json.map(Self)
                .map_err(|e| ApiError::invalid(format!("the body is not JSON: {e}")))
        })
    }
}

async fn add_member(state: State, Said(body): Said) -> Answer {
    answer(state.admin.add_member(body).await)
}

/// Many clients send no body with a DELETE, so its options may stand in the URL.
fn options(of_url: web::Query<BTreeMap<String, String>>, body: Value) -> Value {
    let of_url = of_url.into_inner();
    if body.is_null() && !of_url.is_empty() {
        json!(of_url)
    } else {
        body
    }
}

async fn remove_member(
    state: State,
    node: Path<String>,
    of_url: web::Query<BTreeMap<String, String>>,
    Said(body): Said,
) -> Answer {
    answer(
        state
            .admin
            .remove_member(&node, options(of_url, body))
            .await,
    )
}

async fn remove_group(
    state: State,
    group: Path<String>,
    of_url: web::Query<BTreeMap<String, String>>,
    Said(body): Said,
) -> Answer {
    answer(
        state
            .admin
            .change_group(&group, "remove", options(of_url, body))
            .await,
    )
}

async fn change_group(state: State, path: Path<(String, String)>, Said(body): Said) -> Answer {
    let (group, action) = path.into_inner();
    answer(state.admin.change_group(&group, &action, body).await)
}

async fn change_member(state: State, path: Path<(String, String)>, Said(body): Said) -> Answer {
    let (node, action) = path.into_inner();
    answer(state.admin.change_member(&node, &action, body).await)
}
