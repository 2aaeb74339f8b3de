//! From an outcome to a response: the table that decides what a sender does next.

use std::fmt::Write;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, HttpResponseBuilder};
use trireme_base::ErrorKind;
use trireme_model::{RetryLater, Tenant, WriteOutcome};

use super::{Protocol, retry_after_secs};
use crate::body::BodyError;
use crate::{ApiState, status};

/// A request that was turned away before anything was stored.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    pub(crate) retry: Option<Duration>,
}

impl Refusal {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        let status = status::of_write(kind);
        let again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        Self {
            status,
            text: text.into(),
            retry: again.then_some(Duration::from_secs(1)),
        }
    }

    /// There is no memory for the request now.
    pub(crate) fn busy() -> Self {
        BodyError::Busy.into()
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, text)
    }

    /// 415.
    pub(crate) fn unsupported(text: String) -> Self {
        Self {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            text,
            retry: None,
        }
    }
}

/// The answer to a large body is 400, not 413: vmagent repeats a request that got 413 for ever.
impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

/// Answers a request of which nothing was stored. `protocol` is `None` if it could not be agreed on.
pub(crate) fn refused(
    state: &ApiState,
    protocol: Option<Protocol>,
    refusal: &Refusal,
) -> HttpResponse {
    let name = protocol.map_or("unknown", Protocol::name);
    state
        .metrics
        .write_requests
        .with_label_values(&[name, refusal.status.as_str()])
        .inc();

    let mut response = HttpResponse::build(refusal.status);
    if let Some(after) = refusal.retry {
        response.insert_header((RETRY_AFTER, after.as_secs().max(1).to_string()));
    }

    if protocol == Some(Protocol::V2) {
        written(&mut response, &WriteOutcome::default());
    }

    text(response, format!("{}\n", refusal.text))
}

/// Answers a request that reached the sink.
pub(crate) fn outcome(
    state: &ApiState,
    protocol: Protocol,
    tenant: &Tenant,
    outcome: &WriteOutcome,
) -> HttpResponse {
    let (status, later) = decide(outcome);
    count(state, protocol.name(), tenant, outcome, status);

    let mut response = HttpResponse::build(status);
    if protocol == Protocol::V2 {
        written(&mut response, outcome);
    }

    if let Some(later) = later {
        response.insert_header((RETRY_AFTER, retry_after_secs(later).max(1).to_string()));
    }

    if status == StatusCode::NO_CONTENT {
        return response.finish();
    }

    text(response, describe(later, outcome))
}

/// The status, and what the sender has to wait for. Unavailable comes before rejected: the sender must repeat the whole.
pub(super) fn decide(outcome: &WriteOutcome) -> (StatusCode, Option<&RetryLater>) {
    if let Some(later) = &outcome.limited {
        (status::of_write(ErrorKind::Limited), Some(later))
    } else if let Some(later) = &outcome.unavailable {
        (status::of_write(ErrorKind::NoQuorum), Some(later))
    } else if !outcome.rejections.is_empty() {
        (status::of_write(ErrorKind::Invalid), None)
    } else {
        (StatusCode::NO_CONTENT, None)
    }
}

/// One line per reason.
pub(super) fn describe(later: Option<&RetryLater>, outcome: &WriteOutcome) -> String {
    let mut out = String::new();
    if let Some(later) = later {
        let _ = writeln!(out, "{}", later.message);
    }

    for r in outcome.rejections.iter() {
        let _ = writeln!(
            out,
            "{}: {} refused, for example {}",
            r.reason,
            r.count,
            r.example.replace('\n', " ")
        );
    }

    out
}

/// Counts of what is stored; only version 2 senders may see them, version 1 senders would misread them.
fn written(response: &mut HttpResponseBuilder, outcome: &WriteOutcome) {
    let counts = [
        ("Samples", outcome.samples),
        ("Histograms", outcome.histograms),
        ("Exemplars", outcome.exemplars),
    ];
    for (kind, n) in counts {
        response.insert_header((
            format!("X-Prometheus-Remote-Write-{kind}-Written"),
            n.to_string(),
        ));
    }
}

/// Counts a request that reached the sink, and its items.
pub(super) fn count(
    state: &ApiState,
    protocol: &str,
    tenant: &Tenant,
    outcome: &WriteOutcome,
    status: StatusCode,
) {
    let m = &state.metrics;
    m.write_requests
        .with_label_values(&[protocol, status.as_str()])
        .inc();

    let tenant = m.name_of(tenant, state.settings.metric_tenants_max);
    let items = [
        ("sample", outcome.samples),
        ("histogram", outcome.histograms),
        ("exemplar", outcome.exemplars),
    ];

    for (kind, n) in items.into_iter().filter(|(_, n)| *n > 0) {
        m.write_items.with_label_values(&[tenant, kind]).inc_by(n);
    }

    for r in outcome.rejections.iter() {
        m.write_rejected
            .with_label_values(&[tenant, r.reason])
            .inc_by(r.count);
    }

    for r in outcome.dropped.iter() {
        m.write_dropped
            .with_label_values(&[tenant, r.reason])
            .inc_by(r.count);
    }
}

fn text(mut response: HttpResponseBuilder, body: String) -> HttpResponse {
    response
        .content_type("text/plain; charset=utf-8")
        .insert_header(("X-Content-Type-Options", "nosniff"))
        .body(body)
}
