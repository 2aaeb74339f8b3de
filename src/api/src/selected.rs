//! Raw series, read piece by piece on the pool.
//!
//! A series of a year may not fit into memory, and a client may read slowly. So a body is a stream that asks the pool for
//! the next piece only when the last one was taken; no thread waits for a client.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::Bytes;
use futures::stream;
use slog::warn;
use trireme_query::QueryError;

use crate::running::Entry;
use crate::{ApiState, Runner, runner};

/// A piece is sent when it has this many bytes.
pub(crate) const PIECE_BYTES: usize = 64 << 10;

/// Makes the pieces of a body; runs on the pool.
pub(crate) trait Produce: Send + 'static {
    /// Appends to `out` until it has [`PIECE_BYTES`] or more; false when there is no more.
    fn produce(&mut self, out: &mut Vec<u8>) -> Result<bool, QueryError>;
}

/// A response whose body `producer` makes. An error in the first piece becomes an error response; a later one can only
/// break the connection off, so that the client does not take the part for the whole, and be logged.
pub(crate) async fn respond<P: Produce>(
    mut response: actix_web::HttpResponseBuilder,
    state: &ApiState,
    producer: P,
    entry: Entry,
) -> Result<HttpResponse, QueryError> {
    let (runner, log) = (Arc::clone(&state.runner), state.log.clone());
    let (first, rest) = piece(runner.as_ref(), producer).await?;
    let Some(producer) = rest else { return Ok(response.body(first)) };
    let more = stream::unfold(Some((producer, runner, log, entry)), |state| async move {
        let (producer, runner, log, entry) = state?;
        match piece(runner.as_ref(), producer).await {
            Ok((bytes, rest)) => Some((Ok(Bytes::from(bytes)), rest.map(|p| (p, runner, log, entry)))),
            Err(err) => {
                warn!(log, "a response was broken off half way"; "to" => entry.text(), "err" => %err);
                Some((Err(actix_web::error::ErrorInternalServerError(err.to_string())), None))
            }
        }
    });
    let head = stream::iter([Ok::<_, actix_web::Error>(Bytes::from(first))]);
    Ok(response.streaming(futures::StreamExt::chain(head, more)))
}

async fn piece<P: Produce>(runner: &dyn Runner, mut producer: P) -> Result<(Vec<u8>, Option<P>), QueryError> {
    let job = move || {
        let mut out = Vec::with_capacity(PIECE_BYTES + 4_096);
        producer.produce(&mut out).map(|more| (out, more.then_some(producer)))
    };
    runner::run(runner, job).await?
}
