//! Successful answers in Prometheus's envelope.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Bytes;
use actix_web::{HttpResponse, HttpResponseBuilder};
use futures::stream;
use trireme_base::ErrorKind;
use trireme_model::Tenant;
use trireme_promql::{QueryResult, Value};
use trireme_query::QueryError;

use crate::ask::Ask;
use crate::budget::Reserved;
use crate::json::{self, ResultPieces};
use crate::{ApiState, delivery};

/// Warnings and infos of an answer beyond this many are only counted.
const NOTES_MAX: usize = 10;

/// What is said of an answer that was cut to the limit that it was asked with.
const TRUNCATED: &str = "results truncated due to limit";

/// Start of every successful answer.
pub(crate) const HEAD: &[u8] = b"{\"status\":\"success\",\"data\":";

/// Smaller answers are not counted while they are on their way: sockets take them at once.
const SMALL_BYTES: usize = 64 << 10;

/// A small answer whose data is written by `data`.
pub(crate) fn success(
    warnings: &[String],
    infos: &[String],
    data: impl FnOnce(&mut Vec<u8>),
) -> HttpResponse {
    ok(warnings).body(envelope(warnings, infos, data))
}

/// The same for data that may be large: it is counted while it is on its way.
pub(crate) fn counted(
    ask: &Ask,
    warnings: &[String],
    data: impl FnOnce(&mut Vec<u8>),
) -> Result<HttpResponse, QueryError> {
    let body = envelope(warnings, &[], data);
    bytes(ok(warnings), &ask.state, &ask.tenant, body)
}

fn envelope(warnings: &[String], infos: &[String], data: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut body = Vec::with_capacity(1 << 10);
    body.extend_from_slice(HEAD);
    data(&mut body);
    tail(&mut body, warnings, infos);
    body
}

/// The head of a response. An answer that may lack something must not be kept for others by a cache on the way.
fn ok(warnings: &[String]) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.content_type("application/json");

    if warnings
        .iter()
        .any(|text| is_about_data(text) && text != TRUNCATED)
    {
        response.insert_header((CACHE_CONTROL, "no-store"));
    }

    response
}

/// True for what is said about data that is missing, not about the expression.
fn is_about_data(warning: &str) -> bool {
    !warning.starts_with("PromQL ")
}

/// A body that is whole in memory.
pub(crate) fn bytes(
    mut response: HttpResponseBuilder,
    state: &ApiState,
    tenant: &Tenant,
    body: Vec<u8>,
) -> Result<HttpResponse, QueryError> {
    if body.len() <= SMALL_BYTES {
        return Ok(response.body(body));
    }

    let reserved = reserve(state, tenant, body.capacity())?;
    let body = Bytes::from(body);
    let slices = (0..body.len()).step_by(SMALL_BYTES).map(move |at| {
        let _held = &reserved;
        Ok(body.slice(at..(at + SMALL_BYTES).min(body.len())))
    });

    Ok(delivery::respond(response, state, stream::iter(slices)))
}

/// Counts `bytes` of an answer that is on its way to its client.
fn reserve(state: &ApiState, tenant: &Tenant, bytes: usize) -> Result<Reserved, QueryError> {
    let mut reserved = state.answers.open(tenant);
    match reserved.grow_to(bytes) {
        true => Ok(reserved),
        false => Err(QueryError::new(
            ErrorKind::Unavailable,
            "answers that clients have not taken yet fill the memory for them (query.answer_bytes_max); \
             read answers faster, or try again later",
        )),
    }
}

/// Closes the envelope.
pub(crate) fn tail(out: &mut Vec<u8>, warnings: &[String], infos: &[String]) {
    notes(out, "warnings", warnings);
    notes(out, "infos", infos);
    out.push(b'}');
}

fn notes(out: &mut Vec<u8>, name: &str, texts: &[String]) {
    if texts.is_empty() {
        return;
    }

    json::put(out, format_args!(",\"{name}\":"));
    let kind = if name == "infos" { "info" } else { "warning" };
    let more = texts.len().saturating_sub(NOTES_MAX);
    let rest = (more > 0).then(|| format!("{more} more {kind} annotations omitted"));

    // What is missing comes before what is odd about the expression: only the first ones are shown.
    let (data, expression): (Vec<&String>, Vec<&String>) =
        texts.iter().partition(|text| is_about_data(text));
    let shown = data.into_iter().chain(expression).take(NOTES_MAX);

    json::push_array(out, shown.chain(&rest), |o, text| json::push_str(o, text));
}

/// The answer of a query, made piece by piece, so that a large one is never whole in memory twice. An answer of one piece
/// gets a length. See [`ResultPieces::new`] for `more`.
pub(crate) fn result(
    ask: &Ask,
    result: QueryResult,
    more: &[u8],
) -> Result<HttpResponse, QueryError> {
    let weight = weight_of(&result.value);
    let mut response = ok(&result.warnings);
    let mut pieces = ResultPieces::new(result, more);
    let first = pieces.next().unwrap_or_default();
    let Some(second) = pieces.next() else {
        return Ok(response.body(first));
    };

    let reserved = reserve(&ask.state, &ask.tenant, weight)?;
    let all = [first, second].into_iter().chain(pieces).map(move |piece| {
        let _held = &reserved;
        Ok(Bytes::from(piece))
    });

    Ok(delivery::respond(response, &ask.state, stream::iter(all)))
}

/// About how much memory a result takes (bytes).
fn weight_of(value: &Value) -> usize {
    /// A series with its vectors, beside what is in them.
    const SERIES_BYTES: usize = 128;
    const FLOAT_BYTES: usize = 16;
    const HISTOGRAM_BYTES: usize = 512;

    match value {
        Value::Scalar { .. } => 0,
        Value::String { v, .. } => v.len(),
        Value::Vector(samples) => samples
            .iter()
            .map(|s| s.labels.as_bytes().len() + SERIES_BYTES + HISTOGRAM_BYTES / 8)
            .sum(),
        Value::Matrix(series) => series
            .iter()
            .map(|s: &trireme_promql::Series| {
                let samples = s.floats.len() * FLOAT_BYTES + s.histograms.len() * HISTOGRAM_BYTES;
                s.labels.as_bytes().len() + SERIES_BYTES + samples
            })
            .sum(),
    }
}
