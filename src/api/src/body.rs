//! Reads a request's body under bounds of size, memory and time.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::{FromRequest, HttpRequest, rt, web};
use futures::StreamExt;
use trireme_base::ErrorKind;

use crate::ApiState;
use crate::budget::Reserved;
use crate::error::ApiError;

/// Memory for a body is taken as it arrives, for a small one at once: what a client announces costs at most this.
const STEP_BYTES: usize = 64 << 10;

/// Bounds of a body.
pub(crate) struct Bounds {
    /// Largest body.
    pub(crate) bytes_max: usize,
    /// What bounds it, for the client.
    pub(crate) bytes_key: &'static str,
    /// From the head to the last byte (`http.body_timeout`).
    pub(crate) timeout: Duration,
}

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body has {size} bytes or more, the limit is {limit} ({key})")]
    TooLarge {
        size: u64,
        limit: usize,
        key: &'static str,
    },
    #[error("the body did not arrive within {} s (http.body_timeout)", .0.as_secs())]
    Slow(Duration),
    #[error("too many requests are in progress on this node, try again")]
    Busy,
    #[error("the body could not be read: {0}")]
    Broken(String),
}

impl BodyError {
    /// A large body must not be sent again. A slow one may: the sender may be behind a bad line and must not drop
    /// its data.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLarge { .. } => ErrorKind::TooLarge,
            Self::Slow(_) => ErrorKind::Timeout,
            Self::Busy => ErrorKind::Unavailable,
            Self::Broken(_) => ErrorKind::Invalid,
        }
    }
}

/// What an extractor answers that reads the body.
pub(crate) type Extracting<T> = Pin<Box<dyn Future<Output = Result<T, ApiError>>>>;

/// Takes state and body from a request and makes of them with `read` what a handler works on.
pub(crate) fn extract<T: 'static, F>(
    request: &HttpRequest,
    payload: &mut Payload,
    read: impl FnOnce(HttpRequest, web::Payload, web::Data<ApiState>) -> F + 'static,
) -> Extracting<T>
where
    F: Future<Output = Result<T, ApiError>>,
{
    let request = request.clone();
    let payload = web::Payload::from_request(&request, payload);
    Box::pin(async move {
        let payload = payload
            .await
            .map_err(|_| ApiError::invalid("the body cannot be read"))?;
        let state = request.app_data::<web::Data<ApiState>>();
        let state = state.expect("`configure` has put the state there").clone();
        read(request, payload, state).await
    })
}

/// All bytes of the body, their memory in `reserved`; over a bound nothing further is read.
pub(crate) async fn read(
    request: &HttpRequest,
    payload: web::Payload,
    bounds: &Bounds,
    reserved: &mut Reserved,
) -> Result<Vec<u8>, BodyError> {
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    let announced = announced.unwrap_or(0);
    if announced > bounds.bytes_max as u64 {
        return Err(over(announced, bounds));
    }

    let whole = collect(payload, announced as usize, bounds, reserved);
    match rt::time::timeout(bounds.timeout, whole).await {
        Ok(body) => body,
        Err(_) => Err(BodyError::Slow(bounds.timeout)),
    }
}

fn over(size: u64, bounds: &Bounds) -> BodyError {
    BodyError::TooLarge {
        size,
        limit: bounds.bytes_max,
        key: bounds.bytes_key,
    }
}

async fn collect(
    mut payload: web::Payload,
    announced: usize,
    bounds: &Bounds,
    reserved: &mut Reserved,
) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(|e| BodyError::Broken(e.to_string()))?;
        let size = body.len() + piece.len();
        if size > bounds.bytes_max {
            return Err(over(size as u64, bounds));
        }

        if size > body.capacity() {
            // Doubled, but never past what was announced.
            let wanted = size.max(2 * body.capacity()).max(announced.min(STEP_BYTES));
            let capacity = if announced >= size {
                wanted.min(announced)
            } else {
                wanted
            };
            if !reserved.grow_to(capacity) {
                return Err(BodyError::Busy);
            }
            body.reserve_exact(capacity - body.len());
        }

        body.extend_from_slice(&piece);
    }

    Ok(body)
}
