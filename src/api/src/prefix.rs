//! Paths below a prefix, as behind a proxy that passes it on.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Uri;
use actix_web::middleware::Next;
use actix_web::{Error, web};

use crate::ApiState;

/// Below it a data source of the type Mimir looks for the API of Prometheus.
const OF_MIMIR: &str = "/prometheus";

/// Takes the prefix of the settings (`http.route_prefix`), or that of Mimir, off the path of a request. Without a prefix
/// everything is found as well.
pub async fn strip_prefix(
    mut request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let state = request.app_data::<web::Data<ApiState>>();
    let of_settings = state.map(|state| state.settings.route_prefix.as_str()).unwrap_or_default();
    let stripped = [of_settings, OF_MIMIR].iter().find_map(|prefix| without(prefix, request.uri()));
    if let Some(uri) = stripped {
        request.match_info_mut().get_mut().update(&uri);
        request.head_mut().uri = uri;
    }
    next.call(request).await
}

/// The same place without the prefix; `None` if it is not below that.
fn without(prefix: &str, uri: &Uri) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(prefix).filter(|_| !prefix.is_empty())?;
    let path_and_query = match rest.as_bytes().first() {
        Some(b'/') => rest.to_owned(),
        None | Some(b'?') => format!("/{rest}"),
        _ => return None,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_steps_of_a_path_are_a_prefix() {
        let of = |uri: &'static str| {
            without("/metrics/trireme", &Uri::from_static(uri)).map(|uri| uri.to_string())
        };
        assert_eq!(of("/metrics/trireme/api/v1/query?query=up").as_deref(), Some("/api/v1/query?query=up"));
        assert_eq!(of("/metrics/trireme").as_deref(), Some("/"));
        assert_eq!(of("/metrics/trireme?a=b").as_deref(), Some("/?a=b"));
        assert_eq!(of("/metrics/triremes/api"), None);
        assert_eq!(of("/metrics"), None);
        assert_eq!(without("", &Uri::from_static("/metrics")), None);
    }
}
