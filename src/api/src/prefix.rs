//! The path that a request means: without slashes too many, and without the prefix of a proxy that passes it on.

use std::borrow::Cow;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Uri;
use actix_web::middleware::Next;
use actix_web::{Error, web};

use crate::ApiState;

/// Below it a data source of the type Mimir looks for the API of Prometheus.
const OF_MIMIR: &str = "/prometheus";

/// Takes the prefix of the settings (`http.route_prefix`), or that of Mimir, off the path of a request. Without a prefix
/// everything is found as well. Slashes too many fall away first, as clients join addresses with them: `//api/v1/query/`.
pub async fn strip_prefix(
    mut request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let state = request.app_data::<web::Data<ApiState>>();
    let of_settings = state
        .map(|state| state.settings.route_prefix.as_str())
        .unwrap_or_default();
    let meant = tidy(request.path());
    let stripped = [of_settings, OF_MIMIR]
        .iter()
        .find_map(|prefix| without(prefix, &meant));
    let changed = match (stripped, meant) {
        (Some(path), _) => Some(path),
        (None, Cow::Owned(path)) => Some(path),
        (None, Cow::Borrowed(_)) => None,
    };

    if let Some(uri) = changed.and_then(|path| at(request.uri(), &path)) {
        request.match_info_mut().get_mut().update(&uri);
        request.head_mut().uri = uri;
    }

    next.call(request).await
}

/// A path with each slash once and none at its end.
fn tidy(path: &str) -> Cow<'_, str> {
    let is_tidy = !path.contains("//") && (path.len() <= 1 || !path.ends_with('/'));
    if is_tidy {
        return Cow::Borrowed(path);
    }

    let steps = path.split('/').filter(|step| !step.is_empty());
    let tidied: String = steps.flat_map(|step| ["/", step]).collect();
    Cow::Owned(if tidied.is_empty() {
        "/".to_owned()
    } else {
        tidied
    })
}

/// A path without the prefix; `None` if it is not below that.
fn without(prefix: &str, path: &str) -> Option<String> {
    let rest = path.strip_prefix(prefix).filter(|_| !prefix.is_empty())?;
    match rest.as_bytes().first() {
        Some(b'/') => Some(rest.to_owned()),
        None => Some("/".to_owned()),
        _ => None,
    }
}

/// The same question at another path.
fn at(uri: &Uri, path: &str) -> Option<Uri> {
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
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
        let of = |path| without("/metrics/trireme", path);
        assert_eq!(
            of("/metrics/trireme/api/v1/query").as_deref(),
            Some("/api/v1/query")
        );
        assert_eq!(of("/metrics/trireme").as_deref(), Some("/"));
        assert_eq!(of("/metrics/triremes/api"), None);
        assert_eq!(of("/metrics"), None);
        assert_eq!(without("", "/metrics"), None);
    }

    #[test]
    fn slashes_too_many_fall_away() {
        for (path, meant) in [
            ("//api/v1/query/", "/api/v1/query"),
            ("/a///b", "/a/b"),
            ("//", "/"),
            ("/a/", "/a"),
        ] {
            assert_eq!(tidy(path), meant);
        }
        for path in ["/", "/api/v1/query", ""] {
            assert!(matches!(tidy(path), Cow::Borrowed(same) if same == path));
        }
    }

    #[test]
    fn the_query_stays() {
        let uri = Uri::from_static("/metrics/eu/?a=b&c=%20");
        assert_eq!(
            at(&uri, "/").map(|uri| uri.to_string()).as_deref(),
            Some("/?a=b&c=%20")
        );
    }
}
