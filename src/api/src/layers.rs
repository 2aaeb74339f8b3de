//! What happens around every handler: CORS headers, the duration metric, words for what is missing, clients of
//! HTTP/1.0, and the way out of a node that stops.

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{ConnectionType, Method, StatusCode, Version};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, web};
use regex::Regex;
use serde_json::json;

use crate::ApiState;

/// Answers `OPTIONS` on any path and lets pages of other origins read the answers, as far as the settings allow. Such pages
/// change nothing: browsers send some requests without asking first.
pub async fn cors(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = if request.method() == Method::OPTIONS {
        request
            .into_response(HttpResponse::NoContent().finish())
            .map_into_right_body()
    } else if origin
        .as_ref()
        .is_some_and(|origin| is_foreign_change(&request, origin))
    {
        let message = "pages of other hosts must not use the admin API; call it from elsewhere than a browser";
        let error = json!({ "status": "error", "errorType": "forbidden", "error": message });
        request
            .into_response(HttpResponse::Forbidden().json(error))
            .map_into_right_body()
    } else {
        next.call(request).await?.map_into_left_body()
    };

    if let Some(origin) = origin {
        let state = response
            .request()
            .app_data::<web::Data<ApiState>>()
            .cloned();
        allow(
            &mut response,
            origin,
            state
                .as_ref()
                .and_then(|state| state.settings.cors_origins.as_ref()),
        );
    }

    Ok(response)
}

/// Says whether pages of `origin` may read the response: if it matches.
fn allow(
    response: &mut ServiceResponse<impl MessageBody>,
    origin: HeaderValue,
    allowed: Option<&Regex>,
) {
    let headers = response.headers_mut();
    // Caches must not give one origin's answer to another.
    headers.append(header::VARY, HeaderValue::from_static("Origin"));

    if !allowed
        .zip(origin.to_str().ok())
        .is_some_and(|(allowed, origin)| allowed.is_match(origin))
    {
        return;
    }

    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let fixed = [
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Accept, Authorization, Content-Type, Origin, THANOS-TENANT, X-Scope-OrgID",
        ),
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            "GET, POST, DELETE, OPTIONS",
        ),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
    ];

    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// True if a page of another host than this one wants to change something.
fn is_foreign_change(request: &ServiceRequest, origin: &HeaderValue) -> bool {
    let host = request
        .headers()
        .get(header::HOST)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();

    let is_own = ["http://", "https://"]
        .iter()
        .any(|scheme| origin.as_bytes().strip_prefix(scheme.as_bytes()) == Some(host));
    let is_change = !request.method().is_safe() && request.path().starts_with("/api/v1/admin/");
    is_change && !is_own
}

/// Counts the request, and once the node wants to leave, ends the client's connection with the answer: its next one
/// is to another node.
pub async fn see_off(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let state = request.app_data::<web::Data<ApiState>>().cloned();
    if let Some(state) = &state {
        state.traffic.note(request.path());
    }

    let mut response = next.call(request).await?;
    if state.is_some_and(|state| state.health.stopping()) {
        response
            .response_mut()
            .head_mut()
            .set_connection_type(ConnectionType::Close);
    }

    Ok(response)
}

/// Lets a client of HTTP/1.0 read an answer that comes in pieces: it knows no chunks, so the answer ends with the
/// connection.
pub async fn before_chunks(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let knows_chunks = request.version() >= Version::HTTP_11;

    let mut response = next.call(request).await?;
    if !knows_chunks {
        let head = response.response_mut().head_mut();
        head.no_chunking(true);
        head.set_connection_type(ConnectionType::Close);
    }

    Ok(response)
}

/// Says in words what a path or a method that is not there is answered with, as Go's servers do.
pub async fn say_what_is_missing(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let response = next.call(request).await?;
    let is_empty = matches!(
        response.response().body().size(),
        BodySize::None | BodySize::Sized(0)
    );
    let text = match response.status() {
        StatusCode::NOT_FOUND if is_empty => "404 page not found\n",
        StatusCode::METHOD_NOT_ALLOWED if is_empty => "Method Not Allowed\n",
        _ => return Ok(response.map_into_left_body()),
    };

    let mut response = response
        .map_body(|_, _| text.to_owned())
        .map_into_right_body();

    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );

    Ok(response)
}

/// Measures the time until the response starts, by route and status.
pub async fn measure(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let Some(state) = request.app_data::<web::Data<ApiState>>().cloned() else {
        return next.call(request).await;
    };

    let begun = state.clock.monotonic();
    let response = next.call(request).await?;

    // The pattern, not the path: label values must be few.
    let handler = response
        .request()
        .match_pattern()
        .unwrap_or_else(|| "unknown".to_owned());
    let elapsed = state.clock.monotonic().saturating_sub(begun).as_secs_f64();

    state
        .metrics
        .requests
        .with_label_values(&[handler.as_str(), response.status().as_str()])
        .observe(elapsed);

    Ok(response)
}
