//! Raw series, read piece by piece on the pool.
//!
//! A series of a year may not fit into memory, and a client may read slowly. So a body is a stream that asks the pool for
//! the next piece only when the last one was taken; no thread waits for a client. A stream holds one place from its
//! beginning to its end, so that it is not refused half way.

use std::sync::Arc;

use actix_web::web::Bytes;
use actix_web::{HttpResponse, HttpResponseBuilder};
use futures::{StreamExt, stream};
use slog::warn;
use trireme_model::Tenant;
use trireme_promql::{Cancel, SelectError, Stop};
use trireme_query::QueryError;

use crate::admission::Place;
use crate::running::Entry;
use crate::{ApiState, delivery, runner};

/// A piece is sent when it has this many bytes.
pub(crate) const PIECE_BYTES: usize = 64 << 10;

/// Makes the pieces of a body; runs on the pool.
pub(crate) trait Produce: Send + 'static {
    /// Appends to `out` until it has [`PIECE_BYTES`] or more; false when there is no more.
    fn produce(&mut self, out: &mut Vec<u8>) -> Result<bool, QueryError>;
}

/// What a stream holds: its line in the table of queries, which ends its work when it is dropped, and its place.
pub(crate) struct Stream {
    pub(crate) entry: Entry,
    /// Shared with the job on the pool, which may outlive the client.
    pub(crate) place: Arc<Place>,
    /// Has no deadline: a stream may take as long as it goes on.
    pub(crate) cancel: Cancel,
}

impl Stream {
    /// Lists a stream that shows as `text` and waits for a place.
    pub(crate) async fn open(
        state: &ApiState,
        tenant: &Tenant,
        text: &str,
    ) -> Result<Self, QueryError> {
        let cancel = Cancel::new(state.clock.clone());
        let entry =
            state
                .running
                .enter(tenant.as_str(), text, state.clock.now_ms(), cancel.clone());
        let place = state
            .streams
            .enter(tenant, state.settings.query_timeout)
            .await?;

        Ok(Self {
            entry,
            place: Arc::new(place),
            cancel,
        })
    }

    /// Runs one step of the stream on the pool; it may take as long as a query.
    pub(crate) async fn step<T: Send + 'static>(
        &self,
        state: &ApiState,
        job: impl FnOnce() -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let place = Arc::clone(&self.place);
        let done = runner::run(state.runner.as_ref(), move || {
            let _place = place;
            job()
        });

        match tokio::time::timeout(state.settings.query_timeout, done).await {
            Ok(done) => done?,
            Err(_) => {
                self.cancel.cancel();
                Err(SelectError::from(Stop::TimedOut).into())
            }
        }
    }
}

/// A response whose body `producer` makes. An error in the first piece becomes an error response; a later one can only
/// break the connection off, so that the client does not take the part for the whole, and be logged.
pub(crate) async fn respond<P: Produce>(
    mut response: HttpResponseBuilder,
    state: &ApiState,
    producer: P,
    stream: Stream,
) -> Result<HttpResponse, QueryError> {
    let (first, rest) = piece(state, &stream, producer).await?;
    let Some(producer) = rest else {
        return Ok(response.body(first));
    };

    let held = Some((producer, state.clone(), stream));
    let more = stream::unfold(held, next_piece);

    let head = stream::iter([Ok::<_, actix_web::Error>(Bytes::from(first))]);
    Ok(delivery::respond(
        response,
        state,
        StreamExt::chain(head, more),
    ))
}

/// What makes the pieces to come; none when there are no more.
type Held<P> = Option<(P, ApiState, Stream)>;

async fn next_piece<P: Produce>(held: Held<P>) -> Option<(actix_web::Result<Bytes>, Held<P>)> {
    let (producer, state, stream) = held?;
    match piece(&state, &stream, producer).await {
        Ok((bytes, rest)) => Some((Ok(Bytes::from(bytes)), rest.map(|p| (p, state, stream)))),
        Err(err) => {
            warn!(state.log, "a response was broken off half way";
                "to" => stream.entry.text(), "err" => %err);
            let broken = actix_web::error::ErrorInternalServerError(err.to_string());
            Some((Err(broken), None))
        }
    }
}

async fn piece<P: Produce>(
    state: &ApiState,
    stream: &Stream,
    mut producer: P,
) -> Result<(Vec<u8>, Option<P>), QueryError> {
    stream
        .step(state, move || {
            let mut out = Vec::with_capacity(PIECE_BYTES + 4_096);
            producer
                .produce(&mut out)
                .map(|more| (out, more.then_some(producer)))
        })
        .await
}
