//! What happens around every handler: CORS headers, the duration metric, and the way out of a node that stops.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{ConnectionType, Method};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, web};

use crate::ApiState;

/// Answers `OPTIONS` on any path and lets pages of other origins read the answers, as far as the settings allow.
pub async fn cors(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let allowed = request.app_data::<web::Data<ApiState>>().and_then(|s| {
        let origin = s.settings.cors_origin.as_str();
        HeaderValue::from_str(origin).ok().filter(|_| !origin.is_empty())
    });
    let asks = request.headers().contains_key(header::ORIGIN);
    let mut response = if request.method() == Method::OPTIONS {
        request.into_response(HttpResponse::NoContent().finish()).map_into_right_body()
    } else {
        next.call(request).await?.map_into_left_body()
    };
    if let Some(origin) = allowed.filter(|_| asks) {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let fixed = [
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                "Accept, Authorization, Content-Type, Origin, THANOS-TENANT, X-Scope-OrgID",
            ),
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    Ok(response)
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
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
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
    let handler = response.request().match_pattern().unwrap_or_else(|| "unknown".to_owned());
    let elapsed = state.clock.monotonic().saturating_sub(begun).as_secs_f64();
    state
        .metrics
        .requests
        .with_label_values(&[handler.as_str(), response.status().as_str()])
        .observe(elapsed);
    Ok(response)
}
