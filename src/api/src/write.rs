//! `POST /api/v1/write`, `/api/v1/receive`, `/api/v1/push`: remote write 1.0 and 2.0.

mod negotiate;
pub(crate) mod otlp;
mod respond;

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use async_trait::async_trait;
use trireme_base::ErrorKind;
use trireme_model::{RetryLater, Tenant, WriteOutcome};
use trireme_remote::{DecodeError, Decoded, Lend, rw1, rw2, snappy};
use trireme_wire::batch::Batch;

use crate::budget::Reserved;
use crate::{ApiSettings, ApiState, body, runner, tenant};
pub(crate) use negotiate::Protocol;
use respond::Refusal;

/// Inflated bytes from which decoding leaves the event loop.
const DECODE_INLINE_BYTES_MAX: usize = 1 << 20;

/// Takes the decoded requests of clients.
#[async_trait]
pub trait WriteSink: Send + Sync {
    /// Stores `batch` and resolves when every part of it is durable on a quorum, refused, or out of time.
    ///
    /// The API never drops the future: a client that goes away does not stop its write half-way.
    async fn write(&self, tenant: Tenant, batch: Batch) -> WriteOutcome;
}

/// The handler.
pub(crate) async fn handle(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<ApiState>,
) -> HttpResponse {
    let protocol = match negotiate::negotiate(request.headers()) {
        Ok(protocol) => protocol,
        Err(refusal) => return respond::refused(&state, None, &refusal),
    };
    match accept(&request, payload, &state, protocol).await {
        Ok((tenant, outcome)) => respond::outcome(&state, protocol, &tenant, &outcome),
        Err(refusal) => respond::refused(&state, Some(protocol), &refusal),
    }
}

async fn accept(
    request: &HttpRequest,
    payload: web::Payload,
    state: &web::Data<ApiState>,
    protocol: Protocol,
) -> Result<(Tenant, WriteOutcome), Refusal> {
    let tenant = tenant::of(request.headers(), &state.settings).map_err(Refusal::invalid)?;
    let mut reserved = state.budget.open(&tenant);
    let body = body::read(
        request,
        payload,
        &state.settings.body_bounds(),
        &mut reserved,
    )
    .await?;

    reserve(state, &body, &mut reserved)?;
    let (decoded, reserved) = decode(state, &tenant, protocol, body, reserved).await?;
    Ok((
        tenant.clone(),
        store(state, tenant, decoded, reserved).await?,
    ))
}

/// Reserves memory for the body and its inflated form; what is decoded from it is reserved on the way.
fn reserve(state: &ApiState, body: &[u8], reserved: &mut Reserved) -> Result<(), Refusal> {
    let inflated = snappy::inflated_len(body).map_err(|e| refuse(state, &e))?;

    let limit = state.settings.inflated_bytes_max;
    if inflated > limit {
        return Err(refuse(
            state,
            &DecodeError::TooLarge {
                size: inflated as u64,
                limit,
            },
        ));
    }

    let is_room = reserved.grow_to(body.len() + inflated);
    if is_room {
        Ok(())
    } else {
        Err(Refusal::busy())
    }
}

/// Inflates and decodes, large requests on the pool.
async fn decode(
    state: &web::Data<ApiState>,
    tenant: &Tenant,
    protocol: Protocol,
    body: Vec<u8>,
    reserved: Reserved,
) -> Result<(Decoded, Reserved), Refusal> {
    let settings = Arc::clone(&state.settings);
    let seed = tenant.seed();
    let large = snappy::inflated_len(&body).is_ok_and(|n| n > DECODE_INLINE_BYTES_MAX);
    let decoded = if large {
        runner::run(state.decoder.as_ref(), move || {
            decode_here(&settings, seed, protocol, &body, reserved)
        })
        .await
        .map_err(|e| Refusal::new(e.kind(), e.to_string()))?
    } else {
        decode_here(&settings, seed, protocol, &body, reserved)
    };

    decoded.map_err(|e| refuse(state, &e))
}

fn decode_here(
    settings: &ApiSettings,
    seed: u64,
    protocol: Protocol,
    body: &[u8],
    mut reserved: Reserved,
) -> Result<(Decoded, Reserved), DecodeError> {
    let mut inflated = Vec::new();
    snappy::inflate(body, settings.inflated_bytes_max, &mut inflated)?;
    let mut beside = Beside {
        bytes: body.len() + inflated.len(),
        reserved: &mut reserved,
    };
    let decoded = match protocol {
        Protocol::V1 => rw1::decode_within(inflated, seed, &settings.decode, &mut beside)?,
        Protocol::V2 => rw2::decode_within(&inflated, seed, &settings.decode, &mut beside)?,
    };
    Ok((decoded, reserved))
}

/// Memory for what is decoded, beside that of the body.
pub(super) struct Beside<'a> {
    /// Of the body, as it came and inflated.
    pub(super) bytes: usize,
    pub(super) reserved: &'a mut Reserved,
}

impl Lend for Beside<'_> {
    fn grow_to(&mut self, bytes: usize) -> bool {
        self.reserved.grow_to(self.bytes.saturating_add(bytes))
    }
}

/// Hands the batch over in a task of its own, so that a client that goes away does not cancel a write half done.
async fn store(
    state: &web::Data<ApiState>,
    tenant: Tenant,
    decoded: Decoded,
    reserved: Reserved,
) -> Result<WriteOutcome, Refusal> {
    let Decoded {
        batch,
        rejections,
        dropped,
        without_metadata,
        ..
    } = decoded;

    let early = WriteOutcome {
        rejections,
        dropped,
        ..Default::default()
    };

    if batch.series.is_empty() && batch.metadata.is_empty() {
        return Ok(early);
    }

    let sink = Arc::clone(&state.sink);
    let task = actix_web::rt::spawn(async move {
        let outcome = sink.write(tenant, batch).await;
        drop(reserved);
        outcome
    });

    let stored = task.await;

    let mut outcome =
        stored.map_err(|_| Refusal::new(ErrorKind::Internal, "the write failed unexpectedly"))?;
    if outcome.unavailable.is_none() && outcome.limited.is_none() {
        state.metrics.without_metadata.inc_by(without_metadata);
    }

    outcome.merge(early);
    Ok(outcome)
}

/// A body that cannot be decoded, with the settings' keys for bounds.
fn refuse(state: &ApiState, error: &DecodeError) -> Refusal {
    let text = match error {
        DecodeError::TooLarge { size, limit } => format!(
            "the body has {size} bytes after decompression, the limit is {limit} (http.inflated_bytes_max)"
        ),
        other => other.to_string(),
    };

    slog::debug!(state.log, "write request refused"; "err" => &text);
    Refusal::new(error.kind(), text)
}

/// Whole seconds of a wait, rounded up.
pub(crate) fn retry_after_secs(later: &RetryLater) -> u64 {
    later.after.as_secs() + u64::from(later.after.subsec_nanos() > 0)
}
