//! Reads a request's body under a bound.

use actix_web::http::header::CONTENT_LENGTH;
use actix_web::{HttpRequest, web};
use futures::StreamExt;
use trireme_base::ErrorKind;

use super::respond::Refusal;

/// All bytes of the body; over `limit` the request is refused without reading further.
///
/// The answer is 400, not 413: vmagent repeats a request that got 413 for ever.
pub(crate) async fn read(
    request: &HttpRequest,
    mut payload: web::Payload,
    limit: usize,
) -> Result<Vec<u8>, Refusal> {
    let over = |size: u64| {
        let text = format!("the body has {size} bytes or more, the limit is {limit} (http.body_bytes_max)");
        Refusal::new(ErrorKind::TooLarge, text)
    };
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if let Some(size) = announced.filter(|size| *size > limit as u64) {
        return Err(over(size));
    }
    let mut body = Vec::with_capacity(announced.unwrap_or(0) as usize);
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(|e| Refusal::invalid(format!("the body could not be read: {e}")))?;
        if body.len() + piece.len() > limit {
            return Err(over((body.len() + piece.len()) as u64));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}
