//! Successful answers in Prometheus's envelope.

use actix_web::HttpResponse;
use actix_web::web::Bytes;
use futures::stream;

use crate::json;

/// Warnings and infos of an answer beyond this many are only counted.
const NOTES_MAX: usize = 10;

/// Start of every successful answer.
pub(crate) const HEAD: &[u8] = b"{\"status\":\"success\",\"data\":";

/// An answer whose data is written by `data`.
pub(crate) fn success(
    warnings: &[String],
    infos: &[String],
    data: impl FnOnce(&mut Vec<u8>),
) -> HttpResponse {
    let mut body = Vec::with_capacity(1 << 10);
    body.extend_from_slice(HEAD);
    data(&mut body);
    tail(&mut body, warnings, infos);
    HttpResponse::Ok().content_type("application/json").body(body)
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
    json::push_array(out, texts.iter().take(NOTES_MAX).chain(&rest), |o, text| json::push_str(o, text));
}

/// A body that is made piece by piece, so that a large answer is never whole in memory twice. An answer of one piece
/// gets a length.
pub(crate) fn pieces(
    content_type: &str,
    mut pieces: impl Iterator<Item = Vec<u8>> + 'static,
) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.content_type(content_type);
    let first = pieces.next().unwrap_or_default();
    let Some(second) = pieces.next() else { return response.body(first) };
    let all = [first, second].into_iter().chain(pieces).map(|p| Ok::<_, actix_web::Error>(Bytes::from(p)));
    response.streaming(stream::iter(all))
}
