//! `POST /v1/metrics` and its other names: OTLP metrics over HTTP, protobuf or JSON, plain or gzip.
//!
//! The answers are OTLP's, in the form of the request: 200 with what was refused inside, 429 and 503 for "again later",
//! anything else for good.

use std::io::Read;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use prost::Message;
use serde_json::json;
use trireme_model::{EXEMPLAR_TOO_OLD, Tenant, WriteOutcome};
use trireme_remote::otlp::proto::{ExportResponse, PartialSuccess, Status};
use trireme_remote::{DecodeError, Decoded, otlp};

use super::respond::{Refusal, count, decide, describe};
use super::{Beside, refuse, retry_after_secs, store};
use crate::budget::Reserved;
use crate::{ApiSettings, ApiState, body, runner, tenant};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
const PROTOCOL: &str = "otlp";
/// A compressed body is inflated in pieces of this, each with its memory reserved before.
const INFLATE_STEP_BYTES: usize = 256 << 10;

/// How a message is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Protobuf,
    Json,
}

/// Why a body did not become a batch.
enum Broken {
    Body(DecodeError),
    /// The node has no memory for it now.
    NoRoom,
}

impl From<DecodeError> for Broken {
    fn from(error: DecodeError) -> Self {
        Self::Body(error)
    }
}

/// The handler.
pub(crate) async fn handle(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<ApiState>,
) -> HttpResponse {
    let form = form_of(&request).unwrap_or(Form::Protobuf);
    match accept(&request, payload, &state).await {
        Ok((tenant, outcome)) => respond(&state, &tenant, &outcome, form),
        Err(refusal) => {
            state
                .metrics
                .write_requests
                .with_label_values(&[PROTOCOL, refusal.status.as_str()])
                .inc();
            let mut response = HttpResponse::build(refusal.status);
            if let Some(after) = refusal.retry {
                response.insert_header((RETRY_AFTER, after.as_secs().max(1).to_string()));
            }
            failed(response, refusal.text, form)
        }
    }
}

async fn accept(
    request: &HttpRequest,
    payload: web::Payload,
    state: &web::Data<ApiState>,
) -> Result<(Tenant, WriteOutcome), Refusal> {
    let (form, gzip) = negotiate(request)?;
    let tenant = tenant::of(request.headers(), &state.settings).map_err(Refusal::invalid)?;
    let mut reserved = state.budget.open(&tenant);
    let body = body::read(
        request,
        payload,
        &state.settings.body_bounds(),
        &mut reserved,
    )
    .await?;

    let settings = Arc::clone(&state.settings);
    let seed = tenant.seed();
    let sent = Sent { body, form, gzip };
    let done = runner::run(state.decoder.as_ref(), move || {
        sent.decode(&settings, seed, reserved)
    })
    .await
    .map_err(|e| Refusal::new(e.kind(), e.to_string()))?;
    let (decoded, reserved) = done.map_err(|broken| match broken {
        Broken::Body(error) => refuse(state, &error),
        Broken::NoRoom => Refusal::busy(),
    })?;
    let warnings = decoded.otlp_warnings.clone();
    let outcome = store(state, tenant.clone(), decoded, reserved).await?;

    count_oddities(state, &warnings, &outcome);
    Ok((tenant, outcome))
}

/// A body as it came.
struct Sent {
    body: Vec<u8>,
    form: Form,
    gzip: bool,
}

impl Sent {
    fn decode(
        self,
        settings: &ApiSettings,
        seed: u64,
        mut reserved: Reserved,
    ) -> Result<(Decoded, Reserved), Broken> {
        let sent = self.body.len();
        let body = if self.gzip {
            inflate(&self.body, settings.inflated_bytes_max, &mut reserved)?
        } else {
            self.body
        };

        // JSON becomes protobuf before, of at most the same length.
        let mut bytes = sent + body.len();
        let body = match self.form {
            Form::Protobuf => body,
            Form::Json => {
                bytes += body.len();
                if !reserved.grow_to(bytes) {
                    return Err(Broken::NoRoom);
                }
                otlp::json::to_protobuf(&body)?
            }
        };

        let mut beside = Beside {
            bytes,
            reserved: &mut reserved,
        };
        let limits = &settings.decode;
        let options = &settings.otlp;
        let decoded = otlp::decode_within(&body, seed, limits, options, &mut beside)?;

        Ok((decoded, reserved))
    }
}

/// Counts under Prometheus's names what an answer does not say. A request that comes again is counted then.
fn count_oddities(state: &ApiState, warnings: &[(&'static str, u64)], outcome: &WriteOutcome) {
    if decide(outcome).1.is_some() {
        return;
    }

    for (category, n) in warnings {
        state
            .metrics
            .otlp_warnings
            .with_label_values(&[*category])
            .inc_by(*n);
    }

    // An exemplar may be older than others of its series here, as a sample may; only beyond that it is late.
    let late = outcome
        .dropped
        .iter()
        .filter(|d| d.reason == EXEMPLAR_TOO_OLD)
        .map(|d| d.count)
        .sum();

    state.metrics.otlp_late_exemplars.inc_by(late);
}

/// The form, and whether it is gzip; 415 for what is not understood.
fn negotiate(request: &HttpRequest) -> Result<(Form, bool), Refusal> {
    let Some(form) = form_of(request) else {
        let content_type = header(request, CONTENT_TYPE);
        return Err(Refusal::unsupported(format!(
            "content type {content_type:?} is not supported, expected {PROTOBUF} or {JSON}"
        )));
    };

    match header(request, CONTENT_ENCODING)
        .to_ascii_lowercase()
        .as_str()
    {
        "" | "identity" => Ok((form, false)),
        "gzip" => Ok((form, true)),
        other => Err(Refusal::unsupported(format!(
            "content encoding {other:?} is not supported, only gzip is"
        ))),
    }
}

fn form_of(request: &HttpRequest) -> Option<Form> {
    let media = header(request, CONTENT_TYPE)
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();

    let forms = [(PROTOBUF, Form::Protobuf), (JSON, Form::Json)];
    forms
        .into_iter()
        .find(|(name, _)| media.eq_ignore_ascii_case(name))
        .map(|(_, form)| form)
}

fn header(request: &HttpRequest, name: HeaderName) -> &str {
    request
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap_or("?"))
}

/// Inflates at most `limit` bytes; gzip does not say in advance how many there are, so memory is reserved on the way.
fn inflate(body: &[u8], limit: usize, reserved: &mut Reserved) -> Result<Vec<u8>, Broken> {
    let mut out = Vec::new();

    let mut reader = flate2::read::MultiGzDecoder::new(body);
    loop {
        let before = out.len();
        if !reserved.grow_to(body.len() + before + INFLATE_STEP_BYTES) {
            return Err(Broken::NoRoom);
        }

        let step = (&mut reader)
            .take(INFLATE_STEP_BYTES as u64)
            .read_to_end(&mut out);

        step.map_err(|e| DecodeError::Gzip(e.to_string()))?;
        if out.len() > limit {
            return Err(DecodeError::TooLarge {
                size: out.len() as u64,
                limit,
            }
            .into());
        }

        if out.len() == before {
            return Ok(out);
        }
    }
}

fn respond(state: &ApiState, tenant: &Tenant, outcome: &WriteOutcome, form: Form) -> HttpResponse {
    let (status, later) = decide(outcome);
    if let Some(later) = later {
        count(state, PROTOCOL, tenant, outcome, status);
        let mut response = HttpResponse::build(status);
        response.insert_header((RETRY_AFTER, retry_after_secs(later).max(1).to_string()));
        return failed(response, describe(Some(later), outcome), form);
    }

    count(state, PROTOCOL, tenant, outcome, StatusCode::OK);
    let partial_success = (!outcome.rejections.is_empty()).then(|| PartialSuccess {
        rejected_data_points: i64::try_from(outcome.rejections.total()).unwrap_or(i64::MAX),
        error_message: describe(None, outcome),
    });

    accepted(partial_success, form)
}

fn accepted(partial_success: Option<PartialSuccess>, form: Form) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    match form {
        Form::Protobuf => {
            let body = ExportResponse { partial_success }.encode_to_vec();
            response.content_type(PROTOBUF).body(body)
        }
        // 64-bit numbers are texts there.
        Form::Json => response.json(match partial_success {
            None => json!({}),
            Some(partial) => json!({ "partialSuccess": {
                "rejectedDataPoints": partial.rejected_data_points.to_string(),
                "errorMessage": partial.error_message,
            }}),
        }),
    }
}

/// A failure in OTLP's form; the gRPC code is not used over HTTP.
fn failed(mut response: HttpResponseBuilder, message: String, form: Form) -> HttpResponse {
    match form {
        Form::Protobuf => response
            .content_type(PROTOBUF)
            .body(Status { code: 0, message }.encode_to_vec()),
        Form::Json => response.json(json!({ "message": message })),
    }
}
