//! `POST /api/v1/read`: Prometheus's remote read, as samples in one message or as a stream of encoded chunks.

mod chunks;
mod samples;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use prost::Message;
use trireme_promql::{Cancel, SelectHints, SelectRequest, SeriesSet};
use trireme_query::{Queries, QueryContext, QueryError};
use trireme_wire::prompb::read::{SAMPLES, STREAMED_XOR_CHUNKS};
use trireme_wire::prompb::v1::Label;
use trireme_wire::read::{Query, REQUEST_BYTES_MAX, decode};
use trireme_wire::snappy;

use crate::body::{self, Bounds};
use crate::error::ApiError;
use crate::prom::Answer;
use crate::{ApiState, runner, selected, tenant};
use chunks::Frames;

/// Adds the path.
pub(crate) fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/v1/read").route(web::post().to(read)));
}

async fn read(request: HttpRequest, payload: web::Payload, state: web::Data<ApiState>) -> Answer {
    let tenant = tenant::of(request.headers(), &state.settings).map_err(ApiError::invalid)?;
    let bounds = Bounds {
        bytes_max: REQUEST_BYTES_MAX,
        bytes_key: "remote read",
        timeout: state.settings.body_timeout,
    };
    let body = body::read(&request, payload, &bounds, &mut state.budget.open(&tenant)).await?;
    let asked = decode(&body).map_err(|e| ApiError::invalid(e.to_string()))?;
    let streamed = choose(&asked.accepted)?;
    let cancel = Cancel::new(state.clock.clone()).with_timeout(state.settings.query_timeout);
    let entry = state.running.enter(tenant.as_str(), "remote read", state.clock.now_ms(), cancel.clone());
    let context = QueryContext::new(tenant, cancel);
    let requests = asked.queries.into_iter().map(select_request).collect();
    if streamed {
        let queries = state.queries.clone();
        let stop = context.cancel.clone();
        let sets =
            runner::run(state.runner.as_ref(), move || select_all(queries.as_ref(), &context, requests))
                .await??;
        let mut response = HttpResponse::Ok();
        response.content_type("application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse");
        let frames = Frames::new(sets, stop);
        return Ok(selected::respond(response, &state, frames, entry).await?);
    }
    let (queries, limit) = (state.queries.clone(), state.settings.remote_read_samples_max);
    let job = move || {
        let sets = select_all(queries.as_ref(), &context, requests)?;
        let message = samples::response(sets, &context.cancel, limit)?;
        snappy::deflate(&message.encode_to_vec()).map_err(|e| QueryError::new(e.kind(), e.to_string()))
    };
    let body = runner::run(state.runner.as_ref(), job).await??;
    drop(entry);
    Ok(HttpResponse::Ok()
        .content_type("application/x-protobuf")
        .insert_header(("content-encoding", "snappy"))
        .body(body))
}

/// True for a stream of chunks. The client's order decides; an empty list is an old client that knows samples only.
fn choose(accepted: &[i32]) -> Result<bool, ApiError> {
    match accepted.iter().find(|t| [SAMPLES, STREAMED_XOR_CHUNKS].contains(t)) {
        Some(kind) => Ok(*kind == STREAMED_XOR_CHUNKS),
        None if accepted.is_empty() => Ok(false),
        None => Err(ApiError::invalid(format!(
            "server does not support any of the requested response types: {accepted:?}"
        ))),
    }
}

fn select_request(query: Query) -> SelectRequest {
    let Query { start_ms, end_ms, matchers } = query;
    SelectRequest { matchers, start_ms, end_ms, hints: SelectHints::default() }
}

/// A query's number, range and series. The protocol has no room for warnings, so a part that is missing is an error.
struct Chosen {
    start_ms: i64,
    end_ms: i64,
    set: SeriesSet,
}

fn select_all(
    queries: &dyn Queries,
    context: &QueryContext,
    requests: Vec<SelectRequest>,
) -> Result<Vec<Chosen>, QueryError> {
    let whole = QueryContext { partial_response: false, ..context.clone() };
    let one = |request: SelectRequest| {
        let set = queries.select(&whole, &request)?;
        Ok(Chosen { start_ms: request.start_ms, end_ms: request.end_ms, set })
    };
    requests.into_iter().map(one).collect()
}

fn labels_of(labels: &trireme_model::Labels) -> Vec<Label> {
    labels.iter().map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() }).collect()
}
