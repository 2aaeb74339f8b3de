//! `POST /api/v1/read`: Prometheus's remote read, as samples in one message or as a stream of encoded chunks.

mod chunks;
mod samples;

use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use prost::Message;
use trireme_model::Tenant;
use trireme_promql::{SelectHints, SelectRequest, SeriesSet};
use trireme_query::{Queries, QueryContext, QueryError};
use trireme_remote::prompb::read::{SAMPLES, STREAMED_XOR_CHUNKS};
use trireme_remote::prompb::v1::Label;
use trireme_remote::read::{Query, REQUEST_BYTES_MAX, decode};
use trireme_remote::snappy;

use crate::body::{self, Bounds};
use crate::error::ApiError;
use crate::prom::Answer;
use crate::selected::Stream;
use crate::{ApiState, answer, selected, tenant};
use chunks::Frames;

/// Adds the path.
pub(crate) fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/v1/read").route(web::post().to(answer_read)));
}

/// Errors are plain text here, for clients show what they get.
async fn answer_read(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<ApiState>,
) -> HttpResponse {
    let failed = match read(request, payload, state).await {
        Ok(response) => return response,
        Err(error) => error,
    };
    let mut response = failed.error_response();

    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );

    response.set_body(BoxBody::new(format!("{failed}\n")))
}

async fn read(request: HttpRequest, payload: web::Payload, state: web::Data<ApiState>) -> Answer {
    let tenant = tenant::of(request.headers(), &state.settings).map_err(ApiError::invalid)?;
    let bounds = Bounds {
        bytes_max: REQUEST_BYTES_MAX,
        bytes_key: "remote read",
        timeout: state.settings.body_timeout,
    };

    let body = body::read(&request, payload, &bounds, &mut state.budget.open(&tenant)).await?;
    // Parsing compiles regular expressions, and one message takes as long as its samples: all of it has a stream's place.
    let stream = Stream::open(&state, &tenant, "remote read").await?;
    let asked = stream
        .step(&state, move || {
            decode(&body).map_err(|e| QueryError::invalid(e.to_string()))
        })
        .await?;

    let is_streamed = choose(&asked.accepted)?;
    let context = QueryContext::new(tenant.clone(), stream.cancel.clone());

    let sets = Sets::new(Arc::clone(&state.queries), context, asked.queries);
    if is_streamed {
        streamed(&state, sets, stream).await
    } else {
        whole(&state, &tenant, sets, stream).await
    }
}

/// A message for each part of a series, as they are read.
async fn streamed(state: &ApiState, sets: Sets, stream: Stream) -> Answer {
    let mut response = HttpResponse::Ok();
    response.content_type("application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse");
    let frames = Frames::new(sets, stream.cancel.clone());
    Ok(selected::respond(response, state, frames, stream).await?)
}

/// All series in one message.
async fn whole(state: &ApiState, tenant: &Tenant, sets: Sets, stream: Stream) -> Answer {
    let settings = &state.settings;
    let of_tenant = settings.tenant_limits.of(tenant).samples_max;
    let limit = match of_tenant {
        0 => settings.remote_read_samples_max,
        of_tenant => settings.remote_read_samples_max.min(of_tenant),
    };

    let stop = stream.cancel.clone();
    let body = stream
        .step(state, move || {
            let message = samples::response(sets, &stop, limit)?;
            snappy::deflate(&message.encode_to_vec())
                .map_err(|e| QueryError::new(e.kind(), e.to_string()))
        })
        .await?;

    let mut response = HttpResponse::Ok();
    response
        .content_type("application/x-protobuf")
        .insert_header(("content-encoding", "snappy"));

    Ok(answer::bytes(response, state, tenant, body)?)
}

/// True for a stream of chunks. The client's order decides; an empty list is an old client that knows samples only.
fn choose(accepted: &[i32]) -> Result<bool, ApiError> {
    match accepted
        .iter()
        .find(|t| [SAMPLES, STREAMED_XOR_CHUNKS].contains(t))
    {
        Some(kind) => Ok(*kind == STREAMED_XOR_CHUNKS),
        None if accepted.is_empty() => Ok(false),
        None => Err(ApiError::invalid(format!(
            "server does not support any of the requested response types: {accepted:?}"
        ))),
    }
}

/// A query's range and series.
struct Chosen {
    start_ms: i64,
    end_ms: i64,
    set: SeriesSet,
}

/// The queries of a request. Each is selected when the one before is done: a thousand of them hold no more than one.
struct Sets {
    queries: Arc<dyn Queries>,
    context: QueryContext,
    asked: std::vec::IntoIter<Query>,
}

impl Sets {
    /// The protocol has no room for warnings, so a part that is missing is an error.
    fn new(queries: Arc<dyn Queries>, context: QueryContext, asked: Vec<Query>) -> Self {
        let context = QueryContext {
            partial_response: false,
            ..context
        };
        Self {
            queries,
            context,
            asked: asked.into_iter(),
        }
    }
}

impl Iterator for Sets {
    type Item = Result<Chosen, QueryError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Query {
            start_ms,
            end_ms,
            matchers,
        } = self.asked.next()?;

        let request = SelectRequest {
            matchers,
            start_ms,
            end_ms,
            hints: SelectHints::default(),
        };

        let set = self.queries.select(&self.context, &request);
        Some(set.map(|set| Chosen {
            start_ms,
            end_ms,
            set,
        }))
    }
}

fn labels_of(labels: &trireme_model::Labels) -> Vec<Label> {
    labels
        .iter()
        .map(|(name, value)| Label {
            name: name.to_owned(),
            value: value.to_owned(),
        })
        .collect()
}
